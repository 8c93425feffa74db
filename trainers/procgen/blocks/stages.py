"""The network's three stages by our own kernels, forward and backward, LANES pictures after LANES pictures.

What lies between two layers stays in the cache so, and no layer waits for memory; a block's pictures go through all stages before
the next block's begin. Sums over blocks have one order, whatever the number of threads.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.procgen.blocks import kernels
from trainers.procgen.blocks.code import LANES, usable
from trainers.procgen.shape import COLOURS, KERNEL, RESIDUAL, Shape

LOWEST = -torch.inf
MOST_CHANNELS = 64   # at 128 (width 4) torch's layers learn 1.3 times as fast
A, B = TypeVar("A"), TypeVar("B")


def fits(shape: Shape, device: torch.device) -> bool:
    """Whether the kernels can be the network's stages, pictures in whole tiles and on this processor, and are worth it."""
    whole = shape.side % (kernels.TILE << len(shape.channels)) == 0
    return device.type == "cpu" and usable() and whole and max(shape.channels) <= MOST_CHANNELS


@dataclass(frozen=True)
class Block:
    """(channels, 2 + side, 2 + side, LANES), with a border: pixels, or which tap each maximum came from."""

    values: Tensor

    @staticmethod
    def of(channels: int, side: int, border: float = 0.0, kind: torch.dtype = torch.float32) -> "Block":
        return Block(torch.full((channels, side + 2, side + 2, LANES), border, dtype=kind))

    @property
    def inside(self) -> Tensor:
        return self.values[:, 1:-1, 1:-1]

    def at(self, channel: int = 0) -> int:
        """Address."""
        return self.values.data_ptr() + channel * self.values.stride(0) * self.values.element_size()

    def fill(self, values: Tensor) -> None:
        """With (channels, side, side, n) of n pictures; of the rest of the LANES with 0."""
        self.inside[..., :values.shape[-1]].copy_(values)
        self.inside[..., values.shape[-1]:] = 0


class Kept:
    """Of LANES pictures, what the way back needs."""

    def __init__(self, shape: Shape):
        self.pictures = Block.of(COLOURS, shape.side)
        # Of each stage: the pooled, and then behind each convolution; where each maximum came from.
        self.layers = [[Block.of(channels, side) for _ in range(1 + RESIDUAL)] for channels, side in _pooled(shape)]
        self.taken = [Block.of(channels, side, 0, torch.uint8) for channels, side in _pooled(shape)]


class Scratch:
    """Of a thread: what nobody needs behind a stage."""

    def __init__(self, shape: Shape):
        self.unpooled = [Block.of(channels, 2 * side, LOWEST) for channels, side in _pooled(shape)]
        self.gradients = [[Block.of(channels, 2 * side), *(Block.of(channels, side) for _ in range(2))]
                       for channels, side in _pooled(shape)]
        sizes = [size for inputs, outputs, _ in shape.convolutions for size in (outputs * inputs * KERNEL, outputs)]
        self.sums = torch.empty(sum(sizes), LANES)   # of the gradient: each convolution's kernel, then its bias
        parts = self.sums.split(sizes)
        self.kernels, self.biases = parts[::2], parts[1::2]


