"""Packs: cells of one shape handed to one trial, where a GPU trains them as one batched model."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from sweeps.jobs.job import CellJob, Cost, Job, Shape
from sweeps.jobs.source import Source
from sweeps.store.rows import Identity, identity_of
from trainers.mnist.packed import Member, attempt_packed, train_packed
from trainers.mnist.results import Result
from trainers.mnist.train import DeviceImages, Diverged


@dataclass(frozen=True)
class PackJob:
    """Train cells of one shape: a row each, but none for a cell that diverges."""

    jobs: tuple[CellJob, ...]

    @property
    def table(self) -> str:
        return self.jobs[0].table

    def identities(self) -> tuple[Identity, ...]:
        return tuple(identity for job in self.jobs for identity in job.identities())

    def cost(self, shape: Shape) -> Cost:
        """Raises ValueError where the fraction holds fewer images than a batch."""
        return reduce(Cost.__add__, (job.cost(shape) for job in self.jobs))

    def run(self, images: DeviceImages) -> list[Result]:
        """On a GPU as one model. On a CPU, where that gains nothing, one after another: the bits of
        the cells unpacked, and one trial's overhead for all.

        Raises Diverged where no cell is left.
        """
        if images.train_images.device.type == "cpu":
            rows = [row for job in self.jobs for row in _rows(job, images)]
        else:
            members = [Member(job.cell, job.recipe) for job in self.jobs]
            rows = (attempt_packed if self.table == "tuning" else train_packed)(members, images)
        if not rows:
            raise Diverged(f"all {len(self.jobs)} cells of the pack")
        return rows

    def describe(self) -> dict:
        return {**self.jobs[0].describe(), "pack": len(self.jobs)}


def _rows(job: CellJob, images: DeviceImages) -> list[Result]:
    try:
        return job.run(images)
    except Diverged:
        return []


class Packed:
    """Source: another's jobs, up to `size` cells of one shape together.

    The other source is told of each cell by itself. A cell that a pack leaves without a row, and
    all cells of a pack that was given up, are handed out again alone, so that each fails, or not,
    on its own account.
    """

    def __init__(self, source: Source, *, size: int):
        """Raises ValueError for a size below 1."""
        if size < 1:
            raise ValueError(f"--pack {size}: give at least 1 cell")
        self._source, self._size = source, size
        self._held: deque[Job] = deque()    # drawn from the source, but not of the last pack's shape
        self._alone: deque[CellJob] = deque()

    def next(self) -> Job | None:
        if self._alone:
            return self._alone.popleft()
        jobs = [self._draw()]
        while len(jobs) < self._size and jobs[0] is not None:
            job = self._draw()
            if job is None:
                break
            if not _fit(jobs[0], job):
                self._held.append(job)
                break
            jobs.append(job)
        return PackJob(tuple(jobs)) if len(jobs) > 1 else jobs[0]

    def exhausted(self) -> bool:
        return not self._held and not self._alone and self._source.exhausted()

    def finished(self, job: Job, rows: Sequence[Result]) -> None:
        if not isinstance(job, PackJob):
            self._source.finished(job, rows)
            return
        by_identity = {identity_of(row): row for row in rows}
        for member in job.jobs:
            row = by_identity.get(member.identities()[0])
            if row is None:
                self._alone.append(member)
            else:
                self._source.finished(member, [row])

    def failed(self, job: Job) -> None:
        if isinstance(job, PackJob):
            self._alone.extend(job.jobs)
        else:
            self._source.failed(job)

    def remaining(self) -> list[Job]:
        return [*self._alone, *self._held, *self._source.remaining()]

    def _draw(self) -> Job | None:
        return self._held.popleft() if self._held else self._source.next()


def _fit(one: Job, other: Job) -> bool:
    return (isinstance(one, CellJob) and isinstance(other, CellJob) and one.table == other.table
            and one.protocol == other.protocol
            and Member(one.cell, one.recipe).shape() == Member(other.cell, other.recipe).shape())
