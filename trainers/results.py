"""The row of a finished cell, and its Parquet schema: the one list of columns.

Neither torch nor Ray is imported here, so that the analysis can read a table in a second.
"""

from dataclasses import dataclass, fields

import pyarrow as pa

from trainers.cell import Cell, Recipe


@dataclass(frozen=True, order=True, kw_only=True)
class Result(Cell, Recipe):
    """A finished cell: one row of results.parquet."""

    protocol: str         # which schedule the point belongs to: "per-budget" unless a study says otherwise
    channels: int         # of the first layer: base channels x width, rounded
    params: int           # N, trainable parameters
    samples: int          # D, training images processed
    steps: int            # optimiser steps
    flops: float          # C, forward and backward over D images, 2 per multiply-add
    spent_flops: float    # what this row really cost: C, less what it shares with another row of its trunk
    train_loss: float     # nats, mean over the last tenth of the steps, as trained
    val_loss: float       # L, nats, mean cross-entropy over the whole validation set
    val_accuracy: float   # share of the validation set classified rightly
    train_seconds: float  # wall time of the training steps
    device: str           # "cpu" or the GPU's name
    dataset: str          # name of the data set
    fingerprint: str      # of the data set's bytes and the trainer's code


UNITS = {
    "width": ("1", "multiplier of the base channels"),
    "channels": ("channels", "channels of the first layer"),
    "fraction": ("1", "share of the training images"),
    "dropout": ("1", "dropout probability before the last layer"),
    "seed": ("1", "initialisation, subset, order and dropout masks"),
    "lr": ("1", "peak learning rate of Adam"),
    "batch_size": ("images", "images a step"),
    "lr_rule": ("", "uniform, or fan_in: lr / sqrt(fan_in) in each layer"),
    "schedule": ("", "shape of the learning rate's decay"),
    "warmup": ("1", "share of the steps with a rising rate"),
    "weight_decay": ("1", "decoupled weight decay"),
    "beta1": ("1", "Adam's decay rate of the mean gradient"),
    "beta2": ("1", "Adam's decay rate of the squared gradient"),
    "protocol": ("", "which schedule the point belongs to"),
    "params": ("parameters", "N, trainable parameters"),
    "samples": ("images", "D, training images processed"),
    "steps": ("steps", "optimiser steps"),
    "flops": ("FLOP", "C, training FLOPs, forward and backward, 2 per multiply-add"),
    "spent_flops": ("FLOP", "FLOPs this row added to the bill; less than C where a trunk is shared"),
    "train_loss": ("nat", "mean cross-entropy over the last tenth of the steps, as trained"),
    "val_loss": ("nat", "L, mean cross-entropy over the whole validation set"),
    "val_accuracy": ("1", "share of the validation set classified rightly"),
    "train_seconds": ("s", "wall time of the training steps"),
    "device": ("", "cpu, or the GPU's name"),
    "dataset": ("", "name of the data set"),
    "fingerprint": ("", "of the data set's bytes and the trainer's code"),
}

_ARROW = {float: pa.float64(), int: pa.int64(), str: pa.string()}

SCHEMA = pa.schema([
    pa.field(f.name, _ARROW[f.type], nullable=False,
             metadata={"unit": UNITS[f.name][0], "meaning": UNITS[f.name][1]})
    for f in fields(Result)
])
