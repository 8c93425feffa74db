"""Return as a rising function of log intrinsic performance, whatever its shape: a cubic spline that never falls.

    R = r_0 + sum_k c_k F((t - t_low) / h - k),   c_k >= 0,   t = log I,

F the distribution function of the sum of three uniform variables (the integral of a quadratic B-spline), k = -2 .. K - 1,
h the K-th part of the range of t. r_0 and c are least squares, exactly, by non-negative least squares.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

MOST, LEAST = 8, 2   # steps K
POINTS = 5           # of the curves for each


@dataclass(frozen=True)
class Link:
    """R = f(t), rising."""

    low: float                  # range of t
    high: float
    start: float                # r_0
    increments: np.ndarray      # (K + 2,) c

    def __call__(self, t):
        F = steps(np.clip(t, self.low, self.high), self.low, self.high, len(self.increments) - 2)
        return self.start + F @ self.increments

    def inverse(self, R) -> np.ndarray:
        """t at which the curve first reaches each R, NaN beyond its range."""
        t = np.linspace(self.low, self.high, 400)
        rising = np.maximum.accumulate(self(t)) + 1e-12 * (self.increments.sum() + 1e-300) * np.arange(400) / 400
        return np.where((R < rising[0]) | (R > rising[-1]), np.nan, np.interp(R, rising, t))


def steps(t, low: float, high: float, K: int) -> np.ndarray:
    """F (..., K + 2) of each step."""
    u = (np.asarray(t, float)[..., None] - low) / max((high - low) / K, 1e-300) - np.arange(-2, K)
    total = 0.0
    for i, sign in enumerate((1.0, -3.0, 3.0, -1.0)):
        beyond = np.maximum(u - i, 0.0)
        total += (sign / 6) * (beyond * beyond * beyond)   # a power of 3 takes ten times as long
    return total


def count_of(points: int) -> int:
    """Steps that so many points bear."""
    return int(np.clip((points - 4) // POINTS, LEAST, MOST))


def fit_link(t, R, weight, K: int) -> tuple[Link, np.ndarray]:
    """Weighted least squares, and the residuals R - f(t) (n,)."""
    low, high = float(t.min()), float(t.max())
    F = steps(t, low, high, K)
    total = weight.sum()
    centre, middle = weight @ F / total, weight @ R / total
    root = np.sqrt(weight)
    Q, upper = np.linalg.qr((F - centre) * root[:, None])
    c, _ = nnls(upper, Q.T @ ((R - middle) * root))
    start = float(middle - centre @ c)
    return Link(low, high, start, c), R - start - F @ c
