"""What a sweep costs around its cells: ours, Ray Tune as it comes, bare Ray tasks, a pool of processes."""

import contextlib
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import ray
import torch
from ray import tune
from trainers.mnist.results import Result

from sweeps.bench.processes import private_bytes
from sweeps.bench.tables import Section, Target
from sweeps.bench.work import Metered, Spin
from sweeps.jobs.job import CellJob, Job
from sweeps.jobs.source import JobList
from sweeps.running.connect import Cluster, connect
from sweeps.running.ray_tune import run_jobs
from sweeps.store.store import open_store
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import Images
from trainers.mnist.train import DeviceImages, put_on

SHORT_CELLS_TARGET = 0.70  # issue 8: of the cores' time, for cells of about 0.25 s
# A real cell of about 0.25 s of a core, a third of it validation.
SHORT_CELL = Cell(width=0.25, fraction=1 / 64, dropout=0.0, seed=0)
SHORT_RECIPE = Recipe(lr=0.01, batch_size=4)


@dataclass(frozen=True)
class Timing:
    """Of one runner over one list of cells."""

    runner: str
    cells: int
    slots: int
    work: float         # s of a core that the cells took themselves
    wall: float         # s, from the first cell's beginning to the last one's end
    driver_cpu: float   # s of the driving process
    private: int        # bytes of the driving process at the end
    after: float = 0.0  # s, from the last cell's end until the runner returned

    @property
    def busy(self) -> float:
        """Share of the cores' time that went into cells."""
        return self.work / self.slots / self.wall

    @property
    def overhead(self) -> float:
        """s of a core for each cell, beyond the cell."""
        return (self.wall * self.slots - self.work) / self.cells

    def row(self, what: str) -> tuple[str, ...]:
        return (what, self.runner, f"{self.cells:,}", f"{self.wall:.1f}", f"{self.busy:.0%}" if self.work else "",
                f"{1e3 * self.wall / self.cells:.1f}", f"{1e3 * self.overhead:.1f}",
                f"{1e3 * self.driver_cpu / self.cells:.1f}")


class _Stopwatch:
    """A watcher that shows nothing, and knows when the first cell began and the last one ended."""

    def __init__(self):
        self.began = self.ended = self.work = 0.0
        self.cells = 0

    def started(self, job: Job) -> None:
        """Tune says so while the worker may still be starting."""

    def finished(self, job: Job, rows: Sequence[Result]) -> None:
        self.take(time.perf_counter(), sum(row.train_seconds for row in rows))

    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None:
        raise RuntimeError(f"a benchmark's cell failed: {kind}: {error}")

    def note(self, text: str) -> None:
        """Nothing to show."""

    def take(self, now: float, seconds: float) -> None:
        self.began = self.began or now - seconds
        self.ended, self.work, self.cells = now, self.work + seconds, self.cells + 1


def ours(jobs: Sequence[Job], *, images: Images, cluster: Cluster, slots: int) -> Timing:
    watch, cpu = _Stopwatch(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "bench.parquet", provenance={}) as store:
        outcome = run_jobs(JobList(jobs, seconds=lambda job: 1.0), images=images, store=store, cluster=cluster, watcher=watch)
    if outcome.finished != len(jobs):
        raise RuntimeError(f"{outcome.finished} of {len(jobs)} cells came back")
    return replace(_timing("ours", watch, slots, cpu), after=time.perf_counter() - watch.ended)


def ray_tasks(jobs: Sequence[Job], *, images: Images, slots: int) -> Timing:
    """One task a cell, no table kept: what Ray itself takes."""
    held, task = ray.put(images), ray.remote(_run_alone)
    ray.get([task.remote(Spin(number, 0.2), held) for number in range(2 * slots)])  # workers up, torch imported
    watch, cpu = _Stopwatch(), time.process_time()
    waiting = [task.remote(job, held) for job in jobs]
    while waiting:
        done, waiting = ray.wait(waiting)
        watch.take(time.perf_counter(), ray.get(done[0]))
    return _timing("bare Ray tasks", watch, slots, cpu)


