"""Where a table's runs sit: the axes that move N and D, the settings that follow from them, and the values in between and beyond."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.table.columns import chosen
from analysis.table.files import BadTable, open_sheet, read_columns
from analysis.table.formats.sheet import printable
from analysis.table.groups import driven
from analysis.table.roles import MNIST, Description, is_mnist
from analysis.table.runs import Group, Table
from analysis.table.values import labels, numbers

SHARE = re.compile(r"share|fraction|proportion|probability", re.IGNORECASE)
SIZES, DATA = "params", "samples"   # what a stranger's axes are called where C = 6 N D gave one of them


@dataclass(frozen=True, eq=False)
class Axis:
    """One coordinate of the grid."""

    name: str
    values: np.ndarray   # (v,) of the table, ascending
    whole: bool          # every value is a whole number, and so are new ones
    low: float           # new values lie between these
    high: float

    @property
    def step(self) -> float:
        """Between neighbours, in logs."""
        return float(np.median(np.diff(np.log(self.values))))

    def outside(self, values: np.ndarray) -> np.ndarray:
        """How many steps they lie outside the table's own, 0 inside."""
        logs, own = np.log(values), np.log(self.values)
        return np.maximum(np.maximum(own[0] - logs, logs - own[-1]), 0.0) / self.step

    def candidates(self, below: int, above: int) -> np.ndarray:
        """The table's values, one between every two neighbours, and so many steps below and above."""
        logs, step = np.log(self.values), self.step
        made = np.exp(np.concatenate([logs, (logs[1:] + logs[:-1]) / 2, logs[0] - step * np.arange(1, below + 1),
                                      logs[-1] + step * np.arange(1, above + 1)]))
        made = np.round(made) if self.whole else np.array([float(f"{value:.4g}") for value in made])
        made = np.concatenate([self.values, made[(made >= self.low) & (made <= self.high) & (made > 0)]])
        kept = np.unique(made)
        near = np.min(np.abs(np.log(kept[:, None] / self.values)), axis=1) < 0.01   # the table's own, to the digit
        return np.unique(np.concatenate([self.values, kept[~near]]))


@dataclass(frozen=True, eq=False)
class Curve:
    """A positive quantity against one axis: straight between the table's points in logs, and so beyond them.

    At the table's own values it is the table's to the last digit: runs of one cell are known by that.
    """

    axis: str
    at: np.ndarray        # (v,) logs of the axis
    own: np.ndarray       # (v,) the quantity there

    def __call__(self, places: Mapping[str, np.ndarray]) -> np.ndarray:
        x = np.log(places[self.axis])
        there = np.searchsorted(self.at, x)
        i = np.clip(there - 1, 0, len(self.at) - 2)
        there = np.minimum(there, len(self.at) - 1)
        log = np.log(self.own)
        slope = (log[i + 1] - log[i]) / (self.at[i + 1] - self.at[i])
        return np.where(self.at[there] == x, self.own[there], np.exp(log[i] + slope * (x - self.at[i])))


@dataclass(frozen=True, eq=False)
class Following:
    """A setting that is no axis: what the nearest cells of the table had."""

    name: str
    values: np.ndarray               # (n,) of the table's rows, numbers or text
    curve: Curve | None = None       # where it is a number that follows one axis
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Places:
    """All that a new cell of a group needs: its axes, what they make of N, D and C, and its other settings."""

    axes: tuple[Axis, ...]
    N: Curve
    D: Curve
    per_sample: Curve                        # C/D against the axis of N
    rows: Mapping[str, np.ndarray] = field(repr=False)   # axis -> (n,) of the table
    following: tuple[Following, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)   # axes that don't vary, and the group's own
    seed: str | None = None
    next_seed: int = 0                       # above every one that the table has
    declared: tuple[str, ...] = ()           # axes as the table declares them, fixed ones included

    def settings(self, places: Mapping[str, np.ndarray]) -> dict[str, list]:
        """Values of the following settings at places (K,) each."""
        made, count = {}, len(next(iter(places.values())))
        grid = np.stack([np.log(self.rows[a.name]) for a in self.axes], 1)
        want = np.stack([np.log(places[a.name]) for a in self.axes], 1)
        nearest = np.array([np.square(grid - w).sum(1).argmin() for w in want]) if count else np.zeros(0, int)
        for f in self.following:
            if f.curve is None:
                made[f.name] = [f.values.tolist()[i] for i in nearest]
            else:
                value = f.curve(places)
                # at the table's own values what the table has, to the last digit
                known = dict(zip(self.rows[f.curve.axis].tolist(), f.values.tolist(), strict=True))
                made[f.name] = [known.get(x, max(round(v), 1) if f.whole else float(f"{v:.4g}"))
                                for x, v in zip(places[f.curve.axis].tolist(), value.tolist(), strict=True)]
        return made


