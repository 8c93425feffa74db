"""Scaling laws of the hyperparameters, from the fitted model's optimum along the front.

Least squares over noisy Pareto points is biased even where the front is good: which point wins
its cost is luck. Instead, for one function f drawn from the loss model's posterior, the law is
the straight line in basic coordinates against log cost, x(C), that minimises f averaged over the
front's costs subject to costing C under the cost model: a power law for every Log coordinate,
for the odds of every Logit one. Draws are of the model's hyperparameters (Laplace's
approximation), and given those of the function (pathwise conditioning, Wilson et al. 2020, arXiv
2002.09309). The estimate is the mean of the draws' lines, its interval their spread: where the
model knows little, the optimum of its mean would be wherever a polynomial happens to dip.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.stats import t as student

from analysis.carbs.law import LawPoint, TunedLaw
from analysis.estimates.estimate import Estimate
from sweeps.carbs.beliefs import Beliefs
from sweeps.carbs.draws import Draw, draws_of, mean_of
from sweeps.carbs.front import Front
from sweeps.carbs.space import Choice, Dimension, Integer, Listed, PowerOfTwo, Space
from sweeps.carbs.surrogate import CostModel, LossModel

Array = np.ndarray

# Budgets, evenly in log cost, that a law is fitted over, and that its curve is given at.
BUDGETS, CURVE = 7, 20
# Pull towards the line through the front's own runs, in units of the warped loss for a standard
# deviation of theirs: decides where the model is indifferent. Ten times more narrows the draws' spread.
PULL = 1e-4
# An optimum is looked for where the search has been: each coordinate within REACH deviations of that
# line, and all together within ROOM times the front's own runs' mean squared distance from it, beyond
# which FENCE times the squared excess is added. Farther out lie a polynomial's corners that no run has seen.
REACH, ROOM, FENCE = 3.0, 2.0, 0.1
# Of the search's floor: observed costs scatter about it.
FLOOR = 0.9


class Searched(Protocol):
    """What laws ask of a search."""

    space: Space
    floor: float        # cost below which it has looked for nothing

    def beliefs(self) -> Beliefs: ...

    def front(self) -> Front: ...


@dataclass(frozen=True)
class ScalingLaws:
    """All numeric hyperparameters' laws over one range of costs."""

    laws: dict[str, TunedLaw]
    loss: tuple[LawPoint, ...]      # that the laws' configs are believed to have, free of observation noise
    reference: float                # cost at which the anchors hold
    low: float                      # the range the laws were fitted over
    high: float
    ends: Array                     # (2, d) the optimum at `low` and `high`, in basic coordinates
    draws: Array                    # (draws, 2, d) the same of each posterior draw
    level: float
    carbs: Searched

    def __getitem__(self, name: str) -> TunedLaw:
        return self.laws[name]

    def at(self, cost: float) -> dict:
        """The config the laws prescribe at a cost, extrapolated beyond the fitted range at your risk."""
        return self._config(self.ends, cost)

    def derived(self, name: str, of: Callable[[dict], float]) -> TunedLaw:
        """The law of a positive quantity that a config determines, such as the parameters of a width."""
        costs = np.geomspace(self.low, self.high, CURVE)
        values = np.array([[math.log10(of(self._config(ends, cost))) for cost in costs]
                           for ends in (self.ends, *self.draws)])
        return _law(name, "Log", costs, values, lambda decades: 10.0 ** decades, level=self.level,
                    n=len(self.carbs.beliefs().X))

    def summary(self) -> str:
        rows = [f"optimum along the front, cost {self.low:.3g} to {self.high:.3g}"]
        rows += [f"  {law.name:<16} {law.anchor:>10.4g} at {self.reference:.3g}   "
                 f"exponent {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
                 for law in self.laws.values() for e in [law.exponent]]
        return "\n".join(rows)

    def _config(self, ends: Array, cost: float) -> dict:
        share = math.log(cost / self.low) / math.log(self.high / self.low)
        space = self.carbs.space
        return space.decode(np.clip(ends[0] * (1 - share) + ends[1] * share, space.low, space.high))


def _law(name: str, kind: str, costs: Array, values: Array, back: Callable[[float], float], *, level: float,
         n: int) -> TunedLaw:
    """From values (1 + draws, CURVE) on the scale where a law is a line: the estimate's, then the draws'."""
    draws = len(values) - 1
    slopes = np.polyfit(np.log10(costs), values.T, 1)[0]
    se = float(slopes[1:].std(ddof=1))
    reach = float(student.ppf(0.5 + level / 2, max(draws - 1, 1)))
    exponent = Estimate(float(slopes[0]), float(slopes[0] - reach * se), float(slopes[0] + reach * se), se,
                        f"{draws} posterior draws' conditional optima", n, level)
    return TunedLaw(name, kind, exponent, float(back(np.interp(0.5, np.linspace(0, 1, len(costs)), values[0]))),
                    _curve(costs, values, back, reach))