def pool(jobs: Sequence[Job], *, images: Images, slots: int) -> Timing:
    """One machine, no fault survived, no table kept."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(slots, initializer=_hold, initargs=(images,)) as workers:
        workers.map(_run_held, [Spin(number, 0.2) for number in range(2 * slots)], chunksize=1)
        watch, cpu = _Stopwatch(), time.process_time()
        for seconds in workers.imap_unordered(_run_held, jobs, chunksize=1):
            watch.take(time.perf_counter(), seconds)
    return _timing("multiprocessing pool", watch, slots, cpu)


def tune_defaults(jobs: Sequence[Job], *, images: Images, slots: int) -> Timing:
    """tune.Tuner as its first tutorial has it: a function, a grid, nothing set.

    Each of its trials starts a process; so the start-up of the first is no more than that of any.
    """
    cpu, began = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tuner = tune.Tuner(tune.with_parameters(_tune_function, jobs=list(jobs), images=images),
                           param_space={"index": tune.grid_search(list(range(len(jobs))))},
                           run_config=tune.RunConfig(storage_path=folder))
        results = tuner.fit()
    seconds = [result.metrics["seconds"] for result in results]
    return Timing("tune.Tuner with defaults", len(seconds), slots, sum(seconds), time.perf_counter() - began,
                  time.process_time() - cpu, private_bytes(os.getpid()))


def section(kinds: Sequence[str], *, cells: int, seconds: float, tune_cells: int, cpus: int, images: Images) -> Section:
    """The same cells through every runner, of each kind in turn; Tune with its defaults through the first few only."""
    jobs = {
        "empty": [Spin(number, 0.0) for number in range(cells)],
        "spun": [Spin(number, seconds) for number in range(cells)],
        "trained": [Metered(CellJob(Cell(**{**vars(SHORT_CELL), "seed": seed}), SHORT_RECIPE)) for seed in range(cells)]}
    timings: dict[str, list[Timing]] = {}
    with connect(None, cpus=cpus) as cluster:
        # First, since ours sets Tune's environment variables, which its defaults must not see.
        plainly = {kind: [tune_defaults(jobs[kind][:tune_cells], images=images, slots=cpus)] if tune_cells else [] for kind in kinds}
        peers = (partial(ours, images=images, cluster=cluster, slots=cpus), partial(ray_tasks, images=images, slots=cpus),
                 partial(pool, images=images, slots=cpus))
        for kind in kinds:
            timings[kind] = [run(jobs[kind]) for run in peers]
    return Section(
        title=f"2  A sweep on {cpus} cores",
        columns=("cells", "runner", "number", "wall s", "cores busy", "wall ms a cell", "core ms lost a cell", "driver CPU ms a cell"),
        rows=tuple(timing.row(kind) for kind in kinds for timing in (*timings[kind], *plainly[kind])),
        targets=tuple(Target(f"cores busy, {kind} cells", timings[kind][0].busy, SHORT_CELLS_TARGET, "", True)
                      for kind in kinds if kind != "empty"),
        notes=("cores busy: CPU time of the cells over wall time x cores, from the first cell's beginning; "
               "limit: the pool, which keeps no table and survives no fault",
               "ours: Ray Tune, workers reused, every row stored",
               f"spun: {seconds:g} s of a core; trained: width {SHORT_CELL.width:g}, fraction 1/{1 / SHORT_CELL.fraction:.0f}, "
               f"batch {SHORT_RECIPE.batch_size}, validation included",
               *(f"{kind}: {timing.work / timing.cells:.2f} s of a core each with {timing.runner}"
                 for kind in kinds if kind == "trained" for timing in timings[kind])))


def growth_section(sizes: Sequence[int], *, cpus: int, images: Images) -> Section:
    """Empty cells, so that what is left is ours."""
    timings = []
    before = private_bytes(os.getpid())
    with connect(None, cpus=cpus) as cluster:
        for size in sizes:
            timings.append(ours([Spin(number, 0.0) for number in range(size)], images=images, cluster=cluster, slots=cpus))
    first, last = timings[0], timings[-1]
    return Section(
        title="2  The same from small to large: empty cells, ours, one process after the other",
        columns=("cells", "wall ms a cell", "s to close", "driver CPU ms a cell", "driver memory MB"),
        rows=tuple((f"{t.cells:,}", f"{1e3 * t.wall / t.cells:.1f}", f"{t.after:.1f}", f"{1e3 * t.driver_cpu / t.cells:.1f}", f"{t.private / 1e6:,.0f}")
                   for t in timings),
        targets=(Target("wall a cell, largest over smallest sweep", (last.wall / last.cells) / (first.wall / first.cells), 1.5, "x", False),
                 Target("driver memory, growth a cell", (last.private - first.private) / 1e3 / max(1, last.cells - first.cells), 100, "kB", False)),
        notes=("to close: from the last cell's end until Tune has written its own snapshot and its actors are gone",
               f"driver memory without what is shared; {before / 1e6:,.0f} MB before, with torch, Ray and the data set loaded",))


def _timing(runner: str, watch: _Stopwatch, slots: int, cpu: float) -> Timing:
    return Timing(runner, watch.cells, slots, watch.work, watch.ended - watch.began, time.process_time() - cpu,
                  private_bytes(os.getpid()))


# -- in the workers -----------------------------------------------------------------------------------
def _run_alone(job: Job, images: Images) -> float:
    torch.set_num_threads(1)
    return job.run(put_on(images, "cpu"))[0].train_seconds


_held: DeviceImages | None = None  # of a pool's worker


def _hold(images: Images) -> None:
    global _held
    torch.set_num_threads(1)
    _held = put_on(images, "cpu")


def _run_held(job: Job) -> float:
    return job.run(_held)[0].train_seconds


def _tune_function(config: dict, jobs: list[Job], images: Images) -> None:
    tune.report({"seconds": _run_alone(jobs[config["index"]], images)})
