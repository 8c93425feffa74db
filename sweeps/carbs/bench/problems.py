"""Problems with a known front: a Chinchilla-shaped loss, hyperparameters whose optima move with scale.

Each states the truth (loss, cost, front, laws), and observes it with noise. Sources: the loss is
Hoffmann et al. 2022 (arXiv 2203.15556) eq. 10's; the penalties are ours.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize_scalar

from sweeps.carbs.space import Choice, Dimension, Integer, Linear, Log, Logit

Array = np.ndarray


def _decades(x: float, optimum: float) -> float:
    return math.log10(x / optimum)


def _odds(p: float) -> float:
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
    plateau: float = math.inf       # losses above are this; noise is then largest halfway down from it to 0
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
            noise *= max(4.0 * share * (1.0 - share), 0.02)
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
def _lr(N: float, k: float = 0.3) -> float:
    return 3e-3 * (N / 1e6) ** -k


def _basic_penalty(config: Mapping, lr: float, wd: float = 0.1, steep: float = 0.4) -> float:
    return steep * _decades(config["lr"], lr) ** 2 + 0.05 * _decades(config["wd"], wd) ** 2


def _chinchilla(E: float = 1.69, A: float = 406.4, B: float = 410.7, alpha: float = 0.34, beta: float = 0.28):
    return lambda n, d: E + A / n ** alpha + B / d ** beta


def _two(config: Mapping) -> tuple[float, float]:
    return config["N"], config["D"]


def four(name: str, *, N: float = 1e5, D: float = 1e8, lr: float = 1e-4, wd: float = 1e-3, wall: float = 30.0,
         steep: float = 0.4, ideal: Callable[[float, float], float] = _chinchilla(), **changes) -> Problem:
    """P4's family: N, D, lr, wd; a run diverges above `wall` times the best lr."""
    return Problem(
        name, {"N": Log(N), "D": Log(D), "lr": Log(lr), "wd": Log(wd)}, _two, ideal,
        penalty=lambda c, n, d: _basic_penalty(c, _lr(n), steep=steep),
        optimum=lambda n, d: {"N": n, "D": d, "lr": _lr(n), "wd": 0.1},
        diverges=lambda c, n, d: c["lr"] > wall * _lr(n), **changes)


