"""How many steps each size and batch size takes to each loss, from runs, or from readings along them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import NotIdentified, TooFewPoints

LEAST_BATCHES = 3     # that reach a loss: S_min and E_min, and one to spare
LEVELS = 9            # of loss, evenly in log L
FINE = 400            # places in log L at which it is counted how many batch sizes reach it
APART = 1.02          # loss at the highest level over that at the lowest: nearer ones tell no law


@dataclass(frozen=True)
class Curve:
    """The lowest loss after so many steps, of one size and batch size, the best of the settings that were tried."""

    N: float
    B: float                                   # examples a step, in the units of D
    steps: np.ndarray = field(repr=False)      # (m,) rising
    loss: np.ndarray = field(repr=False)       # (m,) falling

    def steps_to(self, level) -> np.ndarray:
        """Steps (k,) to each loss (k,): between readings along a monotone cubic of log S in log L (Fritsch and Carlson 1980), nan
        outside them."""
        level = np.atleast_1d(np.asarray(level, float))
        if len(self.steps) < 2:
            return np.full(len(level), np.nan)
        curve = PchipInterpolator(np.log(self.loss[::-1]), np.log(self.steps[::-1]), extrapolate=False)
        return np.exp(curve(np.log(level)))


@dataclass(frozen=True)
class Crossings:
    """Steps from which each curve is at or below each level; arrays (curves, levels)."""

    curves: tuple[Curve, ...]
    level: np.ndarray          # (levels,) of loss, falling
    steps: np.ndarray = field(repr=False)   # nan where a curve does not tell, or fewer than LEAST_BATCHES of its size do

    N = property(lambda self: np.array([c.N for c in self.curves]))
    B = property(lambda self: np.array([c.B for c in self.curves]))

    @property
    def examples(self) -> np.ndarray:
        """E = B S."""
        return self.B[:, None] * self.steps


def curves_of(N, batch, steps, D, L, setting=None) -> tuple[Curve, ...]:
    """A curve for each N and batch size: at each D the mean log loss of repeats, the lowest of the settings, and of what comes
    later only what is better than all before. The batch is counted as D / steps, so that E = D whatever the batch column's unit.

    Raises TooFewPoints where no size has 3 batch sizes read at two losses or more.
    """
    N, batch, steps, D, L = (np.asarray(v, float) for v in (N, batch, steps, D, L))
    curve = distinct(N, batch)
    place = distinct(curve, D)
    pair = distinct(place, np.zeros(len(N)) if setting is None else setting)
    first = np.unique(pair, return_index=True)[1]
    mean = np.bincount(pair, np.log(L)) / np.bincount(pair)
    lowest = np.full(int(place.max()) + 1, np.inf)
    np.minimum.at(lowest, place[first], mean)
    first = np.unique(place, return_index=True)[1]
    made = []
    for c in range(int(curve.max()) + 1):
        mine = first[curve[first] == c]
        order = np.argsort(steps[mine], kind="stable")
        S, z = steps[mine][order], lowest[place[mine]][order]
        kept = z < np.concatenate([[np.inf], np.minimum.accumulate(z)[:-1]])
        made.append(Curve(float(N[mine[0]]), float(np.median(D[mine] / steps[mine])), S[kept], np.exp(z[kept])))
    sizes = {N: sum(c.N == N and len(c.steps) > 1 for c in made) for N in {c.N for c in made}}
    if max(sizes.values()) < LEAST_BATCHES:
        raise TooFewPoints(f"a critical batch size takes a size trained at {LEAST_BATCHES} batch sizes, each to two losses or "
                           f"more; the most here is {max(sizes.values())}")
    return tuple(made)


def crossings_of(curves: Sequence[Curve], *, levels: int = LEVELS) -> Crossings:
    """At levels spread evenly over the losses that 3 batch sizes of some size reach. Raises NotIdentified where none are."""
    low, high = (side(side(c.loss) for c in curves) for side in (min, max))
    fine = np.geomspace(high, low, FINE)
    told = _told(curves, fine)
    good = np.flatnonzero(told.any(0))
    if not len(good):
        raise NotIdentified(f"no loss is reached at {LEAST_BATCHES} batch sizes of one size")
    level = fine[good[np.unique(np.round(np.linspace(0, len(good) - 1, levels + 2)[1:-1]).astype(int))]]
    steps = np.stack([c.steps_to(level) for c in curves])
    steps[~_told(curves, level)] = np.nan
    kept = np.isfinite(steps).any(0)
    return Crossings(tuple(curves), level[kept], steps[:, kept])


def _told(curves: Sequence[Curve], level: np.ndarray) -> np.ndarray:
    """(curves, levels): whether a curve tells a level, and enough others of its size do."""
    reached = np.stack([np.isfinite(c.steps_to(level)) for c in curves])
    N = np.array([c.N for c in curves])
    return reached & np.stack([reached[N == c.N].sum(0) >= LEAST_BATCHES for c in curves])
