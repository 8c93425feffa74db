"""The grid of a study: every combination of its axes' values and seeds is a cell."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from itertools import product

from trainers.columns import Column, columns, names, typed
from trainers.task import Task

MOST_CELLS = 10_000_000   # of a grid: above, a typing error


@dataclass(frozen=True)
class Grid:
    """Values of every axis, and of the seed where the task has one."""

    axes: Mapping[str, tuple]
    seeds: tuple[int, ...] = (0,)
    choices: Mapping[str, object] = field(default_factory=dict)   # settings equal in all cells

    def __post_init__(self):
        """Raises ValueError for an axis without values and for a grid that nobody can train."""
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"{name}: give at least one value")
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: {', '.join(map(str, values))} names a value twice")
        if not self.seeds:
            raise ValueError("seeds: give at least one")
        if self.size > MOST_CELLS:
            raise ValueError(f"a grid of {self.size:,} cells: give fewer values")

    @property
    def size(self) -> int:
        return math.prod(map(len, self.axes.values())) * len(self.seeds)

    def settings(self) -> Iterable[dict[str, object]]:
        """Axes of every place, without seeds."""
        return (dict(zip(self.axes, values)) for values in product(*self.axes.values()))

    def __str__(self) -> str:
        parts = [f"{len(values)} {name}{'' if len(values) == 1 or name.endswith('s') else 's'}" for name, values in self.axes.items()]
        return " x ".join([*parts, f"{len(self.seeds)} seed{'' if len(self.seeds) == 1 else 's'}"])


def cell_of(task: Task, settings: Mapping[str, object], *, seed: int | None = None, **choices: object) -> object:
    """The task's cell at these settings, with the choices that follow from them and those that are given."""
    repeats = names(task.cell, "repeat")
    made = {**task.recipe(settings), **choices, **settings}
    return task.cell(**made, **({repeats[0]: seed} if repeats and seed is not None else {}))


def cells_of(task: Task, grid: Grid, **choices: object) -> list[object]:
    """Every cell once, in order."""
    made = {cell_of(task, settings, seed=seed, **{**grid.choices, **choices}) for settings in grid.settings() for seed in grid.seeds}
    return sorted(made)


def grid_of(task: Task, axes: Mapping[str, tuple], seeds: int, choices: Mapping[str, object], *,
            seed_values: Sequence | None = None) -> Grid:
    """The grid with every value in its column's type; seeds are 0, 1, ... unless their values are given.

    Raises ValueError, one line, for a name that the task does not take, one that it takes and nobody gives,
    a value of another type, and seeds where it takes none.
    """
    known = {c.name: c for c in columns(task.cell)}
    for name in (*axes, *choices):
        if name not in known:
            raise ValueError(f"{task.name} takes no {name}: it takes {', '.join(known)}")
    if both := sorted(set(axes) & set(choices)):
        raise ValueError(f"{both[0]} is given twice: on the grid, and as one value")
    repeats = names(task.cell, "repeat")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: give at least 1")
    if seeds > 1 and not repeats:
        raise ValueError(f"--seeds {seeds}: {task.name} takes no seed, so every repetition would be the same run")
    return Grid(axes={name: _values(known[name], values) for name, values in axes.items()},
                seeds=tuple(valued(known[repeats[0]], value) for value in seed_values) if seed_values else tuple(range(seeds)),
                choices={name: valued(known[name], value) for name, value in choices.items()})


def _values(column: Column, values: tuple) -> tuple:
    if isinstance(values, Spaced) and column.kind is int:
        values = tuple(dict.fromkeys(round(value) for value in values))
    return tuple(valued(column, value) for value in values)


def missing(task: Task, given: Iterable[str]) -> list[str]:
    """Settings without a default that nobody gives."""
    return [c.name for c in columns(task.cell) if c.default is MISSING and c.name not in set(given)]


def valued(column: Column, value: object) -> object:
    """The value in its column's type. Raises ValueError where it is none."""
    made = typed(column.name, column.kind, value)
    if column.kind is float and not math.isfinite(made):
        raise ValueError(f"{column.name}={value}: give a finite number")
    return made


class Spaced(tuple):
    """Values that a range gave: rounded where the axis is whole."""


def parsed_axis(text: str) -> tuple[str, tuple]:
    """depth=2,4,8 -> depth and its values; tokens=1e5:1e7:5 -> five values, evenly spaced in their logarithm.

    A colon behind a word is the word's own: protocol=wsd:mine.

    Raises ValueError, one line, for anything else.
    """
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier() or not values:
        raise ValueError(f"{text}: give an axis and its values, as in depth=2,4,8 or tokens=1e5:1e7:5")
    listed = [value.strip() for value in values.split(",")]
    if all(":" not in value or (value[:1].isalpha() and value.count(":") == 1) for value in listed):
        return name, tuple(listed)
    try:
        low, high, count = values.split(":")
        low, high, count = float(low), float(high), int(count)
    except ValueError:
        raise ValueError(f"{text}: a range is LOW:HIGH:COUNT, as in tokens=1e5:1e7:5") from None
    if not 0 < low < high < math.inf or count < 2:
        raise ValueError(f"{text}: a range goes up from above 0, in 2 values or more")
    return name, Spaced(float(f"{low * (high / low) ** (k / (count - 1)):.6g}") for k in range(count))


def parsed_range(text: str) -> tuple[str, tuple[float, float]]:
    """lr=1e-4:1e-1 -> lr and its bounds. Raises ValueError for anything else."""
    name, _, bounds = text.partition("=")
    try:
        low, high = map(float, bounds.split(":"))
    except ValueError:
        raise ValueError(f"--tune {text}: give a setting and its bounds, as in --tune lr=1e-4:1e-1") from None
    return name, (low, high)
