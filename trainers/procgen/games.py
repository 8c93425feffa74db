"""Procgen's 16 games, from envpool, and the bounds by which their returns are normalised.

envpool is an extra (`pip install -e '.[procgen]'`) and is imported only when an environment is made.
"""

import csv
import ctypes
import difflib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

INSTALL = "pip install -e '.[procgen]'"
BOUNDS = Path(__file__).resolve().parent / "data" / "bounds.csv"
DISTRIBUTIONS = ("easy", "hard")
ACTIONS = 15           # of every game, many of them without effect in most
SIDE = 64              # pixels of a picture
LEVELS = 2**31 - 1     # that there are, by their seeds
# What envpool's games are linked to, in the order in which they need one another.
QT = ("libicudata.so.56", "libicuuc.so.56", "libicui18n.so.56", "libQt5Core.so.5", "libQt5Gui.so.5")


@dataclass(frozen=True)
class Bounds:
    """Mean returns of an agent that acts at random, and of one that plays as well as can be."""

    low: float
    high: float

    def score(self, mean_return: float) -> float:
        """The normalised return: 0 of the first, 1 of the second."""
        return (mean_return - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Outcome:
    """Of one step of some environments; (n,) each."""

    pictures: np.ndarray   # (n, side, side, 3) uint8, what is seen next; of the next episode where one ended
    rewards: np.ndarray    # float32
    ended: np.ndarray      # bool, whether the episode is over: by its own end, or by the game's limit of steps


class Environments(Protocol):
    """Several of one game, which step beside the caller's own work."""

    pictures: np.ndarray   # (n, side, side, 3) uint8, the first of every environment

    def send(self, actions: np.ndarray, which: np.ndarray | None = None) -> None:
        """Begin a step of all, or of those whose numbers are given, ascending; (n,) actions."""

    def receive(self) -> Outcome:
        """Of the step begun last, in the order of the numbers."""


class Games(Protocol):
    """What can be played: Procgen, or a test's own game."""

    names: tuple[str, ...]
    actions: int
    side: int

    @property
    def digest(self) -> str:
        """Of what decides how they play."""

    def bounds(self, game: str, distribution: str) -> Bounds: ...

    def make(self, game: str, distribution: str, levels: range, seeds: Sequence[int], *, threads: int,
             again: bool) -> Environments:
        """An environment a seed, on levels drawn from these. `again`: whether a new episode follows upon one that ended."""


@dataclass(frozen=True)
class Procgen:
    """Games: the 16 of Cobbe et al. 2020."""

    envpool: str   # its version: another one's levels may be other levels

    actions = ACTIONS
    side = SIDE

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({game for game, _ in _bounds()}))

    @property
    def digest(self) -> str:
        return f"envpool {self.envpool}\n{BOUNDS.read_text()}"

    def bounds(self, game: str, distribution: str) -> Bounds:
        return _bounds()[game, distribution]

    def make(self, game: str, distribution: str, levels: range, seeds: Sequence[int], *, threads: int, again: bool) -> "EnvPool":
        ready()
        return EnvPool(f"{game.capitalize()}{distribution.capitalize()}-v0", levels, seeds, threads=threads, again=again)


class EnvPool:
    """Environments in threads of envpool's."""

    def __init__(self, name: str, levels: range, seeds: Sequence[int], *, threads: int, again: bool):
        import envpool  # an extra, and seconds of import
        every = levels == range(LEVELS)
        self._pool = envpool.make_gymnasium(name, num_envs=len(seeds), seed=list(seeds), num_threads=min(threads, len(seeds)),
                                            channel_first=False, start_level=levels.start, num_levels=0 if every else len(levels))
        self._again = again
        self.pictures, _ = self._pool.reset()

    def send(self, actions: np.ndarray, which: np.ndarray | None = None) -> None:
        self._pool.send(actions.astype(np.int32), None if which is None else which.astype(np.int32))

    def receive(self) -> Outcome:
        """envpool gives an ended episode's last picture, and takes a further step, whose action counts for nothing, to begin
        the next; in Procgen itself, and so here, the two are one step."""
        pictures, rewards, ended, cut, told = self._pool.recv()
        over = ended | cut
        if self._again and over.any():
            which = np.flatnonzero(over)
            pictures[which], *_ = self._pool.step(np.zeros(len(which), np.int32), told["env_id"][which])
        return Outcome(pictures, rewards, over)


def training_levels(count: int) -> range:
    """By their seeds; 0: all."""
    return range(count) if count else range(LEVELS)


def held_out_levels(count: int) -> range:
    """The others. Where training has all, none is held out; but they are 2^31, so that one drawn afresh is new all the same."""
    return range(count, LEVELS)


def checked_game(game: str, names: Sequence[str]) -> None:
    """Raises ValueError, one line with the nearest names, for a game that there is not."""
    if game not in names:
        near = difflib.get_close_matches(game.lower(), names, 3, 0.5)
        offer = f"did you mean {' or '.join(near)}?" if near else ", ".join(names)
        raise ValueError(f"there is no game {game!r}: {offer}")


def installed() -> Procgen:
    """The games, ready to be played in this process. Raises ValueError, one line, where they are not."""
    ready()
    return Procgen(version("envpool"))


@cache
def ready() -> None:
    """See that envpool is there and load the Qt that its games are linked to: they find it in the process, wherever it came from.

    The wheel PyQt5-Qt5 carries it, so that no system package is needed. Raises ValueError, one line.
    """
    if importlib.util.find_spec("envpool") is None:
        raise ValueError(f"Procgen's games come from envpool, which is not installed: {INSTALL}")
    wheel = importlib.util.find_spec("PyQt5")
    folders = [Path(folder) / "Qt5" / "lib" for folder in (wheel.submodule_search_locations if wheel else ())]
    own = next((folder for folder in folders if folder.is_dir()), None)
    try:
        for library in QT if own else QT[-2:]:
            ctypes.CDLL(str(own / library) if own else library, ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise ValueError(f"Procgen's games need Qt 5, and it can't be loaded ({error}): {INSTALL} brings a copy") from None


@cache
def _bounds() -> Mapping[tuple[str, str], Bounds]:
    with BOUNDS.open(newline="") as file:
        return {(row["game"], mode): Bounds(float(row[f"{mode}_min"]), float(row[f"{mode}_max"]))
                for row in csv.DictReader(file) for mode in DISTRIBUTIONS}
