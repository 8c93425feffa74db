"""A problem with a known front: a Chinchilla-shaped loss, hyperparameters whose optima move with scale.

Each states the truth (loss, cost, front, laws), and observes it with noise. Sources: the loss is
Hoffmann et al. 2022 (arXiv 2203.15556) eq. 10's; the penalties are ours.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize_scalar

from sweeps.carbs.space import Choice, Dimension

Array = np.ndarray


def decades(x: float, optimum: float) -> float:
    return math.log10(x / optimum)


def odds_of(p: float) -> float:
    return math.log10(p / (1 - p))


@dataclass(frozen=True)
class Problem:
    """A loss of size and data with penalties that vanish at the optimum, its cost, and how both are observed."""

    name: str
    space: dict[str, Dimension]
    size: Callable[[Mapping], tuple[float, float]]  # config -> N, D
    ideal: Callable[[float, float], float]          # N, D -> loss with all else at its best
    penalty: Callable[[Mapping, float, float], float]
    optimum: Callable[[float, float], dict]         # N, D -> the best config of that size
    diverges: Callable[[Mapping, float, float], bool]
    offset: float = 0.0             # cost of a run of no size
    loss_noise: float = 0.02
    noise_at_start: float = 0.0     # added to it at min_cost, falling as cost^-1/2
    relative_noise: bool = False    # noise in units of the loss
    cost_noise: float = 0.03        # of ln cost
    tails: float = math.inf         # degrees of freedom of the noise, a Student t of unit scale
    plateau: float = math.inf       # losses above are this; noise is then largest halfway down from it to 0,
    quiet: float = 0.02             # and this share of it on the plateau and at 0
    min_cost: float = 6e13          # the range of costs of interest
    max_cost: float = 6e16

    def true_cost(self, config: Mapping) -> float:
        N, D = self.size(config)
        return self.offset + 6.0 * N * D

    def true_loss(self, config: Mapping) -> float:
        N, D = self.size(config)
        return min(self.ideal(N, D) + self.penalty(config, N, D), self.plateau)

    def observe(self, config: Mapping, rng: np.random.Generator) -> tuple[float, float]:
        """Loss (NaN: diverged) and cost, with noise."""
        cost, loss = self.true_cost(config), self.true_loss(config)
        z, u = rng.standard_normal(2)
        if self.tails < math.inf:
            z = z / math.sqrt(rng.chisquare(self.tails) / self.tails)
        noise = self.loss_noise + self.noise_at_start * math.sqrt(min(1.0, self.min_cost / cost))
        noise *= loss if self.relative_noise else 1.0
        if self.plateau < math.inf:
            share = loss / self.plateau
            noise *= max(4.0 * share * (1.0 - share), self.quiet)
        failed = self.diverges(config, *self.size(config))
        return math.nan if failed else loss + noise * z, cost * math.exp(self.cost_noise * u)

    @lru_cache(maxsize=4096)
    def best(self, cost: float) -> dict:
        """The optimal config at a cost (N* by a bounded search in log N at D = C / 6N)."""
        C = (cost - self.offset) / 6.0
        low, high = 0.05 * math.log(C), 0.95 * math.log(C)
        log_n = minimize_scalar(lambda n: self.ideal(math.exp(n), C / math.exp(n)), bounds=(low, high),
                                method="bounded", options={"xatol": 1e-9}).x
        return self.optimum(math.exp(log_n), C / math.exp(log_n))

    def front(self, cost: float) -> float:
        return self.true_loss(self.best(cost))

    def center(self) -> dict:
        return {name: dim.center for name, dim in self.space.items()}

    def __hash__(self) -> int:
        return hash(self.name)

    def exponents(self) -> dict[str, float]:
        """True slopes of the numeric hyperparameters' optima, in basic units a decade of cost."""
        costs = np.geomspace(self.min_cost, self.max_cost, 25)
        numeric = {name: dim for name, dim in self.space.items() if not isinstance(dim, Choice)}
        curves = np.array([[dim.encode(self.best(c)[name])[0] for name, dim in numeric.items()] for c in costs])
        return dict(zip(numeric, np.polyfit(np.log10(costs), curves, 1)[0].tolist()))


def closed(problem: Problem, runs: list[tuple[dict, float, float]], *, points: int = 200) -> float:
    """Fraction of the gap from the center's loss to the true front that the runs close.

    At each of `points` budgets, evenly in log cost between the ends, the incumbent is the run
    (config, observed loss, observed cost) of the lowest *observed* loss within the budget; what
    counts is its *true* loss, and the center's where there is none.
    """
    start = problem.true_loss(problem.center())
    good = sorted(((cost, loss, problem.true_loss(config)) for config, loss, cost in runs if math.isfinite(loss)))
    budgets = np.geomspace(problem.min_cost, problem.max_cost, points)
    value, best, i, fractions = start, math.inf, 0, []
    for budget in budgets:
        while i < len(good) and good[i][0] <= budget:
            if good[i][1] < best:
                best, value = good[i][1], good[i][2]
            i += 1
        fractions.append((start - value) / (start - problem.front(budget)))
    return float(np.mean(fractions))


# lr* = 3e-3 (N / 1e6)^-0.3 and so on: the notes' P4, whose exponents in C follow from N*(C).
def best_lr(N: float, k: float = 0.3) -> float:
    return 3e-3 * (N / 1e6) ** -k


def basic_penalty(config: Mapping, lr: float, wd: float = 0.1, steep: float = 0.4) -> float:
    return steep * decades(config["lr"], lr) ** 2 + 0.05 * decades(config["wd"], wd) ** 2


def chinchilla(E: float = 1.69, A: float = 406.4, B: float = 410.7, alpha: float = 0.34, beta: float = 0.28):
    return lambda n, d: E + A / n ** alpha + B / d ** beta


def two(config: Mapping) -> tuple[float, float]:
    return config["N"], config["D"]
