"""Which choices a table varies, so that their best values can be told: by role where the table says it, by name else."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.choices.laws import ChoiceLaws, fit_choices
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Refusal
from analysis.table.roles import Description
from analysis.table.runs import Runs

VALUES, CELLS = 3, 3    # of a choice in a cell, and of such cells: a bowl takes three points, its law three bowls
SCATTERED = 12          # different values of a choice in runs that share no (N, D): fewer are groups, not a search
MOST = 4                # choices fitted together


@dataclass(frozen=True, eq=False)
class Varied:
    """The choices that vary, and the runs where all of them are positive."""

    choices: Mapping[str, np.ndarray]   # (m,)
    rows: np.ndarray                    # (n,) bool
    apart: tuple[np.ndarray, ...]       # (m,) codes of other axes

    def __bool__(self) -> bool:
        return bool(self.choices)


def varied(runs: Runs, description: Description) -> Varied:
    """Numbers that were chosen and take several values at one (N, D), or many over the table: of all that Runs holds beside the axes."""
    axes = description.named("axis")
    named = {name: v for name, v in runs.extra.items() if name not in axes and v.dtype.kind in "fi"}
    apart = tuple(distinct(np.nan_to_num(runs.extra[name], nan=-1.0)) for name in axes
                  if name in runs.extra and runs.extra[name].dtype.kind in "fi" and not description.columns[name].law)
    cell = distinct(runs.N, runs.D, *apart)
    tried = {name: v for name, v in named.items() if _tells(v, cell)}
    kept = dict(sorted(tried.items(), key=lambda item: -len(np.unique(item[1])))[:MOST])
    rows = np.all([np.isfinite(v) & (v > 0) for v in kept.values()] or [np.ones(len(runs), bool)], axis=0)
    return Varied({name: v[rows] for name, v in kept.items()}, rows, tuple(code[rows] for code in apart))


def _tells(value: np.ndarray, cell: np.ndarray) -> bool:
    """Whether at least CELLS cells hold VALUES values, or runs that share no cell hold many."""
    good = np.isfinite(value) & (value > 0)
    if good.mean() < 0.5:
        return False
    pairs = np.unique(np.stack([cell[good], distinct(value[good])]), axis=1)
    held = np.bincount(pairs[0].astype(int))
    alone = np.mean(np.bincount(cell)[cell] == 1)
    return bool((held >= VALUES).sum() >= CELLS or alone > 0.5 and len(np.unique(value[good])) >= SCATTERED)


def choice_laws(runs: Runs, description: Description, *, law: object = None, level: float = 0.95) -> ChoiceLaws | None:
    """None where nothing is varied. Where the choices can't be fitted together: the first that can be told at equal values of the others.

    Raises Refusal where none can.
    """
    found = varied(runs, description)
    if not found:
        return None
    N, D, L = (v[found.rows] for v in (runs.N, runs.D, runs.L))
    try:
        return fit_choices(N, D, L, found.choices, apart=found.apart, law=law, level=level)
    except Refusal as why:
        for name in found.choices if len(found.choices) > 1 else ():
            others = [distinct(v) for other, v in found.choices.items() if other != name]
            try:
                return fit_choices(N, D, L, {name: found.choices[name]}, apart=(*found.apart, *others), law=law, level=level)
            except Refusal:
                continue
        raise why
