"""A sweep of days: the driver's memory, its files and the shared memory stay where they were."""

import gc
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from worlds.chaos_cases import own_temp_folder, processes_of
from worlds.sweep_cases import Log, faulty_jobs, faulty_task, in_order

from sweeps.running import ray_tune as engine
from sweeps.running.connect import connect
from sweeps.running.ray_tune import run_jobs
from sweeps.store.store import open_store, read_store

pytestmark = pytest.mark.slow

EVERY = 250   # cells between two readings


@dataclass(frozen=True)
class Reading:
    cells: int
    memory: int   # bytes resident in the driver, this process
    files: int    # that it has open
    shared: int   # bytes of the object store


class Gauge(Log):
    """Reads as jobs finish, and remembers no job."""

    def __init__(self, raylet):
        super().__init__()
        self.raylet, self.cells, self.readings = raylet, 0, []

    def started(self, job):
        pass

    def finished(self, job, rows, seconds):
        self.cells += 1
        if self.cells % EVERY == 0:
            gc.collect()
            self.readings.append(Reading(self.cells, resident("self", "VmRSS"), len(os.listdir("/proc/self/fd")),
                                         resident(self.raylet, "RssShmem")))


def resident(pid, kind):
    return 1024 * int(re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def test_a_long_sweep_does_not_grow(tmp_path, record_testsuite_property):
    """LONG cells of nothing (20,000 unless the environment says less): the driver's memory goes up and down with each
    Tuner, and not up and up; what the table itself takes is about 2 kB a row."""
    cells = int(os.environ.get("LONG", "20000"))
    with own_temp_folder() as scratch:
        task = faulty_task()
        with connect(None, cpus=2) as cluster, \
                open_store(tmp_path / "r.parquet", task=task, provenance={}, fingerprint=task.fingerprint(None)) as store:
            [raylet] = [pid for pid, line in processes_of(scratch).items() if line.split(" ")[0].endswith("/raylet")]
            gauge, began = Gauge(raylet), time.monotonic()
            outcome = run_jobs(in_order(faulty_jobs(task, range(cells))), task=task, data=None, store=store, cluster=cluster,
                               watcher=gauge)
            seconds = time.monotonic() - began
        assert not processes_of(scratch) and not list(scratch.iterdir()), "Ray's session folder stays"
    assert outcome.finished == cells == len(read_store(tmp_path / "r.parquet", task=faulty_task()).results)

    x, memory, files, shared = (np.array([getattr(reading, name) for reading in gauge.readings], float)
                                for name in ("cells", "memory", "files", "shared"))
    within = np.polyfit(x[x <= engine.ROUND], memory[x <= engine.ROUND], 1)[0]
    peaks = np.array([memory[x <= edge][-1] for edge in range(engine.ROUND, cells + 1, engine.ROUND)])
    across = np.polyfit(np.arange(len(peaks)) * engine.ROUND, peaks, 1)[0] if len(peaks) > 1 else float("nan")
    record_testsuite_property(f"{cells:,} cells", (
        f"{seconds:.0f} s; driver {memory[0] / 2**20:.0f} -> {memory[-1] / 2**20:.0f} MiB, at most {memory.max() / 2**20:.0f}: "
        f"{within / 1024:.1f} KiB a cell within a Tuner, {across / 1024:.1f} KiB a cell from Tuner to Tuner "
        f"({', '.join(f'{peak / 2**20:.0f}' for peak in peaks)}); files open {files.min():.0f} to {files.max():.0f}; "
        f"object store {shared.min() / 2**20:.1f} to {shared.max() / 2**20:.1f} MiB"))
    assert files.max() - files.min() < 40
    assert shared.max() - shared.min() < 2**24
    if len(peaks) > 2:
        assert across < 4096
