"""A file's columns with their parts resolved, nothing left out yet; several files stacked."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.table.columns import (
    BATCH, EPOCHS, PARTS, RUNS, STEPS, UNIQUE, candidates, chosen, counts_of_parameters, listed, named_as, parts_of)
from analysis.table.files import BadTable, read_columns
from analysis.table.formats.sheet import Block, Sheet, path_text, printable
from analysis.table.quantities import Quantities, completed
from analysis.table.roles import DATASET, FINGERPRINT, MNIST, RUN, Description, is_mnist
from analysis.table.settings import NAMED
from analysis.table.spelling import decimal_of, may_have_comma
from analysis.table.values import Labels, Numbers, distinct_text, labels, numbers

MOST_ROWS, MOST_OTHERS, MOST_VALUES = 20_000, 64, 24   # of a table whose further columns are looked at, and of those
FURTHER = {"steps": "--steps", "batch": "--batch-size"}   # flags of what no law of the loss asks for
NEARLY = 0.01   # two columns of one meaning that differ by less are one: planned tokens, and tokens in whole batches


@dataclass(frozen=True)
class Rows:
    """One file's columns, or several files' one after the other."""

    values: dict[str, np.ndarray]       # N D C L accuracy budget unique steps batch; NaN where missing
    extra: dict[str, np.ndarray]        # axes and choices of numbers, by column; NaN where missing
    text: dict[str, np.ndarray]         # part -> mask of cells that hold text in place of a number
    quoted: dict[str, str]              # part -> the first of those cells
    seed: Labels | None                 # None where the table has none
    labels: dict[str, Labels]           # grouping columns, axes and choices of text, data set and fingerprint
    others: dict[str, Labels]           # a stranger's columns of few values, or named as settings are, that play no part
    columns: dict[str, str]             # part -> where it came from, for people
    doubts: tuple[Doubt, ...]
    read: int
    ragged: int


@dataclass(frozen=True)
class Wanted:
    """Which columns of a file are read, and as what."""

    parts: Mapping[str, tuple[str, ...]]   # part -> columns that may play it
    numeric: tuple[str, ...]               # axes and choices of numbers
    labelled: Mapping[str, str]            # what Rows calls it -> column
    unique: str | None = None              # of different examples
    epochs: str | None = None              # of how often each was seen
    run: str | None = None                 # of the run that a row is a checkpoint of
    steps: str | None = None               # of optimiser steps so far
    batch: str | None = None               # of examples a step

    @property
    def as_numbers(self) -> tuple[str, ...]:
        further = [name for name in (self.unique, self.epochs, self.steps, self.batch) if name is not None]
        in_parts = [c for part, columns in self.parts.items() if part != "seed" for c in columns]
        return tuple(dict.fromkeys([*in_parts, *self.numeric, *further]))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.as_numbers, *self.parts.get("seed", ()), *self.labelled.values(),
                                   *((self.run,) if self.run else ())]))


def rows_of(sheet: Sheet, flags: Mapping[str, str], by: Sequence[str], description: Description) -> Rows:
    """The columns of one file that play a part, group its rows, or are axes and choices. Raises BadTable.

    description: what holds for all the files that are read together.
    """
    wanted = wanted_of(sheet, flags, by, description)
    block = read_columns(sheet, wanted.columns)
    decimal = sheet.dialect.decimal or "."
    cells = {name: numbers(block.columns[name], decimal) for name in wanted.as_numbers}
    if sheet.dialect.decimal is None and (decimal := _decimal(cells, block, sheet.source)) == ",":
        cells = {name: numbers(block.columns[name], decimal) for name in wanted.as_numbers}
    column_of, differ = _resolved(wanted.parts, cells, flags, sheet.source)
    seen = {part: name for part, name in (("unique", wanted.unique), ("epochs", wanted.epochs)) if name is not None}
    read = Quantities({part: cells[name].values for part, name in (column_of | seen).items() if part != "seed"}, column_of | seen)
    whole = completed(read, sheet.source)
    doubts = (*sheet.doubts, *whole.doubts, *differ, *_doubts_of_counts(wanted.parts, column_of, sheet, flags, description, decimal),
              *_doubts_of_loss(column_of["L"], sheet, flags, description),
              *_doubts_of_spelling(column_of, cells, decimal))
    used = set(wanted.columns) - {wanted.run, wanted.steps, wanted.batch}   # may be kinds of run, or settings
    others = {} if description else _others(sheet, used, block.rows)
    taken = {part: cells[name].values for part, name in (("steps", wanted.steps), ("batch", wanted.batch)) if name is not None}
    return Rows({**whole.values, **taken},
                {name: cells[name].values for name in wanted.numeric},
                {part: cells[column_of[part]].text for part in "NDCL" if part in column_of},
                {part: cells[column_of[part]].first_text for part in "NDCL" if part in column_of},
                _seed(wanted.parts.get("seed", ()), block, sheet.source),
                {**{name: _labelled(block, column, sheet.source) for name, column in wanted.labelled.items()}, **_runs(wanted, block)}, others,
                {part: printable(name) for part, name in whole.columns.items() if part not in seen}, doubts, block.rows, block.ragged)


def wanted_of(sheet: Sheet, flags: Mapping[str, str], by: Sequence[str], description: Description) -> Wanted:
    """Raises BadTable where a column that the user names is missing, or N, D, C and L can't be told."""
    own = sheet.description or (MNIST if is_mnist(sheet.flat) else description)
    parts = parts_of(sheet.flat, own, {part: name for part, name in flags.items() if part in PARTS}, sheet.source)
    numeric = tuple(n for n in description.named("axis", "choice", text=False) if n in sheet.flat)
    text = [n for n in description.named("axis", "choice", text=True) if n in sheet.flat]
    text += [n for n in (DATASET, FINGERPRINT) if n in description.columns and n in sheet.flat]
    grouping = {name: chosen(sheet.flat, name, "--by", sheet.source) for name in by}
    taken = {c for columns in parts.values() for c in columns}
    free = [n for n in sheet.flat if n not in taken]
    return Wanted(parts, numeric, {**{n: n for n in text}, **grouping}, named_as(free, UNIQUE), named_as(free, EPOCHS),
                  None if description else named_as(free, RUNS),   # of ours a row is a run
                  _told(sheet, "steps", STEPS, flags, free), _told(sheet, "batch", BATCH, flags, free))


