"""(L - E) / (top - L)^c = A/N^alpha + B/D^beta in centred logs, and its derivatives in closed form: M4 of Alabdulmohsin et al. 2022.

The additive law for losses that level off towards the top, that of a model that has learnt nothing. With F the loss and T the top, both
in units of the table's geometric mean, the law is (F - E) ((T - 1)/(T - F))^c = R, R = e^U + e^V, U = u - alpha x, V = v - beta y;
T lies above the highest loss M of the table, T = M (1 + e^h).
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.laws import bracket_grid
from analysis.approaches.laws.additive import EXPONENTS, Workshop
from analysis.approaches.laws.objective import Coordinates, Derivatives, Objective, Repeats, for_each, row_dot
from analysis.approaches.laws.saturation import gaps

BRACKET = (1e-3, 30.0)   # of c: below it the law is additive to within any table's noise
HEADROOM = (-7.0, 3.0)   # of h: below it the top is the highest loss, above it there is none
BUFFERS = 5
FAR = 690.0              # e^FAR is about the largest number there is
TINY = 1e-150            # a gap smaller than that is none


@dataclass(frozen=True)
class Saturating:
    """theta = (E, u, v, alpha, beta, c, h)."""

    highest: float   # loss of the table
    name: str = "(L - E)/(top - L)^c = A/N^alpha + B/D^beta"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "c", "log headroom")
    low: tuple[float, ...] = (0.0, -np.inf, -np.inf, EXPONENTS[0], EXPONENTS[0], BRACKET[0], HEADROOM[0])
    high: tuple[float, ...] = (np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1], BRACKET[1], HEADROOM[1])

    def external(self, points: Coordinates, theta):
        """theta in natural units: E, A, B, alpha, beta, g = 1, c, top along the last axis, as a Surface takes them."""
        E, u, v, alpha, beta, c, h = np.moveaxis(np.asarray(theta), -1, 0)
        top = self.highest * (1 + np.exp(h))
        shift = np.log(points.scale) - c * np.log(top - points.scale)
        A, B = (np.exp(np.clip(w + e * centre + shift, -FAR, FAR)) for w, e, centre in ((u, alpha, points.x0), (v, beta, points.y0)))
        return np.stack([E * points.scale, A, B, alpha, beta, np.ones_like(c), c, top], -1)

    def internal(self, points: Coordinates, natural):
        """Inverse of external."""
        E, A, B, alpha, beta, _, c, top = np.moveaxis(np.asarray(natural, float), -1, 0)
        shift = np.log(points.scale) - c * np.log(top - points.scale)
        u, v = (np.log(w) - e * centre - shift for w, e, centre in ((A, alpha, points.x0), (B, beta, points.y0)))
        return np.stack([E / points.scale, u, v, alpha, beta, c, np.log(top / self.highest - 1)], -1)

    def log_loss(self, points: Coordinates, theta):
        """log(L / scale) (n,) at one theta (7,)."""
        return np.log(_Places.of(self.highest / points.scale, points.x, points.y, np.asarray(theta)[None]).F[0])

    def starts(self, points: Coordinates, weight) -> np.ndarray:
        """Where a global search descends from, (S, 7)."""
        return bracket_grid.best_of_saturations(points, weight, self.highest / points.scale)

    def starts_of_each(self, points: Coordinates, weight, trust, minima) -> np.ndarray:
        """Where each resample (M, n) descends from, (M, S, 7): the pilot's minima (S, 7)."""
        return for_each(len(weight), minima)

    def workshop(self, points: Coordinates, rows: int, repeats: Repeats | None = None) -> Workshop:
        """As of the additive law."""
        return Workshop.of(points, rows, repeats, BUFFERS)

    def slopes(self, points: Coordinates, theta) -> np.ndarray:
        """Derivatives (M, 7, n) of log F in theta (M, 7)."""
        at = _Places.of(self.highest / points.scale, points.x, points.y, theta)
        return at.slopes / at.F[:, None]

    def derivatives(self, weight, theta, objective: Objective, work: Workshop, noise=None) -> Derivatives:
        """Of sum_i w_i huber(r_i), r = log(F / L) or F - L, at theta (M, 7) under weight (M, n); noise (M, n): each fit is to a table
        of its own, L e^noise. With a precision P: as of the additive law.

        F is implicit. With its gaps a = T - F and b = F - E, w = a + c b, m = a/w, n = b/w, l = log(a/(T - 1)), i = 1/(T - 1),
            F_rho = q = a b/w,  F_E = m,  F_c = q l,  F_T = c (n - i q);  rho = log R
            F_rho,rho = q q',  F_rho,E = m (q' - m),  F_rho,c = q (q' l - n),  q' = m^2 - c n^2
            F_E,E = c m (1 - m - n)/w,  F_E,c = -m n - c (m + n) q l/w,  F_c,c = q l (q' l - 2 n)
            F_T,rho = T' q,  F_T,E = T' m - c m (1/w - i m),  F_T,c = T' q l + n - i q - c n (n - i q),  T' = c ((m + n)/w - i q')
            F_T,T = T' F_T - c (n/w + i c n^2 - i^2 q).
        With s the N term's share of R, rho' = (s, 1 - s, -x s, -y (1 - s)) in (u, v, alpha, beta) and rho'' = s (1 - s) d d^T,
        d = (1, -1, -x, y). T' = T'' = T - M in h.
        """
        psi, curve, softened, term, predicted = work.buffers[:, :len(theta)]
        log = objective.space == "log"
        at = _Places.of(self.highest / work.scale, work.x, work.y, theta)
        predicted[:] = np.log(at.F) if log else at.F
        value = work.observed.misfit(objective, weight, predicted, noise, psi, curve, softened, term)
        J = at.slopes / at.F[:, None] if log else at.slopes
        H = np.einsum("mip,mp,mjp->mij", J, curve - psi if log else curve, J, optimize=True)
        H += at.curvature(psi / at.F if log else psi)
        if objective.precision is not None:
            H += objective.precision.between(J)
        return Derivatives(value, np.einsum("mip,mp->mi", J, psi), H, np.einsum("mip,mp->mi", np.square(J), softened))


