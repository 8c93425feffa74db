"""The schedule study: the same widths, budgets and seeds trained under seven protocols.

What differs between two protocols is meant to be one thing. So the rate rises over the same
images everywhere (with a share of each run, a long trunk would still be warming up at the small
budgets), and `one-batch` has a budget's own schedule with the trunks' batch size: against it the
trunks differ by schedule alone, against `per-budget` by batch size too.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from sweeps.jobs.grid import BatchRule, Grid, half_octaves, halvings, seeds
from sweeps.jobs.job import PER_BUDGET, CellJob, Job, Shape
from sweeps.jobs.source import Source, Staged
from sweeps.jobs.trunk import CONSTANT, SINGLE_RUN, WSD, TrunkJob
from sweeps.running.conduct import PRECISIONS, conduct, provenance, refuse_other_recipes, shape_of, total_cost, tuning_line
from sweeps.running.progress import clock
from sweeps.running.ray_tune import Outcome
from sweeps.running.speed import CPU
from sweeps.store.store import Store, StoreError
from sweeps.tuning.bracket import START
from sweeps.tuning.tuned_grid import MakeJob, TunedGrid, TuningPlan
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import Images, load_images

ONE_BATCH = "per-budget-one-batch"     # as per-budget, with the trunks' batch size at every budget
ONE_RATE = "untuned-one-rate"          # as per-budget, with the middle cell's rate everywhere
BY_RULE = "untuned-rule"               # as per-budget, lr ~ 1/sqrt(fan_in) a layer, its constant tuned at the middle cell
PROTOCOLS = (PER_BUDGET, ONE_BATCH, SINGLE_RUN, CONSTANT, WSD, ONE_RATE, BY_RULE)

WARMUP = 0.2       # of the smallest budget, in images: a dozen steps of a trunk whose smallest budget is 1/32
RULE_START = 0.2   # lr = 0.2 / sqrt(fan_in) is near the tuned rates of middling widths


@dataclass(frozen=True)
class Preset:
    """A grid and how thoroughly its rates are tuned."""

    grid: Grid
    tune_trials: int
    tune_seeds: int


PRESETS = {
    "smoke": Preset(Grid((0.25, 0.5), halvings(5, 6), seeds(1), (0.0,)), 3, 1),
    "quick": Preset(Grid(half_octaves(-4, 0), halvings(0, 4), seeds(2), (0.0,)), 3, 1),
    "standard": Preset(Grid(half_octaves(-4, 4), halvings(0, 5), seeds(3), (0.0,)), 5, 1),
    "full": Preset(Grid(half_octaves(-4, 8), halvings(0, 6), seeds(8), (0.0,)), 7, 2),
}


@dataclass(frozen=True)
class SchedulePlan:
    """What the arguments ask for."""

    name: str
    preset: Preset
    batch: BatchRule
    precision: str

    @property
    def grid(self) -> Grid:
        return self.preset.grid

    @property
    def whole(self) -> float:
        """Fraction that the trunks are trained on: the largest budget."""
        return max(self.grid.fractions)

    @property
    def middle(self) -> Cell:
        """Where the untuned protocols have their one rate from."""
        widths, fractions = sorted(self.grid.widths), sorted(self.grid.fractions)
        return Cell(width=widths[len(widths) // 2], fraction=fractions[len(fractions) // 2],
                    dropout=min(self.grid.dropouts), seed=0)

    def recipe(self, cell: Cell, lr: float) -> Recipe:
        """Of a run with a schedule of its own."""
        return Recipe(lr=lr, batch_size=self.batch(cell.fraction), warmup=WARMUP * min(self.grid.fractions) / cell.fraction,
                      precision=self.precision)

    def one_batch_recipe(self, cell: Cell, lr: float) -> Recipe:
        return replace(self.recipe(cell, lr), batch_size=self.batch(self.whole))

    def rule_recipe(self, cell: Cell, lr: float) -> Recipe:
        return replace(self.recipe(cell, lr), lr_rule="fan_in")

    def constant_recipe(self, cell: Cell, lr: float) -> Recipe:
        return replace(self.recipe(cell, lr), schedule="constant")

    def parts(self) -> tuple["Part", ...]:
        """Those that wait for others' rates last."""
        cells = self.grid.cells()
        trunks = [cell for cell in cells if cell.fraction == self.whole]
        every = self._tuning(by=("width", "fraction"))
        single = self._tuning(by=("width",), fraction=self.whole)
        once = self._tuning(by=(), fraction=self.middle.fraction, width=self.middle.width)
        budgets = tuple(sorted(self.grid.fractions))
        parts = (
            Part((PER_BUDGET,), cells, every, self.recipe, CellJob),
            Part((CONSTANT, WSD), trunks, single, self.constant_recipe, partial(_constant_job, budgets=budgets)),
            Part((BY_RULE,), cells, replace(once, start=RULE_START), self.rule_recipe, partial(_cell_job, protocol=BY_RULE)),
            Part((ONE_BATCH,), cells, every, self.one_batch_recipe, partial(_cell_job, protocol=ONE_BATCH), waits=True),
            Part((SINGLE_RUN,), trunks, single, self.recipe, partial(_single_run_job, budgets=budgets), waits=True),
            Part((ONE_RATE,), cells, once, self.recipe, partial(_cell_job, protocol=ONE_RATE), waits=True))
        one_size = len({self.batch(fraction) for fraction in budgets}) == 1   # per-budget is its own control
        return tuple(part for part in parts if not (one_size and part.protocols == (ONE_BATCH,)))

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those that the parts train, in the order of PROTOCOLS."""
        trained = {protocol for part in self.parts() for protocol in part.protocols}
        return tuple(protocol for protocol in PROTOCOLS if protocol in trained)

    def _tuning(self, **where: object) -> TuningPlan:
        return TuningPlan(dropout=min(self.grid.dropouts), trials=self.preset.tune_trials, seeds=self.preset.tune_seeds, **where)


@dataclass(frozen=True)
class Part:
    """Protocols that share their runs, or a protocol: its cells, how their rates are found, their jobs."""

    protocols: tuple[str, ...]
    cells: list[Cell]
    tuning: TuningPlan
    recipe: Callable[[Cell, float], Recipe]
    make_job: MakeJob
    waits: bool = False   # for the rates of the others, whose trials it shares

    def jobs(self) -> list[Job]:
        """With rates not yet known: they decide no cost."""
        return [self.make_job(cell, self.recipe(cell, START), table="results") for cell in self.cells]

    def trials(self) -> list[Job]:
        """As many tuning runs as are planned, none of those that come from another part's."""
        if self.waits and self.protocols != (ONE_BATCH,):
            return []
        groups = {self.tuning.group_of(cell) for cell in self.cells}
        if self.protocols == (ONE_BATCH,):   # at the largest budget its batch size is per-budget's
            groups = {group for group in groups if group.fraction != max(cell.fraction for cell in self.cells)}
        return [self.make_job(cell, self.recipe(cell, START), table="tuning")
                for group in groups for cell in [Cell(**asdict(group), seed=0)]] * (self.tuning.trials * self.tuning.seeds)

    def source(self, store: Store, seconds: Callable[[Job], float], classes: int) -> TunedGrid:
        return TunedGrid(self.cells, plan=self.tuning, recipe_of=self.recipe, store=store, seconds=seconds,
                         classes=classes, make_job=self.make_job)


