"""Cost-aware Pareto-region Bayesian search by ask and tell (after Fetterman et al. 2023).

Starts at the space's center, walks up the performance-cost front by local steps, and learns
the front's laws on the way. Differs from the paper where the paper's code was measured to
fail: the models are trained, the cap holds under the predictive distribution, a spending
budget is a term of the acquisition, and a saved search continues bit for bit.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

import numpy as np

from sweeps.carbs.beliefs import Beliefs, Learnt, believe
from sweeps.carbs.design import BudgetSpent, base_of, design_point
from sweeps.carbs.front import Front, front_of
from sweeps.carbs.laws import ScalingLaws, scaling_laws
from sweeps.carbs.observation import Ask, Known, Observation, cost_of, loss_of, positive, whole
from sweeps.carbs.plan import CapUnreachable, Situation
from sweeps.carbs.space import Dimension, Space
from sweeps.carbs.stopping import hopeless, least_loss
from sweeps.carbs.surrogate import spread

__all__ = ["BudgetSpent", "CapUnreachable", "Carbs"]

Array = np.ndarray
log = logging.getLogger(__name__)

# Runs in flight that the models are told of, as exact algebra on them takes its time.
FLYING = 256


class Carbs:
    """Search over `space` (name -> Log, Linear, Logit, Integer, PowerOfTwo, Listed, Choice) for the whole front.

    max_cost: no run shall cost more; held as P(cost <= max_cost) >= 0.95 for every run let go.
    min_cost: cheaper runs than this are of no interest; by default the first finished run's cost.
    budget: what all runs together may cost; gains are then weighed against their cost.
    initial: runs drawn about the center before the models take over; at least 2.
    maximise: larger is better. Front and laws are of the metric as told; observations hold its negative.
    """

    def __init__(self, space: Mapping[str, Dimension] | Space, *, seed: int = 0, max_cost: float | None = None,
                 min_cost: float | None = None, budget: float | None = None, initial: int | None = None,
                 maximise: bool = False):
        self.space = space if isinstance(space, Space) else Space(space)
        max_cost, min_cost, budget = (None if value is None else positive(name, value) for name, value in (
            ("max_cost", max_cost), ("min_cost", min_cost), ("budget", budget)))
        if max_cost is not None and min_cost is not None and min_cost >= max_cost:
            raise ValueError(f"min_cost must be below max_cost, got {min_cost:g} and {max_cost:g}")
        if max_cost is not None and budget is not None and max_cost > budget:
            raise ValueError(f"max_cost of one run must not exceed the budget of all, got {max_cost:g} and {budget:g}")
        # 4 as in the reference, and one more for every 3 coordinates: a trend needs some spread.
        self.initial = 4 + self.space.width // 3 if initial is None else whole("initial", initial)
        if self.initial < 2:
            raise ValueError(f"initial must be at least 2, got {initial}")
        self.seed, self.max_cost, self.min_cost, self.budget = whole("seed", seed), max_cost, min_cost, budget
        self.maximise = bool(maximise)
        self.observations: list[Observation] = []
        self.fallbacks: Counter[str] = Counter()    # why a suggestion wasn't the model's, and how often
        self._rng = np.random.default_rng(self.seed)
        self._asks: list[Ask] = []
        self._queue: list[dict] = []
        self._asked = 0                             # design points drawn
        self._learnt = Learnt()                     # what the last suggestion's models came to
        self._beliefs: Beliefs | None = None

    # ------------------------------------------------------------------ ask and tell

    @property
    def pending(self) -> list[dict]:
        """Configs asked for and not yet told, oldest first."""
        return [dict(ask.config) for ask in self._asks]

    @property
    def spent(self) -> float:
        """Cost of all runs told, failed ones included."""
        with np.errstate(over="ignore"):
            return float(np.sum([o.cost for o in self.observations if o.cost is not None]))

    @property
    def floor(self) -> float:
        """Cost below which runs are of no interest: min_cost, or the first finished run's."""
        return self.min_cost or next(o.cost for o in self.observations if o.finished)

    def enqueue(self, config: Mapping) -> None:
        """Have `ask` return this config before any of its own. Raises ValueError if it isn't of the space."""
        self._queue.append(self.space.check(config))

    def adopt(self, config: Mapping, id: str | None = None) -> None:
        """Count a run begun elsewhere (an older table, a lost message) as asked for, so that it can be told."""
        config = self.space.check(config)
        self._enter(config, id)

    def recall(self, runs: Iterable[tuple[Mapping, float | None, float | None]]) -> None:
        """Take in known runs, (config, loss, cost) each; a loss of None is a failed run, whose cost may be None.

        Raises ValueError, having taken in none of them, where one of them doesn't belong.
        """
        known = [self._observed(self.space.check(config), loss, cost) for config, loss, cost in runs]
        self.observations += known
        self._beliefs = None

    def ask(self, id: str | None = None) -> dict:
        """The next config to run, told of by itself or by `id`. Raises BudgetSpent or CapUnreachable."""
        self._refuse_known(id)
        if self._queue:
            config = self._queue.pop(0)
        elif self._model_ready():
            config = self.space.decode(self._suggest())
        else:
            config = self._design()
        self._enter(config, id)
        return dict(config)

    def tell(self, run: Mapping | str, *, loss: float, cost: float) -> None:
        """A run, by its config or id, finished. A loss of NaN or infinity is a failure that burnt `cost`."""
        place = self._place(run)
        observation = self._observed(self._asks[place].config, loss_of(loss), cost_of(cost))
        self._settle(place, observation)

    def tell_failed(self, run: Mapping | str, cost: float | None = None) -> None:
        """A run crashed, diverged or ran out of memory, having burnt `cost` where known."""
        place = self._place(run)
        self._settle(place, self._observed(self._asks[place].config, None, cost))

    def tell_stopped(self, run: Mapping | str, *, loss: float, cost: float) -> None:
        """A run was ended early, at this loss and cost so far: it would have come out at this loss or better."""
        place = self._place(run)
        ask, known = self._asks[place], self._observed(self._asks[place].config, loss_of(loss), cost_of(cost))
        least = None
        if ask.curve and known.loss is not None and self._model_ready():
            least = min(known.loss, least_loss(ask.curve, self._front(), max(self._full_cost(ask.config), known.cost)))
        self._settle(place, known if known.loss is None else replace(known, stopped=True, least=least))

    def report(self, run: Mapping | str, *, loss: float, cost: float) -> bool:
        """A run has come so far. Returns whether it should go on: False where it can't reach the front."""
        ask, loss, cost = self._asks[self._place(run)], loss_of(loss), cost_of(cost)
        if loss is None:
            return True     # a spike says nothing of the end: the run's owner knows what to do with it
        if not ask.curve or cost > ask.curve[-1][0]:
            ask.curve.append((cost, -loss if self.maximise else loss))
        if len([o for o in self.observations if o.finished]) < 2 * self.initial:
            return True
        now = self.beliefs()
        return not hopeless(ask.curve, self._front(), self._full_cost(ask.config), now.loss.noise)

    def forget(self, run: Mapping | str) -> None:
        """A run was called off: neither a result nor a failure."""
        self._asks.pop(self._place(run))

    def _observed(self, config: Mapping, loss: float | None, cost: float | None) -> Observation:
        loss = None if loss is None else loss_of(loss)
        cost = None if cost is None and loss is None else cost_of(cost)
        return Observation(dict(config), -loss if self.maximise and loss is not None else loss, cost)

    def _full_cost(self, config: Mapping) -> float:
        return float(np.exp(self.beliefs().cost.predict(self.space.encode(config)[None])[0][0]))

    def _enter(self, config: dict, id: str | None) -> None:
        self._refuse_known(id)
        self._asks.append(Ask(dict(config), id))

    def _refuse_known(self, id: str | None) -> None:
        if id is not None and (not isinstance(id, str) or any(ask.id == id for ask in self._asks)):
            raise ValueError(f"id must be a text that no run in flight has, got {id!r}")

    def _place(self, run: Mapping | str) -> int:
        """Index among the asks. Raises ValueError where there is no such run in flight."""
        if isinstance(run, str):
            for i, ask in enumerate(self._asks):
                if ask.id == run:
                    return i
            raise ValueError(f"no run in flight has the id {run!r}")
        for i, ask in enumerate(self._asks):
            if ask.config == dict(run):
                return i
        if any(o.config == dict(run) for o in self.observations):
            raise ValueError(f"this config has been told already: {dict(run)}")
        raise ValueError(f"this config was never asked for: {dict(run)}; adopt it first")

    def _settle(self, place: int, observation: Observation) -> None:
        self._asks.pop(place)
        self.observations.append(observation)
        self._beliefs = None

    # ------------------------------------------------------------------ first runs

    def _finished(self) -> list[Observation]:
        return [o for o in self.observations if o.finished]

    def _model_ready(self) -> bool:
        return len(self._finished()) >= 2 and len(self.observations) + len(self._asks) >= self.initial

    def _design(self) -> dict:
        """The center, then a scrambled Sobol sequence through a Gaussian about the best run so far. Raises BudgetSpent."""
        if self._asked == 0:
            self._asked, center = 1, self.space.center()
            # A search that goes on from an older table has its run already.
            if center not in [o.config for o in self.observations]:
                return center
        base = base_of(self._finished(), max_cost=self.max_cost or math.inf, budget=self.budget, spent=self.spent,
                       flying=len(self._asks))
        failed = max(0, len(self.observations) - self.initial)
        if failed:
            self._fall_back("too few runs have finished for a model: sampling about the center")
        about = self.space.encode(self.space.center() if base.run is None else base.run.config)
        x = design_point(self.space, about, self._asked, radius=base.radius(failed), seed=self.seed)
        self._asked += 1
        return self.space.decode(x)

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

    def _suggest(self) -> Array:
        now = self.beliefs()
        self._learnt = now.learnt
        # Of a thousand runs in flight some say where the others are.
        some = [self._asks[i] for i in spread(len(self._asks), FLYING)]
        flying = np.array([self.space.encode(ask.config) for ask in some]).reshape(-1, self.space.width)
        plan = Situation(self.space, now, flying, self.observations, len(self.observations) + len(self._asks), self.initial,
                         self.floor, self.max_cost, self.budget, self.spent).next(self._rng)
        if plan.doubt:
            self._fall_back(plan.doubt)
        return plan.x

    # ------------------------------------------------------------------ what was learnt

    def front(self) -> Front:
        """Finished runs no other is believed to beat at equal or lower cost, with the model's uncertainty."""
        front = self._front()
        return front.negated() if self.maximise else front

    def _front(self) -> Front:
        return front_of([o.config for o in self._finished()], self.beliefs())

    def scaling_laws(self, **options: object) -> ScalingLaws:
        """Every numeric hyperparameter's optimum as a power law of the cost: see sweeps.carbs.laws.scaling_laws.

        Raises ValueError where the front is too short to say anything.
        """
        return scaling_laws(self, **options)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict:
        """All there is, as plain JSON: a search made from it continues bit for bit."""
        return {"space": self.space.to_json(), "seed": self.seed, "max_cost": self.max_cost, "min_cost": self.min_cost,
                "budget": self.budget, "initial": self.initial, "maximise": self.maximise,
                "observations": [asdict(o) for o in self.observations], "asks": [asdict(ask) for ask in self._asks],
                "queue": [dict(c) for c in self._queue], "asked": self._asked, "learnt": asdict(self._learnt),
                "fallbacks": dict(self.fallbacks), "rng": self._rng.bit_generator.state}

    @classmethod
    def from_state_dict(cls, state: Mapping, space: Mapping[str, Dimension] | Space | None = None, **changes) -> "Carbs":
        """The search that `state_dict` was called on; `changes` (max_cost, budget, ...) replace what it was made with.

        Under another `space` (other bounds, names more or fewer) the runs so far stay known, new names
        at their centers; runs in flight stay so, and those that the new space can't express are dropped
        and counted in `fallbacks`.
        """
        words = ("seed", "max_cost", "min_cost", "budget", "initial", "maximise")
        old = Space.from_json(state["space"])
        search = cls(old if space is None else space, **{**{k: state[k] for k in words if k in state}, **changes})
        known = Known.of(state)
        if search.space.to_json() == old.to_json():
            # Of a state saved by an older version, learnt lies flat.
            search._learnt = Learnt(**state.get("learnt") or {k: state[k] for k in Learnt.__dataclass_fields__})
        else:
            known = known.moved(search.space)
        search.observations, search._asks, search._queue = known.observations, known.asks, known.queue
        search._asked = state["asked"]
        search.fallbacks = Counter(state["fallbacks"]) + Counter(known.dropped)
        search._rng.bit_generator.state = state["rng"]
        return search
