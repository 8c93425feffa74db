"""The lab from Python: a grid or a search over your own training function, as a table.

    from sweeps.lab import sweep

    def train(depth: int, tokens: int, lr: float = 3e-4, seed: int = 0) -> dict: ...

    rows = sweep(train, {"depth": [2, 4, 8], "tokens": [1e5, 2e5, 4e5]}, seeds=3,
                 tune={"lr": (1e-4, 1e-1)}, by=["depth"], out="r.parquet")
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sweeps.jobs.grid import grid_of, valued
from sweeps.jobs.listed import listed_cells, read_listing
from sweeps.running.conduct import Machines
from sweeps.studies.grid import GridPlan, plan_cells, plan_grid, run_grid
from sweeps.studies.search import run_search
from sweeps.studies.search_plan import SearchPlan, plan_search
from trainers.columns import columns, names
from trainers.lookup import task_of
from trainers.task import Preset, Task, Tuning


def sweep(task: str | Callable | Task, grid: Mapping[str, Sequence] | None = None, *, out: str, preset: str | None = None,
          seeds: int | None = None, choices: Mapping[str, object] | None = None, tune: Mapping[str, tuple] | None = None,
          by: Sequence[str] | None = None, trials: int | None = None, tune_seeds: int | None = None,
          at: Mapping[str, object] | None = None, options: Mapping[str, object] | None = None, **machines: object) -> pd.DataFrame:
    """Train every cell of the grid that `out` lacks, and return all rows.

    `task`: a function, a Task, or what names one. `grid`: values by axis. `choices`: other settings, equal in
    all cells. `tune`: name -> (low, high) of one choice, with a value for each combination of the axes `by`.
    `options`: of the task's own load(). `machines`: fields of sweeps.running.conduct.Machines, as address="auto".
    Raises ValueError, one line, for what can't be done, before anything is trained. Failures of cells are in
    NAME.failures.parquet.
    """
    plan = planned_grid(task, grid, preset=preset, seeds=seeds, choices=choices, tune=tune, by=by, trials=trials,
                        tune_seeds=tune_seeds, at=at, options=options)
    run_grid(plan, out=out, machines=Machines(**machines))
    return pd.read_parquet(out)


def search(task: str | Callable | Task, space: Mapping[str, str] | None = None, *, out: str, budget: float, cost: str = "flops",
           max_cost: float | None = None, choices: Mapping[str, object] | None = None, runs: int | None = None, seed: int = 0,
           options: Mapping[str, object] | None = None, **machines: object) -> pd.DataFrame:
    """Let CARBS choose runs until their cost adds up to `budget`, and return all rows.

    `space`: dimension by name, as "log:3e-4" (sweeps.carbs.grammar). `cost`: the column that a run is charged by,
    or "seconds". Raises ValueError, one line, for what can't be done, before anything is trained.
    """
    plan = planned_search(task, space, budget=budget, cost=cost, max_cost=max_cost, choices=choices, runs=runs, seed=seed, options=options)
    run_search(plan, out=out, machines=Machines(**machines))
    return pd.read_parquet(out)


def planned_grid(named: str | Callable | Task, grid: Mapping[str, Sequence] | None = None, *, preset: str | None = None,
                 seeds: int | None = None, choices: Mapping[str, object] | None = None, tune: Mapping[str, tuple] | None = None,
                 by: Sequence[str] | None = None, trials: int | None = None, tune_seeds: int | None = None,
                 at: Mapping[str, object] | None = None, options: Mapping[str, object] | None = None) -> GridPlan:
    """What sweep() would train. Raises ValueError, one line, for what can't be done."""
    task = task_of(named, axes=[name for name in grid or () if name != "seed"])
    given = _preset(task, preset) if preset or not grid else Preset({}, 1)
    said, options = settings_among(task, options or {})
    grid = joined(grid or {}, {name: (value,) for name, value in said.items() if name in given.axes})
    choices = joined(choices or {}, {name: value for name, value in said.items() if name not in given.axes})
    axes = {**given.axes, **{name: values if isinstance(values, tuple) else tuple(values) for name, values in grid.items()}}
    seed_names = names(task.cell, "repeat")
    own_seeds = next((axes.pop(name) for name in seed_names if name in axes), None)   # seeds by their values
    made = grid_of(task, axes, seeds if seeds is not None else 1 if own_seeds else given.seeds, {**given.choices, **choices},
                   seed_values=own_seeds)
    tuning = _tuning(task, made.axes, given.tuning, tune, by, trials, tune_seeds, at)
    if tuning and not tune and tuning.choice in made.choices:
        tuning = None   # the preset's: a value that is given needs none
    data = task.load(**options_of(task, options))
    return plan_grid(task, data, made, tuning=tuning, name=preset or "")


