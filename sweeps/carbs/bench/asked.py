"""Suggestions that a rival has given and heard nothing of yet."""

from typing import TypeVar

T = TypeVar("T")


def answered(asked: list[tuple[dict, T]], config: dict) -> T:
    """What the rival keeps of this very config, which is taken off the list. Raises StopIteration for one that it never gave."""
    return asked.pop(next(i for i, (given, _) in enumerate(asked) if given is config))[1]
