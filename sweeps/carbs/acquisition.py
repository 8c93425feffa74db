"""What a run is expected to add to the front, and where that is largest.

The value of a front is the area under it: loss integrated over log budget from `low` to `high`.
A candidate of predicted log cost c and loss N(m, s^2) is expected to lower it by
integral over b in [max(c, low), high] of E[(front(b) - loss)+] db: expected hypervolume
improvement for a cost that is as good as known. s is the sd by which an observation moves the
posterior mean (knowledge gradient), so repeating a noisy run competes on equal terms with a
new one. Everything is in logs (LogEI, arXiv 2310.20708): where no gain is likely there is
still a slope to climb.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx

from sweeps.carbs.pareto import monotone
from sweeps.carbs.space import Space
from sweeps.carbs.surrogate import Warp

Array = np.ndarray


@dataclass(frozen=True)
class Staircase:
    """A front as steps: `loss[j]` holds from log cost `start[j]` up to the next start."""

    start: Array    # (k,), start[0] = low
    loss: Array     # (k,), falling
    high: float
    log_unit: Array # (k,) log of what a unit of warped loss is worth in loss, at the step


def staircase(log_cost: Array, loss: Array, low: float, high: float, warp: Warp) -> Staircase:
    """Steps over [low, high] of the warped loss. Below the cheapest point the worst point stands in."""
    start, steps = _steps(log_cost, loss, low, high)
    return Staircase(start, steps, high, warp.scale * steps)


def area(steps: Staircase, warp: Warp) -> float:
    """Under the front: loss integrated over log budget."""
    return float(np.diff(np.append(steps.start, steps.high)) @ warp.inverse(steps.loss))


def _steps(log_cost: Array, loss: Array, low: float, high: float) -> tuple[Array, Array]:
    reference = float(loss.max())
    inside = log_cost <= high
    if not inside.any():
        return np.array([low]), np.array([reference])
    pick = monotone(log_cost[inside], loss[inside])
    cost, best = log_cost[inside][pick], loss[inside][pick]
    before = cost <= low
    first = best[before][-1] if before.any() else reference
    return np.concatenate([[low], cost[~before]]), np.concatenate([[first], best[~before]])


def log_h(z: Array) -> Array:
    """log(phi(z) + z Phi(z)), the log of expected improvement in units of sd, for any z."""
    z = np.asarray(z, float)
    lower = np.minimum(z, -1.0)
    # phi + z Phi = phi (1 + z Phi / phi); the bracket tends to 1 / z^2.
    bracket = 1.0 + lower * np.sqrt(np.pi / 2) * erfcx(-lower / np.sqrt(2))
    # Below -1e3 the bracket cancels to rounding noise.
    tail = np.where(lower < -1e3, -2.0 * np.log(-lower), np.log(np.maximum(bracket, 1e-16)))
    upper = np.maximum(z, -1.0)
    near = np.exp(-0.5 * upper * upper) / np.sqrt(2 * np.pi)
    cdf = 1.0 - 0.5 * erfcx(np.maximum(upper, 0) / np.sqrt(2)) * np.exp(-0.5 * np.maximum(upper, 0) ** 2)
    cdf = np.where(upper < 0, near * np.sqrt(np.pi / 2) * erfcx(-np.minimum(upper, 0) / np.sqrt(2)), cdf)
    return np.where(z < -1.0, -0.5 * z * z - 0.5 * np.log(2 * np.pi) + tail, np.log(near + upper * cdf))


def log_improvement(steps: Staircase, log_cost: Array, mean: Array, sd: Array) -> Array:
    """Log expected hypervolume improvement (m,)."""
    end = np.concatenate([steps.start[1:], [steps.high]])
    width = np.minimum(end, steps.high)[None, :] - np.maximum(steps.start[None, :], log_cost[:, None])
    gain = steps.log_unit[None, :] + np.log(sd)[:, None] + log_h((steps.loss[None, :] - mean[:, None]) / sd[:, None])
    with np.errstate(divide="ignore"):
        largest = gain.max(1, keepdims=True)
        return largest[:, 0] + np.log((np.exp(gain - largest) * np.maximum(width, 0.0)).sum(1))


def nearest(X: Array, origins: Array) -> Array:
    """Squared distance (m,) of each point to the nearest of the origins."""
    squares = (X * X).sum(1)[:, None] + (origins * origins).sum(1) - 2.0 * X @ origins.T
    return np.maximum(squares.min(1), 0.0)


def anywhere(space: Space, m: int, rng: np.random.Generator) -> Array:
    """m points evenly over the box of a bounded space."""
    X = rng.uniform(space.low, space.high, (m, space.width))
    for block in space.blocks:
        X[:, block] = _options(space, block, m, rng)
    return X


def _options(space: Space, block: slice, m: int, rng: np.random.Generator) -> Array:
    """m options of a choice, each as likely, as coordinates (m, options)."""
    k = block.stop - block.start
    return np.eye(k)[rng.integers(k, size=m)] * space.high[block.start]


# Radii of the steps from the front, in basic coordinates: the reference's 0.3, one that
# polishes and one that strides.
RADII = (0.05, 0.3, 0.8)


def propose(space: Space, origins: Array, m: int, rng: np.random.Generator) -> Array:
    """m points about the origins (k, d), half of them moved in a few coordinates only.

    With many coordinates a step in all of them is almost surely a step to something worse
    (TuRBO's masks, Eriksson et al. 2019).
    """
    d = space.width
    X = origins[rng.integers(len(origins), size=m)].copy()
    radius = rng.choice(RADII, size=(m, 1))
    # On average 3 coordinates move in a masked step, always at least one.
    mask = rng.random((m, d)) < np.where(rng.random((m, 1)) < 0.5, 1.0, min(1.0, 3.0 / d))
    mask[np.arange(m), rng.integers(d, size=m)] = True
    X += np.where(mask & space.numeric, radius * rng.standard_normal((m, d)), 0.0)
    for block in space.blocks:
        # One in five tries another option: often enough to meet all, rarely enough to polish.
        move = rng.random(m) < 0.2
        X[move, block] = _options(space, block, move.sum(), rng)
    return np.clip(X, space.low, space.high)


def climb(score: Callable[[Array], Array], start: Array, low: Array, high: Array, free: Array, *,
          iterations: int) -> Array:
    """Local maxima of `score` from k starts (k, d), moving the `free` coordinates (d,) only.

    `score` takes a batch (m, d). One L-BFGS on the sum over starts, by forward differences: the
    starts don't interact, and one large batch costs little more than a small one.
    """
    k, free = len(start), np.flatnonzero(free)
    step = 1e-5
    # (k, 1 + free, d): each start, and each start with one coordinate a step further.
    bump = np.zeros((1 + len(free), start.shape[1]))
    bump[np.arange(1, 1 + len(free)), free] = step

    def value_and_gradient(z: Array) -> tuple[float, Array]:
        X = start.copy()
        X[:, free] = z.reshape(k, -1)
        f = -score((X[:, None, :] + bump).reshape(-1, X.shape[1])).reshape(k, -1)
        return float(f[:, 0].sum()), ((f[:, 1:] - f[:, :1]) / step).ravel()

    box = list(zip(np.tile(low[free], k), np.tile(high[free], k)))
    found = minimize(value_and_gradient, start[:, free].ravel(), jac=True, method="L-BFGS-B",
                     bounds=box, options={"maxiter": iterations})
    best = start.copy()
    best[:, free] = found.x.reshape(k, -1)
    return best
