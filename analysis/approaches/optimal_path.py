"""N* and D* as powers of C through the minima of isoFLOP curves, with the errors that copies of the table made."""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.wild_bootstrap import basic_interval
from analysis.estimates.estimate import Estimate


@dataclass(frozen=True, eq=False)
class OptimalPath:
    """log N* and log D* are straight in log C."""

    N_line: tuple[float, float]   # log N* at log C = 0, its slope
    D_line: tuple[float, float]
    errors: np.ndarray            # (R, 4): of the heights of log N* and log D* at the middle budget, and of their slopes
    middle: float                 # log C that the heights' errors refer to
    cut: float                    # share of the draws beyond either end of an interval
    reached: tuple[float, float]  # the cheapest and the dearest budget with a minimum
    method: str                   # of the intervals
    n: int
    level: float

    def params(self, C: float) -> Estimate:
        """N* for C FLOPs."""
        return self._at(C, self.N_line, self.errors[:, [0, 2]])

    def samples(self, C: float) -> Estimate:
        """D* for C FLOPs."""
        return self._at(C, self.D_line, self.errors[:, [1, 3]])

    def inside(self, C: float) -> bool:
        """Whether C lies between bracketed budgets."""
        return bool(self.reached[0] <= C <= self.reached[1])

    def _at(self, C, line, errors) -> Estimate:
        log_value = line[0] + line[1] * np.log(C)
        error = errors[:, 0] + errors[:, 1] * (np.log(C) - self.middle)
        low, high = basic_interval(log_value, error, 0.0, self.cut)
        value = float(np.exp(log_value))
        return Estimate(value, float(np.exp(low)), float(np.exp(high)), value * float(np.std(error)), self.method, self.n, self.level)