def planned_cells(named: str | Callable | Task, file: str, *, choices: Mapping[str, object] | None = None,
                  options: Mapping[str, object] | None = None) -> GridPlan:
    """The cells that a CSV file lists. Raises ValueError, one line, for what can't be done."""
    listing = read_listing(file)
    task = task_of(named, axes=listing.on_grid)
    cells = listed_cells(task, listing, choices or {})
    return plan_cells(task, task.load(**options_of(task, options or {})), cells, name=Path(file).name)


def planned_search(named: str | Callable | Task, space: Mapping[str, str] | None = None, *, budget: float, cost: str,
                   max_cost: float | None = None, choices: Mapping[str, object] | None = None, runs: int | None = None,
                   seed: int = 0, options: Mapping[str, object] | None = None) -> SearchPlan:
    """What search() would run. Raises ValueError, one line, for what can't be done."""
    task = task_of(named)
    said, options = settings_among(task, options or {})
    data = task.load(**options_of(task, options))
    return plan_search(task, data, space or {}, settings=joined(choices or {}, said), cost=cost, budget=budget, max_cost=max_cost,
                       seed=seed, runs=runs)


def settings_among(task: Task, given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Options that are the task's settings (`--game starpilot` is `--set game=starpilot`), and those that are its load()'s.

    Raises ValueError where a setting has several values.
    """
    known = {*names(task.cell, "axis", "choice")} - {*inspect.signature(task.load).parameters}
    for name, value in given.items():
        if name in known and isinstance(value, (list, tuple)):
            raise ValueError(f"--{name.replace('_', '-')} {' '.join(map(str, value))}: give one value; a grid takes several as "
                             f"--grid {name}={','.join(map(str, value))}")
    return {name: given[name] for name in given if name in known}, {name: given[name] for name in given if name not in known}


def joined(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    """Both together. Raises ValueError for a name in both."""
    if both := sorted({*one} & {*other}):
        raise ValueError(f"{both[0]} is given twice: once as --{both[0].replace('_', '-')}")
    return {**one, **other}


def options_of(task: Task, given: Mapping[str, object]) -> dict[str, object]:
    """The task's own options, each in the type of its default. Raises ValueError for one that its load() does not take."""
    known = inspect.signature(task.load).parameters
    for name in given:
        if name not in known:
            offered = ", ".join(f"--{n.replace('_', '-')}" for n in known) or "none"
            raise ValueError(f"{task.name} has no option --{name.replace('_', '-')}: its own options are {offered}")
    made = {}
    for name, value in given.items():
        kind = type(known[name].default)
        if isinstance(value, (list, tuple)) and "Sequence" not in str(known[name].annotation):
            raise ValueError(f"--{name.replace('_', '-')} {' '.join(map(str, value))}: give one value")
        try:
            made[name] = kind(value) if kind in (int, float) and isinstance(value, str) else value
        except ValueError:
            raise ValueError(f"--{name.replace('_', '-')} {value}: give {'a whole number' if kind is int else 'a number'}") from None
    return made


def _preset(task: Task, name: str | None) -> Preset:
    if not task.presets:
        raise ValueError(f"{task.name} has no presets: give its axes, as in --grid depth=2,4,8 tokens=1e5,2e5")
    name = name or next(iter(task.presets))
    if name not in task.presets:
        raise ValueError(f"{task.name} has no preset {name!r}: choose one of {', '.join(task.presets)}")
    return task.presets[name]


def _tuning(task: Task, axes: Mapping[str, tuple], preset: Tuning | None, tune: Mapping[str, tuple] | None, by: Sequence[str] | None,
            trials: int | None, seeds: int | None, at: Mapping[str, object] | None) -> Tuning | None:
    """The preset's, with what is said otherwise."""
    if tune and len(tune) > 1:
        raise ValueError(f"--tune {' '.join(tune)}: a grid tunes one choice; for several, see sweeps/search.py")
    if not tune and preset is None:
        if by or at:
            raise ValueError("--by and --at say where a choice is tuned: say which, as in --tune lr=1e-4:1e-1")
        return None
    choice, (low, high) = next(iter(tune.items())) if tune else (preset.choice, (preset.low, preset.high))
    same = preset is not None and preset.choice == choice
    by = tuple(by) if by is not None else preset.by if same else ()
    kinds = {c.name: c for c in columns(task.cell)}
    if absent := [name for name in (*by, *(at or {})) if name not in axes]:
        raise ValueError(f"{absent[0]} is no axis of this grid: it has {', '.join(axes)}")
    at = {name: valued(kinds[name], value) for name, value in (at or {}).items()}
    at = {**({name: value for name, value in preset.at.items() if name in axes} if same else {}), **at}
    return Tuning(choice, float(low), float(high), by=by, start=preset.start if same and low <= (preset.start or low) <= high else None,
                  trials=trials or (preset.trials if same else Tuning.trials), seeds=seeds or (preset.seeds if same else Tuning.seeds),
                  at={name: value for name, value in at.items() if name not in by})
