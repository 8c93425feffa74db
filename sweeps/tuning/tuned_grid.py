"""Learning rates tuned inside the sweep: an Optuna study a group, on seeds that the grid does not use."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from sweeps.jobs.job import CellJob, Job
from sweeps.store.rows import identity_of
from sweeps.store.store import Store
from sweeps.tuning.bracket import HIGHEST, LOWEST, START, Group, Tuned, bracketed, nearest_neighbours, next_rate, settle
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.results import Result

MOST_TRIALS = 14       # rates a study may try while its optimum isn't bracketed
SEED_BASE = 1_000_000  # tuning seeds start here, far from any grid's


class BracketSampler(BaseSampler):
    """Optuna sampler for one positive parameter with a single minimum: see sweeps.tuning.bracket."""

    def __init__(self, start: float):
        self.start = start

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution) -> float:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next_rate([t.params[param_name] for t in done], [t.value for t in done], start=self.start)


@dataclass(frozen=True)
class TuningPlan:
    """How a sweep finds its rates."""

    by: tuple[str, ...] = ("width",)  # fields of Cell that have a rate each; of width, fraction, dropout
    fraction: float = 0.125           # where the others are tuned
    dropout: float = 0.0
    width: float = 1.0
    trials: int = 7
    seeds: int = 2
    start: float = START              # first rate of a search without a tuned neighbour

    def group_of(self, cell: Cell) -> Group:
        return Group(width=cell.width if "width" in self.by else self.width,
                     fraction=cell.fraction if "fraction" in self.by else self.fraction,
                     dropout=cell.dropout if "dropout" in self.by else self.dropout)


class _Study:
    """One group's Optuna study, asked and told a rate at a time."""

    def __init__(self, group: Group, start: float, plan: TuningPlan, make_job: Callable[[Group, float, int], Job]):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.group, self.plan, self.make_job = group, plan, make_job
        self.search = OptunaSearch(lambda trial: trial.suggest_float("lr", LOWEST, HIGHEST, log=True) and None,
                                   metric="val_loss", mode="min", sampler=BracketSampler(start))
        self.asked = 0
        self.open: dict[Job, float | None] = {}  # jobs of the rate in hand, with the loss of the finished
        self.rates: list[float] = []
        self.losses: list[float] = []

    def ask(self) -> list[Job]:
        """Jobs of the next rate, one a tuning seed."""
        lr = self.search.suggest(str(self.asked))["lr"]
        self.asked += 1
        self.rates.append(lr)
        self.open = {self.make_job(self.group, lr, SEED_BASE + k): None for k in range(self.plan.seeds)}
        return list(self.open)

    def tell(self, job: Job, loss: float) -> bool:
        """Whether that was the last job of the rate in hand."""
        self.open[job] = loss
        if None in self.open.values():
            return False
        self.losses.append(float(np.mean(list(self.open.values()))))
        self.search.on_trial_complete(str(self.asked - 1), result={"val_loss": self.losses[-1]})
        return True

    def over(self) -> bool:
        return enough(self.rates, self.losses, self.plan)


def enough(rates: Sequence[float], losses: Sequence[float], plan: TuningPlan) -> bool:
    """Whether a study with these finished rates tries no more."""
    return len(rates) >= MOST_TRIALS or (len(rates) >= plan.trials and bracketed(rates, losses))


class MakeJob(Protocol):
    """A job for a cell; for the table "tuning" one that yields a single row."""

    def __call__(self, cell: Cell, recipe: Recipe, *, table: str) -> Job: ...


