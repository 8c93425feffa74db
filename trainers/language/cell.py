"""The rows of the language studies: what a run is told, and what it yields.

A token is a byte of a text, or a pixel. Neither torch nor Ray is imported here.
"""

from dataclasses import dataclass

from trainers.columns import axis, choice, clock, measured, repeat

PER_BUDGET = "per-budget"  # the protocol in which every data budget has its own schedule


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """All that identifies a run, nothing measured: its place on the grid, and how it is trained."""

    width: int = axis("1", "of the residual stream")
    tokens: int = axis("tokens", "training data: the run sees as many, in whole batches")
    seed: int = repeat("1", "of initialisation, subset and order", default=0)
    depth: int = choice("blocks", "attention and a feed-forward layer each; by rule from the width", default=2)
    context: int = choice("tokens", "attended to at most; 0: 64, or the whole image", default=0)
    batch_size: int = choice("tokens", "a step, in whole sequences, at least one; by rule from the data", default=512)
    lr: float = choice("1", "peak learning rate of Adam; by rule from the width", default=0.01)
    schedule: str = choice("", "shape of the learning rate's decay", default="cosine")
    warmup: float = choice("1", "length of the learning rate's rise, as a share of what warmup_of says", default=0.1)
    warmup_of: str = choice("", "run: of its steps; parameters: tokens a parameter (N); tokens: as many", default="run")
    weight_decay: float = choice("1", "decoupled weight decay, as in AdamW", default=0.0)
    beta1: float = choice("1", "Adam's decay rate of the mean gradient", default=0.9)
    beta2: float = choice("1", "Adam's decay rate of the squared gradient", default=0.95)
    epochs: int = choice("1", "passes over tokens / epochs of the data", default=1)
    precision: str = choice("", "of the arithmetic: float32, tf32 or bfloat16 (weights stay float32)", default="float32")
    protocol: str = axis("", "whose schedule the point belongs to; per-budget: its own", default=PER_BUDGET)


@dataclass(frozen=True, order=True, kw_only=True)
class Result(Cell):
    """A finished cell: one row of the table, and the only list of its columns."""

    params: int = measured("parameters", "N, matrices and head: all that a token is multiplied by", law="N")
    params_blocks: int = measured("parameters", "of the blocks alone: without embeddings and head, Kaplan's count")
    params_total: int = measured("parameters", "all, embeddings included")
    samples: int = measured("tokens", "D, training tokens processed", law="D")
    unique_samples: int = measured("tokens", "different ones among them")
    steps: int = measured("steps", "optimiser steps")
    sequence: int = measured("tokens", "of a sequence: the context that was used")
    flops: float = measured("FLOP", "C, forward and backward over D tokens, 2 per multiply-add, attention included", law="C")
    head_flops: float = measured("FLOP", "the head's share of C")
    attention_flops: float = measured("FLOP", "share of C that grows with the context: products of queries, keys and values")
    spent_flops: float = measured("FLOP", "what the row added to the bill: C, less what it shares with its trunk")
    train_loss: float = measured("nat", "mean cross-entropy a token over the last tenth of the steps, as trained")
    val_loss: float = measured("nat", "L, mean cross-entropy a token of the held-out part", law="L")
    val_accuracy: float = measured("1", "share of the held-out tokens that were the likeliest", law="accuracy")
    train_seconds: float = clock("s", "wall time of the training steps")
    device: str = measured("", "cpu, or the GPU's name")
    dataset: str = measured("", "name of the data set")
    fingerprint: str = measured("", "of the data set's bytes and the trainer's code")
