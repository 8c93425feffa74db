"""Many robust fits of the loss surface at once: damped Newton on whole stacks of weightings.

A bootstrap is thousands of fits that share their points and differ in their weights, so
one stack of weights (M, n) goes through one sequence of array operations. The logs of N
and D are centred and L is scaled to 1: in the raw coordinates the Hessian's condition
number is about 3.5e11 on Hoffmann's points and finite-difference optimisers stop early
(Czech 2026, arXiv 2603.22339).
"""

from dataclasses import dataclass, replace

import numpy as np

EXPONENTS = (0.01, 6.0)  # of alpha and beta; a fit that ends on either is reported as at a bound
CONTRACTION = 4.0        # Huber's delta shrinks by this factor a stage: few enough Newton steps a stage
CHUNK = 60_000           # elements of a buffer: enough fits at once that arithmetic, not Python, is what takes time
BUFFERS = 9              # that the derivatives are computed in

LOWER = np.tril_indices(5, -1)


@dataclass(frozen=True)
class Objective:
    """Sum of Huber losses of log L or of L; delta = infinity is least squares (half the sum)."""

    space: str    # log or raw
    delta: float  # where the loss turns from square to absolute, in units of the residual
    over: float = 1.0  # weight of runs whose loss the law overstates, relative to the others

    def __post_init__(self):
        if self.space not in ("log", "raw"):
            raise ValueError(f"an objective's space is log or raw, got {self.space!r}")
        if not self.delta > 0:
            raise ValueError(f"Huber's delta is positive, got {self.delta}")
        if not self.over > 0:
            raise ValueError(f"the weight of overstated runs is positive, got {self.over}")

    def __str__(self) -> str:
        where = "log L" if self.space == "log" else "L"
        tilt = "" if self.over == 1 else f", overstated runs x{self.over:g}"
        name = f"least squares on {where}" if np.isinf(self.delta) else f"Huber, delta {self.delta:g}, on {where}"
        return name + tilt


@dataclass(frozen=True)
class Coordinates:
    """Centred logs and scaled loss; theta = (E, log A, log B, alpha, beta) in these units."""

    x: np.ndarray        # log N - x0
    y: np.ndarray        # log D - y0
    loss: np.ndarray     # L / scale
    x0: float
    y0: float
    scale: float

    @classmethod
    def of(cls, N, D, L, weight) -> "Coordinates":
        x, y, z = np.log(N), np.log(D), np.log(L)
        x0, y0, z0 = (float(np.average(v, weights=weight)) for v in (x, y, z))
        return cls(x - x0, y - y0, np.exp(z - z0), x0, y0, float(np.exp(z0)))

    def external(self, theta):
        """theta in natural units: E, A, B, alpha, beta along the last axis."""
        E, u, v, alpha, beta = np.moveaxis(np.asarray(theta), -1, 0)
        return np.stack([E * self.scale, self.scale * np.exp(u + alpha * self.x0),
                         self.scale * np.exp(v + beta * self.y0), alpha, beta], -1)

    def internal(self, natural):
        """Inverse of external."""
        E, A, B, alpha, beta = np.moveaxis(np.asarray(natural, float), -1, 0)
        return np.stack([E / self.scale, np.log(A / self.scale) - alpha * self.x0,
                         np.log(B / self.scale) - beta * self.y0, alpha, beta], -1)


@dataclass(frozen=True)
class Restriction:
    """The affine family theta = origin + basis @ phi a fit may move in. Leading axes broadcast over fits.

    E, alpha and beta each depend on one coordinate of phi at most, so that their bounds stay a box.
    """

    origin: np.ndarray  # (..., 5)
    basis: np.ndarray   # (..., 5, k), orthogonal columns

    def of(self, fits) -> "Restriction":
        """Of some of the fits."""
        return self if self.origin.ndim == 1 else Restriction(self.origin[fits], self.basis[fits])


FREE = Restriction(np.zeros(5), np.eye(5))


@dataclass(frozen=True)
class Solution:
    """Where a stack of fits ended."""

    theta: np.ndarray      # (M, 5)
    value: np.ndarray      # (M,) objective, in units of L where the space is raw
    converged: np.ndarray  # (M,) the predicted gain of another Newton step is nil


@dataclass(frozen=True)
class _Workshop:
    """What every evaluation on the same points needs: its scratch space and the powers of the logs."""

    buffers: np.ndarray    # (BUFFERS, rows, n): arrays of this size cost more to allocate than to fill
    log_loss: np.ndarray   # (n,)
    line_x: np.ndarray     # (2, n): 1, -x
    line_y: np.ndarray
    powers_x: np.ndarray   # (n, 3): 1, -x, x^2
    powers_y: np.ndarray
    mixed: np.ndarray      # (n, 4): 1, -x, -y, xy

    @classmethod
    def of(cls, points: Coordinates, rows: int) -> "_Workshop":
        x, y, one = points.x, points.y, np.ones_like(points.x)
        return cls(np.empty((BUFFERS, rows, len(x))), np.log(points.loss), np.stack([one, -x]), np.stack([one, -y]),
                   np.stack([one, -x, x * x], 1), np.stack([one, -y, y * y], 1), np.stack([one, -x, -y, x * y], 1))


