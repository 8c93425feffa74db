"""A run in progress: playing and learning by turns.

The same cell gives the same row, bit for bit on one device with one number of threads: every random number is seeded
by the cell, and an environment's by its own seed, whichever thread steps it.
"""

import copy
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from trainers.procgen.cell import Cell
from trainers.procgen.games import Games
from trainers.procgen.network import Network
from trainers.procgen.play import SHUFFLES, Played, Players
from trainers.procgen.ppo import Losses, RewardScale, Seen, advantages, losses, standardised
from trainers.procgen.shape import Shape
from trainers.streams import generator, sequence
from trainers.task import Diverged

SCHEDULES = ("constant", "linear")
ADAM_EPSILON = 1e-5      # baselines' ppo2
RECENT = 100             # episodes of a training return (baselines' eprewmean)
AT_A_TIME = {"cpu": 128, "cuda": 8192}   # frames through the network at once: on a CPU as many as its cache holds
CERTAIN = 1e-3           # nats of entropy below which a policy tries nothing any more


@dataclass(frozen=True)
class Learnt:
    """What an update's last epoch says, means over its frames."""

    entropy: float   # nats
    change: float    # nats
    clipped: float   # share


def shape_of(cell: Cell, games: Games) -> Shape:
    return Shape(cell.width, games.actions, games.side)


def updates_of(cell: Cell) -> int:
    """Whole updates in the cell's frames. Raises ValueError where there is not one."""
    batch = cell.envs * cell.steps
    if cell.frames < batch:
        raise ValueError(f"frames {cell.frames:,}: fewer than one update of {cell.envs} environments x {cell.steps} steps = "
                         f"{batch:,}: take more frames, or fewer steps")
    return cell.frames // batch


def act_flops(cell: Cell, shape: Shape, updates: int) -> int:
    """Of playing: every frame, and what is seen behind an update's last step."""
    return updates * cell.envs * (cell.steps + 1) * shape.act_flops


def learn_flops(cell: Cell, shape: Shape, updates: int) -> int:
    return updates * cell.envs * cell.steps * cell.epochs * shape.learn_flops


