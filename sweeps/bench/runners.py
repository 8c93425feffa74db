"""Who runs cells: ours, Ray Tune as it comes, bare Ray tasks, a pool of processes."""

import contextlib
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle, tune

from sweeps.bench.processes import private_bytes
from sweeps.bench.timing import Stopwatch, Timing
from sweeps.bench.work import Work, core_seconds, run_alone, spun
from sweeps.jobs.job import Job
from sweeps.jobs.source import JobList
from sweeps.running.cluster import Cluster
from sweeps.running.ray_tune import run_jobs
from sweeps.store.store import open_store
from trainers.task import Task


def ours(work: Work, *, cluster: Cluster, slots: int, runner: str = "ours") -> Timing:
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "bench.parquet", task=work.task, provenance={}) as store:
        outcome = run_jobs(JobList([Job((cell,)) for cell in work.cells], seconds=lambda job: 1.0), task=work.task, data=work.data,
                           store=store, cluster=cluster, watcher=watch)
    if outcome.finished != len(work.cells):
        raise RuntimeError(f"{outcome.finished} of {len(work.cells)} cells came back")
    return watch.timing(runner, slots)


def ray_tasks(work: Work, *, slots: int) -> Timing:
    """One task a cell, no table kept: what Ray itself takes."""
    run, held = ray.remote(_run), ray.put((work.task, work.data))
    warm = ray.put((spun(0, 0.0).task, None))
    ray.get([run.remote(warm, values) for values in _warming(slots)])  # workers up, torch imported
    watch = Stopwatch()
    waiting = [run.remote(held, asdict(cell)) for cell in work.cells]
    while waiting:
        done, waiting = ray.wait(waiting)
        watch.take(ray.get(done[0]))
    return watch.timing("bare Ray tasks", slots)


def pool(work: Work, *, slots: int) -> Timing:
    """One machine, no fault survived, no table kept."""
    context = multiprocessing.get_context("spawn")
    warm = spun(0, 0.0).task
    with context.Pool(slots, initializer=_hold, initargs=(cloudpickle.dumps((work.task, work.data, warm)),)) as workers:
        workers.map(_warm, _warming(slots), chunksize=1)
        watch = Stopwatch()
        for row in workers.imap_unordered(_run_held, map(asdict, work.cells), chunksize=1):
            watch.take(row)
        return watch.timing("multiprocessing pool", slots)


def tune_defaults(work: Work, *, slots: int) -> Timing:
    """tune.Tuner as its first tutorial has it: a function, a grid, nothing set.

    Each of its trials starts a process; so the start-up of the first is no more than that of any.
    """
    cpu, began = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tuner = tune.Tuner(tune.with_parameters(_tune_function, held=(work.task, work.data), cells=[asdict(cell) for cell in work.cells]),
                           param_space={"index": tune.grid_search(list(range(len(work.cells))))},
                           run_config=tune.RunConfig(storage_path=folder))
        results = tuner.fit()
    seconds = [result.metrics["seconds"] for result in results]
    return Timing("tune.Tuner with defaults", len(seconds), slots, sum(seconds), time.perf_counter() - began,
                  time.process_time() - cpu, private_bytes(os.getpid()))


def _warming(slots: int) -> Iterable[dict]:
    """Cells that keep every worker busy for a moment, so that all are there."""
    return [{"number": number, "seconds": 0.2} for number in range(2 * slots)]


# -- in the workers -----------------------------------------------------------------------------------
_placed: dict[str, Any] = {}   # data by task, in a process that runs cell after cell


def _run(held: tuple[Task, Any], values: dict) -> dict:
    task, data = held
    if task.name not in _placed:
        torch.set_num_threads(1)
        _placed[task.name] = task.place(data, "cpu")
    return run_alone(task, task.cell(**values), _placed[task.name])


_held: tuple[Task, Any, Task] | None = None  # of a pool's worker


def _hold(pickled: bytes) -> None:
    global _held
    _held = cloudpickle.loads(pickled)


def _warm(values: dict) -> dict:
    return _run((_held[2], None), values)


def _run_held(values: dict) -> dict:
    return _run(_held[:2], values)


def _tune_function(config: dict, held: tuple[Task, Any], cells: list[dict]) -> None:
    tune.report({"seconds": core_seconds(_run(held, cells[config["index"]]))})
