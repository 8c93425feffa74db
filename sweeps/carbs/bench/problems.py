"""The benchmark's problems by name: a family about P4, a dozen dimensions, kin held out, and traps."""

import math
from collections.abc import Callable, Mapping

from sweeps.carbs.bench.problem import Problem, basic_penalty, best_lr, chinchilla, closed, decades, odds_of, two
from sweeps.carbs.bench.traps import away, deceptive, fooled, reward
from sweeps.carbs.space import Choice, Integer, Log, Logit

__all__ = ["HELD_OUT", "PROBLEMS", "Problem", "closed"]


def four(name: str, *, N: float = 1e5, D: float = 1e8, lr: float = 1e-4, wd: float = 1e-3, wall: float = 30.0,
         steep: float = 0.4, ideal: Callable[[float, float], float] = chinchilla(), **changes) -> Problem:
    """P4's family: N, D, lr, wd; a run diverges above `wall` times the best lr."""
    return Problem(
        name, {"N": Log(N), "D": Log(D), "lr": Log(lr), "wd": Log(wd)}, two, ideal,
        penalty=lambda c, n, d: basic_penalty(c, best_lr(n), steep=steep),
        optimum=lambda n, d: {"N": n, "D": d, "lr": best_lr(n), "wd": 0.1},
        diverges=lambda c, n, d: c["lr"] > wall * best_lr(n), **changes)


def _twelve_optimum(n: float, d: float) -> dict:
    batch = 32 * (d / 1e7) ** 0.4
    odds = 10 ** (-1.0 + 0.3 * math.log10(n / 1e6))     # dropout's, from .09 at a million parameters
    return {"N": n, "D": d, "lr": best_lr(n) * math.sqrt(batch / 32), "wd": 0.1, "batch": batch, "warmup": 0.05,
            "dropout": odds / (1 + odds), "momentum": 0.95, **{f"junk{i}": 1.0 for i in range(4)}}


def _twelve_penalty(c: Mapping, n: float, d: float) -> float:
    best = _twelve_optimum(n, d)
    batch_lr = best_lr(n) * math.sqrt(c["batch"] / 32)
    return (basic_penalty(c, batch_lr) + 0.15 * decades(c["batch"], best["batch"]) ** 2
            + 0.1 * (odds_of(c["warmup"]) - odds_of(0.05)) ** 2 + 0.1 * (odds_of(c["dropout"]) - odds_of(best["dropout"])) ** 2
            + 0.2 * (odds_of(c["momentum"]) - odds_of(0.95)) ** 2)


def twelve(name: str = "P12") -> Problem:
    space = {"N": Log(1e5), "D": Log(1e8), "lr": Log(1e-4), "wd": Log(1e-3), "batch": Log(256.0),
             "warmup": Logit(0.3), "dropout": Logit(0.3), "momentum": Logit(0.7),
             **{f"junk{i}": Log(1.0) for i in range(4)}}
    return Problem(name, space, two, chinchilla(), _twelve_penalty, _twelve_optimum,
                   diverges=lambda c, n, d: c["lr"] > 30 * best_lr(n) * math.sqrt(c["batch"] / 32))


def _narrow() -> Problem:
    """P12 from a decent center, where a run fails unless everything is near its best: most of the space trains nothing."""
    def off(c, n, d):
        best = _twelve_optimum(n, d)
        return [decades(c["lr"], best["lr"]), decades(c["batch"], best["batch"]), decades(c["wd"], best["wd"]) / 2,
                *(odds_of(c[name]) - odds_of(best[name]) for name in ("warmup", "dropout", "momentum"))]

    space = {"N": Log(2e5), "D": Log(5e7), "lr": Log(2e-3), "wd": Log(0.03), "batch": Log(100.0),
             "warmup": Logit(0.1), "dropout": Logit(0.1), "momentum": Logit(0.9), **{f"junk{i}": Log(1.0) for i in range(4)}}
    return Problem("narrow", space, two, chinchilla(), _twelve_penalty, _twelve_optimum,
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
        return (0.5 * decades(c["lr"], best["lr"]) ** 2 + 0.2 * decades(c["batch"], best["batch"]) ** 2
                + 0.3 * decades(c["width"] / c["depth"], 40.0) ** 2
                + {"sgd": 0.5, "adamw": 0.0, "lion": 0.1}[c["optimizer"]])

    return Problem("transformer", space, size, chinchilla(), penalty, optimum,
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
        exponent = (0.4 * decades(c["lr"], best["lr"]) ** 2 + 0.15 * (odds_of(c["dropout"]) - odds_of(best["dropout"])) ** 2
                    + 0.15 * decades(c["batch"], best["batch"]) ** 2)
        return ideal(n, d) * math.expm1(exponent)

    return Problem("classifier", space, two, ideal, penalty, optimum,
                   diverges=lambda c, n, d: c["lr"] > 15 * optimum(n, d)["lr"], relative_noise=True,
                   loss_noise=0.05, min_cost=5.4e9, max_cost=5.4e12)


def _kaplan() -> Problem:
    """Size and data that trade off inside one power: Kaplan et al. 2020 (arXiv 2001.08361) eq. 1.5."""
    return four("kaplan", ideal=lambda n, d: ((2e5 / n) ** (0.4 / 0.5) + 3e6 / d) ** 0.5 * 3.0 + 0.5)


def _repeated(n: float, d: float, unique: float = 3e8) -> float:
    """Examples seen again teach less and less: Muennighoff et al. 2023 (arXiv 2305.16264) eq. 5, R* = 15."""
    extra = max(d / unique - 1.0, 0.0)
    return chinchilla()(n, min(d, unique) + unique * 15.0 * (1.0 - math.exp(-extra / 15.0)))


PROBLEMS = {p.name: p for p in (
    four("P4"),
    twelve(),
    four("P4n", N=4e5, D=2.5e7, lr=2.5e-3, wd=0.05),
    four("exponents", ideal=chinchilla(alpha=0.5, beta=0.22, A=2500.0, B=120.0)),
    four("noisy", noise_at_start=0.15),
    four("offset", offset=2e14, min_cost=2.6e14),
    four("wall", wall=2.0, steep=0.8),
    four("far", lr=1e-6, wd=1e-6),
    _narrow(),
    reward(),
    four("repeat", ideal=_repeated),
    deceptive(),
    away(),
    fooled(),
)}

# Kept aside while the search was developed, and run once at its end. Of the rewards: `climber` is noisier, of a lower ceiling and
# slower; `sparse` has a wider plateau that is itself noisy, heavier tails and little noise elsewhere.
HELD_OUT = {p.name: p for p in (
    _transformer(), _classifier(), _kaplan(),
    reward("climber", top=0.8, reach=2.0, size=6e4, steps=8e6, speed=0.5, loss_noise=0.09, tails=5.0, quiet=0.005),
    reward("sparse", top=0.99, reach=0.7, size=5e3, steps=1e6, speed=1.1, loss_noise=0.03, tails=2.5, quiet=0.15),
)}
