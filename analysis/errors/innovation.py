"""The covariance of what runs don't share as members of a group: independent, alike within a cell, or fading along a run.

Each is sigma^2 B with B^-1 = F' F: rows of F X are independent with variance sigma^2 where rows of X vary as sigma^2 B. With weights w,
B becomes W^-1/2 B W^-1/2 and F becomes F W^1/2.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

NONE, CELL, ORDER = "none", "cell", "order"   # kinds
GRIDS = {CELL: (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 40.0),              # variance that a cell's runs share, in units of their own
         ORDER: (0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.99)}   # correlation of neighbours


@dataclass(frozen=True)
class Innovation:
    """One such covariance."""

    kind: str
    value: float                           # of GRIDS; 0 where the kind is NONE
    filter: sparse.csr_array = field(repr=False)   # F (n, n)
    log_determinant: float                 # of B
    covariance: Callable[[], np.ndarray] = field(repr=False)   # B (n, n)

    def coloured(self, noise: np.ndarray) -> np.ndarray:
        """F^-1 noise: columns (n, R) of independent noise made to vary as B."""
        return splu(sparse.csc_array(self.filter)).solve(noise)


def independent(weight: np.ndarray) -> Innovation:
    return _weighted(NONE, 0.0, sparse.eye_array(len(weight)), 0.0, weight, lambda: np.eye(len(weight)))


def of_cells(cell: np.ndarray, value: float, weight: np.ndarray) -> Innovation:
    """B = I + value on the blocks of a cell: F = I - (1 - 1/sqrt(1 + value m))/m on a block of m runs."""
    count = np.bincount(cell)
    member = sparse.csr_array((np.ones(len(cell)), (np.arange(len(cell)), cell)), shape=(len(cell), len(count)))
    share = (1 - 1 / np.sqrt(1 + value * count)) / count
    F = sparse.eye_array(len(cell)) - member @ sparse.diags_array(share) @ member.T
    return _weighted(CELL, value, F, float(np.log1p(value * count).sum()), weight,
                     lambda: np.eye(len(cell)) + value * (cell[:, None] == cell))


def along(sequence: np.ndarray, place: np.ndarray, value: float, weight: np.ndarray) -> Innovation:
    """B = value^|i - j| between the i-th and the j-th of a sequence: a first-order autoregression."""
    n = len(sequence)
    order = np.lexsort((place, sequence))
    follows = np.append(False, sequence[order][1:] == sequence[order][:-1])
    fade = np.where(follows, value ** np.where(follows, np.diff(place[order], prepend=0), 1), 0.0)
    sd = np.sqrt(1 - fade**2)
    before = np.append(order[0], order[:-1])
    F = sparse.csr_array((np.concatenate([1 / sd, -fade / sd]), (np.tile(order, 2), np.concatenate([order, before]))), shape=(n, n))
    return _weighted(ORDER, value, F, 2 * float(np.log(sd).sum()), weight,
                     lambda: np.where(sequence[:, None] == sequence, value ** np.abs(np.subtract.outer(place, place)), 0.0))


def _weighted(kind: str, value: float, F, log_determinant: float, weight: np.ndarray, correlation: Callable) -> Innovation:
    root = np.sqrt(weight)
    return Innovation(kind, value, sparse.csr_array(F @ sparse.diags_array(root)), log_determinant - float(np.log(weight).sum()),
                      lambda: correlation() / np.outer(root, root))
