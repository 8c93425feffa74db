"""Runs a source's jobs as Ray Tune trials, and puts every end of one into the store.

Tune schedules, retries nothing, and keeps nothing: its snapshots lag by seconds and restore by
running finished trials again. A trial is one job; what is finished is what the store holds.
"""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from sweeps.jobs.source import Source
from sweeps.running.checkpoints import SavedStates
from sweeps.running.cluster import Cluster, describe
from sweeps.running.dispatch import Dispatcher, Patience, Watcher, last_line
from sweeps.running.exit import SweepError, handled
from sweeps.running.temp_folder import temp_folder
from sweeps.running.tune_settings import ENVIRONMENT, Quiet, Unpickled, class_kept_in_mind
from sweeps.running.worker import OURS, JobTrainable
from sweeps.store.store import Store
from trainers.task import Task

BARREN_ROUNDS = 10     # times in a row that Tune may give up without an end of a job before we do
ROUND = 5_000          # jobs a Tuner: it holds some 40 kB of each until its end
SLOTS_EVERY_S = 5.0    # between counts of the cluster's slots: nodes come and go
UNKNOWN_SLOTS = 1_000  # assumed where only the operator knows how far the cluster may grow


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    finished: int      # jobs
    failed: int
    interrupted: bool
    busy_seconds: float = 0.0  # that workers spent in jobs: training and validation
    wall_seconds: float = 0.0  # from the first of those to the last


@dataclass(frozen=True)
class Trials(Patience):
    """What every trial gets."""

    cpus: float = 1.0
    gpus: float = 0.0
    device: str = "auto"                  # auto, cpu or cuda
    callbacks: tuple[Callback, ...] = ()  # Tune's own, to log elsewhere


