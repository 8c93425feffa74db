"""The law of one hyperparameter, as a CARBS search writes it to NAME.laws.json and the analysis reads it."""

from dataclasses import dataclass

from analysis.estimates.estimate import Estimate


@dataclass(frozen=True)
class LawPoint:
    """What a law says at one cost."""

    cost: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TunedLaw:
    """One quantity's optimum as a function of the cost."""

    name: str
    kind: str               # of its dimension, and what the exponent is the slope of in log10 cost.
                            # Log and Integer: log10 value; Logit: log10 odds; Linear: the value itself
    exponent: Estimate      # n: finished runs behind it
    anchor: float           # the optimum at the reference cost
    curve: tuple[LawPoint, ...]
