"""The loss surface L = E + A/N^alpha + B/D^beta and what follows from it in closed form.

Hoffmann et al. 2022, equation 2. With C = k N^p D the optimum moves as
N* ~ C^a, a = beta / (alpha + p beta): the textbook beta / (alpha + beta) is p = 1.
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
    """L = E + A/N^alpha + B/D^beta. Fields may be arrays: a cloud of surfaces."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, N, D):
        return self.E + self.A / np.asarray(N, float) ** self.alpha + self.B / np.asarray(D, float) ** self.beta

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
        """Where dL = 0 on the curve C = k N^p D: p beta B / D^beta = alpha A / N^alpha."""
        C = np.asarray(C, float)
        log_ratio = (np.log(self.alpha * self.A) - np.log(cost.p * self.beta * self.B)
                     + self.beta * (np.log(C) - np.log(cost.k)))
        N = np.exp(log_ratio / (self.alpha + cost.p * self.beta))
        D = cost.samples(N, C)
        return Optimum(C, N, D, self.loss(N, D))

    def frontier_coefficient(self, cost: CostLaw):
        """K in L*(C) = E + K C^-gamma."""
        unit = self.optimum(1.0, cost)
        return unit.L - self.E

    def local_exponents(self, N, D) -> LocalExponents:
        N, D = np.asarray(N, float), np.asarray(D, float)
        L = self.loss(N, D)
        return LocalExponents(self.alpha * self.A / N**self.alpha / L, self.beta * self.B / D**self.beta / L)
