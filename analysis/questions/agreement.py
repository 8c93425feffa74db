"""Do the three approaches tell the same exponent, and is it evidence if they do?

Approaches 1 and 2 are biased on most grids, by as much as the laws differ: what they find is compared after the bias
under the fitted law has been taken off (analysis/approaches/calibration.py). Agreement is evidence only where the two could
have disagreed: where a difference of 0.1 would have been seen, where the correction, which is the law's own, is no
larger than the approach's error, and where the grid's corners would not have given the same slope.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.calibration import Calibrated
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt

TELLING = 0.1   # of a: a pair that would not have seen this much apart says nothing by agreeing


@dataclass(frozen=True)
class Pair:
    """Two approaches' a side by side."""

    first: str
    second: str
    difference: float  # first less second, biases taken off
    p_value: float     # of no difference, the two taken as independent
    agree: bool
    weak: str          # why agreement would be no evidence; "" where it is

    @property
    def evidence(self) -> bool:
        return self.agree and not self.weak


@dataclass(frozen=True)
class Agreement:
    """All pairs of the approaches that gave an estimate."""

    pairs: tuple[Pair, ...]
    text: str

    def summary(self) -> str:
        return self.text

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        return () if all(p.agree for p in self.pairs) else (Doubt("approaches_disagree", self.text),)


def agreement(envelope=None, isoflop=None, parametric=None, *, calibrations: Mapping[str, Calibrated] | None = None,
              level: float = 0.95) -> Agreement:
    """Wald tests between the approaches' a. calibrations: by "approach 1" and "approach 2", where there are any.

    They share their runs, so their errors correlate and the true p-value is smaller than the
    one that independence gives: a disagreement found here is one, agreement may be weaker.
    """
    known = calibrations or {}
    named = [(name, fit) for name, fit in (("approach 1", envelope), ("approach 2", isoflop), ("approach 3", parametric))
             if fit is not None]
    values = {name: known[name].corrected if name in known else fit.a for name, fit in named}
    weak = {name: _weakness(name, fit, known.get(name)) for name, fit in named}
    names = list(values)
    pairs = tuple(_compare(one, other, values, weak[one] or weak[other], level)
                  for i, one in enumerate(names) for other in names[i + 1:])
    if not pairs:
        return Agreement((), "fewer than two approaches gave an exponent: nothing to compare")
    apart = [f"{p.first} and {p.second} disagree on a by {p.difference:+.3f} (p = {p.p_value:.2g})" for p in pairs if not p.agree]
    telling = [f"{p.first} and {p.second} agree on a within {abs(p.difference):.3f}, and would have shown {TELLING:g}"
               for p in pairs if p.evidence]
    empty = [f"that {p.first} does not contradict {p.second} is no evidence: {p.weak}" for p in pairs if p.agree and p.weak]
    return Agreement(pairs, "; ".join(apart + telling + empty))


def _weakness(name: str, fit, calibrated: Calibrated | None) -> str:
    """Why this approach's agreement with another would be no evidence, or ""."""
    if name == "approach 3":
        return ""
    if getattr(fit, "indistinct", False):
        return f"{name}'s slope is the grid's own"
    if calibrated is None or not np.isfinite(calibrated.bias):
        return f"{name}'s bias on this grid is unknown"
    if abs(calibrated.bias) > (fit.a.high - fit.a.low) / 2:
        return f"{name}'s correction, {-calibrated.bias:+.3f}, is the law's own and larger than its error"
    return ""


def _compare(first: str, second: str, values: Mapping[str, Estimate], weak: str, level: float) -> Pair:
    x, y = values[first], values[second]
    se = np.hypot(x.se, y.se)
    p = float(2 * stats.norm.sf(abs(x.value - y.value) / max(se, 1e-300)))
    vague = "" if stats.norm.ppf((1 + level) / 2) * se < TELLING else f"a difference of {TELLING:g} would not have been seen"
    return Pair(first, second, x.value - y.value, p, p >= 1 - level, weak or vague)
