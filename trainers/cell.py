"""What identifies a run: its place on the grid and the recipe it is trained by."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """Where a run sits on the grid: all that identifies it, nothing measured."""

    width: float     # multiplier of the base channels, a power of sqrt 2
    fraction: float  # share of the training images, a power of 1/2
    dropout: float   # probability of zeroing a feature before the last layer
    seed: int        # initialisation, subset, order and dropout masks


@dataclass(frozen=True, order=True, kw_only=True)
class Recipe:
    """How a cell is trained: what a sweep may tune."""

    lr: float                  # peak learning rate of Adam
    batch_size: int            # images a step
    lr_rule: str = "uniform"   # "uniform": lr everywhere; "fan_in": lr / sqrt(fan_in) in each layer
    schedule: str = "cosine"   # shape of the decay to zero, see trainers.schedule
    warmup: float = 0.1        # share of the steps in which the rate rises linearly
    weight_decay: float = 0.0  # decoupled, as in AdamW
    beta1: float = 0.9         # Adam's decay rate of the mean
    beta2: float = 0.99        # and of the square
