"""Training a cell: one pass over a nested random subset, then the whole validation set.

The same cell gives the same row, bit for bit on one device with one number of threads: every
random number comes from generators seeded by the cell, none from global state.
"""

import copy
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.adam import Adam
from trainers.mnist import narrow
from trainers.mnist.cell import Cell, Result
from trainers.mnist.images import Images
from trainers.mnist.network import SIDES, ConvNet, channels, count_params, fan_ins, flops_per_image
from trainers.precision import arithmetic
from trainers.schedule import rate_factors
from trainers.streams import generator
from trainers.task import Diverged

# Numbers that the first layer puts out at once in evaluation: 3 MB stay in a core's share of the cache. From width 4
# on that takes a quarter less time than 1000 images at once; below, it is those 1000.
EVALUATION_NUMBERS = 800_000
EVALUATION_BATCHES = (100, 1000)  # fewest and most images
TRAIN_LOSS_SHARE = 0.1   # of the steps, at the end, over which train_loss is averaged


@dataclass(frozen=True)
class Evaluation:
    """The validation set's verdict on a network."""

    loss: float      # nats, mean cross-entropy
    accuracy: float  # share classified rightly


@dataclass(frozen=True)
class DeviceImages:
    """A data set as tensors on the device that trains on it."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: int
    name: str
    fingerprint: str


def put_on(images: Images, device: torch.device | str, fingerprint: str) -> DeviceImages:
    """`images` on `device`, with the fingerprint that goes into rows; on the CPU it shares the arrays' memory, also when they are read-only."""
    def tensor(array: np.ndarray) -> Tensor:
        with warnings.catch_warnings():  # arrays in Ray's object store are read-only, and we only read
            warnings.filterwarnings("ignore", message=".*not writable.*")
            return torch.from_numpy(array).to(device)

    return DeviceImages(
        train_images=tensor(images.train_images), train_labels=tensor(images.train_labels),
        val_images=tensor(images.val_images), val_labels=tensor(images.val_labels),
        classes=images.classes, name=images.name, fingerprint=fingerprint)


def steps_of(fraction: float, batch_size: int, images: int) -> int:
    """Steps in one pass over the fraction: whole batches only.

    Raises ValueError where the fraction holds fewer images than a batch.
    """
    subset = int(fraction * images)
    if subset < batch_size:
        raise ValueError(f"fraction {fraction:g} of {images:,} images is {subset}, fewer than a batch of "
                         f"{batch_size}: take a larger fraction or a smaller batch")
    return subset // batch_size


