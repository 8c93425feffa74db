"""Loss along sizes and along budgets, and wild-bootstrap copies of it: what approaches 1 and 2 read.

Runs are first reduced to cells by the median of log L over seeds, never the minimum,
which moves the frontier down. Copies flip the signs of whole cells' residuals about a
smooth surface, so that no resample has holes in its grid and budgets that share cells
vary together (Wu 1986; Mammen 1993).
"""

from dataclasses import dataclass

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import TooFewPoints

USABLE = 0.75  # of the copies must give the estimate: the others are those whose noise would have said most against it


@dataclass(frozen=True)
class Cells:
    """One entry a cell, arrays (m,), sorted by N, then C; of T tables that differ in their losses alone, log_L is (T, m)."""

    N: np.ndarray
    D: np.ndarray
    C: np.ndarray
    log_L: np.ndarray    # median over the cell's runs
    budget: np.ndarray   # the table's own isoFLOP label, nan where it has none
    runs: int            # that went in


@dataclass(frozen=True)
class SmoothSurface:
    """A polynomial of log L in log N and log C."""

    degree: int
    low: tuple[float, float]   # of log N and log C
    high: tuple[float, float]
    coefficient: np.ndarray    # (terms,), or (T, terms) of T tables

    def __call__(self, log_N, log_C) -> np.ndarray:
        """log L (k,), or (T, k)."""
        return self.coefficient @ _basis(log_N, log_C, self.low, self.high, self.degree).T


@dataclass(frozen=True)
class Copies:
    """A world like the table's, whose surface is known, and what the table might have been in it."""

    surface: SmoothSurface
    terms: int           # of the surface: what it takes from the degrees of freedom of the noise about it
    smooth: np.ndarray   # (m,) log L of every cell on the surface; of T tables (T, m)
    noisy: np.ndarray    # (R, m) with fresh noise about it; (T, R, m)


@dataclass(frozen=True)
class Stack:
    """One quantity of the table, of the surface behind the copies, and of every copy: rows of one array, so that they go
    through the arithmetic together."""

    rows: np.ndarray   # (2 + R, ...)

    @property
    def table(self) -> np.ndarray:
        return self.rows[0]

    @property
    def surface(self) -> np.ndarray:
        """What the copies scatter about."""
        return self.rows[1]

    @property
    def copies(self) -> np.ndarray:
        """(R, ...)"""
        return self.rows[2:]

    def columns(self, kept) -> "Stack":
        return Stack(self.rows[:, kept])

    def with_surface(self, values) -> "Stack":
        """The surface's row replaced where the values are finite."""
        return Stack(np.concatenate([self.rows[:1], np.where(np.isfinite(values), values, self.surface)[None], self.copies]))

    @property
    def borne_out(self) -> np.ndarray:
        """Which columns are finite in the table and in most of the copies."""
        return np.isfinite(self.table) & (np.isfinite(self.rows[1:]).mean(0) > 0.5)


def stacked(cells: Cells, copy: Copies) -> Stack:
    """log L of every cell; of T tables theirs one after another, (T (2 + R), m)."""
    rows = np.concatenate([cells.log_L[..., None, :], copy.smooth[..., None, :], copy.noisy], -2)
    return Stack(rows.reshape(-1, rows.shape[-1]))


def by_table(columns: list[np.ndarray], tables: int) -> np.ndarray:
    """Quantities (T, 2 + R, b) of T tables' stacked rows; nan throughout where a table or most of its copies lack one."""
    rows = np.stack(columns, 1).reshape(tables, -1, len(columns))
    told = np.isfinite(rows[:, 0]) & (np.isfinite(rows[:, 1:]).mean(1) > 0.5)
    return np.where(told[:, None], rows, np.nan)


@dataclass(frozen=True)
class Slopes:
    """What an approach finds in tables that differ in their losses alone; nan where it refuses."""

    a: np.ndarray       # (T,)
    log_N: np.ndarray   # (T, k) log N* at k places; (T, 0) of an approach that tells none


def reduce_to_cells(N, D, L, C, *, weight=None, cell=None, budget=None) -> Cells:
    """Medians over the runs of each cell, of one table's L (n,) or of T tables' (T, n).

    Raises ValueError for values that no run can have.
    """
    N, D, L, C = (np.atleast_1d(np.asarray(v, float)) for v in (N, D, L, C))
    if not len(N) == len(D) == L.shape[-1] == len(C):
        raise ValueError(f"N, D, L and C differ in length: {len(N)}, {len(D)}, {L.shape[-1]}, {len(C)}")
    for name, v in (("N", N), ("D", D), ("L", L), ("C", C)):
        if not (np.isfinite(v) & (v > 0)).all():
            raise ValueError(f"{name} holds values that are not positive finite numbers: drop those rows")
    label = np.full(len(N), np.nan) if budget is None else np.asarray(budget, float)
    key = distinct(N, D, np.nan_to_num(label)) if cell is None else distinct(cell, np.nan_to_num(label))
    weight = np.ones_like(N) if weight is None else np.asarray(weight, float)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    median = _medians(np.log(L)[..., order], weight[order], first)
    one = order[first]
    by = np.lexsort((C[one], N[one]))
    return Cells(*(v[one][by] for v in (N, D, C)), median[..., by], label[one][by], int(weight.sum()))


