"""Runs side by side at equal numbers of runs: told in a random order, as if their lengths were anyone's guess."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweeps.carbs.bench.problem import Problem
from sweeps.carbs.bench.wall import Run

GRAMMAR = ("A: so many in flight throughout; A+B: the first A at once and all of them told, then B in flight; "
           "A/B: A at once that the search with B in flight never hears of, their runs taken together")


@dataclass(frozen=True)
class Flight:
    """How many runs are in flight."""

    first: int      # asked for before any is told; 0: none
    then: int       # in flight after these, or throughout
    apart: bool     # the first are those of another search, which the rest never hear of

    @classmethod
    def of(cls, text: str) -> "Flight":
        """Of text as in GRAMMAR. Raises ValueError."""
        found = re.fullmatch(r"(?:([1-9][0-9]*)([+/]))?([1-9][0-9]*)", text)
        if found is None:
            raise ValueError(f"{text!r} is no number of runs in flight ({GRAMMAR})")
        first, mark, then = found.groups()
        return cls(int(first or 0), int(then), mark == "/")


@dataclass(frozen=True)
class Flown:
    rival: object           # that was told last
    runs: list[Run]         # in the order of their ends
    seconds: list[float]    # CPU seconds of each suggestion


def flown(problem: Problem, rival: Callable[[], object], seed: int, flight: Flight, *, evaluations: int) -> Flown:
    """Of those in flight each is as likely to be told next. Noise is drawn at a run's end, as where one runs at a time."""
    noise, pick = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    runs: list[Run] = []
    seconds: list[float] = []

    def fly(search: object, most: int, width: int) -> None:
        flying, asked = [], 0
        while flying or asked < most:
            while len(flying) < width and asked < most:
                began = time.process_time()
                flying.append(search.ask())
                seconds.append(time.process_time() - began)
                asked += 1
            config = flying.pop(int(pick.integers(len(flying))))
            run = (config, *problem.observe(config, noise))
            search.tell(*run)
            runs.append(run)

    search = rival()
    first = min(flight.first, evaluations)
    if first:
        fly(search, first, first)
        search = rival() if flight.apart else search
    fly(search, evaluations - first, flight.then)
    return Flown(search, runs, seconds)
