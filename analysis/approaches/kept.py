"""A fit kept: what it takes to predict from a fitted law, without the runs it was fitted to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.frontier import Foretelling, OptimumEstimate, spanning_optimum
from analysis.approaches.optimal_path import OptimalPath
from analysis.approaches.surface import Surface
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate, spanning


@dataclass(frozen=True, eq=False)
class KeptLaw(Foretelling):
    """A fitted surface and its cost law, the cloud that resampling gave, and where the runs lay."""

    surface: Surface
    cost: CostLaw
    draws: np.ndarray        # (R, 5) to (R, 8): E, A, B, alpha, beta and what more the law has, as a Surface takes them
    cost_draws: np.ndarray   # (R, 2): k, p
    N: np.ndarray            # (2,) lowest and highest of the table, as are D and C
    D: np.ndarray
    C: np.ndarray
    n: int                   # runs fitted
    cells: int               # what was resampled
    label: str               # how
    cut: float               # share of the draws beyond each end of an interval
    level: float

    def percentile(self, value: float, draws) -> Estimate:
        return intervals.percentile(value, draws, label=self.label, count=self.cells, n=self.n, level=self.level, cut=self.cut)


@dataclass(frozen=True)
class KeptGroup:
    """One group's laws: the quoted one, and the one whose intervals are joined with it, where both speak."""

    key: Mapping[str, object]
    law: KeptLaw | None             # None where approach 3 was refused
    other: KeptLaw | None
    path: OptimalPath | None        # of approach 2; None where it was refused

    @property
    def label(self) -> str:
        return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in self.key.items())

    def optimum(self, C: float) -> OptimumEstimate:
        """By the quoted law, its intervals joined with the other's."""
        return spanning_optimum(C, self.law, self.other)

    def loss(self, N: float, D: float) -> Estimate:
        return spanning(self.law.loss(N, D), self.other and self.other.loss(N, D))


def kept_law(fit) -> KeptLaw:
    """Of a ParametricFit."""
    ends = (np.array([float(v.min()), float(v.max())]) for v in (fit.N, fit.D, fit.C))
    return KeptLaw(fit.surface, CostLaw(fit.cost.k, fit.cost.p, fit.cost.spread), fit.draws, fit.cost_draws, *ends, fit.n, fit.cells,
                   fit.resampling, float(fit.cut), fit.level)
