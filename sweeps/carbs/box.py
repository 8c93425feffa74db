"""A second model where all bounds are known: of the loss over the whole box, without a trend.

    k(x, x') = 1 + s Matern52(x, x'; lengths) + noise

The trend of the search's own model is right about power laws and carries them beyond the data; where it is wrong it sees no reason
to look elsewhere, and holds a search in a corner for good. This one knows nothing but that near points are alike. Away from all runs
it returns to their mean with all its doubt, so that the gain it expects sends runs to where nobody has been, at one budget after
another: of a gain at all budgets together it would expect most from the cheapest runs that nobody has tried. Both models learn from
all runs, and take turns (plan.py).
"""

import math
from dataclasses import replace

import numpy as np

from sweeps.carbs import gp
from sweeps.carbs.acquisition import Staircase, anywhere, propose
from sweeps.carbs.beliefs import Beliefs, informative
from sweeps.carbs.pareto import monotone
from sweeps.carbs.space import Space
from sweeps.carbs.suggest import Prospect, Suggestion, best_of
from sweeps.carbs.surrogate import TRAIN, LossModel, Scaling, spread

Array = np.ndarray

CANDIDATES = 2048   # anywhere in the box, and as many about the front
ABSENT = -14.0      # log variance of a trend that isn't there
LENGTH = 2.4        # median, where the box's coordinates have a spread of 1: two thirds of its width
ITERATIONS = 40     # it is fitted afresh each time: nothing of it is kept between suggestions
SPAN = 0.1          # of log cost, below the budget looked at, over which a gain counts


def box_prior(d: int) -> gp.Prior:
    """Over coordinates in units of their spread in the box, of the warped loss; the trend's variances are held at nothing."""
    absent = np.full(2 * d, ABSENT)
    mean = np.concatenate([absent, np.full(d, math.log(LENGTH)), [1.0, -5.0]])
    sd = np.concatenate([np.ones(2 * d), np.full(d, 1.0), [1.5, 2.0]])
    return gp.Prior(mean, sd, np.concatenate([absent, np.full(d, -2.0), [-6.0, -14.0]]),
                    np.concatenate([absent, np.full(d, 5.0), [5.0, 1.0]]))


def box_model(space: Space, now: Beliefs) -> LossModel:
    """Fitted to what the search's own model was, through the same warp."""
    keep = informative(now.log_cost, now.observed)
    # The spread of a uniform over the box is its width over sqrt 12.
    scaling = Scaling(0.5 * (space.low + space.high), np.maximum(space.high - space.low, 1e-9) / math.sqrt(12.0))
    Z, y, prior = scaling(now.X[keep]), now.loss.warp(now.observed[keep]), box_prior(space.width)
    some, ones = spread(len(Z), TRAIN), np.ones(len(Z))
    theta = gp.train(Z[some], y[some], prior, prior.mean, weights=ones[some], iterations=ITERATIONS)
    return replace(now.loss, scaling=scaling, process=gp.condition(theta, Z, y, ones), surprise=1.0)


def suggest_in_box(prospect: Prospect, floor: float, rng: np.random.Generator) -> Suggestion:
    """The point within the cap's margin that this model expects most of, at a budget drawn evenly in log from `floor` to the cap."""
    space, now = prospect.space, prospect.now
    losses = box_model(space, now)
    if len(prospect.flying):
        losses = losses.believe(prospect.flying)
    everything = np.vstack([now.X, prospect.flying])
    log_cost = np.concatenate([now.log_cost, now.cost.predict(everything)[0][len(now.X):]])
    believed = losses.predict(everything)[0]
    budget = rng.uniform(floor, prospect.cap)
    within = believed[log_cost <= budget]
    best = np.array([within.min() if len(within) else believed.max()])
    steps = Staircase(np.array([budget - SPAN]), best, budget, losses.warp.scale * best)
    origins = everything[monotone(log_cost, believed)]
    own = replace(prospect, losses=losses, steps=steps, origins=origins, radius=math.inf)
    drawn = np.vstack([anywhere(space, CANDIDATES, rng), propose(space, origins, CANDIDATES, rng)])
    return best_of(own, drawn, space.low, space.high)
