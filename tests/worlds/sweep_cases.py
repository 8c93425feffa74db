"""Jobs that go wrong in every way a cell can, for real sweeps; sent to the workers by value.

The workers know nothing of the tests' folder, so what travels is this module itself.
"""

import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.cluster_utils import Cluster as RayCluster

from sweeps.jobs.job import CellJob, Cost, Shape
from sweeps.jobs.source import JobList
from sweeps.store.rows import Identity, differing, identity, identity_of
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import Images, load_images, normalised
from trainers.mnist.results import Result
from trainers.mnist.train import DeviceImages, Diverged, train

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class FaultyJob:
    """A cell without training: it yields row(number), once it has gone wrong `times` times."""

    number: int
    fault: str = ""                   # a method of this class, less its underscore
    times: int = 10**9
    notes: str = field(default="", compare=False)   # folder where each attempt leaves a file
    seconds: float = 0.0
    table: str = "results"

    def identities(self) -> tuple[Identity, ...]:
        return (identity(self._cell(), self._recipe(), "per-budget"),)

    def cost(self, shape: Shape) -> Cost:
        return Cost(1, 1.0, 1, 1.0)

    def describe(self) -> dict:
        return {"number": self.number, "fault": self.fault}

    def run(self, images: object) -> list[Result]:
        time.sleep(self.seconds)
        row = self.row()
        if self.notes:
            Path(self.notes, f"{self.number}-{os.getpid()}-{time.time_ns()}").touch()
        if self.fault and self.attempts() <= self.times:
            return getattr(self, f"_{self.fault}")(row)
        return [row]

    def attempts(self) -> int:
        return len(list(Path(self.notes).glob(f"{self.number}-*"))) if self.notes else 1

    def row(self) -> Result:
        i = self.number
        return Result(
            **vars(self._cell()), **vars(self._recipe()), protocol="per-budget", channels=4, params=1000 + i,
            samples=64, steps=2, flops=1e9 / 3 + i, spent_flops=1e9 / 7, train_loss=1 / (i + 3), val_loss=1 / (i + 7),
            val_accuracy=0.9, train_seconds=0.25, device="cpu", dataset="made up", fingerprint="f")

    def _cell(self) -> Cell:
        return Cell(width=1.0, fraction=0.5, dropout=0.0, seed=self.number)

    def _recipe(self) -> Recipe:
        return Recipe(lr=0.01, batch_size=32)

    def _raise(self, row: Result) -> list[Result]:
        raise LookupError("<b>no such cell</b>\nsecond line")

    def _nan(self, row: Result) -> list[Result]:
        return [Result(**vars(row) | {"val_loss": float("nan")})]

    def _nothing(self, row: Result) -> list[Result]:
        return []

    def _unstorable(self, row: Result) -> list[Result]:
        return [Result(**vars(row) | {"params": 2**80})]

    def _diverge(self, row: Result) -> list[Result]:
        raise Diverged("training loss is inf after 2 steps")

    def _exhaust(self, row: Result) -> list[Result]:
        import resource
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2**36, limits[1]))
        try:
            return [np.ones(2**34)]   # 128 GiB
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)

    def _devour(self, row: Result) -> list[Result]:
        """Until the kernel ends it: its memory cgroup, which the test has limited, is named in notes."""
        Path(Path(self.notes, "cgroup").read_text(), "cgroup.procs").write_text(str(os.getpid()))
        hoard = []
        while True:
            hoard.append(np.ones(2**20))

    def _gobble(self, row: Result) -> list[Result]:
        """8 GiB, held: more than the test's threshold for Ray's memory monitor."""
        hoard = [np.ones(2**27) for _ in range(8)]
        time.sleep(30)
        return [row] if hoard else []

    def _hang(self, row: Result) -> list[Result]:
        while True:
            time.sleep(1)

    def _hang_in_c(self, row: Result) -> list[Result]:
        """With the interpreter's lock held: no Python thread of this process runs again."""
        ctypes.PyDLL(None).sleep(10**6)
        return [row]

    def _segfault(self, row: Result) -> list[Result]:
        ctypes.string_at(0)
        return [row]

    def _kill(self, row: Result) -> list[Result]:
        os.kill(os.getpid(), signal.SIGKILL)
        return [row]

    def _exit(self, row: Result) -> list[Result]:
        sys.exit(3)


