"""The runs of a fit, and the fits of what those runs might have been: resampled clusters, or tables drawn with errors that go together."""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.global_minimum import Optimum, global_minima, minima_of_simulated
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.surface import Surface
from analysis.errors.components import find_components
from analysis.errors.model import ErrorModel
from analysis.errors.structure import structure_of
from analysis.estimates import intervals

TESTED = 1000   # rows: of more the covariance costs more than it tells, and whoever fits them thins them first


@dataclass(frozen=True)
class Sample:
    """The runs of a fit, arrays (n,)."""

    N: np.ndarray
    D: np.ndarray
    L: np.ndarray
    C: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """How the R tables are made."""

    clusters: intervals.Clusters
    multiplicity: np.ndarray      # (R, n) of each run; ones where tables are simulated
    noise: np.ndarray | None      # (R, n) of log L about the table's own, of simulated tables


@dataclass(frozen=True)
class Resampled:
    """The fits of R tables."""

    drawn: Drawn
    surfaces: np.ndarray      # (R, k): E, A, B, alpha, beta and what more the law has, as a Surface takes them
    values: np.ndarray        # (R,): objective of each table at its surface
    costs: np.ndarray         # (R, 2): k, p

    multiplicity = property(lambda self: self.drawn.multiplicity)

    def noise(self, count: int) -> np.ndarray | None:
        """Of the first tables."""
        return None if self.drawn.noise is None else self.drawn.noise[:count]


def quantity(name: str, surface: Surface, cost: CostLaw):
    """One of a fit's named quantities, of a surface or of a cloud."""
    return getattr(surface, name)(cost) if name in ("a", "b", "gamma") else getattr(surface, name)


def errors_about(law, points: Coordinates, weight, found: Optimum, *, cell=None, seed=None, run=None) -> ErrorModel | None:
    """What the residuals of an optimum say of errors that go together; None of a table of more than TESTED rows, or one without room
    for a test. Its `found.correlated` says whether independence is to be given up."""
    theta = found.solution.theta[0]
    residuals = np.log(points.loss) - law.log_loss(points, theta)
    # rounding has no covariance; a law with as many parameters as runs leaves nothing to test
    if len(residuals) > TESTED or len(residuals) <= 2 * len(theta) or np.std(residuals) < 1e-6:
        return None
    slopes = law.slopes(points, theta[None])[0].T
    N, D = np.exp(points.x + points.x0), np.exp(points.y + points.y0)
    return ErrorModel(find_components(residuals, slopes, structure_of(N, D, cell=cell, seed=seed, run=run), weight), slopes)


def refitted(law, points: Coordinates, weight, objective: Objective, found: Optimum, drawn: Drawn):
    """The optimum (R, k) of every table, and the objective there."""
    if drawn.noise is None:
        return global_minima(points, drawn.multiplicity * weight, objective, found, law=law)
    return minima_of_simulated(points, drawn.multiplicity * weight, drawn.noise, objective, found, law=law)


def simulated(law, points: Coordinates, found: Optimum, errors: ErrorModel, count: int, clusters: intervals.Clusters, rng) -> Drawn:
    """Tables of the law's own losses with errors drawn from the model: noise is counted from the table's losses."""
    residuals = np.log(points.loss) - law.log_loss(points, found.solution.theta[0])
    return Drawn(clusters, np.broadcast_to(np.ones(len(residuals)), (count, len(residuals))), errors.draws(count, rng) - residuals)


def cost_draws(cost: CostLaw, N, count: int, rng) -> np.ndarray:
    """k, p (R, 2): p by its standard error, the cost at the geometric mean size held."""
    se = cost.p_estimate.se if cost.p_estimate else 0.0
    shift = se * rng.standard_normal(count)
    return np.stack([cost.k * np.exp(-shift * np.log(N).mean()), cost.p + shift], 1)


def satterthwaite(fit, name: str) -> float:
    """Degrees of freedom of a named quantity's variance under the errors that a fit allows for, linear about the optimum."""
    theta = fit.optimum_found.solution.theta[0]
    steps = np.diag(1e-5 * np.maximum(np.abs(theta), 0.1))
    ends = [quantity(name, Surface(*fit.law.external(fit.points, theta + sign * steps).T), fit.cost) for sign in (-1, 1)]
    slope = (ends[1] - ends[0]) / (2 * np.diag(steps))
    by_squares = fit.point.objective.precision is None
    return fit.errors.freedom(fit.errors.plain(slope) if by_squares else fit.errors.efficient(slope))