def _tilted(weight, residual, objective: Objective):
    return weight if objective.over == 1 else weight * np.where(residual > 0, objective.over, 1.0)


def minimise(points: Coordinates, weight, start, objective: Objective, *, restriction: Restriction = FREE,
             spread: float = 0.1) -> Solution:
    """Local minimum from each start (M, 5) under weights (M, n) or (n,).

    Huber's delta comes down to the objective's from 2 * spread, the residuals' scale:
    the broad loss has few local minima and a Hessian that all points share in.
    """
    M, n = len(start), len(points.x)
    weight = np.broadcast_to(weight, (M, n))
    origin = np.broadcast_to(restriction.origin, (M, 5))
    basis = np.broadcast_to(restriction.basis, (M, *restriction.basis.shape[-2:]))
    rows = max(1, CHUNK // n)
    work = _Workshop.of(points, min(rows, M))
    parts = [_minimise_chunk(points, np.ascontiguousarray(weight[s]), start[s], objective, origin[s], basis[s], spread, work)
             for s in (slice(i, i + rows) for i in range(0, M, rows))]
    return Solution(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("theta", "value", "converged")))


def _minimise_chunk(points, weight, start, objective, origin, basis, spread, work) -> Solution:
    # the solver works on L / scale; a raw residual and its delta shrink by scale
    unit = points.scale if objective.space == "raw" else 1.0
    target = objective.delta / unit
    phi = np.einsum("mik,mi->mk", basis, start - origin) / np.square(basis).sum(1)
    delta = target if np.isinf(target) else max(target, 2 * spread)
    while True:
        last = delta <= target
        phi, value, converged = _newton(points, weight, phi, origin, basis, replace(objective, delta=delta), work,
                                        *((1e-13, 80) if last else (1e-3, 12)))
        if last:
            theta = origin + np.einsum("mik,mk->mi", basis, phi)
            return Solution(theta, value * unit**2, converged)
        delta = max(target, delta / CONTRACTION)


