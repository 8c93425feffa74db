"""Runs of anybody's table: read, named, cleaned by stated rules, and split into groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.columns import (OWN_EXTRAS, OWN_GROUPS, OWN_PARTS, PARTS, chosen, is_ours, listed,
                              parts_by_name)
from analysis.reading import BadTable, Block, Labels, Sheet, labels, numbers, open_sheet, printable, read_columns
from analysis.refusal import Doubt
from analysis.units import unit_doubts

MAX_GROUPS = 24   # more are a continuous column taken for a label

# Chance loss is ln(classes). A dead network ends within a percent of it; the worst living
# cells of our grids end 10% below. 5% below lies in the gap.
CLASSES = {"mnist": 10, "fashion-mnist": 10, "kmnist": 10, "qmnist": 10, "emnist-digits": 10,
           "emnist-mnist": 10, "emnist-letters": 26, "emnist-balanced": 47, "emnist-bymerge": 47,
           "emnist-byclass": 62}
DIVERGED = 0.95


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
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # other columns, as in OWN_EXTRAS

    def __len__(self) -> int:
        return len(self.N)

    def take(self, rows: np.ndarray) -> "Runs":
        """Those rows (mask or indices), cells numbered anew."""
        N, D = self.N[rows], self.D[rows]
        return replace(
            self, N=N, D=D, C=self.C[rows], L=self.L[rows], seed=self.seed[rows], cell=cells(N, D),
            accuracy=None if self.accuracy is None else self.accuracy[rows],
            budget=None if self.budget is None else self.budget[rows],
            extra={name: column[rows] for name, column in self.extra.items()})


@dataclass(frozen=True)
class Exclusion:
    """Rows left out, and the rule that left them out."""

    code: str   # machine-readable and stable
    rows: int
    text: str


@dataclass(frozen=True)
class Group:
    """The runs that one law is fitted to."""

    key: Mapping[str, object]   # grouping column -> value; empty where there is but one group
    runs: Runs

    @property
    def label(self) -> str:
        return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in self.key.items())


@dataclass(frozen=True)
class Table:
    """All groups of the files read, and what was done to them on the way."""

    sources: tuple[str, ...]
    rows: int                           # read, before anything was left out
    columns: Mapping[str, str]          # part -> where it came from, for people
    ours: bool                          # every file has the columns of trainers.results
    groups: tuple[Group, ...]
    excluded: tuple[Exclusion, ...]
    doubts: tuple[Doubt, ...]


def cells(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Index of each row's distinct (N, D), in order of N, then D."""
    if not len(N):
        return np.empty(0, np.int64)
    order = np.lexsort((D, N))
    new = (np.diff(N[order], prepend=N[order[0]]) != 0) | (np.diff(D[order], prepend=D[order[0]]) != 0)
    index = np.empty(len(N), np.int64)
    index[order] = np.cumsum(new)
    return index


@dataclass(frozen=True)
class _Rows:
    """One file's columns, parts resolved, nothing left out yet."""

    values: dict[str, np.ndarray]       # N D C L accuracy budget and numeric extras; NaN where missing
    text: dict[str, np.ndarray]         # part -> mask of cells that hold text in place of a number
    labels: dict[str, Labels]           # seed, grouping columns and textual extras
    columns: dict[str, str]
    doubts: tuple[Doubt, ...]
    read: int
    ragged: int


