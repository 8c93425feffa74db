"""Problems with a known front: a Chinchilla-shaped loss, hyperparameters whose optima move with scale.

Each states the truth (loss, cost, front, laws), and observes it with noise. Sources: the loss is
Hoffmann et al. 2022 (arXiv 2203.15556) eq. 10's; the penalties are ours.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sweeps.carbs.space import Dimension, Log, Logit

Array = np.ndarray
Terms = Callable[[Mapping, float, float], float]


def _decades(x: float, optimum: float) -> float:
    return math.log10(x / optimum)


def _odds(p: float) -> float:
    return math.log10(p / (1 - p))


@dataclass(frozen=True)
class Problem:
    """N and D, penalties that vanish at the optimum, and a cost; all else about a benchmark run."""

    name: str
    space: dict[str, Dimension]
    optimum: Callable[[float, float], dict]         # the other hyperparameters' best at N, D
    penalty: Callable[[Mapping, float, float], float]
    diverges: Callable[[Mapping, float, float], bool]
    E: float = 1.69
    A: float = 406.4
    B: float = 410.7
    alpha: float = 0.34
    beta: float = 0.28
    offset: float = 0.0             # cost of a run of no size
    loss_noise: float = 0.02
    noise_at_start: float = 0.0     # added to it at min_cost, falling as cost^-1/2
    cost_noise: float = 0.03
    min_cost: float = 6e13
    max_cost: float = 6e16

    def true_cost(self, config: Mapping) -> float:
        return self.offset + 6.0 * config["N"] * config["D"]

    def true_loss(self, config: Mapping) -> float:
        N, D = config["N"], config["D"]
        return self.E + self.A / N ** self.alpha + self.B / D ** self.beta + self.penalty(config, N, D)

    def observe(self, config: Mapping, rng: np.random.Generator) -> tuple[float, float]:
        """Loss (NaN: diverged) and cost, with noise."""
        cost = self.true_cost(config)
        z, u = rng.standard_normal(2)
        noise = self.loss_noise + self.noise_at_start * math.sqrt(min(1.0, self.min_cost / cost))
        loss = math.nan if self.diverges(config, config["N"], config["D"]) else self.true_loss(config) + noise * z
        return loss, cost * math.exp(self.cost_noise * u)

    def best(self, cost: float) -> dict:
        """The optimal config at a cost, N* by Hoffmann et al. eq. 4."""
        C = (cost - self.offset) / 6.0
        G = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        N = G * C ** (self.beta / (self.alpha + self.beta))
        return {"N": N, "D": C / N, **self.optimum(N, C / N)}

    def front(self, cost: float) -> float:
        return self.true_loss(self.best(cost))

    def center(self) -> dict:
        return {name: dim.center for name, dim in self.space.items()}


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
def _lr(N: float, k: float = 0.3) -> float:
    return 3e-3 * (N / 1e6) ** -k


def _basic_penalty(config: Mapping, lr: float, wd: float = 0.1, steep: float = 0.4) -> float:
    return steep * _decades(config["lr"], lr) ** 2 + 0.05 * _decades(config["wd"], wd) ** 2


def four(name: str, *, N: float = 1e5, D: float = 1e8, lr: float = 1e-4, wd: float = 1e-3, wall: float = 30.0,
         shift: float = 0.3, steep: float = 0.4, **changes) -> Problem:
    """P4's family: N, D, lr, wd; a run diverges above `wall` times the best lr."""
    return Problem(
        name, {"N": Log(N), "D": Log(D), "lr": Log(lr), "wd": Log(wd)},
        optimum=lambda n, d: {"lr": _lr(n, shift), "wd": 0.1},
        penalty=lambda c, n, d: _basic_penalty(c, _lr(n, shift), steep=steep),
        diverges=lambda c, n, d: c["lr"] > wall * _lr(n, shift), **changes)


def _twelve_optimum(n: float, d: float) -> dict:
    batch = 32 * (d / 1e7) ** 0.4
    odds = 10 ** (-1.0 + 0.3 * math.log10(n / 1e6))     # dropout's, from .09 at a million parameters
    return {"lr": _lr(n) * math.sqrt(batch / 32), "wd": 0.1, "batch": batch, "warmup": 0.05,
            "dropout": odds / (1 + odds), "momentum": 0.95, **{f"junk{i}": 1.0 for i in range(4)}}


def _twelve_penalty(c: Mapping, n: float, d: float) -> float:
    best = _twelve_optimum(n, d)
    batch_lr = _lr(n) * math.sqrt(c["batch"] / 32)
    return (_basic_penalty(c, batch_lr) + 0.15 * _decades(c["batch"], best["batch"]) ** 2
            + 0.1 * (_odds(c["warmup"]) - _odds(0.05)) ** 2 + 0.1 * (_odds(c["dropout"]) - _odds(best["dropout"])) ** 2
            + 0.2 * (_odds(c["momentum"]) - _odds(0.95)) ** 2)


def twelve(name: str = "P12") -> Problem:
    space = {"N": Log(1e5), "D": Log(1e8), "lr": Log(1e-4), "wd": Log(1e-3), "batch": Log(256.0),
             "warmup": Logit(0.3), "dropout": Logit(0.3), "momentum": Logit(0.7),
             **{f"junk{i}": Log(1.0) for i in range(4)}}
    return Problem(name, space, _twelve_optimum, _twelve_penalty,
                   diverges=lambda c, n, d: c["lr"] > 30 * _lr(n) * math.sqrt(c["batch"] / 32))


PROBLEMS = {p.name: p for p in (
    four("P4"),
    twelve(),
    four("P4n", N=4e5, D=2.5e7, lr=2.5e-3, wd=0.05),
    four("exponents", alpha=0.5, beta=0.22, A=2500.0, B=120.0),
    four("noisy", noise_at_start=0.15),
    four("offset", offset=2e14, min_cost=2.6e14),
    four("wall", wall=2.0, steep=0.8),
    four("far", N=1e5, D=1e8, lr=1e-6, wd=1e-6),
)}
