"""What the next runs are to tell: an exponent, or the best size, data or loss at some compute."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.surface import Surface
from analysis.estimates.estimate import Estimate

EXPONENTS = ("a", "b", "gamma", "alpha", "beta")
OPTIMA = ("N", "D", "L")


@dataclass(frozen=True)
class Target:
    """A quantity whose interval is to shrink."""

    name: str          # of EXPONENTS, or of OPTIMA
    C: float | None    # FLOPs, of an optimum

    def __str__(self) -> str:
        return self.name if self.C is None else f"{self.name}* at {self.C:.3g} FLOPs"

    @property
    def scale(self) -> str:
        """What a width is counted in."""
        return "wide" if self.C is None else "between its ends, as a factor"

    def value(self, surface: Surface, cost: CostLaw):
        """On the scale that widths are counted on: the exponent itself, the logarithm of an optimum."""
        if self.C is not None:
            return np.log(getattr(surface.optimum(self.C, cost), self.name))
        return getattr(surface, self.name)(cost) if self.name in ("a", "b", "gamma") else getattr(surface, self.name)

    def estimate(self, law) -> Estimate:
        """As a LawChoice gives it."""
        return law.estimate(self.name) if self.C is None else getattr(law.optimum(self.C), self.name)

    def width(self, e: Estimate) -> float:
        """Of the interval, on the scale of `value`; infinite where it has no end, or none above 0."""
        if self.C is None:
            return e.high - e.low
        return math.log(e.high / e.low) if e.low > 0 else math.inf

    def shown(self, width: float) -> str:
        """0.083, or of an optimum the factor between the ends."""
        return f"{width:.3g}" if self.C is None else f"x{math.exp(min(width, 700.0)):.3g}"


def parsed_target(text: str) -> Target:
    """a, alpha, N*@1e21, L@1e21. Raises ValueError, one line, for anything else."""
    name, at, flops = text.partition("@")
    name = name.strip().removesuffix("*")
    if not at and name in EXPONENTS:
        return Target(name, None)
    try:
        C = float(flops)
    except ValueError:
        C = math.nan
    if name in OPTIMA and math.isfinite(C) and C > 0:
        return Target(name, C)
    raise ValueError(f"{text!r} is nothing to plan for: give one of {', '.join(EXPONENTS)}, or N*@C, D*@C or L@C with C in FLOPs")
