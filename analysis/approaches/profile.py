"""Profiles of the fit's objective, and tests of single values, calibrated by the bootstrap.

2 log LR is chi-square only where the noise is what the objective is the likelihood of:
Laplace for small Huber deltas, Gaussian for least squares, independent in both. So the rise
of the objective is scaled by its mean under resampling, where the truth is the fit itself
(Rao and Scott's first-order correction), and compared with F(1, clusters - 5).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from analysis.approaches.global_minimum import lowest
from analysis.approaches.newton import EXPONENTS, Coordinates, Restriction, Solution
from analysis.estimates.estimate import Estimate

PARAMETERS = ("E", "A", "B", "alpha", "beta", "a")
CALIBRATION = 200  # resamples that scale the statistic: its mean is then known to a tenth
STEPS = 33
NEAREST = 2        # draws of about the held value that a held fit starts from, besides the fit itself


@dataclass(frozen=True)
class Profile:
    """Scaled rise of the objective as one parameter is held and the others follow."""

    name: str
    value: np.ndarray = field(repr=False)      # (m,)
    statistic: np.ndarray = field(repr=False)  # (m,) about chi-square with 1 degree of freedom at the truth
    threshold: float                           # the interval is where the statistic lies below
    unit: float                                # rise of the objective that makes the statistic 1
    estimate: Estimate

    def summary(self) -> str:
        return f"{self.name:6s} {self.estimate} ({self.estimate.method})"


def restriction_to(name: str, value, points: Coordinates, p: float) -> Restriction:
    """Surfaces on which the named parameter has the values (m,)."""
    value = np.atleast_1d(np.asarray(value, float))
    origin, m = np.zeros((len(value), 5)), len(value)
    unit = np.eye(5)
    if name == "E":
        origin[:, 0] = value / points.scale
        columns = unit[[1, 2, 3, 4]]
    elif name in ("A", "B"):
        size, exponent, centre = (1, 3, points.x0) if name == "A" else (2, 4, points.y0)
        origin[:, size] = np.log(value / points.scale)
        columns = unit[[i for i in range(5) if i != size]].copy()
        columns[[i for i, c in enumerate(columns) if c[exponent]][0], size] = -centre
    elif name in ("alpha", "beta"):
        i = 3 if name == "alpha" else 4
        origin[:, i] = value
        columns = unit[[j for j in range(5) if j != i]]
    elif name == "a":
        # a = beta / (alpha + p beta) is the line beta (1 - p a) = a alpha
        line = np.stack([1 - p * value, value], 1)
        columns = np.concatenate([np.broadcast_to(unit[:3], (m, 3, 5)), np.zeros((m, 1, 5))], 1)
        columns[:, 3, 3:] = line / np.linalg.norm(line, axis=1, keepdims=True)
    else:
        raise ValueError(f"profiles are of {', '.join(PARAMETERS)}; got {name!r}")
    basis = np.broadcast_to(columns, (m, *columns.shape[-2:])).transpose(0, 2, 1)
    return Restriction(origin, basis)


def _held(fit, name: str, value, weight, starts) -> Solution:
    """Fits with the named parameter held at value (m,), under weight (m, n) or (n,), from starts (m, S, 5)."""
    points = fit.points
    restriction = restriction_to(name, value, points, fit.cost.p)
    moved = np.stack([_carry(name, value, start, points, fit.cost.p) for start in np.moveaxis(starts, 1, 0)], 1)
    return lowest(points, weight, moved, fit.point.objective, restriction=restriction, spread=fit.optimum_found.spread)


def _carry(name, value, start, points, p):
    """Starts (m, 5) moved to where the parameter has its value (m,), with everything else at the table's centre kept."""
    moved = start.copy()
    if name == "A":
        moved[:, 3] = (np.log(value / points.scale) - moved[:, 1]) / points.x0
    elif name == "B":
        moved[:, 4] = (np.log(value / points.scale) - moved[:, 2]) / points.y0
    elif name == "a":
        total = moved[:, 3] + p * moved[:, 4]
        moved[:, 4] = value * total
        moved[:, 3] = (1 - p * value) * total
    else:
        i = {"E": 0, "alpha": 3, "beta": 4}[name]
        moved[:, i] = value / (points.scale if name == "E" else 1)
    moved[:, 3:] = np.clip(moved[:, 3:], *EXPONENTS)
    return moved


