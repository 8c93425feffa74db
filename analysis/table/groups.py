"""Which columns of a table of ours split it into laws of their own, judged by its rows.

A law is fitted along the axes that move N, D or C. An axis that moves none of them (a share of
dropout, a degree of sparsity) makes another law at each of its values, and so does text (an
optimiser, a data set). Numbers that were chosen follow the axes: tuning set them.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.table.files import BadTable
from analysis.table.roles import DATASET, Description
from analysis.table.values import Labels

MAX_GROUPS = 24   # more are a continuous column taken for a label
MOVES = 1.05      # factor by which a step of an axis moves N, D or C at least; whole batches and early ends move them by less


@dataclass(frozen=True)
class Split:
    """How a table is split."""

    columns: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, eq=False)
class Parted:
    """The rows that one combination of labels holds."""

    key: Mapping[str, object]   # grouping column -> value; empty where there is but one group
    rows: np.ndarray            # (n,) mask


def parted(tags: Mapping[str, Labels], count: int, *, explicit: bool) -> tuple[Parted, ...]:
    """A group for each combination of labels that occurs among so many rows, in order of the labels, numbers before text.

    explicit: the user named the columns. Otherwise only what varies names a group; dropout always does. Raises BadTable for too many.
    """
    used = {n: t for n, t in tags.items() if explicit or n == "dropout" or len(np.unique(t.code)) > 1}
    if not used:
        return (Parted({}, np.ones(count, bool)),)
    found, member = np.unique(np.stack([tag.code for tag in used.values()], axis=1), axis=0, return_inverse=True)
    if len(found) > MAX_GROUPS:
        raise BadTable(f"--by {' '.join(used)} makes {len(found):,} groups, more than {MAX_GROUPS}; group by a column with few values")
    groups = [Parted({n: tag.values[c] if c >= 0 else "missing" for (n, tag), c in zip(used.items(), row, strict=True)},
                     member.ravel() == i) for i, row in enumerate(found)]
    return tuple(sorted(groups, key=lambda g: [(isinstance(v, str), v) for v in g.key.values()]))


def key_text(key: Mapping[str, object], columns: Container[str] | None = None) -> str:
    """A group's name, by some of its columns; None takes all."""
    return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in key.items() if columns is None or k in columns)


def moves(axis: np.ndarray, others: np.ndarray, value: np.ndarray) -> bool:
    """Whether value (n,) changes along the axis (n,) among rows that are equal in all else (others, (n,) codes).

    By the majority of the places where several values of the axis meet; True where there is
    none, for then what moves with the axis can't be told from what moves with another.
    """
    place, pair = distinct(others), distinct(others, axis)
    first = np.unique(pair, return_index=True)[1]
    mean = np.bincount(pair, np.log(value)) / np.bincount(pair)
    met, of_pair = np.bincount(place[first]), place[first]
    low, high = np.full(len(met), np.inf), np.full(len(met), -np.inf)
    np.minimum.at(low, of_pair, mean)
    np.maximum.at(high, of_pair, mean)
    several = met > 1
    return not several.any() or float(np.mean((high - low)[several] > np.log(MOVES))) >= 0.5


def driven(axis: str, codes: Mapping[str, np.ndarray], quantities: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Which of the quantities the axis moves.

    codes: column -> (n,) of every axis and every choice of text; quantities: letter -> (n,), positive.
    """
    others = distinct(np.zeros(len(codes[axis])), *(code for name, code in codes.items() if name != axis))
    return tuple(letter for letter, value in quantities.items() if moves(codes[axis], others, value))


def coded(axes: Mapping[str, np.ndarray], labels: Mapping[str, Labels]) -> dict[str, np.ndarray]:
    """(n,) codes of columns of numbers (NaN is a value) and of labels."""
    return {**{name: np.unique(column, return_inverse=True)[1] for name, column in axes.items()},
            **{name: tag.code for name, tag in labels.items()}}


def split(description: Description, extra: Mapping[str, np.ndarray], labels: Mapping[str, Labels],
          quantities: Mapping[str, np.ndarray]) -> Split:
    """The columns that make laws of their own, among the table's axes, its choices of text and its data set.

    extra, labels: the table's numbers and labels, (n,) each; quantities: N, D and C.
    """
    text = {name: labels[name] for name in (*description.named("axis", "choice", text=True), DATASET) if name in labels}
    axes = {name: extra[name] for name in description.named("axis", text=False)
            if name in extra and not description.columns[name].law}
    codes = coded(axes, text)
    found = [name for name, tag in text.items() if len(np.unique(tag.code)) > 1 and not _names_sizes(tag.code, quantities)]
    found += [name for name in axes if len(np.unique(codes[name])) > 1 and not driven(name, codes, quantities)]
    found = [name for name in description.columns if name in found]
    kept = _without_too_fine(found, codes)
    doubts = tuple(Doubt("not_split", f"{name} moves neither N nor D nor C and has {len(np.unique(codes[name])):,} values: its "
                         "runs are fitted as one law (--by splits them)") for name in found if name not in kept)
    return Split(_without_implied(kept, codes), doubts)


def _names_sizes(code: np.ndarray, quantities: Mapping[str, np.ndarray]) -> bool:
    """Whether every value is of one size, or one amount of data, of several: it names them, as a model's name does."""
    levels = len(np.unique(code))
    sizes = [(quantities[letter], len(np.unique(quantities[letter]))) for letter in "ND"]
    return any(count > 1 and int(distinct(code, value).max()) + 1 == levels for value, count in sizes)


def _without_too_fine(names: list[str], codes: Mapping[str, np.ndarray]) -> list[str]:
    """Without the columns of most values, until few enough groups are left."""
    kept = list(names)
    while kept and int(distinct(*(codes[n] for n in kept)).max()) + 1 > MAX_GROUPS:
        kept.remove(max(kept, key=lambda n: len(np.unique(codes[n]))))
    return kept


def _without_implied(names: list[str], codes: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Without the columns that follow from the others: a schedule, where the protocol says it."""
    kept = list(names)
    for name in names:
        rest = [n for n in kept if n != name]
        if rest and int(distinct(*(codes[n] for n in kept)).max()) == int(distinct(*(codes[n] for n in rest)).max()):
            kept = rest
    return tuple(kept)
