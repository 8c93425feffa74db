"""Runs of anybody's table: read, named, cleaned by stated rules, and split into groups."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.table.exclusions import DIVERGED, Exclusion, chance_limits, cleaned
from analysis.table.files import BadTable, open_sheet
from analysis.table.formats.sheet import Dialect, Sheet, printable
from analysis.table.groups import Split, key_text, parted, split
from analysis.table.parts import Rows, rows_of, stacked
from analysis.table.pooled import FILES, may_group
from analysis.table.roles import FINGERPRINT, RUN, Description, common_description
from analysis.table.settings import NAMED, best_of_cells, may_be_settings, setting_doubts, settings
from analysis.table.units import unit_doubts
from analysis.table.values import Labels, values_as_labels

REPEATED = 1.05   # D over different examples, from which data were repeated; below, whole batches may have made it


@dataclass(frozen=True)
class Runs:
    """Training runs, a row each."""

    N: np.ndarray                 # (n,) float64, parameters
    D: np.ndarray                 # (n,) float64, training examples processed
    C: np.ndarray                 # (n,) float64, training FLOPs
    L: np.ndarray                 # (n,) float64, loss, as the table has it
    accuracy: np.ndarray | None   # (n,) float64 in [0, 1], NaN where a row has none
    seed: np.ndarray              # (n,) int, index of the seed; zeros where the table has none, -1 where a row has none
    cell: np.ndarray              # (n,) int, index of the distinct (N, D)
    budget: np.ndarray | None     # (n,) float64, the isoFLOP budget that a row belongs to
    unique: np.ndarray | None = None   # (n,) float64, different examples among the D; None where the table doesn't say
    run: np.ndarray | None = None      # (n,) int, code of the run that a row is of, -1 where a row has none; None where no column says it
    steps: np.ndarray | None = None    # (n,) float64, optimiser steps so far; None where no column says it
    batch: np.ndarray | None = None    # (n,) float64, examples a step, in whatever unit the column has
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # axes and choices of our own tables, a stranger's settings
    tags: Mapping[str, np.ndarray] = field(default_factory=dict)   # (n,) codes of columns that may name kinds of run

    def __len__(self) -> int:
        return len(self.N)

    @property
    def repeated(self) -> np.ndarray:
        """How often their data were seen by those runs (m,) that the table says saw them more than once."""
        if self.unique is None:
            return np.empty(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            times = self.D / self.unique
        return times[np.isfinite(times) & (times > REPEATED)]

    def take(self, rows: np.ndarray) -> "Runs":
        """Those rows (mask or indices), cells numbered anew."""
        N, D = self.N[rows], self.D[rows]
        return replace(
            self, N=N, D=D, C=self.C[rows], L=self.L[rows], seed=self.seed[rows], cell=cells(N, D),
            accuracy=None if self.accuracy is None else self.accuracy[rows],
            budget=None if self.budget is None else self.budget[rows],
            unique=None if self.unique is None else self.unique[rows],
            run=None if self.run is None else self.run[rows],
            steps=None if self.steps is None else self.steps[rows],
            batch=None if self.batch is None else self.batch[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
            tags={name: code[rows] for name, code in self.tags.items()})


@dataclass(frozen=True)
class Group:
    """The runs that one law is fitted to."""

    key: Mapping[str, object]   # grouping column -> value; empty where there is but one group
    runs: Runs

    @property
    def label(self) -> str:
        return self.named(self.key)

    def named(self, columns: Container[str]) -> str:
        """By some of its columns."""
        return key_text(self.key, columns)


def short_names(groups: Sequence[Group]) -> tuple[str, ...]:
    """Of each group, what tells it from the others."""
    tells = [k for k in groups[0].key if len({g.key.get(k) for g in groups}) > 1]
    return tuple(g.named(tells or g.key) or "all runs" for g in groups)


@dataclass(frozen=True)
class Table:
    """All groups of the files read, and what was done to them on the way."""

    sources: tuple[str, ...]
    rows: int                           # read, before anything was left out
    columns: Mapping[str, str]          # part -> where it came from, for people
    description: Description            # what the files say of their columns; empty for a stranger's
    groups: tuple[Group, ...]
    excluded: tuple[Exclusion, ...]
    doubts: tuple[Doubt, ...]

    @property
    def ours(self) -> bool:
        """Whether a sweep of ours wrote every file."""
        return bool(self.description)

    @property
    def derived(self) -> bool:
        """Whether one of N, D and C follows from C = 6 N D, because the table lacks it."""
        return any(d.code.startswith("derived_") for d in self.doubts)


def group_of(table: Table, label: str | None) -> Group:
    """The group of that label, or the first. Raises BadTable where there is none."""
    found = [group for group in table.groups if label in (None, group.label)]
    if not found:
        raise BadTable(f"no group {printable(label)!r}: the table has {', '.join(repr(g.label) for g in table.groups)}")
    return found[0]


def cells(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Index of each row's distinct (N, D), in order of N, then D."""
    if not len(N):
        return np.empty(0, np.int64)
    order = np.lexsort((D, N))
    new = (np.diff(N[order], prepend=N[order[0]]) != 0) | (np.diff(D[order], prepend=D[order[0]]) != 0)
    index = np.empty(len(N), np.int64)
    index[order] = np.cumsum(new)
    return index


