"""Equal wall time: workers side by side, simulated from the problems' own costs.

A run keeps its worker for its cost, the dearest allowed for LONGEST seconds; the search suggests one run at a time, which
takes the CPU seconds that were measured. What has not finished at the end doesn't count.
"""

import heapq
import math
import time
from collections.abc import Callable

import numpy as np

from sweeps.carbs.bench.problems import Problem
from sweeps.carbs.search import BudgetSpent

Run = tuple[dict, float, float]     # config, observed loss (NaN: failed), observed cost

# An hour for the dearest run: one that is 1,000 times cheaper takes 4 s, no longer than many a suggestion.
LONGEST = 3600.0


def finished(problem: Problem, rival: object, noise: np.random.Generator, *, workers: int, hours: float, most: int,
             clock: Callable[[], float] = time.process_time) -> tuple[list[Run], list[float]]:
    """Runs that `rival` finished within `hours`, `most` at most, in order of their ends, and the seconds of its suggestions."""
    end, free, now = 3600.0 * hours, workers, 0.0
    running: list[tuple[float, int, Run]] = []      # by the time of its end
    runs, seconds = [], []
    while True:
        while free and now < end and len(seconds) < most:
            began = clock()
            try:
                config = rival.ask()
            except BudgetSpent:
                most = len(seconds)
                break
            seconds.append(clock() - began)
            now += seconds[-1]
            # What ended meanwhile is told before the next suggestion, as a driver would.
            run = (config, *problem.observe(config, noise))
            heapq.heappush(running, (now + LONGEST * run[2] / problem.max_cost, len(seconds), run))
            free -= 1
            free += _tell(rival, running, runs, now, end)
        if not running or running[0][0] > end:
            return runs, seconds
        now = max(now, running[0][0])
        free += _tell(rival, running, runs, now, end)


def _tell(rival: object, running: list, runs: list[Run], now: float, end: float) -> int:
    """Tells of all that has ended by now; how many."""
    before = len(runs)
    while running and running[0][0] <= min(now, end):
        _, _, run = heapq.heappop(running)
        rival.tell(*run)
        runs.append(run)
    return len(runs) - before


def summed(runs: list[Run], problem: Problem) -> float:
    """What they cost together, in dearest runs."""
    return math.fsum(cost for _, _, cost in runs) / problem.max_cost
