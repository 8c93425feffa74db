"""What a search is told: asks in flight, and runs that finished, failed or were stopped."""

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sweeps.carbs.space import Space

# Losses beyond are read as this: the models' squares of them still fit into doubles.
LARGEST = 1e150


@dataclass(frozen=True)
class Observation:
    """A run as told."""

    config: dict
    loss: float | None              # as minimised; None: the run failed
    cost: float | None              # burnt; None: a failed run whose cost is unknown
    stopped: bool = False           # before its end: the loss is one that its last would have been below,
    least: float | None = None      # and this one, where known, that it would have been above

    @property
    def finished(self) -> bool:
        return self.loss is not None and not self.stopped

    @property
    def failed(self) -> bool:
        return self.loss is None


@dataclass
class Ask:
    """A config asked for and not yet told."""

    config: dict
    id: str | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)     # cost so far and loss, as reported


@dataclass(frozen=True)
class Known:
    """All runs of a search."""

    observations: list[Observation]
    asks: list[Ask]
    queue: list[dict]
    dropped: dict[str, int] = field(default_factory=dict)      # why runs were, and how many

    @classmethod
    def of(cls, state: Mapping) -> "Known":
        """From a saved state; one of an older version has its runs in flight as bare configs."""
        asks = state.get("asks") or [{"config": c} for c in state.get("pending", [])]
        return cls([Observation(**o) for o in state["observations"]],
                   [Ask(a["config"], a.get("id"), [tuple(point) for point in a.get("curve", [])]) for a in asks],
                   [dict(c) for c in state["queue"]])

    def moved(self, space: Space) -> "Known":
        """The same runs in another space, less those that it can't express."""
        lost = []

        def kept(items: list, moved: Callable) -> list:
            found = []
            for item in items:
                try:
                    found.append(moved(item))
                except ValueError:
                    lost.append(item)
            return found

        observations = kept(self.observations, lambda o: replace(o, config=space.moved(o.config)))
        asks = kept(self.asks, lambda ask: replace(ask, config=space.moved(ask.config)))
        queue = kept(self.queue, space.moved)
        return Known(observations, asks, queue, {"a run that the new space can't express was dropped": len(lost)} if lost else {})


def number(name: str, value: object, hint: str) -> float:
    """A Python float of any scalar. Raises ValueError, with the hint, where it is none."""
    if value is None or isinstance(value, (str, bytes, bool)):
        raise ValueError(f"{name} must be a number, got {value!r}; {hint}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number, got {value!r}; {hint}") from None


def loss_of(value: object) -> float | None:
    """The loss; None (a failure) where it isn't finite."""
    loss = number("loss", value, "a run that has none is told by tell_failed(config, cost=...)")
    return min(max(loss, -LARGEST), LARGEST) if math.isfinite(loss) else None


def cost_of(value: object) -> float:
    return positive("cost", value, "report what the run burnt in any one unit")


def positive(name: str, value: object, hint: str = "give it in the unit of the costs") -> float:
    """A Python float. Raises ValueError, with the hint, where it is no positive, finite number."""
    found = number(name, value, hint)
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name} must be positive and finite, got {found:g}; {hint}")
    return found


def whole(name: str, value: object) -> int:
    """A Python int of any whole number from 0. Raises ValueError where it is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0, got {value!r}")
    return int(value)
