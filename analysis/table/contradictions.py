"""Rows that are no run: sums of the others, and rows whose FLOPs contradict their size and data."""

import numpy as np

# A row is a sum where it is so to the digits of a table; of fewer rows chance makes some.
EXACT, LEAST_ROWS = 1e-6, 6
# A row's FLOPs are off by more than what architectures differ by, and than the others scatter.
FACTOR, DEVIATIONS = 3.0, 8.0
LEAST_SIZES, NEIGHBOURS = 5, 4
MOST = 0.1           # of the rows: more are another architecture, not a slip
MOST_SIZES = 400     # sizes whose pairs are looked at
MOST_SUSPECTS = 10_000   # sizes whose neighbours are looked at: with more, nothing is the rule


def sums_of_others(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Mask (n,) of rows whose N and D are the sums of all other rows': a line of totals."""
    if len(N) < LEAST_ROWS:
        return np.zeros(len(N), bool)
    return np.all([np.abs(2 * v - v.sum()) <= EXACT * v.sum() for v in (N, D)], axis=0)


def contradicting(N: np.ndarray, D: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask (n,) of rows whose C is far from k N^p D, which the others follow, and (n,) the C that they say.

    k and p by the medians of Theil and Sen over the sizes' own median of C / D. A row stands
    apart only if its C is also far from what its neighbours in N say: C / D may bend with N, as
    it does where embeddings aren't counted, but it doesn't jump.
    """
    sizes, member = np.unique(N, return_inverse=True)
    y = np.log(C) - np.log(D)
    if len(sizes) < LEAST_SIZES:
        return np.zeros(len(N), bool), C
    middle = _medians(y, member)
    x, p = np.log(sizes), _slope(np.log(sizes), middle)
    level = float(np.median(middle - p * x))
    said = level + p * x[member]
    off = y - said
    scatter = 1.4826 * float(np.median(np.abs(off - np.median(off))))
    far = np.abs(off) > max(np.log(FACTOR), DEVIATIONS * scatter)
    suspects = np.unique(member[far])
    if len(suspects) <= MOST_SUSPECTS:
        of_size = np.full(len(sizes), np.nan)
        of_size[suspects] = [_of_neighbours(x, middle, size, p) for size in suspects]
        far &= np.abs(y - of_size[member]) > np.log(FACTOR)
    return far, np.exp(said) * D


def _medians(y: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Of each group's values."""
    order = np.lexsort((y, member))
    count = np.bincount(member)
    first = np.cumsum(count) - count
    return (y[order][first + (count - 1) // 2] + y[order][first + count // 2]) / 2


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Median of the slopes of all pairs; of evenly chosen points where there are many."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_SIZES)).astype(int))
    i, j = np.triu_indices(len(keep), 1)
    x, y = x[keep], y[keep]
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))


def _of_neighbours(x: np.ndarray, y: np.ndarray, size: int, p: float) -> float:
    """What the nearest sizes say of log C / D at that size: the median along the law's slope."""
    first, last = max(size - NEIGHBOURS, 0), min(size + NEIGHBOURS, len(x) - 1)   # x ascends
    others = np.delete(np.arange(first, last + 1), size - first)
    near = others[np.argsort(np.abs(x[others] - x[size]))[:NEIGHBOURS]]
    return float(np.median(y[near] + p * (x[size] - x[near])))
