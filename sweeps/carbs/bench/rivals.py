"""Who is benchmarked: CARBS, random search and Optuna's samplers, each run on one problem.

`box` rivals search N, D and the rest in a box; `told` ones are given the cost formula too, and
search the cost itself within the budgets of interest in place of D. Every box holds the center
and the whole true front with a decade (or a decade of the odds) to spare: knowledge that CARBS,
which has no bounds, isn't given. All start at the center.
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sweeps.carbs.bench.asked import answered
from sweeps.carbs.bench.flying import Flight, flown
from sweeps.carbs.bench.problems import Problem, closed
from sweeps.carbs.bench.protein import ProteinRival
from sweeps.carbs.bench.smac import SmacRival
from sweeps.carbs.bench.wall import Run, finished
from sweeps.carbs.laws import scaling_laws
from sweeps.carbs.pareto import monotone
from sweeps.carbs.search import BudgetSpent, Carbs
from sweeps.carbs.space import Choice, Space


@dataclass(frozen=True)
class Score:
    """How one method did on one problem under one seed."""

    problem: str
    method: str
    seed: int
    n: int                          # evaluations made
    closed: float                   # fraction of the front closed by them
    spent: float                    # their summed cost in units of max_cost
    over: float                     # share of them dearer than max_cost
    worst: float                    # the dearest, in units of max_cost
    failed: int
    seconds: float                  # CPU seconds a suggestion
    last_seconds: float             # of the last ten
    regret: float                   # true loss of the law at 10 max_cost above the true front at its cost
    error: dict[str, float]         # exponent's, by hyperparameter, in decades a decade
    covered: dict[str, bool]        # whether its 95% interval holds the truth (CARBS alone gives one)
    flying: str = "1"               # runs in flight, as in flying.GRAMMAR


def _box(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    space = Space(problem.space)
    points = [problem.center()] + [problem.best(c) for c in np.geomspace(problem.min_cost, problem.max_cost, 9)]
    X = np.array([space.encode(p) for p in points])
    return np.maximum(X.min(0) - 1.0, space.low), np.minimum(X.max(0) + 1.0, space.high)


def _config(problem: Problem, values: dict, told: bool) -> dict:
    """A config from basic coordinates by name; under `told`, D is what makes up the asked-for log10 cost."""
    config = {name: values[name] if isinstance(dim, Choice) else dim.decode([values[name]])
              for name, dim in problem.space.items() if not (told and name == "D")}
    if told:
        N, _ = problem.size({**config, "D": 1.0})
        config["D"] = max(10.0 ** values["cost"] - problem.offset, 1e-3 * problem.min_cost) / (6.0 * N)
    return {name: config[name] for name in problem.space}


def _ranges(problem: Problem, told: bool) -> dict[str, tuple[float, float] | tuple]:
    space, (low, high) = Space(problem.space), _box(problem)
    ranges = {name: dim.options if isinstance(dim, Choice) else
              (float(low[space.columns[name]][0]), float(high[space.columns[name]][0]))
              for name, dim in problem.space.items()}
    if told:
        del ranges["D"]
        ranges["cost"] = (math.log10(problem.min_cost), math.log10(problem.max_cost))
    return ranges


def _center(problem: Problem, told: bool) -> dict:
    """The center as the box's coordinates by name."""
    values = {name: dim.center if isinstance(dim, Choice) else dim.encode(dim.center)[0]
              for name, dim in problem.space.items()}
    if told:
        del values["D"]
        values["cost"] = max(math.log10(problem.true_cost(problem.center())), math.log10(problem.min_cost))
    return values


class RandomRival:
    """Uniform in the box, told the cost formula."""

    def __init__(self, problem: Problem, seed: int):
        self.problem, self.rng, self.ranges = problem, np.random.default_rng(seed), _ranges(problem, True)
        self.first = problem.center()

    def ask(self) -> dict:
        if self.first:
            first, self.first = self.first, None
            return first
        values = {name: r[self.rng.integers(len(r))] if isinstance(self.problem.space.get(name), Choice)
                  else self.rng.uniform(*r) for name, r in self.ranges.items()}
        return _config(self.problem, values, True)

    def tell(self, config: dict, loss: float, cost: float) -> None:
        """Random search learns nothing."""


class OptunaRival:
    """A multi-objective study of loss and log cost."""

    def __init__(self, problem: Problem, seed: int, *, sampler: str, told: bool):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        kinds = {"tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),    # of runs in flight: no other effect
                 "gp": lambda: optuna.samplers.GPSampler(seed=seed)}
        self.study = optuna.create_study(directions=["minimize", "minimize"], sampler=kinds[sampler]())
        self.problem, self.told, self.failed = problem, told, optuna.trial.TrialState.FAIL
        self.ranges = _ranges(problem, told)
        self.study.enqueue_trial(_center(problem, told))
        self.trials: list[tuple[dict, object]] = []

    def ask(self) -> dict:
        trial = self.study.ask()
        values = {name: trial.suggest_categorical(name, r) if isinstance(self.problem.space.get(name), Choice)
                  else trial.suggest_float(name, *r) for name, r in self.ranges.items()}
        config = _config(self.problem, values, self.told)
        self.trials.append((config, trial))
        return config

    def tell(self, config: dict, loss: float, cost: float) -> None:
        trial = answered(self.trials, config)
        if math.isnan(loss):
            self.study.tell(trial, state=self.failed)
        else:
            self.study.tell(trial, [loss, math.log10(cost)])


