"""CARBS as a search algorithm of Ray Tune: trials by id over the ask/tell core."""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray.tune.search import Searcher

from sweeps.carbs.search import BudgetSpent, CapUnreachable, Carbs
from sweeps.carbs.space import Dimension

log = logging.getLogger(__name__)


class CarbsSearch(Searcher):
    """Suggests what Carbs asks for; learns loss and cost from each trial's last report.

    `metric` (minimised, or maximised under mode="max") and `cost` name reported metrics; the cost
    is a trial's total so far in any one unit: FLOPs, dollars, "time_total_s". A trial that errs or
    ends on a metric that isn't finite is a failure that burnt its last reported cost. Saved as
    JSON; a restored search continues bit for bit, with the trials that were in flight.
    Beside a scheduler that stops trials (ASHA), give its `max_t`, and its `time_attr` where that isn't
    training_iteration: a trial that it stopped before is a run stopped early, not one that ended there.
    Further keywords (seed, max_cost, min_cost, budget, initial) go to Carbs.
    """

    def __init__(self, space: Mapping[str, Dimension], *, cost: str, metric: str | None = None,
                 mode: str | None = None, points_to_evaluate: Sequence[Mapping] = (), max_t: float | None = None,
                 time_attr: str = "training_iteration", **search):
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
        if not isinstance(cost, str) or not cost:
            raise ValueError(f"cost must name a reported metric, got {cost!r}")
        super().__init__(metric=metric, mode=mode if metric else None)
        self._mode, self._cost = mode, cost
        self._max_t, self._time_attr = max_t, time_attr
        self._carbs = Carbs(space, **search)
        for config in points_to_evaluate:
            self._carbs.enqueue(config)
        self._open: dict[str, dict] = {}        # trial id -> config
        self._burnt: dict[str, float] = {}      # trial id -> cost last reported
        self._reached: dict[str, float] = {}    # trial id -> time_attr last reported
        self._over: set[str] = set()            # trials that have ended: Tune may tell of one twice

    @property
    def carbs(self) -> Carbs:
        """The search itself, for its front and laws (losses are negated under mode="max")."""
        return self._carbs

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec) -> bool:
        self._metric, self._mode = metric or self._metric, mode or self._mode
        # The space is ours already: False has Tune refuse a second one in param_space.
        return False

    # ------------------------------------------------------------------ Tune's calls

    def suggest(self, trial_id: str) -> dict | str | None:
        if not self._metric:
            raise ValueError("CarbsSearch: no metric; pass metric= and mode= to CarbsSearch itself "
                             "(Tune hands on TuneConfig's only where there is a param_space)")
        try:
            config = self._carbs.ask(trial_id)
        except (BudgetSpent, CapUnreachable) as end:
            # Trials in flight may come in cheaper than committed for: wait for them.
            if self._open:
                return None
            log.warning("CARBS has finished: %s", end)
            return Searcher.FINISHED
        self._open[trial_id] = config
        return dict(config)

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        if trial_id in self._over:
            return
        self._burnt[trial_id] = self._reported_cost(trial_id, result)
        self._reached[trial_id] = result.get(self._time_attr, 0)
        if self._max_t is not None and self._metric in result and trial_id in self._open and 0 < self._burnt[trial_id] < math.inf:
            self._carbs.report(trial_id, loss=self._loss(trial_id, result), cost=self._burnt[trial_id])

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if trial_id in self._over:
            return
        self._over.add(trial_id)
        if self._open.pop(trial_id, None) is None and not self._adopted(trial_id, result):
            return
        cost, reached = self._burnt.pop(trial_id, None), self._reached.pop(trial_id, None)
        if result and not error:
            cost = self._reported_cost(trial_id, result)
        if cost is not None and not (math.isfinite(cost) and cost > 0):
            log.error("trial %s reported %s = %s, which is no cost: counted as failed at no known cost",
                      trial_id, self._cost, cost)
            self._carbs.fallbacks["a trial's reported cost was not positive and finite"] += 1
            self._carbs.tell_failed(trial_id)
        elif error:
            self._carbs.tell_failed(trial_id, cost=cost)
        elif not result:
            self._carbs.forget(trial_id)    # stopped before its first report: nothing is known of it
        elif self._stopped(result, reached):
            self._carbs.tell_stopped(trial_id, loss=self._loss(trial_id, result), cost=cost)
        else:
            self._carbs.tell(trial_id, loss=self._loss(trial_id, result), cost=cost)

    def _stopped(self, result: Mapping, reached: float | None) -> bool:
        """Whether a scheduler ended the trial: it then hears of a report that on_trial_result was never told."""
        time = result.get(self._time_attr)
        return self._max_t is not None and time is not None and time < self._max_t and time != reached

    def _adopted(self, trial_id: str, result: Mapping | None) -> bool:
        """Take in a trial that was suggested after the last save, from its own report; False where it has none."""
        reported = (result or {}).get("config", {})
        try:
            self._carbs.adopt({name: reported[name] for name in self._carbs.space.dimensions if name in reported}, trial_id)
        except ValueError:
            log.warning("trial %s is unknown here and reports no config of this space: ignored", trial_id)
            return False
        return True

    def _reported_cost(self, trial_id: str, result: Mapping) -> float:
        if self._cost not in result:
            raise ValueError(f"CarbsSearch: trial {trial_id} reports no {self._cost!r}, the metric named as cost; "
                             f"it reports {sorted(k for k in result if k != 'config')}")
        return float(result[self._cost])

    def _loss(self, trial_id: str, result: Mapping) -> float:
        if self._metric not in result:
            raise ValueError(f"CarbsSearch: trial {trial_id} reports no {self._metric!r}, the metric to tune; "
                             f"it reports {sorted(k for k in result if k != 'config')}")
        value = float(result[self._metric])
        return -value if self._mode == "max" else value

    # ------------------------------------------------------------------ state

    def get_state(self) -> dict:
        return {"carbs": self._carbs.state_dict(), "open": {k: dict(v) for k, v in self._open.items()},
                "burnt": dict(self._burnt), "reached": dict(self._reached), "over": sorted(self._over), "metric": self._metric, "mode": self._mode, "cost": self._cost}

    def set_state(self, state: Mapping) -> None:
        if state["cost"] != self._cost:
            raise ValueError(f"the saved search's cost is {state['cost']!r}, this one's {self._cost!r}")
        carbs = Carbs.from_state_dict(state["carbs"])
        if carbs.space.to_json() != self._carbs.space.to_json():
            raise ValueError("the saved search's space differs from this one's; restore with the same space")
        self._carbs = carbs
        self._open = {k: dict(v) for k, v in state["open"].items()}
        self._burnt, self._reached, self._over = dict(state["burnt"]), dict(state.get("reached", {})), set(state["over"])
        self._metric, self._mode = state["metric"], state["mode"]

    def save(self, checkpoint_path: str) -> None:
        path = Path(checkpoint_path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with open(temporary, "w") as file:
            json.dump(self.get_state(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def restore(self, checkpoint_path: str) -> None:
        self.set_state(json.loads(Path(checkpoint_path).read_text()))