def _cell_job(cell: Cell, recipe: Recipe, *, table: str, protocol: str) -> CellJob:
    """Trials go by the name of per-budget: equal ones of two protocols are one run."""
    return CellJob(cell, recipe, table, protocol if table == "results" else PER_BUDGET)


def _single_run_job(cell: Cell, recipe: Recipe, *, table: str, budgets: tuple[float, ...]) -> Job:
    """Its trials are per-budget's at the largest budget, where the two are the same run."""
    return CellJob(cell, recipe, table) if table == "tuning" else TrunkJob(cell, recipe, budgets, (SINGLE_RUN,))


def _constant_job(cell: Cell, recipe: Recipe, *, table: str, budgets: tuple[float, ...]) -> Job:
    """Tuned for the loss after the decay at the largest budget: before it, any rate that is small at the end wins."""
    return TrunkJob(cell, recipe, (cell.fraction,), (WSD,), table) if table == "tuning" else TrunkJob(
        cell, recipe, budgets, (CONSTANT, WSD))


def plan_of(args: argparse.Namespace) -> SchedulePlan:
    """Raises ValueError, one line, for whatever no sweep can do."""
    if args.preset not in PRESETS:
        raise ValueError(f"unknown preset {args.preset!r}: choose one of {', '.join(PRESETS)}")
    if args.precision not in PRECISIONS:
        raise ValueError(f"unknown precision {args.precision!r}: choose one of {', '.join(PRECISIONS)}")
    return SchedulePlan(args.preset, PRESETS[args.preset], BatchRule(full=args.batch_size, power=args.batch_power), args.precision)


