"""The schedule study: the same widths, budgets and seeds trained under seven protocols.

What differs between two protocols is meant to be one thing. So the rate rises over the same
images everywhere (with a share of each run, a long trunk would still be warming up at the small
budgets), and `one-batch` has a budget's own schedule with the trunks' batch size: against it the
trunks differ by schedule alone, against `per-budget` by batch size too.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from sweeps.jobs.grid import Grid
from sweeps.jobs.job import Job, jobs_of
from sweeps.jobs.source import Seconds, Source, Staged
from sweeps.running.arguments import machines_of
from sweeps.running.conduct import conduct, provenance, refuse_other_choices
from sweeps.running.progress import clock
from sweeps.running.ray_tune import Outcome
from sweeps.store.store import Store, StoreError
from sweeps.studies.grid import last_lines, tuning_line
from sweeps.tuning.tuned_grid import TunedGrid, TuningPlan, plan_of
from trainers.cost import Cost
from trainers.mnist.cell import PER_BUDGET, Cell
from trainers.mnist.images import Images
from trainers.mnist.presets import HIGHEST, LOWEST, ONE_CHANNEL, START, BatchRule, half_octaves, halvings
from trainers.mnist.task import TASK
from trainers.mnist.trunk import CONSTANT, SCHEDULES, SINGLE_RUN, WSD
from trainers.precision import PRECISIONS
from trainers.task import Tuning

ONE_BATCH = "per-budget-one-batch"     # as per-budget, with the trunks' batch size at every budget
ONE_RATE = "untuned-one-rate"          # as per-budget, with one rate in all layers of all cells, tuned at the middle cell
BY_RULE = "untuned-rule"               # as per-budget, lr sqrt(batch / fan_in) a layer with the middle cell's lr
PROTOCOLS = (PER_BUDGET, ONE_BATCH, SINGLE_RUN, CONSTANT, WSD, ONE_RATE, BY_RULE)

WARMUP = 0.2       # of the smallest budget, in images: a dozen steps of a trunk whose smallest budget is 1/32
ONE_START = 0.012  # of the search for one rate in all layers


@dataclass(frozen=True)
class SchedulePreset:
    """A grid and how thoroughly its rates are tuned."""

    grid: Grid
    tune_trials: int
    tune_seeds: int


def _preset(widths: tuple, fractions: tuple, seeds: int, tune_trials: int, tune_seeds: int) -> SchedulePreset:
    return SchedulePreset(Grid({"width": widths, "fraction": fractions, "dropout": (0.0,)}, tuple(range(seeds))), tune_trials, tune_seeds)


PRESETS = {
    "smoke": _preset((0.25, 0.5), halvings(5, 6), 1, 3, 1),
    "quick": _preset((ONE_CHANNEL, *half_octaves(-2, 0)), halvings(0, 4), 2, 3, 1),
    "standard": _preset((ONE_CHANNEL, *half_octaves(-2, 4)), halvings(0, 5), 3, 5, 1),
    "full": _preset((ONE_CHANNEL, *half_octaves(-2, 8)), halvings(0, 6), 8, 7, 2),
}


@dataclass(frozen=True)
class SchedulePlan:
    """What the arguments ask for."""

    name: str
    preset: SchedulePreset
    batch: BatchRule
    precision: str

    @property
    def grid(self) -> Grid:
        return self.preset.grid

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted(self.grid.axes["fraction"]))

    @property
    def whole(self) -> float:
        """Fraction that the trunks are trained on: the largest budget."""
        return self.budgets[-1]

    @property
    def middle(self) -> dict[str, object]:
        """Where the untuned protocols have their one rate from."""
        return {name: sorted(values)[len(values) // 2] for name, values in self.grid.axes.items()}

    def cell(self, protocol: str, axes: dict, *, seed: int, lr: float) -> Cell:
        """Of a protocol at these axes. Trunks take their batch size and warm-up at the whole data."""
        trunk = protocol in SCHEDULES
        fraction = self.whole if trunk else axes["fraction"]
        return Cell(**axes, seed=seed, lr=lr, batch_size=self.batch(self.whole if protocol == ONE_BATCH else fraction),
                    warmup=WARMUP * self.budgets[0] / fraction, precision=self.precision,
                    lr_rule="uniform" if protocol == ONE_RATE else "fan_in",
                    schedule=SCHEDULES[protocol] if trunk else "linear", protocol=protocol)

    def parts(self) -> tuple["Part", ...]:
        """Those that wait for others' rates last."""
        every = self._tuning("width", "fraction")
        single = self._tuning("width", at={"fraction": self.whole})
        parts = (
            Part(self, (PER_BUDGET,), every, PER_BUDGET),
            # Tuned for the loss after the decay at the largest budget: before it, any rate that is small at the end wins.
            Part(self, (CONSTANT, WSD), single, WSD),
            Part(self, (ONE_RATE,), self._tuning(at=self.middle, start=ONE_START), ONE_RATE),
            Part(self, (ONE_BATCH,), every, ONE_BATCH, waits=True),
            # Its trials are per-budget's at the largest budget, where the two are the same run.
            Part(self, (SINGLE_RUN,), single, PER_BUDGET, waits=True),
            Part(self, (BY_RULE,), self._tuning(at=self.middle), PER_BUDGET, waits=True))
        one_size = len({self.batch(fraction) for fraction in self.budgets}) == 1   # per-budget is its own control
        return tuple(part for part in parts if not (one_size and part.protocols == (ONE_BATCH,)))

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those that the parts train, in the order of PROTOCOLS."""
        trained = {protocol for part in self.parts() for protocol in part.protocols}
        return tuple(protocol for protocol in PROTOCOLS if protocol in trained)

    def _tuning(self, *by: str, at: dict | None = None, start: float = START) -> TuningPlan:
        at = {"dropout": min(self.grid.axes["dropout"])} | {name: value for name, value in (at or {}).items() if name not in by}
        return plan_of(TASK, Tuning("lr", LOWEST, HIGHEST, by=by, start=start, trials=self.preset.tune_trials,
                                    seeds=self.preset.tune_seeds, at=at), self.grid)


@dataclass(frozen=True)
class Part:
    """Protocols that share their runs, or a protocol: how their rates are found, and under which protocol's rules."""

    plan: SchedulePlan
    protocols: tuple[str, ...]
    tuning: TuningPlan
    tuned_as: str         # protocol of the tuning runs
    waits: bool = False   # for the rates of the others, whose trials it shares

    def places(self) -> list[tuple[dict, int]]:
        """Of the grid, once for each protocol: which it is travels along as an axis."""
        return [({**axes, "protocol": protocol}, seed) for axes in self.plan.grid.settings() for protocol in self.protocols
                for seed in self.plan.grid.seeds]

    def make_cell(self, axes: dict, *, seed: int, lr: float) -> Cell:
        return self.plan.cell(axes["protocol"], {name: value for name, value in axes.items() if name != "protocol"}, seed=seed, lr=lr)

    def tuning_cell(self, axes: dict, *, seed: int, lr: float) -> Cell:
        """Trials go by the name of per-budget where they are its runs: equal ones of two protocols are one run."""
        cell = self.plan.cell(self.tuned_as, axes, seed=seed, lr=lr)
        return cell if self.tuned_as == WSD else replace(cell, protocol=PER_BUDGET)

    def jobs(self) -> list[Job]:
        """With rates not yet known: they decide no cost."""
        return jobs_of(TASK, [self.make_cell(axes, seed=seed, lr=START) for axes, seed in self.places()])

    def trials(self) -> list[Job]:
        """As many tuning runs as are planned, none of those that come from another part's."""
        if self.waits and self.protocols != (ONE_BATCH,):
            return []
        groups = {self.tuning.group_of(axes) for axes in self.plan.grid.settings()}
        if self.protocols == (ONE_BATCH,):   # at the largest budget its batch size is per-budget's
            groups = {group for group in groups if self.tuning.settings(group)["fraction"] != self.plan.whole}
        cells = [self.tuning_cell(self.tuning.settings(group), seed=0, lr=START) for group in sorted(groups)]
        return jobs_of(TASK, cells, table="tuning") * (self.tuning.tuning.trials * self.tuning.tuning.seeds)

    def source(self, store: Store, seconds: Seconds, hopeless: float, most: int) -> TunedGrid:
        return TunedGrid(TASK, self.places(), plan=self.tuning, make_cell=self.make_cell, tuning_cell=self.tuning_cell,
                         store=store, seconds=seconds, hopeless=hopeless, most=most)


