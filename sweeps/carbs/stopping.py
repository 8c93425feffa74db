"""Early stopping by the front: a run that can't reach it need not go on.

A run is given the benefit of the doubt twice: its loss is taken to go on falling per log cost as
steeply as it ever has, or as the front itself falls, whichever is steeper, and it has to miss the
front by more than the observation noise. Learning curves flatten against log cost once the loss
falls at all (a power law above a floor), so that the line is a bound from below; before that, on a
plateau, MIN_SHARE of the run's expected cost must have been spent before anything is said.
"""

import math
from collections.abc import Sequence

import numpy as np

from sweeps.carbs.front import Front

# No verdict before a run has burnt this share of its expected cost, or reported so many times.
MIN_SHARE, MIN_REPORTS = 0.2, 3


def least_loss(curve: Sequence[tuple[float, float]], front: Front, full_cost: float) -> float:
    """The lowest loss that a run may reach by `full_cost`, given its (cost, loss) so far."""
    cost, loss = np.log([c for c, _ in curve]), np.array([v for _, v in curve])
    left = max(math.log(full_cost) - cost[-1], 0.0)
    fall = -np.diff(loss) / np.maximum(np.diff(cost), 1e-9)
    return float(loss[-1] - max(0.0, float(fall.max(initial=0.0)), _slope(front)) * left)


def _slope(front: Front) -> float:
    """How much the front falls per unit of log cost, at its steepest part of a factor of 2 or more."""
    points = front.points
    slopes = [(p.loss - q.loss) / math.log(q.cost / p.cost) for i, p in enumerate(points) for q in points[i + 1:]
              if q.cost >= 2.0 * p.cost]
    return max(slopes, default=0.0)


def hopeless(curve: Sequence[tuple[float, float]], front: Front, full_cost: float, noise: float) -> bool:
    """Whether a run with these reports can't reach the front, given the sd of one observation's noise."""
    if len(curve) < MIN_REPORTS or curve[-1][0] < MIN_SHARE * full_cost or not len(front):
        return False
    reach = max(full_cost, curve[-1][0])
    if reach < front.points[0].cost:
        return False
    return least_loss(curve, front, full_cost) > front.loss_at(reach) + 2.0 * noise
