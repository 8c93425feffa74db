"""The global optimum of a law's fit: descents from the nodes of a grid, each law's own.

A resample descends from the optimum of all points, from that fit's runners-up and, where the law has a
grid cheap enough, from the best node of its own.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.objective import Coordinates, Objective, for_each
from analysis.approaches.newton import CONTRACTION, Restriction, Solution, minimise
from analysis.estimates.refusal import NotIdentified

RIVALS, RIVALRY = 2, 30.0   # other minima that resamples may prefer: at most so many, within this much of chi-square
BROAD = Objective("log", 0.1)   # under which the first descents are made: few local minima, and all points have their say
ROUGH = 1e-9    # tolerance of descents that others go on from
APART = 1e-4    # of theta: ends of such descents that differ by less are one


@dataclass(frozen=True)
class Descents:
    """Where descents under the broad loss end, whatever objective comes after."""

    theta: np.ndarray      # (m, k) distinct ends
    sharing: np.ndarray    # (m,) descents that ended there
    spread: float          # robust standard deviation of log L about the lowest

    @property
    def starts(self) -> int:
        return int(self.sharing.sum())


@dataclass(frozen=True)
class Optimum:
    """The lowest of many local minima, and how many descents found it."""

    solution: Solution   # of one fit: arrays of length 1
    agreeing: int        # starts that ended within 1e-6 of the lowest value
    rivals: np.ndarray   # (r, k) other local minima that a resample may prefer
    after: Descents

    starts = property(lambda self: self.after.starts)
    spread = property(lambda self: self.after.spread)   # robust standard deviation of the residuals' logs

    @property
    def minima(self) -> np.ndarray:
        """(r, k) the lowest and its rivals: where a resample descends from."""
        return np.concatenate([self.solution.theta, self.rivals])

    @property
    def places(self) -> np.ndarray:
        """Where a search among much the same runs starts, (s, k)."""
        return np.concatenate([self.minima, self.after.theta])


def descents(points: Coordinates, weight, *, law=ADDITIVE, restriction: Restriction | None = None, starts=None) -> Descents:
    """From the law's own starts, or from starts (S, k), under weight (n,)."""
    starts = law.starts(points, weight) if starts is None else starts
    if not len(starts):
        raise NotIdentified("no surface with A > 0 and B > 0 describes the table: "
                            "the loss does not fall with N or does not fall with D")
    rough = minimise(points, weight, starts, BROAD, law=law, restriction=restriction, spread=BROAD.delta, tolerance=ROUGH)
    theta, sharing = _merge(rough)
    return Descents(theta, sharing, spread_of(points, law, rough.theta[np.argmin(rough.value)], weight))


def global_minimum(points: Coordinates, weight, objective: Objective, *, law=ADDITIVE,
                   restriction: Restriction | None = None, after: Descents | None = None) -> Optimum:
    """The lowest minimum under weight (n,) that the law's starts lead to, or the ends of descents made before."""
    after = after or descents(points, weight, law=law, restriction=restriction)
    spread, sharing = after.spread, after.sharing
    found = minimise(points, weight, after.theta, objective, law=law, restriction=restriction, spread=spread)
    order = np.argsort(found.value)
    best = order[0]
    lowest_ = Solution(*(v[[best]] for v in (found.theta, found.value, found.converged)))
    near = found.value <= found.value[best] * (1 + 1e-6) + 1e-300
    rivals = [i for i in order if not near[i] and (found.value[i] / found.value[best] - 1) * len(points.x) < RIVALRY]
    return Optimum(lowest_, int(sharing[near].sum()), found.theta[rivals[:RIVALS]], after)


def _merge(rough: Solution):
    """Distinct ends of descents (m, k) and how many descents share each: the rest of the way is the same for them."""
    _, first, sharing = np.unique(np.round(np.column_stack([rough.value / rough.value.min(), rough.theta]), 4), axis=0,
                                  return_index=True, return_counts=True)
    return rough.theta[first], sharing


def minima_of_simulated(points: Coordinates, weight, noise, objective: Objective, pilot: Optimum, *, law=ADDITIVE) -> Solution:
    """Global optimum of each table of losses L e^noise, noise (M, n), made from the pilot, where each search starts too."""
    return lowest(points, weight, for_each(len(noise), pilot.minima), objective, spread=pilot.spread, law=law, noise=noise)


def global_minima(points: Coordinates, weight, objective: Objective, pilot: Optimum, *, law=ADDITIVE) -> Solution:
    """Global optimum under each row of weight (M, n), given the fit of all points.

    Nodes of a resample's own grid are compared with outlying points weighted down as the pilot found them.
    """
    theta = pilot.solution.theta[0]
    residual = np.abs(law.log_loss(points, theta) - np.log(points.loss))
    trust = np.minimum(1.0, 1.5 * pilot.spread / np.maximum(residual, 1e-12))
    starts = law.starts_of_each(points, weight, trust, pilot.minima)
    return lowest(points, weight, starts, objective, spread=pilot.spread, law=law)


def lowest(points: Coordinates, weight, starts, objective: Objective, *, spread: float, law=ADDITIVE,
           restriction: Restriction | None = None, noise=None) -> Solution:
    """The lowest minimum that each fit's starts (M, S, k) lead to, under weights (M, n) or (n,).

    Starts that meet under the broad loss would go the rest of the way together: one of them goes.
    """
    M, S, k = starts.shape

    def ends(theta, fits, under: Objective, spread: float = spread, **how) -> Solution:
        return minimise(points, weight if weight.ndim == 1 else weight[fits], theta, under, law=law, spread=spread,
                        restriction=restriction.of(fits) if restriction else None, noise=None if noise is None else noise[fits], **how)

    if S == 1:
        return ends(starts[:, 0], slice(None), objective)
    unit = points.scale if objective.space == "raw" else 1.0
    broad = replace(objective, delta=max(objective.delta, 2 * spread * unit))
    fits, which = np.nonzero(_distinct(starts, 0.0))
    rough = np.full((M, S, k), np.inf)   # a start that is another's again ends nowhere
    rough[fits, which] = ends(starts[fits, which], fits, broad, tolerance=ROUGH).theta
    fits, which = np.nonzero(_distinct(rough, APART))
    # the stage of the broad loss is done
    found = ends(rough[fits, which], fits, objective, spread=spread / CONTRACTION)
    # of each fit the lowest: fits come in order, and the first of equals is kept
    order = np.lexsort((np.arange(len(fits)), found.value, fits))
    best = order[np.flatnonzero(np.diff(fits[order], prepend=-1))]
    return Solution(*(v[best] for v in (found.theta, found.value, found.converged)))


def _distinct(theta, apart: float) -> np.ndarray:
    """(M, S) whether each of theta (M, S, k) is finite and farther than `apart` from all before it."""
    found = np.isfinite(theta).all(2)
    for i in range(1, theta.shape[1]):
        with np.errstate(invalid="ignore"):
            found[:, i] &= np.abs(theta[:, i, None] - theta[:, :i]).max(2).min(1) > apart
    return found


def spread_of(points: Coordinates, law, theta, weight) -> float:
    """Robust standard deviation of the residuals of log L: 1.4826 times their weighted median absolute value."""
    residual = np.abs(law.log_loss(points, theta) - np.log(points.loss))
    order = np.argsort(residual)
    share = np.cumsum(weight[order])
    return float(max(1.4826 * residual[order][np.searchsorted(share, share[-1] / 2)], 1e-9))
