"""The law of intrinsic performance (Hilton, Tang and Schulman 2023, arXiv 2301.13442):

    I^-beta = (N_c/N)^alpha_N + (E_c/E)^alpha_E,    R = f(I),

I the least compute by which any size reaches the return R, N parameters, E interactions with the environment, f any
rising function. With runs that cost C = k N^p E, I is C along the frontier where

    1/beta = 1/alpha_E + p/alpha_N,   N* ~ C^a,  a = alpha_E/(alpha_N + p alpha_E),   E* ~ C^b,  b = 1 - p a,

and I ~ N^(1/a) where frames are plenty, I ~ E^(1/b) where the size is. The paper's case is p = 1. f is fitted with the law, as a
spline that never falls (link.py), by least squares on the returns: taking I from the lowest of noisy curves first would put
it too low. As f is free, any shift or scale of the returns leaves the law as it is, and what tells alpha_N from alpha_E is
how size and frames replace each other: one size, or two, tell neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.approaches.cost import CostLaw, fit_cost
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import exponential, jackknife
from analysis.estimates.refusal import Doubt, TooFewPoints
from analysis.intrinsic.curves import Curves, Merged
from analysis.intrinsic.link import Link, count_of, fit_link

LEAST_SIZES, LEAST_POINTS = 3, 12
EXPONENTS = (0.02, 10.0)          # of alpha_N and alpha_E: flatter is no power, steeper is a step
LEAN = 15.0                       # of rho, the logarithm of one term over the other at the middle of the table
STARTS = (0.15, 0.4, 1.0, 2.5), (-2.0, 0.0, 2.0)
DESCENTS = 4                      # from the best of them
PARAMETERS = 3                    # of the law: what the runs' number is less by, as degrees of freedom
SPREAD = 0.1                      # of log C about k N^p E: beyond, frames do not cost alike


@dataclass(frozen=True)
class Shape:
    """One law: exponents, and the balance of its two terms at the middle (u, v) of the table's log N and log E."""

    alpha_N: float
    alpha_E: float
    rho: float
    u: float
    v: float
    cost: CostLaw

    @property
    def beta(self) -> float:
        return 1 / (1 / self.alpha_E + self.cost.p / self.alpha_N)

    @property
    def a(self) -> float:
        return self.alpha_E / (self.alpha_N + self.cost.p * self.alpha_E)

    @property
    def b(self) -> float:
        return 1 - self.cost.p * self.a

    def rise(self, log_N, log_E):
        """log I but for a constant."""
        terms = self.rho / 2 - self.alpha_N * (log_N - self.u), -self.rho / 2 - self.alpha_E * (log_E - self.v)
        return -np.logaddexp(*terms) / self.beta

    def best_size(self, log_C):
        """log N* for each log C."""
        reach = log_C - np.log(self.cost.k) - self.cost.p * self.u - self.v
        balance = np.log(self.cost.p * self.alpha_E / self.alpha_N)
        return self.u + (self.rho + self.alpha_E * reach - balance) / (self.alpha_N + self.cost.p * self.alpha_E)

    def best_frames(self, log_C):
        """log E* for each log C."""
        return log_C - np.log(self.cost.k) - self.cost.p * self.best_size(log_C)

    @property
    def constant(self) -> float:
        """log I less rise: I is C on the frontier, at any C."""
        log_C = np.log(self.cost.k) + self.cost.p * self.u + self.v
        return float(log_C - self.rise(self.best_size(log_C), self.best_frames(log_C)))

    @property
    def scales(self) -> tuple[float, float]:
        """log N_c and log E_c, for I in FLOPs."""
        lift = self.beta * self.constant
        return self.u + (self.rho / 2 - lift) / self.alpha_N, self.v - (self.rho / 2 + lift) / self.alpha_E


@dataclass(frozen=True, eq=False)
class Fitted:
    """A law and the link that goes with it: I in log FLOPs."""

    shape: Shape
    link: Link
    squares: float   # weighted, of the residual returns
    residuals: np.ndarray = field(repr=False)

    def log_I(self, log_N, log_E):
        return self.shape.rise(log_N, log_E) + self.shape.constant

    def returns(self, log_I):
        """Expected returns, level beyond the range of the table."""
        return self.link(np.asarray(log_I, float) - self.shape.constant)

    def least_compute(self, R):
        """log I of each return, NaN where the table has none such."""
        return self.link.inverse(np.asarray(R, float)) + self.shape.constant


