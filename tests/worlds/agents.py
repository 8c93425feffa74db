"""Agents whose scaling is known: learning curves made of the law of intrinsic performance, with luck and noise."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from analysis.intrinsic.curves import Points


@dataclass(frozen=True)
class Agents:
    """I^-beta = (N_c/N)^alpha_N + (E_c/E)^alpha_E up to a constant; the terms are equal at N0, E0; C = k N^p E."""

    alpha_N: float = 0.6
    alpha_E: float = 0.5
    p: float = 1.0
    N0: float = 1e5
    E0: float = 2e6
    k: float = 6.0

    @property
    def a(self) -> float:
        return self.alpha_E / (self.alpha_N + self.p * self.alpha_E)

    @property
    def beta(self) -> float:
        return 1 / (1 / self.alpha_E + self.p / self.alpha_N)

    def log_I(self, N, E):
        """log of the least compute that is worth (N, E), by searching all sizes: no closed form of the code under test."""
        budgets, least = frontier(self)
        return np.interp(-np.log(self.badness(N, E)), -np.log(least), np.log(budgets))

    def badness(self, N, E):
        return (N / self.N0) ** -self.alpha_N + (E / self.E0) ** -self.alpha_E

    def flops(self, N, E):
        return self.k * N**self.p * E


@cache
def frontier(agents: Agents) -> tuple[np.ndarray, np.ndarray]:
    """Budgets, and the lowest badness that each buys."""
    sizes, budgets = np.geomspace(1e-4, 1e4, 20001) * agents.N0, np.geomspace(1e6, 1e22, 33)
    return budgets, np.array([agents.badness(sizes, C / (agents.k * sizes**agents.p)).min() for C in budgets])


def sigmoid(t):
    """Returns from 2.5 to 40, middling at 1e12 FLOPs."""
    return 2.5 + 37.5 / (1 + np.exp(-(t - np.log(1e12)) / 1.3))


def learning_curves(agents: Agents = Agents(), *, sizes: int = 6, seeds: int = 3, luck: float = 0.15, noise: float = 0.4,
                    points: int = 40, returns=sigmoid, rng: int = 0) -> Points:
    """Sizes from N0/16 to 16 N0, each to 32 E0 frames. luck: deviation of a run's log I; noise: of a point's return, of which
    half of the variance is a drift along the run."""
    random = np.random.default_rng(rng)
    N, E = np.geomspace(agents.N0 / 16, agents.N0 * 16, sizes), np.geomspace(agents.E0 / 16, agents.E0 * 32, points)
    rows = []
    for size in N:
        truth = agents.log_I(size, E)
        for _ in range(seeds):
            drift = np.zeros(points)
            for i in range(points):
                drift[i] = (0.8 * drift[i - 1] if i else 0) + 0.6 * random.standard_normal()
            R = returns(truth + luck * random.standard_normal()) + noise * (drift + random.standard_normal(points)) / np.sqrt(2)
            rows.append((np.full(points, size), E, agents.flops(size, E), R, np.full(points, len(rows))))
    return Points(*(np.concatenate(column) for column in zip(*rows, strict=True)))
