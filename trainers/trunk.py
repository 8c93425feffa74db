"""One training pass that serves every data budget: the protocols, and where the pass halts for a row.

A task brings its run and its cells; what a cell calls its data, and how many steps that is, it says itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.task import Diverged

SINGLE_RUN = "single-run"  # one decay over the largest budget, read at every budget on its way
CONSTANT = "constant"      # a constant rate after the warm-up, read likewise
WSD = "wsd"                # that constant trunk, with a short decay of its own for every budget
PROTOCOLS = (SINGLE_RUN, CONSTANT, WSD)
DECAY_SHARE = 0.2          # of a budget's steps; Hägele et al. 2024 (section 4) find 10 to 20% enough


@dataclass(frozen=True)
class Stop:
    """A step at which the pass halts for a row."""

    step: int        # of the pass
    decay: int       # steps of the branch that leaves it here; 0: the pass itself is read
    cell: Any


def schedules(single: str) -> dict[str, str]:
    """What a row of each protocol says of its schedule; `single`: the decay of a single run."""
    return {SINGLE_RUN: single, CONSTANT: "constant", WSD: WSD}


def schedule_of(cells: Sequence[Any], protocol_of: Callable[[Any], str], *, single: str) -> str | None:
    """The schedule of the pass that serves the cells; None where no one pass serves their protocols and schedules."""
    protocols = {protocol_of(cell) for cell in cells}
    if any(cell.schedule != schedules(single).get(protocol_of(cell)) for cell in cells):
        return None
    return single if protocols == {SINGLE_RUN} else "constant" if protocols and protocols <= {CONSTANT, WSD} else None


def stops_of(cells: Iterable[Any], steps_of: Callable[[Any], int], protocol_of: Callable[[Any], str]) -> list[Stop]:
    """In the pass's order. A branch for n steps in all leaves it early by its own decay."""
    stops = []
    for cell in cells:
        steps = steps_of(cell)
        decay = min(max(1, round(DECAY_SHARE * steps)), steps - 1) if protocol_of(cell) == WSD else 0
        stops.append(Stop(steps - decay, decay, cell))
    return sorted(stops, key=lambda stop: (stop.step, stop.cell))


def payer_of(protocols: Sequence[str]) -> str:
    """Whose rows pay for the trunk, each for the steps since the row before; a wsd row beside them pays for its decay alone."""
    return CONSTANT if CONSTANT in protocols else protocols[0]


def advanced(advance: Callable[[Sequence[float]], None], factors: Sequence[float]) -> bool:
    """Whether the run's loss is still a number after these steps."""
    try:
        if factors:
            advance(factors)
    except Diverged:
        return False
    return True
