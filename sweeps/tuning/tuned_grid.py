"""One choice tuned inside the sweep: an Optuna study a group of cells, on seeds that the grid does not use."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from sweeps.jobs.grid import Grid
from sweeps.jobs.job import Job, jobs_of
from sweeps.jobs.source import LongestFirst
from sweeps.store.store import Store
from sweeps.tuning.bracket import Group, Tuned, bracketed, capped, nearest_neighbours, next_value, settle
from trainers.columns import columns, lettered, names
from trainers.task import Task, Tuning

MOST_TRIALS = 14       # values a study may try while its optimum isn't bracketed
SEED_BASE = 1_000_000  # tuning seeds start here, far from any grid's

MakeCell = Callable[..., object]   # (axes by name, seed=..., **{choice: value}) -> cell


class BracketSampler(BaseSampler):
    """Optuna sampler for one positive parameter with a single minimum: see sweeps.tuning.bracket."""

    def __init__(self, start: float, low: float, high: float):
        self.start, self.low, self.high = start, low, high

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution) -> float:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next_value([t.params[param_name] for t in done], [t.value for t in done],
                          start=self.start, low=self.low, high=self.high)


@dataclass(frozen=True)
class TuningPlan:
    """A Tuning with everything decided that a grid decides."""

    tuning: Tuning
    at: Mapping[str, object]     # value of every axis that is not in tuning.by
    axes: tuple[str, ...]        # of the grid, in order

    def group_of(self, axes: Mapping[str, object]) -> Group:
        """The axes at which the value for these is tuned."""
        return tuple(axes[name] if name in self.tuning.by else self.at[name] for name in self.axes)

    def settings(self, group: Group) -> dict[str, object]:
        return dict(zip(self.axes, group))

    @property
    def start(self) -> float:
        return self.tuning.start


def plan_of(task: Task, tuning: Tuning, grid: Grid) -> TuningPlan:
    """Raises ValueError, one line, for a tuning that the task or the grid does not allow."""
    choice = next((c for c in columns(task.cell) if c.name == tuning.choice), None)
    if choice is None or choice.kind is not float:
        raise ValueError(f"--tune {tuning.choice}: {task.name} takes no number of that name"
                         + ("" if choice is None else " that may be any fraction") + f": it takes {', '.join(c.name for c in columns(task.cell))}")
    if tuning.choice in grid.axes or tuning.choice in grid.choices:
        raise ValueError(f"{tuning.choice} is both given and tuned: leave one out")
    if not 0 < tuning.low < tuning.high < math.inf:
        raise ValueError(f"--tune {tuning.choice}={tuning.low:g}:{tuning.high:g}: give bounds that rise from above 0")
    for name in (*tuning.by, *tuning.at):
        if name not in grid.axes:
            raise ValueError(f"{name} is no axis of this grid: it has {', '.join(grid.axes)}")
    if tuning.trials < 3 or tuning.seeds < 1:
        raise ValueError("tuning needs 3 values and 1 seed at least")
    default = choice.default if isinstance(choice.default, float) and tuning.low <= choice.default <= tuning.high else None
    start = tuning.start or default or math.sqrt(tuning.low * tuning.high)
    at = {name: tuning.at.get(name, middle_of(values)) for name, values in grid.axes.items() if name not in tuning.by}
    # Without a seed every repetition is the same run.
    seeds = tuning.seeds if names(task.cell, "repeat") else 1
    return TuningPlan(Tuning(tuning.choice, tuning.low, tuning.high, tuning.by, start, tuning.trials, seeds), at, tuple(grid.axes))


def middle_of(values: Sequence) -> object:
    """Where an axis stays while another's value is tuned: its middle; of texts and of what includes 0, the first."""
    ordered = sorted(values)
    positive = all(isinstance(value, (int, float)) and value > 0 for value in ordered)
    return ordered[len(ordered) // 2] if positive else ordered[0]


class _Study:
    """One group's Optuna study, asked and told a value at a time."""

    def __init__(self, group: Group, start: float, plan: TuningPlan, make_jobs: Callable[[Group, float], list[Job]], cap: float):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        tuning = plan.tuning
        self.group, self.plan, self.make_jobs, self.cap = group, plan, make_jobs, cap
        self.search = OptunaSearch(lambda trial: trial.suggest_float(tuning.choice, tuning.low, tuning.high, log=True) and None,
                                   metric="loss", mode="min", sampler=BracketSampler(start, tuning.low, tuning.high))
        self.asked = 0
        self.open: dict[Job, list[float] | None] = {}  # jobs of the value in hand, with the losses of the finished
        self.values: list[float] = []
        self.runs: list[list[float]] = []        # losses of each value's runs

    def ask(self) -> list[Job]:
        """Jobs of the next value, one a tuning seed unless the task puts them together."""
        value = self.search.suggest(str(self.asked))[self.plan.tuning.choice]
        self.asked += 1
        self.values.append(value)
        self.open = dict.fromkeys(self.make_jobs(self.group, value))
        return list(self.open)

    def tell(self, job: Job, losses: list[float]) -> bool:
        """Whether that was the last job of the value in hand."""
        self.open[job] = losses
        if None in self.open.values():
            return False
        self.runs.append([loss for some in self.open.values() for loss in some])
        self.search.on_trial_complete(str(self.asked - 1), result={"loss": self.losses[-1]})
        return True

    @property
    def losses(self) -> list[float]:
        return means(self.runs, self.cap)

    def over(self) -> bool:
        return enough(self.values, self.losses, self.plan)


def loss_of(row: object) -> float:
    """The row's L."""
    return getattr(row, lettered(type(row), "L"))


def means(runs: Sequence[Sequence[float]], cap: float) -> list[float]:
    """Mean loss of every value over its runs, each capped."""
    flat = iter(capped([loss for some in runs for loss in some], cap))
    return [float(np.mean([next(flat) for _ in some])) for some in runs]


def enough(values: Sequence[float], losses: Sequence[float], plan: TuningPlan) -> bool:
    """Whether a study with these finished values tries no more."""
    return len(values) >= MOST_TRIALS or (len(values) >= plan.tuning.trials and bracketed(values, losses))


class TunedGrid:
    """Source: tunes each group's value, then trains the group's cells with it, longest first.

    A study starts from the value of its nearest tuned neighbour; studies side by side as far as
    that order allows. Values that the tuning table holds are not trained again.
    """

    def __init__(self, task: Task, places: Sequence[tuple[Mapping[str, object], int | None]], *, plan: TuningPlan,
                 make_cell: MakeCell, store: Store, seconds: Callable[[Job], float], hopeless: float,
                 most: int = 1, tuning_cell: MakeCell | None = None):
        """`places`: axes and seed of every cell. `make_cell` makes one of them with the tuned choice, as
        `tuning_cell` does for tuning runs, where those are others. `most`: cells that one run may train.
        """
        self._task, self._plan, self._store, self._seconds, self._most = task, plan, store, seconds, most
        self._make_cell, self._tuning_cell = make_cell, tuning_cell or make_cell
        self._cap = 2.0 * hopeless   # of a run that learnt nothing
        self._cells = defaultdict(list)
        for axes, seed in places:
            self._cells[plan.group_of(axes)].append((axes, seed))
        self._parents = nearest_neighbours(list(self._cells))
        self.tuned: dict[Group, Tuned] = {}
        self._studies: dict[Group, _Study] = {}
        self._owner: dict[Job, _Study] = {}
        self._tuning = LongestFirst((), seconds)
        self._grid = LongestFirst((), seconds)
        self._start_studies()

    @property
    def settled(self) -> bool:
        """Every group has its value."""
        return len(self.tuned) == len(self._cells)

    def wanted(self) -> dict[object, bool]:
        """Every cell of the grid, done or not, and whether its value is settled; one that isn't is put at the start."""
        return {self._cell(axes, seed, self.tuned[group].value if group in self.tuned else self._plan.start): group in self.tuned
                for group, places in self._cells.items() for axes, seed in places}

    def next(self) -> Job | None:
        return self._tuning.pop() or self._grid.pop()  # tuning first, since the grid waits for it

    def exhausted(self) -> bool:
        return not len(self._tuning) and not len(self._grid) and self.settled

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        if job in self._owner:
            self._told(job, [loss_of(row) for row in rows])

    def failed(self, job: Job) -> None:
        if job in self._owner:
            self._told(job, [math.inf] * len(job.cells))

    def remaining(self) -> list[Job]:
        """Values not yet known are put at their starts: they decide no cost."""
        waiting = [job for group in self._cells if group not in self.tuned for job in self._grid_jobs(group, self._plan.start)]
        trials = [job for group in self._cells if group not in self.tuned
                  for job in self._trial_jobs(group, self._plan.start) * self._trials_left(group)]
        return [*self._grid.jobs(), *self._tuning.jobs(), *waiting, *trials]

    def _trials_left(self, group: Group) -> int:
        return max(0, self._plan.tuning.trials - (self._studies[group].asked if group in self._studies else 0))

    def _start_studies(self) -> None:
        """Settle what the table settles; start every study whose neighbour is tuned, or that has none."""
        for group, parent in self._parents.items():
            if group in self._studies or group in self.tuned:
                continue
            if known := self._from_table(group):
                self._settle(known)
            elif parent is None or parent in self.tuned:
                start = self.tuned[parent].value if parent else self._plan.start
                self._studies[group] = _Study(group, start, self._plan, self._trial_jobs, self._cap)
                self._go_on(self._studies[group])

    def _from_table(self, group: Group) -> Tuned | None:
        """The verdict of a study that an earlier sweep finished, whatever its neighbours were then."""
        choice, losses = self._plan.tuning.choice, defaultdict(list)
        wanted = {identity._replace(**{choice: 0.0}) for job in self._trial_jobs(group, self._plan.start) for identity in job.identities()}
        for identity, row in self._store.tuning.items():
            if identity._replace(**{choice: 0.0}) in wanted:
                losses[getattr(row, choice)].append(loss_of(row))
        whole = {value: some for value, some in losses.items() if len(some) == len(wanted)}
        mean = means(list(whole.values()), self._cap)
        return settle(group, list(whole), mean) if enough(list(whole), mean, self._plan) else None

    def _go_on(self, study: _Study) -> None:
        """Ask until a value needs training; the runs that the table holds are told at once."""
        while not study.over():
            jobs = study.ask()
            unknown = []
            for job in jobs:
                rows = [self._store.tuning.get(identity) for identity in job.identities()]
                if None in rows:
                    unknown.append(job)
                else:
                    study.tell(job, [loss_of(row) for row in rows])
            if unknown:
                self._owner.update(dict.fromkeys(unknown, study))
                self._tuning.add(unknown)
                return
        self._settle(settle(study.group, study.values, study.losses))

    def _told(self, job: Job, losses: list[float]) -> None:
        study = self._owner.pop(job)
        if study.tell(job, losses):
            self._go_on(study)
            self._start_studies()

    def _settle(self, verdict: Tuned) -> None:
        self.tuned[verdict.group] = verdict
        self._grid.add(job for job in self._grid_jobs(verdict.group, verdict.value)
                       if any(identity not in self._store.results for identity in job.identities()))

    def _cell(self, axes: Mapping[str, object], seed: int | None, value: float) -> object:
        return self._make_cell(axes, seed=seed, **{self._plan.tuning.choice: value})

    def _grid_jobs(self, group: Group, value: float) -> list[Job]:
        return jobs_of(self._task, [self._cell(axes, seed, value) for axes, seed in self._cells[group]], most=self._most)

    def _trial_jobs(self, group: Group, value: float) -> list[Job]:
        """Of one value: a cell a tuning seed."""
        axes = self._plan.settings(group)
        cells = [self._tuning_cell(axes, seed=SEED_BASE + k, **{self._plan.tuning.choice: value}) for k in range(self._plan.tuning.seeds)]
        return jobs_of(self._task, cells, table="tuning", most=self._most)
