"""An exact Gaussian process in float64: polynomial trend + Matern-5/2 ARD, trained by MAP.

    k(x, x') = 1 + sum_i a_i x_i x'_i + q^2 + CUBIC q^3 + s Matern52(x, x'; lengths) + noise,
    q = sum_i b_i x_i x'_i

The polynomial part is a Bayesian cubic regression: it carries the trend beyond the data, the
quadratic's minimum along a line of equal cost moves linearly, which is what a power law between
a hyperparameter and the cost is, and the cubic lets its curvature change with the cost. Inputs and outputs are expected standardised. All
hyperparameters live in log space in one vector theta (3 d + 2,): a, b, lengths, s, noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.linalg.lapack import dpotri, dtrtri
from scipy.optimize import minimize

Array = np.ndarray
_ROOT5 = math.sqrt(5.0)
# Stands for the negative log posterior of a theta whose covariance can't be factored.
IMPOSSIBLE = 1e25
# Variance of the cubic part in units that the quadratic part sets.
CUBIC = 1.0


@dataclass(frozen=True)
class Prior:
    """Independent normals over theta, and the box that keeps the Cholesky safe in doubles."""

    mean: Array
    sd: Array
    low: Array
    high: Array


def prior(d: int, *, linear: float, quadratic: float, amplitude: float, noise: float,
          trend_sd: float = 1.5, amplitude_sd: float = 1.5, noise_sd: float = 1.5) -> Prior:
    """A prior by the medians of the variances; lengths grow as sqrt d (Hvarfner et al. 2024)."""
    # A median length of 2 sqrt d standard deviations: smooth unless the data say otherwise.
    mean = np.concatenate([np.full(d, math.log(linear)), np.full(d, math.log(quadratic)),
                           np.full(d, math.log(2.0) + 0.5 * math.log(d)),
                           [math.log(amplitude), math.log(noise)]])
    sd = np.concatenate([np.full(2 * d, trend_sd), np.full(d, 1.0), [amplitude_sd, noise_sd]])
    low = np.concatenate([np.full(2 * d, -14.0), np.full(d, -2.0), [-14.0, -14.0]])
    high = np.concatenate([np.full(2 * d, 5.0), np.full(d, 7.0), [4.0, 1.0]])
    return Prior(mean, sd, low, np.maximum(high, mean))


def _split(theta: Array, d: int) -> tuple[Array, Array, Array, float, float]:
    e = np.exp(theta)
    return e[:d], e[d:2 * d], e[2 * d:3 * d], float(e[3 * d]), float(e[3 * d + 1])


def matern(X: Array, Z: Array, length: Array) -> tuple[Array, Array]:
    """sqrt5 times the scaled distance (n, m), and exp of minus that."""
    U, V = X / length, Z / length
    r2 = (U * U).sum(1)[:, None] + (V * V).sum(1)[None, :] - 2.0 * U @ V.T
    r = _ROOT5 * np.sqrt(np.maximum(r2, 1e-300))
    return r, np.exp(-r)


def kernel(theta: Array, X: Array, Z: Array) -> Array:
    """Covariance (n, m) of the latent function."""
    a, b, length, s, _ = _split(theta, X.shape[1])
    r, e = matern(X, Z, length)
    Q = (X * b) @ Z.T
    return 1.0 + (X * a) @ Z.T + Q * Q * (1.0 + CUBIC * Q) + s * (1.0 + r + r * r / 3.0) * e


def kernel_diagonal(theta: Array, X: Array) -> Array:
    a, b, _, s, _ = _split(theta, X.shape[1])
    q = (X * X) @ b
    return 1.0 + (X * X) @ a + q * q * (1.0 + CUBIC * q) + s


def objective(theta: Array, X: Array, y: Array, p: Prior, weights: Array) -> tuple[float, Array]:
    """Negative log posterior of theta and its gradient; `weights` (n,) multiply the noise variance."""
    n, d = X.shape
    a, b, length, s, noise = _split(theta, d)
    Q = (X * b) @ X.T
    r, e = matern(X, X, length)
    M = s * (1.0 + r + r * r / 3.0) * e
    K = 1.0 + (X * a) @ X.T + Q * Q * (1.0 + CUBIC * Q) + M
    K[np.diag_indices(n)] += noise * weights
    try:
        L = cholesky(K, lower=True, check_finite=False)
    except LinAlgError:
        # The trend's variances exceed the noise by more than doubles hold: nowhere to stay.
        return IMPOSSIBLE, np.zeros_like(theta)
    alpha = cho_solve((L, True), y, check_finite=False)
    inverse, _ = dpotri(L, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    W = np.outer(alpha, alpha) - inverse
    G = W * (s / 3.0 * 5.0 * (1.0 + r) * e)
    Z = X / length
    gradient = -0.5 * np.concatenate([
        a * np.einsum("ni,ni->i", X, W @ X),
        b * np.einsum("ni,ni->i", X, (W * Q * (2.0 + 3.0 * CUBIC * Q)) @ X),
        2.0 * (G.sum(1) @ (Z * Z) - np.einsum("ni,ni->i", Z, G @ Z)),
        [(W * M).sum(), noise * (np.diag(W) * weights).sum()]])
    t = (theta - p.mean) / p.sd
    value = 0.5 * y @ alpha + np.log(np.diag(L)).sum() + 0.5 * n * math.log(2 * math.pi) + 0.5 * t @ t
    return float(value), gradient + t / p.sd


def _factor(K: Array) -> Array:
    """Lower Cholesky factor, with the least jitter of a ladder that rounding makes necessary."""
    for share in (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4):
        try:
            return cholesky(K + share * np.diag(K).mean() * np.eye(len(K)) if share else K, lower=True, check_finite=False)
        except LinAlgError:
            continue
    raise LinAlgError(f"a covariance of {len(K)} points can't be factored")


def train(X: Array, y: Array, p: Prior, start: Array, *, weights: Array, iterations: int) -> Array:
    """MAP hyperparameters by L-BFGS from `start`, or from the prior's mode where `start` has become impossible."""
    start = np.clip(start, p.low, p.high)
    if not objective(start, X, y, p, weights)[0] < IMPOSSIBLE:
        start = p.mean
    found = minimize(objective, start, args=(X, y, p, weights), jac=True,
                     method="L-BFGS-B", bounds=list(zip(p.low, p.high)), options={"maxiter": iterations})
    return found.x if found.fun < IMPOSSIBLE else start


