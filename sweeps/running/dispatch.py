"""Decides what becomes of each job of a sweep: handed out, finished, tried again, given up. Knows no Ray."""

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from sweeps.jobs.job import Job
from sweeps.jobs.source import Source
from sweeps.running.exit import SweepError
from sweeps.store.rows import Failure
from sweeps.store.store import Store
from trainers.mnist.results import Result

LOST_NODES = 10  # times a job may lose its node (pre-emption) before it counts as failed

# Ray's own words, in which it tells of an actor's end. Unavailable is one whose node was alive a moment ago.
NODE_LOST = re.compile(r"its node has died|is temporarily unavailable")
STILLBORN, HOST = "raised in its creation task", re.compile(r"^\s*ip: (\S+)", re.MULTILINE)


class Watcher(Protocol):
    """Whoever shows the sweep to a person."""

    def started(self, job: Job) -> None: ...
    def finished(self, job: Job, rows: Sequence[Result]) -> None: ...
    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True)
class Patience:
    """What is borne of a job before it counts as failed."""

    timeout_s: Callable[[Job], float] = lambda job: 3600.0  # after which it counts as hung
    retries: int = 2                                       # where it raised, hung, or its worker died


class Desk:
    """Jobs go out under a trial's id and come back, somehow, under it. Every end is in the store at once."""

    def __init__(self, source: Source, store: Store, watcher: Watcher, patience: Patience, row_type: type[Result] = Result):
        self.source, self.store, self.watcher, self.patience, self.row_type = source, store, watcher, patience, row_type
        self.stopping = False                      # hand out no more
        self.succeeded = self.failed = 0
        self.busy_seconds = 0.0                    # that workers spent in jobs, by their own clocks
        self.began_at = self.ended_at = 0.0        # the first of these jobs and the last, on our clock
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()       # ran each time when a round broke off: they go out alone, last
        self._attempts: dict[Job, list[str]] = {}  # kinds of failure so far
        self._out: dict[str, Job] = {}             # by trial id
        self._since: dict[str, float] = {}         # when those of them that run began
        self._stillborn = 0                        # workers in a row that could not even start

    def __len__(self) -> int:
        """Jobs that are out."""
        return len(self._out)

    def over(self) -> bool:
        """Nothing is out, and nothing will be."""
        return not self._out and (self.stopping or not (self._again or self._suspects) and self.source.exhausted())

    def hand_out(self, trial_id: str) -> Job | None:
        """The next job; None where there is none now. One that is out may yet come back, or lead to more."""
        if self.stopping:
            return None
        job = self._again.popleft() if self._again else self.source.next()
        if job is None and self._suspects and not self._out:
            job = self._suspects.popleft()
        if job is not None:
            self._out[trial_id] = job
        return job

    def began(self, trial_id: str) -> None:
        self._since[trial_id], self._stillborn = time.monotonic(), 0
        if trial_id in self._out:
            self.watcher.started(self._out[trial_id])

    def never_began(self, trial_id: str) -> None:
        """It waited for a slot and is not to run any more."""
        self._out.pop(trial_id, None)

    def reported(self, trial_id: str, result: dict) -> None:
        """The trial's one report: `rows`, or a `failure`."""
        job, _ = self._take_back(trial_id)
        if job is None:
            return
        seconds = result.get("job_seconds", 0.0)
        self.busy_seconds += seconds
        self.ended_at = time.monotonic()
        self.began_at = self.began_at or self.ended_at - seconds
        if "failure" in result:
            self._fail(job, **result["failure"])
        else:
            self._finish(job, result["rows"])

    def died(self, trial_id: str, text: str) -> None:
        """A trial ended without a report; `text` is Ray's account of that.

        Raises SweepError where worker after worker can't start.
        """
        job, seconds = self._take_back(trial_id)
        if job is None:
            return
        self._stillborn += STILLBORN in text
        if self._stillborn > self.patience.retries:
            raise SweepError(f"no trial can start: {last_line(text)}")
        host, limit, kind = HOST.search(text), self.patience.timeout_s(job), "killed"
        if NODE_LOST.search(text):
            kind = "lost node"
        elif seconds >= limit:
            kind, text = "timeout", f"no result after {seconds:.0f} s (limit {limit:g} s)"
        self._fail(job, kind=kind, error=text, traceback="", host=host[1] if host else "unknown")

    def broke_off(self, reason: str) -> None:
        """Nothing runs any more, for `reason`, or for none: sort what is still out."""
        ran = [self._out.pop(trial_id) for trial_id in self._since if trial_id in self._out]
        self._again.extend(self._out.values())
        self._out.clear()
        self._since.clear()
        if reason and len(ran) == 1:  # it, and no other, can be the cause: Ray killed it for its memory, say
            self._fail(ran[0], kind="killed", error=reason, traceback="", host="unknown")
            return
        for job in ran:
            kinds = self._attempts.setdefault(job, [])
            kinds.append("bystander")
            (self._suspects if kinds.count("bystander") > 1 else self._again).append(job)

    def _take_back(self, trial_id: str) -> tuple[Job | None, float]:
        """The trial's job, unless it came back before, and the seconds for which it ran."""
        return self._out.pop(trial_id, None), time.monotonic() - self._since.pop(trial_id, time.monotonic())

    def _finish(self, job: Job, rows: Sequence[dict]) -> None:
        names = {f.name for f in fields(self.row_type)}
        results = [self.row_type(**{k: v for k, v in row.items() if k in names}) for row in rows]
        try:
            for row in results:
                self.store.append(row) if job.table == "results" else self.store.append_tuning(row)
        except ValueError as error:  # no row of that kind can be kept
            self._fail(job, kind="raised", error=f"its row can't be stored: {error}", traceback="", host="unknown")
            return
        self._attempts.pop(job, None)
        self.succeeded += 1
        self.source.finished(job, results)
        self.watcher.finished(job, results)

    def _fail(self, job: Job, *, kind: str, error: str, traceback: str, host: str) -> None:
        past = self._attempts.setdefault(job, [])
        past.append(kind)
        again = worth_another(past, self.patience.retries)
        self.watcher.failed(job, kind, error, again=again)
        if again:
            self._again.append(job)
            return
        attempts = len(self._attempts.pop(job))
        for identity in job.identities():
            self.store.fail(Failure(**identity._asdict(), kind=kind, error=error, traceback=traceback, host=host,
                                    attempts=attempts, time=time.time()))
        self.failed += 1
        self.source.failed(job)


def worth_another(kinds: Sequence[str], retries: int) -> bool:
    """Divergence is the cell's own, bit for bit: again would be the same. A lost node is nobody's fault."""
    if kinds[-1] == "diverged":
        return False
    lost, bystander = kinds.count("lost node"), kinds.count("bystander")
    return lost <= LOST_NODES and len(kinds) - lost - bystander <= retries


def last_line(text: str) -> str:
    """What a traceback ends with."""
    return (text.strip().splitlines() or [""])[-1].strip()