def schedule_plan(args: argparse.Namespace) -> SchedulePlan:
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
    plan = schedule_plan(args)
    images = TASK.load(dataset=args.dataset, data_root=args.data_root)
    print(describe(plan, images))
    if args.dry_run:
        return 0
    machines = machines_of(args)
    return conduct(
        TASK, images, out=args.out, machines=machines,
        provenance=provenance(study="schedules", grid=asdict(plan.grid), batch=asdict(plan.batch), warmup=WARMUP,
                              tuning={"trials": plan.preset.tune_trials, "seeds": plan.preset.tune_seeds}),
        source_of=lambda store, seconds: source_of(plan, store, seconds=seconds, hopeless=images.knowing_nothing, most=machines.pack),
        closing=lambda store, source, outcome: closing_lines(plan, store, source, outcome, args.out))


def source_of(plan: SchedulePlan, store: Store, *, seconds: Seconds, hopeless: float, most: int = 1) -> Staged:
    """All protocols' jobs, less what the store has.

    Raises StoreError where the store holds one of the plan's points trained with other choices.
    """
    make = partial(Part.source, store=store, seconds=seconds, hopeless=hopeless, most=most)
    waiting = [part for part in plan.parts() if part.waits]
    first = [make(part) for part in plan.parts() if not part.waits]
    staged = Staged(first, lambda: [make(part) for part in waiting], ready=lambda: all(source.settled for source in first),
                    planned=[job for part in waiting for job in (*part.jobs(), *part.trials())])
    for source in staged.sources:
        refuse_other_choices(TASK, store, source.wanted(), "lr")
    later = {protocol for part in waiting for protocol in part.protocols}
    if not staged.complete and any(row.protocol in later for row in store.results.values()):
        raise StoreError("the table holds rows whose learning rates are not in the table of tuning trials beside it: "
                         "choose another --out")
    return staged


