"""Where a sweep's jobs come from: a list, or a search that learns from what is finished."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sweeps.jobs.job import Job


class Source(Protocol):
    """Jobs, one at a time, on the driver. Told of every end, it may make more."""

    def next(self) -> Job | None:
        """The next job; None where there is none at present."""

    def exhausted(self) -> bool:
        """No job is left, nor will any come of those under way."""

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        """The job is through: a row for each of its cells, in their order."""

    def failed(self, job: Job) -> None:
        """The job was given up after its last attempt."""

    def remaining(self) -> list[Job]:
        """Jobs not yet handed out, as far as they are known: for the estimate of time."""


class Seconds(Protocol):
    """How long jobs take, as far as is known; it learns while a sweep runs."""

    lessons: int   # how often it has changed its mind

    def __call__(self, job: Job) -> float: ...


class LongestFirst:
    """Jobs in hand, the longest first, so that no core idles at the end; sorted again when the estimates change."""

    def __init__(self, jobs: Iterable[Job], seconds: Callable[[Job], float]):
        self._jobs, self._seconds, self._sorted_at = list(jobs), seconds, None

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        self._jobs += jobs
        self._sorted_at = None

    def pop(self) -> Job | None:
        now = getattr(self._seconds, "lessons", 0)
        if self._sorted_at != now:
            self._jobs.sort(key=self._seconds)
            self._sorted_at = now
        return self._jobs.pop() if self._jobs else None

    def jobs(self) -> list[Job]:
        return list(self._jobs)


class JobList:
    """A fixed list of jobs."""

    def __init__(self, jobs: Iterable[Job], *, seconds: Callable[[Job], float]):
        self._waiting = LongestFirst(jobs, seconds)

    def next(self) -> Job | None:
        return self._waiting.pop()

    def exhausted(self) -> bool:
        return not len(self._waiting)

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        """Nothing to learn."""

    def failed(self, job: Job) -> None:
        """Nothing to learn."""

    def remaining(self) -> list[Job]:
        return self._waiting.jobs()


class Staged:
    """Sources side by side, and further ones that can be made only when `ready`: say, once rates are known."""

    def __init__(self, first: Sequence[Source], then: Callable[[], Sequence[Source]], *, ready: Callable[[], bool],
                 planned: Sequence[Job]):
        """`planned`: about what the further ones will bring, for the estimate of time."""
        self._sources, self._then, self._ready, self._planned = list(first), then, ready, list(planned)
        self.complete = False  # the further ones are there
        self._owner: dict[Job, Source] = {}
        self._complete_when_ready()

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(self._sources)

    def next(self) -> Job | None:
        for source in self._sources:
            job = source.next()
            if job is not None:
                self._owner[job] = source
                return job
        return None

    def exhausted(self) -> bool:
        return self.complete and all(source.exhausted() for source in self._sources)

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        self._owner[job].finished(job, rows)
        self._complete_when_ready()

    def failed(self, job: Job) -> None:
        self._owner[job].failed(job)
        self._complete_when_ready()

    def remaining(self) -> list[Job]:
        return [job for source in self._sources for job in source.remaining()] + ([] if self.complete else self._planned)

    def _complete_when_ready(self) -> None:
        if not self.complete and self._ready():
            self._sources += self._then()
            self.complete = True
