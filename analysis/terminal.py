"""A study on a terminal: the finding first, aligned tables, then doubts."""

import sys
import time
from textwrap import fill

from analysis.findings import findings
from analysis.study import Study
from analysis.tables import tables

WIDTH = 100
LONG = ("Sensitivity of approach 3", "Other laws")   # in the report, not on the terminal


def terminal_text(study: Study) -> str:
    """What a person wants to read: findings, tables, then what was left out, refused or doubted."""
    blocks = ["\n".join(fill(line, WIDTH, subsequent_indent="  ") for line in findings(study))]
    blocks += [f"{t.title}\n{_indented(str(t))}" for t in tables(study) if t.title not in LONG]
    doubts = _doubts(study)
    if doubts:
        blocks.append("Notes\n" + "\n".join(fill(d, WIDTH, initial_indent="  ", subsequent_indent="    ") for d in doubts))
    return "\n\n".join(blocks)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _doubts(study: Study) -> list[str]:
    found = [f"{d.text} [{d.code}]" for d in study.table.doubts]
    for g in study.groups:
        where = f"{g.group.label}: " if g.group.label else ""
        found += [f"{where}{g.note}"] if g.note else []
        found += [f"{where}{name} refused: {why}" for name, why in g.refused.items()]
        found += [f"{where}{d.text} [{d.code}]" for d in g.doubts]
    found += [f"{name} refused: {why}" for name, why in study.refused.items()]
    return found


class Progress:
    """One line on stderr that says what is being done; silent where stderr is no terminal."""

    def __init__(self):
        self._live, self._start = sys.stderr.isatty(), time.monotonic()

    def __call__(self, step: str) -> None:
        if self._live:
            print(f"\r\033[K{time.monotonic() - self._start:4.0f} s  {step[:WIDTH]} ...", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