def describe(plan: SchedulePlan, images: Images) -> str:
    """The plan, before anything runs. Raises ValueError for a budget with fewer images than a batch."""
    parts = plan.parts()
    jobs = [job for part in parts for job in part.jobs()]
    trials = [job for part in parts for job in part.trials()]
    cost, cores = _total(jobs, images), os.cpu_count() or 1
    speed = TASK.speed("cpu")
    seconds = sum(speed.seconds(TASK.cost(job.cells, images)) for job in (*jobs, *trials))
    points = sum(len(job.cells) for job in jobs)
    return "\n".join([
        f"{images.name}, {plan.name}: {plan.grid} x {len(plan.protocols)} protocols = {points} points from {len(jobs)} runs, "
        f"{cost.flops:.2g} training FLOPs, {cost.steps:,} steps",
        f"learning rates tuned in about {len(trials)} runs, {_total(trials, images).flops:.2g} FLOPs",
        *(_part_line(part, images) for part in parts),
        f"estimate for this machine alone: {clock(seconds / cores)} on {cores} cores",
        *(f"note: {text}" for text in TASK.remarks(jobs[0].cells))])


def _total(jobs: Sequence[Job], images: Images) -> Cost:
    return sum((TASK.cost(job.cells, images) for job in jobs), Cost(0.0))


def _part_line(part: Part, images: Images) -> str:
    jobs = part.jobs()
    return f"  {' + '.join(part.protocols):22s} {len(jobs):4d} runs, {_total(jobs, images).flops:.2g} FLOPs, {len(part.trials()):4d} tuning runs"


def closing_lines(plan: SchedulePlan, store: Store, source: Source, outcome: Outcome, out: str) -> str:
    """What the table holds now, and what each protocol cost."""
    parts = [part for part in getattr(source, "sources", ()) if isinstance(part, TunedGrid)]
    wanted = {cell for part in parts for cell, settled in part.wanted().items() if settled}
    done = [row for row in store.results.values() if _cell_of(row) in wanted]
    points = plan.grid.size * len(plan.protocols)
    lines = [f"{len(done)} of {points} points done, {outcome.finished} runs in this sweep, {outcome.failed} failed"]
    for protocol in plan.protocols:
        rows = [row for row in done if row.protocol == protocol]
        if rows:
            lines.append(f"  {protocol:22s} {len(rows):4d} points, spent {sum(row.spent_flops for row in rows):.3g} FLOPs, "
                         f"lowest loss {min(row.val_loss for row in rows):.4f} nats")
    verdicts = [verdict for part in parts for verdict in part.tuned.values()]
    if verdicts:
        lines.append(tuning_line("learning rate", verdicts))
    return "\n".join([*lines, *last_lines(store, outcome, out)]).replace("analysis/fit.py", "analysis/fit_schedules.py")


def _cell_of(row: object) -> Cell:
    return Cell(**{name: getattr(row, name) for name in Cell.__dataclass_fields__})
