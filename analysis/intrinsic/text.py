"""Intrinsic performance in words, tables, JSON and as a page."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import big, shown
from analysis.intrinsic.curves import SKIP
from analysis.intrinsic.found import LAW, AgentLaws, AgentStudy, least_by_law
from analysis.report.findings import Finding
from analysis.report.lines import WIDTH, Lines
from analysis.report.page import Picture, environment
from analysis.table.formats.sheet import printable

VERSION = 1        # of the layout; fields are only ever added under one version
MOST_LEVELS = 3    # of a group in the table of returns, where there are several groups
LAW_TEXT = "I^-beta = (N_c/N)^alpha_N + (E_c/E)^alpha_E"


def sentence(g: AgentLaws) -> str:
    """The finding of one group."""
    if g.law is not None:
        law = g.law
        return (f"The best size grows as N* ~ C^{shown(law.a)} and its frames as E* ~ C^{shown(law.b)}: the least compute that "
                f"reaches a return goes as N^{shown(law.N_power)} where frames are plenty, as E^{shown(law.E_power)} where the "
                f"size is ({law.runs} runs of {len(g.curves.sizes)} sizes).")
    if g.curves is None:
        return f"No law: {next(iter(g.refused.values()))}."
    told = "What each return took is told below." if g.levels else "No return's compute is told either."
    return f"No law: {g.refused[LAW]}. {told}"


def findings(study: AgentStudy) -> list[str]:
    """Every group's; where none has a law, for one and the same reason, that is said once."""
    said = [sentence(g) for g in study.groups]
    if len(said) == 1 or (len(set(said)) == 1 and all(g.law is None for g in study.groups)):
        return [said[0] if len(said) == 1 else f"{len(said)} groups: {said[0]}"]
    return [f"{printable(g.label)}: {text}" for g, text in zip(study.groups, said, strict=True)]


def study_text(study: AgentStudy, *, full: bool = False) -> str:
    """For a terminal: every group's finding, then tables and doubts."""
    blocks = ["\n".join(fill(text, WIDTH, subsequent_indent="  ") for text in findings(study))]
    for table in tables(study, full=full):
        rows = "\n".join(f"  {line}" for line in table.aligned(WIDTH - 2).splitlines())
        note = "\n" + fill(table.note, WIDTH, subsequent_indent="  ") if table.note else ""
        blocks.append(f"{table.title}\n{rows}{note}")
    if notes := doubts_of(study):
        blocks.append("Notes\n" + "\n".join(fill(note, WIDTH, initial_indent="  ", subsequent_indent="    ") for note in notes))
    return "\n\n".join(blocks)


def doubts_of(study: AgentStudy) -> list[str]:
    named = len(study.groups) > 1
    every = [d.text for d in study.table.doubts]
    left_out = sum(g.curves.left_out for g in study.groups if g.curves)
    if left_out:
        every.append(f"left out {left_out:,} points: the first {SKIP:.2%} of a run's frames, transients of the start")
    for g in study.groups:
        texts = [d.text for d in g.doubts] + [f"{name} refused: {why}" for name, why in g.refused.items() if name != LAW]
        every += [f"{printable(g.label)}: {text}" if named else text for text in texts]
    return list(dict.fromkeys(every))


def tables(study: AgentStudy, *, full: bool = False) -> list[Lines]:
    return [table for table in (exponents_table(study), returns_table(study, full=full), bought_table(study)) if table.rows]


def exponents_table(study: AgentStudy) -> Lines:
    rows = tuple((printable(g.label) or "all runs", shown(g.law.a), shown(g.law.alpha_N), shown(g.law.alpha_E), shown(g.law.beta),
                  f"{g.law.rms:.2g}" + (f" ({g.law.misfit:.2g})" if math.isfinite(g.law.misfit) else ""))
                 for g in study.groups if g.law is not None)
    return Lines(f"The law {LAW_TEXT}", ("", "a of N*", "alpha_N", "alpha_E", "beta", "rms"), rows,
                 f"{study.level:.0%} intervals by the jackknife, each run left out whole, Student's t. rms: of the sizes' mean "
                 "returns about the law (over what repeats explain of it).")