@dataclass(frozen=True, eq=False)
class IntrinsicLaw:
    """The law with its intervals: the jackknife's by whole run."""

    fitted: Fitted
    alpha_N: Estimate
    alpha_E: Estimate
    beta: Estimate
    a: Estimate
    b: Estimate
    N_power: Estimate      # I ~ N^(1/a), frames plenty
    E_power: Estimate      # I ~ E^(1/b), size plenty
    N_c: Estimate
    E_c: Estimate
    left_out: tuple[Fitted, ...] = field(repr=False)   # without each of the runs
    runs: int
    rms: float             # of the sizes' mean returns about the law
    repeats: float         # what runs of one size and the same frames scatter by, NaN where none repeat
    misfit: float          # rms over what repeats explain of it, NaN where none repeat
    doubts: tuple[Doubt, ...]
    level: float

    def interval(self, of: Callable[[Fitted], float]) -> Estimate:
        """Of anything positive that a fit says."""
        return interval(of, self.fitted, self.left_out, self.level)


def interval(of: Callable[[Fitted], float], fitted: Fitted, left_out: Sequence[Fitted], level: float) -> Estimate:
    """Of anything positive, symmetric in its logarithm."""
    logs, freedom = np.log([of(fit) for fit in left_out]), max(len(left_out) - PARAMETERS, 1)
    return exponential(jackknife(float(np.log(of(fitted))), logs, freedom=freedom, label="by whole run", n=len(left_out),
                                 level=level))


QUANTITIES = {   # of a shape
    "alpha_N": lambda s: s.alpha_N, "alpha_E": lambda s: s.alpha_E, "beta": lambda s: s.beta,
    "a": lambda s: s.a, "b": lambda s: s.b, "N_power": lambda s: 1 / s.a, "E_power": lambda s: 1 / s.b,
    "N_c": lambda s: np.exp(s.scales[0]), "E_c": lambda s: np.exp(s.scales[1])}


def fit_intrinsic(curves: Curves, *, level: float = 0.95) -> IntrinsicLaw:
    """Least squares on the sizes' mean returns; intervals from fits without each run, a run being all of its curve.

    (A bootstrap of whole runs, their weights exponential, covered alpha_N, alpha_E and beta in .90, .90 and .85 of 40 simulated
    tables of 18 runs: what is fitted to so few runs makes their residuals too small, which leaving a run out undoes.)

    Raises TooFewPoints below 3 sizes, or 12 points, or where without some run fewer than 3 sizes would be left.
    """
    S, G = len(curves.sizes), curves.runs
    if S < LEAST_SIZES:
        size = f"one size (N = {curves.sizes[0]:,.0f})" if S == 1 else f"{S} sizes"
        raise TooFewPoints(f"{size}: exponents in N, frames and compute can't be told, {LEAST_SIZES} sizes or more tell them")
    if S == LEAST_SIZES and np.bincount(curves.size).min() < 2:
        raise TooFewPoints(f"{S} sizes, one of them run once: an interval needs a fourth size, or each size run twice")
    whole = curves.merged()
    if (points := int((whole.weight > 0).sum())) < LEAST_POINTS:
        raise TooFewPoints(f"need at least {LEAST_POINTS} points of the sizes' curves, got {points}")
    good = np.isfinite(curves.R)
    cost = fit_cost(np.broadcast_to(curves.sizes[curves.size][:, None], good.shape)[good], np.exp(curves.log_E[good]),
                    np.exp(curves.log_C[good]), level=level)
    fitted = fit_shape(whole, cost)
    start, middle = theta_of(fitted.shape), (fitted.shape.u, fitted.shape.v)
    left_out = tuple(descend(curves.merged(weight), cost, start, *middle) for weight in 1.0 - np.eye(G))
    law = {name: interval(lambda fit, of=of: float(of(fit.shape)), fitted, left_out, level) for name, of in QUANTITIES.items()}
    rms, repeats = float(np.sqrt(fitted.squares / whole.weight.sum())), repeats_of(curves, whole)
    # squares are weighted by the runs in each mean, so that chance makes each of them repeats^2
    freedom = points - PARAMETERS - 1 - np.count_nonzero(fitted.link.increments)
    misfit = float(np.sqrt(fitted.squares / max(freedom, 1))) / repeats if repeats > 0 else np.nan
    return IntrinsicLaw(fitted, **law, left_out=left_out, runs=G, rms=rms, repeats=repeats, misfit=misfit,
                        doubts=_doubts(fitted, cost), level=level)


