"""CARBS as a sampler of Optuna: studies over the same ask/tell core."""

from collections.abc import Mapping, Sequence

from optuna import TrialPruned
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.carbs.search import BudgetSpent, CapUnreachable, Carbs
from sweeps.carbs.space import Dimension

OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


class CarbsSampler(BaseSampler):
    """Samples what Carbs asks for, in studies of one objective.

    The objective suggests every name of `space` and no other, by any suggest_ method whose range holds
    the values asked for (a `step` rounds them), and sets the user attribute `cost` before it returns, or
    before it raises where a failed run's cost is known. Failed trials, and losses that aren't finite, are
    failures; a pruned trial that reported intermediate values is a run stopped early, at the last of them.
    Finished trials that a study already has, or that other workers add to it, are learnt from. Where
    nothing is left to ask for, study.optimize ends after a last, pruned trial; study.ask raises
    BudgetSpent or CapUnreachable. Further keywords (seed, max_cost, min_cost, budget, initial) go to Carbs.
    """

    def __init__(self, space: Mapping[str, Dimension], *, cost: str = "cost", **search):
        self.carbs = Carbs(space, **search)
        self._cost = cost
        self._open: dict[int, dict] = {}    # trial number -> config
        self._told: set[int] = set()
        self._ended: dict[int, str] = {}    # trial number -> why there was nothing to ask for

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}       # values are handed out one by one: Optuna would want to know their distributions beforehand

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict:
        if len(study.directions) != 1:
            raise ValueError(f"CarbsSampler: one objective, got {len(study.directions)}; the cost is a user attribute")
        for other in study.get_trials(deepcopy=False, states=OVER):
            if other.number not in self._told:
                self._tell(study, other, other.state, other.values)
        try:
            self._open[trial.number] = self.carbs.ask()
        except (BudgetSpent, CapUnreachable) as end:
            try:
                study.stop()
            except RuntimeError:        # not inside optimize: the caller is told
                raise end from None
            self._ended[trial.number] = str(end)
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution):
        if trial.number in self._ended:
            raise TrialPruned(self._ended[trial.number])
        asked = self._open.get(trial.number, {})
        if param_name not in asked:
            raise ValueError(f"CarbsSampler: {param_name!r} is not in its space ({', '.join(self.carbs.space.dimensions)})"
                             + (", or depends on another's value" if param_name in self.carbs.space.conditions else ""))
        value = _stepped(asked[param_name], param_distribution)
        if not _holds(param_distribution, value):
            raise ValueError(f"CarbsSampler: {param_name} = {value!r} does not fit {param_distribution}: "
                             "give the space the objective's bounds")
        return value

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._tell(study, trial, state, values)

    def _tell(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        if trial.number in self._ended or trial.number in self._told:
            return
        self._told.add(trial.number)
        config, cost = self._settled(trial), trial.user_attrs.get(self._cost)
        if config is None:
            return
        sign = -1.0 if study.directions[0] is StudyDirection.MAXIMIZE else 1.0
        seen = trial.intermediate_values
        if state is TrialState.PRUNED and seen and cost is not None:
            self.carbs.tell_stopped(config, loss=sign * seen[max(seen)], cost=cost)
        elif state is not TrialState.COMPLETE:
            self.carbs.tell_failed(config, cost=cost)
        elif cost is None:
            self.carbs.forget(config)
            raise ValueError(f"CarbsSampler: trial {trial.number} set no user attribute {self._cost!r}: "
                             f"call trial.set_user_attr({self._cost!r}, ...) in the objective")
        else:
            self.carbs.tell(config, loss=sign * values[0], cost=cost)

    def _settled(self, trial: FrozenTrial) -> dict | None:
        """The config that was run, in flight; None where the trial ended before it had one, or is of another objective."""
        asked = self._open.pop(trial.number, None)
        try:
            ran = self.carbs.space.check(trial.params)
        except ValueError:
            return asked        # an objective that failed halfway through its suggestions
        if asked == ran:
            return ran
        if asked is not None:
            self.carbs.forget(asked)    # a step rounded it, or a trial was enqueued with values of its own
        self.carbs.adopt(ran)
        return ran


def _stepped(value: object, distribution: BaseDistribution) -> object:
    """The nearest value on the distribution's grid, where it has one."""
    step = getattr(distribution, "step", None)
    if step is None or not isinstance(value, (int, float)) or not distribution.low <= value <= distribution.high:
        return value
    value = distribution.low + round((value - distribution.low) / step) * step
    return min(value, distribution.high)


def _holds(distribution: BaseDistribution, value: object) -> bool:
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high
    return value in distribution.choices
