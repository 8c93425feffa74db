"""A process that starts faster, without modules that others import in case they are of use."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec


class Without(MetaPathFinder):
    """Says of these modules that they are not installed."""

    def __init__(self, *names: str):
        self.names = names

    def find_spec(self, name, path, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)


class Hollow(MetaPathFinder, Loader):
    """Finds these modules, with nothing in them: for whoever only takes all that a package names."""

    def __init__(self, *names: str):
        self.names = names

    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name in self.names else None

    def exec_module(self, module):
        """Nothing to run."""


def without(*names: str) -> None:
    """For the rest of this process; what is imported stays."""
    sys.meta_path.insert(0, Without(*names))


def hollow(*names: str) -> None:
    """For the rest of this process; what is imported stays."""
    sys.meta_path.insert(0, Hollow(*names))