def _told(sheet: Sheet, part: str, known: Sequence[str], flags: Mapping[str, str], free: Sequence[str]) -> str | None:
    """The column that the user names, or one of the free that has a known name."""
    return chosen(sheet.flat, flags[part], FURTHER[part], sheet.source) if part in flags else named_as(free, known)


def _runs(wanted: Wanted, block: Block) -> dict[str, Labels]:
    """Which run each row is a checkpoint of; a column that can't be read as names tells nothing."""
    if wanted.run is not None:
        with suppress(pa.ArrowException, ValueError):
            return {RUN: labels(block.columns[wanted.run])}
    return {}


def _decimal(cells: Mapping[str, Numbers], block: Block, source: str) -> str:
    """The decimal sign of the file's text. Raises BadTable where 1,234 may be either number.

    Only text that no program would have written can show a comma, and where it does the rest is asked.
    """
    odd = {name: distinct_text(block.columns[name]) for name, cell in cells.items() if cell.spelled or cell.text.any()}
    odd = {name: text for name, text in odd.items() if text is not None}
    if not any(may_have_comma(text) for text in odd.values()):
        return "."
    texts = {name: odd.get(name, distinct_text(block.columns[name])) for name in cells}
    texts = {name: text for name, text in texts.items() if text is not None}
    decimal, cell = decimal_of(list(texts.values()))
    if cell:
        name = next(n for n, text in texts.items() if pc.any(pc.equal(pc.utf8_trim_whitespace(text), cell)).as_py())
        raise BadTable(f"{path_text(source)}: is {printable(cell, 30)!r} in column {printable(name)!r} a number of thousands "
                       "or a fraction? say --decimal . or --decimal ,")
    return decimal


