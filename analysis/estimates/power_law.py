"""A straight line in log-log coordinates, with the interval of its slope."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import NotIdentified, TooFewPoints


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * x^exponent."""

    coefficient: float
    exponent: Estimate

    def __call__(self, x):
        return self.coefficient * np.asarray(x, float) ** self.exponent.value

    def summary(self) -> str:
        return f"y = {self.coefficient:.4g} x^{self.exponent} ({self.exponent.n} points)"


def fit_power_law(x, y, *, weight=None, level: float = 0.95) -> PowerLaw:
    """Weighted least squares of log y on log x; Student's t interval with n - 2 degrees of freedom.

    Raises TooFewPoints below 3 points, NotIdentified where x does not vary.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if not ((x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)).all():
        raise ValueError("a power law's points are positive finite numbers: drop the others")
    u, v = np.log(x), np.log(y)
    w = np.ones_like(u) if weight is None else np.asarray(weight, float)
    if len(u) < 3:
        raise TooFewPoints(f"need at least 3 points for a power law, got {len(u)}")
    if np.ptp(u) < 1e-9:
        raise NotIdentified("every point of the power law has the same abscissa")
    w = w / w.mean()
    centre = np.average(u, weights=w)
    spread = (w * (u - centre) ** 2).sum()
    slope = (w * (u - centre) * v).sum() / spread
    offset = np.average(v, weights=w) - slope * centre
    residual = v - offset - slope * u
    se = float(np.sqrt((w * residual**2).sum() / (len(u) - 2) / spread))
    reach = special.stdtrit(len(u) - 2, (1 + level) / 2) * se
    exponent = Estimate(float(slope), float(slope - reach), float(slope + reach), se,
                        "least squares in log-log, Student's t", len(u), level)
    return PowerLaw(float(np.exp(offset)), exponent)
