"""Laws of best settings with intervals: h* ~ N^nu D^omega, and along the frontier h* ~ C^(a nu + b omega).

Intervals are the jackknife's over (N, D) cells with Student's t of cells less parameters of the law (Efron and Tibshirani 1993,
chapter 11; for a linear fit it is the cluster-robust CR3): what a cell's runs share moves their optimum together, and a handful
of cells is too few to resample.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analysis.choices.bowl import Bowl, Shape, Trials, fit_bowl, shape_of
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import exponential, jackknife
from analysis.estimates.refusal import Doubt, NotIdentified, Refusal, TooFewPoints

MOST_BLOCKS = 60     # of the jackknife
DECADE = np.log(10)  # a run farther than this from the best setting, either way, sees a cliff rather than a bowl
STEPS = 2.0          # or than so many steps between tried values, where they lie far apart
FEWEST, MOST = 0.25, 0.75   # share of cells with values on both sides of the best: below the first refused, below the second doubted


@dataclass(frozen=True, eq=False)
class ChoiceLaw:
    """h*(N, D) of one choice."""

    name: str
    of_N: Estimate | None      # nu; None where N does not vary
    of_D: Estimate | None      # omega
    of_C: Estimate | None      # exponent along the frontier; None without a law of the loss
    middle: Estimate           # h* at the middle of the table
    curvature: float           # kappa: at a factor of e from the best setting log L is higher by this
    bracketed: float           # share of the cells that tried values on both sides of it


@dataclass(frozen=True, eq=False)
class ChoiceLaws:
    """All choices that a table varies, fitted together."""

    laws: tuple[ChoiceLaw, ...]
    N: float                   # the middle: geometric means
    D: float
    runs: int                  # near enough to the best settings to be fitted
    left_out: int              # farther
    cells: int
    scatter: float             # of log L about the bowls
    smooth: bool               # about a smooth surface instead of a level a cell
    level: float
    bowl: Bowl = field(repr=False)
    left: np.ndarray = field(repr=False)      # (blocks, H, 3) places with one block of cells left out
    reach: Mapping[str, tuple[float, float]] = field(repr=False)   # choice -> lowest and highest value tried
    warnings: tuple[Doubt, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(law.name for law in self.laws)

    def best(self, name: str, N: float, D: float) -> Estimate:
        """h* of the choice at N, D."""
        h, at = self.names.index(name), np.array([1.0, np.log(N / self.N), np.log(D / self.D)])
        return exponential(self._estimate(at @ self.bowl.place[h], self.left[:, h] @ at))

    def at(self, name: str, optimum: object, cost: object) -> Estimate:
        """h* at the best N and D of a budget: an OptimumEstimate, whose own error moves h* along C = k N^p D."""
        e, law = self.best(name, optimum.N.value, optimum.D.value), self.laws[self.names.index(name)]
        drift = abs(_value(law.of_N) - cost.p * _value(law.of_D)) * np.log(optimum.N.high / optimum.N.low) / 2
        reach = np.hypot(np.log(e.high / e.low) / 2, drift)
        return Estimate(e.value, float(e.value * np.exp(-reach)), float(e.value * np.exp(reach)), e.se, e.method + ", and the law's own N*",
                        e.n, e.level)

    def _estimate(self, value: float, left: np.ndarray) -> Estimate:
        return jackknife(float(value), left, freedom=self.freedom, label="by (N, D) cell", n=self.runs, level=self.level)

    @property
    def freedom(self) -> int:
        return _freedom(self.cells, self.bowl.shape)

    def summary(self) -> str:
        return "\n".join(f"{law.name}* ~ " + " ".join(f"{of}^{e}" for of, e in (("N", law.of_N), ("D", law.of_D)) if e is not None)
                         + f"; {law.middle} at N = {self.N:.3g}, D = {self.D:.3g}" for law in self.laws)


def fit_choices(N, D, L, choices: Mapping[str, np.ndarray], *, apart: Sequence[np.ndarray] = (), law: object = None,
                level: float = 0.95) -> ChoiceLaws:
    """Laws of the choices (positive, (n,) each) from runs of N, D and loss L (n,).

    apart: further codes (n,) that set runs apart: cells of other axes. law: a LawChoice, for the exponent along the frontier.
    Raises Refusal where a choice has no best value, or its law can't be told.
    """
    N, D, L = (np.asarray(v, float) for v in (N, D, L))
    z = np.stack([np.log(np.asarray(v, float)) for v in choices.values()], 1)
    if not np.isfinite(z).all():
        raise ValueError("choices are positive numbers: leave the other rows out")
    x0, y0 = np.log(N).mean(), np.log(D).mean()
    cell = np.unique(np.stack([N, D, *apart]), axis=1, return_inverse=True)[1].ravel()
    trials = Trials(np.log(N) - x0, np.log(D) - y0, z, np.log(L), cell)
    shape = shape_of(trials)
    reach = np.array([_reach(trials, h) for h in range(z.shape[1])])
    bowl = fit_bowl(trials, shape, reach)
    for h, name in enumerate(choices):
        if (held := _bracketed(h, bowl, trials)) < FEWEST:
            raise NotIdentified(f"the best {name} lies outside the values tried in {1 - held:.0%} of the cells")
    cells = _groups(trials, bowl, shape)
    left = _left_out(trials, bowl, shape, reach, cells)
    count = int(cells.max()) + 1
    here = {"N": float(np.exp(x0)), "D": float(np.exp(y0)), "runs": int(bowl.used.sum()), "left_out": int((~bowl.used).sum()),
            "cells": count, "scatter": bowl.scatter, "smooth": shape.smooth, "level": level}
    made = tuple(_law(name, h, bowl, left, here, trials, law) for h, name in enumerate(choices))
    return ChoiceLaws(made, **here, bowl=bowl, left=left, reach={name: (float(np.min(v)), float(np.max(v))) for name, v in choices.items()},
                      warnings=_doubts(made, shape))


def _reach(trials: Trials, h: int) -> float:
    """How far from the best setting a run may lie: a decade, or two steps where steps are wider than half of one."""
    steps = [np.diff(np.unique(trials.z[trials.cell == c, h])) for c in np.unique(trials.cell)]
    steps = np.concatenate([s for s in steps if len(s)] or [np.zeros(1)])
    return float(max(DECADE, STEPS * np.median(steps) * (1 + 1e-9)))


def _groups(trials: Trials, bowl: Bowl, shape: Shape) -> np.ndarray:
    """Cluster (n,) of each run: its cell, -1 where its cell has no other run that is used."""
    count = np.bincount(trials.cell[bowl.used], minlength=trials.cell.max() + 1)
    usable = bowl.used if shape.smooth else bowl.used & (count[trials.cell] > 1)
    group = np.full(len(trials.cell), -1)
    group[usable] = np.unique(trials.cell[usable], return_inverse=True)[1]
    return group


def _left_out(trials: Trials, bowl: Bowl, shape: Shape, reach: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Places (blocks, H, 3) with each block of cells left out. Raises TooFewPoints where the rest tells none."""
    count, made = int(group.max()) + 1, []
    blocks = min(count, MOST_BLOCKS)
    for block in range(blocks):
        keep = np.flatnonzero((group >= 0) & (group % blocks != block))
        part = trials.take(keep)
        start = Bowl(bowl.shape, bowl.place, bowl.curvature, bowl.theta, bowl.scatter, np.ones(len(keep), bool))
        try:
            made.append(fit_bowl(part, shape, np.full(trials.z.shape[1], np.inf), start=start).place)
        except (Refusal, ValueError, np.linalg.LinAlgError):
            raise TooFewPoints("without one of its (N, D) the table tells no law of its best settings: try them at more") from None
    return np.array(made)


