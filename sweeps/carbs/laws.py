"""Scaling laws of the hyperparameters, from the fitted model's optimum along the front.

Least squares over noisy Pareto points is biased even where the front is good: which point wins
its cost is luck. Instead, for one function f drawn from the loss model's posterior, x(C) is the
curve in basic coordinates against log cost that minimises f averaged over the front's costs subject
to costing C under the cost model. Draws are of the model's hyperparameters (Laplace's approximation),
and given those of the function (pathwise conditioning, Wilson et al. 2020, arXiv 2002.09309).

A coordinate's *exponent* is the least-squares slope of x(C) on log10 C, evenly in log C over the
fitted range: the power of a power law for Log and Integer, of the odds for Logit. x(C) is a cubic
in log C, so that it may bend. Its *bend* is the change of the local exponent from the cheap end to
the dear one, of the parabola nearest to it; where its interval holds 0 the data show none, and `at`
extrapolates a straight line of least loss. A cost is taken to depend on those coordinates alone that
the evidence asks for (`relevance`). Estimates are means over the draws, intervals their spread, wider
by as much as the loss model's intervals are (`LossModel.doubt`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from analysis.carbs.law import LawPoint, TunedLaw
from analysis.estimates.estimate import Estimate
from sweeps.carbs.draws import Draw, draw_of, draws_of, mean_of
from sweeps.carbs.optimum import CONTROLS, CURVE, Problem, Searched, basis, pose
from sweeps.carbs.space import Choice, Dimension, Integer, Listed, PowerOfTwo

Array = np.ndarray

# A coordinate is pinned where this share of its curve lies at a bound, within so much of a basic unit.
PINNED, AT_BOUND = 0.8, 0.02


@dataclass(frozen=True)
class Bend:
    """How the exponent of one hyperparameter changes along the front."""

    change: Estimate        # of the local exponent, from the cheap end to the dear one
    p: float                # of no bend, by Student's t over the draws
    low: Estimate           # local exponent at the cheap end
    high: Estimate          # and at the dear one
    pinned: str             # "", or at which bound the optimum lies: its exponent is then the space's, not the data's

    @property
    def bends(self) -> bool:
        return not self.pinned and 0.0 not in self.change


@dataclass(frozen=True)
class ScalingLaws:
    """All numeric hyperparameters' laws over one range of costs."""

    laws: dict[str, TunedLaw]
    bends: dict[str, Bend]
    loss: tuple[LawPoint, ...]      # that the laws' configs are believed to have, free of observation noise
    reference: float                # cost at which the anchors hold
    low: float                      # the range the laws were fitted over
    high: float
    ends: Array                     # (2, d) the straight line of least loss at `low` and `high`, in basic coordinates
    curves: Array                   # (1 + draws, CONTROLS, d) evenly in log cost from `low` to `high`: the estimate's, the draws'
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
        values = np.array([[math.log10(of(self._config(controls, cost))) for cost in costs] for controls in self.curves])
        return _law(name, "Log", costs, values, lambda decades: 10.0 ** decades, level=self.level,
                    n=len(self.carbs.beliefs().X))

    def summary(self) -> str:
        rows = [f"optimum along the front, cost {self.low:.3g} to {self.high:.3g}"]
        for name, law in self.laws.items():
            e, bend = law.exponent, self.bends[name]
            found = f"pinned at its {bend.pinned} bound" if bend.pinned else f"exponent {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
            if bend.bends:
                found += f", bends: {bend.low} at the cheap end, {bend.high} at the dear one"
            rows.append(f"  {name:<16} {law.anchor:>10.4g} at {self.reference:.3g}   {found}")
        return "\n".join(rows)

    def _config(self, controls: Array, cost: float) -> dict:
        share = math.log(cost / self.low) / math.log(self.high / self.low)
        space = self.carbs.space
        return space.decode(np.clip(basis([share], len(controls))[0] @ controls, space.low, space.high))


def _spread_out(values: Array, doubt: float) -> Array:
    """Draws (1 + draws, ...) `doubt` times as far from their mean; the estimate, which comes first, stays."""
    middle = values[1:].mean(0)
    return np.concatenate([values[:1], middle + doubt * (values[1:] - middle)])


def _estimate(values: Array, level: float, n: int) -> Estimate:
    """From (1 + draws,): the estimate's, then the draws'."""
    draws = len(values) - 1
    se = float(values[1:].std(ddof=1))
    reach = float(student.ppf(0.5 + level / 2, max(draws - 1, 1))) * se
    return Estimate(float(values[0]), float(values[0] - reach), float(values[0] + reach), se,
                    f"{draws} posterior draws' conditional optima", n, level)


def _law(name: str, kind: str, costs: Array, values: Array, back: Callable[[float], float], *, level: float,
         n: int) -> TunedLaw:
    """From values (1 + draws, CURVE) on the scale where a law is a line: the estimate's, then the draws'."""
    exponent = _estimate(np.polyfit(np.log10(costs), values.T, 1)[0], level, n)
    reach = float(student.ppf(0.5 + level / 2, max(len(values) - 2, 1)))
    return TunedLaw(name, kind, exponent, float(back(np.interp(0.5, np.linspace(0, 1, len(costs)), values[0]))),
                    _curve(costs, values, back, reach))


