"""What a fit minimises: a sum of Huber losses of log L or of L, or a quadratic form of log L, and the points it is of."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analysis.errors.precision import Precision

WORTH = 0.75   # places for each run, from which on repeats aren't worth their own arithmetic
RUNS = 5       # buffers of one number a run


@dataclass(frozen=True)
class Objective:
    """Sum of Huber losses of log L or of L; delta = infinity is least squares (half the sum).

    With a precision P it is generalised least squares, half of r' P r, r the residuals of log L (Aitken 1936).
    """

    space: str    # log or raw
    delta: float  # where the loss turns from square to absolute, in units of the residual
    over: float = 1.0  # weight of runs whose loss the law overstates, relative to the others
    precision: Precision | None = field(default=None, repr=False, compare=False)

    def __post_init__(self):
        if self.space not in ("log", "raw"):
            raise ValueError(f"an objective's space is log or raw, got {self.space!r}")
        if not self.delta > 0:
            raise ValueError(f"Huber's delta is positive, got {self.delta}")
        if not self.over > 0:
            raise ValueError(f"the weight of overstated runs is positive, got {self.over}")
        if self.precision is not None and (self.space, self.delta, self.over) != ("log", np.inf, 1.0):
            raise ValueError("generalised least squares is of log L, without Huber's delta and without a tilt")

    def __str__(self) -> str:
        if self.precision is not None:
            return "generalised least squares on log L"
        where = "log L" if self.space == "log" else "L"
        tilt = "" if self.over == 1 else f", overstated runs x{self.over:g}"
        name = f"least squares on {where}" if np.isinf(self.delta) else f"Huber, delta {self.delta:.3g}, on {where}"
        return name + tilt

    def tilted(self, weight, residual):
        """Weights after the tilt against overstated runs."""
        return weight if self.over == 1 else weight * np.where(residual > 0, self.over, 1.0)


@dataclass(frozen=True)
class Coordinates:
    """Centred logs and scaled loss: in raw coordinates the Hessian's condition number is about 3.5e11 (Czech 2026).

    theta of the additive law is (E, log A, log B, alpha, beta) in these units.
    """

    x: np.ndarray        # log N - x0
    y: np.ndarray        # log D - y0
    loss: np.ndarray     # L / scale
    x0: float
    y0: float
    scale: float

    @cached_property
    def repeats(self) -> "Repeats | None":
        """Which runs are of one (N, D); None where they are too few to gain by."""
        place = np.unique(np.stack([self.x, self.y], 1), axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(place, kind="stable")
        first = np.flatnonzero(np.diff(place[order], prepend=-1))
        return Repeats(order, first, place) if len(first) <= WORTH * len(place) else None

    @classmethod
    def of(cls, N, D, L, weight) -> "Coordinates":
        x, y, z = np.log(N), np.log(D), np.log(L)
        x0, y0, z0 = (float(np.average(v, weights=weight)) for v in (x, y, z))
        return cls(x - x0, y - y0, np.exp(z - z0), x0, y0, float(np.exp(z0)))

    def external(self, theta):
        """The additive law's theta in natural units: E, A, B, alpha, beta along the last axis."""
        E, u, v, alpha, beta = np.moveaxis(np.asarray(theta), -1, 0)
        return np.stack([E * self.scale, self.scale * np.exp(u + alpha * self.x0),
                         self.scale * np.exp(v + beta * self.y0), alpha, beta], -1)

    def internal(self, natural):
        """Inverse of external."""
        E, A, B, alpha, beta = np.moveaxis(np.asarray(natural, float), -1, 0)
        return np.stack([E / self.scale, np.log(A / self.scale) - alpha * self.x0,
                         np.log(B / self.scale) - beta * self.y0, alpha, beta], -1)


