"""Many robust fits of a law at once: damped Newton on whole stacks of weightings.

A bootstrap is thousands of fits that share their points and differ in their weights, so
one stack of weights (M, n) goes through one sequence of array operations. In theta, the law's
coordinates in centred logs, each fit of the stack takes the step

    theta <- theta - (H + damping R^2)^-1 G

with the gradient G (k,) and Hessian H (k, k) of its objective in closed form (analysis/approaches/laws), R = diag(ruler),
the scale of each coordinate, and a damping of its own (Levenberg 1944), within the law's bounds. A restricted
fit moves in theta = origin + basis phi, where G becomes basis^T G and H basis^T H basis.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.cells import problem
from analysis.approaches.laws.objective import Coordinates, Derivatives, Objective

CONTRACTION = 4.0        # Huber's delta shrinks by this factor a stage: few enough Newton steps a stage
CHUNK = 30_000           # elements of a buffer: enough fits at once that arithmetic, not Python, is what takes time
TOLERANCE = 1e-13        # of the objective, in parts of it: its own rounding
ROUNDING = 1e-30         # gain of a run's loss that is no gain: residuals are known to their sixteenth digit
REACH = 2.0              # of one step, in theta: Newton's may be wild where the curvature is negative


@dataclass(frozen=True)
class Restriction:
    """The affine family theta = origin + basis @ phi a fit may move in. Leading axes broadcast over fits.

    Each bounded coordinate of theta depends on one coordinate of phi at most, so that the bounds stay a box.
    """

    origin: np.ndarray  # (..., k)
    basis: np.ndarray   # (..., k, j)

    def of(self, fits) -> "Restriction":
        """Of some of the fits."""
        return self if self.origin.ndim == 1 else Restriction(self.origin[fits], self.basis[fits])

    def inside(self, theta):
        """phi (M, j) of the points of the family nearest to theta (M, k)."""
        return np.matmul(np.linalg.pinv(self.basis), (theta - self.origin)[..., None])[..., 0]


def free(law) -> Restriction:
    """No restriction."""
    k = len(law.names)
    return Restriction(np.zeros(k), np.eye(k))


@dataclass(frozen=True)
class Solution:
    """Where a stack of fits ended."""

    theta: np.ndarray      # (M, k)
    value: np.ndarray      # (M,) objective, in units of L where the space is raw
    converged: np.ndarray  # (M,) the predicted gain of another Newton step is nil


def minimise(points: Coordinates, weight, start, objective: Objective, *, law=ADDITIVE, restriction: Restriction | None = None,
             spread: float = 0.1, noise=None, tolerance: float = TOLERANCE) -> Solution:
    """Local minimum from each start (M, k) under weights (M, n) or (n,), each of losses L e^noise, noise (M, n), where it is given.

    Huber's delta comes down to the objective's from 2 * spread, the residuals' scale:
    the broad loss has few local minima and a Hessian that all points share in. tolerance: of the objective, in parts of it.
    """
    M = len(start)
    of = problem(points, np.broadcast_to(weight, (M, len(points.x))), objective, noise)
    restriction = restriction or free(law)
    origin = np.broadcast_to(restriction.origin, (M, start.shape[1]))
    basis = np.broadcast_to(restriction.basis, (M, *restriction.basis.shape[-2:]))
    phi = restriction.inside(start)
    rows = max(1, CHUNK // of.numbers)
    work = law.workshop(of.points, min(rows, M), of.repeats)
    parts = [_Stack(law, points.scale, np.ascontiguousarray(of.weight[s]), of.constant[s], origin[s], basis[s], work,
                    None if of.noise is None else of.noise[s]).minimum(phi[s], of.objective, spread, tolerance)
             for s in (slice(i, i + rows) for i in range(0, M, rows))]
    return Solution(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("theta", "value", "converged")))


@dataclass(frozen=True)
class _Stack:
    """Fits that go through the arithmetic together."""

    law: object
    scale: float        # of L
    weight: np.ndarray  # (M, n)
    constant: np.ndarray   # (M,) of the objective
    origin: np.ndarray  # (M, k)
    basis: np.ndarray   # (M, k, j)
    work: object        # the law's scratch space
    noise: np.ndarray | None   # (M, n)

    def take(self, rows) -> "_Stack":
        return replace(self, weight=self.weight[rows], constant=self.constant[rows], origin=self.origin[rows], basis=self.basis[rows],
                       noise=None if self.noise is None else self.noise[rows])

    def theta(self, phi):
        return self.origin + np.matmul(self.basis, phi[:, :, None])[:, :, 0]

    def minimum(self, phi, objective: Objective, spread: float, tolerance: float) -> Solution:
        """From phi (M, j), through ever smaller deltas."""
        # the solver works on L / scale; a raw residual and its delta shrink by scale
        unit = self.scale if objective.space == "raw" else 1.0
        target = objective.delta / unit
        delta = target if np.isinf(target) else max(target, 2 * spread)
        while delta > target:
            phi, _, _ = _newton(self, phi, replace(objective, delta=delta), tolerance=1e-3, most=12)
            delta = max(target, delta / CONTRACTION)
        phi, value, converged = _newton(self, phi, replace(objective, delta=target), tolerance=tolerance, most=80)
        return Solution(self.theta(phi), value * unit**2, converged)

    def derivatives(self, phi, objective: Objective) -> "_Slopes":
        """The law's, carried from theta to phi."""
        of: Derivatives = self.law.derivatives(self.weight, self.theta(phi), objective, self.work, self.noise)
        across = self.basis.transpose(0, 2, 1)
        return _Slopes(of.value + self.constant, np.matmul(across, of.gradient[:, :, None])[:, :, 0],
                       np.matmul(np.matmul(across, of.hessian), self.basis),
                       np.sqrt(np.matmul(np.square(across), of.diagonal[:, :, None])[:, :, 0]) + 1e-12)

    def box(self):
        """Bounds of phi, low and high (M, j), under the law's bounds of theta."""
        shape = (len(self.origin), self.basis.shape[2])
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
        for i, (least, most) in enumerate(zip(self.law.low, self.law.high, strict=True)):
            if np.isinf(least) and np.isinf(most):
                continue
            slope = self.basis[:, i, :]
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = np.sort(np.stack([(v - self.origin[:, i, None]) / slope for v in (least, most)]), axis=0)
            moves = slope != 0
            low = np.where(moves, np.maximum(low, ends[0]), low)
            high = np.where(moves, np.minimum(high, ends[1]), high)
        return low, high


