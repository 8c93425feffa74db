"""The critical batch size and its law of the loss (McCandlish et al. 2018, section 2.3; Kaplan et al. 2020, section 5.1).

To a loss L, training takes S steps and E = B S examples with

    (S/S_min - 1) (E/E_min - 1) = 1,    which is    log S = log S_min + log(1 + B_crit/B),    B_crit = E_min/S_min:

at B_crit it takes twice the fewest steps and twice the fewest examples. By Kaplan, B_crit depends on the loss alone, so that
all sizes that reach a level share it, each with an S_min of its own; and B_crit = B*/L^(1/alpha_B).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special
from scipy.optimize import least_squares

from analysis.critical_batch.curves import APART, Crossings, crossings_of, curves_of
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt, NotIdentified, TooFewPoints

REACH = 1e4       # times the least and the largest batch: where a level's B_crit is looked for
PLACES = 1201     # of log B_crit
BEYOND = 10.0     # times the tried batches: a B_crit farther out is told by none
KAPLAN_B, KAPLAN_POWER = 2e8, 1 / 0.21   # tokens; Kaplan et al. 2020, equation 5.3 and table 5
STARTS = (0.0, 2.0, 5.0, 10.0)           # of 1/alpha_B


@dataclass(frozen=True)
class Level:
    """B_crit at one loss."""

    loss: float
    batch: Estimate                 # B_crit; its interval is open (0, inf) where only a bound is told
    sizes: tuple[float, ...]        # N that reach it
    least_steps: tuple[float, ...]  # S_min of each; E_min = B_crit S_min
    scatter: float                  # of log S about the hyperbolas, degrees of freedom counted
    n: int                          # curves

    @property
    def closed(self) -> bool:
        return bool(self.batch.low > 0 and np.isfinite(self.batch.high))


@dataclass(frozen=True, eq=False)
class CriticalBatch:
    """All levels, and the law through them."""

    levels: tuple[Level, ...]
    crossings: Crossings = field(repr=False)
    power: Estimate | None          # 1/alpha_B; None where levels are too near, or the law is refused
    at_one: Estimate | None         # B*, where L = 1
    middle: Estimate                # B_crit at the middle of the levels
    middle_loss: float
    kaplan: float                   # Kaplan's B_crit there, in tokens of his text
    warnings: tuple[Doubt, ...]

    @property
    def alpha_B(self) -> Estimate | None:
        """Interval open where 1/alpha_B may be 0."""
        if self.power is None:
            return None
        e = self.power
        low = 1 / e.high if e.high > 0 else np.nan
        return Estimate(1 / e.value, low, 1 / e.low if e.low > 0 else np.inf, e.se / e.value**2, e.method, e.n, e.level)

    def __call__(self, loss):
        """B_crit at a loss."""
        power = 0.0 if self.power is None else self.power.value
        return self.middle.value * (self.middle_loss / np.asarray(loss, float)) ** power


def fit_critical_batch(N, batch, steps, D, L, *, setting=None, rate=None, level: float = 0.95) -> CriticalBatch:
    """From runs, or readings of runs, arrays (n,): steps and D so far, loss there.

    setting: (n,) codes of how else they were trained, of which the best at each (N, batch, D) counts; rate: (n,) learning rates,
    to say whether each batch size had its own.

    Raises TooFewPoints, NotIdentified where no B_crit can be told.
    """
    crossings = crossings_of(curves_of(N, batch, steps, D, L, setting))
    levels = tuple(found for j in range(len(crossings.level)) if (found := _level(crossings, j, level)) is not None)
    if not levels:
        raise TooFewPoints("no loss is reached at enough batch sizes for B_crit and an interval")
    tried = crossings.B
    fit = _LawFit.of(crossings)
    middle = fit.interval(0, level)
    _refuse_outside(middle, tried)
    loss = float(np.exp(fit.centre))
    spread = float(np.ptp(np.log(crossings.level)))
    power = at_one = None
    if spread > np.log(APART) and fit.sloped:
        power = fit.interval(1, level)
        at_one = _exponential(fit.combined(np.array([1.0, fit.centre]), level))
    return CriticalBatch(levels, crossings, power, at_one, _exponential(middle), loss, KAPLAN_B / loss**KAPLAN_POWER,
                         _doubts(levels, _exponential(middle), tried, batch, rate, N))


def _level(crossings: Crossings, j: int, level: float) -> Level | None:
    """Least squares of log S with one B_crit and each size's S_min; the interval is the profile's, F(1, curves - sizes - 1)."""
    told = np.isfinite(crossings.steps[:, j])
    N, B, z = crossings.N[told], crossings.B[told], np.log(crossings.steps[told, j])
    sizes, member = np.unique(N, return_inverse=True)
    freedom = len(z) - len(sizes) - 1
    if freedom < 1:
        return None
    grid = np.linspace(np.log(B.min() / REACH), np.log(B.max() * REACH), PLACES)
    left = z - np.log1p(np.exp(grid[:, None] - np.log(B)))          # (g, n)
    mean = np.stack([left[:, member == s].mean(1) for s in range(len(sizes))], 1)
    squares = np.square(left - mean[:, member]).sum(1)
    best = int(squares.argmin())
    limit = squares[best] * (1 + special.fdtri(1, freedom, level) / freedom) + 1e-26
    inside = np.flatnonzero(squares <= limit)
    low = 0.0 if inside[0] == 0 else _crossed(grid, squares, inside[0], -1, limit)
    high = np.inf if inside[-1] == PLACES - 1 else _crossed(grid, squares, inside[-1], 1, limit)
    value = float(np.exp(_vertex(grid, squares, best)))
    reach = special.stdtrit(freedom, (1 + level) / 2)
    se = value * np.log(high / low) / (2 * reach) if low > 0 and np.isfinite(high) else np.inf
    estimate = Estimate(value, min(low, value), max(high, value), float(se), "profile of least squares on log S", len(z), level)
    return Level(float(crossings.level[j]), estimate, tuple(map(float, sizes)), tuple(map(float, np.exp(mean[best]))),
                 float(np.sqrt(squares[best] / freedom)), len(z))


def _vertex(grid, squares, best: int) -> float:
    if not 0 < best < len(grid) - 1:
        return float(grid[best])
    before, here, after = squares[best - 1:best + 2]
    bend = before - 2 * here + after
    return float(grid[best] + (0.5 * (before - after) / bend if bend > 0 else 0.0) * (grid[1] - grid[0]))


def _crossed(grid, squares, edge: int, way: int, limit: float) -> float:
    """Where the sum of squares passes the limit beyond the last place inside."""
    here, there = squares[edge], squares[edge + way]
    return float(np.exp(grid[edge] + (grid[edge + way] - grid[edge]) * (limit - here) / (there - here)))


@dataclass(frozen=True, eq=False)
class _LawFit:
    """log B_crit = b - kappa (log L - centre), by least squares of all log S, each size and level with an S_min of its own.

    One curve's noise moves all its levels together, so that intervals are the jackknife's by curve.
    """

    theta: np.ndarray       # (2,) b, kappa
    left: np.ndarray        # (curves, 2) with one curve left out
    centre: float
    freedom: int
    n: int

    @property
    def sloped(self) -> bool:
        return bool(np.isfinite(self.left[:, 1]).all())

    @classmethod
    def of(cls, crossings: Crossings) -> "_LawFit":
        centre = float(np.log(crossings.level).mean())
        theta = _descended(crossings, np.ones(len(crossings.curves), bool), centre, None)
        used = np.flatnonzero(np.isfinite(crossings.steps).any(1))
        left = np.stack([_descended(crossings, np.arange(len(crossings.curves)) != c, centre, theta) for c in used])
        sizes = len(np.unique(crossings.N[used]))
        if len(used) - sizes < 2:
            raise TooFewPoints(f"{len(used)} curves of {sizes} sizes are too few for an interval of B_crit")
        return cls(theta, left, centre, len(used) - sizes - 1, len(used))

    def combined(self, weights: np.ndarray, level: float) -> Estimate:
        """Of weights . theta."""
        value, left = float(weights @ self.theta), self.left @ weights
        count = len(left)
        se = float(np.sqrt((count - 1) / count * np.square(left - left.mean()).sum()))
        reach = float(special.stdtrit(self.freedom, (1 + level) / 2)) * se
        method = f"jackknife by size and batch size, Student's t with {self.freedom} degrees of freedom"
        return Estimate(value, value - reach, value + reach, se, method, self.n, level)

    def interval(self, place: int, level: float) -> Estimate:
        return self.combined(np.eye(2)[place], level)


def _descended(crossings: Crossings, keep: np.ndarray, centre: float, start: np.ndarray | None) -> np.ndarray:
    """(2,) b, kappa; of a table without a slope to be told, the ridge kappa -> 0 holds."""
    told = np.isfinite(crossings.steps) & keep[:, None]
    rows, columns = np.nonzero(told)
    z, log_B, log_L = np.log(crossings.steps[told]), np.log(crossings.B)[rows], np.log(crossings.level)[columns] - centre
    group = distinct(crossings.N[rows], columns)
    count = np.bincount(group)

    def residual(theta):
        left = z - np.logaddexp(0.0, theta[0] - theta[1] * log_L - log_B)
        return left - (np.bincount(group, left) / count)[group]

    middle = log_B.mean()
    starts = [start] if start is not None else [np.array([b, k]) for b in middle + np.log([0.1, 1.0, 10.0]) for k in STARTS]
    ends = [least_squares(residual, at, method="lm", max_nfev=200) for at in starts]
    return min(ends, key=lambda end: end.cost).x


def _exponential(e: Estimate) -> Estimate:
    value = float(np.exp(e.value))
    with np.errstate(over="ignore"):
        return Estimate(value, float(np.exp(e.low)), float(np.exp(e.high)), value * e.se, e.method, e.n, e.level)


def _refuse_outside(middle: Estimate, tried: np.ndarray) -> None:
    """middle: of log B_crit. Raises NotIdentified where it lies far outside the batches tried, or may lie anywhere."""
    if middle.value > np.log(tried.max() * BEYOND):
        raise NotIdentified(f"every batch size tried, up to {tried.max():.3g}, is far below B_crit: steps fall as 1/B throughout")
    if middle.value < np.log(tried.min() / BEYOND):
        raise NotIdentified(f"every batch size tried, from {tried.min():.3g}, is far above B_crit: larger batches save no steps")
    if middle.high - middle.low > 2 * np.log(REACH):
        raise NotIdentified("the curves' noise leaves B_crit open over more than eight decades")


def _doubts(levels: Sequence[Level], middle: Estimate, tried: np.ndarray, batch, rate, N) -> tuple[Doubt, ...]:
    doubts = []
    if not tried.min() <= middle.value <= tried.max():
        doubts.append(Doubt("batch_extrapolated", f"B_crit lies outside the batch sizes tried, {tried.min():.3g} to "
                            f"{tried.max():.3g}"))
    half_open = sum(not level.closed for level in levels)
    if half_open:
        doubts.append(Doubt("batch_bounds", f"at {half_open} of {len(levels)} losses the batch sizes tried tell only a bound of "
                            "B_crit"))
    if rate is not None and _one_rate(np.asarray(N, float), np.asarray(batch, float), np.asarray(rate, float)):
        doubts.append(Doubt("one_rate", "every batch size of a size was trained at one and the same learning rate: what looks "
                            "like a critical batch may be a rate that suits one batch size"))
    return tuple(doubts)


def _one_rate(N, batch, rate) -> bool:
    several = [len(np.unique(rate[N == size])) == 1 for size in np.unique(N) if len(np.unique(batch[N == size])) > 1]
    return bool(several) and all(several)


