"""The grid of a sweep as a heat map: what is done, begun, failed and to come, place by place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median

from analysis.watching.progress import Progress

MOST_PANELS = 8


@dataclass(frozen=True)
class Square:
    """One place of the grid."""

    done: int
    failed: int
    wanted: int
    loss: float | None   # median of the runs that are done

    @property
    def state(self) -> str:
        """done, failed, begun or waiting. Which runs train at this moment no file says."""
        if self.failed:
            return "failed"
        return "done" if self.done >= self.wanted else "begun" if self.done else "waiting"


@dataclass(frozen=True)
class Panel:
    """Two axes against each other, the others held."""

    held: Mapping[str, object]
    across: str                           # axis of the columns
    down: str                             # of the rows; "" where there is but one axis
    columns: tuple
    rows: tuple
    squares: tuple[tuple[Square, ...], ...]


def panels(progress: Progress) -> tuple[Panel, ...]:
    """By the two axes of most values, a panel for each combination of the others."""
    axes = dict(progress.planned) or _axes_seen(progress)
    axes = {name: values for name, values in axes.items() if values}
    if not axes:
        return ()
    order = sorted(axes, key=lambda name: -len(axes[name]))
    across, down = order[0], order[1] if len(order) > 1 else ""
    others = [name for name in axes if name not in (across, down)]
    done, failed = (_by_place(rows, axes) for rows in (progress.rows, progress.failures))
    loss = next(iter(progress.description.lettered("L")), "")

    def square(place: Mapping) -> Square:
        key = tuple(place[name] for name in axes)
        losses = [row[loss] for row in done.get(key, ()) if isinstance(row.get(loss), float) and row[loss] == row[loss]]
        return Square(len(done.get(key, ())), len(failed.get(key, ())), progress.seeds, median(losses) if losses else None)

    made = []
    rows = axes[down] if down else ("",)
    for held in product(*(axes[name] for name in others)):
        fixed = dict(zip(others, held, strict=True))
        squares = tuple(tuple(square(fixed | {down: y, across: x}) for x in axes[across]) for y in rows)
        made.append(Panel(fixed, across, down, axes[across], rows, squares))
    return tuple(made[:MOST_PANELS])


def _axes_seen(progress: Progress) -> dict[str, tuple]:
    axes = progress.description.named("axis")
    seen = {name: {row[name] for row in progress.rows if row.get(name) is not None} for name in axes}
    return {name: tuple(sorted(values, key=lambda v: (isinstance(v, str), v))) for name, values in seen.items()}


def _by_place(rows: Sequence[Mapping], axes: Mapping[str, tuple]) -> dict[tuple, list[Mapping]]:
    found: dict[tuple, list[Mapping]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in axes), []).append(row)
    return found