def _twelve_optimum(n: float, d: float) -> dict:
    batch = 32 * (d / 1e7) ** 0.4
    odds = 10 ** (-1.0 + 0.3 * math.log10(n / 1e6))     # dropout's, from .09 at a million parameters
    return {"N": n, "D": d, "lr": _lr(n) * math.sqrt(batch / 32), "wd": 0.1, "batch": batch, "warmup": 0.05,
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
    return Problem(name, space, _two, _chinchilla(), _twelve_penalty, _twelve_optimum,
                   diverges=lambda c, n, d: c["lr"] > 30 * _lr(n) * math.sqrt(c["batch"] / 32))


def _narrow() -> Problem:
    """P12 from a decent center, where a run fails unless everything is near its best: most of the space trains nothing."""
    def off(c, n, d):
        best = _twelve_optimum(n, d)
        return [_decades(c["lr"], best["lr"]), _decades(c["batch"], best["batch"]), _decades(c["wd"], best["wd"]) / 2,
                *(_odds(c[name]) - _odds(best[name]) for name in ("warmup", "dropout", "momentum"))]

    space = {"N": Log(2e5), "D": Log(5e7), "lr": Log(2e-3), "wd": Log(0.03), "batch": Log(100.0),
             "warmup": Logit(0.1), "dropout": Logit(0.1), "momentum": Logit(0.9), **{f"junk{i}": Log(1.0) for i in range(4)}}
    return Problem("narrow", space, _two, _chinchilla(), _twelve_penalty, _twelve_optimum,
                   diverges=lambda c, n, d: max(map(abs, off(c, n, d))) > 0.8)


def _transformer() -> Problem:
    """Whole layers and widths, N = 12 depth width^2, a best aspect ratio, one optimizer of three best."""
    space = {"depth": Integer(2), "width": Integer(64), "D": Log(2e7), "lr": Log(1e-2), "batch": Integer(512),
             "optimizer": Choice(("sgd", "adamw", "lion"))}

    def size(c):
        return 12.0 * c["depth"] * c["width"] ** 2, c["D"]

    def optimum(n, d):      # the best aspect ratio: width = 40 depth, here as real numbers
        depth = (n / (12.0 * 1600.0)) ** (1 / 3)
        return {"depth": depth, "width": 40 * depth, "D": d, "lr": 2e-3 * (n / 1e6) ** -0.25,
                "batch": 64 * (d / 1e7) ** 0.5, "optimizer": "adamw"}

    def penalty(c, n, d):
        best = optimum(n, d)
        return (0.5 * _decades(c["lr"], best["lr"]) ** 2 + 0.2 * _decades(c["batch"], best["batch"]) ** 2
                + 0.3 * _decades(c["width"] / c["depth"], 40.0) ** 2
                + {"sgd": 0.5, "adamw": 0.0, "lion": 0.1}[c["optimizer"]])

    return Problem("transformer", space, size, _chinchilla(), penalty, optimum,
                   diverges=lambda c, n, d: c["lr"] > 20 * optimum(n, d)["lr"], min_cost=1.2e13, max_cost=6e16)


def _classifier() -> Problem:
    """Like a small image classifier: loss over two decades, penalties and noise that multiply it."""
    space = {"N": Log(3e3), "D": Log(3e5), "lr": Log(1e-4, low=1e-6, high=1.0), "dropout": Logit(0.3),
             "batch": Log(512.0, low=8.0, high=4096.0)}

    def ideal(n, d):
        return 0.01 + 30.0 / n ** 0.55 + 3000.0 / d ** 0.75

    def optimum(n, d):
        odds = 0.05 * (n / 1e4) ** 0.4
        return {"N": n, "D": d, "lr": 5e-3 * (n / 1e4) ** -0.4, "dropout": odds / (1 + odds),
                "batch": 64 * (d / 1e6) ** 0.3}

    def penalty(c, n, d):
        best = optimum(n, d)
        exponent = (0.4 * _decades(c["lr"], best["lr"]) ** 2 + 0.15 * (_odds(c["dropout"]) - _odds(best["dropout"])) ** 2
                    + 0.15 * _decades(c["batch"], best["batch"]) ** 2)
        return ideal(n, d) * math.expm1(exponent)

    return Problem("classifier", space, _two, ideal, penalty, optimum,
                   diverges=lambda c, n, d: c["lr"] > 15 * optimum(n, d)["lr"], relative_noise=True,
                   loss_noise=0.05, min_cost=5.4e9, max_cost=5.4e12)


def _kaplan() -> Problem:
    """Size and data that trade off inside one power: Kaplan et al. 2020 (arXiv 2001.08361) eq. 1.5."""
    return four("kaplan", ideal=lambda n, d: ((2e5 / n) ** (0.4 / 0.5) + 3e6 / d) ** 0.5 * 3.0 + 0.5)


def _repeated(n: float, d: float, unique: float = 3e8) -> float:
    """Examples seen again teach less and less: Muennighoff et al. 2023 (arXiv 2305.16264) eq. 5, R* = 15."""
    extra = max(d / unique - 1.0, 0.0)
    return _chinchilla()(n, min(d, unique) + unique * 15.0 * (1.0 - math.exp(-extra / 15.0)))


def _box_of(name: str, center: dict, penalty: Callable, optimum: Callable, *, max_share: float = 1e3, ideal: Callable = _chinchilla(),
            diverges: Callable = lambda c, n, d: False, **changes) -> Problem:
    """N, D and six more hyperparameters in a box; costs 6e13 to `max_share` times as much."""
    space = {"N": Log(center["N"], 1e4, 1e8), "D": Log(center["D"], 1e6, 1e10),
             **{f"h{i}": Linear(center[f"h{i}"], 0.0, 4.0) for i in range(4)}}
    return Problem(name, space, _two, ideal, penalty, optimum, diverges, min_cost=6e13, max_cost=6e13 * max_share, **changes)


def _deceptive() -> Problem:
    """Downhill from the center to a corner of the box; the optimum is a basin in the opposite one, 2 units across."""
    center = {"N": 3e5, "D": 3e7, **{f"h{i}": 1.5 for i in range(4)}}

    def penalty(c, n, d):
        h = np.array([c[f"h{i}"] for i in range(4)])
        slope = 1.5 + 0.25 * h.mean()
        basin = 0.35 * float(((h - 3.2) ** 2).sum())
        return float(min(slope, basin))

    return _box_of("deceptive", center, penalty, lambda n, d: {"N": n, "D": d, **{f"h{i}": 3.2 for i in range(4)}})


def _away() -> Problem:
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


def _fooled() -> Problem:
    center = {"N": 3e5, "D": 3e7, "h0": 0.3, **{f"h{i}": 2.0 for i in range(1, 4)}}
    best = (3.0, 1.0, 2.5, 2.0)

    def penalty(c, n, d):
        # 0.6 for h0: at h0 = 0, 100 times cheaper, nothing is won that way.
        return sum((0.2 + 0.4 * (i == 0)) * (c[f"h{i}"] - b) ** 2 for i, b in enumerate(best))

    base = _box_of("fooled", center, penalty, lambda n, d: {"N": n, "D": d, **{f"h{i}": b for i, b in enumerate(best)}})
    return _Fooled(**{**{f.name: getattr(base, f.name) for f in fields(base)}, "min_cost": 6e14, "max_cost": 6e17})


def _reward() -> Problem:
    """Like reinforcement learning: the loss is 1 less a reward in [0, 1], which is 0 in most of a box (a plateau, where
    nothing is learnt), saturates with size and steps, and is seen with noise of heavy tails, largest halfway up."""
    space = {"N": Log(1e4, 1e3, 1e6), "D": Log(1e6, 1e5, 1e8), "lr": Log(3e-4, 1e-5, 1e-1), "entropy": Log(1e-2, 1e-5, 1.0),
             "gamma": Logit(0.95, 0.8, 0.9999), "epochs": Integer(4, 1, 32)}

    def optimum(n, d):
        return {"N": n, "D": d, "lr": 1e-3 * (n / 1e4) ** -0.3, "entropy": 3e-3, "gamma": 0.99, "epochs": 6}

    def ideal(n, d):
        return 1.0 - 0.95 / ((1.0 + (2e4 / n) ** 0.7) * (1.0 + (2e6 / d) ** 0.8))

    def penalty(c, n, d):
        best = optimum(n, d)
        off = (0.5 * _decades(c["lr"], best["lr"]) ** 2 + 0.2 * _decades(c["entropy"], best["entropy"]) ** 2
               + 0.5 * (_odds(c["gamma"]) - _odds(best["gamma"])) ** 2 + 0.5 * _decades(c["epochs"], best["epochs"]) ** 2)
        reward = (1.0 - ideal(n, d)) * math.exp(-off)
        return (1.0 - ideal(n, d)) - max(reward if off < 1.2 else 0.0, 0.0)

    return Problem("reward", space, _two, ideal, penalty, optimum, loss_noise=0.05, tails=3.0, plateau=1.0,
                   diverges=lambda c, n, d: c["lr"] > 12 * optimum(n, d)["lr"], min_cost=6e10, max_cost=6e13)


PROBLEMS = {p.name: p for p in (
    four("P4"),
    twelve(),
    four("P4n", N=4e5, D=2.5e7, lr=2.5e-3, wd=0.05),
    four("exponents", ideal=_chinchilla(alpha=0.5, beta=0.22, A=2500.0, B=120.0)),
    four("noisy", noise_at_start=0.15),
    four("offset", offset=2e14, min_cost=2.6e14),
    four("wall", wall=2.0, steep=0.8),
    four("far", lr=1e-6, wd=1e-6),
    _narrow(),
    _reward(),
    four("repeat", ideal=_repeated),
    _deceptive(),
    _away(),
    _fooled(),
)}

# Kept aside while the search was developed, and run once at its end.
HELD_OUT = {p.name: p for p in (_transformer(), _classifier(), _kaplan())}