def doubt(theta: Array, X: Array, y: Array, p: Prior, *, weights: Array) -> Array:
    """A root (k, k) of the covariance of theta about its mode: Laplace's approximation.

    The Hessian is that of finite differences of the gradient. Directions that it finds no
    better determined than the prior does keep the prior's widest spread.
    """
    k, step = len(theta), 1e-3     # of a log: far above rounding, far below any curvature's scale
    H = np.array([objective(theta + e, X, y, p, weights)[1] - objective(theta - e, X, y, p, weights)[1]
                  for e in step * np.eye(k)]) / (2.0 * step)
    values, vectors = np.linalg.eigh(0.5 * (H + H.T))
    return vectors / np.sqrt(np.maximum(values, p.sd.max() ** -2))


@dataclass(frozen=True)
class Posterior:
    """A conditioned process: data, theta, and what prediction needs."""

    theta: Array
    X: Array        # (n, d)
    y: Array        # (n,)
    weights: Array  # (n,) multiples of the noise variance
    factor: Array   # (n, n) lower Cholesky factor of the covariance
    whiten: Array   # (n, n) its inverse: a product is many times faster than a solve for few points
    alpha: Array    # (n,)

    @property
    def noise(self) -> float:
        """Variance of one observation about the latent function."""
        return float(np.exp(self.theta[-1]))

    def mean(self, Z: Array) -> Array:
        return kernel(self.theta, Z, self.X) @ self.alpha

    def predict(self, Z: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (m,) of the latent function."""
        k = kernel(self.theta, self.X, Z)
        v = self.whiten @ k
        variance = kernel_diagonal(self.theta, Z) - np.einsum("nm,nm->m", v, v)
        # The floor is the rounding error of the difference, far below any noise we can train.
        return k.T @ self.alpha, np.sqrt(np.maximum(variance, 1e-10))

    def left_out(self) -> Array:
        """(n,) residuals of each observation given all others, in its own predictive sd (Rasmussen & Williams eq. 5.12)."""
        return self.alpha / np.sqrt((self.whiten * self.whiten).sum(0))

    def add(self, Z: Array, y: Array, weights: Array | None = None) -> "Posterior":
        """The same process with more observations."""
        return condition(self.theta, np.vstack([self.X, Z]), np.concatenate([self.y, y]),
                         np.concatenate([self.weights, np.ones(len(y)) if weights is None else weights]))


def condition(theta: Array, X: Array, y: Array, weights: Array) -> Posterior:
    """The process given its data. Raises LinAlgError where not even the largest jitter lets K be factored."""
    K = kernel(theta, X, X)
    K[np.diag_indices(len(X))] += np.exp(theta[-1]) * weights
    L = _factor(K)
    whiten, _ = dtrtri(L, lower=1)
    return Posterior(theta, X, y, weights, L, whiten, cho_solve((L, True), y, check_finite=False))
