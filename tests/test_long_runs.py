"""A sweep of days: the driver's memory, its files and the shared memory stay where they were."""

import gc
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from chaos_cases import processes_of
from sweep_cases import FaultyJob, Log, few_images, jobs_of
from sweeps import engine
from sweeps.connect import connect
from sweeps.engine import run_jobs
from sweeps.store import open_store, read_store

pytestmark = pytest.mark.slow


def memory():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def shared_memory():
    return sum(path.stat().st_size for path in Path("/dev/shm").glob("*") if path.is_file())


class Gauge(Log):
    """Notes the driver's memory and files as jobs finish, and remembers no job."""

    def __init__(self):
        super().__init__()
        self.count, self.readings = 0, []

    def started(self, job):
        pass

    def finished(self, job, rows):
        self.count += 1
        if self.count % 250 == 0:
            gc.collect()
            self.readings.append((self.count, memory(), len(os.listdir("/proc/self/fd")), shared_memory()))


def test_a_long_sweep_does_not_grow(tmp_path, scratch):
    """LONG cells of nothing (20,000 unless the environment says less): the driver's memory goes up and down with each
    Tuner, and not up and up."""
    cells = int(os.environ.get("LONG", "20000"))
    shared = shared_memory()
    with connect(None, cpus=2) as cluster, open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        gauge = Gauge()
        began = time.monotonic()
        outcome = run_jobs(jobs_of(FaultyJob(i) for i in range(cells)), images=few_images(), store=store,
                           cluster=cluster, watcher=gauge)
        seconds = time.monotonic() - began
    assert outcome.finished == cells == len(read_store(tmp_path / "r.parquet").results)
    assert not list(scratch.glob("sll-*")) and not processes_of(scratch)
    x, y, files, shm = (np.array(column, float) for column in zip(*gauge.readings))
    within = np.polyfit(x[x <= engine.ROUND], y[x <= engine.ROUND], 1)[0]
    ends = np.array([y[x <= edge][-1] for edge in range(engine.ROUND, cells + 1, engine.ROUND)])
    across = np.polyfit(np.arange(len(ends)) * engine.ROUND, ends, 1)[0] if len(ends) > 1 else float("nan")
    print(f"{cells} cells in {seconds:.0f} s: driver {y[0] / 2**20:.0f} -> {y[-1] / 2**20:.0f} MiB, most "
          f"{y.max() / 2**20:.0f}; {within / 1024:.1f} KiB a cell within a Tuner, {across / 1024:.1f} KiB a cell from "
          f"Tuner to Tuner; files open {files.min():.0f} to {files.max():.0f}; "
          f"/dev/shm {(shm.min() - shared) / 2**20:+.0f} to {(shm.max() - shared) / 2**20:+.0f} MiB while it ran, "
          f"{(shared_memory() - shared) / 2**20:+.0f} after")
    assert files.max() - files.min() < 40
    if len(ends) > 2:
        assert across < 0.2 * within + 4096
