"""A number with its interval: what every fit returns."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Estimate:
    """A point estimate, its confidence interval, and how both were had."""

    value: float
    low: float
    high: float
    se: float           # standard error, on the scale of value
    method: str = ""    # of the interval: "percentile bootstrap by (N, D) cell", "profile likelihood", ...
    n: int = 0          # points used
    level: float = 0.95

    def __contains__(self, x: float) -> bool:
        """Whether x lies inside the interval, ends included."""
        return self.low <= x <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def spanning(one: Estimate, other: Estimate | None) -> Estimate:
    """One's value with an interval that spans both; one itself where there is no other."""
    if other is None:
        return one
    return replace(one, low=min(one.low, other.low), high=max(one.high, other.high), se=max(one.se, other.se),
                   method=f"spanning both laws' intervals; {one.method}")
