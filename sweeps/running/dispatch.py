"""Decides what becomes of each job of a sweep: handed out, finished, tried again, given up. Knows no Ray."""

import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweeps.jobs.job import Job
from sweeps.jobs.source import Source
from sweeps.running.exit import SweepError
from sweeps.store.rows import failure_type
from sweeps.store.store import Store
from trainers.columns import identity_of, lettered
from trainers.task import Task

LOST_NODES = 10  # times a job may lose its node (pre-emption) before it counts as failed

# Ray's own words, in which it tells of an actor's end. Unavailable is one whose node was alive a moment ago.
NODE_LOST = re.compile(r"its node has died|is temporarily unavailable")
STILLBORN, HOST = "raised in its creation task", re.compile(r"^\s*ip: (\S+)", re.MULTILINE)

DETERMINISTIC = ("diverged", "refused")   # the cell's or the code's own fault, the same whenever it is tried again


class Watcher(Protocol):
    """Whoever shows the sweep to a person."""

    def started(self, job: Job) -> None: ...
    def finished(self, job: Job, rows: Sequence[object], seconds: float) -> None: ...
    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None: ...
    def note(self, text: str) -> None: ...


class Saved(Protocol):
    """What runs have saved on their way, by job."""

    def drop(self, job: Job) -> None:
        """The job's rows are safe, or it was given up for good."""

    def last_sign(self, job: Job) -> float:
        """Seconds since the run of this job saved last; infinite where it never did."""


@dataclass(frozen=True)
class Patience:
    """What is borne of a job before it counts as failed."""

    timeout_s: Callable[[Job], float] = lambda job: 3600.0  # without a sign of life, after which it counts as hung
    retries: int = 2                                       # where it raised, hung, or its worker died


