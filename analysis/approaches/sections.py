"""Budgets of equal compute through a table: its own, or those that each size's curve is interpolated to."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.approaches.vertex import LEAST_SIZES
from analysis.approaches.wild_bootstrap import Cells, Stack
from analysis.estimates.refusal import NoMinimum

OCTAVES = 0.25      # spacing of common budgets: twice that tells as much about a, but nearer the ends of the range
LEAST_BUDGETS = 12  # on grids of few octaves
GAP = 0.05          # log C within a budget that the table doesn't label differ by less


@dataclass(frozen=True)
class IsoflopPoints:
    """Sizes and losses along one budget."""

    N: np.ndarray
    D: np.ndarray
    L: np.ndarray


@dataclass(frozen=True)
class Section:
    """One budget through a stack of copies."""

    C: float
    N: np.ndarray      # (m,) increasing
    D: np.ndarray      # (m,)
    log_L: Stack       # of rows (m,)

    def points(self) -> IsoflopPoints:
        return IsoflopPoints(self.N, self.D, np.exp(self.log_L.table))

    def samples(self, log_N):
        """log D at log N along the budget."""
        return np.interp(log_N, np.log(self.N), np.log(self.D))


def labels(N, C):
    """Budgets that the table's C falls into without being labelled, or None: at least 3 of 4 sizes, 4 rows in 5."""
    log_C, N = np.log(np.asarray(C, float)), np.asarray(N, float)
    order = np.argsort(log_C)
    group = np.empty(len(N), int)
    group[order] = np.cumsum(np.diff(log_C[order], prepend=log_C[order][0]) > GAP)
    ends = [np.ptp(log_C[group == g]) < 2 * GAP and len(np.unique(N[group == g])) >= 4 for g in range(group.max() + 1)]
    member = np.asarray(ends)[group]
    if sum(ends) < 3 or member.mean() < 0.8:
        return None
    centres = np.array([np.exp(log_C[group == g].mean()) for g in range(group.max() + 1)])
    return centres[group]


def own_sections(cells: Cells, log_L: Stack) -> list[Section]:
    sections = []
    for label in np.unique(cells.budget[np.isfinite(cells.budget)]):
        rows = np.flatnonzero(cells.budget == label)
        sizes, member = np.unique(cells.N[rows], return_inverse=True)
        mean = np.equal.outer(member, np.arange(len(sizes))) / np.bincount(member)
        sections.append(Section(float(np.exp(np.log(cells.C[rows]).mean())), sizes, np.exp(np.log(cells.D[rows]) @ mean),
                                 Stack(log_L.rows[:, rows] @ mean)))
    return sections


def _by_size(cells: Cells) -> list[np.ndarray]:
    """Rows of each size that has at least 3 distinct C, C increasing."""
    groups = [np.flatnonzero(cells.N == size) for size in np.unique(cells.N)]
    groups = [g[np.unique(cells.C[g], return_index=True)[1]] for g in groups]
    return [g for g in groups if len(g) >= 3]


def common_budgets(cells: Cells) -> np.ndarray:
    """Quarter octaves of C over the range that at least LEAST_SIZES sizes cover, moved to where a size's curve begins or ends if
    it does so nearby: there the most sizes meet, and what the last budget loses of the range is its last size's part."""
    spans = np.array([[cells.C[g[0]], cells.C[g[-1]]] for g in _by_size(cells)])
    if len(spans) < 4:
        raise NoMinimum(f"{len(spans)} sizes were run at 3 compute budgets or more, need 4: "
                        "the table is no grid, and no column labels its budgets of equal compute")
    low, high = np.sort(spans[:, 0])[LEAST_SIZES - 1], np.sort(spans[:, 1])[-LEAST_SIZES]
    if low >= high:
        raise NoMinimum(f"no compute budget is covered by {LEAST_SIZES} sizes")
    octaves = np.log2(high / low)
    step = min(OCTAVES, octaves / (LEAST_BUDGETS - 1))
    even = step * np.arange(int(octaves / step + 1e-9) + 1)
    ends = np.log2(spans.ravel() / low)
    nearest = ends[np.abs(even[:, None] - ends).argmin(1)]
    return low * 2.0 ** np.where(np.abs(nearest - even) < step / 2, nearest, even)


def interpolated_sections(cells: Cells, log_L: Stack, budgets) -> list[Section]:
    """Each size's curve of log L against log C by Akima's method, read at the budgets that it covers."""
    budgets = np.asarray(budgets, float)
    groups = _by_size(cells)
    covers, log_D, values = [], [], []
    for g in groups:
        x = np.log(cells.C[g])
        at = np.clip(np.log(budgets), x[0], x[-1])
        covers.append(np.abs(np.log(budgets) - at) < 1e-9)
        log_D.append(np.interp(at, x, np.log(cells.D[g])))
        values.append(Akima1DInterpolator(x, log_L.rows[:, g].T)(at))
    sections = []
    for k, C in enumerate(budgets):
        at = [i for i in range(len(groups)) if covers[i][k]]
        N, D = (np.array(v) for v in ([cells.N[groups[i][0]] for i in at], [np.exp(log_D[i][k]) for i in at]))
        rows = np.stack([values[i][k] for i in at], 1) if at else np.empty((len(log_L.rows), 0))
        sections.append(Section(float(C), N, D, Stack(rows)))
    return sections
