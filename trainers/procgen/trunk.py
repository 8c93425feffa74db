"""A run and its rows: of one number of frames, or of several, read on the way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from trainers.procgen.cell import Cell, Result
from trainers.procgen.games import Games, held_out_levels, training_levels
from trainers.procgen.play import play_afresh
from trainers.procgen.train import Run, act_flops, learn_flops, updates_of
from trainers.task import Attempt

TRAINING, HELD_OUT = 0, 1   # levels on which is played after training


def trunk_key(cell: Cell) -> Cell:
    """Equal for cells that one run serves: all but the frames alike, at a constant rate. Any other is served alone."""
    return replace(cell, frames=0) if cell.schedule == "constant" else cell


def longest(cells: Sequence[Cell]) -> Cell:
    """The run that serves the cells. Raises ValueError where none does."""
    if len({trunk_key(cell) for cell in cells}) > 1:
        raise ValueError("one run serves cells that differ in their frames alone, at a constant learning rate")
    return max(cells, key=lambda cell: cell.frames)


def train(cells: Sequence[Cell], games: Games, attempt: Attempt) -> Iterator[Result]:
    """The cells' rows by their frames. What is played for a row leaves the run as it was, so that each cell's row is the one
    that it would have alone. Raises Diverged: rows before are kept."""
    whole = longest(cells)
    run, rows = Run(whole, games, attempt.device), []

    def keep() -> None:
        attempt.save(lambda: {"rows": rows, "run": run.boundary})

    if saved := attempt.restored():
        rows = saved["rows"]
        if not run.restore(saved["run"], keep):   # elsewhere than it was: begin afresh
            run, rows = Run(whole, games, attempt.device), []
    for number, cell in enumerate(sorted(cells, key=lambda cell: cell.frames)):
        if number == len(rows):
            run.advance(updates_of(cell) - run.updates, keep)
            rows.append(measured(run, cell, keep))
        yield attempt.row(cell, **rows[number])


def measured(run: Run, cell: Cell, keep: Callable[[], None]) -> dict[str, float]:
    """A row's numbers, as the run now is."""
    sets = (TRAINING, training_levels(cell.levels)), (HELD_OUT, held_out_levels(cell.levels))
    training, held_out = (play_afresh(run.network, cell, run.games, levels, kind, run.updates, device=run.device, keep=keep)
                          for kind, levels in sets)
    bounds, playing = run.games.bounds(cell.game, cell.distribution), act_flops(cell, run.shape, run.updates)
    return {
        "params": run.shape.params, "samples": run.updates * cell.envs * cell.steps, "updates": run.updates,
        "flops": float(playing + learn_flops(cell, run.shape, run.updates)), "act_flops": float(playing),
        "shortfall": 1.0 - bounds.score(held_out.mean),
        "held_out_return": held_out.mean, "held_out_error": held_out.error, "held_out_score": bounds.score(held_out.mean),
        "training_return": training.mean, "training_error": training.error, "training_score": bounds.score(training.mean),
        "played_frames": training.frames + held_out.frames, "recent_return": run.recent_return(),
        "recent_episodes": len(run.recent), "trained_episodes": run.episodes, "policy_entropy": run.learnt.entropy,
        "policy_change": run.learnt.change, "clipped": run.learnt.clipped, "train_seconds": run.seconds}