@dataclass(frozen=True)
class Tiled:
    """A convolution's weights in the order in which its kernel takes them: some channels at a time."""

    inputs: int
    parts: list[tuple[int, int, int, Tensor, Tensor]]   # first channel, channels a tile, tiles, kernel, bias

    @staticmethod
    def of(kernel: Tensor, bias: Tensor | None = None) -> "Tiled":
        """Of a kernel (outputs, inputs, 3, 3)."""
        outputs, inputs = kernel.shape[:2]
        bias, flat = torch.zeros(outputs) if bias is None else bias, kernel.reshape(outputs, inputs, KERNEL)
        return Tiled(inputs, [(first, tile, tiles, flat[first:first + tile * tiles].view(tiles, tile, inputs, KERNEL)
                               .permute(0, 2, 3, 1).contiguous(), bias[first:first + tile * tiles].contiguous())
                              for first, tile, tiles in _tiles(outputs)])

    @staticmethod
    def back(kernel: Tensor) -> "Tiled":
        """The convolution that makes gradients by the inputs of gradients by the outputs."""
        return Tiled.of(kernel.flip(2, 3).transpose(0, 1))

    def __call__(self, x: Block, out: Block, *, mask: Block | None = None, addend: Block | None = None, rectified: bool = False,
                 rectify: bool = False) -> None:
        for first, tile, tiles, kernel, bias in self.parts:
            run = kernels.convolution(tile, rectified=rectified, rectify=rectify, masked=mask is not None,
                                      added=addend is not None)
            run(x.at(), kernel.data_ptr(), bias.data_ptr(), mask.at(first) if mask else 0, addend.at(first) if addend else 0,
                out.at(first), self.inputs, tiles, *_size(out))


