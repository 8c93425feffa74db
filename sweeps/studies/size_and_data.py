"""A study from its arguments to its table: plan, tune, train, report. The main job of mnist_grid."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from sweeps.jobs.grid import PRESETS, BatchRule, Grid, Preset, override, seeds
from sweeps.jobs.job import CellJob, Job, Shape
from sweeps.jobs.source import JobList, Source
from sweeps.running.conduct import PRECISIONS, conduct, provenance, refuse_other_recipes, shape_of, total_cost, tuning_line
from sweeps.running.progress import clock
from sweeps.running.ray_tune import Outcome
from sweeps.running.speed import CPU, Speed
from sweeps.store.store import Store
from sweeps.tuning.tuned_grid import TunedGrid, TuningPlan
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import Images, load_images
from trainers.schedule import SHAPES

RULE_BASE = 0.2     # --lr rule: lr = 0.2 / sqrt(fan_in), near the tuned rates of middling widths


@dataclass(frozen=True)
class Plan:
    """What the arguments ask for."""

    name: str
    grid: Grid
    tuning: TuningPlan | None   # None: the rates are given
    recipe: Callable[[Cell, float], Recipe]
    lr: float                   # where the rates are given

    def jobs(self) -> list[CellJob]:
        """Of the grid, at the given rate."""
        return [CellJob(cell, self.recipe(cell, self.lr)) for cell in self.grid.cells()]


def plan_of(args: argparse.Namespace) -> Plan:
    """Raises ValueError, one line, for whatever no sweep can do."""
    if args.preset not in PRESETS:
        raise ValueError(f"unknown preset {args.preset!r}: choose one of {', '.join(PRESETS)}")
    if args.schedule not in SHAPES:
        raise ValueError(f"unknown schedule {args.schedule!r}: choose one of {', '.join(SHAPES)}")
    if args.precision not in PRECISIONS:
        raise ValueError(f"unknown precision {args.precision!r}: choose one of {', '.join(PRECISIONS)}")
    preset = PRESETS[args.preset]
    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds}: give at least 1")
    grid = override(preset.grid, widths=args.widths, fractions=args.fractions, dropouts=args.dropouts,
                    seeds=None if args.seeds is None else seeds(args.seeds))
    batch = BatchRule(full=args.batch_size, power=args.batch_power)
    rule = "fan_in" if args.lr == "rule" else "uniform"

    def recipe(cell: Cell, lr: float) -> Recipe:
        return Recipe(lr=lr, batch_size=batch(cell.fraction), lr_rule=rule, schedule=args.schedule,
                      precision=args.precision)

    return Plan(name=args.preset, grid=grid, tuning=_tuning_plan(args, preset, grid), recipe=recipe, lr=_given_rate(args.lr))


def _tuning_plan(args: argparse.Namespace, preset: Preset, grid: Grid) -> TuningPlan | None:
    if args.lr != "tuned":
        return None
    by = tuple(args.tune_by.split(","))
    if set(by) - {"width", "fraction", "dropout"} or "width" not in by:
        raise ValueError(f"--tune-by {args.tune_by}: give width, and of fraction and dropout what is to have rates of its own")
    middle = sorted(grid.fractions)[len(grid.fractions) // 2]
    return TuningPlan(by=by, fraction=middle, dropout=min(grid.dropouts), trials=preset.tune_trials, seeds=preset.tune_seeds)


def _given_rate(text: str) -> float:
    if text in ("tuned", "rule"):
        return RULE_BASE
    try:
        lr = float(text)
    except ValueError:
        raise ValueError(f"--lr {text}: give tuned, rule, or a number above 0") from None
    if not 0 < lr < float("inf"):
        raise ValueError(f"--lr {text}: a learning rate lies above 0")
    return lr


def run_study(args: argparse.Namespace) -> int:
    """Run what `args` ask for; 0, or 1 where cells failed or the sweep was stopped.

    Raises ValueError (StoreError, ConnectError, DatasetError) before anything is trained or written.
    """
    plan = plan_of(args)
    images = load_images(args.dataset, args.data_root)
    shape = shape_of(images)
    for job in plan.jobs():
        job.cost(shape)  # refuses a fraction with fewer images than a batch
    print(describe(plan, images, shape))
    if args.dry_run:
        return 0
    return conduct(
        args, images,
        provenance=provenance(grid=asdict(plan.grid), tuning=asdict(plan.tuning) if plan.tuning else None,
                              lr=None if plan.tuning else plan.lr),
        source_of=lambda store, seconds: source_of(plan, store, seconds=seconds, classes=images.classes),
        closing=lambda store, source, outcome: closing_lines(store, source, plan, outcome, args.out))


def source_of(plan: Plan, store: Store, *, seconds: Callable[[Job], float], classes: int) -> JobList | TunedGrid:
    """The plan's jobs, less what the store has.

    Raises StoreError where the store holds one of the plan's cells trained by another recipe.
    """
    if plan.tuning is None:
        jobs = plan.jobs()
        refuse_other_recipes(store, dict.fromkeys(jobs, True))
        return JobList([job for job in jobs if job.identities()[0] not in store.results], seconds=seconds)
    source = TunedGrid(plan.grid.cells(), plan=plan.tuning, recipe_of=plan.recipe, store=store, seconds=seconds, classes=classes)
    refuse_other_recipes(store, source.wanted())
    return source


def describe(plan: Plan, images: Images, shape: Shape) -> str:
    """The plan, before anything runs."""
    grid = plan.grid
    cost = total_cost(plan.jobs(), shape)
    lines = [f"{images.name}, {plan.name}: {len(grid.widths)} widths x {len(grid.fractions)} fractions x "
             f"{len(grid.seeds)} seeds x {len(grid.dropouts)} dropouts = {len(grid.cells())} cells, "
             f"{cost.flops:.2g} training FLOPs, {cost.steps:,} steps"]
    if plan.tuning:
        groups = len({plan.tuning.group_of(cell) for cell in grid.cells()})
        lines.append(f"learning rates tuned by {', '.join(plan.tuning.by)}: {groups} Optuna studies, about "
                     f"{plan.tuning.trials} rates x {plan.tuning.seeds} seeds each = {groups * plan.tuning.trials * plan.tuning.seeds} runs")
    cores = os.cpu_count() or 1
    lines.append(f"estimate for this machine alone: {clock(_estimate(plan, shape, CPU) / cores)} on {cores} cores")
    return "\n".join(lines)


def _estimate(plan: Plan, shape: Shape, speed: Speed) -> float:
    jobs: list[CellJob] = plan.jobs()
    if plan.tuning:
        groups = {plan.tuning.group_of(job.cell) for job in jobs}
        jobs = jobs + [CellJob(cell, plan.recipe(cell, plan.lr)) for group in groups
                       for cell in [Cell(**asdict(group), seed=0)]] * (plan.tuning.trials * plan.tuning.seeds)
    return sum(speed.seconds(job.cost(shape)) for job in jobs)


def closing_lines(store: Store, source: Source, plan: Plan, outcome: Outcome, out: str) -> str:
    """What the table holds now, and whether it can answer the question."""
    cells = set(plan.grid.cells())
    rows = [row for row in store.results.values()
            if Cell(**{name: getattr(row, name) for name in Cell.__dataclass_fields__}) in cells]
    lines = [f"{len(rows)} of {len(cells)} cells done, {outcome.finished} runs in this sweep, {outcome.failed} failed"]
    if rows:
        best = max(rows, key=lambda row: row.val_accuracy)
        lines.append(f"best accuracy {best.val_accuracy:.4f} (width {best.width:g}, fraction {best.fraction:g}, "
                     f"dropout {best.dropout:g}), lowest loss {min(row.val_loss for row in rows):.4f} nats")
    if isinstance(source, TunedGrid) and source.tuned:
        lines.append(tuning_line(source.tuned.values()))
    lines += isoflop_lines(rows)
    if store.failures:
        lines.append(f"{len(store.failures)} cells failed, with the reason in the table of failures; "
                     "the same command tries them again")
    if outcome.interrupted:
        lines.append("stopped early: the same command goes on from here")
    lines.append(f"wrote {out}; next: python analysis/fit.py {out}")
    return "\n".join(lines)


def isoflop_lines(rows: Sequence) -> list[str]:
    """For each dropout: at how many compute budgets the best size lies inside the grid, diverged runs left out as fit.py does."""
    import numpy as np

    from analysis.approaches.isoflop import fit_isoflop
    from analysis.estimates.refusal import Refusal
    from analysis.table.exclusions import diverged_from
    lines = []
    for dropout in sorted({row.dropout for row in rows}):
        some = [row for row in rows if row.dropout == dropout and row.val_loss < diverged_from(row.dataset)]
        if not some:
            lines.append(f"isoFLOP, dropout {dropout:g}: every run diverged, or ended near the loss of knowing nothing")
            continue
        try:
            fit = fit_isoflop(*(np.array([float(getattr(row, name)) for row in some])
                                for name in ("params", "samples", "val_loss", "flops")))
        except Refusal as refusal:
            lines.append(f"isoFLOP, dropout {dropout:g}: {refusal}")
        else:
            lines.append(f"isoFLOP, dropout {dropout:g}: optimum bracketed at {len(fit.minima)} of "
                         f"{len(fit.minima) + len(fit.refused)} budgets over {fit.decades:.1f} decades, N* ~ C^{fit.a}")
    return lines
