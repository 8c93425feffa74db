"""A process that starts faster, without modules that others import in case they are of use."""

import sys
from importlib.abc import MetaPathFinder


class Without(MetaPathFinder):
    """Says of these modules that they are not installed."""

    def __init__(self, *names: str):
        self.names = names

    def find_spec(self, name, path, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)


def without(*names: str) -> None:
    """For the rest of this process; what is imported stays."""
    sys.meta_path.insert(0, Without(*names))
