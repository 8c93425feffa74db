"""Problems made to trap a search: slopes that deceive, plateaus, costs that fool the first runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from sweeps.carbs.bench.problem import Problem, chinchilla, decades, odds_of, two
from sweeps.carbs.space import Integer, Linear, Log, Logit


def _box_of(name: str, center: dict, penalty: Callable, optimum: Callable, *, max_share: float = 1e3, ideal: Callable = chinchilla(),
            diverges: Callable = lambda c, n, d: False, **changes) -> Problem:
    """N, D and six more hyperparameters in a box; costs 6e13 to `max_share` times as much."""
    space = {"N": Log(center["N"], 1e4, 1e8), "D": Log(center["D"], 1e6, 1e10),
             **{f"h{i}": Linear(center[f"h{i}"], 0.0, 4.0) for i in range(4)}}
    return Problem(name, space, two, ideal, penalty, optimum, diverges, min_cost=6e13, max_cost=6e13 * max_share, **changes)


def deceptive() -> Problem:
    """Downhill from the center to a corner of the box; the optimum is a basin in the opposite one, 2 units across."""
    center = {"N": 3e5, "D": 3e7, **{f"h{i}": 1.5 for i in range(4)}}

    def penalty(c, n, d):
        h = np.array([c[f"h{i}"] for i in range(4)])
        slope = 1.5 + 0.25 * h.mean()
        basin = 0.35 * float(((h - 3.2) ** 2).sum())
        return float(min(slope, basin))

    return _box_of("deceptive", center, penalty, lambda n, d: {"N": n, "D": d, **{f"h{i}": 3.2 for i in range(4)}})


def away() -> Problem:
    """On a plateau 3 units from the basin in which anything is learnt."""
    center = {"N": 3e5, "D": 3e7, **{f"h{i}": 0.5 for i in range(4)}}
    best = (3.5, 0.5, 3.0, 1.0)

    def penalty(c, n, d):
        return float(2.0 * -math.expm1(-0.25 * sum((c[f"h{i}"] - b) ** 2 for i, b in enumerate(best))))

    return _box_of("away", center, penalty, lambda n, d: {"N": n, "D": d, **{f"h{i}": b for i, b in enumerate(best)}})


@dataclass(frozen=True)
class _Fooled(Problem):
    """Costs near the center grow steeply with h0, and no longer beyond it: first runs overrate what lies there."""

    def true_cost(self, config: Mapping) -> float:
        return super().true_cost(config) * 10.0 ** (2.0 * min(config["h0"], 1.0))

    def best(self, cost: float) -> dict:
        return super().best(cost / 100.0)       # the optimum lies beyond h0 = 1

    def __hash__(self) -> int:
        return hash(self.name)


def fooled() -> Problem:
    center = {"N": 3e5, "D": 3e7, "h0": 0.3, **{f"h{i}": 2.0 for i in range(1, 4)}}
    best = (3.0, 1.0, 2.5, 2.0)

    def penalty(c, n, d):
        # 0.6 for h0: at h0 = 0, 100 times cheaper, nothing is won that way.
        return sum((0.2 + 0.4 * (i == 0)) * (c[f"h{i}"] - b) ** 2 for i, b in enumerate(best))

    base = _box_of("fooled", center, penalty, lambda n, d: {"N": n, "D": d, **{f"h{i}": b for i, b in enumerate(best)}})
    return _Fooled(**{**{f.name: getattr(base, f.name) for f in fields(base)}, "min_cost": 6e14, "max_cost": 6e17})


def reward(name: str = "reward", *, top: float = 0.95, reach: float = 1.2, size: float = 2e4, steps: float = 2e6, speed: float = 0.8,
           **changes) -> Problem:
    """Like reinforcement learning: the loss is 1 less a reward in [0, `top`], which is 0 in most of a box (a plateau, where
    nothing is learnt: all that lies `reach` or more off), saturates with size and steps, and is seen with noise of heavy
    tails, largest halfway up."""
    space = {"N": Log(1e4, 1e3, 1e6), "D": Log(1e6, 1e5, 1e8), "lr": Log(3e-4, 1e-5, 1e-1), "entropy": Log(1e-2, 1e-5, 1.0),
             "gamma": Logit(0.95, 0.8, 0.9999), "epochs": Integer(4, 1, 32)}

    def optimum(n, d):
        return {"N": n, "D": d, "lr": 1e-3 * (n / 1e4) ** -0.3, "entropy": 3e-3, "gamma": 0.99, "epochs": 6}

    def ideal(n, d):
        return 1.0 - top / ((1.0 + (size / n) ** 0.7) * (1.0 + (steps / d) ** speed))

    def penalty(c, n, d):
        best = optimum(n, d)
        off = (0.5 * decades(c["lr"], best["lr"]) ** 2 + 0.2 * decades(c["entropy"], best["entropy"]) ** 2
               + 0.5 * (odds_of(c["gamma"]) - odds_of(best["gamma"])) ** 2 + 0.5 * decades(c["epochs"], best["epochs"]) ** 2)
        reward = (1.0 - ideal(n, d)) * math.exp(-off)
        return (1.0 - ideal(n, d)) - max(reward if off < reach else 0.0, 0.0)

    return Problem(name, space, two, ideal, penalty, optimum, plateau=1.0,
                   diverges=lambda c, n, d: c["lr"] > 12 * optimum(n, d)["lr"], min_cost=6e10, max_cost=6e13,
                   **{"loss_noise": 0.05, "tails": 3.0, **changes})
