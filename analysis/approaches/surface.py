"""The loss surface (L - E) / (top - L)^c = R, R = (A/N^(alpha/g) + B/D^(beta/g))^g, and what follows from it in closed form.

At c = 0 it is L = E + R, and with g = 1 Hoffmann et al. 2022, equation 2; c > 0 is M4 of Alabdulmohsin et al. 2022. Along
C = k N^p D the loss is lowest where the bracket is, for E, g, c and the top change nothing in the order of losses:
alpha A/N^(alpha/g) = p beta B/D^(beta/g). Hence N* ~ C^a is a power of C exactly, with a = beta / (alpha + p beta),
whatever they are, and so is R* ~ C^-gamma, gamma = alpha a. L* itself is no power of C where E > 0 or c > 0: its local
exponent is gamma dlog L/dlog R, which is gamma (1 - E/L*) at c = 0. The textbook a = beta / (alpha + beta) is p = 1.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.laws.saturation import elasticity, level


@dataclass(frozen=True)
class Optimum:
    """The best use of C FLOPs. Fields broadcast with C."""

    C: np.ndarray
    N: np.ndarray
    D: np.ndarray
    L: np.ndarray


@dataclass(frozen=True)
class LocalExponents:
    """-dlog L/dlog N and -dlog L/dlog D at a point: what a power law without E would show there."""

    N: np.ndarray
    D: np.ndarray


@dataclass(frozen=True)
class Surface:
    """(L - E) / (top - L)^c = (A/N^(alpha/g) + B/D^(beta/g))^g. Fields may be arrays: a cloud of surfaces."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    g: float = 1.0
    c: float = 0.0
    top: float = np.inf   # where losses level off; of no meaning at c = 0

    @property
    def saturates(self) -> bool:
        return bool(np.any(np.asarray(self.c) > 0))

    def _terms(self, N, D):
        """Logs of A/N^(alpha/g) and B/D^(beta/g); -inf of a term that has vanished."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.log(self.A) - self.alpha / self.g * np.log(np.asarray(N, float)),
                    np.log(self.B) - self.beta / self.g * np.log(np.asarray(D, float)))

    def loss(self, N, D):
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):   # N or D may be those of `_best`
            if not self.saturates and np.all(np.asarray(self.g) == 1):
                return self.E + self.A / np.asarray(N, float) ** self.alpha + self.B / np.asarray(D, float) ** self.beta
            return self.level(self.g * np.logaddexp(*self._terms(N, D)))

    def level(self, log_R):
        """The loss at log R."""
        return level(log_R, self.E, self.c, self.top)

    def elasticity(self, L):
        """dlog L / dlog R where the loss is L."""
        return elasticity(L, self.E, self.c, self.top) if self.saturates else 1 - self.E / L

    def a(self, cost: CostLaw):
        """Exponent of N*(C)."""
        return self.beta / (self.alpha + cost.p * self.beta)

    def b(self, cost: CostLaw):
        """Exponent of D*(C)."""
        return self.alpha / (self.alpha + cost.p * self.beta)

    def gamma(self, cost: CostLaw):
        """Exponent of R along the frontier: (L* - E) / (top - L*)^c = K C^-gamma, L* = E + K C^-gamma at c = 0."""
        return self.alpha * self.a(cost)

    def optimum(self, C, cost: CostLaw) -> Optimum:
        """Where dL = 0 on the curve C = k N^p D: p beta B / D^(beta/g) = alpha A / N^(alpha/g)."""
        C = np.asarray(C, float)
        N, D = self._best(C, cost)
        return Optimum(C, N, D, self.loss(N, D))

    def _best(self, C, cost: CostLaw):
        # of a draw one of whose terms has vanished no size is best: N is 0 or infinite, and D the other
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            log_ratio = (np.log(self.alpha) + np.log(self.A) - np.log(cost.p * self.beta) - np.log(self.B)
                         + self.beta / self.g * (np.log(C) - np.log(cost.k)))
            N = np.exp(log_ratio * self.g / (self.alpha + cost.p * self.beta))
            return N, cost.samples(N, C)

    def frontier_coefficient(self, cost: CostLaw):
        """K in R*(C) = K C^-gamma."""
        return np.exp(self.g * np.logaddexp(*self._terms(*self._best(np.asarray(1.0), cost))))

    def local_exponents(self, N, D) -> LocalExponents:
        """dlog L / dlog R times alpha, or beta, times the term's share of the bracket."""
        size, data = self._terms(N, D)
        reducible = self.elasticity(self.loss(N, D))
        with np.errstate(over="ignore"):   # a share of nothing
            share = 1 / (1 + np.exp(data - size))
        return LocalExponents(self.alpha * share * reducible, self.beta * (1 - share) * reducible)
