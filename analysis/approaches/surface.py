"""The loss surface L = E + (A/N^(alpha/g) + B/D^(beta/g))^g and what follows from it in closed form.

g = 1 is Hoffmann et al. 2022, equation 2. Along C = k N^p D the loss is lowest where the bracket is, for E and g
change nothing in the order of losses: alpha A/N^(alpha/g) = p beta B/D^(beta/g). Hence N* ~ C^a is a power of C
exactly, with a = beta / (alpha + p beta), whatever E and g, and so is L* - E ~ C^-gamma, gamma = alpha a. L* itself is
no power of C where E > 0: its local exponent is gamma (1 - E/L*). The textbook a = beta / (alpha + beta) is p = 1.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import CostLaw


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
    """L = E + (A/N^(alpha/g) + B/D^(beta/g))^g. Fields may be arrays: a cloud of surfaces."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    g: float = 1.0

    def _terms(self, N, D):
        """Logs of A/N^(alpha/g) and B/D^(beta/g)."""
        return (np.log(self.A) - self.alpha / self.g * np.log(np.asarray(N, float)),
                np.log(self.B) - self.beta / self.g * np.log(np.asarray(D, float)))

    def loss(self, N, D):
        if np.all(np.asarray(self.g) == 1):
            return self.E + self.A / np.asarray(N, float) ** self.alpha + self.B / np.asarray(D, float) ** self.beta
        return self.E + np.exp(self.g * np.logaddexp(*self._terms(N, D)))

    def a(self, cost: CostLaw):
        """Exponent of N*(C)."""
        return self.beta / (self.alpha + cost.p * self.beta)

    def b(self, cost: CostLaw):
        """Exponent of D*(C)."""
        return self.alpha / (self.alpha + cost.p * self.beta)

    def gamma(self, cost: CostLaw):
        """Exponent of the reducible loss along the frontier: L* = E + K C^-gamma."""
        return self.alpha * self.a(cost)

    def optimum(self, C, cost: CostLaw) -> Optimum:
        """Where dL = 0 on the curve C = k N^p D: p beta B / D^(beta/g) = alpha A / N^(alpha/g)."""
        C = np.asarray(C, float)
        log_ratio = (np.log(self.alpha) + np.log(self.A) - np.log(cost.p * self.beta) - np.log(self.B)
                     + self.beta / self.g * (np.log(C) - np.log(cost.k)))
        N = np.exp(log_ratio * self.g / (self.alpha + cost.p * self.beta))
        D = cost.samples(N, C)
        return Optimum(C, N, D, self.loss(N, D))

    def frontier_coefficient(self, cost: CostLaw):
        """K in L*(C) = E + K C^-gamma."""
        unit = self.optimum(1.0, cost)
        return unit.L - self.E

    def local_exponents(self, N, D) -> LocalExponents:
        """The reducible share of L times alpha, or beta, times the term's share of the bracket."""
        size, data = self._terms(N, D)
        reducible = 1 - self.E / self.loss(N, D)
        share = 1 / (1 + np.exp(data - size))
        return LocalExponents(self.alpha * share * reducible, self.beta * (1 - share) * reducible)
