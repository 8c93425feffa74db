"""What the search believes: three trained models over basic coordinates, for loss, cost, failure.

Each is a Gaussian process of gp.py under its own prior. Fitting starts from the last
hyperparameters (`start`), so that a fit after one more observation takes a few steps; the
numbers to keep between fits, and in a saved state, are theta and the loss model's warp alone.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student
from scipy.stats import truncnorm

from sweeps.carbs import gp
from sweeps.carbs.noise import Noise, noise_of
from sweeps.carbs.warp import WARPS, Warp, warp_of

Array = np.ndarray

# Hyperparameters are trained on at most TRAIN points, and the loss is conditioned on at most
# KEEP, cost and failure, which are simpler, on TRAIN: exact algebra on these stays well below a
# second on one core however long the search.
TRAIN, KEEP = 256, 640

# Hyperparameters that an interval is averaged over; even.
OTHERS = 32

# A run is let go only when the cost model gives it this chance of staying under the cap.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scaling:
    """Standardises columns: the priors of gp.py are in units of the data's spread."""

    mean: Array
    sd: Array

    @classmethod
    def of(cls, X: Array) -> "Scaling":
        # A column that has moved less than a tenth of a basic unit says nothing of its scale; of one that never moved, a whole
        # number's, a unit is a step by definition. A tenth there would make its slopes so uncertain that no step were ever dared.
        most = np.maximum(np.abs(X).max(0), 1.0)    # squares of coordinates beyond 1e154 don't fit into doubles
        sd = most * (X / most).std(0)
        return cls(most * (X / most).mean(0), np.where(sd < 1e-9, 1.0, np.maximum(sd, 0.1)))

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