def unit_of(fit, name: str) -> float:
    """The objective's rise that one degree of freedom is worth on average, from the first resamples."""
    points, count = fit.points, min(CALIBRATION, len(fit.draws))
    weight = fit.multiplicity[:count] * fit.weight
    # every resample starts at the fit, which has the held value
    held = _held(fit, name, np.full(count, fit.quantity(name)[0]), weight,
                 np.tile(fit.optimum_found.solution.theta, (count, 1, 1)))
    rise = np.maximum(held.value - fit.draw_values[:count], 0)
    left = max(fit.cells - 5, 1)
    return float(rise.mean() * fit.cells / left)


def rise(fit, name: str, value) -> np.ndarray:
    """Rise of the objective (m,) with the named parameter held at value (m,), the others at their best."""
    points, draws = fit.points, fit.quantity(name)[1]
    nearest = np.argsort(np.abs(draws[None, :] - value[:, None]), axis=1)[:, :NEAREST]
    starts = np.concatenate([np.broadcast_to(fit.optimum_found.solution.theta, (len(value), 1, 5)),
                             points.internal(fit.draws[nearest])], 1)
    return np.maximum(_held(fit, name, value, fit.weight, starts).value - fit.point.value, 0)


def p_value(fit, name: str, value: float) -> float:
    """Likelihood-ratio test that the named parameter has this value; 0 where it cannot."""
    low, high = reach(fit, name)
    if not low <= value <= high:
        return 0.0
    return float(stats.f.sf(rise(fit, name, np.array([value]))[0] / fit.profile(name).unit, 1, max(fit.cells - 5, 1)))


def profile_of(fit, name: str) -> Profile:
    """Interval of the values that the likelihood-ratio test does not reject."""
    value, draws = fit.quantity(name)
    threshold = float(stats.f.ppf(fit.level, 1, max(fit.cells - 5, 1)))
    unit = unit_of(fit, name)
    low_end, high_end = reach(fit, name)
    logarithmic = name in ("A", "B")
    forth, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    centre, sd = float(forth(value)), max(float(np.std(forth(draws))), 1e-9)
    for widths in (4, 12, 36):  # of the bootstrap's standard error
        grid = np.unique(np.append(np.clip(centre + sd * np.linspace(-widths, widths, STEPS),
                                           forth(low_end), forth(high_end)), centre))
        height = rise(fit, name, back(grid)) / unit
        below, above = grid < centre, grid > centre
        closed = all(height[side].max(initial=np.inf if not side.any() else 0) > threshold
                     or np.isclose(grid[0 if side is below else -1], forth(end))
                     for side, end in ((below, low_end), (above, high_end)))
        if closed:
            break
    low, high = _crossing(grid[::-1], height[::-1], centre, threshold), _crossing(grid, height, centre, threshold)
    low, high = float(back(low)), float(back(high))
    if name == "a" and fit.cost.p_estimate:
        # a moves by -a^2 with p, whose error is independent of the losses'
        blur = np.sqrt(threshold) * value**2 * fit.cost.p_estimate.se
        low, high = value - np.hypot(value - low, blur), value + np.hypot(high - value, blur)
    estimate = Estimate(value, float(low), float(high), float(np.std(draws, ddof=1)),
                        f"profile of the objective, scaled by bootstrap {fit.clusters.label}", fit.n, fit.level)
    return Profile(name, back(grid), height, threshold, unit, estimate)


def reach(fit, name: str) -> tuple[float, float]:
    """Values the parameter can take at all."""
    if name == "E":
        return 0.0, float(fit.L.min()) * (1 - 1e-9)
    if name in ("A", "B"):
        return 1e-300, 1e300
    return EXPONENTS if name in ("alpha", "beta") else (1e-4 / fit.cost.p, (1 - 1e-4) / fit.cost.p)


def _crossing(grid, height, centre, threshold) -> float:
    """First value outward from the centre where the height passes the threshold; the grid's end where it never does."""
    outward = (grid >= centre) if grid[-1] > grid[0] else (grid <= centre)
    g, r = grid[outward], height[outward]
    beyond = np.flatnonzero(r > threshold)
    if not len(beyond):
        return g[-1]
    i = beyond[0]
    # the square root of a profile is nearly straight
    s0, s1, t = np.sqrt(max(r[i - 1], 0)), np.sqrt(r[i]), np.sqrt(threshold)
    return g[i - 1] + (g[i] - g[i - 1]) * (t - s0) / (s1 - s0)
