"""A grid swept: from what is asked for to a full table, whatever the task."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from analysis.approaches.isoflop import fit_isoflop
from analysis.estimates.refusal import Refusal
from analysis.table.exclusions import DIVERGED
from sweeps.jobs.grid import Grid, cell_of, missing
from sweeps.jobs.job import Job, jobs_of
from sweeps.jobs.source import JobList
from sweeps.running.conduct import Machines, conduct, provenance, refuse_other_choices
from sweeps.running.progress import clock
from sweeps.running.ray_tune import Outcome
from sweeps.store.store import Store
from sweeps.tuning.bracket import Tuned
from sweeps.tuning.tuned_grid import MakeCell, TunedGrid, TuningPlan, plan_of
from trainers.columns import columns, lettered, names
from trainers.cost import Cost
from trainers.task import Task, Tuning


@dataclass(frozen=True)
class GridPlan:
    """What a sweep of a grid trains."""

    task: Task
    data: object
    name: str                   # of the preset, or of nothing
    grid: Grid
    tuning: TuningPlan | None   # None: every choice is given
    make_cell: MakeCell

    def places(self) -> list[tuple[dict[str, object], int]]:
        return [(axes, seed) for axes in self.grid.settings() for seed in self.grid.seeds]

    def cells(self) -> list[object]:
        """Of the grid; a choice yet to be tuned is put at its start."""
        tuned = {self.tuning.tuning.choice: self.tuning.start} if self.tuning else {}
        return sorted({self.make_cell(axes, seed=seed, **tuned) for axes, seed in self.places()})

    def trials(self) -> list[object]:
        """About the cells that tuning trains, at the start."""
        if not self.tuning:
            return []
        groups, tuning = sorted({self.tuning.group_of(axes) for axes in self.grid.settings()}), self.tuning.tuning
        return [self.make_cell(self.tuning.settings(group), seed=0, **{tuning.choice: tuning.start})
                for group in groups for _ in range(tuning.trials * tuning.seeds)]

    def design(self) -> dict:
        """For the table's provenance."""
        return {"grid": {"axes": {k: list(v) for k, v in self.grid.axes.items()}, "seeds": len(self.grid.seeds),
                         "choices": dict(self.grid.choices)},
                "tuning": asdict(self.tuning) if self.tuning else None}


@dataclass(frozen=True)
class CellsPlan(GridPlan):
    """Cells that a file lists: no grid, and nothing to tune."""

    listed: tuple = ()

    def cells(self) -> list[object]:
        return sorted(self.listed)

    def design(self) -> dict:
        return {"cells": {"file": self.name, "count": len(self.listed)}}


def plan_cells(task: Task, data: object, cells: Sequence[object], *, name: str) -> CellsPlan:
    """Raises ValueError, one line, for a cell that can't be trained."""
    for cell in dict.fromkeys(replace_seed(task, cell) for cell in cells):
        task.check(cell, data)
    return CellsPlan(task, data, name, Grid({}), None, partial(cell_of, task), tuple(cells))


def plan_grid(task: Task, data: object, grid: Grid, *, tuning: Tuning | None = None, name: str = "",
              make_cell: MakeCell | None = None) -> GridPlan:
    """Raises ValueError, one line, for whatever no sweep can do: before anything is trained or written."""
    plan = plan_of(task, tuning, grid) if tuning else None
    make_cell = make_cell or partial(cell_of, task, **grid.choices)
    made = GridPlan(task, data, name, grid, plan, _carrying(task, plan, make_cell) if plan else make_cell)
    given = {*grid.axes, *grid.choices, *names(task.cell, "repeat"), *([tuning.choice] if tuning else ())}
    if (absent := missing(task, given)):
        raise ValueError(f"{task.name} needs {', '.join(absent)}, which the grid does not name: add --grid {absent[0]}=..., "
                         f"or --set {absent[0]}=...")
    for cell in {replace_seed(task, cell) for cell in made.cells()}:
        task.check(cell, data)
    return made


def _carrying(task: Task, plan: TuningPlan, make_cell: MakeCell) -> MakeCell:
    """Makes cells whose tuned value is what the task carries it to from where it was tuned."""
    choice = plan.tuning.choice

    def make(axes: Mapping[str, object], **given: object) -> object:
        at = plan.settings(plan.group_of(axes))
        return make_cell(axes, **{**given, choice: task.carried(choice, given[choice], at, axes)})

    return make


