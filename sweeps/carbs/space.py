"""The space a search walks in: configs of named hyperparameters, and points of basic coordinates."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from sweeps.carbs.dimensions import KINDS, Choice, Dimension, Integer, Linear, Listed, Log, Logit, PowerOfTwo

__all__ = ["Choice", "Dimension", "Integer", "Linear", "Listed", "Log", "Logit", "PowerOfTwo", "Space"]

Array = np.ndarray


class Space:
    """Names and dimensions in order, and the map between configs and basic coordinates (d,)."""

    def __init__(self, dimensions: Mapping[str, Dimension]):
        if not dimensions:
            raise ValueError("space: needs at least one hyperparameter")
        for name, dimension in dimensions.items():
            if not isinstance(dimension, tuple(KINDS.values())):
                raise ValueError(f"space: {name!r} must be one of {', '.join(KINDS)}, got {dimension!r}")
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
            if isinstance(dim, (Choice, Listed)):
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
        return cls({name: KINDS[fields["kind"]](**{k: v for k, v in fields.items() if k != "kind"})
                    for name, fields in state.items()})
