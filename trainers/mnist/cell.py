"""What identifies a run: its place on the grid and the recipe it is trained by."""

from dataclasses import MISSING, Field, dataclass, field


def column(unit: str, meaning: str, *, default: object = MISSING) -> Field:
    """A field of a row: its unit and meaning travel into the Parquet schema."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """Where a run sits on the grid: all that identifies it, nothing measured."""

    width: float = column("1", "multiplier of the base channels, a power of sqrt 2")
    fraction: float = column("1", "share of the training images, a power of 1/2")
    dropout: float = column("1", "probability of zeroing a feature before the last layer")
    seed: int = column("1", "of initialisation, subset, order and dropout masks")


@dataclass(frozen=True, order=True, kw_only=True)
class Recipe:
    """How a cell is trained: what a sweep may tune."""

    lr: float = column("1", "peak learning rate of Adam, before the rule's factor")
    batch_size: int = column("images", "images a step")
    lr_rule: str = column("", "uniform, or fan_in: lr / sqrt(fan_in) in each layer", default="uniform")
    schedule: str = column("", "shape of the learning rate's decay", default="cosine")
    warmup: float = column("1", "share of the steps in which the rate rises", default=0.1)
    weight_decay: float = column("1", "decoupled weight decay, as in AdamW", default=0.0)
    beta1: float = column("1", "Adam's decay rate of the mean gradient", default=0.9)
    beta2: float = column("1", "Adam's decay rate of the squared gradient", default=0.99)
    precision: str = column("", "of the arithmetic: float32, tf32 or bfloat16 (weights stay float32)", default="float32")
