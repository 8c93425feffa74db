"""Which value to try next, and which to take: the arithmetic of tuning one positive number, without Ray or Optuna.

A search first brackets: its start and a factor to both sides, further out until the best value has
worse neighbours; then it takes parabolic steps in the logarithm. The next value depends on the
finished ones alone, so a rerun proposes the same values and finds them in the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP = 3.0   # factor between the first values; of a learning rate, the loss may double over it

Group = tuple   # values of the axes that a study stands for, in the order of the cell's axes


@dataclass(frozen=True)
class Tuned:
    """A group's value and how well it is known."""

    group: Group
    value: float
    tried: tuple[float, ...]   # ascending
    losses: tuple[float, ...]  # of the tried, mean over tuning seeds, each run capped
    bracketed: bool            # both neighbours of the best tried value were worse


def next_value(values: Sequence[float], losses: Sequence[float], *, start: float, low: float, high: float) -> float:
    """The value to try after the finished ones, three significant digits."""
    if not values:
        return rounded(start)
    order = np.argsort(values)
    x, y = np.log(np.asarray(values)[order]), np.asarray(losses)[order]
    best = int(np.argmin(y))
    if best == len(x) - 1 and values[order[-1]] < high:  # also with one value: up first, divergence is quick to see
        return rounded(min(math.exp(x[-1]) * STEP, high))
    if best == 0 and values[order[0]] > low:
        return rounded(max(math.exp(x[0]) / STEP, low))
    left, right = max(best - 1, 0), min(best + 1, len(x) - 1)
    target = _vertex(x[left:right + 1], y[left:right + 1])
    if np.abs(target - x).min() < math.log(1.1):  # nothing new there: halve the wider side
        below, above = x[best] - x[left], x[right] - x[best]
        target = x[best] + (above / 2 if above > below else -below / 2)
    return rounded(math.exp(target))


def settle(group: Group, values: Sequence[float], losses: Sequence[float]) -> Tuned:
    """The value to take: the vertex of the parabola through the best tried value and its neighbours.

    It scatters less from size to size than the best of the tried. Where the best is not
    bracketed, the best itself.
    """
    order = np.argsort(values)
    tried = [float(values[i]) for i in order]
    means = [float(losses[i]) for i in order]
    best = int(np.argmin(means))
    bracketed = 0 < best < len(tried) - 1
    value = tried[best]
    if bracketed:
        value = rounded(math.exp(_vertex(np.log(tried[best - 1:best + 2]), np.asarray(means[best - 1:best + 2]))))
    return Tuned(group=group, value=value, tried=tuple(tried), losses=tuple(means), bracketed=bracketed)


def bracketed(values: Sequence[float], losses: Sequence[float]) -> bool:
    """Whether the best value has worse ones on both sides."""
    if not values:
        return False
    return min(values) < values[int(np.argmin(losses))] < max(values)


def capped(losses: Sequence[float], cap: float) -> list[float]:
    """Losses of one study with those of runs that learnt nothing, or diverged, at the cap; worse is no news.

    Without a finite cap, such a loss counts as twice as far above the best as the worst that is a number.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not math.isfinite(cap):
        best, worst = min(finite, default=0.0), max(finite, default=0.0)
        cap = worst + (worst - best) + abs(best) + 1.0
    return [min(loss, cap) if math.isfinite(loss) else cap for loss in losses]


def nearest_neighbours(groups: Sequence[Group]) -> dict[Group, Group | None]:
    """For each group the one whose optimum its search starts from; None for the middle one.

    A minimum spanning tree by Prim from the middle, distances in the logarithm of what is positive,
    plain otherwise, 1 between different texts; in the order of attachment, parents first.
    """
    rest = sorted(groups)
    logarithmic = [all(_is_number(value) and value > 0 for value in column) for column in zip(*rest)]
    middle = rest.pop(len(rest) // 2)
    parents: dict[Group, Group | None] = {middle: None}
    while rest:
        group, parent = min(((g, p) for g in rest for p in parents), key=lambda pair: (_distance(*pair, logarithmic), pair))
        parents[group] = parent
        rest.remove(group)
    return parents


def rounded(value: float) -> float:
    """Three significant digits, so that the last bits of a logarithm never make another run."""
    return float(f"{value:.3g}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _distance(first: Group, second: Group, logarithmic: Sequence[bool]) -> float:
    total = 0.0
    for one, other, log in zip(first, second, logarithmic):
        if log:
            total += abs(math.log(one / other))
        else:
            total += abs(one - other) if _is_number(one) else float(one != other)
    return total


def _vertex(x: np.ndarray, y: np.ndarray) -> float:
    """Of the parabola through three points, the middle one lowest; the lowest itself where it is flat."""
    if len(x) < 3:
        return float(x[int(np.argmin(y))])
    left, right = (x[1] - x[0]) * (y[1] - y[2]), (x[1] - x[2]) * (y[1] - y[0])
    if left == right:
        return float(x[1])
    vertex = x[1] - 0.5 * ((x[1] - x[0]) * left - (x[1] - x[2]) * right) / (left - right)
    return float(min(max(vertex, x[0]), x[2]))
