"""What a search is asked for: read from what the user wrote, and refused where it can't be done."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.carbs.grammar import dimension
from sweeps.carbs.observation import whole
from sweeps.carbs.space import Space
from sweeps.jobs.grid import missing, valued
from trainers.columns import columns, lettered, names
from trainers.task import Task

DEAREST_SHARE = 0.1  # of the budget that one run may cost, unless --max-cost says otherwise
SECONDS = "seconds"  # a cost that every task has


@dataclass(frozen=True)
class SearchPlan:
    """What a search is asked for."""

    task: Task
    data: object
    space: Space
    settings: Mapping[str, object]   # of every run, beside what is searched
    cost: str                        # the column that is a run's cost, or SECONDS
    budget: float                    # of all runs together, in units of cost
    max_cost: float                  # of one run
    seed: int = 0
    runs: int | None = None          # at most

    def cell(self, config: Mapping[str, object], *, seed: int) -> object:
        repeats = names(self.task.cell, "repeat")
        return self.task.cell(**{**self.task.recipe(config), **self.settings, **config}, **({repeats[0]: seed} if repeats else {}))

    def planned(self, config: Mapping[str, object]) -> float | None:
        """What a run is going to cost, where that is known beforehand."""
        if self.cost == SECONDS or self.task.row is None or lettered(self.task.row, "C") != self.cost:
            return None
        cost = self.task.cost([self.cell(config, seed=0)], self.data)
        return None if cost is None else cost.flops

    def cost_column(self, kind: type) -> str:
        """Raises ValueError where runs of this row type have no such column."""
        name = next((c.name for c in columns(kind) if c.role == "clock" and c.unit == "s"), None) if self.cost == SECONDS else self.cost
        if name not in kind.__dataclass_fields__:
            raise ValueError(f"--cost {self.cost}: the runs measure {', '.join(names(kind, 'measured'))}: give one of these, or seconds")
        return name

    def cost_of(self, row: object) -> float:
        """Raises ValueError where the run has no such column, or no cost in it."""
        name = self.cost_column(type(row))
        value = getattr(row, name)
        if isinstance(value, str) or not 0 < value < math.inf:
            raise ValueError(f"--cost {self.cost}: a run measured {name} = {value!r}, and what a run costs is a number above 0: "
                             "mend the function, or give another column or seconds")
        return float(value)


def plan_search(task: Task, data: object, dimensions: Mapping[str, str], *, settings: Mapping[str, object], cost: str, budget: float,
                max_cost: float | None = None, seed: int = 0, runs: int | None = None) -> SearchPlan:
    """Raises ValueError, one line, for what can't be done."""
    known = {c.name: c for c in columns(task.cell)}
    # Of the task's own dimensions, a setting takes one out.
    dimensions = dimensions or {name: text for name, text in task.search.items() if name not in settings}
    if not dimensions:
        raise ValueError(f"{task.name} has no search of its own: say what to search, as in --search lr=log:3e-3 depth=log:4")
    for name in (*dimensions, *settings):
        if name not in known:
            raise ValueError(f"{task.name} takes no {name}: it takes {', '.join(known)}")
        if known[name].role == "repeat":
            raise ValueError(f"{name} is a repetition, which a search draws itself: leave it out")
    if not 0 < budget < math.inf:
        raise ValueError(f"--budget {budget:g}: give the {cost} that all runs together may cost, above 0")
    if max_cost is not None and not 0 < max_cost <= budget:
        raise ValueError(f"--max-cost {max_cost:g}: give the {cost} that one run may cost, above 0 and not above the --budget of "
                         f"all, {budget:g}")
    if runs is not None and runs < 1:
        raise ValueError(f"--runs {runs}: give 1 or more, or leave it out: the search ends where its budget is spent")
    if both := sorted({*dimensions} & {*settings}):
        raise ValueError(f"{both[0]} is both searched and set: leave one of them out")
    settings = {**task.search_settings, **{name: valued(known[name], value) for name, value in settings.items()}}
    settings = {name: value for name, value in settings.items() if name not in dimensions}
    space = Space({name: dimension(text, known[name].kind) for name, text in dimensions.items()})
    if absent := missing(task, [*dimensions, *settings, *names(task.cell, "repeat")]):
        raise ValueError(f"{task.name} needs {', '.join(absent)}: add --search {absent[0]}=log:..., or --set {absent[0]}=...")
    plan = SearchPlan(task, data, space, settings, cost, budget, DEAREST_SHARE * budget if max_cost is None else max_cost,
                      whole("--seed", seed), runs)
    if task.row is not None:   # of a function's the first run tells
        plan.cost_column(task.row)
    task.check(plan.cell(space.center(), seed=0), data)
    first = plan.planned(space.center())
    if first is not None and plan.max_cost <= first:
        raise ValueError(f"the search starts from a run of {first:.2g} {cost}, and none may cost more than {plan.max_cost:.2g}: give a "
                         f"--budget of {10 * first / DEAREST_SHARE:.1g} or more, or a larger --max-cost")
    return plan