class Run:
    """A run in progress: network, optimiser, and its place in the order of images."""

    def __init__(self, cell: Cell, images: DeviceImages):
        self.cell, self.images = cell, images
        self.device = images.train_images.device
        self.network = ConvNet(cell.width, cell.dropout, images.classes, generator(cell.seed, "weights"))
        self._narrow = narrow.pays(cell.width, cell.precision, self.device)
        self.network.to(self.device, memory_format=torch.contiguous_format if self._narrow else torch.channels_last)
        self.optimiser = _adam(self.network, cell)
        # The subset at 1/4 is the first quarter of the same permutation, hence nested in that at 1/2.
        self.order = torch.randperm(len(images.train_images), generator=generator(cell.seed, "order")).to(self.device)
        self.masks = generator(cell.seed, "dropout", self.device)
        self.step = 0
        self.rate = cell.lr  # of the next step
        self.losses: list[Tensor] = []  # one a step, on the device: reading them would stall it
        self.seconds = 0.0

    def advance(self, factors: Sequence[float]) -> None:
        """Take one step per factor of the peak learning rate, over the next batches in the order.

        Raises Diverged where the loss stops being finite.
        """
        began = time.perf_counter()
        for factor in factors:
            self.rate = self.cell.lr * factor
            self.losses.append(self._take_step())
        if not math.isfinite(self.losses[-1].item()):  # also waits for the device
            raise Diverged(f"training loss is {self.losses[-1].item()} after {self.step} steps at lr {self.cell.lr:g}")
        self.seconds += time.perf_counter() - began

    def branch(self) -> "Run":
        """An independent copy: it trains on from here without disturbing this run."""
        images, self.images = self.images, None
        try:
            twin = copy.copy(self)
            twin.network, twin.optimiser = copy.deepcopy((self.network, self.optimiser))
            twin.masks = torch.Generator(self.device)
            twin.masks.set_state(self.masks.get_state())
            twin.losses = list(self.losses)
            twin.images = images
        finally:
            self.images = images
        return twin

    def evaluate(self) -> Evaluation:
        """Loss and accuracy on the whole validation set, dropout off.

        Raises Diverged where the loss is not finite.
        """
        batch = narrow.EVALUATION_BATCH if self._narrow else evaluation_batch(self.cell.width)
        # On the device: reading them batch by batch would stall it.
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        with torch.inference_mode(), arithmetic(self.cell.precision, self.device):
            for images, labels in zip(self.images.val_images.split(batch), self.images.val_labels.split(batch)):
                scores = self._scores(images).float()
                total += F.cross_entropy(scores, labels, reduction="none").double().sum()
                right += (scores.argmax(1) == labels).sum()
        loss, count = total.item(), len(self.images.val_labels)
        if not math.isfinite(loss):
            raise Diverged(f"validation loss is {loss} after {self.step} steps at lr {self.cell.lr:g}")
        return Evaluation(loss=loss / count, accuracy=right.item() / count)

    def result(self, *, spent_flops: float | None = None) -> Result:
        """The row of the run as it stands; `spent_flops` is C unless a trunk was shared."""
        return self._row(self.evaluate(), spent_flops)

    def diverged_result(self) -> Result:
        """The row of a run that blew up: infinite losses, no image classified."""
        return self._row(Evaluation(loss=math.inf, accuracy=0.0), None)

    def _row(self, evaluation: Evaluation, spent_flops: float | None) -> Result:
        samples = self.step * self.cell.batch_size
        flops = float(samples * flops_per_image(self.cell.width, self.images.classes))
        last = self.losses[-max(1, round(TRAIN_LOSS_SHARE * self.step)):]
        return Result(
            **asdict(self.cell),
            channels=channels(self.cell.width)[0], params=count_params(self.cell.width, self.images.classes),
            samples=samples, steps=self.step, flops=flops,
            spent_flops=flops if spent_flops is None else spent_flops,
            train_loss=_or_infinite(torch.stack(last).double().mean().item()),
            val_loss=evaluation.loss, val_accuracy=evaluation.accuracy, train_seconds=self.seconds,
            device=_device_name(self.device), dataset=self.images.name, fingerprint=self.images.fingerprint)

    def _take_step(self) -> Tensor:
        batch = self.order[self.step * self.cell.batch_size:(self.step + 1) * self.cell.batch_size]
        images = self.images.train_images.index_select(0, batch)
        labels = self.images.train_labels.index_select(0, batch)
        with arithmetic(self.cell.precision, self.device):
            loss = F.cross_entropy(self._scores(images, self._mask(len(batch))), labels)
        self.optimiser.step(torch.autograd.grad(loss, self.optimiser.parameters), self.rate)
        self.step += 1
        return loss.detach()

    def _scores(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        return narrow.scores(self.network, images, keep) if self._narrow else self.network(images, keep)

    def _mask(self, images: int) -> Tensor | None:
        if not self.cell.dropout:
            return None
        keep = torch.empty(images, self.network.classifier.in_features, device=self.device)
        return keep.bernoulli_(1.0 - self.cell.dropout, generator=self.masks).div_(1.0 - self.cell.dropout)


def train(cell: Cell, images: DeviceImages) -> Result:
    """One epoch over the cell's fraction with a schedule of that length, then validation.

    A run that diverges is a row with infinite losses. Raises ValueError where the fraction holds
    fewer images than a batch.
    """
    steps = steps_of(cell.fraction, cell.batch_size, len(images.train_images))
    run = Run(cell, images)
    try:
        run.advance(rate_factors(steps, shape=cell.schedule, warmup=cell.warmup))
        return run.result()
    except Diverged:
        return run.diverged_result()


def evaluation_batch(width: float) -> int:
    """Images at once."""
    fewest, most = EVALUATION_BATCHES
    return max(fewest, min(most, EVALUATION_NUMBERS // (channels(width)[0] * SIDES[0] ** 2)))


def _adam(network: ConvNet, cell: Cell) -> Adam:
    """AdamW with a group a layer, whose share of the rate the rule decides.

    Rule fan_in: sqrt(batch_size / fan_in). 1/sqrt(fan_in) is the width dependence of the "optimal" rate for
    Adam in J. Hilton's curriculum, chapter 2; the root of the batch keeps the noise of Adam's updates equal
    (Malladi et al. 2022, definition 5.2).
    """
    if cell.lr_rule == "fan_in":
        groups = [((cell.batch_size / fan_in)**0.5, list(layer.parameters()))
                  for layer, fan_in in zip(network.layers(), fan_ins(cell.width))]
    elif cell.lr_rule == "uniform":
        groups = [(1.0, list(network.parameters()))]
    else:
        raise ValueError(f"unknown lr_rule {cell.lr_rule!r}: choose fan_in or uniform")
    return Adam(groups, betas=(cell.beta1, cell.beta2), weight_decay=cell.weight_decay)


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf  # NaN is no loss, and equals nothing, itself included


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
