"""What the search believes: three trained models over basic coordinates, for loss, cost, failure.

Each is a Gaussian process of gp.py under its own prior. Fitting starts from the last
hyperparameters (`start`), so that a fit after one more observation takes a few steps; the
numbers to keep between fits, and in a saved state, are theta and the loss model's warp alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student

from sweeps.carbs import gp

Array = np.ndarray

# Hyperparameters are trained on at most TRAIN points, and the loss is conditioned on at most
# KEEP, cost and failure, which are simpler, on TRAIN: exact algebra on these stays well below a
# second on one core however long the search.
TRAIN, KEEP = 256, 640

# A run is let go only when the cost model gives it this chance of staying under the cap.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scaling:
    """Standardises columns: the priors of gp.py are in units of the data's spread."""

    mean: Array
    sd: Array

    @classmethod
    def of(cls, X: Array) -> "Scaling":
        # A column that has moved less than a tenth of a basic unit says nothing of its scale.
        return cls(X.mean(0), np.maximum(X.std(0), 0.1))

    def __call__(self, X: Array) -> Array:
        return (X - self.mean) / self.sd


def spread(n: int, most: int) -> Array:
    """At most `most` indices, evenly through n."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))


def _trained(X: Array, y: Array, prior: gp.Prior, start: Array | None, weights: Array, iterations: int) -> Array:
    """MAP from the last hyperparameters, or from the prior's mode; `iterations` 0 keeps what there is."""
    if iterations == 0 and start is not None:
        return start
    pick = spread(len(X), TRAIN)
    return gp.train(X[pick], y[pick], prior, prior.mean if start is None else start,
                    weights=weights[pick], iterations=iterations)


# --------------------------------------------------------------------------- loss

# The floor the loss is measured from lies this many spreads (best to median) below the best
# seen: small values bend a power law straight, the largest leave the loss as it is.
WARPS = 2.0 ** np.arange(-5, 6)


@dataclass(frozen=True)
class Warp:
    """y = (log(loss - floor) - shift) / scale: straightens power laws, keeps order, extrapolates."""

    floor: float
    shift: float
    scale: float
    ceiling: float      # losses above are read as this: how bad a bad run was is no news

    def __call__(self, loss: Array) -> Array:
        return (np.log(np.minimum(loss, self.ceiling) - self.floor) - self.shift) / self.scale

    def inverse(self, y: Array) -> Array:
        return self.floor + np.exp(np.minimum(self.shift + self.scale * y, 700.0))

    def log_jacobian(self, loss: Array) -> float:
        """Sum of log |dy / dloss|."""
        return float(-np.log(np.minimum(loss, self.ceiling) - self.floor).sum() - len(loss) * math.log(self.scale))


def warp_of(loss: Array, index: int) -> Warp:
    best, middle, most = np.quantile(loss, [0.0, 0.5, 0.75])
    # The absolute term keeps equal losses apart from a floor at themselves.
    spread = max(middle - best, 1e-9 * max(abs(best), 1e-12))
    floor = best - WARPS[index] * spread
    # 10 times the third quartile's distance: far outside any region worth a model.
    ceiling = best + 10.0 * max(most - best, spread)
    y = np.log(np.minimum(loss, ceiling) - floor)
    return Warp(float(floor), float(y.mean()), float(max(y.std(), 1e-9)), float(ceiling))


