"""The performance-cost front: for every budget, the best loss believed within it."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class FrontPoint:
    """A configuration on the front, and what the model believes of it."""

    config: dict
    cost: float     # mean of the observed costs
    loss: float     # posterior mean (of the warped loss, taken back): noise is smoothed out
    low: float      # central 95% credible interval of the loss without observation noise
    high: float
    n: int          # observations of this very configuration


@dataclass(frozen=True)
class Front:
    """Points by rising cost and falling loss."""

    points: tuple[FrontPoint, ...]

    def loss_at(self, cost: float) -> float:
        """Loss of the best point within `cost`. Raises ValueError below the cheapest point."""
        within = [p.loss for p in self.points if p.cost <= cost]
        if not within:
            raise ValueError(f"no run on the front costs {cost:g} or less")
        return within[-1]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self):
        return iter(self.points)


def monotone(cost: Array, loss: Array) -> Array:
    """Indices of the points no other beats at equal or lower cost, by rising cost."""
    order = np.lexsort((loss, cost))
    running = np.minimum.accumulate(loss[order])
    first = np.concatenate([[True], running[1:] < running[:-1]])
    return order[first]
