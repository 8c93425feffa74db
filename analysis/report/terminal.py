"""A study on a terminal: the finding first, aligned tables, then doubts."""

import sys
import time
from textwrap import fill

from analysis.fitted import Study
from analysis.report.findings import headlines
from analysis.report.text_tables import Lines, tables

WIDTH = 100
REPORT_ONLY = ("Sensitivity of approach 3", "Other laws", "Minima of the isoFLOP curves", "Approach 2 by other curves",
               "Local exponents along the frontier")


def terminal_text(study: Study) -> str:
    """What a person wants to read: the findings, the tables, then what was left out, refused or doubted."""
    blocks = ["\n".join(fill(line, WIDTH, subsequent_indent="  ") for line in headlines(study))]
    blocks += [f"{t.title}\n{_indented(str(_brief(t)))}" for t in tables(study) if t.title not in REPORT_ONLY]
    notes = _notes(study)
    if notes:
        blocks.append("Notes\n" + "\n".join(fill(n, WIDTH, initial_indent="  ", subsequent_indent="    ") for n in notes))
    return "\n\n".join(blocks)


def _brief(table: Lines) -> Lines:
    """Of the published claims, those about a: the report has the rest."""
    if table.title != "Published claims":
        return table
    keep = [i for i, head in enumerate(table.header) if i < 3 or head == "verdict"]   # our own a stands above
    heads = [table.header[i - 1] if table.header[i] == "verdict" else table.header[i] for i in keep]
    return Lines(table.title, tuple(heads), tuple(tuple(row[i] for i in keep) for row in table.rows if row[0] == "a"))


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _notes(study: Study) -> list[str]:
    """Doubts and refusals; one that several groups share is said once."""
    notes = {f"{d.text} [{d.code}]": [] for d in study.table.doubts}
    for g in study.groups:
        said = [g.note] if g.note else []
        said += [f"{name} refused: {why}" for name, why in g.refused.items()]
        for text in said + [f"{d.text} [{d.code}]" for d in g.doubts]:
            notes.setdefault(text, []).append(g.group.label)
    notes |= {f"{name} refused: {why}": [] for name, why in study.refused.items()}
    return [(f"{'; '.join(groups)}: " if any(groups) and len(groups) < len(study.groups) else "") + text
            for text, groups in notes.items()]


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