def read_table(sources: Sequence[str], *, flags: Mapping[str, str] | None = None,
               by: Sequence[str] | None = None, max_loss: float | None = None) -> Table:
    """Stacks the files, names their columns, leaves out what cannot be fitted, splits into groups.

    flags: part (N, D, C, L, accuracy, seed, budget) -> column, over recognition by name.
    by: grouping columns; None groups our own tables by OWN_GROUPS and others not at all.
    max_loss: rows at or above it count as diverged; None takes 0.95 ln(classes) for our own
    tables, whose data set is known, and no limit for others.
    Raises BadTable where no row is left to fit, or the columns cannot be told.
    """
    sheets = [open_sheet(source) for source in sources]
    ours = all(is_ours(sheet.flat) for sheet in sheets)
    shared = set.intersection(*(set(sheet.flat) for sheet in sheets))
    grouping = tuple(dict.fromkeys(by if by is not None else [n for n in OWN_GROUPS if n in shared] if ours else ()))
    rows = _stacked([_rows(sheet, flags or {}, grouping, ours) for sheet in sheets])
    if not rows.read:
        raise BadTable(f"{_names(sources)}: no rows")
    limit = _chance_limits(rows) if max_loss is None and ours else np.full(rows.read, math.inf)
    keep, excluded = _cleaned(rows, limit if max_loss is None else np.full(rows.read, max_loss))
    if not keep.any():
        said = "; ".join(f"{e.rows:,} {e.text}" for e in excluded)
        raise BadTable(f"{_names(sources)}: no row can be used: {said}")
    runs = _runs(rows).take(keep)
    groups = _groups(runs, {name: _kept(rows.labels[name], keep) for name in grouping},
                     explicit=by is not None)
    doubts = (*rows.doubts, *_left_out(excluded, rows.read), *unit_doubts(runs.N, runs.D, runs.C, runs.L),
              *_provenance_doubts(rows, keep), *_repeat_doubts(groups, "seed" in rows.columns))
    return Table(tuple(sources), rows.read, rows.columns, ours, groups, excluded, doubts)


def _names(sources: Sequence[str]) -> str:
    return printable(sources[0]) + (f" and {len(sources) - 1} more" if len(sources) > 1 else "")


def _rows(sheet: Sheet, flags: Mapping[str, str], grouping: tuple[str, ...], ours: bool) -> _Rows:
    by = {name: chosen(sheet.flat, name, "--by", sheet.source) for name in grouping}
    parts = parts_by_name(sheet.flat, flags, sheet.source)
    extras = tuple(n for n in OWN_EXTRAS if n in sheet.flat) if ours else ()
    wanted = dict.fromkeys([c for columns in parts.values() for c in columns] + list(by.values()) + list(extras))
    block = read_columns(sheet, list(wanted))
    parsed = {name: _parsed(column) for name, column in block.columns.items()}
    column_of = {part: _resolve(part, columns, parsed, part in flags, sheet.source)
                 for part, columns in parts.items()}
    column_of = {part: name for part, name in column_of.items() if name is not None}
    values = {part: parsed[name][0] for part, name in column_of.items() if part != "seed"}
    text = {part: parsed[name][1] for part, name in column_of.items() if part in ("N", "D", "C", "L")}
    textual = {"lr_rule", "dataset", "fingerprint"}
    values |= {name: parsed[name][0] for name in extras if name not in textual}
    tags = {name: labels(block.columns[column]) for name, column in by.items()}
    tags |= {name: labels(block.columns[name]) for name in extras if name in textual and name not in tags}
    if "seed" in column_of:
        tags["seed"] = labels(block.columns[column_of["seed"]])
    derived, said = _derive(values, block)
    values |= derived
    ratio, percent = _as_share(values.get("accuracy"))
    if ratio is not None:
        values["accuracy"] = ratio
    columns = {part: printable(name) for part, name in column_of.items()} | {d.code[-1]: d.text for d in said}
    if column_of["L"].lower().startswith(("train", "loss_train", "losstrain")):
        said += (Doubt("training_loss", f"the loss is {printable(column_of['L'])}, on training data; "
                       "the laws are about held-out loss"),)
    return _Rows(values, text, tags, columns, said + percent, block.rows, block.ragged)


def _parsed(column) -> tuple[np.ndarray, np.ndarray]:
    values, text = numbers(column)
    return values.to_numpy().astype(np.float64, copy=False), text.to_numpy().astype(bool, copy=False)


def _resolve(part: str, columns: tuple[str, ...], parsed: dict, explicit: bool, source: str) -> str | None:
    """The one column of several that plays the part: the only numeric one, or any of equals."""
    flag, meaning = PARTS[part].flag, PARTS[part].meaning
    if part == "seed":
        return columns[0]
    numeric = [n for n in columns if np.isfinite(parsed[n][0]).any()]
    if not numeric:
        if explicit or part in ("N", "L"):
            rows = len(parsed[columns[0]][0])
            if rows:
                raise BadTable(f"{printable(source)}: column {printable(columns[0])!r} holds no number; "
                               f"name the {meaning} with {flag}")
        return columns[0] if part in ("N", "L", "D", "C") else None
    first = parsed[numeric[0]][0]
    if any(not np.array_equal(first, parsed[n][0], equal_nan=True) for n in numeric[1:]):
        raise BadTable(f"{printable(source)}: which column is the {meaning}? {listed(numeric)} differ; "
                       f"name one with {flag}")
    return numeric[0]


