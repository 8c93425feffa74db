"""The one-variable laws that a joint law holds: its limits L(N) at unlimited D, L(D) at unlimited N, and L(C) along its frontier.

Of L = E + (A/N^(alpha/g) + B/D^(beta/g))^g they are E + A^g/N^alpha, E + B^g/D^beta and E + K/C^gamma, so that all three share
E, and x_0 = (A^g)^(1/alpha), and so on. Where losses level off, (L - E)/(top - L)^c stands in the place of L - E. Without E, where Kaplan's equation 1.5 holds, x_0 is his N_c, or D_c.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches import profile
from analysis.approaches.laws.saturation import level
from analysis.approaches.parametric import ParametricFit
from analysis.estimates.estimate import Estimate, spanning
from analysis.questions.alternatives import score_of
from analysis.questions.law_choice import LawChoice
from analysis.questions.rival_laws import NO_FLOOR

EXPONENT = {"N": "alpha", "D": "beta", "C": "gamma"}


@dataclass(frozen=True)
class LimitLaw:
    """L = floor + (scale/x)^exponent where nothing but x limits the loss, or (L - floor)/(top - L)^c by the saturating law."""

    variable: str          # N, D or C
    floor: Estimate
    scale: Estimate        # x_0, in the units of x
    exponent: Estimate
    apparent: Estimate     # slope of a power law without a floor, from one end of the table's x to the other
    low: float             # the table's x: of C, where N* and D* lie inside it, all of it where they nowhere do
    high: float
    c: float = 0.0
    top: float = np.inf

    def __call__(self, x):
        return level(self.exponent.value * np.log(self.scale.value / np.asarray(x, float)), self.floor.value, self.c, self.top)


@dataclass(frozen=True)
class Limits:
    """The three of them, and whether the runs ask for a floor."""

    laws: tuple[LimitLaw, ...]
    p_no_floor: float      # likelihood-ratio test of E = 0; of two laws that speak, the higher
    gain: float            # AICc that E wins for the quoted law; nan where cells are too few to say

    def of(self, variable: str) -> LimitLaw:
        return next(law for law in self.laws if law.variable == variable)

    @property
    def supports_floor(self) -> bool:
        return bool(self.p_no_floor < 0.05 and not self.gain <= 0)


def limit_laws(law: LawChoice) -> Limits:
    """Of the law that speaks; where both do, intervals span both laws'."""
    fits = [law.quoted, *([law.other] if law.other else [])]
    whole, bare = (score_of(law.scores, name) for name in (law.quoted_name, NO_FLOOR.get(law.name_of(law.quoted), "")))
    return Limits(tuple(_limit(law, fits, variable) for variable in "NDC"), max(profile.p_value(fit, "E", 0.0) for fit in fits),
                  bare.aicc - whole.aicc if whole and bare else np.nan)


def unlimited(surface, cost, variable: str, x):
    """Loss of a surface at x where nothing else limits it; fields of surface and cost may be arrays (R,)."""
    above = (_log_scale(surface, cost, variable) - np.log(x)) * _exponent(surface, cost, variable)
    return surface.level(np.clip(above, -700, 700))


def _exponent(surface, cost, variable: str):
    return {"N": surface.alpha, "D": surface.beta}[variable] if variable in "ND" else surface.gamma(cost)


def _log_scale(surface, cost, variable: str):
    factor = {"N": surface.A, "D": surface.B}.get(variable)
    log_factor = np.log(surface.frontier_coefficient(cost)) if factor is None else surface.g * np.log(factor)
    return log_factor / _exponent(surface, cost, variable)


def _limit(law: LawChoice, fits: list[ParametricFit], variable: str) -> LimitLaw:
    sampled = getattr(law.quoted, variable)
    low, high = float(sampled.min()), float(sampled.max())
    if variable == "C" and law.range.decades > 0:
        low, high = law.range.low, law.range.high

    def told(of) -> Estimate:
        made = [fit.percentile(float(of(fit.surface, fit.cost)), of(fit.cloud, fit.cost_cloud)) for fit in fits]
        return spanning(made[0], made[1] if len(made) > 1 else None)

    def slope(surface, cost):
        return np.log(unlimited(surface, cost, variable, low) / unlimited(surface, cost, variable, high)) / np.log(high / low)

    with np.errstate(over="ignore"):
        scale = told(lambda surface, cost: np.exp(_log_scale(surface, cost, variable)))
    return LimitLaw(variable, law.E, scale, law.estimate(EXPONENT[variable]), told(slope), low, high,
                    law.quoted.surface.c, law.quoted.surface.top)
