"""What real sweeps are tested on: a user's function that goes wrong, and small cells of MNIST; and what to compare with.

The workers know nothing of the tests' folder: the function's file is shipped as a user's is, and this module by value.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.cluster_utils import Cluster as RayCluster

from sweeps.jobs.job import Job
from sweeps.jobs.source import JobList
from sweeps.running.attempt import RunningAttempt
from sweeps.running.checkpoints import decoded, encoded
from sweeps.store.rows import differing
from trainers.columns import identity_of
from trainers.function import FunctionTask
from trainers.mnist.cell import Cell
from trainers.mnist.images import Images, load_images, normalised
from trainers.mnist.task import Mnist
from trainers.task import Attempt, Stopped, Task
from worlds import faulty_model

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def faulty_task() -> FunctionTask:
    """The user's function as a sweep takes it; anew for each table, since its first run settles the columns."""
    return FunctionTask(faulty_model.train, axes=["number"])


def faulty_jobs(task: Task, numbers: Iterable[int], *, table: str = "results", **settings: object) -> list[Job]:
    return [Job((task.cell(number=number, **settings),), table) for number in numbers]


def in_order(jobs: Iterable[Job]) -> JobList:
    """Jobs of the faulty function, in the order of their numbers."""
    return JobList(jobs, seconds=lambda job: -job.cells[0].number)


def attempt_at(task: Task, cells: Sequence[object], *, fingerprint: str = "f") -> RunningAttempt:
    """What a run is given, without Ray: nothing is saved."""
    return RunningAttempt(task, cells, device="cpu", fingerprint=fingerprint, timeout_s=3600.0, checkpoints=None)


class Interrupted:
    """An attempt that keeps a state, encoded, at its `after`-th chance to save and leaves there, as where a sweep stops; without
    `after` it never does. The next one goes on from that state."""

    def __init__(self, attempt: RunningAttempt, state: bytes | None = None, *, after: int | None = None):
        self.inner, self.state, self.left, self.device = attempt, state, after, attempt.device

    def restored(self) -> object | None:
        return None if self.state is None else decoded(self.state)

    def save(self, state: Callable[[], object]) -> None:
        if self.left is None:
            return
        self.left -= 1
        if not self.left:
            self.state = encoded(state())
            raise Stopped

    def row(self, cell: object, **measured: object) -> object:
        return self.inner.row(cell, **measured)


def report(task: Task, job: Job, data: object = None, *, fingerprint: str = "f") -> dict:
    """The job done here, as a worker would report it: by a copy of the task that has travelled."""
    task = cloudpickle.loads(cloudpickle.dumps(task))
    rows = task.train(job.cells, data, attempt_at(task, job.cells, fingerprint=fingerprint))
    return {"rows": [row if isinstance(row, dict) else asdict(row) for row in rows], "job_seconds": 0.1, "host": "here"}


def trained(task: Task, cells: Iterable[object], data: object = None) -> dict[tuple, object]:
    """What no Ray and no sweep has touched: each cell trained here, one after the other. Row by identity."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        placed, fingerprint, rows = task.place(data, "cpu"), task.fingerprint(data), []
        for cell in cells:
            [values] = report(task, Job((cell,)), placed, fingerprint=fingerprint)["rows"]
            rows.append(task.row_type(values)(**values))
    finally:
        torch.set_num_threads(threads)
    return {identity_of(row): row for row in rows}


def assert_same_rows(found: dict, wanted: dict) -> None:
    """Row for row, bit for bit; timings may differ. Of a function's tables each read makes its own class of row."""
    assert set(found) == set(wanted)
    different = {key: names for key in wanted if (names := differing(found[key], wanted[key]))}
    assert not different


class Log:
    """A watcher that remembers what it is told."""

    def __init__(self):
        self.started_, self.finished_, self.failures, self.notes = [], [], [], []

    def started(self, job: Job) -> None:
        self.started_.append(job)

    def finished(self, job: Job, rows: Sequence[object], seconds: float) -> None:
        self.finished_.append(job)

    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None:
        self.failures.append((job, kind, again))

    def note(self, text: str) -> None:
        self.notes.append(text)


