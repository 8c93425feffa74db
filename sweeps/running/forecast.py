"""What a sweep of many cells would take on many GPUs, before a cent is spent: time, memory, traffic.

Cells are scheduled as the sweep does it, the longest first, each on the slot that is free
first (Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
One driver hands them out, one after another. While the long ones run it keeps up with any
cluster; at the end, when all that is left is short, a large cluster waits for it, and from
there on a shuffled order is the better one: its short cells start while long ones run.
After every few thousand cells the driver starts afresh, lest its memory grow, once all have come back.
"""

import argparse
import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

LOSS = 0.1  # of the time that a driver may cost before we advise a second one


@dataclass(frozen=True)
class Driver:
    """What one driver process costs; measured with Ray Tune 2.60, actors reused, no loggers."""

    seconds_per_trial: float = 0.029   # CPU of the driver alone, 14 to 29 ms; the slower figure
    trials_per_round: int = 5_000      # the engine's ROUND; then all must come back, and Tune forgets them
    seconds_per_round: float = 6.0     # until the next round's first trial runs: new actors import torch
    base_bytes: float = 225e6
    bytes_per_trial: float = 40e3      # held by Tune until the round ends
    bytes_per_row: float = 2.5e3       # held by the store until the sweep ends


IDEAL = Driver(seconds_per_trial=0.0, seconds_per_round=0.0, trials_per_round=sys.maxsize)


@dataclass(frozen=True)
class Load:
    """What the sweep moves: the data once a node, a row back for each cell."""

    data_bytes: float = 55e6     # MNIST as uint8, in the object store
    row_bytes: float = 2e3       # configuration out and result back


@dataclass(frozen=True)
class Forecast:
    """A sweep as planned: seconds of wall time, bytes."""

    cells: int
    slots: int
    drivers: int
    work: float               # seconds of training, summed over the cells
    lower_bound: float        # no schedule whatever takes less: mean load, or the longest cell
    makespan: float           # of longest-first, each cell also waiting for its driver
    shuffled: float           # of the same cells in a random order
    driver_busy: float        # share of the makespan in which the busiest driver works
    reach: int                # slots, a power of 2, up to which one driver costs less than LOSS of the time
    enough: int               # drivers, a power of 2, that cost less than LOSS of the time on these slots
    driver_bytes: float       # memory of the driver with the most cells at the end
    traffic_bytes: float      # over the network in all: the data to each node but the first, rows back

    @property
    def efficiency(self) -> float:
        """Lower bound over makespan: 1 is a schedule that nobody can beat."""
        return self.lower_bound / self.makespan

    def summary(self) -> str:
        advice = (f"{self.drivers} driving is enough" if self.drivers >= self.enough else
                  f"split the cells among {self.enough} sweeps, each with its own --out, and join the tables: "
                  "python -m sweeps.merge")
        lines = [("cells", f"{self.cells:,} on {self.slots:,} slots, {self.drivers} driving"),
                 ("training", f"{self.work / 3600:,.1f} h, one after another"),
                 ("makespan", f"{self.makespan / 3600:,.2f} h; no schedule below {self.lower_bound / 3600:,.2f} h "
                              f"({self.efficiency:.0%}); {self.shuffled / 3600:,.2f} h in a random order"),
                 ("driver", f"busy {self.driver_busy:.0%} of the time; one keeps up with {self.reach:,} slots"),
                 ("its memory", f"{self.driver_bytes / 1e9:.2f} GB at the end"),
                 ("network", f"{self.traffic_bytes / 1e9:.2f} GB"),
                 ("advice", advice)]
        return "\n".join(f"{name:<12} {text}" for name, text in lines)


def lower_bound(seconds: np.ndarray, slots: int) -> float:
    """No schedule on `slots` equal slots ends sooner: the mean load, the longest cell, or two cells on one slot.

    The third holds where there are more cells than slots: of the slots + 1 longest, two share a slot.
    """
    ordered = np.sort(seconds)[::-1]
    pair = ordered[slots - 1] + ordered[slots] if len(ordered) > slots else 0.0
    return float(max(seconds.sum() / slots, ordered[0], pair))


def in_order(seconds: np.ndarray, slots: int, driver: Driver = IDEAL) -> float:
    """Wall time of list scheduling in the order given; the driver starts the cells one after another, in rounds."""
    free = [0.0] * slots
    now = end = 0.0
    for i, length in enumerate(seconds):
        if i and i % driver.trials_per_round == 0:
            now = end + driver.seconds_per_round
        now = max(now, free[0]) + driver.seconds_per_trial
        heapq.heapreplace(free, now + length)
        end = max(end, now + length)
    return float(end)


