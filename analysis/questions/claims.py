"""Published exponents, and whether a table contradicts them."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches import profile
from analysis.estimates.estimate import Estimate

RIVAL = 0.05  # exponents nearer than this are not worth telling apart: the span of Hoffmann's three approaches


@dataclass(frozen=True)
class Claim:
    """A number that somebody published."""

    source: str
    quantity: str      # a, b, alpha, beta; or L_N, L_D, L_C: power-law slopes without E over the sampled range
    value: float
    se: float = 0.0    # published, or half the published 95% interval / 1.96; 0 where none is given
    note: str = ""


# a is the exponent of N*(C). Where a paper gives an interval, se is a quarter of its width.
CLAIMS = (
    Claim("Hoffmann et al. 2022, approach 1", "a", 0.50, 0.014 / 2.56, "table 2: 80% interval .488 to .502"),
    Claim("Hoffmann et al. 2022, approach 2", "a", 0.49, 0.072 / 2.56, "table 2: 80% interval .462 to .534"),
    Claim("Hoffmann et al. 2022, approach 3", "a", 0.46, 0.0, "table 2: its interval .454 to .455 is not credible"),
    Claim("Hoffmann et al. 2022, approach 3", "alpha", 0.34, 0.0, "equation 10"),
    Claim("Hoffmann et al. 2022, approach 3", "beta", 0.28, 0.0, "equation 10"),
    Claim("Besiroglu et al. 2024 (Epoch)", "a", 0.513, 0.020, "corrects Hoffmann's approach 3"),
    Claim("Besiroglu et al. 2024 (Epoch)", "alpha", 0.348, 0.015, "corrects Hoffmann's approach 3"),
    Claim("Besiroglu et al. 2024 (Epoch)", "beta", 0.366, 0.021, "corrects Hoffmann's approach 3"),
    Claim("Kaplan et al. 2020", "a", 0.73, 0.0, "figure 14: N ~ C_min^0.73"),
    Claim("Kaplan et al. 2020", "L_N", 0.076, 0.0, "equation 1.1, no irreducible loss"),
    Claim("Kaplan et al. 2020", "L_D", 0.095, 0.0, "equation 1.2, no irreducible loss"),
    Claim("Kaplan et al. 2020", "L_C", 0.050, 0.0, "equation 1.3: L ~ C_min^-0.050, no irreducible loss"),
    Claim("Grattafiori et al. 2024 (Llama 3)", "b", 0.53, 0.0, "section 3.2.1: D* = 0.29 C^0.53"),
    Claim("Porian et al. 2024, tuned", "a", 0.497, 0.014 / 3.92, "95% interval .491 to .505"),
)


@dataclass(frozen=True)
class Verdict:
    """A claim beside our estimate."""

    claim: Claim
    estimate: Estimate
    p_value: float   # that the claim is true, its own standard error allowed for
    test: str
    verdict: str     # consistent, rejected or undecided

    def summary(self) -> str:
        return (f"{self.claim.source:34s} {self.claim.quantity:5s} {self.claim.value:6.3f}   ours {self.estimate}   "
                f"p = {self.p_value:.2g}   {self.verdict}")


def judge(fit, claims: tuple[Claim, ...] = CLAIMS) -> tuple[Verdict, ...]:
    """Every claim against a ParametricFit.

    rejected: p below 1 - level. consistent: not rejected, and the interval is narrow enough
    to reject values RIVAL away on either side (for L_N, L_D and L_C: half the claim).
    undecided: not rejected, but a value that far off would not be rejected either.
    """
    effective = fit.effective_exponents()
    return tuple(_verdict(fit, claim, effective) for claim in claims)


def _tested(quantity: str) -> str | None:
    """The profiled parameter behind a claim's quantity: b is 1 - p a."""
    return {"a": "a", "b": "a", "alpha": "alpha", "beta": "beta"}.get(quantity)


def _verdict(fit, claim: Claim, effective) -> Verdict:
    name = _tested(claim.quantity)
    estimate = getattr(effective, claim.quantity) if name is None else getattr(fit, claim.quantity)
    if name is None:
        se = np.hypot(estimate.se, claim.se)
        p = float(2 * stats.t.sf(abs(estimate.value - claim.value) / se, max(fit.cells - 5, 1)))
        test = "Wald, bootstrap standard error"
    else:
        p, test = _likelihood_ratio(fit, claim, name, estimate), "likelihood ratio, scaled by bootstrap"
    margin = RIVAL if name else claim.value / 2
    sharp = max(estimate.high - estimate.value, estimate.value - estimate.low) < margin
    verdict = "rejected" if p < 1 - fit.level else "consistent" if sharp else "undecided"
    return Verdict(claim, estimate, p, test, verdict)


def _likelihood_ratio(fit, claim: Claim, name: str, estimate: Estimate) -> float:
    value = (1 - claim.value) / fit.cost.p if claim.quantity == "b" else claim.value
    low, high = profile.reach(fit, name)
    if not low < value < high:
        return 0.0
    rise = profile.rise(fit, name, np.array([value]))[0] / fit.profile(name).unit
    # the claim's own error adds to ours: the statistic shrinks as a squared z-score does
    rise *= estimate.se**2 / (estimate.se**2 + claim.se**2)
    return float(stats.f.sf(rise, 1, max(fit.cells - 5, 1)))