class CarbsRival:
    """Ours: center and scales, the range of costs, no bounds, no formula."""

    def __init__(self, problem: Problem, seed: int, *, budget: float | None):
        self.carbs = Carbs(problem.space, seed=seed, max_cost=problem.max_cost, min_cost=problem.min_cost,
                           budget=budget)
        self.ask = self.carbs.ask

    def tell(self, config: dict, loss: float, cost: float) -> None:
        self.carbs.tell(config, loss=loss, cost=cost)


METHODS: dict[str, Callable[[Problem, int, float | None], object]] = {
    "carbs": lambda problem, seed, budget: CarbsRival(problem, seed, budget=budget),
    "protein": lambda problem, seed, budget: ProteinRival(problem, seed, *_box(problem)),
    "smac": lambda problem, seed, budget: SmacRival(seed, ranges=_ranges(problem, True), first=_center(problem, True),
                                                    config_of=lambda values: _config(problem, values, True)),
    "random": lambda problem, seed, budget: RandomRival(problem, seed),
    "tpe-box": lambda problem, seed, budget: OptunaRival(problem, seed, sampler="tpe", told=False),
    "tpe-told": lambda problem, seed, budget: OptunaRival(problem, seed, sampler="tpe", told=True),
    "gp-box": lambda problem, seed, budget: OptunaRival(problem, seed, sampler="gp", told=False),
    "gp-told": lambda problem, seed, budget: OptunaRival(problem, seed, sampler="gp", told=True),
}


def score(problem: Problem, method: str, seed: int, *, evaluations: int, budget: float | None) -> Score:
    """One benchmark run: `evaluations` runs, or as many as `budget` pays for, whichever ends first."""
    rival = METHODS[method](problem, seed, budget)
    # Observation noise of its own stream: every method meets the same luck at the same step.
    noise = np.random.default_rng([seed, 1])
    runs, seconds, spent = [], [], 0.0
    while len(runs) < evaluations:
        began = time.process_time()
        try:
            config = rival.ask()
        except BudgetSpent:
            break
        seconds.append(time.process_time() - began)
        loss, cost = problem.observe(config, noise)
        spent += cost
        if budget is not None and spent > budget:
            break
        rival.tell(config, loss, cost)
        runs.append((config, loss, cost))
    return _score(problem, method, seed, rival, runs, seconds)


def score_on_the_clock(problem: Problem, method: str, seed: int, *, workers: int, hours: float, most: int) -> Score:
    """The same at equal wall time, with runs side by side that finish out of order: see wall.finished."""
    rival = METHODS[method](problem, seed, None)
    runs, seconds = finished(problem, rival, np.random.default_rng([seed, 1]), workers=workers, hours=hours, most=most)
    return _score(problem, method, seed, rival, runs, seconds)


def score_in_flight(problem: Problem, method: str, seed: int, *, flying: str, evaluations: int) -> Score:
    """The same with runs side by side: see flying.GRAMMAR."""
    made = flown(problem, lambda: METHODS[method](problem, seed, None), seed, Flight.of(flying), evaluations=evaluations)
    return replace(_score(problem, method, seed, made.rival, made.runs, made.seconds), flying=flying)


def _score(problem: Problem, method: str, seed: int, rival: object, runs: list[Run], seconds: list[float]) -> Score:
    costs = np.array([cost for _, _, cost in runs]) / problem.max_cost
    law = _our_law(problem, rival) if method == "carbs" else _least_squares_law(problem, runs)
    return Score(problem.name, method, seed, len(runs), closed(problem, runs), float(costs.sum()),
                 float((costs > 1).mean()), float(costs.max()), sum(math.isnan(loss) for _, loss, _ in runs),
                 float(np.mean(seconds)), float(np.mean(seconds[-10:])), *law)


def _regret(problem: Problem, config: dict) -> float:
    return problem.true_loss(config) - problem.front(max(problem.true_cost(config), problem.min_cost))


def _our_law(problem: Problem, rival: CarbsRival) -> tuple[float, dict[str, float], dict[str, bool]]:
    laws, truth = scaling_laws(rival.carbs), problem.exponents()
    found = {name: laws[name].exponent for name in truth}
    return (_regret(problem, laws.at(10 * problem.max_cost)),
            {name: found[name].value - truth[name] for name in truth},
            {name: truth[name] in found[name] for name in truth})


def _least_squares_law(problem: Problem, runs: list[Run]) -> tuple[float, dict[str, float], dict[str, bool]]:
    """The reference's way: least squares of each basic coordinate of the Pareto runs on log cost."""
    space = Space(problem.space)
    good = [r for r in runs if math.isfinite(r[1]) and r[2] <= problem.max_cost]
    cost = np.log10([r[2] for r in good])
    pick = monotone(cost, np.array([r[1] for r in good]))
    if len(pick) < 3:
        return math.nan, {}, {}
    X = np.array([space.encode(good[i][0]) for i in pick])
    slope, level = np.polyfit(cost[pick], X, 1)
    config = space.decode(level + slope * math.log10(10 * problem.max_cost))
    error = {name: float(slope[space.columns[name].start] - true) for name, true in problem.exponents().items()}
    return _regret(problem, config), error, {}
