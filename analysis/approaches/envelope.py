"""Approach 1: where along the lower envelope of the sizes' curves the next size takes over.

Hoffmann et al. 2022 read N* off the running minimum over all runs. On a rectangular grid
that minimum starts in one corner and ends in the other, so its slope is the *design
ratio*, whatever the law. Crossings of the curves of two sizes know nothing of the
corners: where sizes N and rho N reach the same loss, N is exactly proportional to C^a on
the surface E + A/N^alpha + B/D^beta, whatever E and rho.
"""

from dataclasses import dataclass, field

import numpy as np

from analysis.approaches.wild_bootstrap import (USABLE, Cells, Slopes, Stack, basic_interval, by_table, copies, design_ratio,
                                                reduce_to_cells, slopes, stacked)
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import tail
from analysis.estimates.refusal import Doubt, NoFrontier

RHO = 4.0   # sizes compared differ by about this: nearer ones cross where noise says, farther ones seldom within the table
GRID = 200  # compute levels at which a pair is compared


@dataclass(frozen=True)
class EnvelopePoints:
    """Takeovers: two sizes reach the loss L at C; N, D are the geometric means of theirs. Arrays (m,)."""

    C: np.ndarray
    N: np.ndarray
    D: np.ndarray
    L: np.ndarray


@dataclass(frozen=True)
class EnvelopeFit:
    """N*(C) ~ C^a and D*(C) ~ C^b through the takeovers, beside what the grid alone would give."""

    a: Estimate
    b: Estimate
    points: EnvelopePoints = field(repr=False)
    pairs: int            # of sizes that could have crossed
    curve_C: np.ndarray = field(repr=False)
    curve_L: np.ndarray = field(repr=False)  # lower envelope of the smoothed curves
    draws: np.ndarray = field(repr=False)    # (R, 2): errors of a and b
    design_ratio: float   # slope of log N on log C between the grid's corners
    naive: float          # slope of the running minimum over all runs

    @property
    def indistinct(self) -> bool:
        """Whether the grid's own shape would have given this slope too."""
        return self.design_ratio in self.a

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        doubts = []
        if self.indistinct:
            doubts.append(Doubt("frontier_is_design", f"the slope cannot be told from the grid's own design ratio "
                                f"{self.design_ratio:.3f}"))
        if len(self.points.C) < 5:
            doubts.append(Doubt("few_takeovers", f"only {len(self.points.C)} of {self.pairs} pairs of sizes cross "
                                "inside the table"))
        return tuple(doubts)

    def summary(self) -> str:
        lines = [f"envelope: {len(self.points.C)} of {self.pairs} pairs of sizes cross inside the table",
                 f"  a      {self.a}    (design ratio {self.design_ratio:.3f}, running minimum {self.naive:.3f})",
                 f"  b      {self.b}"]
        return "\n".join(lines + [f"  note: {doubt.text}" for doubt in self.warnings])


def fit_envelope(N, D, L, C, *, weight=None, cell=None, level: float = 0.95, resamples: int = 500, rng=0) -> EnvelopeFit:
    """Slope through the takeovers; raises NoFrontier where fewer than 3 pairs of sizes cross inside the table."""
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell)
    groups = _by_size(cells)
    copy = copies(cells, resamples, rng)
    log_L = stacked(cells, copy)
    pairs = _pairs([float(cells.N[g[0]]) for g in groups])
    crossings = Stack(np.stack([_crossing(cells, log_L.rows, groups[i], groups[j]) for i, j in pairs], 1))
    kept = np.flatnonzero(crossings.borne_out)
    if len(kept) < 3:
        raise NoFrontier(f"{len(kept)} of {len(pairs)} pairs of sizes cross once inside the table, need 3: "
                         "one size is best throughout, or noise hides where the next takes over")
    log_C, crossed = crossings.columns(kept), [pairs[k] for k in kept]
    log_N = np.array([np.log(cells.N[groups[i][0]] * cells.N[groups[j][0]]) / 2 for i, j in crossed])
    log_D = Stack(np.stack([(_samples(cells, groups[i], at) + _samples(cells, groups[j], at)) / 2
                            for (i, j), at in zip(crossed, log_C.rows.T)], 1))
    # N is exact and C carries the noise: regress log C, log D on log N and invert
    rate = Stack(slopes(log_N, log_C.rows, 1.0))
    found = Stack(np.stack([1 / rate.rows, slopes(log_N, log_D.rows, 1.0) / rate.rows], 1))
    usable = np.isfinite(found.copies).all(1) & (rate.copies > 0)
    if usable.mean() < USABLE or not np.isfinite(found.surface).all():
        raise NoFrontier(f"{len(kept)} pairs of sizes cross, but with fresh noise only {usable.mean():.0%} of the table's "
                         "copies have 3 that do: noise decides where the next size takes over")
    errors = found.copies[usable] - found.surface
    cut = tail(level, len(cells.N), copy.terms)
    estimates = [Estimate(float(found.table[i]), *basic_interval(found.table[i], errors[:, i], 0.0, cut),
                          float(errors[:, i].std(ddof=1)), "wild bootstrap by (N, C) cell, basic", cells.runs, level)
                 for i in (0, 1)]
    curve_C, curve_L, at_crossing = _envelope(cells, groups, log_C.table)
    points = EnvelopePoints(np.exp(log_C.table), np.exp(log_N), np.exp(log_D.table), at_crossing)
    return EnvelopeFit(*estimates, points, len(pairs), curve_C, curve_L, errors, design_ratio(cells.N, cells.C),
                       naive_slope(N, L, C))


