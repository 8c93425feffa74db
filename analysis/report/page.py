"""The study as one HTML page: nothing fetched, every name escaped; the answer first, what few will ask for folded away."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.estimates.words import number, shown
from analysis.fitted import GroupFit, Study
from analysis.questions.law_choice import SATURATING
from analysis.report.findings import findings, opening, preferred
from analysis.report.lines import Lines
from analysis.report.symbols import typeset
from analysis.report.text_tables import tables, trained
from analysis.table.formats.sheet import printable
from analysis.table.runs import short_names

PANEL = 3.4    # inches of a figure's panel
SCREEN = 135   # CSS pixels to an inch of print: 8-point letters are 15 pixels high


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    title: str
    caption: str
    svg: bytes
    inches: float    # wide, in print

    @property
    def width(self) -> int:
        """CSS pixels: 8-point print is too small for a screen."""
        return round(self.inches * SCREEN)

    @property
    def panels(self) -> int:
        """Side by side: on a phone each is as wide as the screen."""
        return max(round(self.inches / PANEL), 1)

    @property
    def uri(self) -> str:
        """As an image: an SVG in an <img> runs no script and shares no ids with its neighbours."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


@dataclass(frozen=True)
class Number:
    """One of the numbers of the first screen."""

    what: str       # a formula
    value: str
    low: str
    high: str
    meaning: str


STORY = ("What was trained", "Exponents", "The best use of compute", "Published claims", "Differences between groups",
         "Error rate")


def environment() -> Environment:
    """Of the pages' templates: every name escaped, a missing one an error."""
    found = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                        lstrip_blocks=True, undefined=StrictUndefined)
    found.filters["typeset"] = typeset
    return found


def report_html(study: Study, pictures: Sequence[Picture], *, command: str, live: str = "") -> str:
    """The page. command: how it was made, for the last line. live: scripts that make figures answer (analysis/report/live.py)."""
    made = {table.title: table for table in tables(study)}
    story = [made.pop(title) for title in STORY if title in made]
    appendix = list(made.values()) + ([trained(study)] if study.estimated else [])
    return environment().get_template("report.html.j2").render(
        title=", ".join(printable(Path(s).name) for s in study.table.sources), opening=opening(study), numbers=_numbers(study),
        findings=findings(study)[len(opening(study)):], tables=story, pictures=pictures, doubts=_doubts(study),
        refused=_refused(study), open_refused=not study.estimated, appendix=appendix, excluded=study.table.excluded,
        rows=study.table.rows, columns=study.table.columns, method=_method(study),
        command=printable(command, 400), live=Markup(live))


def _numbers(study: Study) -> list[tuple[str, list[Number]]]:
    """Three a group, of up to three groups; of more, the table has them."""
    if len(study.groups) > 3:
        return []
    names = short_names([g.group for g in study.groups]) if len(study.groups) > 1 else ("",)
    return [(name, _three(g)) for name, g in zip(names, study.groups, strict=True) if preferred(g) is not None]


def _three(g: GroupFit) -> list[Number]:
    _, a, b = preferred(g)
    law = g.approaches.law
    found = [("N* ~ C^a", a, "of the best model size"), ("D* ~ C^b", b, "of the best amount of data")]
    if law is not None:
        found.append((law.frontier.formula, law.gamma, f"of the loss above E = {shown(law.E)}" if law.speaks != SATURATING else
                      f"of the loss between E = {shown(law.E)} and its top"))
    return [Number(what, number(e.value, e), number(e.low, e), number(e.high, e), meaning) for what, e, meaning in found]


def _doubts(study: Study) -> list[tuple[str, str, str]]:
    """(code, group, text) of each warning."""
    found = [(d.code, "", d.text) for d in study.table.doubts if not d.code.startswith("excluded_")]
    found += [(d.code, g.group.label, d.text) for g in study.groups for d in g.doubts]
    if study.learning_rate is not None:
        found += [(d.code, "", d.text) for d in study.learning_rate.warnings]
    return found


def _refused(study: Study) -> list[tuple[str, str, str]]:
    """(analysis, group, why) of what could not be estimated."""
    return [(name, g.group.label, why) for g in study.groups for name, why in g.refused.items()] + [
        (name, "", why) for name, why in study.refused.items()]


def _method(study: Study) -> Lines:
    """What was done, group by group, in the words of the fits."""
    rows = []
    for g in study.groups:
        label = g.group.label or "all runs"
        if g.note:
            rows.append((label, "rows", g.note))
        if g.approaches.law is not None:
            law = g.approaches.law
            for fit in dict.fromkeys(f for f in (law.quoted, law.other, law.generalised, law.additive) if f is not None):
                rows.append((label, f"approach 3, {law.name_of(fit)} law",
                             f"{fit.point.objective}, sum {fit.point.value:.6g}, found by "
                             f"{fit.point.agreeing} of {fit.point.starts} descents; intervals by {fit.a.method}, "
                             f"{len(fit.draws):,} resamples"))
            rows.append((label, "which law speaks", law.why))
            rows.append((label, "cost", law.cost.summary().removeprefix("cost").strip()))
        if g.approaches.isoflop is not None:
            rows.append((label, "approach 2", f"{g.approaches.isoflop.curve} through the sizes of each budget within a factor of 10 of its "
                         f"lowest loss, budgets {'interpolated' if g.approaches.isoflop.interpolated else 'as the table has them'}; "
                         f"intervals by {g.approaches.isoflop.a.method}"))
        if g.approaches.envelope is not None:
            rows.append((label, "approach 1", f"lower envelope; intervals by {g.approaches.envelope.a.method}; the slope of a running "
                         f"minimum would be {g.approaches.envelope.naive:.3f}, that of the grid's corners {g.approaches.envelope.design_ratio:.3f}"))
    return Lines("Method", ("group", "fit", "how"), tuple(rows))
