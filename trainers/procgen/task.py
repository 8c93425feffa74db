"""Procgen as a Task: what the sweeps know of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from trainers.cost import Cost, Speed
from trainers.fingerprint import code_digest, fingerprint
from trainers.procgen.cell import Cell, Result
from trainers.procgen.games import DISTRIBUTIONS, LEVELS, Games, checked_game, installed
from trainers.procgen.presets import PRESETS, SEARCH
from trainers.procgen.train import SCHEDULES, act_flops, learn_flops, shape_of, updates_of
from trainers.procgen.trunk import longest, train, trunk_key
from trainers.task import Attempt, Task, grouped

# The files whose code decides a row's numbers.
CODE = ("procgen/blocks/code.py", "procgen/blocks/kernels.py", "procgen/blocks/stages.py", "procgen/games.py",
        "procgen/network.py", "procgen/play.py", "procgen/ppo.py", "procgen/shape.py", "procgen/train.py", "procgen/trunk.py",
        "streams.py")

# A step is a frame here. Fitted to `python -m sweeps.bench procgen` at widths 1/8 to 1, one core of a busy 2-core server.
CPU = Speed(step_s=6.5e-4, flops_per_s=1.2e11, eval_flops_per_s=1e10, eval_s=0.5)
GPU = Speed(step_s=5e-5, flops_per_s=2e13, eval_flops_per_s=2e12, eval_s=1.0)   # a guess until rows say more
USUAL_EPISODE = 300   # frames, for the estimate of what episodes after training take


class ProcgenTask(Task):
    """PPO on a game; several numbers of frames are one run, read on its way."""

    name, cell, row = "procgen", Cell, Result
    presets, search = PRESETS, SEARCH
    saves = True

    def load(self) -> Games:
        """Raises ValueError where envpool or its Qt is missing."""
        return installed()

    def train(self, cells: Sequence[Cell], data: Games, attempt: Attempt) -> Iterable[Result]:
        return train(cells, data, attempt)

    def check(self, cell: Cell, data: Games) -> None:
        checked_game(cell.game, data.names)
        if cell.distribution not in DISTRIBUTIONS:
            raise ValueError(f"unknown distribution {cell.distribution!r}: choose {' or '.join(DISTRIBUTIONS)}")
        if cell.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {cell.schedule!r}: choose {' or '.join(SCHEDULES)}")
        for name in ("frames", "envs", "steps", "minibatches", "epochs"):
            if getattr(cell, name) < 1:
                raise ValueError(f"{name} {getattr(cell, name)}: give at least 1")
        for name in ("width", "lr", "clip", "gradient_norm"):
            if not getattr(cell, name) > 0:
                raise ValueError(f"{name} {getattr(cell, name):g}: give more than 0")
        for name in ("seed", "entropy", "value_coefficient"):
            if getattr(cell, name) < 0:
                raise ValueError(f"{name} {getattr(cell, name):g}: give 0 or more")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(cell, name) <= 1:
                raise ValueError(f"{name} {getattr(cell, name):g}: a discount lies from 0 to 1")
        if not 0 <= cell.levels < LEVELS:
            raise ValueError(f"levels {cell.levels}: give 0 for all, or as many as to train on, below {LEVELS:,}")
        if cell.episodes < 2:
            raise ValueError(f"episodes {cell.episodes}: a standard error takes at least 2")
        if cell.envs * cell.steps % cell.minibatches:
            raise ValueError(f"minibatches {cell.minibatches}: {cell.envs} environments x {cell.steps} steps do not divide "
                             "into as many")
        updates_of(cell)

    def cost(self, cells: Sequence[Cell], data: Games) -> Cost:
        """Of one run. Raises ValueError where its frames make no update."""
        cell = longest(cells)
        shape, updates = shape_of(cell, data), updates_of(cell)
        return Cost(flops=float(act_flops(cell, shape, updates) + learn_flops(cell, shape, updates)),
                    steps=updates * cell.envs * cell.steps, evaluations=2 * len(cells),
                    eval_flops=float(2 * len(cells) * cell.episodes * USUAL_EPISODE * shape.act_flops))

    def sizes(self, cell: Cell, data: Games) -> dict[str, float]:
        return {"params": shape_of(cell, data).params, "samples": updates_of(cell) * cell.envs * cell.steps}

    def speed(self, device: str) -> Speed:
        return CPU if device == "cpu" else GPU

    def runs(self, cells: Sequence[Cell], *, most: int) -> list[tuple[Cell, ...]]:
        """A run serves all its numbers of frames, however many."""
        return list(grouped(cells, trunk_key, most=len(cells) + 1))

    def apart(self, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
        """It is one run: none of its numbers of frames can be had without it."""
        return [tuple(cells)]

    def fingerprint(self, data: Games) -> str:
        home = Path(__file__).resolve().parents[1]
        return fingerprint(data.digest, code_digest(home / file for file in CODE))


TASK = ProcgenTask()
