"""Which learning rate to try next, and which to take: the arithmetic of tuning, without Ray or Optuna.

A search first brackets: its start and a factor to both sides, further out until the best rate has
worse neighbours; then it takes parabolic steps in log rate. The next rate depends on the
finished ones alone, so a rerun proposes the same rates and finds them in the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOWEST, HIGHEST = 1e-4, 1.0  # of the search; on MNIST everything fails at both ends
START = 0.012                # where a search without a neighbour begins: MNIST's optimum at middling widths
STEP = 3.0                   # factor between the first rates; the loss may double over it


@dataclass(frozen=True, order=True)
class Group:
    """Cells that share a learning rate: their width, and where on the other axes it is tuned."""

    width: float
    fraction: float
    dropout: float


@dataclass(frozen=True)
class Tuned:
    """A group's learning rate and how well it is known."""

    group: Group
    lr: float
    tried: tuple[float, ...]   # ascending
    losses: tuple[float, ...]  # of the tried, mean over tuning seeds, each run capped
    bracketed: bool            # both neighbours of the best tried rate were worse


def next_rate(rates: Sequence[float], losses: Sequence[float], *, start: float) -> float:
    """The rate to try after the finished ones, three significant digits."""
    if not rates:
        return rounded(start)
    order = np.argsort(rates)
    x, y = np.log(np.asarray(rates)[order]), np.asarray(losses)[order]
    best = int(np.argmin(y))
    if best == len(x) - 1 and rates[order[-1]] < HIGHEST:  # also with one rate: up first, divergence is quick to see
        return rounded(min(math.exp(x[-1]) * STEP, HIGHEST))
    if best == 0 and rates[order[0]] > LOWEST:
        return rounded(max(math.exp(x[0]) / STEP, LOWEST))
    low, high = max(best - 1, 0), min(best + 1, len(x) - 1)
    target = _vertex(x[low:high + 1], y[low:high + 1])
    if np.abs(target - x).min() < math.log(1.1):  # nothing new there: halve the wider side
        left, right = x[best] - x[low], x[high] - x[best]
        target = x[best] + (right / 2 if right > left else -left / 2)
    return rounded(math.exp(target))


def settle(group: Group, rates: Sequence[float], losses: Sequence[float]) -> Tuned:
    """The rate to take: the vertex of the parabola through the best tried rate and its neighbours.

    It scatters less from width to width than the best of the tried. Where the best is not
    bracketed, the best itself.
    """
    order = np.argsort(rates)
    tried = [float(rates[i]) for i in order]
    means = [float(losses[i]) for i in order]
    best = int(np.argmin(means))
    bracketed = 0 < best < len(tried) - 1
    lr = tried[best]
    if bracketed:
        lr = rounded(math.exp(_vertex(np.log(tried[best - 1:best + 2]), np.asarray(means[best - 1:best + 2]))))
    return Tuned(group=group, lr=lr, tried=tuple(tried), losses=tuple(means), bracketed=bracketed)


def bracketed(rates: Sequence[float], losses: Sequence[float]) -> bool:
    """Whether the best rate has worse ones on both sides."""
    if not rates:
        return False
    return min(rates) < rates[int(np.argmin(losses))] < max(rates)


def nearest_neighbours(groups: Sequence[Group]) -> dict[Group, Group | None]:
    """For each group the one whose optimum its search starts from; None for the middle one.

    A minimum spanning tree by Prim from the middle, distances in log width, log fraction and
    dropout; in the order of attachment, parents first.
    """
    rest = sorted(groups)
    middle = rest.pop(len(rest) // 2)
    parents: dict[Group, Group | None] = {middle: None}
    while rest:
        group, parent = min(((g, p) for g in rest for p in parents), key=lambda pair: (_distance(*pair), pair))
        parents[group] = parent
        rest.remove(group)
    return parents


def rounded(rate: float) -> float:
    """Three significant digits, so that the last bits of a logarithm never make another run."""
    return float(f"{rate:.3g}")


def _distance(first: Group, second: Group) -> float:
    return (abs(math.log(first.width / second.width)) + abs(math.log(first.fraction / second.fraction))
            + abs(first.dropout - second.dropout))


def _vertex(x: np.ndarray, y: np.ndarray) -> float:
    """Of the parabola through three points, the middle one lowest; the lowest itself where it is flat."""
    if len(x) < 3:
        return float(x[int(np.argmin(y))])
    left, right = (x[1] - x[0]) * (y[1] - y[2]), (x[1] - x[2]) * (y[1] - y[0])
    if left == right:
        return float(x[1])
    vertex = x[1] - 0.5 * ((x[1] - x[0]) * left - (x[1] - x[2]) * right) / (left - right)
    return float(min(max(vertex, x[0]), x[2]))
