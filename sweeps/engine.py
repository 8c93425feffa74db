"""Runs a source's jobs as Ray Tune trials, and puts every end of one into the store.

Tune schedules, retries nothing, and keeps nothing: its snapshots lag by seconds and restore by
running finished trials again. A trial is one job; what is finished is what the store holds.
"""

import os
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Protocol

from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from sweeps.connect import Cluster
from sweeps.job import Job
from sweeps.rows import Failure
from sweeps.source import Source
from sweeps.store import Store
from sweeps.worker import JobTrainable
from trainers.images import Images
from trainers.results import Result

RETRIES = 2            # of a job that raised or whose worker died
LOST_NODES = 10        # times a job may lose its node (pre-emption) before it counts as failed
BARREN_ROUNDS = 3      # times Tune may give up without finishing a job before we do


class Watcher(Protocol):
    """Whoever shows the sweep to a person."""

    def started(self, job: Job) -> None: ...
    def finished(self, job: Job, rows: Sequence[Result]) -> None: ...
    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    finished: int      # jobs
    failed: int
    interrupted: bool


@dataclass(frozen=True)
class Trials:
    """What every trial gets."""

    cpus: float = 1.0
    gpus: float = 0.0
    device: str = "auto"                                   # auto, cpu or cuda
    timeout_s: Callable[[Job], float] = lambda job: 3600.0  # after which a job counts as hung
    callbacks: tuple[Callback, ...] = ()                   # Tune's own, to log elsewhere


def run_jobs(source: Source, *, images: Images, store: Store, cluster: Cluster, watcher: Watcher,
             trials: Trials = Trials(), row_type: type[Result] = Result) -> Outcome:
    """Run all of `source`; every finished row is in `store` when this returns.

    Ctrl-C (or SIGTERM) once lets the running jobs finish, twice raises KeyboardInterrupt.
    Raises RuntimeError where Tune gives up again and again without a job finished.
    """
    desk = _Desk(source, store, watcher, trials, row_type)
    barren = 0
    with _tune_folder() as folder, _interrupts(desk):
        while not desk.over() and barren < BARREN_ROUNDS:
            before = desk.ended
            try:
                _tuner(desk, images, cluster, trials, folder).fit()
            except tune.TuneError as error:  # e.g. Ray killed a trial for memory: start a new Tuner on the rest
                watcher.note(f"Ray Tune stopped ({str(error).splitlines()[0]}); going on with what is left")
            desk.put_back_lost()
            barren = barren + 1 if desk.ended == before else 0
    if barren:
        raise RuntimeError(f"Ray Tune gave up {BARREN_ROUNDS} times without finishing a job")
    return Outcome(finished=desk.succeeded, failed=desk.ended - desk.succeeded, interrupted=desk.stopping)


