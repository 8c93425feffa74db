"""The next point to run: where the models expect most of the front."""

from dataclasses import dataclass

import numpy as np

from sweeps.carbs.acquisition import Staircase, anywhere, area, climb, log_improvement, nearest, propose
from sweeps.carbs.beliefs import Beliefs
from sweeps.carbs.space import Space
from sweeps.carbs.surrogate import LossModel, Warp

Array = np.ndarray

# Candidates drawn before the best of them are climbed from.
CANDIDATES, CLIMBS = 1024, 4
# A front that gained less than this share of its whole gain has stagnated.
STAGNATION = 0.01
FILL_DRAWS = 256
# How far beyond the box of finished runs a candidate may lie, in basic coordinates.
STRIDE = 0.7


@dataclass(frozen=True)
class Prospect:
    """What a run at a point would be worth, by the models of one moment."""

    space: Space
    now: Beliefs
    losses: LossModel       # pending runs believed
    steps: Staircase        # the believed front, pending runs included
    origins: Array          # (k, d) the runs on it
    cap: float              # log of the dearest run allowed
    flying: Array           # (p, d) runs in flight
    radius: float           # about the origins that the models are trusted in
    overhead: float | None  # log of what a run is charged beside its cost; None: gains are not divided by costs

    def gain(self, X: Array) -> Array:
        """Log of the expected gain (m,), discounted by distance and the chance of failure."""
        mean, sd = self.losses.predict(X)
        log_cost, _ = self.now.cost.predict(X)
        noise = self.losses.noise_variance(log_cost, mean)
        value = log_improvement(self.steps, log_cost, mean, sd * sd / np.sqrt(sd * sd + noise))
        value = value - 0.5 * nearest(X, self.origins) / self.radius ** 2
        if self.now.failure is not None:
            value = value + np.log(np.maximum(self.now.failure.success(X), 1e-12))
        return value if self.overhead is None else value - np.logaddexp(log_cost, self.overhead)

    def score(self, X: Array) -> Array:
        """The gain, with a steep bowl instead of a cliff outside the cap's margin, for the climb's sake."""
        over = np.minimum(self.now.cost.margin(X, self.cap), 0.0)
        with np.errstate(invalid="ignore"):
            return np.maximum(self.gain(X), -1e6) - 100.0 * over * over + 20.0 * over


def stagnant(steps: Staircase, before: Staircase, warp: Warp) -> bool:
    """Whether the runs that made `before` into `steps` gained next to nothing of what the front has gained in all."""
    now, then = area(steps, warp), area(before, warp)
    start = float(warp.inverse(steps.loss.max())) * (steps.high - steps.start[0])
    return then - now < STAGNATION * (start - now)


def fill(prospect: Prospect, rng: np.random.Generator) -> Array | None:
    """A point anywhere in a bounded space that is surely within the cap; None where none of those drawn is.

    The models have no say beyond the cost: what they take for granted is what this tests.
    """
    space = prospect.space
    X = space.snap(anywhere(space, FILL_DRAWS, rng))
    X = X[prospect.now.cost.margin(X, prospect.cap) >= 0]
    return X[0] if len(X) else None


@dataclass(frozen=True)
class Suggestion:
    x: Array | None     # None: nothing tried is within the cap's margin
    tried: Array        # (m, d)


def suggest(prospect: Prospect, rng: np.random.Generator) -> Suggestion:
    """The point of largest gain among those within the cap's margin."""
    space, seen = prospect.space, prospect.now.X
    low, high = np.maximum(space.low, seen.min(0) - STRIDE), np.minimum(space.high, seen.max(0) + STRIDE)
    drawn = np.vstack([np.clip(propose(space, prospect.origins, CANDIDATES, rng), low, high), prospect.origins])
    return best_of(prospect, drawn, low, high)


def best_of(prospect: Prospect, drawn: Array, low: Array, high: Array) -> Suggestion:
    """The point of largest gain within the cap's margin, climbed to from the best of those drawn (m, d), inside a box."""
    space = prospect.space
    order = np.argsort(-prospect.score(drawn), kind="stable")
    climbed = climb(prospect.score, drawn[order[:CLIMBS]], low, high, space.numeric & (high > low), iterations=30)
    final = space.snap(np.vstack([climbed, drawn[order[:64]]]))
    final = final[prospect.now.cost.margin(final, prospect.cap) >= 0]
    if not len(final):
        return Suggestion(None, drawn)
    value = prospect.gain(final)
    if len(prospect.flying):
        # A second run of what is in flight is worth its while only where there is nothing else.
        value = np.where(nearest(final, prospect.flying) < 1e-18, value - 1e6, value)
    return Suggestion(final[int(np.argmax(value))], drawn)
