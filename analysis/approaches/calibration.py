"""What approaches 1 and 2 would find on a table's own grid if a fitted law were the truth.

Both read N* off curves through the runs, and the shape of the grid and of the curves moves what they read: under a law
with g = 3 both give .42 on a grid where the truth is .31. So they are run on tables simulated from the law,
with the law's own uncertainty and the residuals' noise; what they miss there is taken off what they find here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface import Surface
from analysis.approaches.wild_bootstrap import Slopes
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct

TABLES = 60      # simulated: the bias is then known to an eighth of the approach's own standard error
COPIES = 20      # of each, for the approach's own refusals; its interval is not looked at
GIVEN = 0.5      # share of the simulated tables that must give an exponent


@dataclass(frozen=True)
class LevelBias:
    """What an approach finds too much of log N* at C FLOPs, over simulated tables."""

    C: float
    bias: float
    spread: float   # standard deviation


@dataclass(frozen=True)
class Calibrated:
    """An approach's a beside what it would find under the law."""

    found: Estimate       # as the approach gives it
    bias: float           # mean of a found less the law's a, over simulated tables; nan where most are refused
    spread: float         # standard deviation of the same
    expected: float       # a that the approach finds on average under the law
    corrected: Estimate   # found less the bias, its interval moved and widened by the spread; found itself where bias is nan
    refused: int          # simulated tables on which the approach refused
    levels: tuple["LevelBias", ...] = ()   # of N* itself, where the approach tells it

    def summary(self) -> str:
        if not np.isfinite(self.bias):
            return f"a {self.found}, not calibrated: the approach refuses {self.refused} of {TABLES} tables like this one"
        return f"a {self.found}, bias on this grid {self.bias:+.3f}, corrected {self.corrected}"


def calibrated(found: Estimate, approach: Callable[[np.ndarray, int], Slopes], fit: ParametricFit, *,
               places: tuple[float, ...] = (), rng=0) -> Calibrated:
    """approach(L, resamples): what it finds on the runs of `fit` with other losses L (T, n), a table each, its log N* at `places`
    (C in FLOPs) too.

    Each simulated table takes another surface of the law's cloud and the residuals' signs flipped by (N, D) cell, or, where
    errors go together, errors drawn from their covariance. The corrected interval spans that of the approach, moved by the
    bias, and that of the simulated errors by Student's t.
    """
    random = np.random.default_rng(rng)
    if fit.correlated:
        error = fit.errors.draws(TABLES, random)
    else:
        member = distinct(fit.N, fit.D)
        noise = fit.residuals * np.sqrt(fit.cells / fit.freedom)
        error = random.choice([-1.0, 1.0], (TABLES, member.max() + 1))[:, member] * noise
    worlds = [_drawn(fit, i) for i in range(TABLES)]
    again = approach(np.stack([surface.loss(fit.N, fit.D) for surface, _ in worlds]) * np.exp(error), COPIES)
    given = np.isfinite(again.a)
    refused = TABLES - int(given.sum())
    if given.sum() < GIVEN * TABLES:
        return Calibrated(found, np.nan, np.nan, np.nan, found, refused)
    # a table in which noise makes a wild slope says nothing of the bias
    bias, spread = (float(v) for v in _robust((again.a - np.array([float(surface.a(cost)) for surface, cost in worlds]))[given]))
    centre = found.value - bias
    reach = special.stdtrit(fit.freedom, (1 + found.level) / 2) * spread
    method = f"{found.method}, bias under the fitted law taken off ({given.sum()} simulated tables)"
    corrected = replace(found, value=centre, low=min(found.low - bias, centre - reach),
                        high=max(found.high - bias, centre + reach), se=max(found.se, spread), method=method)
    best = np.log([[float(surface.optimum(C, cost).N) for C in places] for surface, cost in worlds])
    told = tuple(LevelBias(C, *(float(v) for v in _robust(gap))) for C, gap in zip(places, (again.log_N - best)[given].T))
    return Calibrated(found, bias, spread, float(np.median(again.a[given])), corrected, refused, told)


def _drawn(fit: ParametricFit, i: int):
    """The i-th surface and cost law of the cloud."""
    return Surface(*fit.draws[i % len(fit.draws)]), replace(fit.cost, k=fit.cost_draws[i % len(fit.draws), 0],
                                                            p=fit.cost_draws[i % len(fit.draws), 1])


def _robust(errors: np.ndarray):
    """Median and 1.4826 times the median absolute deviation."""
    middle = np.median(errors)
    return middle, 1.4826 * np.median(np.abs(errors - middle))
