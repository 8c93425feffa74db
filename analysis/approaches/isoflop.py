"""Approach 2 (Hoffmann et al. 2022): the minimum of loss against size along budgets of equal compute.

Budgets are the table's own, or found in it, or, on a grid, common budgets that each size's
curve of log L against log C (real FLOPs) is interpolated to by Akima's method.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.approaches.vertex import CURVES, FINE, REACH, vertices
from analysis.approaches.wild_bootstrap import USABLE, Cells, SmoothSurface, basic_interval, copies, reduce_to_cells, slopes
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import tail
from analysis.estimates.refusal import Doubt, NoMinimum

OCTAVES = 0.5       # spacing of common budgets: half of what a width step of sqrt 2 or a halving of the data makes
LEAST_BUDGETS = 12  # on grids of few octaves
GAP = 0.05          # log C within a budget that the table doesn't label differ by less


@dataclass(frozen=True)
class IsoflopPoints:
    """Sizes and losses along one budget."""

    N: np.ndarray
    D: np.ndarray
    L: np.ndarray


@dataclass(frozen=True)
class Minimum:
    """The compute-optimal size of one budget."""

    C: float
    N: float
    D: float
    L: float
    N_se: float            # standard deviation of log N*
    points: IsoflopPoints
    line: IsoflopPoints    # the fitted curve


@dataclass(frozen=True)
class RefusedBudget:
    """A budget that says nothing about the optimum, and why."""

    C: float
    reason: str
    points: IsoflopPoints


def commonest_reason(refused: tuple[RefusedBudget, ...]) -> str:
    return Counter(r.reason for r in refused).most_common(1)[0][0]


@dataclass(frozen=True)
class IsoflopFit:
    """N*(C) ~ C^a and D*(C) ~ C^b through the bracketed minima."""

    a: Estimate
    b: Estimate
    N_line: tuple[float, float]  # log N* at log C = 0, its slope
    D_line: tuple[float, float]
    curve: str
    interpolated: bool
    minima: tuple[Minimum, ...] = field(repr=False)
    refused: tuple[RefusedBudget, ...] = field(repr=False)
    draws: np.ndarray = field(repr=False)     # (R, 2): errors of a and b about the smooth surface's own
    errors: np.ndarray = field(repr=False)    # (R, 4): of the intercepts at the middle budget and of the slopes
    middle: float                             # log C the intercepts' errors refer to
    cut: float

    @property
    def decades(self) -> float:
        """Of compute, from the cheapest to the dearest bracketed budget."""
        C = [m.C for m in self.minima]
        return float(np.log10(max(C) / min(C)))

    def params(self, C: float) -> Estimate:
        """N* for C FLOPs."""
        return self._at(C, self.N_line, self.errors[:, [0, 2]])

    def samples(self, C: float) -> Estimate:
        """D* for C FLOPs."""
        return self._at(C, self.D_line, self.errors[:, [1, 3]])

    def _at(self, C, line, errors) -> Estimate:
        log_value = line[0] + line[1] * np.log(C)
        error = errors[:, 0] + errors[:, 1] * (np.log(C) - self.middle)
        low, high = basic_interval(log_value, error, 0.0, self.cut)
        value = float(np.exp(log_value))
        return Estimate(value, float(np.exp(low)), float(np.exp(high)), value * float(np.std(error)), self.a.method,
                        self.a.n, self.a.level)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        doubts = []
        if len(self.minima) < 5:
            doubts.append(Doubt("few_budgets", f"only {len(self.minima)} budgets have a bracketed minimum"))
        if self.refused:
            doubts.append(Doubt("budgets_refused", f"{len(self.refused)} of {len(self.refused) + len(self.minima)} "
                                f"budgets refused; of most, {commonest_reason(self.refused)}"))
        return tuple(doubts)

    def summary(self) -> str:
        how = "interpolated" if self.interpolated else "the table's own"
        lines = [f"isoFLOP minima ({self.curve}, budgets {how}): {len(self.minima)} bracketed over {self.decades:.1f} "
                 f"decades, {len(self.refused)} refused", f"  a      {self.a}", f"  b      {self.b}"]
        return "\n".join(lines + [f"  note: {doubt.text}" for doubt in self.warnings])


def fit_isoflop(N, D, L, C, *, budget=None, budgets=None, curve: str = "cubic", reach: float = REACH,
                weighting: str = "even", weight=None, cell=None, level: float = 0.95, resamples: int = 500, rng=0) -> IsoflopFit:
    """Regressions of log N* and log D* on log C, budgets weighted evenly or by the precision of their minima.

    Even weights are the default: precisions estimated from the same points make intervals
    of a cover 84% instead of 94% on simulated grids of 10 x 8 cells. budget labels the rows of
    equal compute; budgets (k,) asks for common budgets by interpolation. reach: of log N about the lowest
    point of a budget, within which its curve is fitted. Raises NoMinimum where
    fewer than 3 budgets bracket their minimum.
    """
    if curve not in CURVES:
        raise ValueError(f"an isoFLOP curve is one of {', '.join(CURVES)}; got {curve!r}")
    if weighting not in ("even", "precision"):
        raise ValueError(f"budgets are weighted by even or precision; got {weighting!r}")
    label = _labels(N, C) if budget is None and budgets is None else budget
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell, budget=label)
    copy = copies(cells, resamples, rng)
    stack = np.concatenate([cells.log_L[None], copy.smooth[None], copy.noisy])
    if label is None:
        sections = _interpolated(cells, stack, _common_budgets(cells) if budgets is None else np.asarray(budgets, float))
    else:
        sections = _own(cells, stack)
    found = [vertices(np.log(s.N), s.log_L, curve, reach) for s in sections]
    kept = [i for i, v in enumerate(found) if not v.reason and np.isfinite(v.log_N[1:]).mean() > 0.5]
    refused = tuple(RefusedBudget(s.C, v.reason or "most copies of it with fresh noise have no bracketed minimum",
                                  s.points()) for i, (s, v) in enumerate(zip(sections, found)) if i not in kept)
    if len(kept) < 3:
        why = f"; of most, {commonest_reason(refused)}" if refused else ""
        raise NoMinimum(f"{len(kept)} of {len(sections)} compute budgets bracket a minimum, need 3{why}")
    return _regress([sections[i] for i in kept], [found[i] for i in kept], refused, curve, weighting, label is None,
                    level, cells, copy)


@dataclass(frozen=True)
class _Section:
    """One budget through a stack of copies."""

    C: float
    N: np.ndarray      # (m,) increasing
    D: np.ndarray      # (m,)
    log_L: np.ndarray  # (R, m)

    def points(self) -> IsoflopPoints:
        return IsoflopPoints(self.N, self.D, np.exp(self.log_L[0]))

    def samples(self, log_N):
        """log D at log N along the budget."""
        return np.interp(log_N, np.log(self.N), np.log(self.D))


def _truth(section: _Section, surface: SmoothSurface) -> float:
    """log N of the smooth surface's own minimum along the budget; nan where it lies at an end."""
    log_N = np.linspace(np.log(section.N[0]), np.log(section.N[-1]), FINE)
    height = surface(log_N, np.full(FINE, np.log(section.C)))
    lowest = int(height.argmin())
    return float(log_N[lowest]) if 0 < lowest < FINE - 1 else np.nan