class Run:
    """Network, optimiser, environments, and what is known of past episodes."""

    def __init__(self, cell: Cell, games: Games, device: torch.device | str = "cpu"):
        self.cell, self.games, self.device = cell, games, torch.device(device)
        self.shape = shape_of(cell, games)
        self.network = Network(self.shape, generator(cell.seed, "weights"), self.device)
        self.optimiser = torch.optim.Adam(self.network.parameters, lr=cell.lr, eps=ADAM_EPSILON)
        self.players = Players(cell, games, self.device)
        self.scale = RewardScale(np.zeros(cell.envs))
        self.updates, self.seconds = 0, 0.0
        self.learnt = Learnt(math.nan, math.nan, math.nan)
        self.actions: list[np.ndarray] = []    # of every update, (steps, envs) uint8
        self.running = np.zeros(cell.envs)     # rewards of the episodes under way
        self.episodes = 0
        self.first: list[float] = []           # returns of the first episodes
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.boundary = self._state()          # as of the last update: what a run goes on from

    def advance(self, updates: int, keep: Callable[[], None] = lambda: None) -> None:
        """So many updates; `keep` is called about every step. Raises Diverged where nothing more can come of the run."""
        for _ in range(updates):
            began = time.perf_counter()
            played = self.players.play(self.network, self.updates, keep)
            self._count_episodes(played)
            self._learn(played, keep)
            self.updates += 1
            self.actions.append(played.actions)
            self.seconds += time.perf_counter() - began
            self._check()
            self.boundary = self._state()

    def restore(self, state: dict, keep: Callable[[], None] = lambda: None) -> bool:
        """Go on from where that state was; False where that can't be: the run is of no more use.

        envpool can't save an environment, so all actions since the beginning are taken once more, without the network:
        the same seeds and actions lead to the same place, and the pictures there must be those that were seen.
        """
        self.boundary = state
        for own, kept in zip(self.network.parameters, state["weights"], strict=True):
            own.data.copy_(kept)
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))   # else its steps would change the state's tensors
        self.scale = RewardScale(*state["scale"])
        self.updates, self.seconds, self.episodes = state["updates"], state["seconds"], state["episodes"]
        self.learnt = Learnt(*state["learnt"])
        self.actions, self.running = list(state["actions"]), state["running"].copy()
        self.first, self.recent = list(state["first"]), deque(state["recent"], maxlen=RECENT)
        for actions in self.actions:
            keep()
            self.players.replay(actions)
        return self._digest() == state["digest"]

    def recent_return(self) -> float:
        return float(np.mean(self.recent)) if self.recent else 0.0

    def _state(self) -> dict:
        """All that decides what comes next, as plain data of its own."""
        kept = self.optimiser.state_dict()
        scale, learnt = self.scale, self.learnt
        return {"weights": [weights.detach().clone() for weights in self.network.parameters], "optimiser": copy.deepcopy(kept),
                "scale": [scale.returns.copy(), float(scale.mean), float(scale.variance), float(scale.count)],
                "updates": self.updates, "seconds": self.seconds, "learnt": [learnt.entropy, learnt.change, learnt.clipped],
                "actions": list(self.actions), "running": self.running.copy(), "episodes": self.episodes,
                "first": list(self.first), "recent": list(self.recent), "digest": self._digest()}

    def _digest(self) -> str:
        return hashlib.sha256(self.players.seen().tobytes()).hexdigest()

    def _count_episodes(self, played: Played) -> None:
        for rewards, ended in zip(played.rewards, played.ended):
            self.running += rewards
            over = self.running[ended].tolist()
            self.episodes += len(over)
            self.first += over[:RECENT - len(self.first)]
            self.recent += over
            self.running[ended] = 0.0

    def _learn(self, played: Played, keep: Callable[[], None]) -> None:
        cell, values = self.cell, played.values.cpu().numpy().astype(np.float64)
        rewards = self.scale.scaled(played.rewards, played.ended, gamma=cell.gamma)
        found = advantages(rewards, values[:-1], played.ended, values[-1], gamma=cell.gamma, lam=cell.gae_lambda)
        pictures, frames = played.pictures.flatten(0, 1), cell.envs * cell.steps

        def flat(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array.astype(np.float32).ravel()).to(self.device)

        returns, old_values, log_chances = flat(found + values[:-1]), played.values[:-1].flatten(), played.log_chances.flatten()
        actions = torch.from_numpy(played.actions.astype(np.int64).ravel()).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        for epoch in range(cell.epochs):
            order = np.random.default_rng(sequence(cell.seed, "order", SHUFFLES, self.updates, epoch)).permutation(frames)
            told = [self._step(pictures, index, Seen(actions[index], log_chances[index], old_values[index],
                                                     flat(standardised(found.ravel()[chosen])), returns[index]), keep)
                    for chosen in np.split(order, cell.minibatches) for index in [torch.from_numpy(chosen).to(self.device)]]
        self.learnt = Learnt(*(torch.stack(sums).sum().item() / frames for sums in zip(*told)))

    def _step(self, pictures: torch.Tensor, index: torch.Tensor, seen: Seen,
              keep: Callable[[], None]) -> tuple[torch.Tensor, ...]:
        """One of the optimiser, on the frames of these numbers; their sums of entropy, change and clipped.

        The gradient is a sum over parts that the cache holds: through 2,048 pictures at once every layer waits for memory.
        """
        cell, sums = self.cell, []
        for part in torch.arange(len(index), device=self.device).split(AT_A_TIME[self.device.type]):
            keep()
            scores, values = self.network(pictures.index_select(0, index[part]))
            of_part = Seen(*(getattr(seen, name)[part] for name in Seen.__dataclass_fields__))
            made: Losses = losses(scores, values, of_part, clip=cell.clip, value_coefficient=cell.value_coefficient,
                                  entropy_coefficient=cell.entropy)
            (made.total / len(index)).backward()
            sums.append((made.entropy, made.change, made.clipped))
        torch.nn.utils.clip_grad_norm_(self.network.parameters, cell.gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return tuple(torch.stack(parts).sum() for parts in zip(*sums))

    def _rate(self) -> float:
        return self.cell.lr * (1.0 if self.cell.schedule == "constant" else 1.0 - self.updates / updates_of(self.cell))

    def _check(self) -> None:
        """Raises Diverged for numbers that are none, and for a policy that tries nothing more and has learnt nothing."""
        where = f"after {self.updates} updates at lr {self.cell.lr:g}"
        finite = all(torch.isfinite(weights).all() for weights in self.network.parameters)
        if not finite or not math.isfinite(self.learnt.entropy):
            raise Diverged(f"weights or losses are no longer finite {where}")
        if self.learnt.entropy < CERTAIN and len(self.recent) == RECENT and np.mean(self.recent) <= np.mean(self.first):
            raise Diverged(f"the policy has collapsed {where}: its entropy is {self.learnt.entropy:.1g} nats, and its last "
                           f"{RECENT} episodes return {np.mean(self.recent):.3g}, its first {np.mean(self.first):.3g}")