def replace_seed(task: Task, cell: object) -> object:
    """The cell with its first seed: what a check of the settings needs to see once."""
    repeats = names(task.cell, "repeat")
    return replace(cell, **dict.fromkeys(repeats, 0)) if repeats else cell


def run_grid(plan: GridPlan, *, out: str, machines: Machines, dry_run: bool = False) -> int:
    """Print the plan and run it; 0, or 1 where cells failed or the sweep was stopped.

    Raises ValueError (StoreError, ConnectError) before anything is trained or written.
    """
    print(describe(plan, device=machines.device))
    if dry_run:
        return 0
    return conduct(plan.task, plan.data, out=out, machines=machines, provenance=provenance(task=plan.task.name, **plan.design()),
                   source_of=lambda store, seconds: source_of(plan, store, seconds=seconds, most=machines.pack),
                   closing=lambda store, source, outcome: closing_lines(plan, store, source, outcome, out))


def source_of(plan: GridPlan, store: Store, *, seconds: Callable[[Job], float], most: int = 1) -> JobList | TunedGrid:
    """The plan's jobs, less what the store has.

    Raises StoreError where the store holds one of the plan's places trained with other choices.
    """
    if plan.tuning is None:
        cells = plan.cells()
        refuse_other_choices(plan.task, store, dict.fromkeys(cells, True))
        jobs = jobs_of(plan.task, cells, most=most)
        return JobList([job for job in jobs if any(i not in store.results for i in job.identities())], seconds=seconds)
    source = TunedGrid(plan.task, plan.places(), plan=plan.tuning, make_cell=plan.make_cell, store=store, seconds=seconds,
                       hopeless=plan.task.hopeless(plan.data), most=most)
    refuse_other_choices(plan.task, store, source.wanted(), plan.tuning.tuning.choice)
    return source


def total_cost(task: Task, runs: Sequence[Sequence[object]], data: object) -> Cost | None:
    """Of all runs: cells that one run trains on its way to the longest cost no more than that run."""
    costs = [task.cost(cells, data) for cells in runs]
    return sum(costs, Cost(0.0)) if costs and None not in costs else None


def describe(plan: GridPlan, *, device: str = "cpu") -> str:
    """The plan, before anything runs."""
    cells, trials = plan.cells(), plan.trials()
    runs = plan.task.runs(cells, most=1)
    cost = total_cost(plan.task, runs, plan.data)
    steps = f", {cost.steps:,} steps" if cost and cost.steps else ""
    spent = f", {cost.flops:.2g} training FLOPs{steps}" if cost else ""
    grid = "" if isinstance(plan, CellsPlan) else f"{plan.grid} = "
    lines = [f"{plan.task.name}{f', {plan.name}' if plan.name else ''}: {grid}{len(cells)} cell{'' if len(cells) == 1 else 's'}"
             f"{f' in {len(runs)} runs' if len(runs) < len(cells) else ''}{spent}"]
    if plan.tuning:
        tuning = plan.tuning.tuning
        groups = len(trials) // (tuning.trials * tuning.seeds)
        where = f" by {', '.join(tuning.by)}" if tuning.by else ""
        lines.append(f"{tuning.choice} tuned{where} between {tuning.low:g} and {tuning.high:g}: {groups} Optuna "
                     f"{'study' if groups == 1 else 'studies'}, about {tuning.trials} values x {tuning.seeds} "
                     f"seed{'' if tuning.seeds == 1 else 's'} each = {len(trials)} runs")
    if speed := plan.task.speed("cuda" if device == "cuda" else "cpu"):
        seconds = [speed.seconds(plan.task.cost(together, plan.data)) for together in (*runs, *((cell,) for cell in trials))]
        places, kind = (1, "GPU") if device == "cuda" else (os.cpu_count() or 1, "core")
        # No run is on two cores: the longest takes its time however many there are.
        lines.append(f"estimate for this machine alone: {clock(max(sum(seconds) / places, max(seconds, default=0.0)))} on {places} "
                     f"{kind}{'' if places == 1 else 's'}")
    return "\n".join([*lines, *(f"note: {text}" for text in plan.task.remarks(cells))])


