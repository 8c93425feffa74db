"""A run in progress: one pass over a nested random subset of sequences, and the held-out part's verdict.

The same cell gives the same row, bit for bit on one device with one number of threads: every
random number comes from generators seeded by the cell, none from global state.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.adam import Adam
from trainers.language.cell import Cell
from trainers.language.by_hand import ByHand
from trainers.language.corpus import Corpus, starts_of
from trainers.language.network import Transformer
from trainers.language.shape import CONTEXT, Shape
from trainers.precision import arithmetic
from trainers.streams import generator, sequence
from trainers.task import Diverged

TRAIN_LOSS_SHARE = 0.1   # of the steps, at the end, over which train_loss is averaged
EVALUATED = {"cpu": 2**12, "cuda": 2**17}   # held-out tokens at once
CHECKED_AFTER = 1.0      # seconds of training between looks at the loss, each of which waits for the device
COMPILED_FROM = 1e15     # FLOPs of a run: below, on a GPU, the compiler takes longer than it spares


@dataclass(frozen=True)
class Evaluation:
    """The held-out part's verdict on a network."""

    loss: float      # nats a token, mean cross-entropy
    accuracy: float  # share of tokens that were the likeliest


@dataclass(frozen=True)
class DeviceCorpus:
    """A data set whose tokens are on the device that trains on it."""

    corpus: Corpus
    tokens: Tensor   # (n,) uint8

    @property
    def device(self) -> torch.device:
        return self.tokens.device

    def sequences(self, context: int) -> Tensor:
        """A view of every window of context + 1 tokens, by the place of its first: inputs and targets of a sequence."""
        return self.tokens.unfold(0, context + 1, 1)


def put_on(corpus: Corpus, device: torch.device | str) -> DeviceCorpus:
    """`corpus` on `device`; on the CPU it shares the array's memory, also when that is read-only."""
    with warnings.catch_warnings():  # arrays in Ray's object store are read-only, and we only read
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return DeviceCorpus(corpus, torch.from_numpy(corpus.tokens).to(device))


def shape_of(cell: Cell, corpus: Corpus) -> Shape:
    """Of the cell's network: the context is the whole image, else the cell's own, else the one of all sizes."""
    return Shape(width=cell.width, depth=cell.depth, context=corpus.image or cell.context or CONTEXT,
                 vocabulary=corpus.vocabulary)


