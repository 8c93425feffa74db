"""Published exponents, and whether a table contradicts them.

A claim is rejected by its p-value corrected for how many claims the table is asked about (Holm 1979, Scandinavian Journal of
Statistics 6): the chance that any true claim among them is rejected stays below 5%.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.approaches import profile
from analysis.approaches.frontier import EffectiveExponents
from analysis.approaches.parametric import ParametricFit
from analysis.estimates.estimate import Estimate, spanning

RIVAL = 0.05  # exponents nearer than this are not worth telling apart: the span of Hoffmann's three approaches


@dataclass(frozen=True)
class Claim:
    """A number that somebody published."""

    source: str
    quantity: str      # a, b, alpha, beta; or L_N, L_D, L_C: power-law slopes without E over the sampled range
    value: float
    se: float = 0.0    # standard error: published, or from the published interval; 0 where neither is given
    note: str = ""


# a is the exponent of N*(C). Where a paper gives an interval, se is its width over that of the standard normal's
# interval of the same level: 2.56 for 80%, 3.92 for 95%.
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
    adjusted: float  # the same, by Holm's correction for all the claims judged together
    test: str
    verdict: str     # consistent, rejected or undecided

    def summary(self) -> str:
        return (f"{self.claim.source:34s} {self.claim.quantity:5s} {self.claim.value:6.3f}   ours {self.estimate}   "
                f"p = {self.p_value:.2g}, {self.adjusted:.2g} by Holm   {self.verdict}")


def judge(fit: ParametricFit, claims: tuple[Claim, ...] = CLAIMS, *, beside: ParametricFit | None = None) -> tuple[Verdict, ...]:
    """Every claim against a fit; `beside` it another law's, where the table does not settle which of the two holds.

    rejected: p by Holm's correction below 1 - level, under both laws. consistent: not rejected, inside the interval, and the interval is narrow
    enough to reject values RIVAL away on either side (for L_N, L_D and L_C: half the claim).
    undecided: all else.
    """
    laws = [law for law in (fit, beside) if law is not None]
    effective = [law.effective_exponents() for law in laws]
    found = [_joined([_verdict(law, claim, slopes) for law, slopes in zip(laws, effective, strict=True)]) for claim in claims]
    adjusted = holm(np.array([v.p_value for v in found]))
    return tuple(replace(v, adjusted=float(p), verdict=_said(v.claim, v.estimate, p, fit.level))
                 for v, p in zip(found, adjusted, strict=True))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values (m,): the i-th smallest by m - i + 1, never below a smaller one's."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def _joined(verdicts: list[Verdict]) -> Verdict:
    """The claim holds if it holds under either law: the larger p-value, and the interval that spans both."""
    first = verdicts[0]
    estimate = spanning(first.estimate, verdicts[1].estimate if len(verdicts) > 1 else None)
    return replace(first, estimate=estimate, p_value=max(v.p_value for v in verdicts))


def _said(claim: Claim, estimate: Estimate, p: float, level: float) -> str:
    margin = RIVAL if _tested(claim.quantity) else claim.value / 2
    sharp = max(estimate.high - estimate.value, estimate.value - estimate.low) < margin
    return "rejected" if p < 1 - level else "consistent" if sharp and claim.value in estimate else "undecided"


def _tested(quantity: str) -> str | None:
    """The profiled parameter behind a claim's quantity: b is 1 - p a."""
    return {"a": "a", "b": "a", "alpha": "alpha", "beta": "beta"}.get(quantity)


def _verdict(fit: ParametricFit, claim: Claim, effective: EffectiveExponents) -> Verdict:
    name = _tested(claim.quantity)
    estimate = getattr(effective, claim.quantity) if name is None else getattr(fit, claim.quantity)
    if name is None:
        se = max(np.hypot(estimate.se, claim.se), 1e-300)
        p = float(2 * special.stdtr(fit.freedom, -abs(estimate.value - claim.value) / se))
        test = "Wald, bootstrap standard error"
    else:
        p, test = _likelihood_ratio(fit, claim, name, estimate), "likelihood ratio, scaled by bootstrap"
    return Verdict(claim, estimate, p, p, test, "")


def _likelihood_ratio(fit: ParametricFit, claim: Claim, name: str, estimate: Estimate) -> float:
    value = (1 - claim.value) / fit.cost.p if claim.quantity == "b" else claim.value
    low, high = profile.reach(fit, name)
    if not low < value < high:
        return 0.0
    statistic = profile.rise(fit, name, np.array([value]))[0] / max(fit.profile(name).unit, 1e-300)
    # the claim's own error adds to ours: the statistic shrinks as a squared z-score does. A table without any
    # noise has no error of its own, and the claim's is then all there is
    ours, theirs = estimate.se**2, claim.se**2
    if theirs > 0:
        statistic = statistic * ours / (ours + theirs) if ours > 0 else (estimate.value - claim.value) ** 2 / theirs
    return float(special.fdtrc(1, fit.freedom_of(name), statistic))