def read_table(sources: Sequence[str], *, flags: Mapping[str, str] | None = None,
               by: Sequence[str] | None = None, max_loss: float | None = None, dialect: Dialect = Dialect(),
               best: bool = False) -> Table:
    """Stacks the files, names their columns, leaves out what cannot be fitted, splits into groups.

    flags: part (N, D, C, L, accuracy, seed, budget, steps, batch) -> column, over recognition by name.
    by: grouping columns; None groups our own tables by what makes laws of their own, others not at all.
    max_loss: rows at or above it count as diverged; None takes 0.95 of the loss of knowing nothing, where
    a table says it or its data set is known, and no limit for others.
    dialect: of text whose delimiter or decimal sign can't be told.
    best: keeps of each (N, D) of a group the runs at the best setting alone.
    Raises BadTable where no row is left to fit, or the columns cannot be told.
    """
    sheets = [open_sheet(source, dialect) for source in sources]
    description = common_description([s.description for s in sheets], [s.flat for s in sheets])
    fixed = tuple(dict.fromkeys(by if by is not None else description.splits or ()))
    rows = _stacked(sheets, [rows_of(sheet, flags or {}, fixed, description) for sheet in sheets], description)
    kept = _kept(rows, _limits(rows, description, max_loss), _names(sources))
    splits = Split(fixed)
    if by is None and description.splits is None:
        splits = split(description, kept.runs.extra, kept.labels, {"N": kept.runs.N, "D": kept.runs.D, "C": kept.runs.C})
    tags = {name: kept.label(name) for name in splits.columns}
    cell = distinct(*(tag.code for tag in tags.values()), kept.runs.cell)
    choices = may_be_settings(description, kept.runs.extra, kept.labels, kept.others)
    tried = settings({name: code for name, code in choices.items() if name not in tags}, cell)
    if best:
        mask = best_of_cells(cell, tried.code, kept.runs.L)
        kept = kept.take(mask, "not_best", "runs at another than the best setting of their (N, D)")
        tags = {name: tag.take(mask) for name, tag in tags.items()}
    runs = kept.runs if fixed else replace(kept.runs, tags=_kinds(kept, description, splits))
    groups = tuple(Group(part.key, runs.take(part.rows)) for part in parted(tags, len(runs), explicit=by is not None))
    doubts = (*rows.doubts, *splits.doubts, *_left_out(kept.excluded, rows.read), *unit_doubts(runs.N, runs.D, runs.C, runs.L),
              *setting_doubts(tried.names, kept_best=best), *_repeated_data_doubts(runs), *_provenance_doubts(kept.labels),
              *_repeat_doubts(groups, rows.seed is not None), *_copy_doubts(groups))
    return Table(tuple(sources), rows.read, rows.columns, description, groups, kept.excluded, doubts)


@dataclass(frozen=True)
class Kept:
    """The rows that can be fitted, before they are split."""

    runs: Runs
    labels: Mapping[str, Labels]   # as Rows has them
    others: Mapping[str, Labels]
    excluded: tuple[Exclusion, ...]

    def label(self, name: str) -> Labels:
        """A column as a person would group by it."""
        return self.labels[name] if name in self.labels else values_as_labels(self.runs.extra[name])

    def take(self, rows: np.ndarray, code: str, text: str) -> "Kept":
        """The rows of the mask; the others are left out under a rule of its own."""
        labels, others = ({name: tag.take(rows) for name, tag in tags.items()} for tags in (self.labels, self.others))
        left_out = (Exclusion(code, int((~rows).sum()), text),) if not rows.all() else ()
        return Kept(self.runs.take(rows), labels, others, (*self.excluded, *left_out))


def _stacked(sheets: Sequence[Sheet], files: Sequence[Rows], description: Description) -> Rows:
    """All files' rows; a stranger's each say which file they are from."""
    rows = stacked(files)
    if len(files) > 1 and not description:
        origin = Labels(np.repeat(np.arange(len(files)), [f.read for f in files]), tuple(sheet.source for sheet in sheets))
        rows = replace(rows, others={**rows.others, FILES: origin})
    return rows


