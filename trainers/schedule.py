"""The learning rate's course over a run, as a factor of its peak for every step."""

import math

SHAPES = ("cosine", "linear", "constant")


def warmup_steps(steps: int, warmup: float) -> int:
    """Steps with a rising rate: the share `warmup`, at least one, never the whole run."""
    return min(max(1, round(warmup * steps)), max(1, steps - 1))


def rate_factors(steps: int, *, shape: str = "cosine", warmup: float = 0.1) -> list[float]:
    """Factor of the peak rate at each of `steps` steps: a linear rise, then the shape's decay to zero.

    Raises ValueError for a shape that isn't in SHAPES.
    """
    if shape not in SHAPES:
        raise ValueError(f"unknown schedule {shape!r}: choose one of {', '.join(SHAPES)}")
    rising = warmup_steps(steps, warmup)
    return [(step + 1) / rising if step < rising else _decayed(shape, (step - rising) / (steps - rising))
            for step in range(steps)]


def decay_factors(steps: int) -> list[float]:
    """The short linear decay to zero that ends a warm-up-stable-decay run (Hägele et al. 2024, section 3)."""
    return [1.0 - (step + 1) / (steps + 1) for step in range(steps)]


def _decayed(shape: str, progress: float) -> float:
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress if shape == "linear" else 1.0