def sequences_a_step(cell: Cell, context: int) -> int:
    """At least one: a rule for batches knows neither the context nor an image's size."""
    return max(1, cell.batch_size // context)


def steps_of(cell: Cell, context: int) -> int:
    """Whole batches in the cell's tokens. Raises ValueError where there is not one."""
    batch = sequences_a_step(cell, context) * context
    if cell.tokens // cell.epochs < batch:
        each = f" in each of {cell.epochs} epochs" if cell.epochs > 1 else ""
        raise ValueError(f"tokens {cell.tokens:,}: fewer{each} than a batch of {batch:,}: take more data or a smaller batch_size")
    return cell.tokens // batch


def order_of(cell: Cell, corpus: Corpus, context: int) -> np.ndarray:
    """Starts of the sequences that the run sees, in its order: a prefix of one permutation, so that subsets are nested.

    With several epochs a shorter prefix, shuffled anew each time.
    """
    starts = starts_of(corpus.train, context)
    first = np.random.default_rng(sequence(cell.seed, "order")).permutation(starts)
    if cell.epochs == 1:
        return first[:cell.tokens // context]
    unique = first[:cell.tokens // cell.epochs // context]
    shuffles = (np.random.default_rng(sequence(cell.seed, "order", epoch))
                for epoch in range(1, cell.epochs))
    return np.concatenate([unique, *(shuffle.permutation(unique) for shuffle in shuffles)])


class Run:
    """Network, optimiser, and the place in the order of sequences."""

    def __init__(self, cell: Cell, data: DeviceCorpus):
        self.cell, self.data, self.device = cell, data, data.device
        self.shape = shape_of(cell, data.corpus)
        self.network = Transformer(self.shape, generator(cell.seed, "weights"), self.device)
        self.optimiser = Adam([(1.0, self.network.parameters)], betas=(cell.beta1, cell.beta2), weight_decay=cell.weight_decay)
        self.sequences = sequences_a_step(cell, self.shape.context)
        self.order = torch.from_numpy(order_of(cell, data.corpus, self.shape.context)).to(self.device)
        self.step = 0
        self.losses: list[Tensor] = []  # one a step, on the device: reading them would stall it
        self.seconds = 0.0
        flops = steps_of(cell, self.shape.context) * self.sequences * self.shape.context * self.shape.flops
        self.passes = passes_of(self.network, self.device, cell.precision, flops)

    def advance(self, factors: Sequence[float], keep: Callable[[], None] = lambda: None) -> None:
        """Take one step per factor of the peak learning rate, over the next sequences in the order.

        `keep` is called about every second between two steps. Raises Diverged where the loss stops being finite.
        """
        began = looked = time.perf_counter()
        for factor in factors:
            self.losses.append(self._take_step(self.cell.lr * factor))
            if time.perf_counter() - looked > CHECKED_AFTER:
                self._check()
                self.seconds, began = self.seconds + time.perf_counter() - began, time.perf_counter()
                keep()
                looked = time.perf_counter()
        self._check()  # also waits for the device
        self.seconds += time.perf_counter() - began

    def branch(self) -> "Run":
        """An independent copy: it trains on from here without disturbing this run."""
        twin = Run(self.cell, self.data)
        twin.restore(copy.deepcopy(self.state()))
        return twin

    def state(self) -> dict:
        """All that decides what comes next, as plain data."""
        group, = self.optimiser.groups
        return {"step": self.step, "seconds": self.seconds, "weights": [weight.detach() for weight in group.parameters],
                "means": group.means, "squares": group.squares, "steps": self.optimiser.steps, "losses": torch.stack(self.losses)}

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """Go on from where that state was."""
        group, = self.optimiser.groups
        for own, kept in zip((*group.parameters, *group.means, *group.squares, self.optimiser.steps),
                             (*state["weights"], *state["means"], *state["squares"], state["steps"]), strict=True):
            own.copy_(kept)
        self.step, self.seconds, self.losses = state["step"], state["seconds"], list(state["losses"].to(self.device))

    def evaluate(self) -> Evaluation:
        """Over the whole held-out part. Raises Diverged where the loss is not finite."""
        context = self.shape.context
        starts = torch.from_numpy(starts_of(self.data.corpus.held_out, context)).to(self.device)
        windows = self.data.sequences(context)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        with torch.inference_mode(), arithmetic(self.cell.precision, self.device):
            for some in starts.split(max(1, EVALUATED[self.device.type] // context)):
                window = windows.index_select(0, some - 1).long()
                scores, targets = self.passes.scores(window[:, :-1]).float().flatten(0, 1), window[:, 1:].flatten()
                total += F.cross_entropy(scores, targets, reduction="none").double().sum()
                right += (scores.argmax(1) == targets).sum()
        loss, count = total.item(), len(starts) * context
        if not math.isfinite(loss):
            raise Diverged(f"validation loss is {loss} after {self.step} steps at lr {self.cell.lr:g}")
        return Evaluation(loss=loss / count, accuracy=right.item() / count)

    def train_loss(self) -> float:
        """Mean over the last steps."""
        last = self.losses[-max(1, round(TRAIN_LOSS_SHARE * self.step)):]
        return torch.stack(last).double().mean().item()

    def _take_step(self, rate: float) -> Tensor:
        some = self.order[self.step * self.sequences:(self.step + 1) * self.sequences]
        window = self.data.sequences(self.shape.context).index_select(0, some - 1).long()
        loss, gradients = self.passes.loss_and_gradients(window[:, :-1], window[:, 1:].flatten())
        self.optimiser.step(gradients, rate)
        self.step += 1
        return loss

    def _check(self) -> None:
        if self.losses and not math.isfinite(self.losses[-1].item()):
            raise Diverged(f"training loss is {self.losses[-1].item()} after {self.step} steps at lr {self.cell.lr:g}")


class ByAutograd:
    """A network's passes, as ByHand's."""

    def __init__(self, network: Transformer, loss: Callable[[Tensor, Tensor], Tensor]):
        self.network, self.loss, self.scores = network, loss, network.scores

    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        loss = self.loss(inputs, targets)
        return loss.detach(), torch.autograd.grad(loss, self.network.parameters)


def passes_of(network: Transformer, device: torch.device, precision: str, flops: float) -> ByHand | ByAutograd:
    """Forward and backward as this device computes them fastest in a run of so many FLOPs."""
    if device.type == "cpu" and precision != "bfloat16":
        return ByHand(network)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        with arithmetic(precision, device):
            return F.cross_entropy(network.scores(inputs).flatten(0, 1).float(), targets)

    compiled = device.type == "cuda" and flops >= COMPILED_FROM
    return ByAutograd(network, torch.compile(loss, dynamic=False) if compiled else loss)
