"""CARBS as a sampler of Optuna: studies over the same ask/tell core."""

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.carbs.search import Carbs
from sweeps.carbs.space import Choice, Dimension, Integer, Log

# Optuna has no unbounded distribution: as basic coordinates, these are beyond every bound.
FAR = 1e300
OVER = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


class CarbsSampler(BaseSampler):
    """Samples what Carbs asks for, in studies of one objective.

    The objective suggests every name of `space` and no other, within bounds that hold the values
    asked for, and sets the user attribute `cost` before it returns, or before it raises where a
    failed run's cost is known. Failed and pruned trials, and losses that aren't finite, are
    failures. Finished trials that a study already has, or that other workers add to it, are learnt
    from. Raises BudgetSpent and CapUnreachable through study.optimize, as Carbs.ask does. Further
    keywords (seed, max_cost, min_cost, budget, initial) go to Carbs.
    """

    def __init__(self, space: Mapping[str, Dimension], *, cost: str = "cost", **search):
        self.carbs = Carbs(space, **search)
        self._cost = cost
        self._open: dict[int, dict] = {}    # trial number -> config
        self._told: set[int] = set()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: _distribution(dim) for name, dim in self.carbs.space.dimensions.items()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict:
        if len(study.directions) != 1:
            raise ValueError(f"CarbsSampler: one objective, got {len(study.directions)}; the cost is a user attribute")
        for other in study.get_trials(deepcopy=False, states=OVER):
            if other.number not in self._told:
                self._tell(study, other, other.state, other.values)
        config = self._open[trial.number] = self.carbs.ask()
        return dict(config)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution):
        asked = self._open.get(trial.number, {})
        if param_name in asked:
            raise ValueError(f"CarbsSampler: {param_name} = {asked[param_name]!r} does not fit {param_distribution}: "
                             "give the space the objective's bounds")
        raise ValueError(f"CarbsSampler: {param_name!r} is not in its space ({', '.join(self.carbs.space.dimensions)})")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._tell(study, trial, state, values)

    def _tell(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._told.add(trial.number)
        config, cost = self._open.pop(trial.number, None), trial.user_attrs.get(self._cost)
        if config is None:
            if set(trial.params) != set(self.carbs.space.dimensions):
                return      # ended before it was given a config, or is of another objective
            config = dict(trial.params)
            self.carbs.adopt(config)
        if state is not TrialState.COMPLETE:
            self.carbs.tell_failed(config, cost=cost)
            return
        if cost is None:
            self.carbs.forget(config)
            raise ValueError(f"CarbsSampler: trial {trial.number} set no user attribute {self._cost!r}: "
                             f"call trial.set_user_attr({self._cost!r}, ...) in the objective")
        sign = -1.0 if study.directions[0] is StudyDirection.MAXIMIZE else 1.0
        self.carbs.tell(config, loss=sign * values[0], cost=cost)


def _distribution(dim: Dimension) -> BaseDistribution:
    if isinstance(dim, Choice):
        return CategoricalDistribution(dim.options)
    if isinstance(dim, Integer):
        low = dim.low if dim.low is not None else (1 if dim.log else -2**53)
        return IntDistribution(low, dim.high if dim.high is not None else 2**53, log=dim.log)
    # Of an unbounded dimension, the values farthest out that it can express.
    low, high = (dim.decode([end]) for end in (-FAR / dim.scale, FAR / dim.scale))
    return FloatDistribution(low, high, log=isinstance(dim, Log))