@dataclass(frozen=True)
class _Places:
    """The law at places (p,) under thetas (M, 7): arrays (M, p) by the names of `Saturating.derivatives`."""

    F: np.ndarray
    w: np.ndarray
    q: np.ndarray
    m: np.ndarray
    n: np.ndarray
    l: np.ndarray
    s: np.ndarray
    c: np.ndarray        # (M, 1), as are the next two
    i: np.ndarray
    room: np.ndarray     # T - M
    of_rho: np.ndarray   # (M, 4, p) derivatives of rho in u, v, alpha, beta
    apart: np.ndarray    # (4, p) d

    @classmethod
    def of(cls, highest: float, x, y, theta) -> "_Places":
        E, u, v, alpha, beta, c, h = (theta[:, k, None] for k in range(7))
        room = highest * np.exp(h)
        top = highest + room
        U, V = u - alpha * x, v - beta * y
        rho = np.logaddexp(U, V)
        s = np.exp(U - rho)
        b, a = (np.maximum(gap, TINY) for gap in gaps(rho - c * np.log(top - 1), E, c, top))
        w, one = a + c * b, np.ones_like(x)
        return cls(E + b, w, a / w * b, a / w, b / w, np.log(a / (top - 1)), s, c, 1 / (top - 1), room,
                   np.stack([s, 1 - s, -x * s, -y * (1 - s)], 1), np.stack([one, -one, -x, y]))

    @property
    def of_top(self) -> np.ndarray:
        """F_T."""
        return self.c * (self.n - self.i * self.q)

    @property
    def slopes(self) -> np.ndarray:
        """Derivatives (M, 7, p) of F."""
        q = self.q[:, None]
        return np.concatenate([self.m[:, None], q * self.of_rho, q * self.l[:, None], (self.room * self.of_top)[:, None]], 1)

    def curvature(self, weight) -> np.ndarray:
        """Sum over places of weight (M, p) times the second derivatives of F: (M, 7, 7)."""
        w, q, m, n, l, c, i, P = self.w, self.q, self.m, self.n, self.l, self.c, self.i, self.of_rho
        bend, of_top = m**2 - c * n**2, self.of_top
        along = c * ((m + n) / w - i * bend)
        H, rho = np.zeros((len(weight), 7, 7)), slice(1, 5)
        H[:, rho, rho] = (np.einsum("mip,mp,mjp->mij", P, weight * q * bend, P, optimize=True)
                          + np.einsum("ip,mp,jp->mij", self.apart, weight * q * self.s * (1 - self.s), self.apart, optimize=True))
        for k, mixed in ((0, m * (bend - m)), (5, q * (bend * l - n)), (6, self.room * along * q)):
            H[:, k, rho] = H[:, rho, k] = np.einsum("mip,mp->mi", P, weight * mixed)
        for j, k, second in (
                (0, 0, c * m * (1 - m - n) / w), (0, 5, -m * n - c * (m + n) * q * l / w), (5, 5, q * l * (bend * l - 2 * n)),
                (0, 6, self.room * (along * m - c * m * (1 / w - i * m))),
                (5, 6, self.room * (along * q * l + n - i * q - c * n * (n - i * q))),
                (6, 6, self.room**2 * (along * of_top - c * (n / w + i * c * n**2 - i**2 * q)) + self.room * of_top)):
            H[:, j, k] = H[:, k, j] = row_dot(weight, second)
        return H
