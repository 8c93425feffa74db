"""Intrinsic performance by its definition, without a law: of each return the least compute over the sizes that were run.

It lies high where the best size is between two that were run, and where it is beyond them; low where the lowest of several noisy
curves was lucky. No slope is read off the best sizes: on simulated agents of known exponent .45, .29 and .69, six sizes a factor
of 3 apart, without noise, the minima of a cubic through the sizes gave .34, .71 and .64.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import exponential, jackknife
from analysis.estimates.refusal import NotIdentified
from analysis.intrinsic.curves import Curves, Merged, least_compute

LEVELS, TRIED = 9, 41    # returns told, of those tried: evenly spaced in log C along the upper envelope


@dataclass(frozen=True)
class Level:
    """A return, and what reaches it."""

    R: float
    compute: Estimate                         # FLOPs, the least of the sizes that were run
    N: float                                  # the size that takes least
    E: float                                  # its frames
    by_size: np.ndarray = field(repr=False)   # (S,) FLOPs of each size; NaN where it never does, 0 where its first point has


def read_frontier(curves: Curves, *, level: float = 0.95) -> tuple[Level, ...]:
    """Returns that are reached whichever run is left out, with the jackknife's intervals by whole run.

    Raises NotIdentified where no return is told: some size has it at its first point, so that what it took is not known.
    """
    whole, G = curves.merged(), curves.runs
    R = envelope_returns(whole)
    point = _compute(whole, R)                                                             # (S, J)
    least = _least(point)
    left_out = np.stack([_least(_compute(curves.merged(weight), R)) for weight in 1.0 - np.eye(G)]) if G > 1 else least[None]
    told = np.flatnonzero(np.isfinite(least) & np.isfinite(left_out).all(0))
    if not len(told):
        raise NotIdentified("no return whose least compute the curves tell: at its first point a run has what it ever has")
    told = told[np.unique(np.linspace(0, len(told) - 1, LEVELS).round().astype(int))]
    return tuple(_level(curves, whole, float(R[j]), point[:, j], left_out[:, j], level) for j in told)


def envelope_returns(merged: Merged) -> np.ndarray:
    """Returns (at most TRIED,) that the best size has at evenly spaced log C, rising by a hundredth of the range at least."""
    curves = merged.rising()
    places = np.linspace(min(log_C[0] for log_C, _ in curves), max(log_C[-1] for log_C, _ in curves), TRIED)
    best = np.max([np.interp(places, log_C, R, left=-np.inf) for log_C, R in curves], axis=0)
    near = 0.01 * (best[-1] - best[0])
    kept = [best[0]]
    for R in best[1:]:
        if R > kept[-1] + near:
            kept.append(R)
    return np.array(kept[1:])


def _compute(merged: Merged, R: np.ndarray) -> np.ndarray:
    return np.stack([least_compute(log_C, rising, R) for log_C, rising in merged.rising()])


def _least(log_C: np.ndarray) -> np.ndarray:
    """(J,) over sizes; NaN where none reaches it, or one did before its first point."""
    least = np.where(np.isnan(log_C), np.inf, log_C).min(0)
    return np.where(np.isfinite(least), least, np.nan)


def _level(curves: Curves, whole: Merged, R: float, point, left_out, level: float) -> Level:
    s, G = int(np.nanargmin(point)), curves.runs
    compute = exponential(jackknife(float(point[s]), left_out, freedom=max(G - 1, 1), label="by whole run", n=G, level=level))
    if G == 1:
        compute = replace(compute, low=np.nan, high=np.nan, se=np.nan, method="none: one run")
    has = whole.weight[s] > 0
    E = np.exp(np.interp(point[s], whole.log_C[s][has], whole.log_E[s][has]))
    return Level(R, compute, float(curves.sizes[s]), float(E), np.exp(point))
