"""The scores of a narrow network on a CPU: the same network with the batch innermost in memory.

A convolution from one or two channels to a few moves small tensors rather than multiplies. With
the images of a batch next to each other, every copy and every sum runs over whole vectors, and
im2col (each window's pixels copied into a column) with one matrix product takes a fifth of the
time of the library's convolutions. Maps are (channels, height, width, n) here.
"""

import torch
from torch import Tensor

from trainers.mnist.network import SLOPE, ConvNet, channels

MOST_CHANNELS = 2       # of the first layer: with 3, at width 0.7, the library's convolutions are as fast
EVALUATION_BATCH = 100  # images at once, whose columns stay in a core's share of the cache

aten = torch.ops.aten
# Kernel, stride, padding, dilation, whether the last window may overhang: as in ConvNet.forward.
POOLS = (([2, 2], [2, 2], [0, 0], [1, 1], False), ([4, 4], [3, 3], [0, 0], [1, 1], False))


def pays(width: float, precision: str, device: torch.device) -> bool:
    """Whether a network is so narrow, and is trained so, that `scores` is the faster way."""
    return channels(width)[0] <= MOST_CHANNELS and device.type == "cpu" and precision != "bfloat16"


def scores(network: ConvNet, images: Tensor, keep: Tensor | None = None) -> Tensor:
    """What network(images, keep) is, up to the order of sums."""
    weights = [parameter for layer in network.convolutions for parameter in (layer.weight, layer.bias)]
    features = _Features.apply(images, *weights)
    return network.classifier(features if keep is None else features * keep)


class _Features(torch.autograd.Function):
    """From images (n, 1, 28, 28) to what the linear layer sees, (n, features).

    One node of autograd's graph instead of twenty, which at this size cost as much as the sums.
    """

    @staticmethod
    def forward(context, images: Tensor, *weights: Tensor) -> Tensor:
        first, columns_1 = _convolved(images.permute(1, 2, 3, 0), *weights[0:2], stride=2)
        aten.leaky_relu_(first, SLOPE)
        second, columns_2 = _convolved(first, *weights[2:4])
        pooled_2, chosen_2 = _pooled(second, POOLS[0])
        third, columns_3 = _convolved(pooled_2, *weights[4:6])
        pooled_3, chosen_3 = _pooled(third, POOLS[1])
        context.save_for_backward(*weights[0::2], columns_1, columns_2, columns_3, first, second, third,
                                  pooled_2, pooled_3, chosen_2, chosen_3)
        return pooled_3.permute(3, 0, 1, 2).flatten(1)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (w1, w2, w3, columns_1, columns_2, columns_3, first, second, third,
         pooled_2, pooled_3, chosen_2, chosen_3) = context.saved_tensors
        above = gradient.t().reshape(pooled_3.shape)
        above = _unpooled(above, third, pooled_3, chosen_3, POOLS[1])
        of_third = _of_weights(above, columns_3, w3)
        above = _unpooled(_carried_back(above, w3), second, pooled_2, chosen_2, POOLS[0])
        of_second = _of_weights(above, columns_2, w2)
        above = _unrectified(_carried_back(above, w2), first)
        return None, *_of_weights(above, columns_1, w1), *of_second, *of_third


def _convolved(maps: Tensor, weight: Tensor, bias: Tensor, *, stride: int = 1) -> tuple[Tensor, Tensor]:
    """The layer's maps, and the columns that they were made of."""
    columns = _columns(maps, weight.shape[-1], stride)
    side = -(-maps.shape[1] // stride)
    return torch.addmm(bias[:, None], weight.flatten(1), columns).view(-1, side, side, maps.shape[-1]), columns


def _columns(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """(channels x kernel x kernel, side x side x n): each window's pixels, zeros around the maps."""
    around = kernel // 2
    padded = aten.constant_pad_nd(maps, [0, 0, around, around, around, around])
    channels, height, _, images = padded.shape
    by_channel, by_row, by_column, by_image = padded.stride()
    side = (height - kernel) // stride + 1
    windows = padded.as_strided((channels, kernel, kernel, side, side, images),
                                (by_channel, by_row, by_column, stride * by_row, stride * by_column, by_image))
    return windows.reshape(channels * kernel**2, side**2 * images)


def _pooled(maps: Tensor, pool: tuple) -> tuple[Tensor, Tensor]:
    """Maxima after the rectifier, and which they were. To the kernel the batch stands where channels-last has its channels."""
    maxima, chosen = aten.max_pool2d_with_indices(maps.permute(0, 3, 1, 2), *pool)
    return aten.leaky_relu_(maxima, SLOPE).permute(0, 2, 3, 1), chosen


def _unpooled(above: Tensor, maps: Tensor, maxima: Tensor, chosen: Tensor, pool: tuple) -> Tensor:
    """The gradient below rectifier and pooling, from that above."""
    above = _unrectified(above, maxima).permute(0, 3, 1, 2)
    return aten.max_pool2d_with_indices_backward(above, maps.permute(0, 3, 1, 2), *pool, chosen).permute(0, 2, 3, 1)


def _unrectified(above: Tensor, rectified: Tensor) -> Tensor:
    """The gradient below the rectifier, whose output has the sign of its input."""
    return aten.leaky_relu_backward(above, rectified, SLOPE, True)


def _of_weights(above: Tensor, columns: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    rows = above.flatten(1)
    return (rows @ columns.t()).view_as(weight), rows.sum(1)


def _carried_back(above: Tensor, weight: Tensor) -> Tensor:
    """The gradient below a convolution of stride 1: the same with each kernel turned round."""
    turned = weight.flip(2, 3).transpose(0, 1).flatten(1)
    return (turned @ _columns(above, weight.shape[-1], 1)).view(-1, *above.shape[1:])
