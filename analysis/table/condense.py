"""Tables too long to resample run by run: cells' medians, or bins of log N and log D, with weights."""

from dataclasses import dataclass, field

import numpy as np

from analysis.estimates.intervals import distinct

LIMIT = 2000  # rows: above it a thousand resamples cost more than the extra points tell
BINS = 1200   # squares that such a table is summarised in where its cells are as many
TREND = 20_000   # rows that the trend within squares is fitted to


@dataclass(frozen=True)
class Condensed:
    """Rows (m,) that stand for `rows` runs."""

    N: np.ndarray = field(repr=False)
    D: np.ndarray = field(repr=False)
    L: np.ndarray = field(repr=False)
    C: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)         # runs each row stands for
    budget: np.ndarray | None = field(repr=False)
    cell: np.ndarray = field(repr=False)           # cluster of each row
    seed: np.ndarray | None = field(repr=False)    # None once runs are merged
    run: np.ndarray | None = field(repr=False)     # the same: code of the run that a row is of, where the table says it
    rows: int
    note: str                                      # to print; "" where nothing was merged


def condense(N, D, L, C, *, budget=None, cell=None, seed=None, run=None, limit: int = LIMIT) -> Condensed:
    """The table itself up to `limit` rows; beyond, medians of log L by cell or, with too many cells, by bin.

    Bins are squares of log N and log D, as many as BINS and `limit` allow; N, D and C become geometric means, and what a cubic
    in log N and log D says of the way from a run to its square's mean is taken off the run's log L first, so that the width
    of the squares costs next to nothing (tests/analysis/test_laws.py). Budgets stay apart.
    """
    N, D, L, C = (np.asarray(v, float) for v in (N, D, L, C))
    n = len(N)
    given = (np.zeros(n) if budget is None else np.asarray(budget, float))
    key = distinct(N, D) if cell is None else np.asarray(cell)
    if n <= limit:
        return Condensed(N, D, L, C, np.ones(n), budget, key, seed, run, n, "")
    label, kind = distinct(key, given), "distinct cells"
    if label.max() + 1 > limit:
        label, kind = _bins(N, D, given, min(limit, BINS)), "bins of log N and log D"
    trend = _trend(N, D, L) if kind != "distinct cells" else lambda N, D: 0.0
    rest = np.log(L) - trend(N, D)
    order = np.lexsort((rest, label))
    first = np.flatnonzero(np.diff(label[order], prepend=-1))
    count = np.diff(np.append(first, n))
    ordered = rest[order]
    mean = [np.exp(np.add.reduceat(np.log(v[order]), first) / count) for v in (N, D, C)]
    median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2 + trend(*mean[:2])
    if kind == "distinct cells":
        mean[:2] = [v[order[first]] for v in (N, D)]  # exact: a size must stay one size
    clusters = key[order[first]] if kind == "distinct cells" else np.arange(len(first))
    return Condensed(mean[0], mean[1], np.exp(median), mean[2], count.astype(float),
                     None if budget is None else given[order[first]], clusters, None, None, n,
                     f"{n:,} runs summarised as {len(first):,} {kind}: median loss, weighted by count")


def _trend(N, D, L):
    """log L as a cubic of log N and log D, by least squares: a function of N, D."""
    centre, reach = zip(*((np.log(v).mean(), max(np.ptp(np.log(v)), 1e-12)) for v in (N, D)), strict=True)

    def terms(N, D):
        x, y = ((np.log(v) - c) / r for v, c, r in zip((N, D), centre, reach, strict=True))
        return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], -1)

    some = slice(None, None, max(len(L) // TREND, 1))
    coefficient = np.linalg.lstsq(terms(N[some], D[some]), np.log(L[some]), rcond=None)[0]
    return lambda N, D: terms(N, D) @ coefficient


def _bins(N, D, budget, limit) -> np.ndarray:
    """Index (n,) of the occupied square, the grid doubled until the next would pass the limit."""
    unit = [(np.log(v) - np.log(v.min())) / max(np.ptp(np.log(v)), 1e-12) * (1 - 1e-12) for v in (N, D)]
    group = distinct(budget) if len(np.unique(budget)) * 64 <= limit else np.zeros(len(N), int)
    kept, side = None, 8
    while side <= 1024:
        code = (group * side + (unit[0] * side).astype(int)) * side + (unit[1] * side).astype(int)
        occupied, index = np.unique(code, return_inverse=True)
        if kept is not None and len(occupied) > limit:
            break
        kept, side = index, int(side * 1.25) + 1
    return kept
