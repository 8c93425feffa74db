"""Do the three approaches tell the same exponent and the same N*, and is it evidence if they do?

Approaches 1 and 2 are biased on most grids, by as much as the laws differ: what they find is compared after the bias
under the fitted law has been taken off (analysis/approaches/calibration.py). Agreement is evidence only where the two could
have disagreed: where a difference of 0.1 would have been seen, where the correction, which is the law's own, is no
larger than the approach's error, and where the grid's corners would not have given the same slope.

Two slopes may agree while the lines lie a factor of two apart. So approaches 2 and 3 are also compared in N* itself, at the
cheapest, the middle and the dearest budget that approach 2 brackets; D*/N* goes with it, since C = k N^p D. Approach 1 tells no
level: where one size takes over from another is not where either is best.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.approaches.calibration import Calibrated, LevelBias
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt
from analysis.estimates.words import p_text, shown
from analysis.questions.claims import holm

TELLING = 0.1        # of a: a pair that would not have seen this much apart says nothing by agreeing
TELLING_LEVEL = 1.5  # of N*, a factor: the same


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
class Level:
    """N* by approach 2 beside approach 3's, at one budget."""

    C: float
    ratio: Estimate     # of approach 2's N* to approach 3's, its bias on this grid taken off where it is known
    data_ratio: float   # the same of D*/N*
    p_value: float      # of no difference, the two taken as independent; Holm's correction for the budgets compared

    @property
    def telling(self) -> bool:
        """Whether a factor of TELLING_LEVEL would have been seen."""
        return self.ratio.high / self.ratio.low < TELLING_LEVEL**2

    def __str__(self) -> str:
        return (f"at {self.C:.2g} FLOPs approach 2's is {shown(self.ratio)} times approach 3's (D*/N* {self.data_ratio:.2g} times, "
                f"{p_text(self.p_value)})")


@dataclass(frozen=True)
class Agreement:
    """All pairs of the approaches that gave an estimate."""

    pairs: tuple[Pair, ...]
    text: str
    levels: tuple[Level, ...] = ()   # empty where approach 2 or 3 is missing
    level: float = 0.95

    @property
    def agree(self) -> bool:
        """In every slope and every level."""
        return all(p.agree for p in self.pairs) and all(one.p_value >= 1 - self.level for one in self.levels)

    def summary(self) -> str:
        return self.text

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        return () if self.agree else (Doubt("approaches_disagree", self.text),)


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
    # N* is not that of the law whose a is quoted where another outdoes it
    told = isoflop is not None and parametric is not None and getattr(parametric, "better", None) is None
    levels = _levels(isoflop, parametric, known.get("approach 2"), level) if told else ()
    said = [_said_of_levels(levels, level)] if levels else []
    return Agreement(pairs, "; ".join(apart + telling + said + empty), levels, level)


def _levels(isoflop, parametric, calibrated: Calibrated | None, level: float) -> tuple[Level, ...]:
    """At the places of the calibration, or at the ends and the middle of the bracketed budgets."""
    biases = calibrated.levels if calibrated is not None else ()
    if not biases:
        biases = tuple(LevelBias(C, 0.0, 0.0) for C in isoflop.places)
    z = special.ndtri((1 + level) / 2)
    found = []
    for bias in biases:
        one, best = isoflop.params(bias.C), parametric.optimum(bias.C)
        gap = np.log(one.value / best.N.value) - bias.bias
        # the intervals' own widths: of joined laws no standard error is theirs
        se = np.hypot(max(np.log(one.high / one.low) / 2 / z, bias.spread), np.log(best.N.high / best.N.low) / 2 / z)
        data = isoflop.samples(bias.C).value / one.value / (best.D.value / best.N.value) * np.exp((1 + parametric.cost.p) * bias.bias)
        p = float(2 * special.ndtr(-abs(gap) / max(se, 1e-300)))
        found.append(Level(bias.C, Estimate(*(float(np.exp(v)) for v in (gap, gap - z * se, gap + z * se)), float(np.exp(gap) * se),
                                            "Wald on logs", one.n, level), float(data), p))
    return tuple(replace(v, p_value=float(p)) for v, p in zip(found, holm(np.array([v.p_value for v in found])), strict=True))


def _said_of_levels(levels: tuple[Level, ...], level: float) -> str:
    apart = [v for v in levels if v.p_value < 1 - level]
    if apart:
        return f"approach 2 and approach 3 disagree on N* itself: {', '.join(str(v) for v in apart)}"
    low, high = (side(v.C for v in levels) for side in (min, max))
    farthest = max(levels, key=lambda v: abs(np.log(v.ratio.value)))
    span = f"from {low:.2g} to {high:.2g} FLOPs"
    if all(v.telling for v in levels):
        return f"approach 2 and approach 3 agree on N* itself {span}: farthest apart, {farthest}"
    return (f"approach 2 and approach 3 do not contradict each other on N* itself {span}, which is no evidence: a factor of "
            f"{TELLING_LEVEL:g} would not have been seen throughout; farthest apart, {farthest}")


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
    p = float(2 * special.ndtr(-abs(x.value - y.value) / max(se, 1e-300)))
    vague = "" if special.ndtri((1 + level) / 2) * se < TELLING else f"a difference of {TELLING:g} would not have been seen"
    return Pair(first, second, x.value - y.value, p, p >= 1 - level, weak or vague)
