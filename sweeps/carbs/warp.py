"""The loss as its model sees it: the log of its distance to a floor."""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray

# The floor the loss is measured from lies this many spreads (best to median) below the best
# seen: small values bend a power law straight, the largest leave the loss as it is.
WARPS = 2.0 ** np.arange(-5, 6)


@dataclass(frozen=True)
class Warp:
    """y = (log(loss - floor) - shift) / scale: straightens power laws, keeps order, extrapolates."""

    floor: float
    shift: float
    scale: float
    ceiling: float      # losses above are read as this: how bad a bad run was is no news

    def __call__(self, loss: Array) -> Array:
        return self.unbounded(np.minimum(loss, self.ceiling))

    def unbounded(self, loss: Array) -> Array:
        """Without the ceiling."""
        return (np.log(loss - self.floor) - self.shift) / self.scale

    def inverse(self, y: Array) -> Array:
        return self.floor + np.exp(np.minimum(self.shift + self.scale * y, 700.0))

    def log_jacobian(self, loss: Array) -> float:
        """Sum of log |dy / dloss|."""
        return float(-np.log(np.minimum(loss, self.ceiling) - self.floor).sum() - len(loss) * math.log(self.scale))


def warp_of(loss: Array, index: int) -> Warp:
    best, middle, most = np.quantile(loss, [0.0, 0.5, 0.75])
    # The absolute term keeps equal losses apart from a floor at themselves.
    spread = max(middle - best, 1e-9 * max(abs(best), 1e-12))
    floor = best - WARPS[index] * spread
    # 10 times the third quartile's distance: far outside any region worth a model.
    ceiling = best + 10.0 * max(most - best, spread)
    y = np.log(np.minimum(loss, ceiling) - floor)
    return Warp(float(floor), float(y.mean()), float(max(y.std(), 1e-9)), float(ceiling))