ROOT = Path(__file__).resolve().parents[2]

# About a second of training: ten narrow cells at a given rate.
SMALL = ("--preset", "smoke", "--lr", "0.01", "--widths", "0.25", "0.5", "--fractions", "0.0078125", "0.00390625",
         "--seeds", "3", "--dropouts", "0", "--cpus", "2")


def command(out: str | os.PathLike, *more: str) -> list[str]:
    """The real command line of a small sweep; options given again in `more` win."""
    return [sys.executable, str(ROOT / "sweeps" / "mnist_grid.py"), *SMALL, "--out", os.fspath(out), *more]


@contextmanager
def real_cluster(**head: object) -> Iterator[RayCluster]:
    """A Ray cluster on this machine, whose temp folder is its own, and short, for a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp", ignore_cleanup_errors=True) as folder, \
            pytest.MonkeyPatch.context() as patch:
        Path(folder, "ray").mkdir()
        patch.setenv("RAY_TMPDIR", folder)   # where a cluster writes its address down
        cluster = RayCluster(initialize_head=True, head_node_args={"include_dashboard": False, "temp_dir": folder, **head})
        try:
            yield cluster
        finally:
            cluster.shutdown()


class PlacedMnist(Mnist):
    """Real cells, each of which leaves a note of the node and the process that it ran on."""

    def __init__(self, notes: str | os.PathLike, *, seconds: float = 0.0, nodes: int = 1):
        """A cell waits, for a minute at most, until `nodes` have begun one; then it trains, and takes `seconds` longer."""
        self.notes, self.seconds, self.nodes = str(notes), seconds, nodes

    def train(self, cells: Sequence[Cell], data: object, attempt: Attempt) -> Iterator[object]:
        import ray
        note = Path(self.notes, f"{cells[0].seed}+{ray.get_runtime_context().get_node_id()}+{os.getpid()}")
        if self.nodes > 1:
            note.touch()
            until = time.monotonic() + 60
            while len(nodes_seen(self.notes)) < self.nodes and time.monotonic() < until:
                time.sleep(0.05)
        yield from super().train(cells, data, attempt)
        time.sleep(self.seconds)
        note.touch()


def nodes_seen(notes: str | os.PathLike) -> set[str]:
    return {path.name.split("+")[1] for path in Path(notes).iterdir()}


NARROW = partial(Cell, width=0.25, fraction=0.25, dropout=0.2, lr=0.01, batch_size=16)


class NewCells:
    """Source: cells of ever new numbers, narrow ones of MNIST unless told otherwise, until the subclass says that it is over."""

    def __init__(self, cell: Callable[[int], object] = lambda number: NARROW(seed=number)):
        """`cell`: made of ever new numbers."""
        self.jobs: list[Job] = []
        self._cell = cell

    @property
    def cells(self) -> list[object]:
        return [cell for job in self.jobs for cell in job.cells]

    def next(self) -> Job | None:
        if self.exhausted():
            return None
        self.jobs.append(Job((self._cell(len(self.jobs)),)))
        return self.jobs[-1]

    def exhausted(self) -> bool:
        raise NotImplementedError

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        """It changes nothing about what comes next."""

    def failed(self, job: Job) -> None:
        """Nor does this."""

    def remaining(self) -> list[Job]:
        return []


def few_images(count: int = 64, *, seed: int = 0) -> Images:
    """A data set of noise, for sweeps that never look at it."""
    random = np.random.default_rng(seed)
    return normalised("made up", random.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 10,
                      random.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) % 10)


def digits(train: int = 1920, val: int = 500) -> Images:
    """The first of MNIST, so that a cell takes a fraction of a second."""
    whole = load_images()
    return replace(whole, train_images=whole.train_images[:train].copy(), train_labels=whole.train_labels[:train].copy(),
                   val_images=whole.val_images[:val].copy(), val_labels=whole.val_labels[:val].copy(),
                   digest=f"{train} and {val} of {whole.digest}")