def _seed(repeats: Sequence[str], block: Block, source: str) -> Labels | None:
    """What tells repeats of a run apart: of several columns, every combination."""
    parts = [_labelled(block, column, source) for column in repeats]
    if len(parts) < 2:
        return parts[0] if parts else None
    _, first, code = np.unique(distinct(*(p.code for p in parts)), return_index=True, return_inverse=True)
    values = tuple(tuple(p.values[p.code[i]] if p.code[i] >= 0 else None for p in parts) for i in first)
    return Labels(np.where(np.any([p.code < 0 for p in parts], axis=0), -1, code), values)


def _labelled(block: Block, name: str, source: str) -> Labels:
    try:
        return labels(block.columns[name])
    except (pa.ArrowException, ValueError):
        raise BadTable(f"{path_text(source)}: column {printable(name)!r} holds {printable(block.columns[name].type)}, "
                       "which names no groups") from None


def _doubts_of_loss(column: str, sheet: Sheet, flags: Mapping[str, str], description: Description) -> tuple[Doubt, ...]:
    doubts = ()
    if "L" not in flags and not description and column not in candidates(sheet.flat, PARTS["L"]):
        doubts += (Doubt("guessed_L", f"the loss is {printable(column)}, the only column whose name ends in loss"),)
    if "train" in column.lower():
        doubts += (Doubt("training_loss", f"the loss is {printable(column)}, on training data; the laws are about "
                         "held-out loss"),)
    return doubts


def _doubts_of_counts(parts: Mapping[str, tuple[str, ...]], column_of: Mapping[str, str], sheet: Sheet, flags: Mapping[str, str],
                      description: Description, decimal: str) -> tuple[Doubt, ...]:
    """Where a stranger's table counts parameters in several ways, and nobody said which is meant."""
    if "N" not in column_of or "N" in flags or description:
        return ()
    taken = {*parts["N"], *column_of.values()}
    names = counts_of_parameters([n for n in sheet.flat if n not in taken and sheet.names.count(n) == 1])
    block = read_columns(sheet, names) if names else None
    beside = [n for n in names if np.isfinite(numbers(block.columns[n], decimal).values).any()]
    return (Doubt("several_counts", f"N is {printable(column_of['N'])}; other counts are {listed(beside, 4)}: name one by --params, or "
                  "compare them by analysis/side_by_side.py"),) if beside else ()


def _doubts_of_spelling(column_of: Mapping[str, str], cells: Mapping[str, Numbers], decimal: str) -> tuple[Doubt, ...]:
    """What was read into numbers that no program wrote so."""
    doubts = (Doubt("decimal_comma", "the decimal sign is taken to be a comma"),) if decimal == "," else ()
    odd = {part: cells[name] for part, name in column_of.items() if part != "seed" and cells[name].spelled}
    return doubts or tuple(Doubt(f"spelled_{part}", f"{part}: {cell.spelled:,} cells such as {cell.first_spelled!r} are read "
                                "as the numbers that they name") for part, cell in odd.items())


def _others(sheet: Sheet, used: set[str], rows: int) -> dict[str, Labels]:
    """Columns without a part that may name experiments; what nobody asked for may be damaged or odd, and is then left alone."""
    names = [name for name in sheet.flat if name not in used and sheet.names.count(name) == 1]
    tags = {}
    if rows <= MOST_ROWS and len(names) <= MOST_OTHERS:
        with suppress(BadTable):
            block = read_columns(sheet, names)
            for name, column in block.columns.items():
                with suppress(pa.ArrowException, ValueError):
                    tags[name] = labels(column)
    return {name: tag for name, tag in tags.items()
            if len(tag.code) == rows and (len(tag.values) <= MOST_VALUES or NAMED.search(name))}


