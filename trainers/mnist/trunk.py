"""One training pass that serves every data budget: losses read on the way, and decays branched off it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trainers.mnist.cell import Cell, Result
from trainers.mnist.network import flops_per_image
from trainers.mnist.train import DeviceImages, Run, steps_of
from trainers.schedule import decay_factors, rate_factors
from trainers.task import Diverged

SINGLE_RUN = "single-run"  # one linear decay over the largest budget, read at every budget on its way
CONSTANT = "constant"      # a constant rate after the warm-up, read likewise
WSD = "wsd"                # that constant trunk, with a short decay of its own for every budget
PROTOCOLS = (SINGLE_RUN, CONSTANT, WSD)
SCHEDULES = {SINGLE_RUN: "linear", CONSTANT: "constant", WSD: WSD}   # what a row of the protocol says of its schedule
DECAY_SHARE = 0.2          # of a budget's steps; Hägele et al. 2024 (section 4) find 10 to 20% enough


@dataclass(frozen=True)
class Stop:
    """A step at which the trunk halts for a row."""

    step: int        # of the trunk
    decay: int       # steps of the branch that leaves it here; 0: the trunk itself is read
    cell: Cell


def trunk_of(cells: Sequence[Cell]) -> Cell:
    """The run that serves the cells: as long as the longest of them, read on the way by the others.

    Raises ValueError for cells that no one trunk serves.
    """
    protocols = {cell.protocol for cell in cells}
    trunks = {replace(cell, fraction=0.0, protocol="", schedule="") for cell in cells}
    shape = "linear" if protocols == {SINGLE_RUN} else "constant"
    odd = [cell.schedule for cell in cells if cell.schedule != SCHEDULES.get(cell.protocol)]
    if not cells or len(trunks) > 1 or (shape == "constant" and protocols - {CONSTANT, WSD}) or odd:
        raise ValueError(f"no one trunk serves the protocols {', '.join(sorted(protocols))} with schedules "
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
    payer = CONSTANT if any(cell.protocol == CONSTANT for cell in cells) else cells[0].protocol
    factors = rate_factors(steps_of(shared.fraction, shared.batch_size, count), shape=shared.schedule, warmup=shared.warmup)
    trunk, paid, diverged = Run(shared, images), 0, False
    for stop in stops_of(cells, count):
        diverged = diverged or not _advanced(trunk, factors[trunk.step:stop.step])
        run = trunk.branch() if stop.decay and not diverged else trunk
        if diverged or not _advanced(run, decay_factors(stop.decay)):
            yield _named(run.diverged_result(), stop.cell)
            continue
        steps = stop.decay
        if stop.cell.protocol == payer:
            steps, paid = steps + stop.step - paid, stop.step
        yield _named(run.result(spent_flops=float(steps * shared.batch_size * image)), stop.cell)


def _advanced(run: Run, factors: Sequence[float]) -> bool:
    """Whether the run's loss is still a number after these steps."""
    try:
        if factors:
            run.advance(factors)
    except Diverged:
        return False
    return True


def stops_of(cells: Sequence[Cell], images: int) -> list[Stop]:
    """In the trunk's order. A branch for n steps in all leaves it early by its own decay."""
    stops = []
    for cell in cells:
        steps = steps_of(cell.fraction, cell.batch_size, images)
        decay = min(max(1, round(DECAY_SHARE * steps)), steps - 1) if cell.protocol == WSD else 0
        stops.append(Stop(steps - decay, decay, cell))
    return sorted(stops, key=lambda stop: (stop.step, stop.cell.fraction, stop.cell.protocol))


def _named(row: Result, cell: Cell) -> Result:
    """The trunk's row as the cell's own: its budget, protocol and schedule."""
    return replace(row, fraction=cell.fraction, schedule=cell.schedule, protocol=cell.protocol)