def repeats_of(curves: Curves, whole: Merged) -> float:
    """Standard deviation of runs of one size about their mean at the same frames."""
    off = curves.R - whole.R[curves.size]
    several = np.stack([np.isfinite(curves.R[curves.size == s]).sum(0) for s in range(len(curves.sizes))])
    use = np.isfinite(off) & (several[curves.size] > 1)
    freedom = use.sum() - (several > 1).sum()
    return float(np.sqrt(np.square(off[use]).sum() / freedom)) if freedom > 0 else np.nan


def theta_of(shape: Shape) -> np.ndarray:
    return np.array([np.log(shape.alpha_N), np.log(shape.alpha_E), shape.rho])


def fit_shape(merged: Merged, cost: CostLaw) -> Fitted:
    """The lowest of the descents from a grid of starts."""
    good = merged.weight > 0
    log_N = np.broadcast_to(merged.log_N[:, None], good.shape)[good]
    u, v = float(log_N.mean()), float(merged.log_E[good].mean())
    spread = np.log(STARTS[0])
    grid = [np.array([n, e, rho]) for n in spread for e in spread for rho in STARTS[1]]
    problem = _Problem(merged, cost, u, v)
    grid.sort(key=lambda theta: float(np.square(problem.residuals(theta)).sum()))
    found = [descend(merged, cost, theta, u, v) for theta in grid[:DESCENTS]]
    return min(found, key=lambda fit: fit.squares)


class _Problem:
    """Weighted residuals as a function of (log alpha_N, log alpha_E, rho), the link always the best one."""

    def __init__(self, merged: Merged, cost: CostLaw, u: float, v: float):
        good = merged.weight > 0
        self.log_N = np.broadcast_to(merged.log_N[:, None], good.shape)[good]
        self.log_E, self.R, self.weight = merged.log_E[good], merged.R[good], merged.weight[good]
        self.cost, self.u, self.v, self.K = cost, u, v, count_of(int(good.sum()))
        self.root = np.sqrt(self.weight)

    def fitted(self, theta) -> Fitted:
        shape = Shape(float(np.exp(theta[0])), float(np.exp(theta[1])), float(theta[2]), self.u, self.v, self.cost)
        link, residuals = fit_link(shape.rise(self.log_N, self.log_E), self.R, self.weight, self.K)
        return Fitted(shape, link, float(self.weight @ np.square(residuals)), residuals)

    def residuals(self, theta) -> np.ndarray:
        return self.root * self.fitted(theta).residuals


def descend(merged: Merged, cost: CostLaw, theta, u: float, v: float) -> Fitted:
    """Levenberg and Marquardt's method on what the link leaves."""
    problem, bounds = _Problem(merged, cost, u, v), np.array([np.log(EXPONENTS)] * 2 + [(-LEAN, LEAN)])
    theta = np.clip(theta, *bounds.T)
    r, damping = problem.residuals(theta), 1e-2
    for _ in range(40):
        J = np.stack([(problem.residuals(theta + step) - r) / 1e-4 for step in 1e-4 * np.eye(3)], 1)
        normal, slope = J.T @ J, J.T @ r
        for _ in range(8):
            step = np.linalg.lstsq(normal + damping * np.diag(np.maximum(np.diag(normal), 1e-12)), -slope, rcond=None)[0]
            trial = np.clip(theta + np.clip(step, -1.5, 1.5), *bounds.T)
            left = problem.residuals(trial)
            if left @ left < r @ r:
                break
            damping *= 4
        else:
            break
        gain, moved = 1 - (left @ left) / max(r @ r, 1e-300), np.abs(trial - theta).max()
        theta, r, damping = trial, left, damping / 5
        if gain < 1e-6 or moved < 1e-5:
            break
    return problem.fitted(theta)


def _doubts(fitted: Fitted, cost: CostLaw) -> tuple[Doubt, ...]:
    shape, found = fitted.shape, []
    for name, value in (("alpha_N", shape.alpha_N), ("alpha_E", shape.alpha_E)):
        if not 1.02 * EXPONENTS[0] < value < 0.98 * EXPONENTS[1]:
            found.append(Doubt(f"{name}_at_bound", f"{name} ends at its bound, {value:.3g}: the table doesn't tell it"))
    if abs(shape.rho) > 0.98 * LEAN:
        found.append(Doubt("one_term", f"only {'size' if shape.rho > 0 else 'frames'} limits the returns of this table"))
    if cost.spread > SPREAD:
        found.append(Doubt("cost", f"C spreads by {cost.spread:.0%} about k N^p E: a frame does not cost the same throughout"))
    return tuple(found)
