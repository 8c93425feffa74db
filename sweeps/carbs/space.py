"""The space a search walks in: configs of named hyperparameters, and points of basic coordinates."""

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from sweeps.carbs.dimensions import KINDS, Choice, Conditional, Dimension, Integer, Linear, Listed, Log, Logit, PowerOfTwo, Scalar

__all__ = ["Choice", "Conditional", "Dimension", "Integer", "Linear", "Listed", "Log", "Logit", "PowerOfTwo", "Space"]

Array = np.ndarray


class Space:
    """Names and dimensions in order, and the map between configs and basic coordinates (d,).

    A hyperparameter under a condition that doesn't hold is absent from configs, and at its center in
    coordinates: models see no difference where there is none.
    """

    def __init__(self, dimensions: Mapping[str, Dimension | Conditional]):
        if not dimensions:
            raise ValueError("space: needs at least one hyperparameter")
        self.conditions = {name: dim for name, dim in dimensions.items() if isinstance(dim, Conditional)}
        self.dimensions = {name: dim.dimension if isinstance(dim, Conditional) else dim for name, dim in dimensions.items()}
        for name, dimension in self.dimensions.items():
            if not isinstance(dimension, tuple(KINDS.values())):
                raise ValueError(f"space: {name!r} must be one of {', '.join(KINDS)}, got {dimension!r}")
        self._check_conditions()
        dims = self.dimensions.values()
        ends = np.cumsum([0] + [dim.width for dim in dims])
        self.columns = {name: slice(int(lo), int(hi)) for name, lo, hi in zip(self.dimensions, ends, ends[1:])}
        self.width = int(ends[-1])
        self.low = np.concatenate([dim.limits[0] for dim in dims])
        self.high = np.concatenate([dim.limits[1] for dim in dims])
        self.step = np.concatenate([np.full(dim.width, dim.step) for dim in dims])
        self.blocks = [self.columns[name] for name, dim in self.dimensions.items() if isinstance(dim, Choice)]
        self.numeric = np.ones(self.width, bool)
        for block in self.blocks:
            self.numeric[block] = False
        # Whether every hyperparameter has both bounds: only then is there such a thing as all of the space.
        self.bounded = bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def _check_conditions(self) -> None:
        before: set[str] = set()
        for name in self.dimensions:
            condition = self.conditions.get(name)
            if condition is not None:
                if condition.on not in before:
                    raise ValueError(f"space: {name!r} depends on {condition.on!r}, which must stand before it in the space")
                for value in condition.values:
                    self._value(condition.on, value)
            before.add(name)

    def _value(self, name: str, value: object) -> object:
        """The value as its dimension writes it. Raises ValueError where it doesn't belong."""
        dim = self.dimensions[name]
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(dim, Scalar):
            return dim.options[[repr(option) for option in dim.options].index(repr(value))] \
                if repr(value) in map(repr, dim.options) else dim.decode(dim.encode(value))
        center = replace(dim, center=value).center
        return int(center) if isinstance(dim, (Integer, PowerOfTwo)) else float(center)

    def holds(self, name: str, config: Mapping) -> bool:
        """Whether a config that has all that stands before `name` should have it too."""
        condition = self.conditions.get(name)
        return condition is None or condition.on in config and config[condition.on] in condition.values

    def center(self) -> dict:
        return self._active({name: dim.decode(dim.encode(dim.center)) for name, dim in self.dimensions.items()})

    def _active(self, full: Mapping) -> dict:
        config: dict = {}
        for name in self.dimensions:
            if self.holds(name, config):
                config[name] = full[name]
        return config

    def check(self, config: Mapping) -> dict:
        """The config in the space's order and types. Raises ValueError where a name or a value doesn't belong."""
        if not isinstance(config, Mapping):
            raise ValueError(f"config: expected names and values, got {config!r}")
        checked: dict = {}
        for name in self.dimensions:
            if self.holds(name, checked):
                if name not in config:
                    raise ValueError(f"config: expected the names {sorted(self.dimensions)}, got {sorted(map(str, config))}")
                checked[name] = self._value(name, config[name])
        if extra := set(config) - set(checked):
            raise ValueError(f"config: unknown here, or without what they depend on: names {sorted(map(str, extra))}")
        return checked

    def encode(self, config: Mapping) -> Array:
        return np.concatenate([dim.encode(config.get(name, dim.center)) for name, dim in self.dimensions.items()])

    def decode(self, x: Array) -> dict:
        return self._active({name: dim.decode(x[self.columns[name]]) for name, dim in self.dimensions.items()})

    def snap(self, X: Array) -> Array:
        """The nearest points (m, d) that a config can express: inside bounds, whole, one option."""
        return np.array([self.encode(self.decode(x)) for x in X]).reshape(len(X), self.width)

    def moved(self, config: Mapping) -> dict:
        """A config of an older space: names it lacks at their centers, others' dropped, out of bounds left so.

        Raises ValueError where a value can't be expressed here at all.
        """
        full = {name: config.get(name, dim.center) for name, dim in self.dimensions.items()}
        for name, dim in self.dimensions.items():
            (replace(dim, center=full[name], low=None, high=None) if isinstance(dim, Scalar) else dim).encode(full[name])
        return self._active(full)

    def to_json(self) -> dict:
        return {name: {"kind": type(dim).__name__, **asdict(dim),
                       **({"on": c.on, "values": list(c.values)} if (c := self.conditions.get(name)) else {})}
                for name, dim in self.dimensions.items()}

    @classmethod
    def from_json(cls, state: Mapping) -> "Space":
        dimensions = {}
        for name, fields in state.items():
            dim = KINDS[fields["kind"]](**{k: v for k, v in fields.items() if k not in ("kind", "on", "values")})
            dimensions[name] = Conditional(dim, fields["on"], tuple(fields["values"])) if "on" in fields else dim
        return cls(dimensions)