@dataclass
class Stages:
    """From pictures to features; keeps what it allocates, whose borders stay as they are."""

    shape: Shape
    _kept: list[Kept] = field(default_factory=list)
    _scratch: list[Scratch] = field(default_factory=list)

    def __call__(self, pictures: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
        """Features (n, channels x side x side) of pictures (n, side, side, 3), uint8, by the convolutions' weights."""
        if torch.is_grad_enabled():
            return _Differentiable.apply(self, pictures, *weights, *biases)
        features, kept = self.forward(pictures, weights, biases)
        self._kept += kept
        return features

    def forward(self, pictures: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[Tensor, list[Kept]]:
        tiled = [Tiled.of(kernel, bias) for kernel, bias in zip(weights, biases, strict=True)]
        features, pictures = torch.empty(len(pictures), self.shape.features), pictures.contiguous()

        def work(some: slice) -> Kept:
            kept, scratch = _taken_from(self._kept, Kept, self.shape), _taken_from(self._scratch, Scratch, self.shape)
            x = kept.pictures
            kernels.unpacking(COLOURS)(pictures[some].data_ptr(), x.at(), some.stop - some.start, *_size(x))
            for stage, (layers, taken, wide) in enumerate(zip(kept.layers, kept.taken, scratch.unpooled)):
                first, *inner = tiled[stage * (1 + RESIDUAL):(stage + 1) * (1 + RESIDUAL)]
                first(x, wide)
                kernels.pooling()(wide.at(), layers[0].at(), taken.at(), len(taken.values), *_size(taken))
                for number in range(0, RESIDUAL, 2):
                    x, h, y = layers[number:number + 3]
                    inner[number](x, h, rectified=True, rectify=True)
                    inner[number + 1](h, y, addend=x)
                x = layers[-1]
            self._scratch.append(scratch)
            features[some].view(-1, *self.shape_of_features).copy_(x.inside[..., :some.stop - some.start].permute(3, 0, 1, 2))
            return kept

        return features, _each(work, _blocks(len(pictures)))

    def backward(self, kept: Sequence[Kept], gradients: Tensor, weights: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """By the convolutions' kernels and biases, from gradients by the features (n, channels, side, side); `kept` is spent."""
        back = [Tiled.back(kernel) for kernel in weights]
        sums = torch.empty(len(kept), sum(kernel.numel() + len(kernel) for kernel in weights))

        def work(number: int, some: slice) -> None:
            own, scratch = kept[number], _taken_from(self._scratch, Scratch, self.shape)
            scratch.sums.zero_()
            scratch.gradients[-1][1].fill(gradients[some].permute(1, 2, 3, 0))
            for stage in reversed(range(len(own.layers))):
                base, layers, (wide, gradient, inner) = stage * (1 + RESIDUAL), own.layers[stage], scratch.gradients[stage]
                for last in reversed(range(2, 1 + RESIDUAL, 2)):
                    x, h = layers[last - 2:last]
                    _add_weight_gradient(scratch, base + last, h, gradient)
                    back[base + last](gradient, inner, mask=h)
                    _add_weight_gradient(scratch, base + last - 1, x, inner, rectified=True)
                    back[base + last - 1](inner, gradient, mask=x, addend=gradient)
                taken = own.taken[stage]
                kernels.unpooling()(gradient.at(), taken.at(), wide.at(), len(taken.values), *_size(taken))
                _add_weight_gradient(scratch, base, own.layers[stage - 1][-1] if stage else own.pictures, wide)
                if stage:
                    back[base](wide, scratch.gradients[stage - 1][1])
            torch.sum(scratch.sums, 1, out=sums[number])
            self._scratch.append(scratch)

        _each(lambda numbered: work(*numbered), list(enumerate(_blocks(len(gradients)))))
        self._kept += kept
        parts = sums.sum(0).split([size for kernel in weights for size in (kernel.numel(), len(kernel))])
        return [part.view(kernel.shape) for part, kernel in zip(parts[::2], weights)], list(parts[1::2])

    @property
    def shape_of_features(self) -> tuple[int, int, int]:
        channels, side = _pooled(self.shape)[-1]
        return channels, side, side


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, stages: Stages, pictures: Tensor, *weights: Tensor) -> Tensor:
        kernels_, biases = weights[:len(weights) // 2], weights[len(weights) // 2:]
        features, ctx.kept = stages.forward(pictures, kernels_, biases)
        ctx.stages = stages
        ctx.save_for_backward(*kernels_)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx, gradients: Tensor):
        kept, ctx.kept = ctx.kept, None
        if kept is None:
            raise RuntimeError("a second way back through the stages: what it needs is spent")
        made = ctx.stages.backward(kept, gradients.reshape(-1, *ctx.stages.shape_of_features), ctx.saved_tensors)
        return None, None, *made[0], *made[1]


def _add_weight_gradient(scratch: Scratch, number: int, x: Block, gradient: Block, rectified: bool = False) -> None:
    """Adds to a convolution's part of the sums."""
    outputs, inputs = len(gradient.values), len(x.values)
    kernel, bias = scratch.kernels[number].view(outputs, -1), scratch.biases[number]
    for first, tile, tiles in _tiles(outputs):
        kernels.weight_gradient(tile, rectified=rectified)(x.at(), gradient.at(first), kernel[first].data_ptr(),
                                                           bias[first].data_ptr(), inputs, tiles, *_size(gradient))


def _tiles(outputs: int) -> Iterable[tuple[int, int, int]]:
    """(first channel, channels a tile, tiles): as many whole tiles as there are, and one of the rest."""
    whole, rest = divmod(outputs, kernels.OUTPUTS)
    both = (0, kernels.OUTPUTS, whole), (outputs - rest, rest, 1)
    return [(first, tile, tiles) for first, tile, tiles in both if tile * tiles]


def _pooled(shape: Shape) -> list[tuple[int, int]]:
    """(channels, side) behind each stage's pooling."""
    return [(channels, shape.side >> 1 + stage) for stage, channels in enumerate(shape.channels)]


def _size(block: Block) -> tuple[int, int]:
    """Height and width without the border."""
    _, height, width, _ = block.values.shape
    return height - 2, width - 2


def _blocks(count: int) -> list[slice]:
    return [slice(first, min(first + LANES, count)) for first in range(0, count, LANES)]


def _taken_from(free: list[A], make: Callable[[Shape], A], shape: Shape) -> A:
    try:
        return free.pop()
    except IndexError:
        return make(shape)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _each(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """In order; by torch's number of threads, which the kernels leave Python to while they run."""
    threads = min(torch.get_num_threads(), len(items))
    return list(map(work, items)) if threads < 2 else list(_pool(threads).map(work, items))
