"""The grid of a study: which cells, and the batch size of each."""

import math
from dataclasses import dataclass, replace
from itertools import product

from trainers.mnist.cell import Cell


@dataclass(frozen=True)
class Grid:
    """Every combination of its four lists is a cell."""

    widths: tuple[float, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    dropouts: tuple[float, ...]

    def __post_init__(self):
        """Raises ValueError for a value that no run can have, and for an empty list."""
        for name, values in vars(self).items():
            if not values:
                raise ValueError(f"{name}: give at least one")
        for width in self.widths:
            if not 0 < width < math.inf:
                raise ValueError(f"width {width:g}: widths are multipliers above 0")
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise ValueError(f"fraction {fraction:g}: fractions lie above 0 and at most at 1")
        for dropout in self.dropouts:
            if not 0 <= dropout < 1:
                raise ValueError(f"dropout {dropout:g}: dropouts lie from 0 to below 1")
        for seed in self.seeds:
            if seed < 0:
                raise ValueError(f"seed {seed}: seeds are 0 or more")

    def cells(self) -> list[Cell]:
        """Each once, in order."""
        return sorted({Cell(width=w, fraction=f, dropout=d, seed=s)
                       for w, f, d, s in product(self.widths, self.fractions, self.dropouts, self.seeds)})


def half_octaves(low: int, high: int) -> tuple[float, ...]:
    """sqrt(2)^k for k from low to high: each step about doubles an image's FLOPs."""
    return tuple(2.0 ** (k / 2) for k in range(low, high + 1))


def halvings(first: int, last: int) -> tuple[float, ...]:
    """2^-k for k from first to last."""
    return tuple(2.0**-k for k in range(first, last + 1))


@dataclass(frozen=True)
class BatchRule:
    """Images a step: `full` at the whole data set, growing with the data budget as its square root.

    With one batch size everywhere small fractions get too few steps, lose for want of steps
    rather than of images, and the best use of any compute is the whole data set: the frontier
    would be the grid's edge.
    """

    full: int = 32
    power: float = 0.5

    def __post_init__(self):
        if self.full < 1:
            raise ValueError(f"batch size {self.full}: at least 1 image")

    def __call__(self, fraction: float) -> int:
        return max(1, round(self.full * fraction**self.power))


def seeds(count: int) -> tuple[int, ...]:
    return tuple(range(count))


@dataclass(frozen=True)
class Preset:
    """A grid and how thoroughly its rates are tuned."""

    grid: Grid
    tune_trials: int   # learning rates tried a group, more where the optimum isn't bracketed yet
    tune_seeds: int    # runs averaged for each
    purpose: str


PRESETS = {
    "smoke": Preset(Grid((0.25, 0.5), halvings(6, 7), seeds(1), (0.0, 0.2)), 3, 1, "a test, seconds"),
    "quick": Preset(Grid(half_octaves(-4, 1), halvings(1, 5), seeds(2), (0.0, 0.2)), 5, 1, "minutes on a laptop"),
    "standard": Preset(Grid(half_octaves(-4, 6), halvings(0, 7), seeds(3), (0.0, 0.2)), 7, 2, "half an hour on 2 cores"),
    "full": Preset(Grid(half_octaves(-4, 12), halvings(0, 9), seeds(5), (0.0, 0.2)), 9, 3, "GPUs"),
}


def override(grid: Grid, **lists: tuple | None) -> Grid:
    """The grid with the lists that are given."""
    return replace(grid, **{name: tuple(values) for name, values in lists.items() if values is not None})
