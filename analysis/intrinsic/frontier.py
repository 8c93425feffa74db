"""Intrinsic performance by its definition, without a law: of each return the least compute over the sizes that were run.

It lies high where the best size is between two that were run, and where it is beyond them; low where the lowest of several noisy
curves was lucky. No slope is read off the best sizes: on simulated agents of known exponent .45, .29 and .69, six sizes a factor
of 3 apart, without noise, the minima of a cubic through the sizes gave .34, .71 and .64.
"""

from dataclasses import dataclass, field

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import percentile
from analysis.estimates.refusal import NotIdentified
from analysis.intrinsic.curves import Curves, Merged, least_compute

LEVELS, TRIED = 9, 41    # returns told, of those tried: evenly spaced in log C along the upper envelope
TOLD = 0.9               # of the draws must reach a return


@dataclass(frozen=True)
class Level:
    """A return, and what reaches it."""

    R: float
    compute: Estimate                         # FLOPs, the least of the sizes that were run
    N: float                                  # the size that takes least
    E: float                                  # its frames
    by_size: np.ndarray = field(repr=False)   # (S,) FLOPs of each size; NaN where it never does, 0 where its first point has


def read_frontier(curves: Curves, weights: np.ndarray, *, level: float = 0.95) -> tuple[Level, ...]:
    """weights: (draws, G) of the runs, for intervals. Raises NotIdentified where no return is told: some size has it at its first
    point, so that what it took is not known."""
    whole = curves.merged()
    R = envelope_returns(whole)
    point = _compute(whole, R)                                                             # (S, J)
    least, drawn = _least(point), np.stack([_least(_compute(curves.merged(weight), R)) for weight in weights])
    told = np.flatnonzero(np.isfinite(least) & (np.isfinite(drawn).mean(0) >= TOLD))
    if not len(told):
        raise NotIdentified("no return whose least compute the curves tell: at its first point a run has what it ever has")
    told = told[np.unique(np.linspace(0, len(told) - 1, LEVELS).round().astype(int))]
    return tuple(_level(curves, whole, float(R[j]), point[:, j], drawn[:, j], level) for j in told)


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


def _level(curves: Curves, whole: Merged, R: float, point, drawn, level: float) -> Level:
    s, drawn = int(np.nanargmin(point)), drawn[np.isfinite(drawn)]
    compute = percentile(np.exp(point[s]), np.exp(drawn if curves.runs > 1 else np.full(len(drawn), np.nan)), label="by whole run",
                         count=curves.runs, n=curves.runs, parameters=1, level=level)
    has = whole.weight[s] > 0
    E = np.exp(np.interp(point[s], whole.log_C[s][has], whole.log_E[s][has]))
    return Level(R, compute, float(curves.sizes[s]), float(E), np.exp(point))
