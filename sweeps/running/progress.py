"""What a person sees while a sweep runs: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sweeps.jobs.job import Job
from sweeps.jobs.source import Source
from sweeps.running.speed import Seconds
from trainers.columns import lettered

PLAIN_EVERY_S = 15.0  # between lines where there is no terminal


class Display:
    """The watcher of a sweep; a context manager while it runs."""

    def __init__(self, source: Source, *, seconds: Seconds, slots: int, console: Console | None = None):
        self._source, self._seconds, self._slots = source, seconds, max(1, slots)
        self._console = console or Console(highlight=False)
        self._bar = Progress(BarColumn(bar_width=24), TextColumn("{task.description}"), console=self._console,
                             disable=not self._console.is_terminal, refresh_per_second=4)
        self._task = self._bar.add_task("starting Ray's workers", total=None)
        self._done = {"results": 0, "tuning": 0}
        self._failures = 0
        self._best: float | None = None   # lowest loss of the grid's rows
        self._running: list[Job] = []
        self._estimated = 0.0   # seconds of the finished, as they were estimated
        self._measured = 0.0    # and as they were
        self._last_line = self._began = time.monotonic()

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def started(self, job: Job) -> None:
        self._running.append(job)
        self._show()

    def finished(self, job: Job, rows: Sequence[object], seconds: float) -> None:
        self._forget(job)
        self._done[job.table] += len(rows)
        if self._seconds.known:
            self._estimated += self._seconds(job)
            self._measured += seconds
        self._seconds.learn(job, seconds)
        if job.table == "results":
            losses = [getattr(row, lettered(type(row), "L")) for row in rows]
            self._best = min(losses if self._best is None else [*losses, self._best])
        self._show()

    def failed(self, job: Job, kind: str, error: str, *, again: bool) -> None:
        self._forget(job)
        self._failures += not again
        place = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                          for name, value in list(job.describe().items())[:4])
        self.note(f"{'trying again' if again else 'gave up'}: {place}: {kind}: {error.splitlines()[0] if error else ''}")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def remaining_seconds(self) -> float:
        """Estimates of what is left over the slots, corrected by how the finished compare with theirs."""
        left = sum(self._seconds(job) for job in self._source.remaining())
        left += 0.5 * sum(self._seconds(job) for job in self._running)
        correction = self._measured / self._estimated if self._estimated > 0 and self._measured > 0 else 1.0
        return correction * left / self._slots

    def _forget(self, job: Job) -> None:
        if job in self._running:
            self._running.remove(job)

    def _show(self) -> None:
        now = time.monotonic()
        plain = not self._console.is_terminal
        if plain and now - self._last_line < PLAIN_EVERY_S:
            return
        if not plain and now - self._last_line < 0.2:
            return
        self._last_line = now
        done, left = self._done["results"], len(self._source.remaining())
        parts = [f"{done} cells", f"{self._done['tuning']} tuning runs", f"{left} to go", f"{self._failures} failed",
                 f"best loss {self._best:.4g}" if self._best is not None else "",
                 f"ETA {clock(self.remaining_seconds())}" if self._seconds.known and left else ""]
        text = ", ".join(part for part in parts if part)
        if plain:
            self.note(f"[{clock(now - self._began)}] {text}")
        else:
            self._bar.update(self._task, description=text, total=done + self._done["tuning"] + left,
                             completed=done + self._done["tuning"])


def clock(seconds: float) -> str:
    """75 -> 1:15, 3700 -> 1:01:40."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