def _freedom(cells: int, shape: Shape) -> int:
    return max(cells - len(shape.place), 1)


def _value(e: Estimate | None) -> float:
    return 0.0 if e is None else e.value


def _law(name: str, h: int, bowl: Bowl, left: np.ndarray, here: Mapping[str, object], trials: Trials, law: object) -> ChoiceLaw:
    freedom = _freedom(here["cells"], bowl.shape)

    def estimate(weigh: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        return jackknife(float(weigh(bowl.place[h])), weigh(left[:, h]), freedom=freedom, label="by (N, D) cell", n=here["runs"],
                         level=here["level"])

    # 1e-16 is arithmetic's, and no exponent
    of_N, of_D = (estimate(lambda p, i=i: np.round(p[..., i], 12) + 0.0) if name_ in bowl.shape.place else None for i, name_ in ((1, "x"), (2, "y")))
    middle = exponential(estimate(lambda p: p[..., 0]))
    return ChoiceLaw(name, of_N, of_D, _along(law, of_N, of_D, estimate), middle, float(bowl.curvature[h]), _bracketed(h, bowl, trials))


def _along(law: object, of_N: Estimate | None, of_D: Estimate | None, estimate) -> Estimate | None:
    """Exponent in C: a nu + b omega, b = 1 - p a; a's own error moves it by nu - p omega."""
    if law is None or (of_N is None and of_D is None) or (of_N is None or of_D is None) and not _both(of_N, of_D):
        return None
    a, p = law.a, law.cost.p
    e = estimate(lambda place: np.round(a.value * place[..., 1] + (1 - p * a.value) * place[..., 2], 12) + 0.0)
    drift = abs(_value(of_N) - p * _value(of_D)) * np.array([a.value - a.low, a.high - a.value]).max()
    reach = np.hypot(e.high - e.value, drift)
    return Estimate(e.value, float(e.value - reach), float(e.value + reach), float(np.hypot(e.se, drift / 2)),
                    e.method + ", a's interval added", e.n, e.level)


def _both(of_N: Estimate | None, of_D: Estimate | None) -> bool:
    """Without runs that vary both N and D no exponent along the frontier is known."""
    return of_N is not None and of_D is not None


def _bracketed(h: int, bowl: Bowl, trials: Trials) -> float:
    """Share of the cells whose tried values lie on both sides of the best; of a smooth base, of the runs' range at each place."""
    off = trials.z[:, h] - bowl.best(trials.x, trials.y)[:, h]
    if bowl.shape.smooth:
        return float((off.min() < 0) and (off.max() > 0))
    low, high = (np.full(trials.cell.max() + 1, s) for s in (np.inf, -np.inf))
    np.minimum.at(low, trials.cell, off)
    np.maximum.at(high, trials.cell, off)
    return float(np.mean((low < 0) & (high > 0)))


def _doubts(laws: Sequence[ChoiceLaw], shape: Shape) -> tuple[Doubt, ...]:
    doubts = [Doubt(f"{law.name}_not_bracketed", f"in {1 - law.bracketed:.0%} of the cells the best {law.name} lies outside the values "
                    "tried") for law in laws if law.bracketed < MOST]
    if shape.smooth:
        doubts.append(Doubt("settings_on_a_surface", "few runs share their (N, D): the best settings are told from runs about a smooth "
                            "surface of the loss, not from runs side by side"))
    return tuple(doubts)
