"""L = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, equation 2) in centred logs, and its derivatives.

With x = log N - x0 and y = log D - y0 the law is E + X + Y, X = exp(u - alpha x), Y = exp(v - beta y), in
theta = (E, u, v, alpha, beta).
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.laws import additive_grid
from analysis.approaches.laws.objective import Coordinates, Derivatives, Objective, Observed, Repeats, row_dot

EXPONENTS = (0.01, 6.0)  # of alpha and beta; a fit that ends on either is reported as at a bound
BUFFERS = 9
LOWER = np.tril_indices(5, -1)


@dataclass(frozen=True)
class Workshop:
    """What every evaluation on the same points needs: its scratch space and the powers of the logs."""

    buffers: np.ndarray    # (BUFFERS, rows, m): arrays of this size cost more to allocate than to fill
    observed: Observed
    x: np.ndarray          # (m,) of the places where the law is evaluated
    y: np.ndarray
    scale: float           # of L
    line_x: np.ndarray     # (2, m): 1, -x
    line_y: np.ndarray
    powers_x: np.ndarray   # (m, 3): 1, -x, x^2
    powers_y: np.ndarray
    mixed: np.ndarray      # (m, 4): 1, -x, -y, xy

    @classmethod
    def of(cls, points: Coordinates, rows: int, repeats: Repeats | None, buffers: int) -> "Workshop":
        x, y = (points.x, points.y) if repeats is None else (repeats.one_each(v) for v in (points.x, points.y))
        one = np.ones_like(x)
        return cls(np.empty((buffers, rows, len(x))), Observed.of(points, rows, repeats), x, y, points.scale,
                   np.stack([one, -x]), np.stack([one, -y]),
                   np.stack([one, -x, x * x], 1), np.stack([one, -y, y * y], 1), np.stack([one, -x, -y, x * y], 1))


@dataclass(frozen=True)
class Additive:
    """The law that most of the literature fits."""

    name: str = "E + A/N^alpha + B/D^beta"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta")
    low: tuple[float, ...] = (0.0, -np.inf, -np.inf, EXPONENTS[0], EXPONENTS[0])
    high: tuple[float, ...] = (np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1])

    def external(self, points: Coordinates, theta):
        return points.external(theta)

    def internal(self, points: Coordinates, natural):
        return points.internal(natural)

    def log_loss(self, points: Coordinates, theta):
        """log(L / scale) (n,) at one theta (5,)."""
        E, u, v, alpha, beta = theta
        return np.log(E + np.exp(u - alpha * points.x) + np.exp(v - beta * points.y))

    def starts(self, points: Coordinates, weight) -> np.ndarray:
        """Where a global search descends from, (S, 5)."""
        return additive_grid.best_and_cover(points, weight)

    def starts_of_each(self, points: Coordinates, weight, trust, minima) -> np.ndarray:
        """Where each resample (M, n) descends from, (M, 2, 5): the lowest of the minima (S, 5), and the best node of its own grid."""
        pilot = minima[0]
        own = additive_grid.best_of_each(points, weight * trust, instead=pilot)
        return np.stack([np.broadcast_to(pilot, own.shape), own], 1)

    def workshop(self, points: Coordinates, rows: int, repeats: Repeats | None = None) -> Workshop:
        """For `rows` fits at a time; with repeats, weights and noise are given place by place."""
        return Workshop.of(points, rows, repeats, BUFFERS)

    def slopes(self, points: Coordinates, theta) -> np.ndarray:
        """Derivatives (M, 5, n) of log F in theta (M, 5)."""
        x, y = points.x, points.y
        sizes, data = np.exp(theta[:, 1:2] - theta[:, 3:4] * x), np.exp(theta[:, 2:3] - theta[:, 4:5] * y)
        whole = theta[:, :1] + sizes + data
        sizes, data = sizes / whole, data / whole
        return np.stack([1 / whole, sizes, data, -x * sizes, -y * data], 1)

    def derivatives(self, weight, theta, objective: Objective, work: Workshop, noise=None) -> Derivatives:
        """Of sum_i w_i huber(r_i), r = log(F / L) or F - L, F = E + X + Y, at theta (M, 5) under weight (M, n).

        noise (M, n): each fit is to a table of its own, L e^noise. With a precision P the objective is r' P r / 2, whose gradient has
        P r for psi and whose Hessian J' P J for the sum of c r' r'^T.

        In log space with psi, c the weighted first and second derivatives of huber, and the shares g = 1/F, X g, Y g:
        gradient = sum psi (g, X g, Y g, -x X g, -y Y g), Hessian = sum (c - psi) r' r'^T + psi F''/F,
        where F'' = diag(0, X, Y, x^2 X, y^2 Y) with -x X between u and alpha and -y Y between v and beta.
        In raw space g = 1 and c takes the place of c - psi.
        """
        powers_x, powers_y = work.powers_x, work.powers_y
        # names of the buffers; `term` and `other` hold one product after another
        sizes, data, g, residual, psi, curve, softened, term, other = work.buffers[:, :len(theta)]
        np.exp(np.matmul(theta[:, [1, 3]], work.line_x, out=sizes), out=sizes)
        np.exp(np.matmul(theta[:, [2, 4]], work.line_y, out=data), out=data)
        predicted = np.add(sizes, data, out=residual)
        predicted += theta[:, :1]
        if objective.space == "log":
            np.divide(1.0, predicted, out=g)
            np.log(predicted, out=residual)
            sizes *= g
            data *= g
        else:
            g.fill(1.0)
        value = work.observed.misfit(objective, weight, residual, noise, psi, curve, softened, term)
        if objective.space == "log":
            curve -= psi

        along_x = np.multiply(psi, sizes, out=term) @ powers_x
        along_y = np.multiply(psi, data, out=term) @ powers_y
        gradient = np.stack([row_dot(psi, g), along_x[:, 0], along_y[:, 0], along_x[:, 1], along_y[:, 1]], 1)

        np.multiply(curve, sizes, out=term)
        xy = np.multiply(term, data, out=other) @ work.mixed
        term += psi
        xx = np.multiply(term, sizes, out=term) @ powers_x
        np.multiply(curve, data, out=term)
        term += psi
        yy = np.multiply(term, data, out=term) @ powers_y
        curve *= g
        ex, ey = (np.multiply(curve, part, out=term) @ powers[:, :2] for part, powers in ((sizes, powers_x), (data, powers_y)))
        H = np.empty((len(theta), 5, 5))
        H[:, 0, 0] = row_dot(curve, g)
        H[:, 0, 1], H[:, 0, 3], H[:, 0, 2], H[:, 0, 4] = ex[:, 0], ex[:, 1], ey[:, 0], ey[:, 1]
        H[:, 1, 1], H[:, 1, 3], H[:, 3, 3] = xx.T
        H[:, 2, 2], H[:, 2, 4], H[:, 4, 4] = yy.T
        H[:, 1, 2], H[:, 2, 3], H[:, 1, 4], H[:, 3, 4] = xy.T
        H[:, LOWER[0], LOWER[1]] = H[:, LOWER[1], LOWER[0]]
        if objective.precision is not None:
            H += objective.precision.between(np.stack([g, sizes, data, -work.x * sizes, -work.y * data], 1))

        from_E = row_dot(np.multiply(softened, g, out=term), g)
        for part in (sizes, data):
            part *= part
            part *= softened
        from_x, from_y = sizes @ powers_x[:, ::2], data @ powers_y[:, ::2]
        return Derivatives(value, gradient, H,
                           np.stack([from_E, from_x[:, 0], from_y[:, 0], from_x[:, 1], from_y[:, 1]], 1))


ADDITIVE = Additive()
