"""SMAC3 (Lindauer et al. 2022, JMLR 23) as a rival: random forests, ParEGO over loss and log cost.

An optional one, `pip install smac`, imported when a search begins. Told the formula of the cost and the box, as Optuna's are.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.carbs.bench.asked import answered


class SmacRival:
    """Searches `ranges` (name -> (low, high) or options); `config_of` makes a config of the values.

    Raises ImportError, in one line, where smac isn't installed.
    """

    def __init__(self, seed: int, *, ranges: Mapping[str, tuple], first: Mapping, config_of: Callable[[dict], dict]):
        try:
            from ConfigSpace import Categorical, Configuration, ConfigurationSpace, Float
            from smac import HyperparameterOptimizationFacade as Facade
            from smac import Scenario
            from smac.runhistory.dataclasses import TrialValue
            from smac.runhistory.enumerations import StatusType
        except ImportError as error:
            raise ImportError(f"method smac needs `pip install smac` ({error})") from None
        space = ConfigurationSpace({name: Categorical(name, r) if any(isinstance(v, str) for v in r) else Float(name, r)
                                    for name, r in ranges.items()}, seed=seed)
        self.config_of, self.value, self.failed = config_of, TrialValue, StatusType.CRASHED
        self.folder = tempfile.TemporaryDirectory()
        # It ends a search at n_trials: more than any benchmark asks for.
        scenario = Scenario(space, objectives=["loss", "log_cost"], n_trials=100_000, seed=seed, deterministic=True,
                            output_directory=Path(self.folder.name))
        center = Configuration(space, values=dict(first))
        design = Facade.get_initial_design(scenario, n_configs=4 + len(ranges), additional_configs=[center])
        self.smac = Facade(scenario, lambda config, seed=0: [0.0, 0.0], logging_level=False, overwrite=True,
                           initial_design=design, intensifier=Facade.get_intensifier(scenario, max_config_calls=1),
                           multi_objective_algorithm=Facade.get_multi_objective_algorithm(scenario))
        self.asked: list[tuple[dict, object]] = []

    def ask(self) -> dict:
        info = self.smac.ask()
        config = self.config_of(dict(info.config))
        self.asked.append((config, info))
        return config

    def tell(self, config: dict, loss: float, cost: float) -> None:
        info = answered(self.asked, config)
        if math.isnan(loss):
            # Its objectives' worst so far would stand in; a finite loss beyond any of ours is needed where there is none.
            self.smac.tell(info, self.value(cost=[1e3, math.log10(cost)], status=self.failed), save=False)
        else:
            self.smac.tell(info, self.value(cost=[loss, math.log10(cost)]), save=False)
