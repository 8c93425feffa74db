"""The first runs, before there is a model: a scrambled Sobol sequence through a Gaussian."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from sweeps.carbs.observation import Observation
from sweeps.carbs.space import Space

Array = np.ndarray

# Of the Gaussian that the first runs are drawn from, in basic coordinates: wide enough for the
# models to see slopes above the noise.
INITIAL_RADIUS = 0.4


class BudgetSpent(Exception):
    """No run fits into what is left of the budget."""


@dataclass(frozen=True)
class Base:
    """What the first runs are drawn about, and how dear they may be."""

    run: Observation | None     # None: the center
    limit: float                # of a run's cost

    def radius(self, failed: int) -> float:
        """Of the Gaussian; `failed` runs more than a design has were no use."""
        # Where nothing finishes near the center, look further afield: a tenth more each failure.
        radius = INITIAL_RADIUS * 1.1 ** failed
        if self.run is not None and self.run.cost < self.limit < math.inf:
            # No model knows the cost yet. With two or three coordinates in it at slopes near 1, two
            # sd of its log are three radii: keep those under the limit, and still see a slope.
            radius = min(radius, max(math.log10(self.limit / self.run.cost) / 3, 0.03))
        return radius


def base_of(finished: Sequence[Observation], *, max_cost: float, budget: float | None, spent: float, flying: int) -> Base:
    """The best run within what a run may cost, or the cheapest. Raises BudgetSpent."""
    limit = max_cost
    if budget is not None and finished:
        # Those in flight may each cost twice the dearest so far: one sd of the first runs' scatter.
        left = budget - spent - 2.0 * flying * max(o.cost for o in finished)
        if left <= min(o.cost for o in finished):
            raise BudgetSpent(f"spent {spent:.4g} of {budget:.4g}, {flying} runs in flight")
        limit = min(limit, left)
    within = [o for o in finished if o.cost < limit]
    if within:
        return Base(min(within, key=lambda o: o.loss), limit)
    return Base(min(finished, key=lambda o: o.cost, default=None), limit)


def design_point(space: Space, about: Array, index: int, *, radius: float, seed: int) -> Array:
    """Point `index` of the sequence about a point (d,), inside the bounds; every option of a choice alike."""
    sobol = qmc.Sobol(space.width, seed=np.random.default_rng(seed))
    u = sobol.fast_forward(index).random(1)[0]
    x = about + np.where(space.numeric, radius * ndtri(np.clip(u, 1e-6, 1 - 1e-6)), 0.0)
    for block in space.blocks:
        x[block] = u[block]     # the largest of k uniform draws
    return np.clip(x, space.low, space.high)
