"""What a sweep costs around its cells: ours beside Ray Tune as it comes, bare Ray tasks and a pool of processes."""

import os
from collections.abc import Sequence

from sweeps.bench.processes import private_bytes
from sweeps.bench.runners import ours, pool, ray_tasks, tune_defaults
from sweeps.bench.tables import Section, Target
from sweeps.bench.timing import Timing
from sweeps.bench.work import SHORT_CELL, spun, trained
from sweeps.running.connect import connect
from trainers.mnist.images import Images

SHORT_CELLS_TARGET = 0.70  # issue 8: of the cores' time, for cells of about 0.25 s


def section(kinds: Sequence[str], *, cells: int, seconds: float, tune_cells: int, cpus: int, images: Images) -> Section:
    """The same cells through every runner, of each kind in turn; Tune with its defaults through the first few only."""
    work = {"empty": spun(cells, 0.0), "spun": spun(cells, seconds), "trained": trained(cells, images)}
    timings: dict[str, list[Timing]] = {}
    with connect(None, cpus=cpus) as cluster:
        # First, since ours sets Tune's environment variables, which its defaults must not see.
        plainly = {kind: [tune_defaults(work[kind].first(tune_cells), slots=cpus)] if tune_cells else [] for kind in kinds}
        for kind in kinds:
            timings[kind] = [ours(work[kind], cluster=cluster, slots=cpus), ray_tasks(work[kind], slots=cpus), pool(work[kind], slots=cpus)]
    return Section(
        title=f"2  A sweep on {cpus} cores",
        columns=("cells", "runner", "number", "wall s", "cores busy", "wall ms a cell", "core ms lost a cell", "driver CPU ms a cell"),
        rows=tuple(_row(kind, timing) for kind in kinds for timing in (*timings[kind], *plainly[kind])),
        targets=tuple(Target(f"cores busy, {kind} cells", timings[kind][0].busy, SHORT_CELLS_TARGET, "", True)
                      for kind in kinds if kind != "empty"),
        notes=("cores busy: CPU time of the cells over wall time x cores, from the first cell's beginning; "
               "limit: the pool, which keeps no table and survives no fault",
               "ours: Ray Tune, workers reused, every row stored",
               f"spun: {seconds:g} s of a core; trained: width {SHORT_CELL.width:g}, fraction 1/{1 / SHORT_CELL.fraction:.0f}, "
               f"batch {SHORT_CELL.batch_size}, validation included",
               *(f"{kind}: {timing.work / timing.cells:.2f} s of a core each with {timing.runner}"
                 for kind in kinds if kind == "trained" for timing in timings[kind])))


def growth_section(sizes: Sequence[int], *, cpus: int) -> Section:
    """Empty cells, so that what is left is ours."""
    timings = []
    before = private_bytes(os.getpid())
    with connect(None, cpus=cpus) as cluster:
        for size in sizes:
            timings.append(ours(spun(size, 0.0), cluster=cluster, slots=cpus))
    first, last = timings[0], timings[-1]
    return Section(
        title="2  The same from small to large: empty cells, ours, one process after the other",
        columns=("cells", "wall ms a cell", "s to close", "driver CPU ms a cell", "driver memory MB"),
        rows=tuple((f"{t.cells:,}", f"{t.wall_ms:.1f}", f"{t.after:.1f}", f"{t.driver_ms:.1f}", f"{t.private / 1e6:,.0f}")
                   for t in timings),
        targets=(Target("wall a cell, largest over smallest sweep", last.wall_ms / first.wall_ms, 1.5, "x", False),
                 Target("driver memory, growth a cell", (last.private - first.private) / 1e3 / max(1, last.cells - first.cells), 100, "kB", False)),
        notes=("to close: from the last cell's end until Tune has written its own snapshot and its actors are gone",
               f"driver memory without what is shared; {before / 1e6:,.0f} MB before, with torch, Ray and the data set loaded",))


def _row(kind: str, t: Timing) -> tuple[str, ...]:
    return (kind, t.runner, f"{t.cells:,}", f"{t.wall:.1f}", f"{t.busy:.0%}" if t.work else "", f"{t.wall_ms:.1f}",
            f"{1e3 * t.overhead:.1f}", f"{t.driver_ms:.1f}")
