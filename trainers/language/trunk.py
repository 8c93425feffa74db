"""A training pass and its rows: of one data budget with its own schedule, or of many, read on the way or by short decays."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from trainers import trunk
from trainers.language.cell import Cell, Result
from trainers.language.shape import Shape
from trainers.language.train import DeviceCorpus, Evaluation, Run, sequences_a_step, shape_of, steps_of
from trainers.schedule import decay_factors, rate_factors
from trainers.task import Attempt, Diverged
from trainers.trunk import CONSTANT, PROTOCOLS, SINGLE_RUN, WSD, Stop, advanced, payer_of, schedule_of, schedules

SINGLE = "cosine"            # the decay of a single run
SCHEDULES = schedules(SINGLE)
WARMUPS = ("run", "parameters", "tokens")   # what a warm-up may be a share or a multiple of


def protocol_of(cell: Cell) -> str:
    """What its label says before a colon: wsd:short and wsd are trained alike, and have places of their own in a table."""
    return cell.protocol.partition(":")[0]


def on_trunk(cell: Cell) -> bool:
    """Whether the cell shares its pass with other data budgets."""
    return protocol_of(cell) in PROTOCOLS


def trunk_of(cells: Sequence[Cell]) -> Cell:
    """The pass that serves the cells: as long as the longest of them, read on the way by the others.

    Raises ValueError for cells that no one pass serves.
    """
    if len(cells) == 1 and not on_trunk(cells[0]):
        return cells[0]
    shape = schedule_of(cells, protocol_of, single=SINGLE)
    if shape is None or cells[0].epochs != 1 or len({replace(cell, tokens=1, protocol="", schedule="") for cell in cells}) > 1:
        raise ValueError(f"no one pass serves the protocols {', '.join(sorted({protocol_of(cell) for cell in cells}))} with schedules "
                         f"{', '.join(sorted({cell.schedule for cell in cells}))}: a cosine serves {SINGLE_RUN}, a constant rate "
                         f"{CONSTANT} and {WSD}, in one epoch; all else must be equal but the tokens")
    return replace(cells[0], tokens=max(cell.tokens for cell in cells), schedule=shape)


def stops_of(cells: Sequence[Cell], context: int) -> list[Stop]:
    """In the pass's order."""
    return trunk.stops_of(cells, lambda cell: steps_of(cell, context), protocol_of)


def warmup_share(cell: Cell, shape: Shape, steps: int) -> float:
    """Of the steps, from a length that is a share of the run, tokens a parameter, or tokens."""
    if cell.warmup_of == "run":
        return cell.warmup
    tokens = cell.warmup * (shape.params if cell.warmup_of == "parameters" else 1)
    return min(1.0, tokens / (steps * sequences_a_step(cell, shape.context) * shape.context))


def train(cells: Sequence[Cell], data: DeviceCorpus, attempt: Attempt) -> Iterator[Result]:
    """The cells' rows by the step at which they leave the pass; once it has diverged, rows of infinite loss.

    The first protocol pays for the trunk, each of its rows for the steps since the row before; a wsd row
    beside it pays for its decay alone. So spent_flops add up to what was computed. Raises ValueError
    where a budget holds fewer tokens than a batch, and where no one pass serves the cells.
    """
    shared, shape = trunk_of(cells), shape_of(cells[0], data.corpus)
    steps = steps_of(shared, shape.context)
    factors = rate_factors(steps, shape=shared.schedule, warmup=warmup_share(shared, shape, steps))
    payer = payer_of([protocol_of(cell) for cell in cells])
    shared_run, rows, paid, diverged = Run(shared, data), [], 0, False
    if saved := attempt.restored():
        rows, paid = saved["rows"], saved["paid"]
        shared_run.restore(saved["run"])

    def keep() -> None:
        """In a branch, the trunk's state: the branch begins again."""
        attempt.save(lambda: {"rows": rows, "paid": paid, "run": shared_run.state()})

    for number, stop in enumerate(stops_of(cells, shape.context)):
        if number == len(rows):
            diverged = diverged or not advanced(partial(shared_run.advance, keep=keep), factors[shared_run.step:stop.step])
            run = shared_run.branch() if stop.decay and not diverged else shared_run
            diverged_here = diverged or not advanced(partial(run.advance, keep=keep), decay_factors(stop.decay))
            billed = stop.decay
            if protocol_of(stop.cell) == payer and not diverged:
                billed, paid = billed + stop.step - paid, stop.step
            rows.append(measured(run, stop, billed=billed, diverged=diverged_here))
        yield attempt.row(stop.cell, dataset=data.corpus.name, **rows[number])


def measured(run: Run, stop: Stop, *, billed: int, diverged: bool) -> dict[str, float]:
    """A row's numbers: what was planned, and what came out. `billed`: steps that the row pays for."""
    shape, steps = run.shape, stop.step + stop.decay
    verdict = Evaluation(loss=math.inf, accuracy=0.0)
    if not diverged:
        try:
            verdict = run.evaluate()
        except Diverged:
            diverged = True
    batch = run.sequences * shape.context
    samples = steps * batch
    return {
        **planned_sizes(shape), "samples": samples, "unique_samples": unique_tokens(stop.cell, shape, samples), "steps": steps,
        "flops": float(samples * shape.flops), "head_flops": float(samples * shape.head_flops),
        "attention_flops": float(samples * shape.attention_flops), "spent_flops": float(billed * batch * shape.flops),
        "train_loss": math.inf if diverged else run.train_loss(), "val_loss": verdict.loss, "val_accuracy": verdict.accuracy,
        "train_seconds": run.seconds}


def planned_sizes(shape: Shape) -> dict[str, int]:
    return {"params": shape.params, "params_blocks": shape.block_params, "params_total": shape.total_params, "sequence": shape.context}


def unique_tokens(cell: Cell, shape: Shape, samples: int) -> int:
    """Different tokens among those that the run processes."""
    return samples if cell.epochs == 1 else min(samples, cell.tokens // cell.epochs // shape.context * shape.context)
