"""The inverse of a covariance of many runs, in a form that a stack of fits can use."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

SMALL = 200   # runs up to which a whole matrix is quicker than a sparse one and a correction


@dataclass(frozen=True)
class Precision:
    """P = K - U U', K (n, n) sparse or whole, U (n, q)."""

    matrix: sparse.csr_array | np.ndarray = field(repr=False)
    low: np.ndarray = field(repr=False)
    known: dict[bytes, "Summed"] = field(default_factory=dict, repr=False, compare=False)   # by cells, so that each is made once

    @classmethod
    def of(cls, filter, scaled: np.ndarray) -> "Precision":
        """Of V = (F'F)^-1 + Z Z', with scaled = F Z (n, q): V^-1 = F' (I - FZ (I + Z'F'FZ)^-1 Z'F') F."""
        root = np.linalg.cholesky(np.linalg.inv(np.eye(scaled.shape[1]) + scaled.T @ scaled))
        return cls(sparse.csr_array(filter.T @ filter), filter.T @ (scaled @ root))

    @property
    def diagonal(self) -> np.ndarray:
        """(n,)"""
        return np.asarray(self.matrix.diagonal()) - np.square(self.low).sum(1)

    def times(self, rows: np.ndarray) -> np.ndarray:
        """P x of every row x of (M, n)."""
        alone = rows @ self.matrix
        return alone - (rows @ self.low) @ self.low.T if self.low.shape[1] else alone

    def between(self, slopes: np.ndarray) -> np.ndarray:
        """J' P J (M, k, k) of slopes J' (M, k, n)."""
        M, k, n = slopes.shape
        flat = slopes.reshape(M * k, n)
        return np.matmul(self.times(flat).reshape(M, k, n), slopes.transpose(0, 2, 1))

    def summed(self, member: np.ndarray) -> "Summed":
        """Over the runs of each cell, member (n,)."""
        key = member.tobytes()
        if key not in self.known:
            self.known[key] = Summed.of(self, member)
        return self.known[key]


@dataclass(frozen=True)
class Summed:
    """What a precision says of cells, whose runs a law foretells alike: with Z (n, m) the runs' cells and r = Z f - y,

    r' P r = (f - G y)' Q (f - G y) + e' P e,   Q = Z' P Z,  G = Q^-1 Z' P,  e = y - Z G y.
    """

    precision: Precision                          # Q
    means: np.ndarray = field(repr=False)         # G (m, n): generalised least-squares means

    @classmethod
    def of(cls, P: Precision, member: np.ndarray) -> "Summed":
        n, m = len(member), int(member.max()) + 1
        Z = sparse.csr_array((np.ones(n), (np.arange(n), member)), shape=(n, m))
        low, half = Z.T @ P.low, Z.T @ P.matrix
        inner = sparse.csr_array(half @ Z)
        whole = inner.toarray() - low @ low.T
        means = np.linalg.solve(whole, half.toarray() - low @ P.low.T)
        return cls(Precision(whole, np.zeros((m, 0))) if m <= SMALL else Precision(inner, low), means)