def places_of(table: Table, group: Group, within: Mapping[str, tuple[float, float]]) -> Places:
    """Of a group of a table that one file holds. within: axis -> lowest and highest value of new cells.

    Raises BadTable where no axis moves N, or none D, or several do.
    """
    rows = _Rows.read(table, group)
    of = {letter: _axis_of(letter, rows) for letter in "ND"}
    axes = tuple(_axis(name, rows, within) for name in dict.fromkeys(of.values()))
    if unknown := sorted(set(within) - {a.name for a in axes}):
        raise BadTable(f"--within {unknown[0]}: new cells vary along {' and '.join(a.name for a in axes)}")
    if len(axes) == 1:
        raise BadTable(f"{axes[0].name} moves N and D together: no cell can be chosen by both")
    N, D, per = (_curve(of[letter], rows, value) for letter, value in (("N", rows.N), ("D", rows.D), ("N", rows.C / rows.D)))
    fixed = {name: value.tolist()[0] for name, value in rows.axes.items() if name not in of.values()}
    seed = next(iter(rows.seeds), None)
    following = tuple(_following(name, value, axes, rows) for name, value in rows.choices.items())
    return Places(axes, N, D, per, {a.name: rows.axes[a.name] for a in axes}, following, {**fixed, **dict(group.key)}, seed,
                  int(np.nanmax(rows.seeds[seed])) + 1 if seed else 0, tuple(dict.fromkeys((*of.values(), *fixed, *group.key))))


@dataclass(frozen=True, eq=False)
class _Rows:
    """A group's rows as its file has them."""

    axes: dict[str, np.ndarray]       # name -> (n,): numbers, or text
    choices: dict[str, np.ndarray]
    seeds: dict[str, np.ndarray]
    N: np.ndarray
    D: np.ndarray
    C: np.ndarray
    description: Description

    @classmethod
    def read(cls, table: Table, group: Group) -> "_Rows":
        """Rows that the fit used give N, D and C; all rows say which seeds are taken."""
        runs = group.runs
        if not table.description:
            own = {letter: name if (name := table.columns.get(letter, "")).isidentifier() else default
                   for letter, default in (("N", SIZES), ("D", DATA))}
            return cls({own["N"]: runs.N, own["D"]: runs.D}, {}, _seeds(table), runs.N, runs.D, runs.C, Description())
        if len(table.sources) != 1:
            raise BadTable("a plan goes on from one table: merge several first (python -m sweeps.merge)")
        sheet = open_sheet(table.sources[0])
        description = sheet.description or (MNIST if is_mnist(sheet.flat) else Description())
        known = [name for name in (*description.columns, *group.key) if name in sheet.flat]
        text = {name for name, c in description.columns.items() if c.text}
        columns = {name: _labelled(sheet, name) if name in text else _values(sheet, name) for name in dict.fromkeys(known)}
        mine = np.ones(len(columns[known[0]]), bool)
        for name, value in group.key.items():
            mine &= _equal(columns[name], value)
        letters = {letter: columns[description.lettered(letter)[0]] if description.lettered(letter) else None for letter in "NDCL"}
        mine &= np.all([np.isfinite(v) & (v > 0) for v in letters.values() if v is not None], axis=0)
        N, D = (np.asarray(letters[letter], float) if letters[letter] is not None else None for letter in "ND")
        C = letters["C"] if letters["C"] is not None else 6 * N * D
        N, D = (C / (6 * D) if N is None else N), (C / (6 * N) if D is None else D)
        axes = {n: columns[n][mine] for n in description.named("axis") if n in columns and n not in group.key}
        choices = {n: columns[n][mine] for n in description.named("choice") if n in columns and n not in group.key}
        seeds = {n: columns[n] for n in description.named("repeat") if n in columns}
        return cls(axes, choices, seeds, N[mine], D[mine], np.asarray(C, float)[mine], description)