@dataclass(frozen=True)
class LossModel:
    scaling: Scaling
    warp: Warp
    index: int              # into WARPS
    process: gp.Posterior

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Mean and sd (m,) of the warped loss, without observation noise."""
        return self.process.predict(self.scaling(X))

    def believe(self, X: Array) -> "LossModel":
        """With pending points as if they had come out at their predicted means."""
        Z = self.scaling(X)
        return LossModel(self.scaling, self.warp, self.index, self.process.add(Z, self.process.mean(Z)))


def loss_prior(d: int) -> gp.Prior:
    """Of the warped loss over d standardised coordinates."""
    # Noise: a median of 3% of the spread of the warped loss, a decade either way.
    return gp.prior(d, linear=0.3, quadratic=0.1, amplitude=0.1, noise=1e-3, noise_sd=2.3)


def fit_loss(X: Array, loss: Array, *, start: Array | None, index: int, iterations: int) -> LossModel:
    """MAP fit on (n, d) basic coordinates; the warp moves one step a fit if the evidence says so."""
    scaling = Scaling.of(X)
    Z, p, ones = scaling(X), loss_prior(X.shape[1]), np.ones(len(X))
    if iterations == 0 and start is not None:
        warp = warp_of(loss, index)
        return LossModel(scaling, warp, index, gp.condition(start, Z, warp(loss), ones))

    def score(candidate: int, theta: Array) -> float:
        warp = warp_of(loss, candidate)
        pick = spread(len(X), TRAIN)
        value, _ = gp.objective(theta, Z[pick], warp(loss[pick]), p, ones[pick])
        return value - warp.log_jacobian(loss[pick])

    theta = _trained(Z, warp_of(loss, index)(loss), p, start, ones, iterations)
    # Fewer than 3 points a coordinate cannot tell one warp from another.
    if len(X) >= 8:
        near = [i for i in (index - 1, index, index + 1) if 0 <= i < len(WARPS)]
        best = min(near, key=lambda i: score(i, theta))
        if best != index:
            index, theta = best, _trained(Z, warp_of(loss, best)(loss), p, theta, ones, iterations)
    warp = warp_of(loss, index)
    return LossModel(scaling, warp, index, gp.condition(theta, Z, warp(loss), ones))


# --------------------------------------------------------------------------- cost

@dataclass(frozen=True)
class CostModel:
    """Natural log of the cost: linear in the basic coordinates plus a small residual process."""

    scaling: Scaling
    shift: float
    scale: float
    process: gp.Posterior
    low: Array              # box of the basic coordinates that have been paid for
    high: Array
    quantile: float         # Student's, at CONFIDENCE: a handful of runs doesn't know its own noise

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Mean and predictive sd (m,) of ln cost, observation noise included."""
        mean, sd = self.process.predict(self.scaling(X))
        # Beyond the box of what has been run a slope may change: a fixed overhead flattens it
        # near the center, so a slope once seen as 0 may be 1. Half a decade a decade, in ln.
        beyond = np.maximum(np.maximum(self.low - X, X - self.high), 0.0)
        unseen = 0.5 * math.log(10.0) * np.sqrt((beyond * beyond).sum(1))
        return self.shift + self.scale * mean, np.sqrt(self.scale ** 2 * (sd ** 2 + self.process.noise) + unseen ** 2)

    def margin(self, X: Array, log_cap: float) -> Array:
        """How far (m,) each point lies on the safe side of P(cost <= cap) = CONFIDENCE, in ln cost."""
        mean, sd = self.predict(X)
        return log_cap - mean - self.quantile * sd

    def total(self, X: Array) -> float:
        """What runs at X may cost together, at CONFIDENCE, their errors taken as independent."""
        mean, sd = self.predict(X)
        cost = np.exp(mean)
        return float(cost.sum() + self.quantile * np.sqrt((cost * cost * np.expm1(sd * sd)).sum()))

    def chance(self, X: Array, log_cap: float) -> Array:
        """P(cost <= cap) under the predictive distribution."""
        mean, sd = self.predict(X)
        return ndtr((log_cap - mean) / sd)


def fit_cost(X: Array, log_cost: Array, *, start: Array | None, iterations: int) -> CostModel:
    scaling = Scaling.of(X)
    shift, scale = float(log_cost.mean()), float(max(log_cost.std(), 0.1))
    Z, target, ones = scaling(X), (log_cost - shift) / scale, np.ones(len(X))
    # Trend first: slopes of order one, a residual of 3% of the spread unless trained up
    # (Pareto-efficient acquisition, arXiv 2011.11456: simple cost models predict best).
    p = gp.prior(X.shape[1], linear=0.3, quadratic=1e-3, amplitude=1e-3, noise=1e-3,
                 trend_sd=2.0, amplitude_sd=2.0, noise_sd=2.3)
    theta = _trained(Z, target, p, start, ones, iterations)
    return CostModel(scaling, shift, scale, gp.condition(theta, Z, target, ones), X.min(0), X.max(0),
                     float(student.ppf(CONFIDENCE, max(len(X) - 2, 2))))


# --------------------------------------------------------------------------- failure

@dataclass(frozen=True)
class FailureModel:
    """Regression on labels 1 (finished) and -1 (failed) about a prior mean of 1."""

    scaling: Scaling
    process: gp.Posterior

    def success(self, X: Array) -> Array:
        """P(the run finishes) (m,)."""
        mean, sd = self.process.predict(self.scaling(X))
        return ndtr((1.0 + mean) / np.sqrt(sd ** 2 + self.process.noise))


def fit_failure(X: Array, failed: Array, *, start: Array | None, iterations: int) -> FailureModel:
    scaling = Scaling.of(X)
    Z, target, ones = scaling(X), np.where(failed, -2.0, 0.0), np.ones(len(X))
    # A wall is a half-space (too high a rate, too large for memory): trend and bumps alike.
    p = gp.prior(X.shape[1], linear=0.1, quadratic=1e-3, amplitude=0.5, noise=0.03)
    theta = _trained(Z, target, p, start, ones, iterations)
    return FailureModel(scaling, gp.condition(theta, Z, target, ones))