@dataclass(frozen=True)
class Repeats:
    """Runs of one (N, D), which every law foretells alike: it is evaluated once for all of them."""

    order: np.ndarray    # (n,) the runs, place by place
    first: np.ndarray    # (m,) where in that order each place begins
    place: np.ndarray    # (n,) of each run

    def one_each(self, values: np.ndarray) -> np.ndarray:
        """(m,) of the runs' (n,), of what is the same for all runs of a place."""
        return values[self.order[self.first]]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(M, m) of (M, n)."""
        return np.add.reduceat(values[:, self.order], self.first, axis=1)


@dataclass(frozen=True)
class Observed:
    """What was observed at the places (m,) where a law is evaluated, one run each or several."""

    log_loss: np.ndarray               # (n,) place by place
    loss: np.ndarray
    place: np.ndarray | None = None    # (n,) of each; None where there is one run a place
    first: np.ndarray | None = None    # (m,) where each place begins
    buffers: np.ndarray | None = None  # (RUNS, rows, n) scratch space

    @classmethod
    def of(cls, points: Coordinates, rows: int, repeats: Repeats | None) -> "Observed":
        if repeats is None:
            return cls(np.log(points.loss), points.loss)
        loss = points.loss[repeats.order]
        return cls(np.log(loss), loss, repeats.place[repeats.order], repeats.first, np.empty((RUNS, rows, len(loss))))

    def misfit(self, objective: Objective, weight, predicted, noise, psi, curve, softened, term):
        """The objective (M,) of predictions (M, m), of log L or of L; fills psi, curve and softened as `huber` does, summed by place.

        weight, noise: (M, n), place by place. Overwrites predicted and term.
        """
        log = objective.space == "log"
        seen = self.log_loss if log else self.loss
        if noise is not None:
            seen = seen + noise if log else seen * np.exp(noise)
        if self.place is None:
            predicted -= seen
            weight = objective.tilted(weight, predicted)
            return (huber(weight, predicted, objective.delta, psi, curve, softened, term) if objective.precision is None else
                    quadratic(objective.precision, predicted, psi, curve, softened))
        residual, *filled, spare = self.buffers[:, :len(predicted)]
        np.take(predicted, self.place, axis=1, out=residual, mode="clip")
        residual -= seen
        value = huber(objective.tilted(weight, residual), residual, objective.delta, *filled, spare)
        for into, each in zip((psi, curve, softened), filled, strict=True):
            np.add.reduceat(each, self.first, axis=1, out=into)
        return value


@dataclass(frozen=True)
class Derivatives:
    """Of the objective in theta, for each fit of a stack of M."""

    value: np.ndarray     # (M,)
    gradient: np.ndarray  # (M, k)
    hessian: np.ndarray   # (M, k, k)
    diagonal: np.ndarray  # (M, k) of Gauss and Newton's matrix under reweighting: positive whatever the curvature


def huber(weight, residual, delta, psi, curve, softened, term):
    """Weighted sum (M,) of Huber's losses; fills psi with the weighted first derivative, curve with the second,
    softened with the weights that least squares would need for the same first derivative."""
    if np.isinf(delta):
        np.multiply(weight, residual, out=psi)
        np.copyto(curve, weight)
        np.copyto(softened, weight)
        return row_dot(psi, residual) / 2
    np.clip(residual, -delta, delta, out=term)
    np.multiply(weight, term, out=psi)
    np.equal(term, residual, out=curve)
    curve *= weight
    np.maximum(np.abs(residual, out=softened), delta, out=softened)
    np.divide(delta, softened, out=softened)
    softened *= weight
    term *= -0.5
    term += residual
    return row_dot(psi, term)


def quadratic(precision: Precision, residual, psi, curve, softened):
    """Half of r' P r (M,) of residuals (M, n); fills psi with P r, softened with P's diagonal, and curve with zeros: what
    J' P J adds to the Hessian is added whole."""
    np.copyto(psi, precision.times(residual))
    np.copyto(softened, precision.diagonal)
    curve.fill(0.0)
    return row_dot(psi, residual) / 2


def for_each(count: int, starts) -> np.ndarray:
    """The same starts (S, k) for each of so many fits, (count, S, k)."""
    return np.broadcast_to(starts, (count, *starts.shape))


def row_dot(one, other):
    """Sum of products along each row (M,)."""
    return np.einsum("ij,ij->i", one, other)
