"""Cells of one shape trained as one batched model, for a device that a small network leaves idle.

A step of a small network on a GPU costs its launches, not its FLOPs. Here the members' weights are
stacked and the network is mapped over them (torch.func), so that each launch does the work of all,
and on CUDA the whole step is one graph. Every member keeps its own weights, order, masks and rate,
and has a row of its own. It agrees with the cell trained alone up to the order of sums: in
float64 to 1e-9 over a run, in float32 as closely as rounding lets two runs stay together.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from trainers.mnist.cell import Cell, Result
from trainers.mnist.train import DeviceImages, Run, steps_of
from trainers.precision import arithmetic
from trainers.schedule import rate_factors

# Steps taken before a CUDA graph is recorded: cuDNN and the allocator settle in them, as
# PyTorch's guide to graphs asks (section "Whole-network capture").
UNRECORDED_STEPS = 3


def shape(cell: Cell) -> Cell:
    """What members of a pack have in common: all but seed, dropout and learning rate."""
    return replace(cell, seed=0, dropout=0.0, lr=0.0)


class Pack:
    """Runs in progress, each step of all taken at once."""

    def __init__(self, cells: Sequence[Cell], images: DeviceImages):
        """Raises ValueError where the cells are not of one shape, or there are none."""
        if len({shape(cell) for cell in cells}) != 1:
            raise ValueError("a pack needs cells that differ in seed, dropout and learning rate only, at least one")
        self.images = images
        self.common = cells[0]
        self.runs = [Run(cell, images) for cell in cells]
        self.device = self.runs[0].device
        self.weights = self._stacked()
        self.optimiser = self._joint_optimiser()
        self.orders = torch.stack([run.order for run in self.runs])
        self.step = 0
        # What a step reads and leaves. In place, since a CUDA graph knows nothing but addresses.
        self._batch = torch.zeros(len(cells), self.common.batch_size, dtype=torch.long, device=self.device)
        features = self.runs[0].network.classifier.in_features
        self._keep = torch.ones(len(cells), self.common.batch_size, features, device=self.device)
        self._losses = torch.zeros(len(cells), device=self.device)

    def advance(self, factors: Sequence[float]) -> None:
        """Take one step per factor of the peak learning rates. A member that diverges disturbs no other."""
        began = time.perf_counter()
        losses = []
        take = self._take_step
        for taken, factor in enumerate(factors):
            self._place(factor)
            if self.device.type == "cuda" and taken == UNRECORDED_STEPS:
                take = self._recorded()
            take()
            losses.append(self._losses.clone())
            self.step += 1
        by_member = torch.stack(losses, dim=1)
        by_member[:, -1].tolist()  # waits for the device
        seconds = time.perf_counter() - began
        for run, own in zip(self.runs, by_member):
            run.step += len(own)
            run.losses += own.unbind()
            run.seconds += seconds / len(self.runs)  # so that the rows of a pack add up to its wall time

    def diverged(self, run: Run) -> bool:
        return not math.isfinite(run.losses[-1].item())

    def _stacked(self) -> dict[str, Tensor]:
        """The members' weights by name, (members, ...) each; the runs' own weights become views of them."""
        weights, _ = stack_module_state([run.network for run in self.runs])
        for name, stack in weights.items():
            stack.grad = torch.zeros_like(stack)
            for run, own, gradient in zip(self.runs, stack.data, stack.grad):
                parameter = run.network.get_parameter(name)
                parameter.data, parameter.grad = own, gradient
        return weights

    def _joint_optimiser(self) -> torch.optim.AdamW:
        """The runs' optimisers in one, groups with equal rates joined: one kernel for all of them."""
        groups: dict[float, list[Tensor]] = {}
        for run in self.runs:
            for group in run.optimiser.groups:
                groups.setdefault(run.cell.lr * group.share, []).extend(group.parameters)
        # The rate is a tensor, since a CUDA graph would keep a plain number for good.
        return torch.optim.AdamW(
            [{"params": own, "peak": peak, "lr": torch.zeros((), device=self.device)} for peak, own in groups.items()],
            betas=(self.common.beta1, self.common.beta2), weight_decay=self.common.weight_decay,
            fused=True, capturable=self.device.type == "cuda")

    def _place(self, factor: float) -> None:
        """Put the next step's batch, masks and rates where the step reads them."""
        first = self.step * self.common.batch_size
        self._batch.copy_(self.orders[:, first:first + self.common.batch_size])
        for run, keep in zip(self.runs, self._keep):
            if run.cell.dropout:
                keep.copy_(run._mask(self.common.batch_size))
        for group in self.optimiser.param_groups:
            group["lr"].fill_(group["peak"] * factor)

    def _take_step(self) -> None:
        chosen = self._batch.flatten()
        images = self.images.train_images.index_select(0, chosen).unflatten(0, self._batch.shape)
        labels = self.images.train_labels.index_select(0, chosen).view_as(self._batch)
        with arithmetic(self.common.precision, self.device):
            losses = vmap(self._loss)(self.weights, images, labels, self._keep)
        losses.sum().backward()
        self.optimiser.step()
        for stack in self.weights.values():
            stack.grad.zero_()
        self._losses.copy_(losses.detach())

    def _loss(self, weights: dict[str, Tensor], images: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
        """Of one member, as Run takes it."""
        return F.cross_entropy(functional_call(self.runs[0].network, weights, (images, keep)), labels)

    def _recorded(self) -> Callable[[], None]:
        """The step as a CUDA graph: one launch. Recording runs nothing."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._take_step()
        return graph.replay


def train_packed(cells: Sequence[Cell], images: DeviceImages) -> list[Result]:
    """Rows of the cells, in their order, as trainers.mnist.train makes them, diverged ones included.

    Raises ValueError where the cells are not of one shape, and where their fraction holds fewer
    images than a batch.
    """
    pack, common = Pack(cells, images), cells[0]
    steps = steps_of(common.fraction, common.batch_size, len(images.train_images))
    pack.advance(rate_factors(steps, shape=common.schedule, warmup=common.warmup))
    return [run.diverged_result() if pack.diverged(run) else run.result() for run in pack.runs]