def _regress(sections, found, refused, curve, weighting, interpolated, level, cells, copy) -> IsoflopFit:
    log_C = np.log([s.C for s in sections])
    log_N = np.stack([v.log_N for v in found], 1)
    # errors are counted from where the copies' surface has its minimum, not from where the curve puts it:
    # what the curve's shape costs then moves the interval (by up to a standard error on wide grids)
    truth = np.array([_truth(s, copy.surface) for s in sections])
    log_N[1] = np.where(np.isfinite(truth), truth, log_N[1])
    log_D = np.stack([np.where(np.isfinite(v.log_N), s.samples(v.log_N), np.nan) for s, v in zip(sections, found)], 1)
    sd = np.array([_robust_sd(column) for column in log_N[2:].T])
    if weighting == "precision":
        weight = 1 / np.maximum(sd, max(1e-3, 0.25 * np.median(sd))) ** 2  # no budget outweighs a median one 16-fold
    else:
        weight = np.ones(len(sd))
    middle = float(np.average(log_C, weights=weight))
    slope = np.stack([slopes(log_C, v, weight) for v in (log_N, log_D)], 1)
    height = np.stack([_weighted_mean(v - s[:, None] * (log_C - middle), weight)
                       for v, s in zip((log_N, log_D), slope.T)], 1)
    usable = np.isfinite(slope[2:]).all(1)
    if usable.mean() < USABLE or not np.isfinite(slope[1]).all():
        raise NoMinimum(f"{len(sections)} budgets bracket a minimum, but with fresh noise only {usable.mean():.0%} of the "
                        "table's copies have 3 that do")
    errors = np.concatenate([height, slope], 1)[2:][usable] - np.concatenate([height, slope], 1)[1]
    cut = tail(level, len(cells.N), copy.terms)
    method = "wild bootstrap by (N, C) cell, basic"
    a, b = (Estimate(float(slope[0, i]), *basic_interval(slope[0, i], errors[:, 2 + i], 0.0, cut),
                     float(errors[:, 2 + i].std(ddof=1)), method, cells.runs, level) for i in (0, 1))
    minima = tuple(
        Minimum(s.C, float(np.exp(v.log_N[0])), float(np.exp(s.samples(v.log_N[0]))), float(np.exp(v.log_L[0])), float(e),
                s.points(), IsoflopPoints(np.exp(v.grid), np.exp(s.samples(v.grid)), np.exp(v.line)))
        for s, v, e in zip(sections, found, sd))
    lines = [(float(height[0, i] - slope[0, i] * middle), float(slope[0, i])) for i in (0, 1)]
    return IsoflopFit(a, b, *lines, curve, interpolated, minima, refused, errors[:, 2:], errors, middle, cut)


