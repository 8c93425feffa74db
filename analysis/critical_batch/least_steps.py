"""Loss of size and of the fewest steps: L(N, S_min) = E + A/N^alpha_N + (S_c/S_min)^alpha_S, S_min = S/(1 + B_crit(L)/B).

S_min are the steps that a run would have taken at batch sizes far above the critical. Kaplan et al. 2020, equation 5.6, has no E.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.parametric import ParametricFit, fit_parametric
from analysis.critical_batch.critical import CriticalBatch
from analysis.estimates.estimate import Estimate

KAPLAN_STEPS = 0.76   # alpha_S


@dataclass(frozen=True, eq=False)
class StepsLaw:
    """The additive law with S_min in the place of D."""

    fit: ParametricFit

    alpha_N = property(lambda self: self.fit.alpha)
    alpha_S = property(lambda self: self.fit.beta)
    E = property(lambda self: self.fit.E)

    @property
    def S_c(self) -> Estimate:
        with np.errstate(over="ignore"):
            return self.fit.percentile(*(float(v) if np.ndim(v) == 0 else v for v in (
                self.fit.surface.B ** (1 / self.fit.surface.beta), self.fit.cloud.B ** (1 / self.fit.cloud.beta))))


def fit_least_steps(batch: CriticalBatch, *, level: float = 0.95, resamples: int = 1000, rng=0) -> StepsLaw:
    """From all readings behind a critical batch size; what is resampled is a curve, of one size and batch size.

    The critical batch size itself is taken as known. Raises TooFewPoints, NotIdentified as fit_parametric does.
    """
    curves = batch.crossings.curves
    count = [len(c.steps) for c in curves]
    N, B = (np.repeat([getattr(c, name) for c in curves], count) for name in "NB")
    steps, loss = (np.concatenate([getattr(c, name) for c in curves]) for name in ("steps", "loss"))
    least = steps / (1 + batch(loss) / B)
    return StepsLaw(fit_parametric(N, least, loss, cell=np.repeat(np.arange(len(curves)), count), cluster="cell", level=level,
                                   resamples=resamples, rng=rng))