class _Desk(Searcher):
    """Hands jobs to Tune, and takes their ends: the one place where a job's fate is decided."""

    def __init__(self, source: Source, store: Store, watcher: Watcher, trials: Trials, row_type: type[Result]):
        super().__init__(metric="val_loss", mode="min")
        self.source, self.store, self.watcher, self.trials, self.row_type = source, store, watcher, trials, row_type
        self.stopping = False
        self.succeeded = self.ended = 0
        self._again: deque[Job] = deque()
        self._running: dict[str, Job] = {}     # by trial id
        self._attempts: dict[Job, list[str]] = {}  # kinds of failure so far
        self._since: dict[str, float] = {}

    def over(self) -> bool:
        return self.stopping or (not self._again and not self._running and self.source.exhausted())

    # -- Tune asks ------------------------------------------------------------------------------
    def suggest(self, trial_id: str) -> dict | str | None:
        if self.stopping:
            return Searcher.FINISHED
        job = self._again.popleft() if self._again else self.source.next()
        if job is None:  # a job that runs may yet fail and come back, or lead to more
            return Searcher.FINISHED if self.over() else None
        self._running[trial_id] = job
        return {**job.describe(), "job": job, "timeout_s": self.trials.timeout_s(job)}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None or trial_id not in self._running:
            return  # errors come with their cause to _Ears.on_trial_error
        if "failure" in result:
            self._fail(self._running.pop(trial_id), **result["failure"])
        else:
            self._finish(self._running.pop(trial_id), result["rows"])

    # -- told by _Ears --------------------------------------------------------------------------
    def began(self, trial_id: str) -> None:
        self._since[trial_id] = time.monotonic()
        if trial_id in self._running:
            self.watcher.started(self._running[trial_id])

    def died(self, trial_id: str, error: Exception | None, host: str) -> None:
        job = self._running.pop(trial_id, None)
        if job is None:
            return
        elapsed = time.monotonic() - self._since.get(trial_id, time.monotonic())
        if elapsed >= self.trials.timeout_s(job):
            kind, text = "timeout", f"no result after {elapsed:.0f} s (limit {self.trials.timeout_s(job):.0f} s)"
        else:
            lost = any(word in str(error) for word in ("node", "preempt"))
            kind, text = ("lost node" if lost else "killed"), f"{type(error).__name__}: {error}"
        self._fail(job, kind=kind, error=text.strip(), traceback="", host=host)

    def put_back_lost(self) -> None:
        """Jobs that Tune dropped without a word, now that it runs nothing."""
        if not self.stopping:
            self._again.extend(self._running.values())
        self._running.clear()

    # -- how a job ends -------------------------------------------------------------------------
    def _finish(self, job: Job, rows: Sequence[dict]) -> None:
        names = {f.name for f in fields(self.row_type)}
        results = [self.row_type(**{k: v for k, v in row.items() if k in names}) for row in rows]
        for row in results:
            self.store.append(row) if job.table == "results" else self.store.append_tuning(row)
        self.succeeded += 1
        self.ended += 1
        self.source.finished(job, results)
        self.watcher.finished(job, results)

    def _fail(self, job: Job, *, kind: str, error: str, traceback: str, host: str) -> None:
        past = self._attempts.setdefault(job, [])
        past.append(kind)
        again = self._worth_another(past)
        self.watcher.failed(job, kind, error, again=again)
        if again:
            self._again.append(job)
            return
        for identity in job.identities():
            if identity not in self.store.results and job.table == "results":
                self.store.fail(Failure(**identity._asdict(), kind=kind, error=error, traceback=traceback,
                                        host=host or socket.gethostname(), attempts=len(past), time=time.time()))
        self.ended += 1
        self.source.failed(job)

    @staticmethod
    def _worth_another(kinds: Sequence[str]) -> bool:
        """Divergence is the cell's own, bit for bit: again would be the same. A lost node is nobody's fault."""
        if kinds[-1] == "diverged":
            return False
        lost = kinds.count("lost node")
        return lost <= LOST_NODES and len(kinds) - lost <= RETRIES

    # -- Tune would keep us in its snapshots; what is worth keeping is in the store --------------
    def __getstate__(self) -> dict:
        return {"_metric": self._metric, "_mode": self._mode}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see the class."""


class _Ears(Callback):
    """Tells the desk what Tune tells callbacks only."""

    def __init__(self, desk: _Desk):
        self._desk = desk

    def on_trial_start(self, iteration: int, trials: list, trial: object, **info: object) -> None:
        self._desk.began(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list, trial: object, **info: object) -> None:
        self._desk.died(trial.trial_id, trial.get_error(), str(getattr(trial, "node_ip", None) or ""))

    def __getstate__(self) -> dict:
        return {}


class _AnySlot(FIFOScheduler):
    """Starts pending trials in their order on whichever slot is free.

    FIFOScheduler names the first pending trial; where its own actor is still starting, Tune gives
    the trial a cached actor and drops the new one, so with reused actors and short trials slots
    that come up late stay empty for good. Naming none leaves the choice to the free slots.
    """

    def choose_trial_to_run(self, tune_controller: object) -> None:
        return None


def _tuner(desk: _Desk, images: Images, cluster: Cluster, trials: Trials, folder: str) -> tune.Tuner:
    os.environ.update({
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial would cost more than a small cell
        "TUNE_DISABLE_SIGINT_HANDLER": "1",         # ours finishes what is running
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",      # the store is our snapshot
        "RAY_AIR_NEW_OUTPUT": "0",                  # whose banner no verbosity silences
    })
    trainable = tune.with_parameters(JobTrainable, images=images, threads=max(1, int(trials.cpus)), device=trials.device)
    slots = cluster.max_slots(cpus=trials.cpus, gpus=trials.gpus)  # with what an autoscaler may add
    if slots == float("inf"):
        slots = 1000
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": trials.cpus, "gpu": trials.gpus}),
        tune_config=tune.TuneConfig(search_alg=desk, scheduler=_AnySlot(), num_samples=-1, reuse_actors=True,
                                    max_concurrent_trials=max(2, int(slots) + 1)),  # one in hand for each that ends
        run_config=tune.RunConfig(storage_path=folder, name="sweep", verbose=0, callbacks=[_Ears(desk), *trials.callbacks],
                                  failure_config=tune.FailureConfig(max_failures=0),
                                  checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)))


@contextmanager
def _tune_folder() -> Iterator[str]:
    """Tune wants a folder; nothing in it outlives the sweep."""
    with tempfile.TemporaryDirectory(prefix="sll-tune-", ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def _interrupts(desk: _Desk) -> Iterator[None]:
    """First signal: hand out no more jobs. Second: KeyboardInterrupt."""
    def handle(number: int, frame: object) -> None:
        if desk.stopping:
            raise KeyboardInterrupt
        desk.stopping = True
        desk.watcher.note("stopping: the running cells finish first; once more to stop now (finished cells are safe)")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