def jobs_of(jobs: Iterable[FaultyJob]) -> JobList:
    """In the order of their numbers."""
    return JobList(jobs, seconds=lambda job: -job.number)


def few_images(count: int = 64, *, seed: int = 0) -> Images:
    """A data set of noise, for sweeps that never look at it."""
    random = np.random.default_rng(seed)
    return normalised("made up", random.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 10,
                      random.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) % 10)


class Log:
    """A watcher that remembers what it is told."""

    def __init__(self):
        self.started_, self.finished_, self.failures, self.notes = [], [], [], []

    def started(self, job: object) -> None:
        self.started_.append(job)

    def finished(self, job: object, rows: list) -> None:
        self.finished_.append(job)

    def failed(self, job: object, kind: str, error: str, *, again: bool) -> None:
        self.failures.append((job.identities()[0].seed, kind, again))

    def note(self, text: str) -> None:
        self.notes.append(text)


ROOT = Path(__file__).resolve().parents[2]

# About a second of training: ten narrow cells at a given rate.
SMALL = ("--preset", "smoke", "--lr", "0.01", "--widths", "0.25", "0.5", "--fractions", "0.0078125", "0.00390625",
         "--seeds", "3", "--dropouts", "0", "--cpus", "2")


def command(out: str | os.PathLike, *more: str) -> list[str]:
    """The real command line of a small sweep; options given again in `more` win."""
    return [sys.executable, str(ROOT / "sweeps" / "mnist_grid.py"), *SMALL, "--out", os.fspath(out), *more]


def trained(cells: Iterable[Cell], *, lr: float, batch: Callable[[float], int], images: DeviceImages) -> dict[Identity, Result]:
    """What no Ray and no sweep has touched: each cell trained here, one after the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [train(cell, Recipe(lr=lr, batch_size=batch(cell.fraction)), images) for cell in cells]
    finally:
        torch.set_num_threads(threads)
    return {identity_of(row): row for row in rows}


def assert_same_rows(found: dict, wanted: dict) -> None:
    """Row for row, bit for bit; timings may differ."""
    assert set(found) == set(wanted)
    different = {key: names for key in wanted if (names := differing(found[key], wanted[key]))}
    assert not different


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


@dataclass(frozen=True)
class PlacedJob(CellJob):
    """A real cell that leaves a note of the node and the process it ran on."""

    notes: str = field(default="", compare=False)
    seconds: float = 0.0
    nodes: int = field(default=1, compare=False)   # it waits, for a minute at most, until so many have begun a cell

    def run(self, images: object) -> list[Result]:
        import ray
        note = Path(self.notes, f"{self.cell.seed}+{ray.get_runtime_context().get_node_id()}+{os.getpid()}")
        if self.nodes > 1:
            note.touch()
            until = time.monotonic() + 60
            while len(nodes_seen(self.notes)) < self.nodes and time.monotonic() < until:
                time.sleep(0.05)
        rows = super().run(images)
        time.sleep(self.seconds)
        note.touch()
        return rows


class NewSeeds:
    """Source: narrow cells of ever new seeds, until the subclass says that it is over."""

    def __init__(self, notes: str | Path, *, seconds: float):
        self.notes, self.seconds, self.jobs = notes, seconds, []

    def next(self) -> PlacedJob | None:
        if self.exhausted():
            return None
        cell = Cell(width=0.25, fraction=0.25, dropout=0.2, seed=len(self.jobs))
        self.jobs.append(PlacedJob(cell, Recipe(lr=0.01, batch_size=16), notes=str(self.notes), seconds=self.seconds))
        return self.jobs[-1]

    def exhausted(self) -> bool:
        raise NotImplementedError

    def finished(self, job: PlacedJob, rows: list[Result]) -> None:
        """It changes nothing about what comes next."""

    def failed(self, job: PlacedJob) -> None:
        """Nor does this."""

    def remaining(self) -> list:
        return []


def nodes_seen(notes: str | Path) -> set[str]:
    return {path.name.split("+")[1] for path in Path(notes).iterdir()}


def digits(train: int = 1920, val: int = 500) -> Images:
    """The first of MNIST, so that a cell takes a fraction of a second."""
    whole = load_images()
    return replace(whole, train_images=whole.train_images[:train].copy(), train_labels=whole.train_labels[:train].copy(),
                   val_images=whole.val_images[:val].copy(), val_labels=whole.val_labels[:val].copy(),
                   digest=f"{train} and {val} of {whole.digest}")
