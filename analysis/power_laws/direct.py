"""The same laws read off the runs themselves, as the papers did: of each size the run on most data, of each amount of data
the run of the largest size, of compute the lower envelope. What each reading finds too much, by the joint law, is told beside it.
"""

from dataclasses import dataclass, field

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.wild_bootstrap import Cells
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import TooFewPoints
from analysis.power_laws.floor_law import BothLaws, fit_both_laws
from analysis.power_laws.limits import unlimited

SAME = 0.05        # of log N, or log D: nearer ones are one size, or one amount
LEAST_CLEAN = 4    # points that nothing else limits, from which on the others are left out
FINE = 800         # places of compute at which the envelope is read


@dataclass(frozen=True)
class Bias:
    """What the reading finds on the joint law's own losses, without noise, less what that law says in the limit."""

    pure: float             # of the exponent without a floor
    exponent: float         # with one; nan where points are too few for it
    floor: float


@dataclass(frozen=True, eq=False)
class Direct:
    """One variable's law from chosen runs."""

    variable: str           # N, D or C
    laws: BothLaws
    excess: float           # highest of the points' log L above the unlimited by the joint law; nan without that law
    noise: float            # of log L about the joint law: an excess below it is none that the runs can show
    left_out: int           # points limited by something else
    bias: Bias | None       # None without a joint law
    place: np.ndarray = field(repr=False)   # (n,) indices of the cells, or of the envelope's sizes

    @property
    def limited(self) -> bool:
        """Points were kept although something else limits them by more than the noise: too few others are there."""
        return bool(self.excess > self.noise)


@dataclass(frozen=True)
class FloorAgreement:
    """L_inf from N less L_inf from C."""

    difference: Estimate
    bias: float             # of the difference, by the joint law; nan without one

    @property
    def agree(self) -> bool:
        return 0 in self.difference

    @property
    def explained(self) -> bool:
        """Whether the difference may be what the reading makes of one and the same L_inf."""
        return bool(np.isfinite(self.bias) and self.bias in self.difference)


def fit_direct(variable: str, cells: Cells, *, surface=None, cost: CostLaw | None = None, noise: float = np.nan,
               level: float = 0.95) -> Direct:
    """variable: N, D or C. surface and cost: of the joint law, noise: the scatter of log L about it.

    Raises TooFewPoints, NotIdentified where the points tell no law.
    """
    if variable == "C":
        return _of_compute(cells, surface, cost, noise, level)
    x, other = (cells.N, cells.D) if variable == "N" else (cells.D, cells.N)
    place = _largest(x, other)
    if surface is None:
        return Direct(variable, fit_both_laws(x[place], np.exp(cells.log_L[place]), level=level), np.nan, noise, 0, None, place)
    excess = np.log(surface.loss(cells.N[place], cells.D[place]) / unlimited(surface, cost, variable, x[place]))
    clean = excess <= noise
    kept = place[clean] if clean.sum() >= LEAST_CLEAN else place
    law = fit_both_laws(x[kept], np.exp(cells.log_L[kept]), level=level)
    bias = _bias(x[kept], surface.loss(cells.N[kept], cells.D[kept]), unlimited(surface, cost, variable, x[kept]))
    return Direct(variable, law, float(excess[np.isin(place, kept)].max()), noise, len(place) - len(kept), bias, kept)


def floors_agree(of_N: Direct, of_C: Direct) -> FloorAgreement | None:
    """None where either has no law with a floor. The interval takes the two for independent (squared distances to the ends add,
    Zou and Donner 2008), which is conservative where they share runs."""
    one, other = (d.laws.floored and d.laws.floored.floor for d in (of_N, of_C))
    if one is None or other is None:
        return None
    value = one.value - other.value
    low = value - float(np.hypot(one.value - one.low, other.high - other.value))
    high = value + float(np.hypot(one.high - one.value, other.value - other.low))
    bias = of_N.bias.floor - of_C.bias.floor if of_N.bias and of_C.bias else np.nan
    return FloorAgreement(Estimate(value, low, high, float(np.hypot(one.se, other.se)), "profiles, squared distances added",
                                   one.n + other.n, one.level), bias)