def _resolved(parts: Mapping[str, tuple[str, ...]], cells: Mapping[str, Numbers], flags: Mapping[str, str],
              source: str) -> tuple[dict[str, str], tuple[Doubt, ...]]:
    """Part -> the one column that plays it, and what differs a little between several that could. Raises BadTable."""
    column_of, doubts = {}, []
    for part, columns in parts.items():
        if part == "seed":
            column_of[part] = columns[0]
            continue
        numeric = [n for n in columns if np.isfinite(cells[n].values).any()]
        if not numeric:
            _refuse_text(part, columns[0], cells, part in flags, source)
            if part in ("N", "L", "D", "C"):
                column_of[part] = columns[0]
            continue
        apart = _most_apart(part, numeric, cells, source)
        if apart:
            doubts.append(Doubt("columns_differ", f"{listed(numeric)} differ by {apart:.2g} at most: {printable(numeric[0])} "
                                f"is the {PARTS[part].meaning}"))
        column_of[part] = numeric[0]
    return column_of, tuple(doubts)


def _refuse_text(part: str, column: str, cells: Mapping[str, Numbers], explicit: bool, source: str) -> None:
    """Raises BadTable where a column that the fit can't do without has rows, and no number in them."""
    if len(cells[column].values) and (explicit or part in ("N", "L")):
        cell = f" (its first cell: {cells[column].first_text!r})" if cells[column].first_text else ""
        raise BadTable(f"{path_text(source)}: column {printable(column)!r} holds no number{cell}; "
                       f"name the {PARTS[part].meaning} with {PARTS[part].flag}")


def _most_apart(part: str, columns: Sequence[str], cells: Mapping[str, Numbers], source: str) -> float:
    """Largest relative difference between columns of one meaning. Raises BadTable where they are two quantities."""
    first = cells[columns[0]].values
    apart = max((_apart(first, cells[n].values) for n in columns[1:]), default=0.0)
    if apart >= (NEARLY if part in ("N", "D", "C", "budget") else 1e-12):
        raise BadTable(f"{path_text(source)}: which column is the {PARTS[part].meaning}? {listed(columns)} differ; "
                       f"name one with {PARTS[part].flag}")
    return apart


def _apart(first: np.ndarray, other: np.ndarray) -> float:
    """Largest relative difference; infinite where one has a number and the other has none."""
    if not np.array_equal(np.isfinite(first), np.isfinite(other)):
        return np.inf
    differ = np.isfinite(first) & (first != other)
    larger = np.maximum(np.abs(first[differ]), np.abs(other[differ]))
    return float(np.max(np.abs(first[differ] - other[differ]) / larger, initial=0.0))


def stacked(files: Sequence[Rows]) -> Rows:
    """The rows of all files; what a file lacks is missing there."""
    if len(files) == 1:
        return files[0]

    def joined(pick: Callable[[Rows], Mapping[str, np.ndarray]], missing: object) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for f in files for name in pick(f))
        return {n: np.concatenate([pick(f).get(n, np.full(f.read, missing)) for f in files]) for n in names}

    doubts = tuple(dict.fromkeys(d for f in files for d in f.doubts))
    columns = {part: " / ".join(dict.fromkeys(f.columns[part] for f in files if part in f.columns))
               for part in dict.fromkeys(p for f in files for p in f.columns)}
    others = _joined_labels(files, lambda f: f.others)
    everywhere = {name: tag for name, tag in others.items() if all(name in f.others for f in files)}
    seeds = _joined_labels(files, lambda f: {} if f.seed is None else {"seed": f.seed})
    return Rows(joined(lambda f: f.values, np.nan), joined(lambda f: f.extra, np.nan), joined(lambda f: f.text, False),
                {part: cell for f in reversed(files) for part, cell in f.quoted.items() if cell},
                seeds.get("seed"), _joined_labels(files, lambda f: f.labels), everywhere, columns, doubts,
                sum(f.read for f in files), sum(f.ragged for f in files))


def _joined_labels(files: Sequence[Rows], pick: Callable[[Rows], Mapping[str, Labels]]) -> dict[str, Labels]:
    tags = {}
    for name in dict.fromkeys(n for f in files for n in pick(f)):
        values = tuple(dict.fromkeys(v for f in files if name in pick(f) for v in pick(f)[name].values))
        place = {v: i for i, v in enumerate(values)}
        codes = [np.array([*(place[v] for v in pick(f)[name].values), -1])[pick(f)[name].code]
                 if name in pick(f) else np.full(f.read, -1) for f in files]
        tags[name] = Labels(np.concatenate(codes), values)
    return tags
