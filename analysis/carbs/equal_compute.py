"""What a CARBS search and a grid each know after the same FLOPs: the exponents, and the loss itself.

The two exponents are not of one thing: a grid's holds for the recipe it fixed, a search's for the
best recipe at each cost. Where they agree the recipe makes no difference to the exponent; where
they don't, neither is wrong for that reason alone.
"""

from dataclasses import dataclass

import numpy as np

from analysis.carbs.found import Tuned
from analysis.estimates.estimate import Estimate
from analysis.questions.both_laws import fit_group
from analysis.table.runs import Group, Runs, Table

DOUBLINGS = 12   # of the search's spending at most, up to the whole grid


@dataclass(frozen=True)
class Smaller:
    """The grid that so many FLOPs would have bought: its cheapest cells, all seeds of each."""

    spent: float
    runs: int
    a: Estimate | None      # by the law that speaks, as fit.py gives it
    b: Estimate | None
    refused: str            # why there is no a


@dataclass(frozen=True)
class EqualCompute:
    """A search against one group of a grid."""

    group: str
    spent: float                        # by the search
    a: Estimate                         # of its N*(C)
    b: Estimate                         # of its D*(C)
    grids: tuple[Smaller, ...]          # by rising spending, the whole group last
    cheaper: tuple[tuple[float, float], ...]    # (cost of a front run, the grid's cheapest cell as good over it)

    @property
    def as_narrow(self) -> Smaller | None:
        """The smallest grid from which on no interval of a is wider than the search's."""
        width = self.a.high - self.a.low
        found = None
        for grid in reversed(self.grids):
            if grid.a is None or not grid.a.high - grid.a.low <= width:
                break
            found = grid
        return found


def at_equal_compute(found: Tuned, table: Table, group: Group, *, resamples: int = 1000, rng: int = 0) -> EqualCompute:
    """A search beside one of the groups of a grid's table. Raises KeyError where the search has no law of params and samples."""
    whole = float(group.runs.C.sum())
    spendings = [found.spent * 2.0 ** k for k in range(DOUBLINGS + 1) if found.spent * 2.0 ** k < whole] + [whole]
    grids = tuple(_fitted(smaller(group.runs, spent), table, resamples, rng) for spent in spendings)
    return EqualCompute(group.label, found.spent, found.law("params").exponent, found.law("samples").exponent, grids,
                        _cheaper(found, group.runs))


def smaller(runs: Runs, spent: float) -> Runs:
    """The cheapest cells, all seeds of each, that cost `spent` together at most."""
    cost = np.bincount(runs.cell, runs.C)
    order = np.argsort(cost / np.bincount(runs.cell), kind="stable")
    # A part in 1e9: the whole grid's own sum must buy the whole grid.
    bought = order[np.cumsum(cost[order]) <= spent * (1 + 1e-9)]
    return runs.take(np.isin(runs.cell, bought))


def _fitted(runs: Runs, table: Table, resamples: int, rng: int) -> Smaller:
    made = fit_group(runs, table, resamples=resamples, rng=rng) if len(runs) else None
    law = made and made.law
    return Smaller(float(runs.C.sum()), len(runs), law and law.a, law and law.b, made.why if made else "no cell is as cheap")


def _cheaper(found: Tuned, runs: Runs) -> tuple[tuple[float, float], ...]:
    """For each run of the front: how many times its cost the grid's cheapest cell as good would take.

    Cells by their mean loss over seeds; front runs better than every cell are left out.
    """
    count = np.bincount(runs.cell)
    loss, cost = np.bincount(runs.cell, runs.L) / count, np.bincount(runs.cell, runs.C) / count
    return tuple((point.cost, float(cost[loss <= point.loss].min() / point.cost)) for point in found.front
                 if point.cost >= found.low and (loss <= point.loss).any())
