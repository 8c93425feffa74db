"""A CARBS search in words, rows, JSON and as a page."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np

from analysis.carbs.equal_compute import EqualCompute
from analysis.carbs.found import Tuned
from analysis.estimates.words import shown
from analysis.report.findings import Finding
from analysis.report.lines import Lines
from analysis.report.page import Picture, environment
from analysis.table.formats.sheet import printable

MOST_SHOWN = 5   # runs of the front in a table
SIZES, MOST_LED = ("params", "samples"), 3   # laws that the first sentence gives: these, or so many of those that there are
POWERS = ("Log", "Integer", "PowerOfTwo")    # kinds whose law is a power of C
VERSION = 1   # of the layout; fields are only ever added under one version
UNITS = {**dict.fromkeys(POWERS, "of a power of C"), "Logit": "of the odds, a power of C", "Linear": "units a decade of C"}


def findings_of_search(found: Tuned) -> tuple[str, ...]:
    powers = [law for law in found.laws if law.kind in POWERS]
    first = [law for law in powers if law.name in SIZES] or powers[:MOST_LED]
    lead = "CARBS's laws along its front" + (": " if first else ".") + ", ".join(f"{printable(law.name)}* ~ C^{shown(law.exponent)}" for law in first)
    best, unit = found.front[-1], "FLOPs" if found.cost_name == "flops" else found.cost_name
    said = [lead if found.laws else f"CARBS found no laws: {found.refused}.",
            f"The front falls to a {'loss' if 'nats' in found.loss_label else printable(found.loss_name)} of {best.loss:.4g} "
            f"[{best.low:.4g}, {best.high:.4g}] at {best.cost:.3g} {printable(unit)}; "
            f"{found.observations:,} runs cost {found.spent:.3g} together."]
    if found.laws:
        said.append(f"Laws hold from {found.low:.3g} to {found.high:.3g} {printable(unit)} a run, intervals are posterior, 95%.")
    return tuple(said)


def laws_table(found: Tuned) -> Lines:
    """A line for each law; what is pinned at a bound has no exponent."""
    rows = [(law.name, shown(law.exponent) + (" (bends)" if law.name in found.bends else ""), UNITS.get(law.kind, law.kind), f"{law.anchor:.4g}")
            for law in found.laws]
    rows += [(printable(name), "none: the optimum lies at its bound", "", "") for name in found.pinned]
    return Lines("Scaling laws of the hyperparameters", ("", "exponent", "kind", f"at {found.reference:.3g}"), tuple(rows))


def front_lines(found: Tuned) -> Lines:
    """What each cost bought, and by which settings: a column a run of the front, the dearest last."""
    first, last = (math.log(found.front[i].cost) for i in (0, -1))
    wanted = np.linspace(first, last, MOST_SHOWN)
    at = [min(range(len(found.front)), key=lambda i: abs(math.log(found.front[i].cost) - cost)) for cost in wanted]
    points = [found.front[i] for i in dict.fromkeys(at)]
    said = {"95% interval": tuple(f"[{p.low:.4g}, {p.high:.4g}]" for p in points)}
    said |= {printable(name): tuple(f"{p.config[name]:.4g}" if name in p.config else "" for p in points) for name in found.front[0].config}
    return Lines("The front" if len(points) == len(found.front) else f"{len(points)} of the front's {len(found.front)} runs",
                 (printable(found.cost_name), *(f"{p.cost:.3g}" for p in points)),
                 ((printable(found.loss_name), *(f"{p.loss:.4g}" for p in points)), *((name, *values) for name, values in said.items())))


def search_text(found: Tuned) -> str:
    """For a terminal: the findings, then the laws."""
    said, table = "\n".join(findings_of_search(found)), laws_table(found)
    return f"{said}\n\n{table.title}\n" + "\n".join("  " + line for line in str(table).splitlines()) if table.rows else said


def search_json(found: Tuned) -> str:
    """fit.json of a search: strict JSON, every exponent an estimate as in a study's."""
    return json.dumps({
        "version": VERSION, "kind": "carbs", "sources": [found.source], "rows": len(found.costs),
        "spent": found.spent, "cost": {"low": found.low, "high": found.high, "reference": found.reference, "name": found.cost_name},
        "pinned": list(found.pinned), "bends": list(found.bends), "refused": found.refused,
        "laws": [{"name": law.name, "kind": law.kind, "anchor": law.anchor,
                  "exponent": {k: v for k, v in asdict(law.exponent).items() if k != "level"},
                  "curve": [asdict(p) for p in law.curve]} for law in found.laws],
        "loss": [asdict(p) for p in found.loss], "front": [asdict(p) for p in found.front],
    }, indent=1, allow_nan=False) + "\n"


def search_html(found: Tuned, pictures: Sequence[Picture], *, command: str) -> str:
    """The page. command: how it was made, for the last line."""
    method = [("intervals", found.laws[0].exponent.method), ("runs behind them", f"{found.laws[0].exponent.n:,}")] if found.laws else []
    return environment().get_template("tuned.html.j2").render(
        title=printable(Path(found.source).name), numbers=[],
        opening=[Finding(findings_of_search(found)[0].removesuffix("."), "")],
        findings=findings_of_search(found)[1:], tables=[*([laws_table(found)] if found.laws else []), front_lines(found)], live="", open_refused=False,
        pictures=pictures, doubts=[], refused=[], appendix=[], excluded=[], rows=len(found.costs), columns={},
        method=Lines("Method", ("", ""), tuple(method)),
        command=printable(command, 400))


def comparison_text(compared: EqualCompute) -> str:
    """The search beside ever larger grids, for a terminal."""
    rows = [("CARBS", f"{compared.spent:.3g}", "1", "", shown(compared.a), shown(compared.b))]
    rows += [("grid", f"{g.spent:.3g}", f"{g.spent / compared.spent:.2g}", f"{g.runs:,}",
              shown(g.a) if g.a else "refused", shown(g.b) if g.b else printable(g.refused, 60)) for g in compared.grids]
    lines = [compared.group or "all runs", str(Lines("", ("", "FLOPs", "x CARBS", "runs", "a of N*(C)", "b of D*(C)"), tuple(rows)))]
    grid = compared.as_narrow
    lines.append("no grid up to the whole has as narrow an interval of a" if grid is None else
                 f"as narrow an interval of a takes the grid {grid.spent:.3g} FLOPs, {grid.spent / compared.spent:.2g} times as many")
    if compared.cheaper:
        ratios = [ratio for _, ratio in compared.cheaper]
        lines.append(f"the same loss takes the grid's best cells {median(ratios):.2g} times the FLOPs a run "
                     f"({min(ratios):.2g} to {max(ratios):.2g}, {len(ratios)} runs of the front)")
    return "\n".join(lines)