def returns_table(study: AgentStudy, *, full: bool = False) -> Lines:
    several, rows = len(study.groups) > 1, []
    laws = any(g.law for g in study.groups)
    for g in study.groups:
        levels = g.levels
        if several and not full and len(levels) > MOST_LEVELS:
            levels = [levels[round(i * (len(levels) - 1) / (MOST_LEVELS - 1))] for i in range(MOST_LEVELS)]
        for level in levels:
            by_law = least_by_law(g.law, level.R) if g.law else None
            rows.append((*((printable(g.label),) if several else ()), f"{level.R:.3g}", _scale(level.compute),
                         *((_scale(by_law) if by_law else "-",) if laws else ()), f"{level.N:.3g}", f"{level.E:.3g}"))
    header = ("",) * several + ("return", "FLOPs, sizes run") + ("FLOPs, by the law",) * laws + ("size", "frames")
    note = ("Sizes run: read off rising curves through the sizes' mean returns, with the size that took least and its frames; it "
            "lies high where the best size is between two.") if laws else "Read off rising curves through the mean returns."
    return Lines("The least compute that reaches a return", header, tuple(rows), note)


def bought_table(study: AgentStudy) -> Lines:
    rows = tuple((printable(g.label) or "all runs", f"{b.flops:.3g}", _scale(b.N), _scale(b.E),
                  shown(b.R) if b.R else "beyond the table") for g in study.groups for b in g.bought)
    return Lines("What a budget buys", ("", "FLOPs", "best size", "frames", "return"), rows)


def _scale(e: Estimate) -> str:
    return big(e) if math.isfinite(e.low) else f"{e.value:.3g}"


def study_json(study: AgentStudy, provenance: dict) -> str:
    """fit.json of a table of returns: strict JSON, estimates as in any study's."""
    return json.dumps({
        "version": VERSION, "kind": "returns", "sources": list(study.table.sources), "rows": study.table.rows,
        "columns": dict(study.table.columns), "level": study.level, "law": LAW_TEXT,
        "groups": [_group(g) for g in study.groups], "provenance": provenance,
        "warnings": [{"code": d.code, "text": d.text, "group": ""} for d in study.table.doubts] + [
            {"code": d.code, "text": d.text, "group": g.label} for g in study.groups for d in g.doubts],
    }, indent=1, allow_nan=False) + "\n"


def _group(g: AgentLaws) -> dict:
    curves, law = g.curves, g.law
    exponents = ("a", "b", "alpha_N", "alpha_E", "beta", "N_power", "E_power", "N_c", "E_c")
    return {"label": g.label, "runs": curves.runs if curves else 0, "points": curves.points if curves else 0,
            "sizes": [float(N) for N in curves.sizes] if curves else [],
            "intrinsic": law and {**{name: _estimate(getattr(law, name)) for name in exponents}, "rms": law.rms,
                                  "repeats": _number(law.repeats), "misfit": _number(law.misfit),
                                  "cost": {"k": law.fitted.shape.cost.k, "p": law.fitted.shape.cost.p}},
            "returns": [{"return": v.R, "flops": _estimate(v.compute), "flops_by_law": law and _estimate(least_by_law(law, v.R)),
                         "params": v.N, "frames": v.E, "by_size": [_number(x) for x in v.by_size]} for v in g.levels],
            "predictions": [{"flops": b.flops, "params": _estimate(b.N), "frames": _estimate(b.E), "return": _estimate(b.R)}
                            for b in g.bought],
            "refused": dict(g.refused)}


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _estimate(e: Estimate | None) -> dict | None:
    return e and {k: _number(v) if isinstance(v, float) else v for k, v in asdict(e).items() if k != "level"}


def study_html(study: AgentStudy, pictures: Sequence[Picture], *, command: str) -> str:
    """The page. command: how it was made, for the last line."""
    found = findings(study)
    return environment().get_template("returns.html.j2").render(
        title=printable(Path(study.table.sources[0]).name), numbers=[], opening=[Finding(found[0].removesuffix("."), "")],
        findings=found[1:], tables=tables(study, full=True), live="", open_refused=False, pictures=pictures,
        doubts=[("", "", text) for text in doubts_of(study)], refused=[], appendix=[], excluded=[], rows=study.table.rows,
        columns=study.table.columns,
        method=Lines("Method", ("", ""), (("law", LAW_TEXT), ("intervals", f"jackknife by whole run, {study.level:.0%}"))),
        command=printable(command, 400))