def _medians(log_L, weight, first) -> np.ndarray:
    """Weighted medians (..., m) of values (..., n) whose cells begin at `first` (m,)."""
    last = np.append(first[1:], log_L.shape[-1])
    median = log_L[..., first].copy()
    for i in np.flatnonzero(last - first > 1):
        values = log_L[..., first[i]:last[i]]
        order = np.argsort(values, -1, kind="stable")
        running = np.cumsum(weight[first[i]:last[i]][order], -1)
        half = running[..., -1:] / 2
        lower = (running < half * (1 - 1e-12)).sum(-1, keepdims=True)
        upper = np.minimum((running <= half * (1 + 1e-12)).sum(-1, keepdims=True), values.shape[-1] - 1)
        pair = np.take_along_axis(values, np.take_along_axis(order, np.concatenate([lower, upper], -1), -1), -1)
        median[..., i] = pair.mean(-1)
    return median


def copies(cells: Cells, resamples: int, rng) -> Copies:
    """Rademacher wild bootstrap about a polynomial surface of log L in log N and log C."""
    rng = np.random.default_rng(rng)
    m = len(cells.N)
    # a surface of d + 1 over 2 choose 2 terms leaves at least two cells a term
    degree = 4 if m >= 60 else 3 if m >= 20 else 2
    if m < 8:
        raise TooFewPoints(f"need at least 8 (N, C) cells to see the noise about a smooth surface, got {m}")
    logs = [np.log(q) for q in (cells.N, cells.C)]
    low, high = (tuple(float(end(v)) for v in logs) for end in (np.min, np.max))
    left, size, right = np.linalg.svd(_basis(*logs, low, high, degree), full_matrices=False)
    kept = size > 1e-9 * size[0]
    left = left[:, kept]
    share = cells.log_L @ left
    smooth = share @ left.T
    leverage = np.minimum(np.square(left).sum(1), 0.9)
    residual = (cells.log_L - smooth) / np.sqrt(1 - leverage)
    surface = SmoothSurface(degree, low, high, (share / size[kept]) @ right[kept])
    signs = rng.choice([-1.0, 1.0], size=(resamples, m))
    return Copies(surface, share.shape[-1], smooth, smooth[..., None, :] + residual[..., None, :] * signs)


def _basis(log_N, log_C, low, high, degree) -> np.ndarray:
    """Products (k, terms) of Legendre polynomials up to the total degree."""
    u, v = (2 * (x - a) / max(b - a, 1e-12) - 1 for x, a, b in zip((log_N, log_C), low, high))
    P, Q = (np.polynomial.legendre.legvander(x, degree) for x in (u, v))
    return np.stack([P[..., i] * Q[..., j] for i in range(degree + 1) for j in range(degree + 1 - i)], -1)


def basic_interval(value: float, draws, centre: float, cut: float) -> tuple[float, float]:
    """Reflected quantiles of the draws' error about the surface they were made from, and the value itself.

    Where the draws lie to one side of their surface the estimate is biased, and the interval reaches
    from it to where the reflection says the truth is.
    """
    low, high = np.quantile(np.asarray(draws) - centre, [cut, 1 - cut])
    return float(min(value - high, value)), float(max(value - low, value))


def slopes(x, y, weight) -> np.ndarray:
    """Weighted slope of each row of y (R, k) on x (k,) or (R, k); points where y is nan don't count.

    nan where fewer than 3 points are left.
    """
    x, w = np.broadcast_to(x, y.shape), np.where(np.isfinite(y), weight, 0.0)
    y = np.nan_to_num(y)
    total = np.maximum(w.sum(1, keepdims=True), 1e-300)
    dx, dy = x - (w * x).sum(1, keepdims=True) / total, y - (w * y).sum(1, keepdims=True) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (w * dx * dy).sum(1) / (w * dx * dx).sum(1)
    return np.where((w > 0).sum(1) >= 3, slope, np.nan)


def design_ratio(N, C) -> float:
    """Slope of log N on log C between the cheapest and the dearest corner of the grid."""
    return float(np.log(N.max() / N.min()) / np.log(C.max() / C.min()))
