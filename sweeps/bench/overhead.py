"""Where an empty cell's milliseconds go: the same cells through bare Ray, through Ray Tune without ours, and through ours."""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from statistics import median

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from sweeps.bench.runners import ours, ray_tasks
from sweeps.bench.tables import Section, Target
from sweeps.bench.timing import Stopwatch, Timing
from sweeps.bench.work import Work, run_alone, spun, untrained
from sweeps.running.connect import connect
from sweeps.running.tune_settings import ENVIRONMENT, Quiet, class_kept_in_mind
from trainers.mnist.images import Images
from trainers.task import Task

OURS_TARGET = 0.25   # share of an empty cell's driver CPU that ours may take on top of Tune
LOGGERS_OFF = "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"


def actors(work: Work, *, slots: int) -> Timing:
    """A pool of Ray actors, one call a cell."""
    workers = [ray.remote(_Actor).remote(work.task) for _ in range(slots)]
    ray.get([worker.run.remote({"number": 0, "seconds": 0.1}) for worker in workers])
    waiting, watch = list(map(asdict, work.cells)), Stopwatch()
    out = {worker.run.remote(waiting.pop()): worker for worker in workers if waiting}
    while out:
        (done,), _ = ray.wait(list(out))
        worker = out.pop(done)
        if waiting:
            out[worker.run.remote(waiting.pop())] = worker
        watch.take(ray.get(done))
    return watch.timing("a pool of Ray actors", slots)


def tune_reusing(work: Work, *, slots: int) -> Timing:
    """Tune as its manual would have it for many short trials: a class, actors reused, a grid, no loggers."""
    watch = Stopwatch()
    with _environment({LOGGERS_OFF: "1"}):
        _fit(work, tune.TuneConfig(reuse_actors=True, max_concurrent_trials=slots), [_Watching(watch)],
             {"number": tune.grid_search([cell.number for cell in work.cells])})
    return watch.timing("Tune: class, reuse_actors", slots)


def tune_as_ours_sets_it(work: Work, *, slots: int) -> Timing:
    """The least that Tune takes: no snapshot, no printing, a trial made when a slot is free, any of them. Keeps no table, survives no fault."""
    watch = Stopwatch()
    searcher = _Handing(work, slots)
    with _environment(ENVIRONMENT), class_kept_in_mind(), contextlib.suppress(_Through):
        _fit(work, tune.TuneConfig(search_alg=searcher, scheduler=_AnySlot(), num_samples=-1, reuse_actors=True),
             [_Watching(watch), _Ending(searcher), Quiet()], {})
    return watch.timing("Tune, set as ours sets it", slots)


def section(*, cells: int, repeats: int, cpus: int, images: Images) -> Section:
    """All of them by turns, so that a noisy neighbour disturbs each."""
    empty, wide = spun(cells, 0.0), untrained(cells, images)
    with connect(None, cpus=cpus) as cluster:
        runners: list[Callable[[], Timing]] = [
            partial(ray_tasks, empty, slots=cpus), partial(actors, empty, slots=cpus), partial(tune_reusing, empty, slots=cpus),
            partial(tune_as_ours_sets_it, empty, slots=cpus), partial(ours, empty, cluster=cluster, slots=cpus, runner="ours: a function"),
            partial(ours, wide, cluster=cluster, slots=cpus, runner="ours: MNIST's task")]
        rounds = [[run() for run in runners] for _ in range(repeats)]
    by_runner = list(zip(*rounds))
    task, *_, tuned, plain, mnist = by_runner
    return Section(
        title=f"2  Where an empty cell's time goes, {cells:,} on {cpus} cores",
        columns=("runner", "wall ms a cell", "of a bare task's", "driver CPU ms a cell", "of ours"),
        rows=tuple((of[0].runner, f"{median(t.wall_ms for t in of):.1f}", f"{_ratio(of, task, 'wall_ms'):.1f}x",
                    f"{median(t.driver_ms for t in of):.1f}", f"{_ratio(of, plain, 'driver_ms'):.0%}") for of in by_runner),
        targets=tuple(Target(f"driver CPU, of {of[0].runner}, that Tune alone does not take", 1 - _ratio(tuned, of, "driver_ms"),
                             OURS_TARGET, "", False) for of in (plain, mnist)),
        notes=(_split("wall", tuned, plain, "wall_ms"), _split("driver CPU", tuned, plain, "driver_ms"),
               "Tune: class, reuse_actors: loggers off, all else as it comes; set as ours: no snapshot, trials made one by one, any free slot",
               f"medians of {repeats} rounds, ratios within a round"))


def _ratio(of: Sequence[Timing], to: Sequence[Timing], what: str) -> float:
    """Median of the rounds' ratios."""
    return median(getattr(a, what) / getattr(b, what) for a, b in zip(of, to))


def _split(what: str, tuned: Sequence[Timing], full: Sequence[Timing], name: str) -> str:
    own = [getattr(b, name) - getattr(a, name) for a, b in zip(tuned, full)]
    return (f"{what} of {full[0].runner}, {median(getattr(t, name) for t in full):.1f} ms a cell: Ray's and Tune's "
            f"{median(getattr(t, name) for t in tuned):.1f}, ours {median(own):.1f} (rounds: {min(own):.1f} to {max(own):.1f})")


def _fit(work: Work, config: tune.TuneConfig, callbacks: list[Callback], space: dict) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tune.Tuner(tune.with_parameters(_Trainable, task=work.task), tune_config=config, param_space=space,
                   run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=callbacks,
                                             checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False))).fit()


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Of Tune's settings these, and no others."""
    names = {*ENVIRONMENT, *wanted}
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


class _Watching(Callback):
    """Without state, as far as Tune's snapshots are concerned."""

    def __init__(self, watch: Stopwatch):
        self._watch = watch

    def on_trial_result(self, iteration: int, trials: list, trial: Trial, result: dict, **info: object) -> None:
        self._watch.take(result)


class _Through(Exception):
    """Ends a Tuner that has nothing left to do."""


class _Handing(Searcher):
    """A trial for every free slot, until there are no cells."""

    def __init__(self, work: Work, slots: int):
        super().__init__()
        self.waiting, self.slots, self.out = list(map(asdict, work.cells)), slots, 0

    def suggest(self, trial_id: str) -> dict | str | None:
        if not self.waiting:
            return Searcher.FINISHED
        if self.out >= self.slots:
            return None
        self.out += 1
        return self.waiting.pop()

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        self.out -= 1

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Ending(Callback):
    """As ours: without it Tune writes a snapshot of all trials at its end."""

    def __init__(self, searcher: _Handing):
        self._searcher = searcher

    def on_step_end(self, iteration: int, trials: list, **info: object) -> None:
        if not self._searcher.waiting and not self._searcher.out:
            raise _Through


class _AnySlot(FIFOScheduler):
    """As ours: names no trial, so that any free slot takes the next."""

    def choose_trial_to_run(self, tune_controller: object) -> None:
        return None


# -- in the workers -----------------------------------------------------------------------------------
class _Actor:
    def __init__(self, task: Task):
        task.place(None, "cpu")
        self._task = task

    def run(self, values: dict) -> dict:
        return run_alone(self._task, self._task.cell(**values), None)


class _Trainable(tune.Trainable):
    def setup(self, config: dict, task: Task) -> None:
        task.place(None, "cpu")
        self._task, self._values = task, config

    def reset_config(self, new_config: dict) -> bool:
        self._values = new_config
        return True

    def step(self) -> dict:
        return {**run_alone(self._task, self._task.cell(**self._values), None), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is saved."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing was."""
