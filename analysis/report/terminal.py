"""A study on a terminal: the finding first, at most a screen of it; everything for whoever asks."""

import sys
import time
from textwrap import fill

from analysis.estimates.words import big, shown
from analysis.fitted import GroupFit, Study
from analysis.report.findings import followups, late_doubts, opening
from analysis.report.lines import WIDTH, Lines
from analysis.report.text_tables import tables, trained
from analysis.table.runs import short_names

LINES = 25          # of a screen that nobody has to scroll, the paths of the files at its end included
MOST_OPENING = 12   # lines of it for the finding
MOST_ROWS = 8       # of the table of exponents, where there are many groups


def opening_text(study: Study) -> str:
    """The finding, with its doubts."""
    lines = [line for finding in opening(study) for line in _filled(str(finding))]
    if len(lines) > MOST_OPENING:   # without how it was come by, which the report has
        lines = [line for finding in opening(study) for line in _filled(f"{finding.text}.")]
    return "\n".join(_cut(lines, MOST_OPENING))


def brief_text(study: Study, *, room: int) -> str:
    """What follows the opening, in `room` lines: predictions that were asked for first, then what else was found and the exponents."""
    found = [line for text in (*_late_doubts(study), *followups(study)) for line in _filled(text)]
    last = _filled(_remainder(study))
    asked = _cut(_indented(predicted), max(room - len(last) - 5, 3)) if (predicted := _predictions(study)).rows else []
    spare = max(room - len(last) - 1 - (len(asked) + 1 if asked else 0), 1)
    held = _indented(_exponents(study) if study.estimated else trained(study))
    first = _cut(found, max(spare - len(held) - 1, 1)) if found else []
    rest = _cut([*first, *([""] if first else []), *held], spare)
    return "\n".join([*asked, *([""] if asked else []), *rest, "", *last])


def full_text(study: Study) -> str:
    """All that is known, after the opening: every table, then what was left out, refused or doubted."""
    blocks = ["\n".join(line for text in (*_late_doubts(study), *followups(study)) for line in _filled(text))]
    blocks += ["\n".join([t.title, *_indented(t)]) for t in tables(study)]
    notes = _notes(study)
    if notes:
        blocks.append("Notes\n" + "\n".join(fill(n, WIDTH, initial_indent="  ", subsequent_indent="    ") for n in notes))
    return "\n\n".join(block for block in blocks if block)


def _filled(text: str) -> list[str]:
    return fill(text, WIDTH, subsequent_indent="  ").splitlines()


def _indented(table: Lines) -> list[str]:
    return ["  " + line for line in table.aligned(WIDTH - 2).splitlines()]


def _cut(lines: list[str], room: int) -> list[str]:
    return lines if len(lines) <= room else [*lines[:room - 1], "  ..."]


def _late_doubts(study: Study) -> list[str]:
    """Doubts about the opening that were found after it was printed."""
    return [f"{g.group.label + ': a' if g.group.label else 'A'} doubt of that: {doubt}."
            for g in study.groups for doubt in late_doubts(g)]


def _exponents(study: Study) -> Lines:
    """A row an approach and a column a group or, of many groups, a row a group."""
    told = {"a, approach 3": lambda g: g.approaches.law and g.approaches.law.a,
            "a, approach 2": lambda g: _unbiased(g, "approach 2", g.approaches.isoflop),
            "a, approach 1": lambda g: _unbiased(g, "approach 1", g.approaches.envelope),
            "E": lambda g: g.approaches.law and g.approaches.law.E}
    names = short_names([g.group for g in study.groups])
    if len(study.groups) <= 3:
        rows = [(name, *(shown(of(g)) for g in study.groups)) for name, of in told.items()]
        return Lines("", ("", *names), tuple(row for row in rows if set(row[1:]) != {"-"}))
    rows = [(name, *(shown(of(g)) for of in told.values())) for name, g in zip(names, study.groups, strict=True)]
    more = [(f"and {len(rows) - MOST_ROWS} groups more", *[""] * len(told))] if len(rows) > MOST_ROWS else []
    return Lines("", ("group", *told), tuple(rows[:MOST_ROWS] + more))


def _predictions(study: Study) -> Lines:
    """By approach 3 or, where it was refused, by approach 2."""
    names = short_names([g.group for g in study.groups]) if len(study.groups) > 1 else ("",)
    rows = []
    for C in study.request.budgets:
        for name, g in zip(names, study.groups, strict=True):
            o, minima = g.answers.optimum(C), g.approaches.isoflop
            if o is not None:
                rows.append((name, f"{C:.3g}", big(o.N), big(o.D), shown(o.L), "" if o.inside else "extrapolated"))
            elif minima is not None:
                rows.append((name, f"{C:.3g}", big(minima.params(C)), big(minima.samples(C)), "-", "approach 2"))
    header = ("", "FLOPs", "model size N*", "data D*", "loss L*", "")
    return Lines("", header[len(names) == 1:], tuple(row[len(names) == 1:] for row in rows))


def _unbiased(g: GroupFit, name: str, fit):
    return g.approaches.calibrations[name].corrected if name in g.approaches.calibrations else fit and fit.a


def _remainder(study: Study) -> str:
    doubts = len({d.code for d in study.table.doubts} | {d.code for g in study.groups for d in g.doubts})
    refused = len({name for g in study.groups for name in g.refused} | set(study.refused))
    said = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in ((refused, "refusal"), (doubts, "doubt")) if count]
    left_out = sum(e.rows for e in study.table.excluded)
    said += [f"{left_out:,} of {study.table.rows:,} rows left out"] if left_out else []
    return f"{', '.join(said) or 'Nothing refused, nothing doubted'}: reasons and all else in the report, or here by --full."


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
        """Clears the line; a further step shows it again."""
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def said(text: str, tell: Progress) -> int:
    """Prints where the progress line is, which goes; returns the number of lines."""
    tell.close()
    print(text, flush=True)
    return len(text.splitlines())
