"""Where a loss model's least loss lies along the front: curves of basic coordinates against log cost.

For one function f drawn from the loss model, the curve x(C), a straight line or a cubic in log
cost, that minimises f averaged over the front's costs subject to costing C under the cost model.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import minimize

from sweeps.carbs.beliefs import Beliefs
from sweeps.carbs.draws import Draw
from sweeps.carbs.front import Front
from sweeps.carbs.relevance import without_irrelevant
from sweeps.carbs.space import Space
from sweeps.carbs.surrogate import CostModel, LossModel

Array = np.ndarray

# Budgets, evenly in log cost, that a law is fitted over, and that its curve is given at.
BUDGETS, CURVE = 7, 20
# Of a law's curve, a cubic: where costs have a fixed overhead, a parabola can't keep to them at the cheap end, and what it
# spends too much there is taken from whatever the cost model thinks a little dear.
CONTROLS = 4
# Pull towards the line through the front's own runs, in units of the warped loss for a standard
# deviation of theirs: decides where the model is indifferent. Ten times more narrows the draws' spread.
PULL = 1e-4
# An optimum is looked for where the search has been: each coordinate within REACH deviations of that
# line, and all together within ROOM times the front's own runs' mean squared distance from it, beyond
# which FENCE times the squared excess is added. Farther out lie a polynomial's corners that no run has seen.
REACH, ROOM, FENCE = 3.0, 2.0, 0.1
# Deviations of a coordinate that bears no cost are as much larger: the front's runs lie where the search believed its optimum to
# be, and don't tell how far that may be off. Without, half-widths are 1.3 times too small for wd; at 1.5 lr's on P4 are half
# as wide again.
FREE = 1.3
# Of the search's floor: observed costs scatter about it.
FLOOR = 0.9


class Searched(Protocol):
    """What laws ask of a search."""

    space: Space
    floor: float        # cost below which it has looked for nothing
    maximise: bool      # losses are the negative of what the user calls by that name

    def beliefs(self) -> Beliefs: ...

    def front(self) -> Front: ...


def basis(share: Array, controls: int) -> Array:
    """Weights (m, controls) of evenly spaced control points at shares (m,) of the way: Lagrange's, a line of 2, a cubic of 4."""
    t, nodes = np.asarray(share, float)[:, None], np.linspace(0.0, 1.0, controls)
    others = [np.delete(nodes, i) for i in range(controls)]
    return np.column_stack([np.prod((t - rest) / (node - rest), axis=1) for node, rest in zip(nodes, others)])


@dataclass(frozen=True)
class Problem:
    """What a curve is looked for in."""

    loss: LossModel
    cost: CostModel
    log_cost: Array                 # (BUDGETS,)
    start: Array                    # (2, d): the front's own line, in basic coordinates
    spread: Array                   # (d,)
    low: Array                      # (2, d) box about it
    high: Array

    def solve(self, draw: Draw, start: Array, cost: Draw) -> Array:
        """Control points (controls, d) of the curve of least loss, as many as `start` has."""
        share = (self.log_cost - self.log_cost[0]) / (self.log_cost[-1] - self.log_cost[0])
        weights, line = basis(share, len(start)), basis(share, 2)
        pulled = line @ self.start

        def objective(flat: Array) -> tuple[float, Array]:
            X = weights @ flat.reshape(start.shape)
            f, df = draw.value_and_gradient(self.loss.scaling(X))
            g, dg = cost.value_and_gradient(self.cost.scaling(X))
            miss = self.cost.shift + self.cost.scale * g - self.log_cost
            off = (X - pulled) / self.spread
            # 30: a miss of 1% of the cost weighs as much as .003 of the warped loss.
            r2 = (off * off).sum(1)
            outside = np.maximum(r2 / (ROOM * X.shape[1]) - 1.0, 0.0)[:, None]
            value = f + 30.0 * miss ** 2 + PULL * r2 + FENCE * outside[:, 0] ** 2
            slope = (df / self.loss.scaling.sd + 60.0 * miss[:, None] * self.cost.scale * dg / self.cost.scaling.sd
                     + 2.0 * (PULL + 2.0 * FENCE / (ROOM * X.shape[1]) * outside) * off / self.spread)
            return value.mean(), (weights.T @ slope / len(X)).ravel()

        places = basis(np.linspace(0.0, 1.0, len(start)), 2)
        box = list(zip((places @ self.low).ravel(), (places @ self.high).ravel()))
        return minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", bounds=box,
                        options={"maxiter": 300, "maxfun": 400}).x.reshape(start.shape)


def pose(carbs: Searched) -> Problem:
    """From a search. Raises ValueError where its front is too short to say anything."""
    now, space = carbs.beliefs(), carbs.space
    # Below its floor the search has looked for nothing: what is on the front there is no optimum.
    front = [p for p in carbs.front() if p.cost >= FLOOR * carbs.floor]
    if len(front) < 3 or front[-1].cost < 2 * front[0].cost:
        raise ValueError(f"need a front of at least 3 runs over a factor of 2 in cost, from {carbs.floor:.3g} up, for a "
                         f"law, got {len(front)}" + (f" to {front[-1].cost:.3g}" if front else ""))
    X = np.array([space.encode(p.config) for p in front])
    c = np.log([p.cost for p in front])
    slope, level = np.polyfit(c, X, 1)
    ends = level + slope * np.array([[c[0]], [c[-1]]])
    scatter = np.maximum((X - level - np.outer(c, slope)).std(0), 0.1)
    cost = without_irrelevant(now.cost)
    scatter = np.where(cost.depends, scatter, FREE * scatter)
    low, high = (np.clip(ends + side * REACH * scatter, space.low, space.high) for side in (-1, 1))
    for block in space.blocks:
        # A choice has no law: the one that most of the front's dearer half made.
        most = X[len(X) // 2:, block].sum(0)
        low[:, block] = high[:, block] = (most == most.max()) * space.high[block.start]
    return Problem(now.loss, cost, np.linspace(c[0], c[-1], BUDGETS), np.clip(ends, low, high), scatter, low, high)
