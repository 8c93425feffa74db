"""One training pass that serves every data budget: losses read on the way, and decays branched off it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trainers import trunk
from trainers.mnist.cell import Cell, Result
from trainers.mnist.network import flops_per_image
from trainers.mnist.train import DeviceImages, Run, steps_of
from trainers.schedule import decay_factors, rate_factors
from trainers.trunk import CONSTANT, SINGLE_RUN, WSD, Stop, advanced, payer_of, schedule_of, schedules

SINGLE = "linear"            # the decay of a single run, as of a run with a schedule of its own
SCHEDULES = schedules(SINGLE)


def trunk_of(cells: Sequence[Cell]) -> Cell:
    """The run that serves the cells: as long as the longest of them, read on the way by the others.

    Raises ValueError for cells that no one trunk serves.
    """
    shape = schedule_of(cells, _protocol, single=SINGLE)
    if shape is None or len({replace(cell, fraction=0.0, protocol="", schedule="") for cell in cells}) > 1:
        raise ValueError(f"no one trunk serves the protocols {', '.join(sorted({cell.protocol for cell in cells}))} with schedules "
                         f"{', '.join(sorted({cell.schedule for cell in cells}))}: a decay to zero serves {SINGLE_RUN}, "
                         f"a constant rate {CONSTANT} and {WSD}; all else must be equal but the fraction")
    return replace(cells[0], fraction=max(cell.fraction for cell in cells), schedule=shape)


def train_trunk(cells: Sequence[Cell], images: DeviceImages) -> Iterator[Result]:
    """The cells' rows by the step at which they leave the trunk; once it has diverged, rows of infinite loss.

    The first protocol pays for the trunk, each of its rows for the steps since the row before; a wsd row
    beside it pays for its decay alone. So spent_flops add up to what was computed. Raises ValueError
    where a budget holds fewer images than a batch, and where no one trunk serves the cells.
    """
    shared, count = trunk_of(cells), len(images.train_images)
    image = flops_per_image(shared.width, images.classes)
    payer = payer_of([cell.protocol for cell in cells])
    factors = rate_factors(steps_of(shared.fraction, shared.batch_size, count), shape=shared.schedule, warmup=shared.warmup)
    shared_run, paid, diverged = Run(shared, images), 0, False
    for stop in stops_of(cells, count):
        diverged = diverged or not advanced(shared_run.advance, factors[shared_run.step:stop.step])
        run = shared_run.branch() if stop.decay and not diverged else shared_run
        if diverged or not advanced(run.advance, decay_factors(stop.decay)):
            yield _named(run.diverged_result(), stop.cell)
            continue
        steps = stop.decay
        if stop.cell.protocol == payer:
            steps, paid = steps + stop.step - paid, stop.step
        yield _named(run.result(spent_flops=float(steps * shared.batch_size * image)), stop.cell)


def stops_of(cells: Sequence[Cell], images: int) -> list[Stop]:
    """In the trunk's order."""
    return trunk.stops_of(cells, lambda cell: steps_of(cell.fraction, cell.batch_size, images), _protocol)


def _protocol(cell: Cell) -> str:
    return cell.protocol


def _named(row: Result, cell: Cell) -> Result:
    """The trunk's row as the cell's own: its budget, protocol and schedule."""
    return replace(row, fraction=cell.fraction, schedule=cell.schedule, protocol=cell.protocol)