def run_schedule_study(args: argparse.Namespace) -> int:
    """Run what `args` ask for; 0, or 1 where cells failed or the sweep was stopped.

    Raises ValueError (StoreError, ConnectError, DatasetError) before anything is trained or written.
    """
    plan = plan_of(args)
    images = load_images(args.dataset, args.data_root)
    print(describe(plan, images))
    if args.dry_run:
        return 0
    return conduct(
        args, images,
        provenance=provenance(study="schedules", grid=asdict(plan.grid), batch=asdict(plan.batch), warmup=WARMUP,
                              tuning={"trials": plan.preset.tune_trials, "seeds": plan.preset.tune_seeds}),
        source_of=lambda store, seconds: source_of(plan, store, seconds=seconds, classes=images.classes),
        closing=lambda store, source, outcome: closing_lines(plan, store, source, outcome, args.out))


def source_of(plan: SchedulePlan, store: Store, *, seconds: Callable[[Job], float], classes: int) -> Staged:
    """All protocols' jobs, less what the store has.

    Raises StoreError where the store holds one of the plan's points trained by another recipe.
    """
    parts = plan.parts()
    waiting = [part for part in parts if part.waits]
    first = [part.source(store, seconds, classes) for part in parts if not part.waits]
    staged = Staged(first, lambda: [part.source(store, seconds, classes) for part in waiting],
                    ready=lambda: all(source.settled for source in first),
                    planned=[job for part in waiting for job in (*part.jobs(), *part.trials())])
    for source in staged.sources:
        refuse_other_recipes(store, source.wanted())
    later = {protocol for part in waiting for protocol in part.protocols}
    if not staged.complete and any(row.protocol in later for row in store.results.values()):
        raise StoreError("the table holds rows whose learning rates are not in the table of tuning trials beside it: "
                         "choose another --out")
    return staged


def describe(plan: SchedulePlan, images: Images) -> str:
    """The plan, before anything runs. Raises ValueError for a budget with fewer images than a batch."""
    shape, parts = shape_of(images), plan.parts()
    jobs = [job for part in parts for job in part.jobs()]
    trials = [job for part in parts for job in part.trials()]
    rows = sum(len(job.identities()) for job in jobs)
    cost, cores = total_cost(jobs, shape), os.cpu_count() or 1
    seconds = sum(CPU.seconds(job.cost(shape)) for job in (*jobs, *trials))
    grid = plan.grid
    return "\n".join([
        f"{images.name}, {plan.name}: {len(grid.widths)} widths x {len(grid.fractions)} budgets x {len(grid.seeds)} seeds x "
        f"{len(plan.protocols)} protocols = {rows} points from {len(jobs)} runs, {cost.flops:.2g} training FLOPs, {cost.steps:,} steps",
        f"learning rates tuned in about {len(trials)} runs, {total_cost(trials, shape).flops:.2g} FLOPs",
        *(_part_line(part, shape) for part in parts),
        f"estimate for this machine alone: {clock(seconds / cores)} on {cores} cores"])


def _part_line(part: Part, shape: Shape) -> str:
    cost = total_cost(part.jobs(), shape)
    return f"  {' + '.join(part.protocols):22s} {len(part.cells):4d} runs, {cost.flops:.2g} FLOPs, {len(part.trials()):4d} tuning runs"


def closing_lines(plan: SchedulePlan, store: Store, source: Source, outcome: Outcome, out: str) -> str:
    """What the table holds now, and what each protocol cost."""
    wanted = {identity for job in _wanted(source) for identity in job.identities()}
    done = [row for identity, row in store.results.items() if identity in wanted]
    points = len(plan.grid.cells()) * len(plan.protocols)
    lines = [f"{len(done)} of {points} points done, {outcome.finished} runs in this sweep, {outcome.failed} failed"]
    for protocol in plan.protocols:
        rows = [row for row in done if row.protocol == protocol]
        if rows:
            lines.append(f"  {protocol:22s} {len(rows):4d} points, spent {sum(row.spent_flops for row in rows):.3g} FLOPs, "
                         f"lowest loss {min(row.val_loss for row in rows):.4f} nats")
    if isinstance(source, Staged):
        verdicts = [verdict for part in source.sources if isinstance(part, TunedGrid) for verdict in part.tuned.values()]
        if verdicts:
            lines.append(tuning_line(verdicts))
    if store.failures:
        lines.append(f"{len(store.failures)} points failed, with the reason in the table of failures; "
                     "the same command tries them again")
    if outcome.interrupted:
        lines.append("stopped early: the same command goes on from here")
    lines.append(f"wrote {out}; next: python analysis/fit_schedules.py {out}")
    return "\n".join(lines)


def _wanted(source: Source) -> Sequence[Job]:
    if not isinstance(source, Staged):
        return ()
    return [job for part in source.sources if isinstance(part, TunedGrid) for job, settled in part.wanted().items() if settled]
