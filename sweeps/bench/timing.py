"""What a runner took for a list of cells."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.bench.processes import private_bytes
from sweeps.bench.work import core_seconds
from sweeps.jobs.job import Job


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

    @property
    def wall_ms(self) -> float:
        """Of each cell."""
        return 1e3 * self.wall / self.cells

    @property
    def driver_ms(self) -> float:
        """CPU ms of the driving process for each cell."""
        return 1e3 * self.driver_cpu / self.cells


class Stopwatch:
    """Knows when the first cell began and the last one ended; as a sweep's watcher it shows nothing."""

    def __init__(self):
        self.began = self.ended = self.work = 0.0
        self.cells = 0
        self._cpu = time.process_time()

    def started(self, job: Job) -> None:
        """Tune says so while the worker may still be starting."""

    def finished(self, job: Job, rows: Sequence[object], seconds: float) -> None:
        for row in rows:
            self.take(row)

    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None:
        raise RuntimeError(f"a benchmark's cell failed: {kind}: {error}")

    def note(self, text: str) -> None:
        """Nothing to show."""

    def take(self, row: object) -> None:
        """A cell has just ended with this row."""
        now, seconds = time.perf_counter(), core_seconds(row)
        self.began = self.began or now - seconds
        self.ended, self.work, self.cells = now, self.work + seconds, self.cells + 1

    def timing(self, runner: str, slots: int) -> Timing:
        """So far."""
        return Timing(runner, self.cells, slots, self.work, self.ended - self.began, time.process_time() - self._cpu,
                      private_bytes(os.getpid()), after=time.perf_counter() - self.ended)
