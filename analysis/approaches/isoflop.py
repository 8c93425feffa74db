"""Approach 2 (Hoffmann et al. 2022): the minimum of loss against size along budgets of equal compute.

Budgets are the table's own, or found in it, or, on a grid, common budgets that each size's
curve of log L against log C (real FLOPs) is interpolated to by Akima's method.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from analysis.approaches.optimal_path import OptimalPath
from analysis.approaches.sections import IsoflopPoints, Section, common_budgets, interpolated_sections, labels, own_sections
from analysis.approaches.vertex import CURVES, FINE, REACH, Vertices, vertices
from analysis.approaches.wild_bootstrap import (USABLE, Cells, Slopes, SmoothSurface, Stack, basic_interval, by_table, copies,
                                                reduce_to_cells, slopes, stacked)
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import tail
from analysis.estimates.refusal import Doubt, NoMinimum


@dataclass(frozen=True)
class Minimum:
    """The compute-optimal size of one budget."""

    C: float
    N: float
    D: float
    L: float
    N_se: float            # standard deviation of log N*
    curve: str             # a parabola where the sizes are too few for the fit's own
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
    usable: np.ndarray = field(repr=False)    # (copies,) which of them gave the R draws: two fits of one grid are paired by it

    @property
    def decades(self) -> float:
        """Of compute, from the cheapest to the dearest bracketed budget."""
        C = [m.C for m in self.minima]
        return float(np.log10(max(C) / min(C)))

    @property
    def path(self) -> OptimalPath:
        """N* and D* at any C."""
        C = [m.C for m in self.minima]
        return OptimalPath(self.N_line, self.D_line, self.errors, self.middle, self.cut, (min(C), max(C)), self.a.method,
                           self.a.n, self.a.level)

    @property
    def places(self) -> tuple[float, ...]:
        """FLOPs of the cheapest, the middle (in logs) and the dearest bracketed budget."""
        C = [m.C for m in self.minima]
        return tuple(float(c) for c in np.geomspace(min(C), max(C), 3))

    def params(self, C: float) -> Estimate:
        """N* for C FLOPs."""
        return self.path.params(C)

    def samples(self, C: float) -> Estimate:
        """D* for C FLOPs."""
        return self.path.samples(C)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        doubts = []
        if len(self.minima) < 5:
            doubts.append(Doubt("few_budgets", f"only {len(self.minima)} budgets have a bracketed minimum"))
        if self.refused:
            doubts.append(Doubt("budgets_refused", f"{len(self.refused)} of {len(self.refused) + len(self.minima)} "
                                f"budgets refused; of most, {commonest_reason(self.refused)}"))
        return tuple(doubts)

    @property
    def _stand_ins(self) -> str:
        few = sum(m.curve != self.curve for m in self.minima)
        return f"; {few} by parabolas, their sizes too few" if few else ""

    def summary(self) -> str:
        how = "interpolated" if self.interpolated else "the table's own"
        lines = [f"isoFLOP minima ({self.curve}, budgets {how}): {len(self.minima)} bracketed over {self.decades:.1f} "
                 f"decades, {len(self.refused)} refused{self._stand_ins}", f"  a      {self.a}", f"  b      {self.b}"]
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
    label = labels(N, C) if budget is None and budgets is None else budget
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell, budget=label)
    copy = copies(cells, resamples, rng)
    sections = _sections(cells, stacked(cells, copy), label, budgets)
    found = _minima(sections, curve, reach)
    told = [not v.reason and bool(np.isfinite(v.log_N[1:]).mean() > 0.5) for v in found]
    refused = tuple(RefusedBudget(s.C, v.reason or "most copies of it with fresh noise have no bracketed minimum",
                                  s.points()) for s, v, good in zip(sections, found, told, strict=True) if not good)
    if sum(told) < 3:
        why = f"; of most, {commonest_reason(refused)}" if refused else ""
        raise NoMinimum(f"{sum(told)} of {len(sections)} compute budgets bracket a minimum, need 3{why}")
    kept = [(s, v) for s, v, good in zip(sections, found, told, strict=True) if good]
    path = _path(kept, copy.surface)
    weight = _weights(path.log_N, weighting)
    lines = [_line(path.log_C, values, weight) for values in (path.log_N, path.log_D)]
    return _described(kept, path, lines, IsoflopChoice(curve, label is None, level), refused, cells, copy.terms)


def isoflop_slopes(N, D, L, C, *, places: tuple[float, ...] = (), budget=None, curve: str = "cubic", reach: float = REACH,
                   weight=None, cell=None, resamples: int = 20, rng=0) -> Slopes:
    """What fit_isoflop finds in T tables of losses L (T, n), all at once: its a, and log N* at places, C in FLOPs."""
    label = labels(N, C) if budget is None else budget
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell, budget=label)
    copy = copies(cells, resamples, rng)
    sections = _sections(cells, stacked(cells, copy), label, None)
    log_N = by_table([v.log_N for v in _minima(sections, curve, reach)], len(cells.log_L))
    told = np.isfinite(log_N[:, 0])
    truth = np.where(told, _truth(sections, copy.surface), np.nan)
    log_N[:, 1] = np.where(np.isfinite(truth), truth, log_N[:, 1])
    log_C = np.log([s.C for s in sections])
    slope = slopes(log_C, log_N.reshape(-1, len(sections)), 1.0).reshape(log_N.shape[:2])
    given = np.isfinite(slope[:, :2]).all(1) & (np.isfinite(slope[:, 2:]).mean(1) >= USABLE)
    middle, height = (_weighted_mean(v, 1.0) for v in (np.where(told, log_C, np.nan), log_N[:, 0]))
    line = height[:, None] + slope[:, :1] * (np.log(np.array(places, float)) - middle[:, None])
    return Slopes(np.where(given, slope[:, 0], np.nan), np.where(given[:, None], line, np.nan))


def _sections(cells: Cells, log_L: Stack, label, budgets) -> list[Section]:
    """The table's own budgets, those asked for, or common ones."""
    if label is not None:
        return own_sections(cells, log_L)
    return interpolated_sections(cells, log_L, common_budgets(cells) if budgets is None else np.asarray(budgets, float))