def _box(origin, basis):
    """Bounds of phi (M, k) under E >= 0 and alpha, beta within EXPONENTS."""
    low, high = np.full((len(origin), basis.shape[2]), -np.inf), np.full((len(origin), basis.shape[2]), np.inf)
    for i, (least, most) in ((0, (0.0, np.inf)), (3, EXPONENTS), (4, EXPONENTS)):
        slope = basis[:, i, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort(np.stack([(least - origin[:, i, None]) / slope, (most - origin[:, i, None]) / slope]), axis=0)
        moves = slope != 0
        low = np.where(moves, np.maximum(low, ends[0]), low)
        high = np.where(moves, np.minimum(high, ends[1]), high)
    return low, high


def _newton(points, weight, phi, origin, basis, objective, work, tolerance, most):
    """Levenberg's damping on the exact Hessian, each fit of the stack with its own; finished fits drop out."""
    low, high = _box(origin, basis)
    phi = np.clip(phi, low, high)
    M = len(phi)
    best_phi, best_value, converged = phi.copy(), np.empty(M), np.zeros(M, bool)
    live, damping = np.arange(M), np.full(M, 1e-3)
    w, o, Z = weight, origin, basis
    value, gradient, hessian, ruler = _derivatives(points, w, phi, o, Z, objective, work)
    for _ in range(most):
        step, gain = _step(phi, gradient, hessian, ruler, damping, low[live], high[live])
        # a negative gain is a saddle, not an end
        done = (gain >= 0) & (gain <= tolerance * value) & (damping <= 1e-2)
        trial = np.clip(phi + step, low[live], high[live])
        new = _derivatives(points, w, trial, o, Z, objective, work)
        better = (new[0] < value) & (gain > 0)
        phi = np.where(better[:, None], trial, phi)
        value, gradient, hessian, ruler = (
            np.where(better.reshape(-1, *[1] * (fresh.ndim - 1)), fresh, old)
            for fresh, old in zip(new, (value, gradient, hessian, ruler)))
        damping = np.where(better, damping / 10, damping * 8)
        damping = np.clip(damping, 1e-9, None)
        stuck = damping > 1e8  # no direction goes down any more in floating point
        leave = done | stuck
        if leave.any():
            at = live[leave]
            best_phi[at], best_value[at], converged[at] = phi[leave], value[leave], True
            keep = ~leave
            live, phi, value, gradient, hessian, ruler, damping = (
                part[keep] for part in (live, phi, value, gradient, hessian, ruler, damping))
            if not len(live):
                break
            w, o, Z = weight[live], origin[live], basis[live]
    if len(live):
        best_phi[live], best_value[live] = phi, value
    return best_phi, best_value, converged


def _step(phi, gradient, hessian, ruler, damping, low, high):
    """Damped Newton step, coordinates pressed against their bound held; the gain it predicts (nan: not downhill)."""
    held = ((phi <= low) & (gradient > 0)) | ((phi >= high) & (gradient < 0))
    free = ~held
    pull = np.where(free, gradient, 0.0) / ruler
    scaled = hessian / (ruler[:, :, None] * ruler[:, None, :])
    scaled = np.where(free[:, :, None] & free[:, None, :], scaled, 0.0)
    k = phi.shape[1]
    scaled[:, range(k), range(k)] += np.where(free, damping[:, None], 1.0)
    move = -np.linalg.solve(scaled, pull[:, :, None])[:, :, 0]
    gain = -(move * pull).sum(1)
    # Newton's step may be wild where the curvature is negative: a step of one scale is far enough
    reach = np.abs(move / ruler).max(1)
    shrink = np.minimum(1.0, 2.0 / np.maximum(reach, 1e-300))
    return move / ruler * shrink[:, None], gain


def _derivatives(points, weight, phi, origin, basis, objective, work):
    """Value (M,), gradient (M, k), Hessian (M, k, k) and the scale of each coordinate (M, k)."""
    theta = origin + np.matmul(basis, phi[:, :, None])[:, :, 0]
    powers_x, powers_y = work.powers_x, work.powers_y
    # names of the buffers; `term` and `other` hold one product after another
    sizes, data, g, residual, psi, curve, softened, term, other = work.buffers[:, :len(phi)]
    np.exp(np.matmul(theta[:, [1, 3]], work.line_x, out=sizes), out=sizes)
    np.exp(np.matmul(theta[:, [2, 4]], work.line_y, out=data), out=data)
    predicted = np.add(sizes, data, out=residual)
    predicted += theta[:, :1]
    if objective.space == "log":
        np.divide(1.0, predicted, out=g)
        np.log(predicted, out=residual)
        residual -= work.log_loss
        sizes *= g
        data *= g
    else:
        g.fill(1.0)
        residual -= points.loss
    weight = _tilted(weight, residual, objective)
    value = _huber(weight, residual, objective.delta, psi, curve, softened, term)
    if objective.space == "log":
        curve -= psi

    along_x = np.multiply(psi, sizes, out=term) @ powers_x
    along_y = np.multiply(psi, data, out=term) @ powers_y
    gradient = np.stack([_dot(psi, g), along_x[:, 0], along_y[:, 0], along_x[:, 1], along_y[:, 1]], 1)

    np.multiply(curve, sizes, out=term)
    xy = np.multiply(term, data, out=other) @ work.mixed
    term += psi
    xx = np.multiply(term, sizes, out=term) @ powers_x
    np.multiply(curve, data, out=term)
    term += psi
    yy = np.multiply(term, data, out=term) @ powers_y
    curve *= g
    ex, ey = (np.multiply(curve, part, out=term) @ powers[:, :2] for part, powers in ((sizes, powers_x), (data, powers_y)))
    H = np.empty((len(phi), 5, 5))
    H[:, 0, 0] = _dot(curve, g)
    H[:, 0, 1], H[:, 0, 3], H[:, 0, 2], H[:, 0, 4] = ex[:, 0], ex[:, 1], ey[:, 0], ey[:, 1]
    H[:, 1, 1], H[:, 1, 3], H[:, 3, 3] = xx.T
    H[:, 2, 2], H[:, 2, 4], H[:, 4, 4] = yy.T
    H[:, 1, 2], H[:, 2, 3], H[:, 1, 4], H[:, 3, 4] = xy.T
    H[:, LOWER[0], LOWER[1]] = H[:, LOWER[1], LOWER[0]]

    # Gauss and Newton's diagonal under reweighting: positive whatever the curvature
    from_E = _dot(np.multiply(softened, g, out=term), g)
    for part in (sizes, data):
        part *= part
        part *= softened
    from_x, from_y = sizes @ powers_x[:, ::2], data @ powers_y[:, ::2]
    diagonal = np.stack([from_E, from_x[:, 0], from_y[:, 0], from_x[:, 1], from_y[:, 1]], 1)
    ruler = np.sqrt(np.matmul(diagonal[:, None, :], np.square(basis))[:, 0, :]) + 1e-12
    gradient = np.matmul(gradient[:, None, :], basis)[:, 0, :]
    hessian = np.matmul(np.matmul(basis.transpose(0, 2, 1), H), basis)
    return value, gradient, hessian, ruler


def _huber(weight, residual, delta, psi, curve, softened, term):
    """Weighted sum (M,) of Huber's losses; fills psi with the weighted first derivative, curve with the second,
    softened with the weights that least squares would need for the same first derivative."""
    if np.isinf(delta):
        np.multiply(weight, residual, out=psi)
        np.copyto(curve, weight)
        np.copyto(softened, weight)
        return _dot(psi, residual) / 2
    np.clip(residual, -delta, delta, out=term)
    np.multiply(weight, term, out=psi)
    np.equal(term, residual, out=curve)
    curve *= weight
    np.maximum(np.abs(residual, out=softened), delta, out=softened)
    np.divide(delta, softened, out=softened)
    softened *= weight
    term *= -0.5
    term += residual
    return _dot(psi, term)


def _dot(one, other):
    """Sum of products along each row (M,)."""
    return np.einsum("ij,ij->i", one, other)
