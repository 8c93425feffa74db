"""How long a job will take: guessed from its cost in closed form, or from its settings, and learnt from finished ones."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from sweeps.jobs.job import Job
from trainers.columns import columns, names
from trainers.cost import Cost, Speed
from trainers.task import Task

FEWEST_ROWS = 8        # that change a guess at a device's speed
PRIOR_EXPONENT = 0.5   # of seconds in each size, before anything is known: a larger run takes longer
PRIOR_WEIGHT = 0.5     # of that belief, in runs


def learnt(guess: Speed, runs: Iterable[tuple[Cost, float]]) -> Speed:
    """The guess with step_s and flops_per_s fitted to finished runs of one device: their cost, and seconds of training.

    Least squares on relative residuals. Fewer than FEWEST_ROWS change nothing.
    """
    runs = list(runs)
    if len(runs) < FEWEST_ROWS:
        return guess
    seconds = np.array([seconds for _, seconds in runs])
    design = np.array([[cost.steps, cost.flops] for cost, _ in runs], dtype=float)
    scaled = design / seconds[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    step, inverse = np.linalg.lstsq(scaled / norms, np.ones(len(runs)), rcond=None)[0] / norms
    if not (step > 0 and inverse > 0):
        return guess
    return replace(guess, step_s=float(step), flops_per_s=float(1 / inverse))


class Seconds:
    """Estimates for a sweep's jobs. Called with a job, gives seconds."""

    def __init__(self, task: Task, data: object, *, device: str, rows: Iterable[object] = ()):
        """`device`: cpu or cuda. `rows`: finished, by any earlier sweep; those of the other kind of device teach nothing."""
        self._task, self._data = task, data
        self.lessons = 0
        clocks = [c.name for c in columns(task.row) if c.role == "clock" and c.unit == "s"] if task.row else []
        runs = [(row, getattr(row, clocks[0])) for row in rows if clocks and (row.device == "cpu") == (device == "cpu")]
        guess = task.speed(device)
        self._speed = guess and learnt(guess, ((task.cost([row], data), seconds) for row, seconds in runs if seconds > 0))
        self._by_size = None if self._speed else _BySize(task)
        if self._by_size:
            for row, seconds in runs:
                self._by_size.learn(row, seconds)

    @property
    def in_closed_form(self) -> bool:
        return self._speed is not None

    @property
    def known(self) -> bool:
        """Whether an estimate is more than an order."""
        return self._speed is not None or self._by_size.known

    def __call__(self, job: Job) -> float:
        if self._speed:
            return self._speed.seconds(self._task.cost(job.cells, self._data))
        return sum(self._by_size(cell) for cell in job.cells)

    def learn(self, job: Job, seconds: float) -> None:
        """A job took so long."""
        if self._by_size and len(job.cells) == 1 and self._by_size.learn(job.cells[0], seconds):
            self.lessons += 1


class _BySize:
    """log seconds = b + sum_k e_k log x_k over the positive numbers that identify a cell, by ridge regression towards
    e_k = PRIOR_EXPONENT for axes and 0 for choices. Fitted anew whenever the number of runs has grown by half."""

    def __init__(self, task: Task):
        self._axes = names(task.cell, "axis")
        self._names = [c.name for c in columns(task.cell) if c.role in ("axis", "choice") and c.kind in (int, float)]
        self._seen: list[tuple[list[float], float]] = []
        self._fitted_at = 0
        self._prior = np.array([PRIOR_EXPONENT if name in self._axes else 0.0 for name in self._names])
        self._intercept, self._exponents = 0.0, self._prior

    @property
    def known(self) -> bool:
        return self._fitted_at > 0

    def __call__(self, cell: object) -> float:
        return math.exp(min(self._intercept + float(self._exponents @ self._logs(cell)), 30.0))

    def _logs(self, cell: object) -> np.ndarray:
        values = [getattr(cell, name) for name in self._names]
        return np.array([math.log(value) if value > 0 else 0.0 for value in values])

    def learn(self, cell: object, seconds: float) -> bool:
        """Whether the estimates have changed."""
        self._seen.append((self._logs(cell), math.log(max(seconds, 1e-4))))
        if len(self._seen) < max(1.5 * self._fitted_at, 1):
            return False
        x, y = np.array([logs for logs, _ in self._seen]), np.array([value for _, value in self._seen])
        middle, height = x.mean(0), y.mean()
        left = (x - middle).T @ (x - middle) + PRIOR_WEIGHT * np.eye(len(self._names))
        right = (x - middle).T @ (y - height) + PRIOR_WEIGHT * self._prior
        self._exponents = np.linalg.solve(left, right)
        self._intercept, self._fitted_at = float(height - self._exponents @ middle), len(self._seen)
        return True