def _kept(rows: Rows, limit: np.ndarray, source: str) -> Kept:
    """Raises BadTable where no row is left."""
    if not rows.read:
        raise BadTable(f"{source}: no rows")
    keep, excluded = cleaned(rows, limit)
    if not keep.any():
        said = "; ".join(f"{e.rows:,} {e.text}" for e in excluded)
        raise BadTable(f"{source}: no row can be used: {said}")
    labels, others = ({name: tag.take(keep) for name, tag in tags.items()} for tags in (rows.labels, rows.others))
    return Kept(_runs(rows).take(keep), labels, others, excluded)


def _kinds(kept: Kept, description: Description, splits: Split) -> dict[str, np.ndarray]:
    """Columns that may name kinds of run, though nobody splits by them: a stranger's, and axes of ours that can't be judged."""
    axes = [name for name in description.named("axis") if name in kept.runs.extra and not description.columns[name].law]
    unsplit = [name for name in axes if name not in splits.columns] if description.splits is None else []
    tags = {**kept.others, **{name: kept.label(name) for name in unsplit}}
    return {printable(name): tag.code for name, tag in tags.items() if may_group(tag, kept.runs.N, kept.runs.D)}


def _limits(rows: Rows, description: Description, max_loss: float | None) -> np.ndarray:
    """(n,) loss at which each row counts as diverged."""
    if max_loss is None and math.isfinite(description.hopeless):
        return np.full(rows.read, DIVERGED * description.hopeless)
    if max_loss is None and description:
        return chance_limits(rows)
    return np.full(rows.read, math.inf if max_loss is None else max_loss)


def _names(sources: Sequence[str]) -> str:
    return printable(sources[0]) + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")


def _runs(rows: Rows) -> Runs:
    get = rows.values
    seed = rows.seed.code if rows.seed is not None else np.zeros(rows.read, np.int64)
    extra = {**{name: _numbers(tag) for name, tag in rows.others.items() if NAMED.search(name) and _all_numbers(tag)}, **rows.extra}
    if "lr_rule" in rows.labels:
        extra["lr_rule"] = np.array([*rows.labels["lr_rule"].values, ""], object)[rows.labels["lr_rule"].code]
    return Runs(get["N"], get["D"], get["C"], get["L"], get.get("accuracy"), seed,
                np.zeros(rows.read, np.int64), get.get("budget"), get.get("unique"),
                rows.labels[RUN].code if RUN in rows.labels else None, get.get("steps"), get.get("batch"), extra)


def _all_numbers(tag: Labels) -> bool:
    return len(tag.values) > 1 and all(isinstance(value, float) for value in tag.values)


def _numbers(tag: Labels) -> np.ndarray:
    """(n,), NaN where missing."""
    return np.array([*tag.values, np.nan])[tag.code]


def _left_out(excluded: tuple[Exclusion, ...], read: int) -> tuple[Doubt, ...]:
    return tuple(Doubt("excluded_" + e.code, f"left out {e.rows:,} of {read:,} rows: {e.text}") for e in excluded)


def _repeated_data_doubts(runs: Runs) -> tuple[Doubt, ...]:
    """Runs that saw their data more than once."""
    again = runs.repeated
    return (Doubt("repeated_data", f"{len(again):,} of {len(runs):,} runs saw their data more than once (up to {again.max():.3g} "
                  "times): the law takes every example for a fresh one"),) if len(again) else ()


def _provenance_doubts(labels: Mapping[str, Labels]) -> tuple[Doubt, ...]:
    prints = labels.get(FINGERPRINT)
    if prints is None or len(np.unique(prints.code)) < 2:
        return ()
    return (Doubt("mixed_fingerprints", f"the rows come from {len(np.unique(prints.code))} versions of the "
                  "trainer's code or data; they may not belong to one law"),)


def _copy_doubts(groups: tuple[Group, ...]) -> tuple[Doubt, ...]:
    """Repeats that tell nothing of the noise."""
    repeats = sum(len(g.runs) - len(np.unique(g.runs.cell)) for g in groups)
    if not repeats or any(len(np.unique(distinct(g.runs.cell, g.runs.L))) > len(np.unique(g.runs.cell)) for g in groups):
        return ()
    return (Doubt("copies", f"none of the {repeats:,} repeats of an (N, D) differs from the first in its loss: they are copies, or there "
                  "is no noise"),)


def _repeat_doubts(groups: tuple[Group, ...], seeds_known: bool) -> tuple[Doubt, ...]:
    """Rows that share cell and seed but not loss: a rerun, or a search that was not reduced."""
    if not seeds_known:
        return ()
    repeats = 0
    for group in groups:
        known = group.runs.seed >= 0
        pairs = np.stack([group.runs.cell, group.runs.seed])[:, known]
        repeats += pairs.shape[1] - np.unique(pairs, axis=1).shape[1]
    if not repeats:
        return ()
    return (Doubt("repeated_cell_seed", f"{repeats:,} rows repeat an (N, D) and seed of their group with another "
                  "loss: if a search made them, --best keeps the best of each"),)