class Dispatcher:
    """Jobs go out under a trial's id and come back, somehow, under it. Every end is in the store at once."""

    def __init__(self, task: Task, source: Source, store: Store, watcher: Watcher, patience: Patience, saved: Saved | None = None):
        self.task, self.source, self.store, self.watcher, self.patience, self.saved = task, source, store, watcher, patience, saved
        self.stopping = False                      # hand out no more
        self.succeeded = self.failed = 0
        self.busy_seconds = 0.0                    # that workers spent in jobs, by their own clocks
        self.began_at = self.ended_at = 0.0        # the first of these jobs and the last, on our clock
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()       # ran each time when a round broke off: they go out alone, last
        self._attempts: dict[Job, list[str]] = {}  # kinds of failure so far
        self._parts: dict[Job, _Parts] = {}        # part -> the job of several cells that was taken apart
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
        """The trial's one report: `rows` as far as they go, and a `failure` where something went wrong.

        Raises SweepError where the very first rows are refused: the next ones would be, too.
        """
        job, _ = self._take_back(trial_id)
        if job is None:
            return
        seconds = result.get("job_seconds", 0.0)
        self.busy_seconds += seconds
        self.ended_at = time.monotonic()
        self.began_at = self.began_at or self.ended_at - seconds
        try:
            kept = self._keep(job, result.get("rows", ()))
        except ValueError as error:  # rows that no table of this task can hold
            self._fail(job, kind="refused", error=str(error), traceback="", host=result.get("host", "unknown"))
            return
        if result.get("stopped"):   # it saved what it had, and left: the next sweep goes on with it
            return
        left = [cell for cell in job.cells if identity_of(cell) not in kept]
        diverged = [cell for cell in job.cells if kept.get(identity_of(cell)) == "diverged"]
        if diverged and job.table == "results":
            self._record(diverged, kind="diverged", error="the loss is no finite number", traceback="",
                         host=result.get("host", "unknown"), attempts=1)
        if "failure" in result and left:   # of a run whose rows are all here it is of no matter
            self._fail(job, **result["failure"], cells=left)
        elif left:
            self._fail(job, kind="raised", error=f"it yielded rows for {len(kept)} of {len(job.cells)} cells", traceback="",
                       host=result.get("host", "unknown"), cells=left)
        elif diverged and job.table == "results":
            self._give_up(job, "diverged", "the loss is no finite number")
        else:
            self._succeed(job, seconds)

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
        silent = min(seconds, self.saved.last_sign(job)) if self.saved else seconds
        if NODE_LOST.search(text):
            kind = "lost node"
        elif silent >= limit:
            kind, text = "timeout", f"no sign of life for {silent:.0f} s (limit {limit:g} s)"
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

    def _keep(self, job: Job, rows: Sequence[dict]) -> dict[tuple, str]:
        """Put the rows into the store; identity -> "kept" or "diverged".

        Raises ValueError where a row is none of this task's.
        """
        wanted, found = set(job.identities()), {}
        for values in rows:
            row_type = self.task.row_type(values)
            names = row_type.__dataclass_fields__
            if odd := set(values) ^ set(names):
                raise ValueError(f"its row has other columns than {self.task.name}'s: {', '.join(sorted(odd)[:4])}")
            letter = lettered(row_type, "L")
            diverged = not math.isfinite(values[letter])
            if diverged:
                values = values | {letter: math.inf}   # NaN equals nothing, itself included
            sizes = [name for other in "NDC" if (name := lettered(row_type, other))]
            if spoilt := [name for name in sizes if not math.isfinite(values[name])]:
                raise ValueError(f"{', '.join(spoilt)} of its row is no finite number")
            row = row_type(**values)
            if identity_of(row) not in wanted:
                raise ValueError(f"its row is of another cell: {identity_of(row)}")
            found[identity_of(row)] = "diverged" if diverged else "kept"
            if job.table == "tuning":
                self.store.append_tuning(row)
            elif not diverged:
                self.store.append(row)
        return found

    def _held(self, job: Job) -> Mapping[tuple, object]:
        """Rows of the table that the job's go to."""
        return self.store.tuning if job.table == "tuning" else self.store.results

    def _succeed(self, job: Job, seconds: float) -> None:
        rows = [self._held(job)[identity] for identity in job.identities()]
        self._attempts.pop(job, None)
        if self.saved:
            self.saved.drop(job)
        self.succeeded += 1
        self.watcher.finished(job, rows, seconds)
        self._tell_source(job, rows)

    def _fail(self, job: Job, *, kind: str, error: str, traceback: str, host: str, cells: Sequence[object] | None = None) -> None:
        """`cells`: those without a row; default all."""
        past = self._attempts.setdefault(job, [])
        past.append(kind)
        if worth_another(past, self.patience.retries):
            self.watcher.failed(job, kind, error, again=True)
            self._again.append(job)
            return
        attempts = len(self._attempts.pop(job))
        parts = [Job(tuple(some), job.table) for some in self.task.apart(job.cells)] if len(job.cells) > 1 else []
        if len(parts) > 1:   # each fails, or not, on its own account
            self.watcher.failed(job, kind, error, again=True)
            whole = _Parts(job, set(parts))
            self._parts.update(dict.fromkeys(parts, whole))
            for part in parts:
                rows = [self._held(part).get(identity) for identity in part.identities()]
                if None in rows:
                    self._again.append(part)
                else:   # it came before the run failed
                    self._tell_source(part, rows)
            return
        self._record(job.cells if cells is None else cells, kind=kind, error=error, traceback=traceback, host=host, attempts=attempts)
        if kind == "refused" and not self.store.results and not self.store.tuning:
            raise SweepError(f"{error}; nothing else was tried")
        self._give_up(job, kind, error)

    def _record(self, cells: Sequence[object], *, kind: str, error: str, traceback: str, host: str, attempts: int) -> None:
        made = failure_type(self.task.cell)
        for cell in cells:
            self.store.fail(made(**identity_of(cell)._asdict(), kind=kind, error=error, traceback=traceback, host=host,
                                 attempts=attempts, time=time.time()))

    def _give_up(self, job: Job, kind: str, error: str) -> None:
        self.watcher.failed(job, kind, error, again=False)
        if self.saved and kind in DETERMINISTIC:   # of a run that was killed, what it saved is worth keeping
            self.saved.drop(job)
        self.failed += 1
        self._tell_source(job, None)

    def _tell_source(self, job: Job, rows: Sequence[object] | None) -> None:
        """The source knows jobs as it made them, whole."""
        whole = self._parts.pop(job, None)
        if whole is None:
            self.source.failed(job) if rows is None else self.source.finished(job, rows)
            return
        whole.open.discard(job)
        whole.failed |= rows is None
        whole.rows |= {identity_of(row): row for row in rows or ()}
        if not whole.open:
            if whole.failed:
                self.source.failed(whole.job)
            else:
                self.source.finished(whole.job, [whole.rows[identity] for identity in whole.job.identities()])


class _Parts:
    """A job of several cells that goes on cell by cell."""

    def __init__(self, job: Job, parts: set[Job]):
        self.job, self.open, self.failed = job, parts, False
        self.rows: dict[tuple, object] = {}


def worth_another(kinds: Sequence[str], retries: int) -> bool:
    """What the cell or the code does every time would be the same again. A lost node is nobody's fault."""
    if kinds[-1] in DETERMINISTIC:
        return False
    lost, bystander = kinds.count("lost node"), kinds.count("bystander")
    return lost <= LOST_NODES and len(kinds) - lost - bystander <= retries


def last_line(text: str) -> str:
    """What a traceback ends with."""
    return (text.strip().splitlines() or [""])[-1].strip()
