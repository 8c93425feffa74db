"""A plateau: the worst loss there is, which every run has that learns nothing (chance, a return of 0).

A trend that runs through it is wrong on both sides. What a loss model knows of such runs is that they would have
come out no better: they are censored observations.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

# Fewer runs than this, or fewer off the plateau, are left as they are.
ENOUGH, OFF = 30, 10
# A plateau holds this share of the runs at least, within so much of the range of all but the worst tenth, and
# no more than so many runs lie above: the runs of a smooth loss lie many times less densely at its upper end.
SHARE, WIDTH, ABOVE = 0.08, 0.006, 0.1


@dataclass(frozen=True)
class Plateau:
    """Of losses (n,)."""

    on: Array       # (n,) bool
    low: float      # central 95% of the losses on it
    level: float
    high: float


def plateau_of(loss: Array) -> Plateau | None:
    """Where one is to be seen: the densest window of SHARE of the losses, at or above their median."""
    n = len(loss)
    k = max(int(SHARE * n), 4)
    if n < ENOUGH:
        return None
    ordered = np.sort(loss)
    widths = ordered[k:] - ordered[:-k]
    at = int(np.argmin(widths))
    level, width = float(np.median(ordered[at:at + k + 1])), float(widths[at])
    band = WIDTH * float(np.quantile(loss, 0.9) - ordered[0])
    on = np.abs(loss - level) <= 1.5 * band
    if (level + band < np.median(loss) or width > band or (~on).sum() < OFF or (loss[~on] > level).sum() > ABOVE * n):
        return None
    low, high = np.quantile(loss[on], [0.025, 0.975])
    return Plateau(on, float(low), level, float(high))