def makespan(seconds: np.ndarray, slots: int, *, drivers: int = 1, driver: Driver = IDEAL) -> float:
    """Wall time of longest-first; each driver has its share of the slots and every `drivers`-th of the ordered cells."""
    ordered = np.sort(seconds)[::-1]
    own = [slots // drivers + (i < slots % drivers) for i in range(drivers)]
    return max(in_order(ordered[i::drivers], own[i], driver) for i in range(min(drivers, len(ordered))))


def keeps_up(seconds: np.ndarray, slots: int, drivers: int, *, driver: Driver) -> bool:
    """Whether so many drivers cost less than LOSS of the time that the slots alone would take."""
    return makespan(seconds, slots, drivers=drivers, driver=driver) <= (1 + LOSS) * makespan(seconds, slots)


def reach(seconds: np.ndarray, *, driver: Driver) -> int:
    """Slots, a power of 2, that one driver keeps up with; as many as there are cells are never too few."""
    slots = 1
    while slots < len(seconds) and keeps_up(seconds, 2 * slots, 1, driver=driver):
        slots *= 2
    return slots


def enough_drivers(seconds: np.ndarray, slots: int, *, driver: Driver) -> int:
    """The fewest drivers, a power of 2 and at most one a slot, that keep up."""
    drivers = 1
    while 2 * drivers <= slots and not keeps_up(seconds, slots, drivers, driver=driver):
        drivers *= 2
    return drivers


def forecast(seconds: Sequence[float] | np.ndarray, slots: int, *, nodes: int = 1, drivers: int = 1,
             driver: Driver = Driver(), load: Load = Load()) -> Forecast:
    """Plans cells of the given training seconds on equal slots.

    Raises ValueError without cells, where one takes no time, or with fewer slots than drivers.
    """
    seconds = np.asarray(seconds, dtype=float)
    if seconds.size == 0 or not (seconds > 0).all():
        raise ValueError("need at least one cell, and each must take some time")
    if not 1 <= drivers <= slots:
        raise ValueError(f"need at least a slot for each driver, got {slots} slots for {drivers} drivers")
    end = makespan(seconds, slots, drivers=drivers, driver=driver)
    shuffled = np.random.default_rng(0).permutation(seconds)[::drivers]
    most = math.ceil(seconds.size / drivers)
    return Forecast(
        cells=seconds.size, slots=slots, drivers=drivers, work=float(seconds.sum()),
        lower_bound=lower_bound(seconds, slots), makespan=end,
        shuffled=in_order(shuffled, slots // drivers, driver), driver_busy=most * driver.seconds_per_trial / end,
        reach=reach(seconds, driver=driver), enough=enough_drivers(seconds, slots, driver=driver),
        driver_bytes=driver.base_bytes + min(most, driver.trials_per_round) * driver.bytes_per_trial
        + most * driver.bytes_per_row,
        traffic_bytes=(nodes - 1) * load.data_bytes * drivers + seconds.size * load.row_bytes)


def sample_seconds(cells: int, mean: float, *, spread: float = 1000.0, seed: int = 0) -> np.ndarray:
    """Training seconds of a grid whose compute is even in its logarithm over a factor of `spread`."""
    relative = spread ** np.random.default_rng(seed).random(cells)
    return relative * (mean / relative.mean())


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sweeps.running.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--gpus-per-trial", type=float, default=0.2, help="share of a GPU for each trial (default 0.2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="mean training time of a cell (default 10)")
    parser.add_argument("--gpus-per-node", type=int, default=1)
    parser.add_argument("--drivers", type=int, default=1)
    parser.add_argument("--driver-ms", type=float, default=29.0, help="driver CPU a trial: 14 to 29 ms (default 29)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.cells < 1 or args.gpus < 1 or args.gpus_per_node < 1 or min(args.gpus_per_trial, args.seconds, args.driver_ms) <= 0:
            raise ValueError("every number must be above zero")
        slots = (args.gpus * int(1 / args.gpus_per_trial + 1e-6) if args.gpus_per_trial < 1
                 else int(args.gpus / args.gpus_per_trial + 1e-6))
        plan = forecast(sample_seconds(args.cells, args.seconds), slots, drivers=args.drivers,
                        driver=Driver(seconds_per_trial=args.driver_ms / 1000),
                        nodes=math.ceil(args.gpus / args.gpus_per_node))
    except ValueError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    print(plan.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