def _derive(values: dict[str, np.ndarray], block: Block) -> tuple[dict[str, np.ndarray], tuple[Doubt, ...]]:
    """The one of N, D, C that the table lacks, by C = 6 N D, said out loud."""
    with np.errstate(all="ignore"):
        if "C" not in values:
            return ({"C": 6.0 * values["N"] * values["D"]},
                    (Doubt("derived_C", "no column of FLOPs: C = 6 N D, which holds for dense language models"),))
        if "D" not in values:
            return ({"D": values["C"] / (6.0 * values["N"])},
                    (Doubt("derived_D", "no column of training examples: D = C / (6 N)"),))
        if "N" not in values:
            return ({"N": values["C"] / (6.0 * values["D"])},
                    (Doubt("derived_N", "no column of model size: N = C / (6 D)"),))
    return {}, ()


def _as_share(accuracy: np.ndarray | None) -> tuple[np.ndarray | None, tuple[Doubt, ...]]:
    """Accuracy in [0, 1]; percent are told by their size, anything else is missing."""
    if accuracy is None:
        return None, ()
    finite = accuracy[np.isfinite(accuracy)]
    percent = len(finite) > 0 and 1.5 < finite.max() <= 100
    share = accuracy / 100 if percent else accuracy
    with np.errstate(invalid="ignore"):
        share = np.where((share >= 0) & (share <= 1), share, np.nan)
    return share, (Doubt("accuracy_percent", "accuracy was taken as percent and divided by 100"),) if percent else ()


def _stacked(files: list[_Rows]) -> _Rows:
    if len(files) == 1:
        return files[0]

    def joined(pick, missing) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for f in files for name in pick(f))
        return {n: np.concatenate([pick(f).get(n, np.full(f.read, missing)) for f in files]) for n in names}

    tags = {}
    for name in dict.fromkeys(n for f in files for n in f.labels):
        values = tuple(dict.fromkeys(v for f in files if name in f.labels for v in f.labels[name].values))
        place = {v: i for i, v in enumerate(values)}
        codes = [np.array([*(place[v] for v in f.labels[name].values), -1])[f.labels[name].code]
                 if name in f.labels else np.full(f.read, -1) for f in files]
        tags[name] = Labels(np.concatenate(codes), values)
    doubts = tuple(dict.fromkeys(d for f in files for d in f.doubts))
    columns = {part: " / ".join(dict.fromkeys(f.columns[part] for f in files if part in f.columns))
               for part in dict.fromkeys(p for f in files for p in f.columns)}
    return _Rows(joined(lambda f: f.values, np.nan), joined(lambda f: f.text, False), tags, columns,
                 doubts, sum(f.read for f in files), sum(f.ragged for f in files))


def _chance_limits(rows: _Rows) -> np.ndarray:
    """(rows,) loss at which a run of its data set counts as diverged; infinite where unknown."""
    if "dataset" not in rows.labels:
        return np.full(rows.read, math.inf)
    data = rows.labels["dataset"]
    by_value = [DIVERGED * math.log(CLASSES[v]) if v in CLASSES else math.inf for v in data.values]
    return np.array([*by_value, math.inf])[data.code]


def _cleaned(rows: _Rows, limit: np.ndarray) -> tuple[np.ndarray, tuple[Exclusion, ...]]:
    """Mask of the rows to fit, and what was left out by which rule; a row falls to the first."""
    keep = np.ones(rows.read, bool)
    excluded = [Exclusion("ragged_row", rows.ragged, "rows with another number of fields than the header")]

    def leave_out(bad: np.ndarray, code: str, text: str) -> None:
        nonlocal keep
        excluded.append(Exclusion(code, int((bad & keep).sum()), text))
        keep = keep & ~bad

    for part, mask in rows.text.items():
        leave_out(mask, "text_" + part, f"rows with text for {part}")
    for part in ("N", "D", "C", "L"):
        value = rows.values[part]
        leave_out(~np.isfinite(value), "not_finite_" + part, f"rows with a missing or infinite {part}")
        leave_out(~(value > 0), "not_positive_" + part, f"rows with {part} <= 0")
        # Their logs are finite, but products and powers of them need not be.
        leave_out(~((value > 1e-30) & (value < 1e60)), "absurd_" + part, f"rows with {part} outside 1e-30..1e60")
    low = limit[np.isfinite(limit)]
    rule = f"diverged runs (loss >= {low.min():.3g})" if len(low) else "diverged runs"
    leave_out(rows.values["L"] >= limit, "diverged", rule)
    leave_out(_duplicates(rows, keep), "duplicate", "exact duplicates of another row")
    return keep, tuple(e for e in excluded if e.rows)


