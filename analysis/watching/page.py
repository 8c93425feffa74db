"""A sweep's progress as a page that refreshes itself: the grid, the loss so far, the frontier and the exponents as they come."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from analysis.estimates.words import shown
from analysis.figures.sheets import FIGURES, settle
from analysis.figures.theme import themed
from analysis.fitted import Request, Study, headlined
from analysis.report.findings import opening, preferred
from analysis.report.output import rendered
from analysis.report.page import Picture, environment
from analysis.table.files import BadTable
from analysis.table.formats.sheet import printable
from analysis.table.runs import read_table
from analysis.watching.grid import panels
from analysis.watching.progress import Progress

RESAMPLES = 100    # of an interval that is looked at in passing
FIGURE = ("loss", "optimum")


@dataclass(frozen=True)
class Sight:
    """What the runs so far say."""

    runs: int
    study: Study | None    # None where no row can be fitted yet
    why: str               # why not


def sight_of(progress: Progress) -> Sight:
    """The fits of the runs that are done, by few resamples."""
    if progress.schema is None or not progress.rows:
        why = "the first rows are still in the sweep's journal" if progress.rows else "no run is done yet"
        return Sight(len(progress.rows), None, why)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.parquet"
        pq.write_table(progress.table(), path)
        try:
            return Sight(len(progress.rows), headlined(read_table([str(path)]), Request(resamples=RESAMPLES)), "")
        except BadTable as why:
            return Sight(len(progress.rows), None, str(why).partition(": ")[2] or str(why))


def watch_html(progress: Progress, sight: Sight, history: Sequence[tuple[int, str]], *, name: str, every: float | None) -> str:
    """The page. history: (runs, exponent) of the fits so far. every: seconds until it asks again; None: never."""
    grid = panels(progress)
    return environment().get_template("watch.html.j2").render(
        name=printable(name), every=every, progress=progress, panels=grid, history=list(history)[-12:], why=sight.why,
        done=len(progress.rows), failed=len(progress.failures), wanted=progress.wanted, at=time.strftime("%H:%M:%S"),
        failures=[(printable(str(row.get("kind"))), printable(str(row.get("error")), 160)) for row in progress.failures[:8]],
        opening=opening(sight.study) if sight.study else (), pictures=_pictures(sight.study) if sight.study else ())


def exponent_of(sight: Sight) -> str:
    """For the history: a of every group that gives one."""
    quoted = [preferred(g) for g in sight.study.groups] if sight.study else []
    return "; ".join(shown(q[1]) for q in quoted if q) or "-"


def _pictures(study: Study) -> list[Picture]:
    made = []
    with themed():
        for name in FIGURE:
            try:
                plate = FIGURES[name](study)
            except (ValueError, ArithmeticError):   # numbers that cannot be drawn: the rest of the page stands
                continue
            if plate is not None:
                settle(plate.figure)
                made.append(Picture(name, plate.title, plate.caption, rendered(plate, "svg"), plate.figure.get_figwidth()))
    return made