def _weighted_mean(v, weight):
    w = np.where(np.isfinite(v), weight, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w * np.nan_to_num(v)).sum(1) / w.sum(1)


def _robust_sd(v) -> float:
    v = v[np.isfinite(v)]
    return float(1.4826 * np.median(np.abs(v - np.median(v))))


def _labels(N, C):
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


def _own(cells: Cells, stack) -> list[_Section]:
    sections = []
    for label in np.unique(cells.budget[np.isfinite(cells.budget)]):
        rows = np.flatnonzero(cells.budget == label)
        sizes, member = np.unique(cells.N[rows], return_inverse=True)
        mean = np.equal.outer(member, np.arange(len(sizes))) / np.bincount(member)
        sections.append(_Section(float(np.exp(np.log(cells.C[rows]).mean())), sizes, np.exp(np.log(cells.D[rows]) @ mean),
                                 stack[:, rows] @ mean))
    return sections


def _by_size(cells: Cells) -> list[np.ndarray]:
    """Rows of each size that has at least 3 distinct C, C increasing."""
    groups = [np.flatnonzero(cells.N == size) for size in np.unique(cells.N)]
    groups = [g[np.unique(cells.C[g], return_index=True)[1]] for g in groups]
    return [g for g in groups if len(g) >= 3]


def _common_budgets(cells: Cells) -> np.ndarray:
    """Octaves of C over the range that at least 4 sizes cover."""
    spans = np.array([[cells.C[g[0]], cells.C[g[-1]]] for g in _by_size(cells)])
    if len(spans) < 4:
        raise NoMinimum(f"{len(spans)} sizes were run at 3 compute budgets or more, need 4: "
                        "the table is no grid, and no column labels its budgets of equal compute")
    low, high = np.sort(spans[:, 0])[3], np.sort(spans[:, 1])[-4]
    if low >= high:
        raise NoMinimum("no compute budget is covered by 4 sizes")
    count = max(LEAST_BUDGETS, int(np.log2(high / low) / OCTAVES) + 1)
    return np.geomspace(low, high, count)


def _interpolated(cells: Cells, stack, budgets) -> list[_Section]:
    groups = _by_size(cells)
    curves = [Akima1DInterpolator(np.log(cells.C[g]), stack[:, g].T) for g in groups]
    sections = []
    for C in budgets:
        at = [i for i, g in enumerate(groups) if cells.C[g[0]] * (1 - 1e-9) <= C <= cells.C[g[-1]] * (1 + 1e-9)]
        N = np.array([cells.N[groups[i][0]] for i in at])
        D = np.array([np.exp(np.interp(np.log(C), np.log(cells.C[groups[i]]), np.log(cells.D[groups[i]]))) for i in at])
        values = [curves[i](np.clip(np.log(C), curves[i].x[0], curves[i].x[-1])) for i in at]
        sections.append(_Section(float(C), N, D, np.stack(values, 1) if at else np.empty((len(stack), 0))))
    return sections
