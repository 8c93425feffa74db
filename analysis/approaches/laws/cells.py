"""A stack of fits to runs, as one to cells: a law foretells the runs of one (N, D) alike, so that squares need their means alone.

With f (m,) the law at the cells and y (n,) log L, least squares is sum_c W_c (f_c - mean_c)^2 / 2 and a constant, the pure error; so is
generalised least squares, with its own means (analysis/errors/precision.py). Huber's loss needs every run, but the law only once a cell.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.laws.objective import Coordinates, Objective, Repeats


@dataclass(frozen=True)
class Problem:
    """M fits: arrays in the order of the runs where there are no repeats, else of the cells, or of the runs cell by cell."""

    points: Coordinates
    repeats: Repeats | None
    objective: Objective
    weight: np.ndarray          # (M, n)
    noise: np.ndarray | None    # (M, n)
    constant: np.ndarray        # (M,) of the objective: what no surface can take away, in units of L where it is of L

    @property
    def numbers(self) -> int:
        """In a buffer of one fit, on average: of a run there are a third as many buffers as of a place."""
        n = self.weight.shape[1]
        return n if self.repeats is None else len(self.repeats.first) + n // 3


def problem(points: Coordinates, weight, objective: Objective, noise=None) -> Problem:
    """weight (M, n); noise (M, n): each fit is to losses L e^noise."""
    repeats, none = points.repeats, np.zeros(len(weight))
    if repeats is None:
        return Problem(points, None, objective, weight, noise, none)
    if objective.precision is not None:
        return _generalised_squares(points, repeats, objective, noise, len(weight))
    if np.isinf(objective.delta) and objective.over == 1:
        return _squares(points, repeats, objective, weight, noise)
    return Problem(points, repeats, objective, weight[:, repeats.order], None if noise is None else noise[:, repeats.order], none)


def _at_cells(points: Coordinates, repeats: Repeats) -> Coordinates:
    """The cells, each with the loss of one of its runs; what their means differ by is noise."""
    return Coordinates(*(repeats.one_each(v) for v in (points.x, points.y, points.loss)), points.x0, points.y0, points.scale)


def _squares(points: Coordinates, repeats: Repeats, objective: Objective, weight, noise) -> Problem:
    raw = objective.space == "raw"
    seen = (points.loss if raw else np.log(points.loss))[None]
    if noise is not None:
        seen = seen * np.exp(noise) if raw else seen + noise
    cells, total = _at_cells(points, repeats), repeats.sums(weight)
    mean = repeats.sums(weight * seen) / np.maximum(total, 1e-300)
    # a cell that was not drawn has no mean and no weight
    mean = np.where(total > 0, mean, cells.loss if raw else np.log(cells.loss))
    pure = (weight * np.square(seen - mean[:, repeats.place])).sum(1) / 2
    return Problem(cells, None, objective, total, np.log(mean / cells.loss) if raw else mean - np.log(cells.loss), pure)


def _generalised_squares(points: Coordinates, repeats: Repeats, objective: Objective, noise, count: int) -> Problem:
    summed, cells, seen = objective.precision.summed(repeats.place), _at_cells(points, repeats), np.log(points.loss)[None]
    if noise is not None:
        seen = seen + noise
    mean = seen @ summed.means.T
    rest = seen - mean[:, repeats.place]
    pure = np.broadcast_to((rest * objective.precision.times(rest)).sum(1) / 2, count)
    of_cells = np.broadcast_to(mean - np.log(cells.loss), (count, len(cells.x)))
    return Problem(cells, None, replace(objective, precision=summed.precision), np.ones((count, len(cells.x))), of_cells, pure)
