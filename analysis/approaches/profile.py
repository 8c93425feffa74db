"""Profiles of the fit's objective, and tests of single values, calibrated by the bootstrap.

2 log LR is chi-square only where the noise is what the objective is the likelihood of:
Laplace for small Huber deltas, Gaussian for least squares, independent in both. So the rise
of the objective is scaled by its mean under resampling, where the truth is the fit itself
(Rao and Scott's first-order correction), and compared with F(1, clusters - parameters).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import special

from analysis.approaches.global_minimum import lowest
from analysis.approaches.laws.additive import ADDITIVE, EXPONENTS
from analysis.approaches.laws.generalised import LOG2
from analysis.approaches.laws.objective import Coordinates
from analysis.approaches.newton import Restriction, Solution
from analysis.estimates.estimate import Estimate

PARAMETERS = ("E", "A", "B", "alpha", "beta", "a", "g", "c")
LOGARITHMIC = ("A", "B", "g", "c")   # scales, profiled in their logs
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


def restriction_to(name: str, value, points: Coordinates, p: float, law) -> Restriction:
    """Surfaces of the law on which the named parameter has the values (m,). Affine in theta for every name:

    log A = (u + alpha x0 + log scale)/g - log 2 (of the additive law g = 1 and there is no log 2), so that A is
    held where u = g (log A + log 2) - alpha x0 - log scale (no such line holds the saturating law's);
    a = beta / (alpha + p beta) is the line beta (1 - p a) = a alpha.
    """
    value = np.atleast_1d(np.asarray(value, float))
    place = {part: i for i, part in enumerate(law.names)}
    if name != "a" and name not in place:
        raise ValueError(f"profiles are of {', '.join(PARAMETERS)}; got {name!r}")
    m, k = len(value), len(place)
    origin, columns = np.zeros((m, k)), {i: np.tile(np.eye(k)[i], (m, 1)) for i in range(k)}
    if name == "a":
        line = np.stack([1 - p * value, value], 1)
        columns[place["alpha"]][:, [place["alpha"], place["beta"]]] = line / np.linalg.norm(line, axis=1, keepdims=True)
        del columns[place["beta"]]
    elif name in ("A", "B"):
        exponent, centre = ("alpha", points.x0) if name == "A" else ("beta", points.y0)
        origin[:, place[name]] = -np.log(points.scale) + (np.log(value) if law is ADDITIVE else 0.0)
        columns[place[exponent]][:, place[name]] = -centre
        if law is not ADDITIVE:
            columns[place["g"]][:, place[name]] = np.log(value) + LOG2
        del columns[place[name]]
    else:
        origin[:, place[name]] = value / (points.scale if name == "E" else 1.0)
        del columns[place[name]]
    return Restriction(origin, np.stack(list(columns.values()), 2))


def _held(fit, name: str, value, weight, starts, noise=None) -> Solution:
    """Fits with the named parameter held at value (m,), under weight (m, n) or (n,), from starts (m, S, k); of tables that noise
    (m, n) makes, where it is given."""
    restriction = restriction_to(name, value, fit.points, fit.cost.p, fit.law)
    return lowest(fit.points, weight, starts, fit.point.objective, law=fit.law, restriction=restriction,
                  spread=fit.optimum_found.spread, noise=noise)


def unit_of(fit, name: str) -> float:
    """The objective's rise that one degree of freedom is worth: the largest of three estimates by resampling.

    The mean rise of the first resamples as the named parameter is held; the mean rise of all resamples a parameter, since a
    parameter at its bound costs nothing to hold there, which says nothing of what it costs elsewhere; and, of the
    generalised law, the rise at one standard deviation of the draws, which knows what a resample without the grid's corners
    does to a curved law (on 42 cells a is covered 91% of the time without, at a nominal 95%). Computed once.
    """
    if name not in fit.units:
        fit.units[name] = _unit(fit, name)
    return fit.units[name]


def _unit(fit, name: str) -> float:
    count = min(CALIBRATION, len(fit.draws))
    weight = fit.resampled.multiplicity[:count] * fit.sample.weight
    value, draws = fit.quantity(name)
    # every resample starts at the fit, which has the held value
    held = _held(fit, name, np.full(count, value), weight, np.tile(fit.optimum_found.solution.theta, (count, 1, 1)),
                 fit.resampled.noise(count))
    rises = np.maximum(held.value - fit.resampled.values[:count], 0)
    spread = 0.0 if fit.law is ADDITIVE else _rise_at_spread(fit, name, value, draws)
    own = max(float(rises.mean()), spread) * fit.shortfall
    # shared errors that the objective knows nothing of cost one parameter much and another little
    return own if fit.correlated and fit.point.objective.precision is None else max(own, joint_unit(fit))


def _rise_at_spread(fit, name: str, value: float, draws) -> float:
    """Mean rise at half the width of the central 68% of the draws to either side, in logs where the parameter is a scale."""
    forth, back = (np.log, np.exp) if name in LOGARITHMIC else (np.asarray, np.asarray)
    low, high = np.quantile(forth(draws), special.ndtr([-1, 1]))
    ends = np.clip(back(forth(value) + np.array([-1, 1]) * (high - low) / 2), *reach(fit, name))
    return float(rise(fit, name, ends).mean())


def joint_unit(fit) -> float:
    """The rise of the objective from a resample's own optimum to the fit, a degree of freedom, averaged over resamples."""
    rises = np.maximum(fit.at_fit - fit.resampled.values, 0)
    return float(rises.mean() / fit.parameters * fit.shortfall)


def at_fit(fit) -> np.ndarray:
    """Objective (R,) of each table at the fit."""
    objective, noise = fit.point.objective, fit.resampled.drawn.noise
    predicted = fit.surface.loss(fit.N, fit.D)
    if objective.precision is not None:
        residual = np.log(predicted / fit.L) - noise
        return np.einsum("rn,rn->r", residual, objective.precision.times(residual)) / 2
    L = fit.L if noise is None else fit.L * np.exp(noise)
    residual = np.log(predicted / L) if objective.space == "log" else predicted - L
    size = np.abs(residual)
    inner = np.minimum(size, objective.delta)
    loss = objective.tilted(fit.sample.weight, residual) * inner * (size - inner / 2)
    return fit.resampled.multiplicity @ loss if noise is None else loss.sum(1)


def rise(fit, name: str, value) -> np.ndarray:
    """Rise of the objective (m,) with the named parameter held at value (m,), the others at their best."""
    draws = fit.quantity(name)[1]
    nearest = np.argsort(np.abs(draws[None, :] - value[:, None]), axis=1)[:, :NEAREST]
    theta = fit.optimum_found.solution.theta
    starts = np.concatenate([np.broadcast_to(theta, (len(value), *theta.shape)),
                             fit.law.internal(fit.points, fit.draws[nearest])], 1)
    return np.maximum(_held(fit, name, value, fit.sample.weight, starts).value - fit.point.value, 0)


def p_value(fit, name: str, value: float) -> float:
    """Likelihood-ratio test that the named parameter has this value; 0 where it cannot."""
    low, high = reach(fit, name)
    if not low <= value <= high:
        return 0.0
    return float(special.fdtrc(1, fit.freedom_of(name), rise(fit, name, np.array([value]))[0] / fit.profile(name).unit))


def profile_of(fit, name: str) -> Profile:
    """Interval of the values that the likelihood-ratio test does not reject."""
    value, draws = fit.quantity(name)
    threshold = float(special.stdtrit(fit.freedom_of(name), (1 + fit.level) / 2) ** 2)   # F's quantile, 1 degree of freedom above
    unit = unit_of(fit, name)
    low_end, high_end = reach(fit, name)
    forth, back = (np.log, np.exp) if name in LOGARITHMIC else (np.asarray, np.asarray)
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
    if name in ("g", "c"):   # at the ends of g's reach the law is the maximum, or the product, and so is every g beyond; c's are as good as 0
        low, high = 0.0 if low <= low_end * (1 + 1e-9) else low, np.inf if high >= high_end * (1 - 1e-9) else high
    if name == "a" and fit.cost.p_estimate:
        # a moves by -a^2 with p, whose error is independent of the losses'
        blur = np.sqrt(threshold) * value**2 * fit.cost.p_estimate.se
        low, high = value - np.hypot(value - low, blur), value + np.hypot(high - value, blur)
    estimate = Estimate(value, float(low), float(high), float(np.std(draws, ddof=1)),
                        f"profile of the objective, scaled by {'tables simulated' if fit.correlated else 'bootstrap'} {fit.resampling}", fit.n, fit.level)
    return Profile(name, back(grid), height, threshold, unit, estimate)


def reach(fit, name: str) -> tuple[float, float]:
    """Values the parameter can take at all."""
    if name == "E":
        return 0.0, float(fit.L.max())   # noise may put the lowest run below E
    if name in ("A", "B"):
        return 1e-300, 1e300
    if name in ("g", "c"):
        return fit.law.low[5], fit.law.high[5]
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