class TunedGrid:
    """Source: tunes each group's rate, then trains the group's cells with it, dearest first.

    A study starts from the rate of its nearest tuned neighbour; studies side by side as far as
    that order allows. Rates that the tuning table holds are not trained again.
    """

    def __init__(self, cells: Sequence[Cell], *, plan: TuningPlan, recipe_of: Callable[[Cell, float], Recipe],
                 store: Store, seconds: Callable[[Job], float], classes: int, make_job: MakeJob = CellJob):
        self._plan, self._recipe_of, self._store, self._seconds = plan, recipe_of, store, seconds
        self._make_job = make_job
        self._cap = 2.0 * math.log(classes)  # a run that learnt nothing; worse is no news
        self._cells = defaultdict(list)
        for cell in cells:
            self._cells[plan.group_of(cell)].append(cell)
        self._parents = nearest_neighbours(list(self._cells))
        self.tuned: dict[Group, Tuned] = {}
        self._studies: dict[Group, _Study] = {}
        self._owner: dict[Job, _Study] = {}
        self._tuning: list[Job] = []
        self._grid: list[Job] = []
        self._start_studies()

    @property
    def settled(self) -> bool:
        """Every group has its rate."""
        return len(self.tuned) == len(self._cells)

    def wanted(self) -> dict[Job, bool]:
        """Every job of the grid, done or not, and whether its rate is settled; a rate that isn't is put at its start."""
        return {self._cell_job(cell, self.tuned[group].lr if group in self.tuned else START): group in self.tuned
                for group, cells in self._cells.items() for cell in cells}

    def next(self) -> Job | None:
        if self._tuning:  # first, since the grid waits for it
            self._tuning.sort(key=self._seconds)
            return self._tuning.pop()
        return self._grid.pop() if self._grid else None

    def exhausted(self) -> bool:
        return not self._tuning and not self._grid and self.settled

    def finished(self, job: Job, rows: Sequence[Result]) -> None:
        if job in self._owner:
            self._told(job, rows[0].val_loss)

    def failed(self, job: Job) -> None:
        if job in self._owner:
            self._told(job, math.inf)

    def remaining(self) -> list[Job]:
        """Rates not yet known are put at their starts: they decide no cost."""
        waiting = [self._cell_job(cell, START) for group, cells in self._cells.items()
                   if group not in self.tuned for cell in cells]
        trials = [self._tuning_job(group, START, SEED_BASE) for group in self._cells if group not in self.tuned
                  for _ in range(self._plan.seeds * self._trials_left(group))]
        return [*self._grid, *self._tuning, *waiting, *trials]

    def _trials_left(self, group: Group) -> int:
        return max(0, self._plan.trials - (self._studies[group].asked if group in self._studies else 0))

    def _start_studies(self) -> None:
        """Settle what the table settles; start every study whose neighbour is tuned, or that has none."""
        for group, parent in self._parents.items():
            if group in self._studies or group in self.tuned:
                continue
            if known := self._from_table(group):
                self._settle(known)
            elif parent is None or parent in self.tuned:
                start = self.tuned[parent].lr if parent else self._plan.start
                self._studies[group] = _Study(group, start, self._plan, self._tuning_job)
                self._go_on(self._studies[group])

    def _from_table(self, group: Group) -> Tuned | None:
        """The verdict of a study that an earlier sweep finished, whatever its neighbours were then."""
        losses = defaultdict(list)
        template = self._tuning_job(group, START, SEED_BASE)
        for row in self._store.tuning.values():
            identity = identity_of(row)
            seed_of_ours = SEED_BASE <= row.seed < SEED_BASE + self._plan.seeds
            if seed_of_ours and identity._replace(lr=0.0, seed=0) == template.identities()[0]._replace(lr=0.0, seed=0):
                losses[row.lr].append(self._capped(row.val_loss))
        whole = {lr: float(np.mean(some)) for lr, some in losses.items() if len(some) == self._plan.seeds}
        if not enough(list(whole), list(whole.values()), self._plan):
            return None
        return settle(group, list(whole), list(whole.values()))

    def _go_on(self, study: _Study) -> None:
        """Ask until a rate needs training; the runs that the table holds are told at once."""
        while not study.over():
            jobs = study.ask()
            known = {job: self._store.tuning.get(job.identities()[0]) for job in jobs}
            for job, row in known.items():
                if row is not None:
                    study.tell(job, self._capped(row.val_loss))
            unknown = [job for job, row in known.items() if row is None]
            if unknown:
                self._owner.update(dict.fromkeys(unknown, study))
                self._tuning += unknown
                return
        self._settle(settle(study.group, study.rates, study.losses))

    def _told(self, job: Job, loss: float) -> None:
        study = self._owner.pop(job)
        if study.tell(job, self._capped(loss)):
            self._go_on(study)
            self._start_studies()

    def _capped(self, loss: float) -> float:
        return min(loss, self._cap) if math.isfinite(loss) else self._cap

    def _settle(self, verdict: Tuned) -> None:
        self.tuned[verdict.group] = verdict
        jobs = [self._cell_job(cell, verdict.lr) for cell in self._cells[verdict.group]]
        self._grid += [job for job in jobs if any(identity not in self._store.results for identity in job.identities())]
        self._grid.sort(key=self._seconds)

    def _cell_job(self, cell: Cell, lr: float) -> Job:
        return self._make_job(cell, self._recipe_of(cell, lr), table="results")

    def _tuning_job(self, group: Group, lr: float, seed: int) -> Job:
        cell = Cell(width=group.width, fraction=group.fraction, dropout=group.dropout, seed=seed)
        return self._make_job(cell, self._recipe_of(cell, lr), table="tuning")