def closing_lines(plan: GridPlan, store: Store, source: JobList | TunedGrid, outcome: Outcome, out: str) -> str:
    """What the table holds now, and whether it can answer the question."""
    cells = {_untuned(plan, cell) for cell in plan.cells()}
    rows = [row for row in store.results.values() if _untuned(plan, row) in cells]
    lines = [f"{len(rows)} of {len(cells)} cells done, {outcome.finished} runs in this sweep, {outcome.failed} failed"]
    if rows:
        lines += best_lines(rows)
    if isinstance(source, TunedGrid) and source.tuned:
        lines.append(tuning_line(plan.tuning.tuning.choice, source.tuned.values()))
    lines += isoflop_lines(plan, rows)
    return "\n".join([*lines, *last_lines(store, outcome, out)])


def last_lines(store: Store, outcome: Outcome, out: str) -> list[str]:
    """How every sweep ends: what failed, what to do, where it lies."""
    lines = []
    if store.failures:
        count = len(store.failures)
        lines.append(f"{count} cell{'' if count == 1 else 's'} failed, with the reason in the table of failures; "
                     "the same command tries them again")
    if outcome.interrupted:
        lines.append("stopped early: the same command goes on from here")
    lines.append(f"wrote {out}; next: python analysis/fit.py {out}" if store.results else f"no cell finished, so {out} holds no row yet")
    return lines


def _untuned(plan: GridPlan, row: object) -> tuple:
    """What identifies a row but for the tuned choice."""
    tuned = plan.tuning.tuning.choice if plan.tuning else None
    return tuple(getattr(row, name) for name in names(plan.task.cell, "axis", "choice", "repeat") if name != tuned)


def best_lines(rows: Sequence[object]) -> list[str]:
    """The best accuracy, where there is one, and the lowest loss."""
    kind = type(rows[0])
    loss, accuracy = lettered(kind, "L"), lettered(kind, "accuracy")
    best = max(rows, key=lambda row: getattr(row, accuracy)) if accuracy else min(rows, key=lambda row: getattr(row, loss))
    at = ", ".join(f"{c.name} {getattr(best, c.name):g}" if c.kind in (int, float) else f"{c.name} {getattr(best, c.name)}"
                   for c in columns(kind) if c.role == "axis" and len({getattr(row, c.name) for row in rows}) > 1)
    at = f" ({at})" if at else ""
    if accuracy:
        return [f"best accuracy {getattr(best, accuracy):.4f}{at}, lowest loss {min(getattr(row, loss) for row in rows):.4f}"]
    return [f"lowest loss {getattr(best, loss):.4g}{at}"]


def tuning_line(choice: str, verdicts: Sequence[Tuned]) -> str:
    verdicts = list(verdicts)
    bracketed = sum(verdict.bracketed for verdict in verdicts)
    return f"{choice} bracketed in {bracketed} of {len(verdicts)} studies"


def isoflop_lines(plan: GridPlan, rows: Sequence[object]) -> list[str]:
    """For each group of runs that one law may hold for: at how many compute budgets the best size lies inside the grid.

    Runs that learnt nothing are left out, as the analysis does.
    """
    if not rows or None in (letters := [lettered(type(rows[0]), letter) for letter in "NDLC"]):
        return []
    limit, lines = DIVERGED * plan.task.hopeless(plan.data), []
    splitting = _splitting_axes(rows, letters)
    for label in sorted({tuple(getattr(row, name) for name in splitting) for row in rows}):
        named = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in zip(splitting, label))
        head = f"isoFLOP{f', {named}' if named else ''}"
        some = [row for row in rows if tuple(getattr(row, name) for name in splitting) == label
                and math.isfinite(getattr(row, letters[2])) and getattr(row, letters[2]) < limit]
        if not some:
            lines.append(f"{head}: every run diverged, or ended near the loss of knowing nothing")
            continue
        try:
            fit = fit_isoflop(*(np.array([float(getattr(row, name)) for row in some]) for name in letters))
        except Refusal as refusal:
            lines.append(f"{head}: {refusal}")
        else:
            lines.append(f"{head}: optimum bracketed at {len(fit.minima)} of "
                         f"{len(fit.minima) + len(fit.refused)} budgets over {fit.decades:.1f} decades, N* ~ C^{fit.a}")
    return lines


def _splitting_axes(rows: Sequence[object], letters: Sequence[str]) -> tuple[str, ...]:
    """Axes with several values that change neither N nor D: along them there are several laws, not one."""
    axes = [name for name in names(type(rows[0]), "axis") if len({getattr(row, name) for row in rows}) > 1]
    sizes = {}
    for row in rows:
        sizes.setdefault((getattr(row, letters[0]), getattr(row, letters[1])), []).append(row)
    return tuple(name for name in axes if any(len({getattr(row, name) for row in same}) > 1 for same in sizes.values()))
