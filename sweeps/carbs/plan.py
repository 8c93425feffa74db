"""What to run next, from all that a search knows at one moment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeps.carbs.acquisition import Staircase, staircase
from sweeps.carbs.beliefs import Beliefs
from sweeps.carbs.box import suggest_in_box
from sweeps.carbs.design import BudgetSpent
from sweeps.carbs.observation import Observation
from sweeps.carbs.pareto import monotone
from sweeps.carbs.space import Space
from sweeps.carbs.suggest import Prospect, fill, stagnant, suggest
from sweeps.carbs.surrogate import LossModel

Array = np.ndarray

# Gains are discounted by a Gaussian about the nearest run of the front, of this radius where every run
# finishes, and smaller by the share that failed of the last RECENT, down to LEAST: a model that runs
# into failures is trusted less far out, where a space of many coordinates has more corners than runs.
LOCAL, LEAST, RECENT = 1.0, 0.15, 10
# Under a budget a run is charged its cost plus this share of the whole budget: cheap runs
# aren't free, and none is so dear that its gain per cost is never the best.
OVERHEAD = 0.01
# What `Plan.doubt` says of a run that the cap may not hold for.
LIKELIEST = "no candidate is within max_cost with probability 0.95: taking the likeliest"


class CapUnreachable(ValueError):
    """Nothing in the space is believed to cost as little as max_cost."""


@dataclass(frozen=True)
class Plan:
    x: Array            # (d,)
    doubt: str = ""     # why this is not what the models would choose


@dataclass(frozen=True)
class Situation:
    """All that the next run depends on, but for chance."""

    space: Space
    now: Beliefs
    flying: Array           # (p, d) runs in flight
    observations: Sequence[Observation]
    made: int               # runs told and in flight
    initial: int            # of which are the design
    floor: float            # cost below which nothing is of interest
    max_cost: float | None
    budget: float | None
    spent: float

    def next(self, rng: np.random.Generator) -> Plan:
        """Raises BudgetSpent or CapUnreachable."""
        cap = self._log_cap()
        prospect = self._prospect(cap)
        if (x := self._elsewhere(prospect, rng)) is not None:
            return Plan(x)
        found = suggest(prospect, rng)
        return self._cheapest(self.space.snap(found.tried), cap) if found.x is None else Plan(found.x)

    def _log_cap(self) -> float:
        """Log of the dearest run allowed: by the cap, by what is left of the budget, by reach."""
        # Without a cap, a decade above the dearest run: the walk up goes on, one stride at a time.
        cap = self.now.log_cost.max() + math.log(10.0) if self.max_cost is None else math.log(self.max_cost)
        if self.budget is None:
            return cap
        committed = self.now.cost.total(self.flying) if len(self.flying) else 0.0
        left = self.budget - self.spent - committed
        # What is left buys nothing but runs too cheap to be of interest.
        if left <= self.floor:
            raise BudgetSpent(f"spent {self.spent:.4g} of {self.budget:.4g}, {committed:.4g} more in flight")
        return min(cap, math.log(left))

    def _steps(self, losses: LossModel, X: Array, log_cost: Array, cap: float) -> Staircase:
        """The believed front through runs at X."""
        return staircase(log_cost, losses.predict(X)[0], self._floor(cap), cap, losses.warp)

    def _floor(self, cap: float) -> float:
        """Log of the least budget of interest: a tenth below a cap that is below the floor, the front to improve is then the cap's alone."""
        return min(math.log(self.floor), cap - 0.1)

    def _elsewhere(self, prospect: Prospect, rng: np.random.Generator) -> Array | None:
        """Every other run where all bounds are known: chosen by nothing at first, then by a second model; None out of turn.

        A slope towards a corner can keep the search's own model there for good: it is only asked about what it believes. So the
        first of these runs fill the box, for the second model to learn from. It can rest in a corner, too: a front that has come
        to rest has, by both models' account, nothing to lose by a run anywhere, and half of these are such again.
        """
        turn, own = divmod(self.made - self.initial, 2)
        if not self.space.bounded or not own:
            return None
        fills = 4 + self.space.width
        if turn < fills or turn % 2 and self._rests(prospect, fills):
            return fill(prospect, rng)
        return suggest_in_box(prospect, self._floor(prospect.cap), rng).x

    def _rests(self, prospect: Prospect, last: int) -> bool:
        """Whether the `last` runs gained next to nothing."""
        n = len(self.now.X) - last
        return n >= 2 and stagnant(prospect.steps, self._steps(prospect.losses, self.now.X[:n], self.now.log_cost[:n], prospect.cap),
                                   prospect.losses.warp)

    def _prospect(self, cap: float) -> Prospect:
        now, flying = self.now, self.flying
        losses = now.loss.believe(flying) if len(flying) else now.loss
        everything = np.vstack([now.X, flying])
        believed = now.cost.predict(everything)[0]
        log_cost = np.concatenate([now.log_cost, believed[len(now.X):]])
        overhead = None if self.budget is None else math.log(OVERHEAD * self.budget)
        origins = everything[monotone(believed, losses.predict(everything)[0])]
        recent = [o.failed for o in self.observations[-RECENT:]]
        radius = max(LOCAL * (1.0 - sum(recent) / len(recent)), LEAST)
        return Prospect(self.space, now, losses, self._steps(losses, everything, log_cost, cap), origins, cap, flying, radius, overhead)

    def _cheapest(self, X: Array, cap: float) -> Plan:
        """Where nothing is surely within the cap: what most likely is."""
        now = self.now
        chance = now.cost.chance(X, cap)
        best = int(np.argmax(chance))
        if self.budget is not None and (self.max_cost is None or cap < math.log(self.max_cost)):
            raise BudgetSpent(f"no run fits into the {math.exp(cap):.4g} left of {self.budget:.4g}")
        # After twice as many runs as coordinates the model's word on the cost counts.
        if chance[best] < 0.01 and len(now.X) >= 2 * self.space.width + self.initial:
            reached = f"{math.exp(now.log_cost.min()):.4g}"
            limit = math.exp(cap) if self.max_cost is None else self.max_cost
            raise CapUnreachable(f"max_cost {limit:g} cannot be met: the cheapest of {len(now.X)} runs cost {reached}; "
                                 "raise it or widen the space towards cheaper runs")
        return Plan(X[best], LIKELIEST)
