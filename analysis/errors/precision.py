"""The inverse of a covariance of many runs, in a form that a stack of fits can use."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Precision:
    """P = F' F - U U', F sparse (n, n) and U (n, q)."""

    filter: sparse.csr_array = field(repr=False)
    low: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, filter, scaled: np.ndarray) -> "Precision":
        """Of V = (F'F)^-1 + Z Z', with scaled = F Z (n, q): V^-1 = F' (I - FZ (I + Z'F'FZ)^-1 Z'F') F."""
        if not scaled.shape[1]:
            return cls(filter, np.zeros((scaled.shape[0], 0)))
        root = np.linalg.cholesky(np.linalg.inv(np.eye(scaled.shape[1]) + scaled.T @ scaled))
        return cls(filter, filter.T @ (scaled @ root))

    @property
    def diagonal(self) -> np.ndarray:
        """(n,)"""
        return np.asarray(self.filter.multiply(self.filter).sum(0)).ravel() - np.square(self.low).sum(1)

    def times(self, rows: np.ndarray) -> np.ndarray:
        """P x of every row x of (M, n)."""
        return (self.filter.T @ (self.filter @ rows.T)).T - (rows @ self.low) @ self.low.T

    def between(self, slopes: np.ndarray) -> np.ndarray:
        """J' P J (M, k, k) of slopes J' (M, k, n)."""
        M, k, n = slopes.shape
        flat = slopes.reshape(M * k, n)
        white, shared = (self.filter @ flat.T).T.reshape(M, k, n), (flat @ self.low).reshape(M, k, -1)
        return np.matmul(white, white.transpose(0, 2, 1)) - np.matmul(shared, shared.transpose(0, 2, 1))