def _values(sheet, name: str) -> np.ndarray:
    """A column as numbers, else as text."""
    read = numbers(read_columns(sheet, [name]).columns[name])
    return read.values if not read.text.any() and np.isfinite(read.values).any() else _labelled(sheet, name)


def _labelled(sheet, name: str) -> np.ndarray:
    tags = labels(read_columns(sheet, [name]).columns[name])
    return np.array([*tags.values, None], object)[tags.code]


def _equal(column: np.ndarray, value: object) -> np.ndarray:
    return np.array([one == value for one in column])


def _seeds(table: Table) -> dict[str, np.ndarray]:
    """A stranger's seeds, where they are numbers."""
    name = table.columns.get("seed")
    if name is None or len(table.sources) != 1:
        return {}
    sheet = open_sheet(table.sources[0])
    values = _values(sheet, chosen(sheet.flat, name, "--seed", table.sources[0]))
    return {name: values} if values.dtype.kind == "f" else {}


def _numeric(rows: _Rows) -> dict[str, np.ndarray]:
    """Axes of positive numbers of several values."""
    return {n: v for n, v in rows.axes.items() if v.dtype.kind == "f" and len(np.unique(v)) > 1 and (v > 0).all()}


def _axis_of(letter: str, rows: _Rows) -> str:
    """The one axis that moves N, or D. Raises BadTable."""
    quantity = getattr(rows, letter)
    axes = _numeric(rows)
    lettered = [name for name in axes if (c := rows.description.columns.get(name)) and c.law == letter]
    codes = {name: np.unique(value.astype(str) if value.dtype == object else value, return_inverse=True)[1]
             for name, value in rows.axes.items()}
    found = lettered or [name for name in axes if driven(name, codes, {letter: quantity})]
    what = "model size" if letter == "N" else "amount of data"
    if not found:
        raise BadTable(f"no axis of this table moves the {what}: there is nothing to choose new cells by")
    if len(found) > 1:
        raise BadTable(f"{' and '.join(map(printable, found))} move the {what}: new cells are chosen where one axis does")
    return found[0]


def _axis(name: str, rows: _Rows, within: Mapping[str, tuple[float, float]]) -> Axis:
    values = np.unique(rows.axes[name])
    said = rows.description.columns.get(name)
    share = values.max() <= 1 and (SHARE.search(name) or said and SHARE.search(said.meaning))
    low, high = within.get(name, (0.0, 1.0 if share else np.inf))
    return Axis(name, values, bool((values == np.round(values)).all()), low, high)


def _curve(axis: str, rows: _Rows, quantity: np.ndarray) -> Curve:
    """At each value of the axis the one value that the quantity has there, or the mean of its logs."""
    values, first, code = np.unique(rows.axes[axis], return_index=True, return_inverse=True)
    one, mean = quantity[first], np.exp(np.bincount(code, np.log(quantity)) / np.bincount(code))
    return Curve(axis, np.log(values), np.where(np.abs(mean / one - 1) < 1e-9, one, mean))


def _following(name: str, value: np.ndarray, axes: Sequence[Axis], rows: _Rows) -> Following:
    """A choice that takes one value at each value of one axis follows that axis; any other is the nearest cell's."""
    if value.dtype.kind != "f":
        return Following(name, value)
    whole = bool((value == np.round(value)).all())
    value = value.astype(int) if whole else value
    if len(np.unique(value)) > 1 and (value > 0).all():
        for axis in axes:
            code = distinct(rows.axes[axis.name])
            if distinct(code, value).max() == code.max():
                return Following(name, value, _curve(axis.name, rows, value.astype(float)), whole)
    return Following(name, value)
