"""Where a sweep's jobs come from: a list, or a search that learns from what is finished."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sweeps.job import Job
from trainers.results import Result


class Source(Protocol):
    """Jobs, one at a time, on the driver. Told of every end, it may make more."""

    def next(self) -> Job | None:
        """The next job; None where there is none at present."""

    def exhausted(self) -> bool:
        """No job is left, nor will any come of those under way."""

    def finished(self, job: Job, rows: Sequence[Result]) -> None: ...

    def failed(self, job: Job) -> None:
        """`job` was given up after its last attempt."""

    def remaining(self) -> list[Job]:
        """Jobs not yet handed out, as far as they are known: for the estimate of time."""


class JobList:
    """A fixed list of jobs, the dearest first, so that no core idles at the end."""

    def __init__(self, jobs: Iterable[Job], *, seconds: Callable[[Job], float]):
        self._jobs = sorted(jobs, key=seconds)

    def next(self) -> Job | None:
        return self._jobs.pop() if self._jobs else None

    def exhausted(self) -> bool:
        return not self._jobs

    def finished(self, job: Job, rows: Sequence[Result]) -> None:
        """Nothing to learn."""

    def failed(self, job: Job) -> None:
        """Nothing to learn."""

    def remaining(self) -> list[Job]:
        return list(self._jobs)
