"""(L - E) / (top - L)^c = A/N^alpha + B/D^beta in centred logs, and its derivatives in closed form: M4 of Alabdulmohsin et al. 2022.

The additive law for losses that level off towards that of a model that has learnt nothing: the top, which is found beforehand
(analysis/questions/rival_laws.py) and held. With F the loss and T the top, both in
units of the table's geometric mean, the law is (F - E) ((T - 1)/(T - F))^c = R, R = e^U + e^V, U = u - alpha x, V = v - beta y.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.laws import bracket_grid
from analysis.approaches.laws.additive import EXPONENTS, Workshop
from analysis.approaches.laws.objective import Coordinates, Derivatives, Objective, Repeats, row_dot
from analysis.approaches.laws.saturation import gaps

BRACKET = (1e-3, 30.0)   # of c: below it the law is additive to within any table's noise
BUFFERS = 5
FAR = 690.0              # e^FAR is about the largest number there is
TINY = 1e-150            # a gap smaller than that is none


@dataclass(frozen=True)
class Saturating:
    """theta = (E, u, v, alpha, beta, c)."""

    top: float   # in units of L, above all losses
    name: str = "(L - E)/(top - L)^c = A/N^alpha + B/D^beta"
    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "c")
    low: tuple[float, ...] = (0.0, -np.inf, -np.inf, EXPONENTS[0], EXPONENTS[0], BRACKET[0])
    high: tuple[float, ...] = (np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1], BRACKET[1])

    def log_room(self, points: Coordinates) -> float:
        """log(top - geometric mean loss): what log A and log B lose c times of."""
        return float(np.log(self.top - points.scale))

    def external(self, points: Coordinates, theta):
        """theta in natural units: E, A, B, alpha, beta, g = 1, c, top along the last axis, as a Surface takes them."""
        E, u, v, alpha, beta, c = np.moveaxis(np.asarray(theta), -1, 0)
        shift = np.log(points.scale) - c * self.log_room(points)
        A, B = (np.exp(np.clip(w + e * centre + shift, -FAR, FAR)) for w, e, centre in ((u, alpha, points.x0), (v, beta, points.y0)))
        return np.stack([E * points.scale, A, B, alpha, beta, np.ones_like(c), c, np.full_like(c, self.top)], -1)

    def internal(self, points: Coordinates, natural):
        """Inverse of external."""
        E, A, B, alpha, beta, _, c, _ = np.moveaxis(np.asarray(natural, float), -1, 0)
        shift = np.log(points.scale) - c * self.log_room(points)
        u, v = (np.log(w) - e * centre - shift for w, e, centre in ((A, alpha, points.x0), (B, beta, points.y0)))
        return np.stack([E / points.scale, u, v, alpha, beta, c], -1)

    def log_loss(self, points: Coordinates, theta):
        """log(L / scale) (n,) at one theta (6,)."""
        return np.log(_Places.of(self.top / points.scale, points.x, points.y, np.asarray(theta)[None]).F[0])

    def starts(self, points: Coordinates, weight) -> np.ndarray:
        """Where a global search descends from, (S, 6)."""
        return bracket_grid.best_of_saturations(points, weight, self.top / points.scale)

    def starts_of_each(self, points: Coordinates, weight, trust, pilot, rivals) -> np.ndarray:
        """Where each resample (M, n) descends from, (M, S, 6): the pilot and its runners-up."""
        starts = np.concatenate([pilot[None], rivals])
        return np.broadcast_to(starts, (len(weight), *starts.shape))

    def workshop(self, points: Coordinates, rows: int, repeats: Repeats | None = None) -> Workshop:
        """As of the additive law."""
        return Workshop.of(points, rows, repeats, BUFFERS)

    def slopes(self, points: Coordinates, theta) -> np.ndarray:
        """Derivatives (M, 6, n) of log F in theta (M, 6)."""
        at = _Places.of(self.top / points.scale, points.x, points.y, theta)
        return at.slopes / at.F[:, None]

    def derivatives(self, weight, theta, objective: Objective, work: Workshop, noise=None) -> Derivatives:
        """Of sum_i w_i huber(r_i), r = log(F / L) or F - L, at theta (M, 6) under weight (M, n); noise (M, n): each fit is to a table
        of its own, L e^noise. With a precision P: as of the additive law.

        F is implicit. With its gaps a = T - F and b = F - E, w = a + c b, and l = log(a/(T - 1)),
            F_rho = q = a b/w,  F_E = m = a/w,  F_c = q l,  n = b/w;  rho = log R
            F_rho,rho = q q',  F_rho,E = m (q' - m),  F_rho,c = q (q' l - n),  q' = m^2 - c n^2
            F_E,E = c m (1 - m - n)/w,  F_E,c = -m n - c (m + n) q l/w,  F_c,c = q l (q' l - 2 n).
        With s the N term's share of R, rho' = (s, 1 - s, -x s, -y (1 - s)) in (u, v, alpha, beta) and rho'' = s (1 - s) d d^T,
        d = (1, -1, -x, y).
        """
        psi, curve, softened, term, predicted = work.buffers[:, :len(theta)]
        log = objective.space == "log"
        at = _Places.of(self.top / work.scale, work.x, work.y, theta)
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
    """The law at places (p,) under thetas (M, 6): arrays (M, p) by the names of `Saturating.derivatives`."""

    F: np.ndarray
    w: np.ndarray
    q: np.ndarray
    m: np.ndarray
    n: np.ndarray
    l: np.ndarray
    s: np.ndarray
    c: np.ndarray        # (M, 1)
    of_rho: np.ndarray   # (M, 4, p) derivatives of rho in u, v, alpha, beta
    apart: np.ndarray    # (4, p) d

    @classmethod
    def of(cls, top: float, x, y, theta) -> "_Places":
        E, u, v, alpha, beta, c = (theta[:, i, None] for i in range(6))
        U, V = u - alpha * x, v - beta * y
        rho = np.logaddexp(U, V)
        s = np.exp(U - rho)
        b, a = (np.maximum(gap, TINY) for gap in gaps(rho - c * np.log(top - 1), E, c, top))
        w, one = a + c * b, np.ones_like(x)
        return cls(E + b, w, a / w * b, a / w, b / w, np.log(a / (top - 1)), s, c,
                   np.stack([s, 1 - s, -x * s, -y * (1 - s)], 1), np.stack([one, -one, -x, y]))

    @property
    def slopes(self) -> np.ndarray:
        """Derivatives (M, 6, p) of F."""
        q = self.q[:, None]
        return np.concatenate([self.m[:, None], q * self.of_rho, q * self.l[:, None]], 1)

    def curvature(self, weight) -> np.ndarray:
        """Sum over places of weight (M, p) times the second derivatives of F: (M, 6, 6)."""
        w, q, m, n, l, c, P = self.w, self.q, self.m, self.n, self.l, self.c, self.of_rho
        bend = m**2 - c * n**2
        H, rho = np.zeros((len(weight), 6, 6)), slice(1, 5)
        H[:, rho, rho] = (np.einsum("mip,mp,mjp->mij", P, weight * q * bend, P, optimize=True)
                          + np.einsum("ip,mp,jp->mij", self.apart, weight * q * self.s * (1 - self.s), self.apart, optimize=True))
        for i, mixed in ((0, m * (bend - m)), (5, q * (bend * l - n))):
            H[:, i, rho] = H[:, rho, i] = np.einsum("mip,mp->mi", P, weight * mixed)
        H[:, 0, 0] = row_dot(weight, c * m * (1 - m - n) / w)
        H[:, 0, 5] = H[:, 5, 0] = row_dot(weight, -m * n - c * (m + n) * q * l / w)
        H[:, 5, 5] = row_dot(weight, q * l * (bend * l - 2 * n))
        return H
