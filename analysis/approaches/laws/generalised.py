"""L = E + (A/N^(alpha/g) + B/D^(beta/g))^g in centred logs, and its derivatives in closed form.

g = 1 is Hoffmann et al. 2022, equation 2; E = 0 with beta = g is Kaplan et al. 2020, equation 1.5; g -> 0 is the
larger of the two terms, max(A'/N^alpha, B'/D^beta), and g -> infinity the product N^(-alpha/2) D^(-beta/2). alpha and
beta are the exponents that the reducible loss shows where N, or D, alone limits it.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.laws import bracket_grid
from analysis.approaches.laws.additive import EXPONENTS, Workshop
from analysis.approaches.laws.objective import Coordinates, Derivatives, Objective, Repeats, for_each, row_dot

# of g: at either end the law is the maximum, or the product, to within any table's noise
BRACKET = (0.1, 50.0)
BUFFERS = 15
LOG2 = np.log(2.0)
FAR = 690.0       # e^FAR is about the largest number there is
LOWER = np.tril_indices(6, -1)


@dataclass(frozen=True)
class Generalised:
    """theta = (E, u, v, alpha, beta, g): the reducible loss is the power mean [(e^(U/g) + e^(V/g)) / 2]^g of
    e^U and e^V, where U = u - alpha x, V = v - beta y."""

    name: str = "E + (A/N^(alpha/g) + B/D^(beta/g))^g"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "g")
    low: tuple[float, ...] = (0.0, -np.inf, -np.inf, EXPONENTS[0], EXPONENTS[0], BRACKET[0])
    high: tuple[float, ...] = (np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1], BRACKET[1])

    def external(self, points: Coordinates, theta):
        """theta in natural units: E, A, B, alpha, beta, g along the last axis."""
        E, u, v, alpha, beta, g = np.moveaxis(np.asarray(theta), -1, 0)
        size, data = ((w + e * c + np.log(points.scale)) / g - LOG2
                      for w, e, c in ((u, alpha, points.x0), (v, beta, points.y0)))
        # exponents at their bound would overflow A: such a draw is a wild one, and stays one
        return np.stack([E * points.scale, *(np.exp(np.clip(w, -FAR, FAR)) for w in (size, data)), alpha, beta, g], -1)

    def internal(self, points: Coordinates, natural):
        """Inverse of external."""
        E, A, B, alpha, beta, g = np.moveaxis(np.asarray(natural, float), -1, 0)
        u, v = (g * (np.log(w) + LOG2) - e * c - np.log(points.scale)
                for w, e, c in ((A, alpha, points.x0), (B, beta, points.y0)))
        return np.stack([E / points.scale, u, v, alpha, beta, g], -1)

    def log_loss(self, points: Coordinates, theta):
        """log(L / scale) (n,) at one theta (6,)."""
        E, u, v, alpha, beta, g = theta
        mean = g * (np.logaddexp((u - alpha * points.x) / g, (v - beta * points.y) / g) - LOG2)
        return np.log(E + np.exp(mean))

    def starts(self, points: Coordinates, weight) -> np.ndarray:
        """Where a global search descends from, (S, 6)."""
        return bracket_grid.best_of_brackets(points, weight)

    def starts_of_each(self, points: Coordinates, weight, trust, minima) -> np.ndarray:
        """Where each resample (M, n) descends from, (M, S, 6): the pilot's minima (S, 6)."""
        return for_each(len(weight), minima)

    def workshop(self, points: Coordinates, rows: int, repeats: Repeats | None = None) -> Workshop:
        """As of the additive law."""
        return Workshop.of(points, rows, repeats, BUFFERS)

    def slopes(self, points: Coordinates, theta) -> np.ndarray:
        """Derivatives (M, 6, n) of log(E + R) in theta (M, 6): (k, m f') of `derivatives`."""
        x, y, g = points.x, points.y, theta[:, 5:]
        size, data = theta[:, 1:2] - theta[:, 3:4] * x, theta[:, 2:3] - theta[:, 4:5] * y
        share = 1 / (1 + np.exp(np.clip((data - size) / g, -FAR, FAR)))
        mean = np.logaddexp(size / g, data / g) - LOG2
        reducible = np.exp(g * mean)
        k = 1 / (theta[:, :1] + reducible)
        m = reducible * k
        along_g = m * (mean - (share * size + (1 - share) * data) / g)
        return np.stack([k, m * share, m * (1 - share), -x * m * share, -y * m * (1 - share), along_g], 1)

    def derivatives(self, weight, theta, objective: Objective, work: Workshop, noise=None) -> Derivatives:
        """Of sum_i w_i huber(r_i), r = log((E + R) / L) or E + R - L, R = e^f, at theta (M, 6) under weight (M, n).
        noise (M, n): each fit is to a table of its own, L e^noise. With a precision P: as of the additive law.

        f = g log((e^(U/g) + e^(V/g)) / 2). With d = (U - V)/g, the share s = 1/(1 + e^-d) of the N term,
        h = H(s) - log 2 and H its entropy,
            f'  = (s, 1 - s, -x s, -y (1 - s), h)  in (u, v, alpha, beta, g),
            f'' = t e e^T,  t = s (1 - s)/g,  e = (1, -1, -x, y, -d): a matrix of rank one.
        In log space m = R/(E + R), k = 1/(E + R); in raw space m = R, k = 1. Then r' = (k, m f') and, with psi and c the
        weighted first and second derivatives of huber, o = 1 in log space and 0 in raw,
            gradient        = sum psi (k, m f')
            Hessian, E, E   = sum (c - o psi) k^2
            Hessian, E, f   = sum (c - o psi) k m f'
            Hessian, f, f   = sum K f' f'^T + T e e^T,  K = c m^2 + psi m (1 - o m),  T = psi m t.
        """
        powers_x, powers_y = work.powers_x, work.powers_y
        U, V, d, s, rest, h, m, k, residual, psi, curve, softened, term, other, K = work.buffers[:, :len(theta)]
        log = objective.space == "log"
        g = theta[:, 5:]
        np.matmul(theta[:, [1, 3]], work.line_x, out=U)
        np.matmul(theta[:, [2, 4]], work.line_y, out=V)
        np.subtract(U, V, out=d)
        d /= g
        np.exp(np.negative(np.abs(d, out=other), out=term), out=term)      # e^-|d|; other = |d|
        np.log1p(term, out=h)
        np.add(np.maximum(U, V, out=m), np.multiply(np.subtract(h, LOG2, out=K), g, out=K), out=m)
        np.exp(m, out=m)                                                    # R
        np.divide(1.0, np.add(term, 1.0, out=rest), out=rest)               # the larger share
        np.multiply(term, rest, out=s)                                      # the smaller
        other *= s
        h += other
        h -= LOG2
        positive = d > 0
        np.copyto(term, s)
        np.copyto(s, rest, where=positive)
        np.copyto(rest, term, where=positive)
        np.add(m, theta[:, :1], out=residual)
        if log:
            np.divide(1.0, residual, out=k)
            np.log(residual, out=residual)
            m *= k
        else:
            k.fill(1.0)
        value = work.observed.misfit(objective, weight, residual, noise, psi, curve, softened, term)

        # the scale of each coordinate: squares of r' under softened weights
        from_E = row_dot(np.multiply(softened, k, out=term), k)
        softened *= m
        softened *= m
        np.multiply(softened, np.square(s, out=U), out=term)
        np.multiply(softened, np.square(rest, out=V), out=other)
        scale_x, scale_y = term @ powers_x[:, ::2], other @ powers_y[:, ::2]
        softened *= h
        diagonal = np.stack([from_E, scale_x[:, 0], scale_y[:, 0], scale_x[:, 1], scale_y[:, 1], row_dot(softened, h)], 1)

        gradient, H = np.empty((len(theta), 6)), np.empty((len(theta), 6, 6))
        gradient[:, 0] = row_dot(psi, k)
        np.multiply(np.multiply(curve, m, out=K), m, out=K)
        if log:
            curve -= psi
        psi *= m                                                            # psi m from here on
        K += np.multiply(np.subtract(1.0, m, out=other), psi, out=other) if log else psi
        np.multiply(psi, s, out=term)
        np.multiply(psi, rest, out=other)
        gradient[:, 1], gradient[:, 3] = (term @ powers_x[:, :2]).T
        gradient[:, 2], gradient[:, 4] = (other @ powers_y[:, :2]).T
        gradient[:, 5] = row_dot(psi, h)
        np.multiply(term, rest, out=term)
        term /= g                                                           # T

        curve *= k
        H[:, 0, 0] = row_dot(curve, k)
        curve *= m
        H[:, 0, 1], H[:, 0, 3] = (np.multiply(curve, s, out=other) @ powers_x[:, :2]).T
        H[:, 0, 2], H[:, 0, 4] = (np.multiply(curve, rest, out=other) @ powers_y[:, :2]).T
        H[:, 0, 5] = row_dot(curve, h)
        U *= K                                                              # K s^2 + T, and so on
        U += term
        V *= K
        V += term
        H[:, 1, 1], H[:, 1, 3], H[:, 3, 3] = (U @ powers_x).T
        H[:, 2, 2], H[:, 2, 4], H[:, 4, 4] = (V @ powers_y).T
        np.multiply(s, rest, out=other)
        other *= K
        other -= term
        H[:, 1, 2], H[:, 2, 3], H[:, 1, 4], H[:, 3, 4] = (other @ work.mixed).T
        K *= h
        term *= d
        np.multiply(K, s, out=other)
        other -= term
        H[:, 1, 5], H[:, 3, 5] = (other @ powers_x[:, :2]).T
        np.multiply(K, rest, out=other)
        other += term
        H[:, 2, 5], H[:, 4, 5] = (other @ powers_y[:, :2]).T
        H[:, 5, 5] = row_dot(K, h) + row_dot(term, d)
        H[:, LOWER[0], LOWER[1]] = H[:, LOWER[1], LOWER[0]]
        if objective.precision is not None:
            np.multiply(m, s, out=U)
            np.multiply(m, rest, out=V)
            H += objective.precision.between(np.stack([k, U, V, -work.x * U, -work.y * V, m * h], 1))
        return Derivatives(value, gradient, H, diagonal)


GENERALISED = Generalised()