def _duplicates(rows: _Rows, keep: np.ndarray) -> np.ndarray:
    """Mask of rows that repeat an earlier one in every column that we read."""
    columns = [rows.values[n] for n in rows.values] + [rows.labels[n].code for n in rows.labels]
    index = np.flatnonzero(keep)
    # Sorting by a hash of the row puts equal rows side by side at the price of one sort.
    order = index[np.argsort(_hashes([column[index] for column in columns]), kind="stable")]
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        ahead, behind = column[order[1:]], column[order[:-1]]
        same &= (ahead == behind) | ((ahead != ahead) & (behind != behind))
    repeated = np.zeros(rows.read, bool)
    repeated[order[1:][same]] = True
    return repeated


def _hashes(columns: list[np.ndarray]) -> np.ndarray:
    """(n,) uint64, equal for equal rows and hardly ever otherwise (multiply and xorshift, as in splitmix64)."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = np.where(column == column, column + 0.0, np.nan).view(np.uint64)
        total = (total ^ bits) * np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(29)
    return total


def _runs(rows: _Rows) -> Runs:
    get = rows.values
    extra = {name: column for name, column in get.items() if name not in PARTS}
    extra |= {name: np.array([*tag.values, ""], object)[tag.code]
              for name, tag in rows.labels.items() if name in ("lr_rule",)}
    seed = rows.labels["seed"].code if "seed" in rows.labels else np.zeros(rows.read, np.int64)
    return Runs(get["N"], get["D"], get["C"], get["L"], get.get("accuracy"), seed,
                np.zeros(rows.read, np.int64), get.get("budget"), extra)


def _kept(tag: Labels, keep: np.ndarray) -> Labels:
    return Labels(tag.code[keep], tag.values)


def _groups(runs: Runs, tags: dict[str, Labels], *, explicit: bool) -> tuple[Group, ...]:
    """One group for each combination of labels that occurs, in order of the labels."""
    # Ungrouped by the user, only what varies names a group; dropout always does.
    used = {n: t for n, t in tags.items() if explicit or n == "dropout" or len(np.unique(t.code)) > 1}
    if not used:
        return (Group({}, runs),)
    codes = np.stack([tag.code for tag in used.values()], axis=1)
    distinct, member = np.unique(codes, axis=0, return_inverse=True)
    if len(distinct) > MAX_GROUPS:
        raise BadTable(f"--by {' '.join(used)} makes {len(distinct):,} groups, more than {MAX_GROUPS}; "
                       "group by a column with few values")
    groups = [Group({n: tag.values[c] if c >= 0 else "missing" for (n, tag), c in zip(used.items(), row, strict=True)},
                    runs.take(member.ravel() == i)) for i, row in enumerate(distinct)]
    return tuple(sorted(groups, key=lambda g: [(isinstance(v, str), v) for v in g.key.values()]))


def _left_out(excluded: tuple[Exclusion, ...], read: int) -> tuple[Doubt, ...]:
    return tuple(Doubt("excluded_" + e.code, f"left out {e.rows:,} of {read:,} rows: {e.text}") for e in excluded)


def _provenance_doubts(rows: _Rows, keep: np.ndarray) -> tuple[Doubt, ...]:
    prints = rows.labels.get("fingerprint")
    if prints is None or len(np.unique(prints.code[keep])) < 2:
        return ()
    return (Doubt("mixed_fingerprints", f"the rows come from {len(np.unique(prints.code[keep]))} versions of the "
                  "trainer's code or data; they may not belong to one law"),)


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
                  "loss: if a search made them, keep the best of each first"),)