def _curve(costs: Array, values: Array, back: Callable[[float], float], reach: float) -> tuple[LawPoint, ...]:
    sd = values[1:].std(0, ddof=1)
    return tuple(LawPoint(float(cost), *(float(back(value + side * reach * s)) for side in (0, -1, 1)))
                 for cost, value, s in zip(costs, values[0], sd))


@dataclass(frozen=True)
class _Problem:
    """The line to find: end points (2, d) in basic coordinates."""

    loss: LossModel
    cost: CostModel
    log_cost: Array                 # (BUDGETS,)
    start: Array                    # (2, d): the front's own line
    spread: Array                   # (d,)
    low: Array                      # (2, d) box about it
    high: Array

    def solve(self, draw: Draw, start: Array) -> Array:
        share = ((self.log_cost - self.log_cost[0]) / (self.log_cost[-1] - self.log_cost[0]))[:, None]
        cost = mean_of(self.cost.process)
        pulled = self.start[0] * (1 - share) + self.start[1] * share

        def objective(flat: Array) -> tuple[float, Array]:
            ends = flat.reshape(2, -1)
            X = ends[0] * (1 - share) + ends[1] * share
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
            k = len(X)
            return value.sum() / k, np.concatenate([((1 - share) * slope).sum(0), (share * slope).sum(0)]) / k

        box = list(zip(self.low.ravel(), self.high.ravel()))
        return minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", bounds=box,
                        options={"maxiter": 300, "maxfun": 400}).x.reshape(2, -1)


def _pose(carbs: Searched) -> _Problem:
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
    low, high = (np.clip(ends + side * REACH * scatter, space.low, space.high) for side in (-1, 1))
    for block in space.blocks:
        # A choice has no law: the one that most of the front's dearer half made.
        most = X[len(X) // 2:, block].sum(0)
        low[:, block] = high[:, block] = (most == most.max()) * space.high[block.start]
    return _Problem(now.loss, now.cost, np.linspace(c[0], c[-1], BUDGETS), np.clip(ends, low, high), scatter, low, high)


def _value(dim: Dimension, value: float) -> float:
    """Back from decades or units; a whole or listed number's law is not rounded, or it would be a staircase."""
    if isinstance(dim, Listed):
        return dim.unscaled(value)
    if isinstance(dim, (Integer, PowerOfTwo)):
        return 10.0 ** value if isinstance(dim, PowerOfTwo) or dim.log else value
    return dim.decode([value / dim.scale])


def _along(problem: _Problem, draw: Draw, ends: Array) -> Array:
    """Warped loss (CURVE,) of the draw along a line."""
    share = np.linspace(0, 1, CURVE)[:, None]
    return draw.value_and_gradient(problem.loss.scaling(ends[0] * (1 - share) + ends[1] * share))[0]


def scaling_laws(carbs: Searched, *, level: float = 0.95, draws: int = 48, seed: int = 0) -> ScalingLaws:
    """Every numeric hyperparameter's optimum as a power law of the cost, with posterior intervals.

    Raises ValueError where the front is too short to say anything.
    """
    problem = _pose(carbs)
    mean, n = mean_of(problem.loss.process), len(problem.loss.process.y)
    start = problem.solve(mean, problem.start)
    functions = draws_of(problem.loss.process, draws, np.random.default_rng(seed))
    lines = np.array([problem.solve(f, start) for f in functions])
    best = lines.mean(0)
    low, high = (math.exp(problem.log_cost[i]) for i in (0, -1))
    costs, share = np.geomspace(low, high, CURVE), np.linspace(0, 1, CURVE)
    laws = {}
    for name, dim in carbs.space.dimensions.items():
        if isinstance(dim, Choice):
            continue
        ends = np.vstack([best[None], lines])[:, :, carbs.space.columns[name].start]
        # In decades, or in units: basic units by the scale.
        values = dim.scale * (ends[:, :1] * (1 - share) + ends[:, 1:] * share)
        laws[name] = _law(name, type(dim).__name__, costs, values,
                          lambda value, dim=dim: _value(dim, value), level=level, n=n)
    losses = np.array([_along(problem, f, best) for f in (mean, *functions)])
    loss = _curve(costs, losses, problem.loss.warp.inverse,
                  float(student.ppf(0.5 + level / 2, max(draws - 1, 1))))
    return ScalingLaws(laws, loss, math.sqrt(low * high), low, high, best, lines, level, carbs)