def _curve(costs: Array, values: Array, back: Callable[[float], float], reach: float) -> tuple[LawPoint, ...]:
    sd = values[1:].std(0, ddof=1)
    return tuple(LawPoint(float(cost), *(float(back(value + side * reach * s)) for side in (0, -1, 1)))
                 for cost, value, s in zip(costs, values[0], sd))


def _bend(values: Array, decades: float, pinned: str, *, level: float, n: int) -> Bend:
    """Of the least-squares parabolas through (1 + draws, CURVE), on the scale where a law is a line."""
    square, slope, _ = np.polyfit(np.linspace(0.0, 1.0, values.shape[1]), values.T, 2)
    cheap, dear = slope / decades, (slope + 2.0 * square) / decades
    change = _estimate(dear - cheap, level, n)
    p = 2.0 * float(student.sf(abs(change.value) / max(change.se, 1e-12), len(values) - 2))
    return Bend(change, p, _estimate(cheap, level, n), _estimate(dear, level, n), pinned)


def _pinned(values: Array, low: float, high: float) -> str:
    """At which bound most of an optimum (CURVE,) lies, both in basic coordinates."""
    for name, bound in (("lower", low), ("upper", high)):
        if math.isfinite(bound) and (np.abs(values - bound) < AT_BOUND).mean() >= PINNED:
            return name
    return ""


def _value(dim: Dimension, value: float) -> float:
    """Back from decades or units; a whole or listed number's law is not rounded, or it would be a staircase."""
    if isinstance(dim, Listed):
        return dim.unscaled(value)
    if isinstance(dim, (Integer, PowerOfTwo)):
        return 10.0 ** value if isinstance(dim, PowerOfTwo) or dim.log else value
    return dim.decode([value / dim.scale])


def _along(problem: Problem, draw: Draw, controls: Array) -> Array:
    """Warped loss (CURVE,) of the draw along a curve."""
    return draw.value_and_gradient(problem.loss.scaling(basis(np.linspace(0, 1, CURVE), len(controls)) @ controls))[0]


def scaling_laws(carbs: Searched, *, level: float = 0.95, draws: int = 48, seed: int = 0) -> ScalingLaws:
    """Every numeric hyperparameter's optimum as a power law of the cost, with posterior intervals.

    Raises ValueError where the front is too short to say anything.
    """
    problem = pose(carbs)
    space, mean, n = carbs.space, mean_of(problem.loss.process), len(problem.loss.process.y)
    price = mean_of(problem.cost.process)
    line = problem.solve(mean, problem.start, price)
    places = basis(np.linspace(0.0, 1.0, CONTROLS), 2)
    bent = problem.solve(mean, places @ line, price)
    rng = np.random.default_rng(seed)
    functions = draws_of(problem.loss.process, draws, rng)
    costly = [draw_of(problem.cost.process, rng) for _ in functions]
    lines = np.array([problem.solve(f, line, cost) for f, cost in zip(functions, costly)])
    drawn = np.array([problem.solve(f, bent + places @ (own - line), cost) for f, own, cost in zip(functions, lines, costly)])
    curves = _spread_out(np.concatenate([drawn.mean(0)[None], drawn]), carbs.beliefs().loss.doubt)
    low, high = (math.exp(problem.log_cost[i]) for i in (0, -1))
    costs, weights = np.geomspace(low, high, CURVE), basis(np.linspace(0, 1, CURVE), CONTROLS)
    laws, bends = {}, {}
    for name, dim in space.dimensions.items():
        if isinstance(dim, Choice):
            continue
        column = space.columns[name].start
        # In decades, or in units: basic units by the scale.
        values = dim.scale * (curves[:, :, column] @ weights.T)
        pinned = _pinned(values[0] / dim.scale, space.low[column], space.high[column])
        law = _law(name, type(dim).__name__, costs, values, lambda value, dim=dim: _value(dim, value), level=level, n=n)
        laws[name] = replace(law, exponent=_unknown(law.exponent, pinned)) if pinned else law
        bends[name] = _bend(values, math.log10(high / low), pinned, level=level, n=n)
    losses = np.array([_along(problem, f, curves[0]) for f in (mean, *functions)])
    loss = _curve(costs, losses, problem.loss.warp.inverse, float(student.ppf(0.5 + level / 2, max(draws - 1, 1))))
    if carbs.maximise:
        loss = tuple(LawPoint(p.cost, -p.value, -p.high, -p.low) for p in loss)
    return ScalingLaws(laws, bends, loss, math.sqrt(low * high), low, high, lines.mean(0), curves, level, carbs)


def _unknown(exponent: Estimate, bound: str) -> Estimate:
    return replace(exponent, low=-math.inf, high=math.inf, method=f"none: the optimum is pinned at its {bound} bound, and would lie beyond")
