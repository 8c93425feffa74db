"""The space a search walks in: hyperparameters as scalars, and as basic coordinates.

A basic coordinate is where the search and its models live: one unit is a step that
matters about equally everywhere, a decade for Log and of the odds for Logit (Fetterman
et al. 2023, section 3). Bounds are optional, a center is not: it is where the search starts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

Array = np.ndarray

# Options of a Choice are one unit apart, like a decade of a Log: unit vectors over sqrt 2.
_ONE_HOT = math.sqrt(0.5)


def _number(kind: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) \
            or not math.isfinite(value):
        raise ValueError(f"{kind}: {name} must be a finite number, got {value!r}")
    return float(value)


class _Scalar:
    """What the four numeric kinds share: checks, and bounds in basic coordinates."""

    width: ClassVar[int] = 1

    def _check(self) -> None:
        kind = type(self).__name__
        _number(kind, "center", self.center)
        if _number(kind, "scale", self.scale) <= 0:
            raise ValueError(f"{kind}: scale must be positive, got {self.scale}")
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                _number(kind, name, getattr(self, name))
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
class Linear(_Scalar):
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
class Log(_Scalar):
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
class Logit(_Scalar):
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
class Integer(_Scalar):
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

    def encode(self, value: int) -> list[float]:
        return [(math.log10(value) if self.log else value) / self.scale]

    def decode(self, coordinates: Sequence[float]) -> int:
        basic = min(max(coordinates[0] * self.scale, 0.0), 18.0) if self.log else coordinates[0] * self.scale
        return int(self._inside(round(10.0 ** basic if self.log else basic)))


@dataclass(frozen=True)
class Choice:
    """One of a few unordered options; `center` is the one to start with, by default the first."""

    options: tuple
    center: object = None

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(self.options))
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

    def encode(self, value: object) -> list[float]:
        if repr(value) not in map(repr, self.options):
            raise ValueError(f"Choice: {value!r} is none of {list(self.options)}")
        return [_ONE_HOT * (repr(option) == repr(value)) for option in self.options]

    def decode(self, coordinates: Sequence[float]) -> object:
        return self.options[int(np.argmax(coordinates))]


Dimension = Linear | Log | Logit | Integer | Choice
_KINDS = {kind.__name__: kind for kind in (Linear, Log, Logit, Integer, Choice)}


class Space:
    """Names and dimensions in order, and the map between configs and basic coordinates (d,)."""

    def __init__(self, dimensions: Mapping[str, Dimension]):
        if not dimensions:
            raise ValueError("space: needs at least one hyperparameter")
        for name, dimension in dimensions.items():
            if not isinstance(dimension, tuple(_KINDS.values())):
                raise ValueError(f"space: {name!r} must be one of {', '.join(_KINDS)}, got {dimension!r}")
        self.dimensions = dict(dimensions)
        ends = np.cumsum([0] + [dim.width for dim in dimensions.values()])
        self.columns = {name: slice(int(lo), int(hi)) for name, lo, hi in zip(dimensions, ends, ends[1:])}
        self.width = int(ends[-1])
        self.low = np.concatenate([dim.limits[0] for dim in dimensions.values()])
        self.high = np.concatenate([dim.limits[1] for dim in dimensions.values()])
        self.blocks = [self.columns[name] for name, dim in dimensions.items() if isinstance(dim, Choice)]
        self.numeric = np.ones(self.width, bool)
        for block in self.blocks:
            self.numeric[block] = False

    def center(self) -> dict:
        return {name: dim.decode(dim.encode(dim.center)) for name, dim in self.dimensions.items()}

    def check(self, config: Mapping) -> dict:
        """The config in the space's order. Raises ValueError where a name or a value doesn't belong."""
        if set(config) != set(self.dimensions):
            raise ValueError(f"config: expected the names {sorted(self.dimensions)}, got {sorted(config)}")
        for name, dim in self.dimensions.items():
            if isinstance(dim, Choice):
                dim.encode(config[name])
            else:
                type(dim)(center=config[name], **{k: v for k, v in asdict(dim).items() if k != "center"})
        return {name: config[name] for name in self.dimensions}

    def encode(self, config: Mapping) -> Array:
        return np.concatenate([dim.encode(config[name]) for name, dim in self.dimensions.items()])

    def decode(self, x: Array) -> dict:
        return {name: dim.decode(x[self.columns[name]]) for name, dim in self.dimensions.items()}

    def snap(self, X: Array) -> Array:
        """The nearest points (m, d) that a config can express: inside bounds, whole, one option."""
        return np.array([self.encode(self.decode(x)) for x in X]).reshape(len(X), self.width)

    def to_json(self) -> dict:
        return {name: {"kind": type(dim).__name__, **asdict(dim)} for name, dim in self.dimensions.items()}

    @classmethod
    def from_json(cls, state: Mapping) -> "Space":
        return cls({name: _KINDS[fields["kind"]](**{k: v for k, v in fields.items() if k != "kind"})
                    for name, fields in state.items()})
