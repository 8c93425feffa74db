"""Do the three approaches tell the same exponent?"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt


@dataclass(frozen=True)
class Pair:
    """Two approaches' a side by side."""

    first: str
    second: str
    difference: float  # first less second
    p_value: float     # of no difference, the two taken as independent
    agree: bool


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


def agreement(envelope=None, isoflop=None, parametric=None, *, level: float = 0.95) -> Agreement:
    """Wald tests between the approaches' a.

    They share their runs, so their errors correlate and the true p-value is smaller than the
    one that independence gives: a disagreement found here is one, agreement may be weaker.
    """
    named = [(name, fit.a) for name, fit in (("approach 1", envelope), ("approach 2", isoflop),
                                             ("approach 3", parametric)) if fit is not None]
    pairs = tuple(_compare(*one, *other, level) for i, one in enumerate(named) for other in named[i + 1:])
    if not pairs:
        return Agreement((), "fewer than two approaches gave an exponent: nothing to compare")
    apart = [p for p in pairs if not p.agree]
    if not apart:
        return Agreement(pairs, "the approaches agree on a: " + ", ".join(f"{n} {a}" for n, a in named))
    return Agreement(pairs, "; ".join(f"{p.first} and {p.second} disagree on a by {p.difference:+.3f} (p = {p.p_value:.2g})"
                                      for p in apart))


def _compare(first: str, x: Estimate, second: str, y: Estimate, level: float) -> Pair:
    se = np.hypot(x.se, y.se)
    p = float(2 * stats.norm.sf(abs(x.value - y.value) / max(se, 1e-300)))
    return Pair(first, second, x.value - y.value, p, p >= 1 - level)
