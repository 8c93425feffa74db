"""What a run costs: C = k N^p D, with p measured, because only transformers have p = 1."""

from dataclasses import dataclass

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.power_law import fit_power_law
from analysis.estimates.refusal import NotIdentified


@dataclass(frozen=True)
class CostLaw:
    """FLOPs of a run with N parameters on D examples."""

    k: float
    p: float
    spread: float = 0.0                  # standard deviation of log C about the law
    p_estimate: Estimate | None = None   # None where the law was given rather than fitted

    def flops(self, N, D):
        return self.k * np.asarray(N, float) ** self.p * np.asarray(D, float)

    def samples(self, N, C):
        """D that C pays for at size N."""
        return np.asarray(C, float) / (self.k * np.asarray(N, float) ** self.p)

    def params(self, C, D):
        """N that C pays for on D examples."""
        return (np.asarray(C, float) / (self.k * np.asarray(D, float))) ** (1 / self.p)

    def summary(self) -> str:
        if self.p_estimate is None:
            return f"cost            C = {self.k:g} N^{self.p:g} D (given)"
        return (f"cost            C = {self.k:.4g} N^p D, p = {self.p_estimate}, "
                f"log C spreads {self.spread:.1%} about it")


LANGUAGE = CostLaw(6.0, 1.0)  # Kaplan et al. 2020, section 2.1: 2 FLOPs forward, 4 backward


def fit_cost(N, D, C, *, level: float = 0.95) -> CostLaw:
    """Regression of log(C/D) on log N over distinct sizes.

    C/D is a property of the architecture, so sizes count once however often they
    were run. Raises NotIdentified where there are fewer than 3 sizes.
    """
    N, D, C = (np.asarray(v, float) for v in (N, D, C))
    sizes, inverse = np.unique(N, return_inverse=True)
    if len(sizes) < 3:
        raise NotIdentified(f"need at least 3 distinct N to estimate p in C = k N^p D, got {len(sizes)}")
    per_sample = np.exp(np.bincount(inverse, np.log(C / D)) / np.bincount(inverse))
    law = fit_power_law(sizes, per_sample, level=level)
    spread = float(np.std(np.log(C / (law.coefficient * N ** law.exponent.value * D))))
    return CostLaw(law.coefficient, law.exponent.value, spread, law.exponent)
