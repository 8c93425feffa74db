"""Noise as it is: its variance may change with the cost and with the loss, and its tails may be heavy.

    variance_i = noise x exp(slopes . f_i) / lambda_i,     f_i = (log cost, level), each standardised
    lambda_i = (nu + 1) / (nu + z_i^2)

Slopes are the most likely ones for the residuals of each observation given all others, whose own variance is
the process's and the noise's (Rasmussen & Williams 2006, eq. 5.12). A Student t of nu degrees of freedom is a
normal whose precision is drawn: lambda is its expectation given the residual (Lange, Little & Taylor 1989). All
is a function of the data and of the process's hyperparameters, so that nothing needs keeping beside these.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln

from sweeps.carbs import gp

Array = np.ndarray

# Degrees of freedom tried: Gaussian, and tails as heavy as still have a variance.
TAILS = (math.inf, 8.0, 3.0)
# Of the general level and the slopes: noise may be larger for cheap runs and for bad ones only. Where a loss has a plateau,
# little noise there and a model's misfit elsewhere would have it follow the plateau and distrust the best runs.
SIDES = ((None, None), (None, 0.0), (0.0, None))
# Prior sd of a slope: an e-fold of the variance a standard deviation.
SLOPE = 1.0
# Fewer observations can't tell noise that changes from noise that doesn't.
ENOUGH = 30
# Features are read as no further out than this, in standard deviations.
REACH = 2.5
ROUNDS = 2


@dataclass(frozen=True)
class Noise:
    """How an observation's variance compares with exp(theta[-1])."""

    slopes: Array       # (2,) of the log variance on standardised log cost and level
    center: Array       # (2,) of the features
    spread: Array       # (2,)
    tails: float        # degrees of freedom

    @property
    def dilution(self) -> float:
        """By how much an observation tells less of its mean than a Gaussian one of the same scale."""
        return 1.0 if math.isinf(self.tails) else (self.tails + 3.0) / (self.tails + 1.0)

    def multiple(self, log_cost: Array, level: Array) -> Array:
        """Of the noise variance (m,), at log costs and warped losses (m,)."""
        f = (np.column_stack([log_cost, level]) - self.center) / self.spread
        return np.exp(np.clip(f, -REACH, REACH) @ self.slopes)


def even() -> Noise:
    return Noise(np.zeros(2), np.zeros(2), np.ones(2), math.inf)


def log_density(z2: Array, nu: float) -> Array:
    """Of a Student t of unit scale, or a normal, at squares z2 (m,)."""
    if math.isinf(nu):
        return -0.5 * z2 - 0.5 * math.log(2 * math.pi)
    return (gammaln(0.5 * (nu + 1)) - gammaln(0.5 * nu) - 0.5 * math.log(nu * math.pi)
            - 0.5 * (nu + 1) * np.log1p(z2 / nu))


def noise_of(theta: Array, Z: Array, y: Array, log_cost: Array) -> tuple[Noise, Array]:
    """The noise of observations y (n,) at Z (n, d) about the process, and each one's multiple (n,) of its variance."""
    weights = np.ones(len(y))
    found = even()
    if len(y) < ENOUGH:
        return found, weights
    for _ in range(ROUNDS):
        process = gp.condition(theta, Z, y, weights)
        variance = 1.0 / (process.whiten * process.whiten).sum(0)
        residual = process.alpha * variance
        latent = np.maximum(variance - process.noise * weights, 1e-10)
        found, weights = _most_likely(log_cost, y - residual, residual, latent, process.noise)
    return found, weights


def unlikelihood(p: Array, F: Array, residual: Array, latent: Array, noise: float, nu: float) -> tuple[float, Array]:
    """Negative log posterior of p, the general level and the slopes (3,), and its gradient, from features F (n, 2).

    Residuals (n,) have a latent variance (n,) beside their noise's; nu degrees of freedom.
    """
    exponent = p[0] + F @ p[1:]
    own = noise * np.exp(np.clip(exponent, -30.0, 30.0))
    variance = latent + own
    z2 = residual ** 2 / variance
    value = 0.5 * np.log(variance).sum() - log_density(z2, nu).sum() + 0.5 * (p[1:] @ p[1:]) / SLOPE ** 2 + 0.125 * p[0] ** 2
    pull = 1.0 if math.isinf(nu) else (nu + 1.0) / (nu + z2)
    slope = np.where(np.abs(exponent) < 30.0, 0.5 * (1.0 - pull * z2) * own / variance, 0.0)
    return float(value), np.concatenate([[slope.sum() + 0.25 * p[0]], slope @ F + p[1:] / SLOPE ** 2])


def _most_likely(log_cost: Array, level: Array, residual: Array, latent: Array, noise: float) -> tuple[Noise, Array]:
    raw = np.column_stack([log_cost, level])
    center, spread = raw.mean(0), np.maximum(raw.std(0), 1e-9)
    F = np.clip((raw - center) / spread, -REACH, REACH)

    fits = [(minimize(unlikelihood, np.zeros(3), args=(F, residual, latent, noise, nu), jac=True, method="L-BFGS-B", bounds=SIDES,
                      options={"maxiter": 40}), nu) for nu in TAILS]
    best, nu = min(fits, key=lambda fit: fit[0].fun)
    level_of, slopes = best.x[0], best.x[1:]
    multiple = np.exp(np.clip(level_of + F @ slopes, -30.0, 30.0))
    z2 = residual ** 2 / (latent + noise * multiple)
    heavy = 1.0 if math.isinf(nu) else (nu + z2) / (nu + 1.0)
    # exp(theta[-1]) has the general level already.
    return Noise(slopes, center, spread, nu), np.exp(np.clip(F @ slopes, -30.0, 30.0)) * heavy
