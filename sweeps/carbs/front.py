"""The performance-cost front: for every budget, the best loss believed within it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeps.carbs.beliefs import Beliefs
from sweeps.carbs.pareto import monotone

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

    def negated(self) -> "Front":
        """Of a metric that was maximised, by rising cost and rising metric."""
        return Front(tuple(replace(p, loss=-p.loss, low=-p.high, high=-p.low) for p in self.points))

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self):
        return iter(self.points)


def front_of(configs: Sequence[dict], now: Beliefs) -> Front:
    """Of finished runs, those believed to be beaten by no other at equal or lower cost; repeats are one."""
    groups: dict[tuple, list[int]] = {}
    for i, x in enumerate(now.X):
        groups.setdefault(tuple(x), []).append(i)
    first = [members[0] for members in groups.values()]
    cost = np.array([np.exp(now.log_cost[m]).mean() for m in groups.values()])
    loss, low, high = (part[first] for part in (now.intervals.loss, now.intervals.low, now.intervals.high))
    for i, members in enumerate(groups.values()):
        # The loss model reads losses beyond its ceiling as the ceiling: of such a run only its own observations speak.
        if now.observed[members].min() > now.loss.warp.ceiling:
            own = now.loss.seen(now.observed[members], float(now.log_cost[members].mean()))
            loss[i], low[i], high[i] = own.loss[0], own.low[0], own.high[0]
    counts = [len(m) for m in groups.values()]
    return Front(tuple(
        FrontPoint(dict(configs[first[i]]), float(cost[i]), float(loss[i]), float(low[i]), float(high[i]),
                   counts[i]) for i in monotone(cost, loss)))
