"""Functions drawn from a fitted process, whole: with values and gradients anywhere.

Of the hyperparameters by Laplace's approximation, and given those of the function by pathwise
conditioning (Wilson et al. 2020, arXiv 2002.09309): a draw of the prior, plus the data's correction.
"""

import math
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.linalg import cho_solve

from sweeps.carbs import gp
from sweeps.carbs.surrogate import alternatives

Array = np.ndarray

# Cosine features of a draw's Matern part (Rahimi & Recht 2007): its error, about 1/sqrt(F) of a
# part that is itself small beside the trend, stays below the draws' own spread.
FEATURES = 256

@dataclass(frozen=True)
class Draw:
    """A function over scaled coordinates: a sample of the posterior, or (no prior part) its mean."""

    process: gp.Posterior
    weights: Array                  # (n,) of the kernel at the data
    level: float                    # prior part: constant,
    linear: Array                   # (d,) slope,
    curvature: Array                # (d, d) quadratic form,
    cubic: Array                    # (d, d, d) cubic form, symmetric,
    frequency: Array                # (F, d) and cosines
    phase: Array                    # (F,)
    height: Array                   # (F,)

    def value_and_gradient(self, Z: Array) -> tuple[Array, Array]:
        """(m,) and (m, d)."""
        p, d = self.process, Z.shape[1]
        e = np.exp(p.theta)
        a, b, length, s = e[:d], e[d:2 * d], e[2 * d:3 * d], e[3 * d]
        Q = (Z * b) @ p.X.T
        r, decay = gp.matern(Z, p.X, length)
        value = (1.0 + (Z * a) @ p.X.T + Q * Q * (1.0 + gp.CUBIC * Q) + s * (1.0 + r + r * r / 3.0) * decay) @ self.weights
        H = s * 5.0 / 3.0 * (1.0 + r) * decay * self.weights
        gradient = (a * (p.X.T @ self.weights) + b * ((Q * (2.0 + 3.0 * gp.CUBIC * Q) * self.weights) @ p.X)
                    - (Z * H.sum(1)[:, None] - H @ p.X) / length ** 2)
        angle = Z @ self.frequency.T + self.phase
        S = self.curvature + self.curvature.T
        T = np.einsum("ijk,mj,mk->mi", self.cubic, Z, Z)
        value = (value + self.level + np.einsum("md,md->m", self.linear + 0.5 * Z @ S + T, Z)
                 + np.cos(angle) @ self.height)
        gradient = gradient + self.linear + Z @ S + 3.0 * T - (np.sin(angle) * self.height) @ self.frequency
        return value, gradient


def mean_of(process: gp.Posterior) -> Draw:
    d = process.X.shape[1]
    return Draw(process, process.alpha, 0.0, np.zeros(d), np.zeros((d, d)), np.zeros((d, d, d)), np.zeros((0, d)),
                 np.zeros(0), np.zeros(0))


def draw_of(process: gp.Posterior, rng: np.random.Generator) -> Draw:
    """A sample of the posterior: a sample of the prior plus the data's correction to it (Matheron)."""
    n, d = process.X.shape
    e = np.exp(process.theta)
    a, b, length, s = e[:d], e[d:2 * d], e[2 * d:3 * d], e[3 * d]
    # Matern-5/2's spectrum is a multivariate t of 5 degrees of freedom.
    frequency = rng.standard_normal((FEATURES, d)) / length * np.sqrt(5.0 / rng.chisquare(5, size=(FEATURES, 1)))
    root = np.sqrt(b)
    cubic = math.sqrt(gp.CUBIC) * np.einsum("i,j,k->ijk", root, root, root) * rng.standard_normal((d, d, d))
    cubic = sum(cubic.transpose(order) for order in permutations(range(3))) / 6.0
    prior = Draw(process, np.zeros(n), rng.standard_normal(), np.sqrt(a) * rng.standard_normal(d),
                  np.outer(root, root) * rng.standard_normal((d, d)), cubic, frequency,
                  rng.uniform(0, 2 * math.pi, FEATURES), math.sqrt(2 * s / FEATURES) * rng.standard_normal(FEATURES))
    residual = (process.y - prior.value_and_gradient(process.X)[0]
                - np.sqrt(process.noise * process.weights) * rng.standard_normal(n))
    weights = cho_solve((process.factor, True), residual, check_finite=False)
    return replace(prior, weights=weights)


def draws_of(process: gp.Posterior, count: int, rng: np.random.Generator) -> list[Draw]:
    """Functions from the posterior of a loss model, hyperparameters and all."""
    deviates = rng.standard_normal((count, len(process.theta)))
    return [draw_of(other, rng) for other in alternatives(process, deviates)]