def envelope_slopes(N, D, L, C, *, weight=None, cell=None, resamples: int = 20, rng=0) -> Slopes:
    """What fit_envelope finds in T tables of losses L (T, n), all at once: its a."""
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell)
    groups = _by_size(cells)
    log_L = stacked(cells, copies(cells, resamples, rng)).rows
    pairs = _pairs([float(cells.N[g[0]]) for g in groups])
    log_C = by_table([_crossing(cells, log_L, groups[i], groups[j]) for i, j in pairs], len(cells.log_L))
    log_N = np.array([np.log(cells.N[groups[i][0]] * cells.N[groups[j][0]]) / 2 for i, j in pairs])
    rate = slopes(log_N, log_C.reshape(-1, len(pairs)), 1.0).reshape(log_C.shape[:2])
    given = np.isfinite(rate[:, :2]).all(1) & ((rate[:, 2:] > 0).mean(1) >= USABLE)
    return Slopes(np.where(given, 1 / rate[:, 0], np.nan), np.empty((len(rate), 0)))


def _by_size(cells: Cells) -> list[np.ndarray]:
    """Rows of each size that has at least 4 distinct C; raises NoFrontier where there are fewer than 4."""
    groups = [np.flatnonzero(cells.N == size) for size in np.unique(cells.N)]
    groups = [g for g in groups if len(np.unique(cells.C[g])) >= 4]
    if len(groups) < 4:
        raise NoFrontier(f"{len(groups)} sizes were run at 4 compute budgets or more, need 4 to compare their curves")
    return groups


def naive_slope(N, L, C) -> float:
    """Slope of log N on log C over the running minimum of all runs: shown to be distrusted. nan below 3 records."""
    order = np.lexsort((L, C))
    N, L, C = (np.asarray(v, float)[order] for v in (N, L, C))
    record = L < np.minimum.accumulate(np.append(np.inf, L[:-1]))
    return float(slopes(np.log(C[record]), np.log(N[record])[None, :], 1.0)[0])


def _pairs(sizes) -> list[tuple[int, int]]:
    """Each size with the larger one nearest RHO times it, where one lies within a factor 2 of that."""
    log_N = np.log(sizes)
    pairs = []
    for i in range(len(log_N) - 1):
        away = np.abs(log_N[i + 1:] - log_N[i] - np.log(RHO))
        if away.min() < np.log(2):
            pairs.append((i, int(i + 1 + away.argmin())))
    return pairs or [(i, i + 1) for i in range(len(log_N) - 1)]


def _smoother(cells: Cells, group, at) -> np.ndarray:
    """Matrix (len(at), len(group)): cubic of log L in log C (quadratic below 7 points) fitted at the group, read at `at`."""
    x = np.log(cells.C[group])
    degree = 3 if len(group) >= 7 else 2
    centre, reach = x.mean(), np.ptp(x) / 2
    V, W = (np.vander((q - centre) / reach, degree + 1) for q in (x, np.asarray(at)))
    return W @ np.linalg.pinv(V)


def _crossing(cells, log_L, small, large) -> np.ndarray:
    """log C (R,) at which the larger size's curve passes below the smaller's; nan unless it does so just once."""
    low = max(np.log(cells.C[small]).min(), np.log(cells.C[large]).min())
    high = min(np.log(cells.C[small]).max(), np.log(cells.C[large]).max())
    if low >= high:
        return np.full(len(log_L), np.nan)
    at = np.linspace(low, high, GRID)
    gap = (log_L[:, large] @ _smoother(cells, large, at).T) - (log_L[:, small] @ _smoother(cells, small, at).T)
    turns = np.diff(np.sign(gap), axis=1) != 0
    once = (turns.sum(1) == 1) & (gap[:, 0] > 0) & (gap[:, -1] < 0)
    i, rows = turns.argmax(1), np.arange(len(log_L))
    before, after = gap[rows, i], gap[rows, i + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        place = at[i] + (at[1] - at[0]) * before / (before - after)
    return np.where(once, place, np.nan)


def _samples(cells, group, log_C) -> np.ndarray:
    """log D of a size at log C."""
    return np.interp(log_C, np.log(cells.C[group]), np.log(cells.D[group]))


def _envelope(cells, groups, log_C):
    """Lower envelope of the smoothed curves over the table's compute: C, L, and L at log_C."""
    at = np.linspace(np.log(cells.C).min(), np.log(cells.C).max(), GRID)
    def lowest(where):
        curves = np.full((len(groups), len(where)), np.inf)
        for row, g in zip(curves, groups):
            inside = (where >= np.log(cells.C[g]).min() - 1e-9) & (where <= np.log(cells.C[g]).max() + 1e-9)
            row[inside] = _smoother(cells, g, where[inside]) @ cells.log_L[g]
        return np.exp(curves.min(0))
    curve = lowest(at)
    covered = np.isfinite(curve)
    return np.exp(at[covered]), curve[covered], lowest(log_C)
