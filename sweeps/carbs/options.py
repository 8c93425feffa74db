"""Kinds of hyperparameter of which a few values are given: unordered, or numbers by their order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

# Options of a Choice are one unit apart, like a decade of a Log: unit vectors over sqrt 2.
_ONE_HOT = math.sqrt(0.5)


def plain(value: object) -> object:
    """A NumPy scalar as Python's own, which JSON knows; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def finite(kind: str, name: str, value: object) -> float:
    """The number as a float. Raises ValueError, in the kind's name, where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) \
            or not math.isfinite(value):
        raise ValueError(f"{kind}: {name} must be a finite number, got {value!r}")
    return float(value)


@dataclass(frozen=True)
class Choice:
    """One of a few unordered options; `center` is the one to start with, by default the first."""

    options: tuple
    center: object = None

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(map(plain, self.options)))
        object.__setattr__(self, "center", plain(self.center))
        if len(self.options) < 2 or len(set(map(repr, self.options))) < len(self.options):
            raise ValueError(f"Choice: needs at least two different options, got {list(self.options)}")
        for option in self.options:
            if not (option is None or isinstance(option, (bool, int, float, str))):
                raise ValueError(f"Choice: options must be numbers, strings, booleans or None, got {option!r}")
        if self.center is None and None not in self.options:
            object.__setattr__(self, "center", self.options[0])
        self.encode(self.center)

    @property
    def width(self) -> int:
        return len(self.options)

    @property
    def limits(self) -> tuple[list[float], list[float]]:
        return [0.0] * self.width, [_ONE_HOT] * self.width

    @property
    def step(self) -> float:
        return 0.0

    def encode(self, value: object) -> list[float]:
        if repr(value) not in map(repr, self.options):
            raise ValueError(f"Choice: {value!r} is none of {list(self.options)}")
        return [_ONE_HOT * (repr(option) == repr(value)) for option in self.options]

    def decode(self, coordinates: Sequence[float]) -> object:
        return self.options[int(np.argmax(coordinates))]


@dataclass(frozen=True)
class Listed:
    """One of a few numbers, by their order: on a log scale where all are positive.

    Of unordered options make a Choice. `center` is the one to start with, by default the first given.
    """

    width: ClassVar[int] = 1

    options: tuple
    center: float | None = None
    scale: float = 1.0      # decades (all positive) or shares of the range to a basic unit

    def __post_init__(self):
        options = tuple(map(plain, self.options))
        for option in options:
            finite("Listed", "an option", option)
        if len(options) < 2 or len(set(options)) < len(options):
            raise ValueError(f"Listed: needs at least two different numbers, got {list(options)}")
        if finite("Listed", "scale", self.scale) <= 0:
            raise ValueError(f"Listed: scale must be positive, got {self.scale}")
        object.__setattr__(self, "center", options[0] if self.center is None else plain(self.center))
        object.__setattr__(self, "scale", plain(self.scale))
        object.__setattr__(self, "options", tuple(sorted(options)))
        self.encode(self.center)

    @property
    def limits(self) -> tuple[list[float], list[float]]:
        return self.encode(self.options[0]), self.encode(self.options[-1])

    @property
    def step(self) -> float:
        low, high = self.limits
        return (high[0] - low[0]) / (len(self.options) - 1)

    @property
    def log(self) -> bool:
        return self.options[0] > 0

    def _basic(self, value: float) -> float:
        if self.log:
            return math.log10(value) / self.scale
        return (value - self.options[0]) / (self.options[-1] - self.options[0]) / self.scale

    def unscaled(self, value: float) -> float:
        """The number at decades or shares of the range (not rounded to an option)."""
        return 10.0 ** value if self.log else self.options[0] + value * (self.options[-1] - self.options[0])

    def encode(self, value: float) -> list[float]:
        if isinstance(value, bool) or value not in self.options:
            raise ValueError(f"Listed: {value!r} is none of {list(self.options)}")
        return [self._basic(value)]

    def decode(self, coordinates: Sequence[float]) -> float:
        return min(self.options, key=lambda option: abs(self._basic(option) - coordinates[0]))
