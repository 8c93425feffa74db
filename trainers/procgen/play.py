"""Playing: a run's environments beside its network, and fresh episodes after training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.procgen.cell import Cell
from trainers.procgen.games import Games, Outcome, training_levels
from trainers.procgen.network import Network
from trainers.streams import sequence

# Random streams of a run, within the stream "order" of its seed: the same whatever played before, and nothing to save.
LEVELS, ACTIONS, SHUFFLES, AFTERWARDS = range(1, 5)
AT_ONCE = 64   # environments in which episodes are played after training


@dataclass(frozen=True)
class Played:
    """What one update learns from."""

    pictures: Tensor       # (steps, envs, side, side, 3) uint8, on the network's device, as are the next two
    log_chances: Tensor    # (steps, envs), of the actions
    values: Tensor         # (steps + 1, envs), the last of what is seen behind the last step
    actions: np.ndarray    # (steps, envs) uint8
    rewards: np.ndarray    # (steps, envs)
    ended: np.ndarray      # (steps, envs) bool


@dataclass(frozen=True)
class Episodes:
    """Played from beginning to end; none is cut or counted twice, so that long ones count as much as short ones."""

    returns: np.ndarray   # (episodes,)
    frames: int           # of all of them

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.returns.std(ddof=1) / len(self.returns) ** 0.5)


class Half:
    """Some of a run's environments: half of them, so that these step while the network looks at the others' pictures."""

    def __init__(self, cell: Cell, games: Games, own: slice):
        seeds = seeds_of(cell, LEVELS, count=cell.envs)[own]
        self.own = own
        self.environments = games.make(cell.game, cell.distribution, training_levels(cell.levels), seeds,
                                       threads=torch.get_num_threads(), again=True)
        self.pictures = self.environments.pictures

    def receive(self) -> Outcome:
        outcome = self.environments.receive()
        self.pictures = outcome.pictures
        return outcome


class Players:
    """All environments of a run."""

    def __init__(self, cell: Cell, games: Games, device: torch.device):
        cut = cell.envs // 2
        self.cell, self.device, self.choices = cell, device, games.actions
        self.halves = [Half(cell, games, own) for own in (slice(0, cut), slice(cut, cell.envs)) if own.start < own.stop]
        shape = (cell.steps, cell.envs)
        # Used again at every update.
        self._pictures = torch.empty((*shape, games.side, games.side, 3), dtype=torch.uint8, device=device)
        self._log_chances = torch.empty(shape, device=device)
        self._values = torch.empty((cell.steps + 1, cell.envs), device=device)

    def play(self, network: Network, update: int, keep: Callable[[], None]) -> Played:
        """The next steps of all, until the next call. `keep` is called now and then."""
        actions, rewards, ended = (np.empty((self.cell.steps, self.cell.envs), kind) for kind in (np.uint8, np.float64, bool))
        noise = gumbel((*actions.shape, self.choices), self.cell, ACTIONS, update).to(self.device)

        def receive(half: Half, step: int) -> None:
            outcome = half.receive()
            rewards[step, half.own], ended[step, half.own] = outcome.rewards, outcome.ended

        for step in range(self.cell.steps):
            keep()
            for half in self.halves:
                if step:
                    receive(half, step - 1)
                pictures = self._pictures[step, half.own]
                pictures.copy_(torch.from_numpy(half.pictures))
                chosen, log_chances, values = act(network, pictures, noise[step, half.own])
                half.environments.send(chosen)
                actions[step, half.own], self._log_chances[step, half.own] = chosen, log_chances
                self._values[step, half.own] = values
        for half in self.halves:
            receive(half, self.cell.steps - 1)
            seen = torch.from_numpy(half.pictures).to(self.device)
            *_, self._values[-1, half.own] = act(network, seen, torch.zeros(len(seen), self.choices, device=self.device))
        return Played(self._pictures, self._log_chances, self._values, actions, rewards, ended)

    def replay(self, actions: np.ndarray) -> None:
        """Take these actions (steps, envs) once more: with the same seeds, all environments are then where they were."""
        for step in actions:
            for half in self.halves:
                half.environments.send(step[half.own])
            for half in self.halves:
                half.receive()

    def seen(self) -> np.ndarray:
        """(envs, side, side, 3), what all environments show."""
        return np.concatenate([half.pictures for half in self.halves])


def act(network: Network, pictures: Tensor, noise: Tensor) -> tuple[np.ndarray, Tensor, Tensor]:
    """Actions (n,) drawn by the policy, the logarithms of their chances, and values; `noise`: Gumbel's, (n, actions).

    The action of the largest sum of log chance and Gumbel noise is a draw (Gumbel 1954).
    """
    with torch.no_grad():
        scores, values = network(pictures)
        log_chances = F.log_softmax(scores, dim=1)
        actions = (log_chances + noise).argmax(1)
        return actions.cpu().numpy(), log_chances.gather(1, actions[:, None])[:, 0], values


def play_afresh(network: Network, cell: Cell, games: Games, levels: range, *stream: int, device: torch.device,
                keep: Callable[[], None]) -> Episodes:
    """The cell's number of episodes on these levels, each in an environment of its own, by the policy as it acts in training."""
    seeds, returns, frames = seeds_of(cell, AFTERWARDS, *stream, count=cell.episodes), np.zeros(cell.episodes), 0
    for first in range(0, cell.episodes, AT_ONCE):
        some = seeds[first:first + AT_ONCE]
        environments = games.make(cell.game, cell.distribution, levels, some, threads=torch.get_num_threads(), again=False)
        draw = torch.Generator().manual_seed(some[0])
        playing, pictures = np.arange(len(some)), environments.pictures
        while len(playing):
            keep()
            noise = _gumbel((len(playing), games.actions), draw).to(device)
            actions, *_ = act(network, torch.from_numpy(pictures).to(device), noise)
            environments.send(actions, playing)
            outcome = environments.receive()
            returns[first + playing] += outcome.rewards
            frames += len(playing)
            playing, pictures = playing[~outcome.ended], outcome.pictures[~outcome.ended]
    return Episodes(returns, frames)


def seeds_of(cell: Cell, *stream: int, count: int) -> list[int]:
    """Of environments."""
    return [int(word) for word in sequence(cell.seed, "order", *stream).generate_state(count, np.uint32) >> 1]


def gumbel(shape: tuple[int, ...], cell: Cell, *stream: int) -> Tensor:
    return _gumbel(shape, torch.Generator().manual_seed(seeds_of(cell, *stream, count=1)[0]))


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The negative logarithm of an exponential number."""
    return torch.empty(shape).exponential_(generator=generator).log_().neg_()