@dataclass(frozen=True)
class IsoflopChoice:
    """How the minima were looked for."""

    curve: str
    interpolated: bool
    level: float


def _minima(sections: list[Section], curve: str, reach: float) -> list[Vertices]:
    """Of each budget; neighbours with the same sizes go through the arithmetic together."""
    found = []
    for _, run in groupby(sections, key=lambda s: s.N.tobytes()):
        run = list(run)
        found += vertices(np.log(run[0].N), np.stack([s.log_L.rows for s in run]), curve, reach)
    return found


def _truth(sections: list[Section], surface: SmoothSurface) -> np.ndarray:
    """log N (b,), or (T, b), of the smooth surface's own minimum along each budget; nan where it lies at an end, or no size does."""
    ends = [(s.N[0], s.N[-1]) if len(s.N) else (np.nan, np.nan) for s in sections]
    log_N = np.linspace(*np.log(ends).T, FINE, axis=1)
    height = surface(log_N.ravel(), np.repeat(np.log([s.C for s in sections]), FINE))
    lowest = height.reshape(*height.shape[:-1], *log_N.shape).argmin(-1)
    return np.where((lowest > 0) & (lowest < FINE - 1), log_N[np.arange(len(log_N)), lowest], np.nan)


@dataclass(frozen=True)
class _Path:
    """The minima of the budgets: log_C (b,), log_N and log_D stacks of rows (b,), nan where a copy has no minimum."""

    log_C: np.ndarray
    log_N: Stack
    log_D: Stack


def _path(kept: list[tuple[Section, Vertices]], surface: SmoothSurface) -> _Path:
    """Errors are counted from where the copies' surface has its minimum, not from where the curve puts it:
    what the curve's shape costs then moves the interval (by up to a standard error on wide grids)."""
    log_N = Stack(np.stack([v.log_N for _, v in kept], 1)).with_surface(_truth([s for s, _ in kept], surface))
    log_D = Stack(np.stack([np.where(np.isfinite(at), s.samples(at), np.nan) for (s, _), at in zip(kept, log_N.rows.T)], 1))
    return _Path(np.log([s.C for s, _ in kept]), log_N, log_D)


def _weights(log_N: Stack, weighting: str) -> np.ndarray:
    """Of the budgets (b,)."""
    if weighting == "even":
        return np.ones(len(log_N.table))
    sd = _sds(log_N)
    # no budget outweighs a median one 16-fold
    return 1 / np.maximum(sd, max(1e-3, 0.25 * np.median(sd))) ** 2


def _sds(log_N: Stack) -> np.ndarray:
    """1.4826 times the median absolute deviation of each column's copies."""
    middle = np.nanmedian(log_N.copies, 0)
    return 1.4826 * np.nanmedian(np.abs(log_N.copies - middle), 0)


@dataclass(frozen=True)
class _Line:
    """Regression of log N* or log D* on log C: stacks of numbers."""

    middle: float   # log C that heights are at
    height: Stack
    slope: Stack


def _line(log_C: np.ndarray, values: Stack, weight: np.ndarray) -> _Line:
    middle = float(np.average(log_C, weights=weight))
    slope = slopes(log_C, values.rows, weight)
    return _Line(middle, Stack(_weighted_mean(values.rows - slope[:, None] * (log_C - middle), weight)), Stack(slope))


def _described(kept, path: _Path, lines: list[_Line], choice: IsoflopChoice, refused, cells: Cells, terms: int) -> IsoflopFit:
    usable = np.isfinite(np.stack([line.slope.copies for line in lines])).all(0)
    if usable.mean() < USABLE or not all(np.isfinite(line.slope.surface) for line in lines):
        raise NoMinimum(f"{len(kept)} budgets bracket a minimum, but with fresh noise only {usable.mean():.0%} of the "
                        "table's copies have 3 that do")
    errors = np.stack([part.copies[usable] - part.surface for part in (*(i.height for i in lines), *(i.slope for i in lines))], 1)
    cut = tail(choice.level, len(cells.N), terms)
    a, b = (Estimate(float(line.slope.table), *basic_interval(line.slope.table, error, 0.0, cut), float(error.std(ddof=1)),
                     "wild bootstrap by (N, C) cell, basic", cells.runs, choice.level)
            for line, error in zip(lines, errors[:, 2:].T, strict=True))
    minima = tuple(
        Minimum(s.C, *(float(np.exp(q)) for q in (v.log_N[0], s.samples(v.log_N[0]), v.log_L[0])), float(e), v.curve, s.points(),
                IsoflopPoints(np.exp(v.grid), np.exp(s.samples(v.grid)), np.exp(v.line)))
        for (s, v), e in zip(kept, _sds(path.log_N), strict=True))
    N_line, D_line = ((float(i.height.table - i.slope.table * i.middle), float(i.slope.table)) for i in lines)
    return IsoflopFit(a, b, N_line, D_line, choice.curve, choice.interpolated, minima, refused, errors[:, 2:], errors,
                      lines[0].middle, cut, usable)


def _weighted_mean(v, weight):
    w = np.where(np.isfinite(v), weight, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w * np.nan_to_num(v)).sum(1) / w.sum(1)
