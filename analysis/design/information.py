"""Fisher information of runs about a law, and how much of a quantity's variance a further run takes away.

log L_i = f(N_i, D_i; t) + (what the cell shares) + (what repeats differ by), with variances tau^2 and sigma^2. A cell that was run m times
tells w(m) J J^T about t, w(m) = 1 / (tau^2 + sigma^2/m) and J = df/dt; the variance of a quantity q(t) is c^T M^-1 c, M the sum over cells
and c = dq/dt (Atkinson, Donev and Tobias 2007, chapter 10: c-optimality). t = (E, u, v, alpha, beta, log g or log c) in centred coordinates, as
analysis.approaches.laws has it. All of it is stacked over R surfaces that the runs so far allow: draws of the bootstrap.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.approaches.cost import CostLaw
from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.surface import Surface
from analysis.design.target import Target
from analysis.estimates.intervals import distinct

LOGGED = 5     # g, or c: t has its log
STEP = 1e-4     # of t, relative to its spread: central differences
CHANCE = 0.05   # of the F test of lack of fit
RIDGE = 1e-9    # of the information's diagonal: a draw at a bound has none about what it is bound by


@dataclass(frozen=True)
class Noise:
    """Of log L about the law."""

    shared: float   # tau: standard deviation of a cell's own departure
    each: float     # sigma: of one run about its cell
    misfit: bool    # repeats show that cells depart from the law by more than chance

    def weight(self, runs, outside=0.0):
        """Information of a cell with so many runs, 0 where it has none, so many steps outside the table.

        A law that is seen to miss cells inside the table by tau is taken to miss those outside by tau more at each step: nobody
        has seen it hold there. Where nothing speaks against the law it is believed.
        """
        runs = np.asarray(runs, float)
        return np.where(runs > 0, 1 / (np.square(self.shared * self.growth(outside)) + self.each**2 / np.maximum(runs, 1)), 0.0)

    def growth(self, outside):
        """Of tau, so many steps outside the table."""
        return 1 + np.asarray(outside, float) * self.misfit


def noise_of(residuals, N, D, *, parameters: int, rng=None) -> Noise:
    """By analysis of variance of the residuals (n,) by cell. Without repeats all is the cell's: then a repeat tells nothing new.

    rng: where given, a draw of what the noise may be: mean squares are known no better than their degrees of freedom allow.
    """
    residuals = np.asarray(residuals, float)
    member = distinct(N, D)
    count = np.bincount(member)
    mean = np.bincount(member, residuals) / count
    free, left = len(residuals) - len(count), max(len(count) - parameters, 1)
    between = float((count * mean**2).sum() / left)
    floor = 1e-12
    may = 1.0 if rng is None else left / rng.chisquare(left)
    if free < 1:
        return Noise(max(float(np.sqrt(between * may)), floor), 0.0, False)
    each = float(np.square(residuals - mean[member]).sum() / free)
    # a cell's mean square holds n tau^2 + sigma^2 (Searle 1971, section 11.2)
    typical = (count.sum() - (count**2).sum() / count.sum()) / max(len(count) - 1, 1)
    strays = bool(special.fdtrc(left, free, between / max(each, 1e-300)) < CHANCE)
    between, each = between * may, each if rng is None else each * free / rng.chisquare(free)
    return Noise(float(np.sqrt(max((between - each) / typical, 0.0))), max(float(np.sqrt(each)), floor), strays)


def jacobian(points, law, theta: np.ndarray, N, D) -> np.ndarray:
    """df/dt (R, n, k) of f = log L at N, D (n,) for theta (R, k), in the coordinates of `points`."""
    there = replace(points, x=np.log(N) - points.x0, y=np.log(D) - points.y0)
    slopes = law.slopes(there, theta)
    if law is not ADDITIVE:
        slopes[:, LOGGED] *= theta[:, LOGGED:LOGGED + 1]
    return slopes.swapaxes(1, 2)


def gradient(points, law, theta: np.ndarray, cost_draws: np.ndarray, target: Target) -> np.ndarray:
    """dq/dt (R, k) by central differences."""
    cost = CostLaw(*cost_draws.T)
    logged = LOGGED if law is not ADDITIVE else None

    def value(t):
        t = t.copy()
        if logged is not None:
            t[:, logged] = np.exp(t[:, logged])
        return np.asarray(target.value(Surface(*law.external(points, t).T), cost))

    t = theta.copy()
    if logged is not None:
        t[:, logged] = np.log(t[:, logged])
    made = np.empty_like(t)
    for i in range(t.shape[1]):
        step = np.zeros(t.shape[1])
        step[i] = STEP
        made[:, i] = (value(t + step) - value(t - step)) / (2 * STEP)
    return made


@dataclass(frozen=True, eq=False)
class Belief:
    """What the runs so far, and those planned, tell of a quantity under each of R surfaces of one law."""

    J: np.ndarray         # (R, K, k) of the candidates
    c: np.ndarray         # (R, k)
    P: np.ndarray         # (R, k, k): inverse of the information

    @property
    def variance(self) -> np.ndarray:
        """Of the quantity (R,)."""
        return np.einsum("ri,rij,rj->r", self.c, self.P, self.c)

    def gains(self, extra: np.ndarray) -> np.ndarray:
        """log of the variance (R, K) after information `extra` (K,) more at each candidate, less that before."""
        PJ = np.einsum("rij,rxj->rxi", self.P, self.J)
        q, s = np.einsum("rxi,ri->rx", PJ, self.c), np.einsum("rxi,rxi->rx", PJ, self.J)
        taken = extra * q**2 / (1 + extra * s) / self.variance[:, None]
        return np.log1p(-np.minimum(taken, 1 - 1e-12))

    def after(self, candidate: int, extra: float) -> "Belief":
        """With the information, which may be negative: a run taken back."""
        v = np.einsum("rij,rj->ri", self.P, self.J[:, candidate])
        s = np.einsum("ri,ri->r", v, self.J[:, candidate])
        return Belief(self.J, self.c, self.P - (extra / (1 + extra * s))[:, None, None] * v[:, :, None] * v[:, None, :])


def belief(fit, target: Target, candidates: tuple[np.ndarray, np.ndarray], noise: Noise, draws: np.ndarray) -> Belief:
    """Of a ParametricFit, under its draws of these numbers (R,). candidates: N and D (K,)."""
    theta = fit.law.internal(fit.points, fit.draws[draws])
    member, runs = np.unique(distinct(fit.N, fit.D), return_index=True)[1], np.bincount(distinct(fit.N, fit.D))
    J = jacobian(fit.points, fit.law, theta, fit.N[member], fit.D[member])
    M = np.einsum("rni,n,rnj->rij", J, noise.weight(runs), J)
    i = np.arange(M.shape[1])
    M[:, i, i] *= 1 + RIDGE
    M[:, i, i] += RIDGE * np.trace(M, axis1=1, axis2=2)[:, None] * 1e-3
    return Belief(jacobian(fit.points, fit.law, theta, *candidates), gradient(fit.points, fit.law, theta, fit.cost_draws[draws], target),
                  np.linalg.inv(M))
