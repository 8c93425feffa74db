"""Cost-aware Pareto-region Bayesian search by ask and tell (after Fetterman et al. 2023).

Starts at the space's center, walks up the performance-cost front by local steps, and learns
the front's laws on the way. Differs from the paper where the paper's code was measured to
fail: the models are trained, the cap holds under the predictive distribution, a spending
budget is a term of the acquisition, and a saved search continues bit for bit.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from sweeps.carbs.acquisition import Staircase, staircase
from sweeps.carbs.beliefs import Beliefs, Learnt, Observation, believe
from sweeps.carbs.design import INITIAL_RADIUS, design_point
from sweeps.carbs.front import Front, FrontPoint, monotone
from sweeps.carbs.laws import ScalingLaws, scaling_laws
from sweeps.carbs.space import Dimension, Space
from sweeps.carbs.suggest import Prospect, suggest
from sweeps.carbs.surrogate import LossModel

Array = np.ndarray
log = logging.getLogger(__name__)

# Gains are discounted by a Gaussian about the nearest run of the front, of this radius where every run
# finishes, and smaller by the share that failed of the last RECENT, down to LEAST: a model that runs
# into failures is trusted less far out, where a space of many coordinates has more corners than runs.
LOCAL, LEAST, RECENT = 1.0, 0.15, 10
# Under a budget a run is charged its cost plus this share of the whole budget: cheap runs
# aren't free, and none is so dear that its gain per cost is never the best.
OVERHEAD = 0.01


class BudgetSpent(Exception):
    """No run fits into what is left of the budget."""


class CapUnreachable(ValueError):
    """Nothing in the space is believed to cost as little as max_cost."""


class Carbs:
    """Search over `space` (name -> Log, Linear, Logit, Integer, Choice) for the whole front.

    max_cost: no run shall cost more; held as P(cost <= max_cost) >= 0.95 for every run let go.
    min_cost: cheaper runs than this are of no interest; by default the first finished run's cost.
    budget: what all runs together may cost; gains are then weighed against their cost.
    initial: runs drawn about the center before the models take over; at least 2.
    """

    def __init__(self, space: Mapping[str, Dimension] | Space, *, seed: int = 0, max_cost: float | None = None,
                 min_cost: float | None = None, budget: float | None = None, initial: int | None = None):
        self.space = space if isinstance(space, Space) else Space(space)
        for name, value in (("max_cost", max_cost), ("min_cost", min_cost), ("budget", budget)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if max_cost is not None and min_cost is not None and min_cost >= max_cost:
            raise ValueError(f"min_cost must be below max_cost, got {min_cost:g} and {max_cost:g}")
        # 4 as in the reference, and one more for every 3 coordinates: a trend needs some spread.
        self.initial = 4 + self.space.width // 3 if initial is None else int(initial)
        if self.initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        self.seed, self.max_cost, self.min_cost, self.budget = int(seed), max_cost, min_cost, budget
        self.observations: list[Observation] = []
        self.fallbacks: Counter[str] = Counter()    # why a suggestion wasn't the model's, and how often
        self._rng = np.random.default_rng(seed)
        self._pending: list[dict] = []
        self._queue: list[dict] = []
        self._asked = 0                             # design points drawn
        self._learnt = Learnt()                     # what the last suggestion's models came to
        self._beliefs: Beliefs | None = None

    # ------------------------------------------------------------------ ask and tell

    @property
    def pending(self) -> list[dict]:
        """Configs asked for and not yet told, oldest first."""
        return [dict(config) for config in self._pending]

    @property
    def spent(self) -> float:
        """Cost of all runs told, failed ones included."""
        return math.fsum(o.cost for o in self.observations if o.cost is not None)

    @property
    def floor(self) -> float:
        """Cost below which runs are of no interest: min_cost, or the first finished run's."""
        return self.min_cost or next(o.cost for o in self.observations if o.loss is not None)

    def enqueue(self, config: Mapping) -> None:
        """Have `ask` return this config before any of its own. Raises ValueError if it isn't of the space."""
        self._queue.append(self.space.check(config))

    def adopt(self, config: Mapping) -> None:
        """Count a run begun elsewhere (an older table, a lost message) as asked for, so that it can be told."""
        self._pending.append(self.space.check(config))

    def ask(self) -> dict:
        """The next config to run. Raises BudgetSpent or CapUnreachable."""
        if self._queue:
            config = self._queue.pop(0)
        elif self._model_ready():
            config = self.space.decode(self._suggest())
        else:
            config = self._design()
        self._pending.append(config)
        return dict(config)

    def tell(self, config: Mapping, *, loss: float, cost: float) -> None:
        """A run finished. A loss of NaN or infinity is a failure that burnt `cost`."""
        cost = _positive(cost)
        self._settle(config, Observation(dict(config), float(loss) if math.isfinite(loss) else None, cost))

    def tell_failed(self, config: Mapping, cost: float | None = None) -> None:
        """A run crashed, diverged or ran out of memory, having burnt `cost` where known."""
        self._settle(config, Observation(dict(config), None, None if cost is None else _positive(cost)))

    def forget(self, config: Mapping) -> None:
        """A run was called off: neither a result nor a failure."""
        self._pending.pop(self._place(config))

    def _place(self, config: Mapping) -> int:
        for i, asked in enumerate(self._pending):
            if asked == dict(config):
                return i
        if any(o.config == dict(config) for o in self.observations):
            raise ValueError(f"this config has been told already: {dict(config)}")
        raise ValueError(f"this config was never asked for: {dict(config)}; adopt it first")

    def _settle(self, config: Mapping, observation: Observation) -> None:
        self._pending.pop(self._place(config))
        self.observations.append(observation)
        self._beliefs = None

    # ------------------------------------------------------------------ first runs

    def _finished(self) -> list[Observation]:
        return [o for o in self.observations if o.loss is not None]

    def _model_ready(self) -> bool:
        return len(self._finished()) >= 2 and len(self.observations) + len(self._pending) >= self.initial

    def _design(self) -> dict:
        """The center, then a scrambled Sobol sequence through a Gaussian about the best run so far."""
        if self._asked == 0:
            self._asked, center = 1, self.space.center()
            # A search that goes on from an older table has its run already.
            if center not in [o.config for o in self.observations]:
                return center
        base, limit = self._design_base()
        if len(self.observations) > self.initial:
            self._fall_back("too few runs have finished for a model: sampling about the center")
        # Where nothing finishes near the center, look further afield: a tenth more each failure.
        radius = INITIAL_RADIUS * 1.1 ** max(0, len(self.observations) - self.initial)
        if base is not None and base.cost < limit < math.inf:
            # No model knows the cost yet. With two or three coordinates in it at slopes near 1, two
            # sd of its log are three radii: keep those under the limit, and still see a slope.
            radius = min(radius, max(math.log10(limit / base.cost) / 3, 0.03))
        about = self.space.encode(self.space.center() if base is None else base.config)
        x = design_point(self.space, about, self._asked, radius=radius, seed=self.seed)
        self._asked += 1
        return self.space.decode(x)

    def _design_base(self) -> tuple[Observation | None, float]:
        """The run to sample about (None: the center), and the most a run may cost. Raises BudgetSpent."""
        finished, limit = self._finished(), self.max_cost or math.inf
        if self.budget is not None and finished:
            # Those in flight may each cost twice the dearest so far: one sd of the first runs' scatter.
            left = self.budget - self.spent - 2.0 * len(self._pending) * max(o.cost for o in finished)
            if left <= min(o.cost for o in finished):
                raise BudgetSpent(f"spent {self.spent:.4g} of {self.budget:.4g}, {len(self._pending)} runs in flight")
            limit = min(limit, left)
        within = [o for o in finished if o.cost < limit]
        if within:
            return min(within, key=lambda o: o.loss), limit
        return min(finished, key=lambda o: o.cost, default=None), limit

    def _fall_back(self, why: str) -> None:
        self.fallbacks[why] += 1
        log.warning("%s (%d times)", why, self.fallbacks[why])

    # ------------------------------------------------------------------ models

    def beliefs(self) -> Beliefs:
        """The models given all that was told, fitted at most once per observation.

        Looking changes nothing: the hyperparameters that the next fit starts from are those of the
        last suggestion. Raises ValueError under 2 finished runs.
        """
        if self._beliefs is None:
            self._beliefs = believe(self.space, self.observations, self._learnt)
        return self._beliefs

    # ------------------------------------------------------------------ the model's suggestion

    def _log_cap(self, now: Beliefs, pending: Array) -> float:
        """Log of the dearest run allowed: by the cap, by what is left of the budget, by reach."""
        # Without a cap, a decade above the dearest run: the walk up goes on, one stride at a time.
        cap = now.log_cost.max() + math.log(10.0) if self.max_cost is None else math.log(self.max_cost)
        if self.budget is None:
            return cap
        committed = now.cost.total(pending) if len(pending) else 0.0
        left = self.budget - self.spent - committed
        # What is left buys nothing but runs too cheap to be of interest.
        if left <= self.floor:
            raise BudgetSpent(f"spent {self.spent:.4g} of {self.budget:.4g}, {committed:.4g} more in flight")
        return min(cap, math.log(left))

    def _steps(self, now: Beliefs, losses: LossModel, X: Array, cap: float) -> Staircase:
        """The believed front through runs finished and pending."""
        mean, _ = losses.predict(X)
        log_cost = np.concatenate([now.log_cost, now.cost.predict(X[len(now.X):])[0]]) if len(X) > len(now.X) \
            else now.log_cost
        # A tenth below a cap that is below the floor: the front to improve is then the cap's alone.
        return staircase(log_cost, mean, min(math.log(self.floor), cap - 0.1), cap, losses.warp)

    def _suggest(self) -> Array:
        now = self.beliefs()
        self._learnt = now.learnt
        pending = np.array([self.space.encode(c) for c in self._pending]).reshape(-1, self.space.width)
        cap = self._log_cap(now, pending)
        found = suggest(self._prospect(now, pending, cap), self._rng)
        return self._cheapest(now, self.space.snap(found.tried), cap) if found.x is None else found.x

    def _prospect(self, now: Beliefs, pending: Array, cap: float) -> Prospect:
        losses = now.loss.believe(pending) if len(pending) else now.loss
        everything = np.vstack([now.X, pending])
        overhead = None if self.budget is None else math.log(OVERHEAD * self.budget)
        mean, _ = losses.predict(everything)
        origins = everything[monotone(now.cost.predict(everything)[0], mean)]
        recent = [o.loss is None for o in self.observations[-RECENT:]]
        radius = max(LOCAL * (1.0 - sum(recent) / len(recent)), LEAST)
        return Prospect(self.space, now, losses, self._steps(now, losses, everything, cap), origins, cap, radius, overhead)

    def _cheapest(self, now: Beliefs, X: Array, cap: float) -> Array:
        """Where nothing is surely within the cap: what most likely is."""
        chance = now.cost.chance(X, cap)
        best = int(np.argmax(chance))
        if self.budget is not None and (self.max_cost is None or cap < math.log(self.max_cost)):
            raise BudgetSpent(f"no run fits into the {math.exp(cap):.4g} left of {self.budget:.4g}")
        # After twice as many runs as coordinates the model's word on the cost counts.
        if chance[best] < 0.01 and len(now.X) >= 2 * self.space.width + self.initial:
            raise CapUnreachable(f"max_cost {self.max_cost:g} cannot be met: the cheapest of {len(now.X)} runs cost "
                             f"{math.exp(now.log_cost.min()):.4g}; raise it or widen the space towards cheaper runs")
        self._fall_back("no candidate is within max_cost with probability 0.95: taking the likeliest")
        return X[best]

    # ------------------------------------------------------------------ what was learnt

    def front(self) -> Front:
        """Finished runs no other is believed to beat at equal or lower cost, with the model's uncertainty."""
        now = self.beliefs()
        groups: dict[tuple, list[int]] = {}
        for i, x in enumerate(now.X):
            groups.setdefault(tuple(x), []).append(i)
        first = [members[0] for members in groups.values()]
        cost = np.array([np.exp(now.log_cost[m]).mean() for m in groups.values()])
        mean, sd = now.loss.predict(now.X[first])
        finished, counts = self._finished(), [len(m) for m in groups.values()]
        warp = now.loss.warp
        return Front(tuple(
            FrontPoint(dict(finished[first[i]].config), float(cost[i]), float(warp.inverse(mean[i])),
                       float(warp.inverse(mean[i] - 1.96 * sd[i])), float(warp.inverse(mean[i] + 1.96 * sd[i])),
                       counts[i]) for i in monotone(cost, mean)))

    # ------------------------------------------------------------------ state

    def scaling_laws(self, **options: object) -> ScalingLaws:
        """Every numeric hyperparameter's optimum as a power law of the cost: see sweeps.carbs.laws.scaling_laws.

        Raises ValueError where the front is too short to say anything.
        """
        return scaling_laws(self, **options)

    def state_dict(self) -> dict:
        """All there is, as plain JSON: a search made from it continues bit for bit."""
        return {"space": self.space.to_json(), "seed": self.seed, "max_cost": self.max_cost,
                "min_cost": self.min_cost, "budget": self.budget, "initial": self.initial,
                "observations": [asdict(o) for o in self.observations], "pending": self.pending,
                "queue": [dict(c) for c in self._queue], "asked": self._asked, **asdict(self._learnt),
                "fallbacks": dict(self.fallbacks), "rng": self._rng.bit_generator.state}

    @classmethod
    def from_state_dict(cls, state: Mapping) -> "Carbs":
        search = cls(Space.from_json(state["space"]), seed=state["seed"], max_cost=state["max_cost"],
                     min_cost=state["min_cost"], budget=state["budget"], initial=state["initial"])
        search.observations = [Observation(**o) for o in state["observations"]]
        search._pending = [dict(c) for c in state["pending"]]
        search._queue = [dict(c) for c in state["queue"]]
        search._asked = state["asked"]
        search._learnt = Learnt(**{name: state[name] for name in Learnt.__dataclass_fields__})
        search.fallbacks = Counter(state["fallbacks"])
        search._rng.bit_generator.state = state["rng"]
        return search


def _positive(cost: float) -> float:
    if not (math.isfinite(cost) and cost > 0):
        raise ValueError(f"cost must be positive and finite, got {cost}; report what the run burnt in any one unit")
    return float(cost)
