"""The row of a finished cell, and its Parquet schema.

Neither torch nor Ray is imported here, so that the analysis can read a table in a second.
"""

from dataclasses import dataclass, fields

import pyarrow as pa

from trainers.mnist.cell import Cell, Recipe, column


@dataclass(frozen=True, order=True, kw_only=True)
class Result(Recipe, Cell):
    """A finished cell: one row of results.parquet, and the only list of its columns."""

    protocol: str = column("", "whose schedule the point belongs to; per-budget: its own")
    channels: int = column("channels", "of the first layer: base channels x width, rounded")
    params: int = column("parameters", "N, trainable")
    samples: int = column("images", "D, training images processed")
    steps: int = column("steps", "optimiser steps")
    flops: float = column("FLOP", "C, forward and backward over D images, 2 per multiply-add")
    spent_flops: float = column("FLOP", "what the row added to the bill: C, less what it shares with its trunk")
    train_loss: float = column("nat", "mean cross-entropy over the last tenth of the steps, as trained")
    val_loss: float = column("nat", "L, mean cross-entropy over the whole validation set")
    val_accuracy: float = column("1", "share of the validation set classified rightly")
    train_seconds: float = column("s", "wall time of the training steps")
    device: str = column("", "cpu, or the GPU's name")
    dataset: str = column("", "name of the data set")
    fingerprint: str = column("", "of the data set's bytes and the trainer's code")


_ARROW = {float: pa.float64(), int: pa.int64(), str: pa.string()}


def schema_of(row_type: type) -> pa.Schema:
    """Arrow schema of a row's dataclass: a column a field, unit and meaning in its metadata.

    A study with columns of its own derives its row from Result.
    """
    return pa.schema([pa.field(f.name, _ARROW[f.type], nullable=False, metadata=dict(f.metadata))
                      for f in fields(row_type)])


SCHEMA = schema_of(Result)
