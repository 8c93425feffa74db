"""The rows of the MNIST studies: what a run is told, and what it yields.

Neither torch nor Ray is imported here, so that a table can be described in a second.
"""

from dataclasses import dataclass

from trainers.columns import axis, choice, clock, measured, repeat

PER_BUDGET = "per-budget"  # the protocol in which every data budget has its own schedule


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """All that identifies a run, nothing measured: its place on the grid, and how it is trained."""

    width: float = axis("1", "multiplier of the base channels, a power of sqrt 2")
    fraction: float = axis("1", "share of the training images, a power of 1/2")
    dropout: float = axis("1", "probability of zeroing a feature before the last layer", default=0.0)
    seed: int = repeat("1", "of initialisation, subset, order and dropout masks", default=0)
    lr: float = choice("1", "peak learning rate of Adam, before the rule's factor", default=0.02)
    batch_size: int = choice("images", "images a step", default=24)
    lr_rule: str = choice("", "fan_in: lr sqrt(batch_size / fan_in) in each layer; or uniform: lr", default="fan_in")
    schedule: str = choice("", "shape of the learning rate's decay", default="linear")
    warmup: float = choice("1", "share of the steps in which the rate rises", default=0.25)
    weight_decay: float = choice("1", "decoupled weight decay, as in AdamW", default=0.0)
    beta1: float = choice("1", "Adam's decay rate of the mean gradient", default=0.8)
    beta2: float = choice("1", "Adam's decay rate of the squared gradient", default=0.99)
    precision: str = choice("", "of the arithmetic: float32, tf32 or bfloat16 (weights stay float32)", default="float32")
    protocol: str = axis("", "whose schedule the point belongs to; per-budget: its own", default=PER_BUDGET)


@dataclass(frozen=True, order=True, kw_only=True)
class Result(Cell):
    """A finished cell: one row of results.parquet, and the only list of its columns."""

    channels: int = measured("channels", "of the first layer: base channels x width, rounded")
    params: int = measured("parameters", "N, trainable", law="N")
    samples: int = measured("images", "D, training images processed", law="D")
    steps: int = measured("steps", "optimiser steps")
    flops: float = measured("FLOP", "C, forward and backward over D images, 2 per multiply-add", law="C")
    spent_flops: float = measured("FLOP", "what the row added to the bill: C, less what it shares with its trunk")
    train_loss: float = measured("nat", "mean cross-entropy over the last tenth of the steps, as trained")
    val_loss: float = measured("nat", "L, mean cross-entropy over the whole validation set", law="L")
    val_accuracy: float = measured("1", "share of the validation set classified rightly", law="accuracy")
    train_seconds: float = clock("s", "wall time of the training steps")
    device: str = measured("", "cpu, or the GPU's name")
    dataset: str = measured("", "name of the data set")
    fingerprint: str = measured("", "of the data set's bytes and the trainer's code")
