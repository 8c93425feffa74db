"""A game that takes no envpool: walk a line of cells to the lit end.

The walker and the goal are drawn in colours of their own; the goal is at the left or the right end. Even actions go left, odd
ones right. Reaching the goal gives 1, and either end, or LONGEST steps, ends the episode. The game `mute` gives nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.procgen.games import Bounds, Outcome

CELLS, LONGEST = 8, 20


@dataclass(frozen=True)
class ToyGames:
    names = ("line", "mute")
    actions = 15
    side = CELLS
    digest = "toy"

    def bounds(self, game: str, distribution: str) -> Bounds:
        return Bounds(0.5, 1.0)

    def make(self, game: str, distribution: str, levels: range, seeds: Sequence[int], *, threads: int, again: bool) -> "Lines":
        return Lines(levels, seeds, again=again, prize=float(game == "line"))


class Lines:
    def __init__(self, levels: range, seeds: Sequence[int], *, again: bool, prize: float):
        self._levels, self._again, self._prize = levels, again, prize
        self._draws = [np.random.default_rng(seed) for seed in seeds]
        self._place, self._goal, self._steps = (np.zeros(len(seeds), int) for _ in range(3))
        for number in range(len(seeds)):
            self._begin(number)
        self.pictures = self._drawn(np.arange(len(seeds)))

    def send(self, actions: np.ndarray, which: np.ndarray | None = None) -> None:
        self._sent = np.arange(len(self._place)) if which is None else which
        self._place[self._sent] += 2 * (actions.astype(int) % 2) - 1
        self._steps[self._sent] += 1

    def receive(self) -> Outcome:
        which = self._sent
        place = self._place[which]
        rewards = self._prize * (place == self._goal[which]).astype(np.float32)
        ended = (place <= 0) | (place >= CELLS - 1) | (self._steps[which] >= LONGEST)
        for number in which[ended]:
            if self._again:
                self._begin(number)
        return Outcome(self._drawn(which), rewards, ended)

    def _begin(self, number: int) -> None:
        level = self._levels.start + int(self._draws[number].integers(len(self._levels)))
        self._goal[number] = (CELLS - 1) * (level % 2)
        self._place[number], self._steps[number] = 2 + level // 2 % 4, 0

    def _drawn(self, which: np.ndarray) -> np.ndarray:
        made = np.zeros((len(which), CELLS, CELLS, 3), np.uint8)
        rows = np.arange(len(which))
        made[rows, 4, self._place[which].clip(0, CELLS - 1), 0] = 255
        made[rows, :, self._goal[which], 1] = 255
        return made
