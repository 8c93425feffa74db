"""Real training runs, tabulated: what a search that knows none of our problems' formulas finds among them.

Porian et al. 2024 (arXiv 2406.19146): loss over size and budget of 15 sweeps of language models.
"""

import math
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from scipy.interpolate import LinearNDInterpolator

from sweeps.carbs.search import Carbs
from sweeps.carbs.space import Log

PORIAN = Path(__file__).resolve().parents[1] / "worlds" / "published" / "porian" / "isoflop_points.csv"


class Between:
    """A table of runs over size and data, linear between them in logs; nobody knows what lies outside."""

    def __init__(self, N, D, loss, cost):
        self.points, self.loss_of = np.log10([N, D]).T, loss
        self.between = LinearNDInterpolator(self.points, loss)
        # The cost is that of the table's own runs: k N^p D^q, exact but for how a budget was met.
        self.price, *_ = np.linalg.lstsq(np.column_stack([self.points, np.ones(len(N))]), np.log10(cost), rcond=None)
        self.cost = 10.0 ** (np.column_stack([self.points, np.ones(len(N))]) @ self.price)
        start = np.flatnonzero(cost == cost.min())
        # A center that is off: the second worst of the cheapest budget (the worst is the hull's very corner).
        self.center = 10.0 ** self.points[start[np.argsort(loss[start])[-2]]]

    def look(self, n, d):
        """Loss (NaN outside the table) and cost."""
        return float(self.between(math.log10(n), math.log10(d))), float(10.0 ** (self.price @ [math.log10(n), math.log10(d), 1.0]))

    def closed(self, looked):
        """Share of the gap from the first look to the table's own envelope, over budgets even in log cost."""
        loss, cost = np.array(looked).T
        budgets = np.geomspace(cost[0] * 2, self.cost.max(), 60)
        best = np.array([np.nanmin(loss[cost <= budget]) for budget in budgets])
        return float(np.mean((loss[0] - best) / (loss[0] - [self.loss_of[self.cost <= budget].min() for budget in budgets])))


def by_carbs(table, looks, seed):
    carbs, looked = Carbs({"N": Log(table.center[0]), "D": Log(table.center[1])}, seed=seed, max_cost=table.cost.max() * 1.001), []
    for _ in range(looks):
        config = carbs.ask()
        looked.append(table.look(config["N"], config["D"]))
        carbs.tell(config, loss=looked[-1][0], cost=looked[-1][1])
    return table.closed(looked)


def by_chance(table, looks, seed):
    """The same center, then the table's own runs at random: it knows the range and the trade, as the search does not."""
    picks = np.random.default_rng(seed).integers(len(table.points), size=looks - 1)
    return table.closed([table.look(*table.center), *((table.loss_of[i], table.cost[i]) for i in picks)])


def porian():
    columns = pyarrow.csv.read_csv(PORIAN).to_pydict()
    keys = list(zip(*(columns[name] for name in ("dataset", "hparams", "warmup", "decay", "param_count", "val")), strict=True))
    for key in dict.fromkeys(keys):
        mine = np.array([k == key for k in keys])
        N, D, loss, cost = (np.array(columns[name])[mine] for name in ("n", "t", "loss", "flops"))
        yield Between(N, D, loss, cost)


def compared(tables, looks, seeds):
    """Share closed by the search and by chance, (2, tables), means over seeds."""
    pairs = [[(by_carbs(table, looks, seed), by_chance(table, looks, seed)) for seed in range(seeds)] for table in tables]
    return np.mean(pairs, axis=1).T


@pytest.mark.slow
def test_language_models_fronts_are_found_in_few_looks():
    # All 15 sweeps, two seeds: of three searches (sd .05 each) one unlucky one decides.
    ours, chance = compared(list(porian()), looks=20, seeds=2).mean(1)
    print(f"closed {ours:.3f}, by chance {chance:.3f}")
    assert ours > 0.95 and ours > chance


@pytest.mark.slow
@pytest.mark.parametrize("looks", [20, 40])
def test_language_models_fronts_are_found_in_every_sweep(looks, record_testsuite_property):
    """Chance knows the table's range and trade from the first look; the search learns them, and then leaves less than half."""
    ours, chance = compared(list(porian()), looks=looks, seeds=4)
    gain = ours - chance
    record_testsuite_property(f"{looks} looks", f"closed {ours.mean():.3f}, by chance {chance.mean():.3f}, "
                                               f"gain {gain.mean():.3f} +- {gain.std(ddof=1) / math.sqrt(len(gain)):.3f}")
    assert ours.mean() > 0.95
    assert gain.mean() > 3 * gain.std(ddof=1) / math.sqrt(len(gain))
    assert looks < 40 or 1 - ours.mean() < 0.5 * (1 - chance.mean())