def run_jobs(source: Source, *, task: Task, data: object, store: Store, cluster: Cluster, watcher: Watcher,
             trials: Trials = Trials(), saved: SavedStates | None = None) -> Outcome:
    """Run all of `source`; every finished row is in `store` when this returns.

    Ctrl-C (or SIGTERM) once lets the running jobs finish, twice raises KeyboardInterrupt.
    Raises SweepError where no trial can start, or Tune gives up again and again without a job
    finished, and StoreError as soon as the store takes no more.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # of failures the watcher tells
    # Once: with_parameters puts the data into the object store for as long as this process lives.
    trainable = tune.with_resources(
        tune.with_parameters(JobTrainable, task=task, data=data, threads=max(1, int(trials.cpus)), device=trials.device,
                             fingerprint=store.fingerprint or task.fingerprint(data), folder=os.getcwd(), checkpoints=saved.actor if saved else None),
        {"cpu": trials.cpus, "gpu": trials.gpus})
    dispatcher = Dispatcher(task, source, store, watcher, trials, saved)
    for logger in trials.callbacks:
        _guard(logger, watcher)
    barren = 0
    # Tune wants a folder; nothing in it outlives the sweep.
    with temp_folder(Path(tempfile.gettempdir()), "tune-") as folder, _interrupts(dispatcher), class_kept_in_mind():
        while not dispatcher.over():
            searcher, before = _Searcher(dispatcher, cluster, trials), dispatcher.succeeded + dispatcher.failed
            tuner, reason = _tuner(searcher, trainable, trials, str(folder)), ""
            try:
                tuner.fit()
            except Exception as error:  # whatever it is, Tune runs nothing now: a new Tuner takes the rest
                reason = "" if searcher.through else last_line(str(error)) or type(error).__name__
            if searcher.broken:
                raise searcher.broken
            dispatcher.broke_off(reason)
            if reason:
                watcher.note(f"Ray Tune stopped ({reason}); going on with what is left")
            barren = barren + 1 if reason and dispatcher.succeeded + dispatcher.failed == before else 0
            if barren == BARREN_ROUNDS:
                raise SweepError(f"Ray Tune gave up {barren} times without finishing a job, at last with: {reason}")
    return Outcome(finished=dispatcher.succeeded, failed=dispatcher.failed, interrupted=dispatcher.stopping, busy_seconds=dispatcher.busy_seconds,
                   wall_seconds=dispatcher.ended_at - dispatcher.began_at)


def _kept(method: Callable) -> Callable:
    """Tune logs and forgets what is raised in here: keep the first, which then ends the sweep."""
    @wraps(method)
    def call(searcher: "_Searcher", *args: object, **kwargs: object) -> object:
        try:
            return method(searcher, *args, **kwargs)
        except Exception as error:
            searcher.broken = searcher.broken or error
            return None
    return call


class _Searcher(Searcher):
    """Speaks with one Tuner on the dispatcher's behalf: Tune asks it for trials, _Reports tell it of their ends."""

    def __init__(self, dispatcher: Dispatcher, cluster: Cluster, trials: Trials):
        super().__init__()
        self.dispatcher, self._cluster, self._trials = dispatcher, cluster, trials
        self.broken: Exception | None = None
        self.through = False   # every trial of this Tuner has ended, and there will be no more
        self._told_of_stopping = False
        self._handed_out = 0
        self._slots, self._counted = 0.0, float("-inf")

    @_kept
    def suggest(self, trial_id: str) -> dict | str | None:
        if self._no_more():
            return Searcher.FINISHED
        # No job in hand for a slot that isn't free: Tune gives freed actors to its newest trials, so that one
        # in hand may wait for hours. (Seen: a tuning run that half a grid waited for.)
        if len(self.dispatcher) >= self._slots_now():
            return None
        job = self.dispatcher.hand_out(trial_id)
        if job is None:
            return Searcher.FINISHED if self._no_more() else None
        self._handed_out += 1
        return {**job.describe(), OURS: {"cells": [asdict(cell) for cell in job.cells], "timeout_s": self._trials.timeout_s(job)}}

    def _no_more(self) -> bool:
        return self.dispatcher.stopping or self.broken is not None or self._handed_out >= ROUND or self.dispatcher.over()

    @_kept
    def over(self, trials: Sequence[Trial]) -> bool:
        """Whether this Tuner, of these trials, has nothing left to do."""
        self.through = not len(self.dispatcher) and self._no_more() and all(trial.is_finished() for trial in trials)
        return self.through

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: _Reports have told of it, before any logger could fail on it."""

    def _slots_now(self) -> float:
        """Trials that may run at once, at present or when an autoscaler has done what it may."""
        if time.monotonic() - self._counted > SLOTS_EVERY_S:
            share = {"cpus": self._trials.cpus, "gpus": self._trials.gpus}
            self._slots = max(self._cluster.max_slots(**share), describe(self._cluster.address).slots(**share))
            self._counted = time.monotonic()
        return min(self._slots, UNKNOWN_SLOTS)

    @_kept
    def tick(self) -> None:
        if self.dispatcher.stopping and not self._told_of_stopping:  # not by the signal's handler: it may cut into a print
            self._told_of_stopping = True
            if self.dispatcher.saved:
                self.dispatcher.saved.stop()
            self.dispatcher.watcher.note("stopping: the running cells finish first, or save and leave; once more to stop now "
                                   "(finished cells are safe)")

    @_kept
    def began(self, trial_id: str) -> None:
        self.dispatcher.began(trial_id)

    @_kept
    def never_began(self, trial_id: str) -> None:
        self.dispatcher.never_began(trial_id)

    @_kept
    def reported(self, trial_id: str, result: dict) -> None:
        self.dispatcher.reported(trial_id, result)

    @_kept
    def died(self, trial_id: str, text: str) -> None:
        self.dispatcher.died(trial_id, text)

    # Tune would keep us in its snapshots; what is worth keeping is in the store.
    def __getstate__(self) -> dict:
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Through(Exception):
    """Ends a Tuner that has nothing left to do."""


class _Reports(Callback):
    """Tells the searcher what Tune tells callbacks only."""

    def __init__(self, searcher: _Searcher):
        self._searcher = searcher

    def on_step_begin(self, iteration: int, trials: list, **info: object) -> None:
        self._searcher.tick()

    def on_step_end(self, iteration: int, trials: list, **info: object) -> None:
        if self._searcher.broken:  # from here it ends Tuner.fit, with its actors stopped
            raise self._searcher.broken
        if self._searcher.over(trials):
            # Else Tune writes a snapshot and an analysis of all trials, which nobody reads: 125 kB of memory for each.
            raise _Through

    def on_trial_start(self, iteration: int, trials: list, trial: Trial, **info: object) -> None:
        self._searcher.began(trial.trial_id)

    def on_trial_result(self, iteration: int, trials: list, trial: Trial, result: dict, **info: object) -> None:
        self._searcher.reported(trial.trial_id, result[OURS])

    def on_trial_complete(self, iteration: int, trials: list, trial: Trial, **info: object) -> None:
        # Tune keeps its trials until the Tuner's end. Most of what each holds answers questions that nobody
        # asks: windows over every number reported, and a reference to the actor's account of itself.
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        trial._default_result_or_future = None

    def on_trial_error(self, iteration: int, trials: list, trial: Trial, **info: object) -> None:
        # From the file where Tune put it: trial.get_error looks where that is copied to, later.
        text = Path(trial.error_file).read_text(errors="replace") if trial.error_file else ""
        self._searcher.died(trial.trial_id, text.partition("\n")[2].strip() or "died without a word")


def _guard(logger: Callback, watcher: Watcher) -> None:
    """Have the logger's failures told, the first of them, instead of ending the Tuner and what runs in it."""
    told = False

    def guarded(hook: Callable) -> Callable:
        @wraps(hook)
        def call(*args: object, **kwargs: object) -> None:
            nonlocal told
            try:
                hook(*args, **kwargs)
            except Exception as error:  # the boundary: a tracking server that is away, a full disk, a bug of theirs
                if not told:
                    watcher.note(f"{type(logger).__name__} failed ({type(error).__name__}: {last_line(str(error))}): "
                                 "its log has gaps, the table has none")
                told = True
        return call

    for name in dir(Callback):
        if name == "setup" or name.startswith("on_"):
            setattr(logger, name, guarded(getattr(logger, name)))