def _groups(x: np.ndarray) -> np.ndarray:
    """(n,) number of each value's group: values within SAME of the group's lowest."""
    group, start, count = np.empty(len(x), int), -np.inf, -1
    for i in np.argsort(x, kind="stable"):
        if np.log(x[i]) > start + SAME:
            start, count = np.log(x[i]), count + 1
        group[i] = count
    return group


def _largest(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Index, for each group of x, of the cell with the largest other."""
    group = _groups(x)
    return np.array([mine[other[mine].argmax()] for mine in (np.flatnonzero(group == g) for g in range(group.max() + 1))])


def _bias(x, seen, limit) -> Bias:
    made = [fit_both_laws(x, L) for L in (seen, limit)]
    pure = made[0].pure.exponent.value - made[1].pure.exponent.value
    if made[0].floored is None:
        return Bias(pure, np.nan, np.nan)
    one, other = (both.floored for both in made)
    return Bias(pure, one.exponent.value - other.exponent.value, one.floor.value - other.floor.value)


def _of_compute(cells: Cells, surface, cost, noise: float, level: float) -> Direct:
    seen = _envelope(cells, cells.log_L)
    law = fit_both_laws(seen.C, seen.L, level=level)
    if surface is None:
        return Direct("C", law, np.nan, noise, 0, None, seen.size)
    made = _envelope(cells, np.log(surface.loss(cells.N, cells.D)))
    shared, _, theirs = np.intersect1d(seen.size, made.size, return_indices=True)
    C, L = made.C[theirs], made.L[theirs]
    if not len(shared):
        return Direct("C", law, np.nan, noise, 0, None, seen.size)
    limit = unlimited(surface, cost, "C", C)
    return Direct("C", law, float(np.log(L / limit).max()), noise, 0, _bias(C, L, limit) if len(shared) > 2 else None, seen.size)


@dataclass(frozen=True)
class _Envelope:
    """A point for each size that is best over some stretch of compute: the stretch's middle, arrays (m,)."""

    C: np.ndarray
    L: np.ndarray
    size: np.ndarray   # number of the group of N


def _envelope(cells: Cells, log_L: np.ndarray) -> _Envelope:
    """Each size's log L against log C, joined by straight lines, and the middle of where it is the lowest of all, a smaller and a
    larger size beside it: near there the discrete envelope touches the frontier, and each point is of other runs than the next.

    Raises TooFewPoints where fewer than 3 sizes are the lowest anywhere.
    """
    group, log_C = _groups(cells.N), np.log(cells.C)
    C = np.linspace(log_C.min(), log_C.max(), FINE)
    lines = np.full((group.max() + 1, FINE), np.nan)
    for g in range(len(lines)):
        mine = np.flatnonzero(group == g)
        mine = mine[np.argsort(log_C[mine])]
        if len(mine) > 1:
            lines[g] = np.interp(C, log_C[mine], log_L[mine], left=np.nan, right=np.nan)
    told = np.isfinite(lines)
    # bracketed: a smaller and a larger size were trained at that compute, and neither is better
    smaller, larger = np.cumsum(told, 0) - told > 0, np.cumsum(told[::-1], 0)[::-1] - told > 0
    best = np.nan_to_num(lines, nan=np.inf).argmin(0)
    won = (best == np.arange(len(lines))[:, None]) & told & smaller & larger
    found = {g: np.flatnonzero(won[g]) for g in range(len(lines)) if won[g].any()}
    if len(found) < 3:
        raise TooFewPoints("a law of the envelope takes 3 sizes that are the best at some compute where a smaller and a larger "
                           f"one were trained as well, got {len(found)}")
    size = np.array(sorted(found))
    middle = np.array([found[g][len(found[g]) // 2] for g in size])
    return _Envelope(np.exp(C[middle]), np.exp(lines[size, middle]), size)
