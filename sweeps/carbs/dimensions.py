"""Kinds of hyperparameter: how each becomes basic coordinates, and what it refuses.

A basic coordinate is where the search and its models live: one unit is a step that
matters about equally everywhere, a decade for Log and of the odds for Logit (Fetterman
et al. 2023, section 3). Bounds are optional, a center is not: it is where the search starts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sweeps.carbs.options import Choice, Listed, finite, plain


class Scalar:
    """What the numeric kinds share: checks, and bounds in basic coordinates."""

    width: ClassVar[int] = 1

    @property
    def step(self) -> float:
        """Distance of neighbouring values, in basic coordinates; 0 where there is none between any two."""
        return 0.0

    def _check(self) -> None:
        kind = type(self).__name__
        for name in ("center", "low", "high", "scale"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        finite(kind, "center", self.center)
        if finite(kind, "scale", self.scale) <= 0:
            raise ValueError(f"{kind}: scale must be positive, got {self.scale}")
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                finite(kind, name, getattr(self, name))
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"{kind}: low must be below high, got low={self.low}, high={self.high}")
        self._domain()
        if self.low is not None and self.center < self.low or self.high is not None and self.center > self.high:
            raise ValueError(f"{kind}: center {self.center} lies outside its bounds "
                             f"[{self.low}, {self.high}]; move the center or widen the bounds")

    def _domain(self) -> None:
        """Refuse what the transform cannot take."""

    @property
    def limits(self) -> tuple[list[float], list[float]]:
        low = -math.inf if self.low is None else self.encode(self.low)[0]
        high = math.inf if self.high is None else self.encode(self.high)[0]
        return [low], [high]

    def _inside(self, value: float) -> float:
        """Undo the last bit of rounding that a transform there and back may cost at a bound."""
        value = value if self.low is None else max(value, self.low)
        return value if self.high is None else min(value, self.high)


@dataclass(frozen=True)
class Linear(Scalar):
    """A scalar that is searched as it is; `scale` is a step that matters."""

    center: float
    low: float | None = None
    high: float | None = None
    scale: float = 1.0      # units of the scalar to a basic unit

    def __post_init__(self):
        self._check()

    def encode(self, value: float) -> list[float]:
        return [value / self.scale]

    def decode(self, coordinates: Sequence[float]) -> float:
        return self._inside(float(coordinates[0] * self.scale))


@dataclass(frozen=True)
class Log(Scalar):
    """A positive scalar searched on a log scale: learning rates, parameters, tokens."""

    center: float
    low: float | None = None
    high: float | None = None
    scale: float = 1.0      # decades to a basic unit

    def __post_init__(self):
        self._check()

    def _domain(self) -> None:
        for name in ("center", "low"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"Log: {name} must be positive, got {getattr(self, name)}; "
                                 "use Linear where zero or less is meant")

    def encode(self, value: float) -> list[float]:
        return [math.log10(value) / self.scale]

    def decode(self, coordinates: Sequence[float]) -> float:
        # +-300 decades: beyond them 10**x is 0 or inf, which no transform takes back.
        return self._inside(float(10.0 ** min(max(coordinates[0] * self.scale, -300.0), 300.0)))


@dataclass(frozen=True)
class Logit(Scalar):
    """A share in (0, 1) searched by its odds: dropout, momentum, warm-up."""

    center: float
    low: float | None = None
    high: float | None = None
    scale: float = 1.0      # decades of the odds to a basic unit

    def __post_init__(self):
        self._check()

    def _domain(self) -> None:
        for name in ("center", "low", "high"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"Logit: {name} must lie strictly between 0 and 1, got {value}")

    def encode(self, value: float) -> list[float]:
        return [math.log10(value / (1 - value)) / self.scale]

    def decode(self, coordinates: Sequence[float]) -> float:
        # +-15 decades of the odds: beyond them a double's p is 0 or 1.
        odds = 10.0 ** min(max(coordinates[0] * self.scale, -15.0), 15.0)
        return self._inside(float(odds / (1 + odds)))


@dataclass(frozen=True)
class Integer(Scalar):
    """A whole number: on a log scale (widths, batch sizes) or, with log=False, as it is (layers)."""

    center: int
    low: int | None = None
    high: int | None = None
    log: bool = True
    scale: float = 1.0      # decades (log) or units to a basic unit

    def __post_init__(self):
        self._check()

    def _domain(self) -> None:
        for name in ("center", "low", "high"):
            value = getattr(self, name)
            if value is not None and value != round(value):
                raise ValueError(f"Integer: {name} must be a whole number, got {value}")
            if value is not None and self.log and value < 1:
                raise ValueError(f"Integer: {name} must be at least 1 on a log scale, got {value}; "
                                 "pass log=False where zero is meant")

    @property
    def step(self) -> float:
        return 0.0 if self.log else 1.0 / self.scale

    def encode(self, value: int) -> list[float]:
        return [(math.log10(value) if self.log else value) / self.scale]

    def decode(self, coordinates: Sequence[float]) -> int:
        basic = min(max(coordinates[0] * self.scale, 0.0), 18.0) if self.log else coordinates[0] * self.scale
        return int(self._inside(round(10.0 ** basic if self.log else basic)))


@dataclass(frozen=True)
class PowerOfTwo(Scalar):
    """A whole power of two on a log scale: batch sizes, hidden widths, heads."""

    center: int
    low: int | None = None
    high: int | None = None
    scale: float = 1.0      # decades to a basic unit

    def __post_init__(self):
        self._check()

    def _domain(self) -> None:
        for name in ("center", "low", "high"):
            value = getattr(self, name)
            if value is not None and (value < 1 or value != round(value) or int(value) & (int(value) - 1)):
                raise ValueError(f"PowerOfTwo: {name} must be 1, 2, 4, 8, ..., got {value}")

    @property
    def step(self) -> float:
        return math.log10(2.0) / self.scale

    def encode(self, value: int) -> list[float]:
        return [math.log10(value) / self.scale]

    def decode(self, coordinates: Sequence[float]) -> int:
        power = min(max(coordinates[0] * self.scale / math.log10(2.0), 0.0), 60.0)
        return int(self._inside(2 ** round(power)))


Dimension = Linear | Log | Logit | Integer | PowerOfTwo | Listed | Choice
KINDS = {kind.__name__: kind for kind in (Linear, Log, Logit, Integer, PowerOfTwo, Listed, Choice)}


@dataclass(frozen=True)
class Conditional:
    """A hyperparameter that a config has only where another, before it in the space, takes one of `values`."""

    dimension: Dimension
    on: str
    values: tuple

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(self.values) if isinstance(self.values, (tuple, list)) else (self.values,))
        if not self.values:
            raise ValueError(f"Conditional: needs at least one value of {self.on!r} under which it counts")