class _AnySlot(FIFOScheduler):
    """Starts pending trials in their order on whichever slot is free.

    FIFOScheduler names the first pending trial; where its own actor is still starting, Tune gives
    the trial a cached actor and drops the new one, so with reused actors and short trials slots
    that come up late stay empty for good. Naming none leaves the choice to the free slots.
    """

    def __init__(self, searcher: _Searcher):
        super().__init__()
        self._searcher = searcher

    def choose_trial_to_run(self, tune_controller: object) -> None:
        if self._searcher.dispatcher.stopping:  # what waits for a slot is not to begin
            for trial in [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]:
                self._searcher.never_began(trial.trial_id)
                tune_controller.stop_trial(trial)


def _tuner(searcher: _Searcher, trainable: type, trials: Trials, folder: str) -> tune.Tuner:
    os.environ.update(ENVIRONMENT)
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=searcher, scheduler=_AnySlot(searcher), num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, name="sweep", verbose=0,
                                  callbacks=Unpickled([_Reports(searcher), Quiet(), *trials.callbacks]),
                                  failure_config=tune.FailureConfig(max_failures=0),
                                  checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)))


@contextmanager
def _interrupts(dispatcher: Dispatcher) -> Iterator[None]:
    """First signal: hand out no more jobs. Second: KeyboardInterrupt."""
    def handle(number: int, frame: object) -> None:
        if dispatcher.stopping:
            raise KeyboardInterrupt
        dispatcher.stopping = True

    with handled(handle, signal.SIGINT, signal.SIGTERM):
        yield
