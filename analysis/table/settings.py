"""Several settings at one (N, D): a sweep of the learning rate, say, whose runs lie above the law that its best ones follow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.table.roles import Description
from analysis.table.values import Labels

# Names of what is set before a run, however many values it has.
NAMED = re.compile(r"(^|[^a-z])(lr|learning.?rate|batch.?size|global.?batch|bs|wd|weight.?decay|warm.?up|beta.?[12]|momentum|"
                   r"dropout|clip|hparams?|optimi[sz]er|schedule|decay|sigma)([^a-z]|$)", re.IGNORECASE)
MANY = 0.5   # of the (N, D) hold several settings


@dataclass(frozen=True)
class Settings:
    """What differs between the runs of one cell."""

    names: tuple[str, ...]   # of the columns; empty where most cells hold one setting
    code: np.ndarray         # (n,) of each run's setting; a setting a run where no column tells


def settings(columns: Mapping[str, np.ndarray], cell: np.ndarray) -> Settings:
    """Of the columns (codes (n,)), those that take several values in most of the cells (n,)."""
    cells, runs = np.unique(cell, return_counts=True)
    names = ()
    if np.mean(runs > 1) >= MANY:
        levels = {name: np.bincount(np.unique(np.stack([cell, code]), axis=1)[0].astype(int)) for name, code in columns.items()}
        names = tuple(name for name, count in levels.items() if np.mean(count[cells] > 1) >= MANY)
    return Settings(names, distinct(*(columns[name] for name in names)) if names else np.arange(len(cell)))


def may_be_settings(description: Description, extra: Mapping[str, np.ndarray], labels: Mapping[str, Labels],
                    others: Mapping[str, Labels]) -> dict[str, np.ndarray]:
    """Columns -> codes (n,): our own tables' choices; a stranger's numbers of few values, and what is named so."""
    if description:
        return {**{name: np.unique(extra[name], return_inverse=True)[1] for name in description.named("choice") if name in extra},
                **{name: labels[name].code for name in description.named("choice", text=True) if name in labels}}
    return {name: tag.code for name, tag in others.items() if NAMED.search(name) or _few_numbers(tag)}


def _few_numbers(tag: Labels) -> bool:
    """A number of a run or of its result is hardly ever there twice."""
    return all(isinstance(value, float) for value in tag.values) and 2 * len(tag.values) <= len(tag.code)


def best_of_cells(cell: np.ndarray, setting: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Mask (n,) of the runs at their cell's best setting, by the mean of log loss: all its repeats stay."""
    pair = distinct(cell, setting)
    mean = np.bincount(pair, np.log(loss)) / np.bincount(pair)
    lowest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(lowest, cell, mean[pair])
    first = np.full(len(lowest), np.iinfo(np.int64).max)   # of settings that are equally good, one
    ties = mean[pair] == lowest[cell]
    np.minimum.at(first, cell[ties], pair[ties])
    return pair == first[cell]


def setting_doubts(names: Sequence[str], *, kept_best: bool) -> tuple[Doubt, ...]:
    """That runs of several settings are fitted as one, or that the best of several noisy losses was kept."""
    if not names:
        return ()
    listed = ", ".join(names[:4]) + (" and more" if len(names) > 4 else "")
    if kept_best:
        return (Doubt("best_of_cell", f"of each (N, D) the best {listed} is kept: the lowest of several noisy losses is a little "
                      "too low"),)
    return (Doubt("several_settings", f"most (N, D) hold runs of several {listed}, and the law is about the best: --best keeps "
                  "those of each (--by fits each setting apart)"),)