@dataclass(frozen=True)
class Interval:
    """Of a loss free of observation noise; each (m,)."""

    loss: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class LossModel:
    scaling: Scaling
    warp: Warp
    index: int              # into WARPS
    process: gp.Posterior
    scatter: Noise          # how an observation's noise changes with cost and level
    surprise: float         # 1, or by how much its own data, each left out in turn, scatter more than it says

    def predict(self, X: Array) -> tuple[Array, Array]:
        """Mean and sd (m,) of the warped loss, without observation noise."""
        return self.process.predict(self.scaling(X))

    def believe(self, X: Array) -> "LossModel":
        """With pending points as if they had come out at their predicted means."""
        Z = self.scaling(X)
        return replace(self, process=self.process.add(Z, self.process.mean(Z)))

    @cached_property
    def _others(self) -> list[gp.Posterior]:
        """The process under other hyperparameters that the data leave possible, in pairs about the likeliest."""
        u = np.random.default_rng(0).standard_normal((OTHERS // 2, len(self.process.theta)))
        return alternatives(self.process, np.vstack([u, -u]))

    @property
    def doubt(self) -> float:
        """By how much its sd are too small, where its own data surprised the model and where tails are heavy.

        These tell less than their weights say: an observation's expected information about a Student t's
        center is (nu + 1) / (nu + 3), where the weights average 1.
        """
        return self.surprise * math.sqrt(self.scatter.dilution)

    def interval(self, X: Array) -> Interval:
        """Central 95% credible intervals over function and hyperparameters: of the mixture's mean and variance, and `doubt`."""
        Z = self.scaling(X)
        means, sds = np.array([process.predict(Z) for process in self._others]).transpose(1, 0, 2)
        sd = np.sqrt((sds * sds).mean(0) + means.var(0))
        return self._about(means.mean(0), self.doubt * sd)

    def seen(self, loss: Array, log_cost: float) -> Interval:
        """Of one configuration by its own observations (k,) alone, where the model reads them as its ceiling; each (1,)."""
        y = np.array([self.warp.unbounded(loss).mean()])
        variance = self.noise_variance(np.array([log_cost]), self.warp(self.warp.inverse(y))) / len(loss)
        return self._about(y, self.surprise * np.sqrt(variance))

    def _about(self, mean: Array, sd: Array) -> Interval:
        return Interval(*(self.warp.inverse(y) for y in (mean, mean - 1.96 * sd, mean + 1.96 * sd)))

    def noise_variance(self, log_cost: Array, level: Array) -> Array:
        """Of an observation (m,) of the warped loss, as it counts: a Gaussian's that would tell as much."""
        return self.process.noise * self.scatter.dilution * self.scatter.multiple(log_cost, level)

    @property
    def noise(self) -> float:
        """Sd of one observation's noise, in units of the loss, where the loss is lowest (at middling cost)."""
        best = self.process.y.min()
        variance = self.noise_variance(self.scatter.center[:1], np.array([best]))[0]
        return float(math.sqrt(variance) * self.warp.scale * (self.warp.inverse(best) - self.warp.floor))

    def censored(self, X: Array, least: Array, most: Array) -> "LossModel":
        """With points of which only bounds (m,) of the loss are known: a truncated normal's mean and variance each.

        Of N(m, s^2) on [a, b], with alpha, beta = (a - m) / s, (b - m) / s and Z = Phi(beta) - Phi(alpha): the
        mean m + s (phi(alpha) - phi(beta)) / Z, and as weight of the noise the variance that is left.
        """
        mean, sd = self.predict(X)
        sd = np.sqrt(sd ** 2 + self.process.noise)
        with np.errstate(divide="ignore"):
            high = np.clip((self.warp(np.maximum(most, self.warp.floor)) - mean) / sd, -8.0, 8.0)
            low = np.clip((self.warp(np.maximum(least, self.warp.floor)) - mean) / sd, -9.0, high - 1e-3)
        y = mean + sd * truncnorm.mean(low, high)
        weights = np.maximum(sd ** 2 * truncnorm.var(low, high) / self.process.noise, 1.0)
        return replace(self, process=self.process.add(self.scaling(X), y, weights))


def loss_prior(d: int) -> gp.Prior:
    """Of the warped loss over d standardised coordinates."""
    # Noise: a median of 3% of the spread of the warped loss, a decade either way.
    return gp.prior(d, linear=0.3, quadratic=0.1, amplitude=0.1, noise=1e-3, noise_sd=2.3)


def alternatives(process: gp.Posterior, deviates: Array) -> list[gp.Posterior]:
    """A loss model's process under other hyperparameters: standard normals (k, len(theta)) through Laplace's approximation."""
    prior = loss_prior(process.X.shape[1])
    some = spread(len(process.y), TRAIN)
    root = gp.doubt(process.theta, process.X[some], process.y[some], prior, weights=process.weights[some])
    thetas = np.clip(process.theta + deviates @ root.T, prior.low, prior.high)
    return [gp.condition(theta, process.X, process.y, process.weights) for theta in thetas]


def fit_loss(X: Array, loss: Array, log_cost: Array, *, start: Array | None, index: int, iterations: int) -> LossModel:
    """MAP fit on (n, d) basic coordinates; the warp moves one step a fit if the evidence says so.

    How the noise changes with cost and level is found from the residuals of the last hyperparameters (of even noise at
    first), and these are trained under it: a step of a reweighting that goes on from fit to fit.
    """
    scaling = Scaling.of(X)
    Z, p = scaling(X), loss_prior(X.shape[1])

    def model(index: int, theta: Array) -> LossModel:
        warp = warp_of(loss, index)
        noise, weights = noise_of(theta, Z, warp(loss), log_cost)
        return _loss_model(scaling, warp, index, gp.condition(theta, Z, warp(loss), weights), noise)

    if iterations == 0 and start is not None:
        return model(index, start)
    if start is None:
        start = _trained(Z, warp_of(loss, index)(loss), p, None, np.ones(len(X)), iterations)
    _, weights = noise_of(start, Z, warp_of(loss, index)(loss), log_cost)

    def score(candidate: int, theta: Array) -> float:
        warp = warp_of(loss, candidate)
        pick = spread(len(X), TRAIN)
        value, _ = gp.objective(theta, Z[pick], warp(loss[pick]), p, weights[pick])
        return value - warp.log_jacobian(loss[pick])

    theta = _trained(Z, warp_of(loss, index)(loss), p, start, weights, iterations)
    # Fewer than 3 points a coordinate cannot tell one warp from another.
    if len(X) >= 8:
        near = [i for i in (index - 1, index, index + 1) if 0 <= i < len(WARPS)]
        best = min(near, key=lambda i: score(i, theta))
        if best != index:
            index, theta = best, _trained(Z, warp_of(loss, best)(loss), p, theta, weights, iterations)
    return model(index, theta)


def _loss_model(scaling: Scaling, warp: Warp, index: int, process: gp.Posterior, noise: Noise) -> LossModel:
    z = np.abs(process.left_out())
    # The 95% quantile should be 1.96; under 20 points it is anyone's guess.
    surprise = float(np.quantile(z, 0.95)) / 1.96 if len(z) >= 20 else 1.0
    return LossModel(scaling, warp, index, process, noise, min(max(surprise, 1.0), 3.0))


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

    @property
    def depends(self) -> Array:
        """(d,) whether the cost may depend on a coordinate at all: see relevance."""
        return np.isfinite(self.scaling.sd)

    def margin(self, X: Array, log_cap: float) -> Array:
        """How far (m,) each point lies on the safe side of P(cost <= cap) = CONFIDENCE, in ln cost."""
        mean, sd = self.predict(X)
        return log_cap - mean - self.quantile * sd

    def total(self, X: Array) -> float:
        """What runs at X may cost together, at CONFIDENCE, their errors taken as independent."""
        mean, sd = self.predict(X)
        with np.errstate(over="ignore", invalid="ignore"):
            cost = np.exp(mean)
            total = float(cost.sum() + self.quantile * np.sqrt((cost * cost * np.expm1(sd * sd)).sum()))
        return math.inf if math.isnan(total) else total     # beyond doubles is beyond any budget

    def chance(self, X: Array, log_cap: float) -> Array:
        """P(cost <= cap) under the predictive distribution."""
        mean, sd = self.predict(X)
        return ndtr((log_cap - mean) / sd)


def cost_prior(d: int) -> gp.Prior:
    """Of the standardised log cost over d standardised coordinates."""
    # Trend first: slopes of order one, a residual of 3% of the spread unless trained up
    # (Pareto-efficient acquisition, arXiv 2011.11456: simple cost models predict best).
    return gp.prior(d, linear=0.3, quadratic=1e-3, amplitude=1e-3, noise=1e-3, trend_sd=2.0, amplitude_sd=2.0, noise_sd=2.3)


def fit_cost(X: Array, log_cost: Array, *, start: Array | None, iterations: int) -> CostModel:
    scaling = Scaling.of(X)
    shift, scale = float(log_cost.mean()), float(max(log_cost.std(), 0.1))
    Z, target, ones = scaling(X), (log_cost - shift) / scale, np.ones(len(X))
    p = cost_prior(X.shape[1])
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
