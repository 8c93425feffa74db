"""Which choice a sweep tuned, and against which axis: by the trials that it kept, or by the rates its runs were given."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import NotIdentified
from analysis.table.groups import coded, driven
from analysis.table.roles import Description
from analysis.table.runs import Runs, Table

RATE = "lr"   # of several tuned choices the one whose law is asked for


@dataclass(frozen=True)
class Tuning:
    """Values of one choice, each with where it was tried and what came of it."""

    choice: str        # the column that was tuned
    against: str       # the axis its law is in, or params
    size: np.ndarray = field(repr=False)    # (n,) of that axis
    place: np.ndarray = field(repr=False)   # (n,) code of the other axes' values
    value: np.ndarray = field(repr=False)   # (n,) of the choice
    loss: np.ndarray = field(repr=False)    # (n,)
    rules: tuple[str, ...] = ()             # how the rate is divided in the layers, where the table says it


def tuning_of(table: Table) -> Tuning:
    """Of a table of trials: the choice that varies where all axes are equal. Raises NotIdentified where none does."""
    runs, description = _whole(table), table.description
    axes = _numeric(description, runs, "axis")
    place = distinct(np.zeros(len(runs)), *(runs.extra[name] for name in axes))
    tuned = [name for name in _numeric(description, runs, "choice")
             if distinct(place, runs.extra[name]).max() > place.max() and (runs.extra[name] > 0).all()]
    if not tuned:
        raise NotIdentified("no choice varies among trials of one place: nothing was tuned")
    return _against(RATE if RATE in tuned else tuned[0], axes, description, runs)


def given_rates(table: Table) -> Tuning | None:
    """Of a table without its trials: the rate that each of the first group's sizes was given; None where it says nothing."""
    runs, description = table.groups[0].runs, table.description
    if RATE not in _numeric(description, runs, "choice") or not (runs.extra[RATE] > 0).all():
        return None
    tuning = _against(RATE, _numeric(description, runs, "axis"), description, runs)
    one_each = distinct(tuning.size, tuning.value).max() == distinct(tuning.size).max()
    return tuning if tuning.rules or one_each and len(np.unique(tuning.value)) > 1 else None


def _whole(table: Table) -> Runs:
    if len(table.groups) != 1:
        raise ValueError(f"trials are read without groups, got {len(table.groups)}")
    return table.groups[0].runs


def _numeric(description: Description, runs: Runs, role: str) -> tuple[str, ...]:
    """Columns of numbers of that role, none missing."""
    return tuple(n for n in description.named(role, text=False) if n in runs.extra and np.isfinite(runs.extra[n]).all())


def _against(choice: str, axes: Sequence[str], description: Description, runs: Runs) -> Tuning:
    """Against the one axis that moves N, else the one that moves D, of those that vary; against N where several move it."""
    varied = [name for name in axes if len(np.unique(runs.extra[name])) > 1 and (runs.extra[name] > 0).all()]
    codes = coded({name: runs.extra[name] for name in axes}, {})
    laws = {name: description.columns[name].law for name in varied}
    of_N, of_D = ([name for name in varied if laws[name] == letter or not laws[name] and driven(name, codes, {letter: value})]
                  for letter, value in (("N", runs.N), ("D", runs.D)))
    found = of_N if len(of_N) == 1 else of_D if not of_N and len(of_D) == 1 else []
    against = found[0] if found else "params"
    size = runs.extra[against] if found else runs.N
    others = [runs.extra[name] for name in axes if name != against]
    rules = tuple(sorted(set(runs.extra["lr_rule"]))) if "lr_rule" in runs.extra else ()
    return Tuning(choice, against, size, distinct(np.zeros(len(runs)), *others), runs.extra[choice], runs.L, rules)
