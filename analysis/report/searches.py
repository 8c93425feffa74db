"""A CARBS search in words, rows, JSON and as a page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from analysis.carbs.equal_compute import EqualCompute
from analysis.carbs.found import Tuned
from analysis.estimates.words import shown
from analysis.report.findings import Finding
from analysis.report.lines import Lines
from analysis.report.page import Picture, environment
from analysis.table.formats.sheet import printable

VERSION = 1   # of the layout; fields are only ever added under one version
UNITS = {"Log": "of a power of C", "Integer": "of a power of C", "Logit": "of the odds, a power of C", "Linear": "units a decade of C"}


def findings_of_search(found: Tuned) -> tuple[str, ...]:
    size, data = (next((law for law in found.laws if law.name == name), None) for name in ("params", "samples"))
    lead = "CARBS's laws along its front: " + ", ".join(
        f"{law.name}* ~ C^{shown(law.exponent)}" for law in (size, data) if law) if size or data else "CARBS's laws along its front."
    best = found.front[-1]
    return (lead, f"The front falls to a loss of {best.loss:.4g} [{best.low:.4g}, {best.high:.4g}] at {best.cost:.3g}; "
            f"{found.observations:,} runs cost {found.spent:.3g} together.",
            f"Laws hold from {found.low:.3g} to {found.high:.3g} of cost a run, intervals are posterior, 95%.")


def laws_table(found: Tuned) -> Lines:
    return Lines("Scaling laws of the hyperparameters", ("", "exponent", "kind", f"at {found.reference:.3g}"), tuple(
        (law.name, shown(law.exponent), UNITS.get(law.kind, law.kind), f"{law.anchor:.4g}") for law in found.laws))


def search_text(found: Tuned) -> str:
    """For a terminal: the findings, then the laws."""
    return "\n".join(findings_of_search(found)) + f"\n\n{laws_table(found).title}\n" + "\n".join(
        "  " + line for line in str(laws_table(found)).splitlines())


def search_json(found: Tuned) -> str:
    """fit.json of a search: strict JSON, every exponent an estimate as in a study's."""
    return json.dumps({
        "version": VERSION, "kind": "carbs", "sources": [found.source], "rows": len(found.flops),
        "spent": found.spent, "cost": {"low": found.low, "high": found.high, "reference": found.reference},
        "laws": [{"name": law.name, "kind": law.kind, "anchor": law.anchor,
                  "exponent": {k: v for k, v in asdict(law.exponent).items() if k != "level"},
                  "curve": [asdict(p) for p in law.curve]} for law in found.laws],
        "loss": [asdict(p) for p in found.loss], "front": [asdict(p) for p in found.front],
    }, indent=1, allow_nan=False) + "\n"


def search_html(found: Tuned, pictures: Sequence[Picture], *, command: str) -> str:
    """The page. command: how it was made, for the last line."""
    law = found.laws[0].exponent
    return environment().get_template("tuned.html.j2").render(
        title=printable(Path(found.source).name), numbers=[],
        opening=[Finding(findings_of_search(found)[0].removesuffix("."), "")],
        findings=findings_of_search(found)[1:], tables=[laws_table(found)], live="", open_refused=False,
        pictures=pictures, doubts=[], refused=[], appendix=[], excluded=[], rows=len(found.flops), columns={},
        method=Lines("Method", ("", ""), (("intervals", law.method), ("runs behind them", f"{law.n:,}"))),
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
