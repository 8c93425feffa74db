"""PPO's speed on one thread beside CleanRL's script, on the same game, network and settings."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from sweeps.bench.cells import matrix_flops_per_s
from sweeps.bench.cleanrl import Agent, UsualProcgenScript
from sweeps.bench.tables import Section, Target
from trainers.procgen.cell import Cell
from trainers.procgen.games import Games, training_levels
from trainers.procgen.shape import Shape
from trainers.procgen.train import Run, act_flops, learn_flops, shape_of

# Issue 16: against CleanRL's script at a quarter of the width, and at full width.
TARGETS = {0.25: 2.0, 1.0: 1.5}
FRAMES_A_MINIBATCH = 2048   # CleanRL's: 64 environments x 256 steps in 8


@dataclass(frozen=True)
class PlaySpeed:
    """Of one width; medians over the repeats."""

    shape: Shape
    ours: float         # frames/s of CPU time, played and learnt from
    usual: float
    ratio: float        # median of the repeats' ratios
    wall_ratio: float   # the same of wall time: environments that step meanwhile count here alone
    flops: float        # of a frame

    @property
    def flops_per_s(self) -> float:
        return self.ours * self.flops


def measure(width: float, *, game: str, envs: int, steps: int, repeats: int, games: Games) -> PlaySpeed:
    """An update of each by turns, so that a noisy neighbour disturbs both; the first of each does not count."""
    frames = envs * steps
    cell = Cell(game=game, frames=frames, width=width, envs=envs, steps=steps, minibatches=max(1, frames // FRAMES_A_MINIBATCH))
    run, shape = Run(cell, games), shape_of(cell, games)
    torch.manual_seed(0)
    environments = games.make(game, cell.distribution, training_levels(0), range(envs), threads=1, again=True)
    usual = UsualProcgenScript(Agent(shape.channels, shape.units, shape.features, shape.actions), environments, steps=steps,
                               minibatches=cell.minibatches, epochs=cell.epochs)
    ways: Sequence[Callable[[int], object]] = (usual.advance, run.advance)
    times = [[_seconds(way) for way in ways] for _ in range(repeats + 1)][1:]
    other, own = (frames / median(cpu for cpu, _ in column) for column in zip(*times))
    ratios = [[one[clock] / two[clock] for one, two in times] for clock in (0, 1)]
    return PlaySpeed(shape, own, other, *map(median, ratios),
                     flops=(act_flops(cell, shape, 1) + learn_flops(cell, shape, 1)) / frames)


def section(widths: Sequence[float], *, game: str, envs: int, steps: int, repeats: int, games: Games) -> Section:
    torch.set_num_threads(1)
    peak = matrix_flops_per_s(seconds=0.2)
    speeds = {width: measure(width, game=game, envs=envs, steps=steps, repeats=repeats, games=games) for width in widths}
    return Section(
        title=f"7  Procgen: {game}, one thread, {envs} environments x {steps} steps an update, 3 epochs",
        columns=("width", "N", "MFLOP/frame", "frames/s", "CleanRL's", "ratio", "wall", "GFLOP/s", "of products"),
        rows=tuple((f"{width:g}", f"{s.shape.params:,}", f"{s.flops / 1e6:,.0f}", f"{s.ours:,.0f}", f"{s.usual:,.0f}",
                    f"{s.ratio:.2f}x", f"{s.wall_ratio:.2f}x", f"{s.flops_per_s / 1e9:.1f}", f"{s.flops_per_s / peak:.0%}")
                   for width, s in speeds.items()),
        targets=tuple(Target(f"width {width:g} against CleanRL's script", speeds[width].ratio, bound, "x", True)
                      for width, bound in TARGETS.items() if width in speeds),
        notes=(f"limit: {peak / 1e9:.0f} GFLOP/s of square products; medians of {repeats} updates each by turns, after one that "
               "does not count; CPU time of all threads, environments included, and the ratio of wall times beside it",))


def _seconds(way: Callable[[int], object]) -> tuple[float, float]:
    """CPU and wall time of an update."""
    cpu, wall = time.process_time(), time.perf_counter()
    way(1)
    return time.process_time() - cpu, time.perf_counter() - wall
