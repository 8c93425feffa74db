"""PufferLib's Protein, written down by us from its published description: no line of its code is here.

Protein (Suarez, PufferLib 3) keeps CARBS' idea and drops its machinery: points of the Pareto front are
perturbed by a Gaussian within a box, one Gaussian process predicts the score and one the log cost, and of
the candidates within the cap the one is taken whose predicted score, scaled to [0, 1], is the largest when
weighted by 1 - |t - c|: c its predicted log cost scaled to [0, 1], t a target drawn uniformly from
[0, 1 + EXPANSION] for every suggestion. Details that the description leaves open (kernel, number of
candidates, first runs) are ours, and are those of our own models where they have any.
"""

import math

import numpy as np
from scipy.stats import qmc

from sweeps.carbs import gp
from sweeps.carbs.bench.problems import Problem
from sweeps.carbs.pareto import monotone
from sweeps.carbs.space import Space

FIRST, CANDIDATES, RADIUS, EXPANSION = 8, 256, 0.3, 0.25


class ProteinRival:
    """Knows the box, the cap, and no formula of the cost."""

    def __init__(self, problem: Problem, seed: int, low: np.ndarray, high: np.ndarray):
        self.space, self.cap = Space(problem.space), math.log(problem.max_cost)
        self.rng, self.low, self.high = np.random.default_rng(seed), low, high
        self.sobol = qmc.Sobol(self.space.width, seed=self.rng)
        self.X, self.loss, self.log_cost = [], [], []
        self.asked = 0

    def ask(self) -> dict:
        self.asked += 1
        if self.asked == 1:
            return self.space.center()
        if self.asked <= FIRST or len(self.X) < 3:
            # Small steps about the center: a box of several decades would mostly miss the cap.
            u = self.sobol.random(1)[0]
            x = self.space.encode(self.space.center()) + RADIUS * (2.0 * u - 1.0)
            return self.space.decode(np.clip(x, self.low, self.high))
        return self.space.decode(self._suggest())

    def _suggest(self) -> np.ndarray:
        X, loss, log_cost = np.array(self.X), np.array(self.loss), np.array(self.log_cost)
        width = self.high - self.low
        front = X[monotone(log_cost, loss)]
        Z = front[self.rng.integers(len(front), size=CANDIDATES)] + RADIUS * self.rng.standard_normal((CANDIDATES, self.space.width))
        Z = self.space.snap(np.clip(Z, self.low, self.high))
        score, cost = (self._predict((X - self.low) / width, y, (Z - self.low) / width) for y in (-loss, log_cost))
        low = log_cost.min()
        scaled = (cost - low) / max(self.cap - low, 1e-9)
        worth = (score - (-loss).min()) / max(np.ptp(loss), 1e-9)
        weight = 1.0 - np.abs((1.0 + EXPANSION) * self.rng.random() - scaled)
        value = np.where(cost <= self.cap, worth * weight, -np.inf)
        return Z[int(np.argmax(value))] if np.isfinite(value).any() else Z[int(np.argmin(cost))]

    def _predict(self, X: np.ndarray, y: np.ndarray, Z: np.ndarray) -> np.ndarray:
        scale, ones = max(float(y.std()), 1e-9), np.ones(len(y))
        # A linear trend and Matern bumps, no quadratic.
        prior = gp.prior(X.shape[1], linear=0.3, quadratic=1e-5, amplitude=0.5, noise=1e-2, noise_sd=2.3)
        y_scaled = (y - y.mean()) / scale
        theta = gp.train(X, y_scaled, prior, prior.mean, weights=ones, iterations=30)
        return y.mean() + scale * gp.condition(theta, X, y_scaled, ones).mean(Z)

    def tell(self, config: dict, loss: float, cost: float) -> None:
        """Failed runs are forgotten: the description gives them no model."""
        if math.isfinite(loss):
            self.X.append(self.space.encode(config))
            self.loss.append(loss)
            self.log_cost.append(math.log(cost))