@dataclass(frozen=True)
class _Slopes:
    """Value (M,), gradient (M, j), Hessian (M, j, j) in phi and the scale of each coordinate, ruler (M, j)."""

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    ruler: np.ndarray

    def where(self, better, other: "_Slopes") -> "_Slopes":
        """The other's for those fits that are better."""
        return _Slopes(*(np.where(better.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, old)
                         for fresh, old in zip(vars(other).values(), vars(self).values(), strict=True)))

    def take(self, rows) -> "_Slopes":
        return _Slopes(*(v[rows] for v in vars(self).values()))


def _newton(stack: _Stack, phi, objective: Objective, *, tolerance: float, most: int):
    """phi, value and convergence of each fit of the stack, each with its own damping; finished fits drop out."""
    low, high = stack.box()
    phi = np.clip(phi, low, high)
    M = len(phi)
    best_phi, best_value, converged = phi.copy(), np.empty(M), np.zeros(M, bool)
    live, damping = np.arange(M), np.full(M, 1e-3)
    at = stack.derivatives(phi, objective)
    whole = stack
    for _ in range(most):
        step, gain = _step(phi, at, damping, low[live], high[live])
        # a negative gain is a saddle, not an end
        done = (gain >= 0) & (gain <= tolerance * at.value + ROUNDING * stack.weight.sum(1)) & (damping <= 1e-2)
        trial = np.clip(phi + step, low[live], high[live])
        new = stack.derivatives(trial, objective)
        better = (new.value < at.value) & (gain > 0)
        phi = np.where(better[:, None], trial, phi)
        at = at.where(better, new)
        damping = np.clip(np.where(better, damping / 10, damping * 8), 1e-9, None)
        stuck = damping > 1e8  # no direction goes down any more in floating point
        leave = done | stuck
        if leave.any():
            gone = live[leave]
            best_phi[gone], best_value[gone], converged[gone] = phi[leave], at.value[leave], True
            keep = ~leave
            live, phi, damping, at = live[keep], phi[keep], damping[keep], at.take(keep)
            if not len(live):
                break
            stack = whole.take(live)
    if len(live):
        best_phi[live], best_value[live] = phi, at.value
    return best_phi, best_value, converged


def _step(phi, at: _Slopes, damping, low, high):
    """Damped Newton step, coordinates pressed against their bound held; the gain it predicts (nan: not downhill)."""
    held = ((phi <= low) & (at.gradient > 0)) | ((phi >= high) & (at.gradient < 0))
    free_ = ~held
    pull = np.where(free_, at.gradient, 0.0) / at.ruler
    scaled = at.hessian / (at.ruler[:, :, None] * at.ruler[:, None, :])
    scaled = np.where(free_[:, :, None] & free_[:, None, :], scaled, 0.0)
    k = phi.shape[1]
    scaled[:, range(k), range(k)] += np.where(free_, damping[:, None], 1.0)
    move = -_solved(scaled, pull)
    gain = -(move * pull).sum(1)
    move = move / at.ruler
    shrink = np.minimum(1.0, REACH / np.maximum(np.abs(move).max(1), 1e-300))
    return move * shrink[:, None], gain


def _solved(matrix, right):
    """Solutions (M, j) of M symmetric systems; where one is singular to the last digit, as when a term of the law has vanished,
    all by the pseudo-inverse, which leaves the directions that mean nothing alone."""
    try:
        return np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.matmul(np.linalg.pinv(matrix, hermitian=True), right[:, :, None])[:, :, 0]
