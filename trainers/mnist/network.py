"""The network: three convolutions and a linear layer, every hidden width scaled alike.

The first convolution strides, which makes the network fast; the others are followed by
max-pooling, which at equal FLOPs gives the lower loss and reaches 99% in one epoch, where strides
throughout stay near 98.8%. Pooling to 2 x 2 before the linear layer makes narrow networks feel
their size: with the whole map the best use of most compute budgets is the whole data set, and no
grid could bracket the optimum.

No run dies: a leaky rectifier passes some gradient whatever a unit's sign, which in layers of one to
four channels decides between learning and not; the rows of each first weight are orthogonal, so that
no two units start alike; and the classifier starts at zero, at the loss of knowing nothing, however
large the features happen to be.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BASE_CHANNELS = 4       # of the first layer at width 1; width 1/4, with 1 channel, is the narrowest that learns
DEPTH_FACTORS = (1, 2, 4)
KERNELS = (5, 3, 3)
SIDES = (14, 14, 7)     # of each convolution's output, from an image of 28 x 28
POOLED_SIDE = 2         # of the map that the linear layer sees
SLOPE = 0.3             # of the rectifier below zero


def channels(width: float) -> tuple[int, int, int]:
    """Channels of the three convolutions: the first scaled by the width and rounded, the others its exact multiples.

    Rounded each for itself they would be other shapes at other widths, and C / N would jump by a tenth
    from one width to the next.
    """
    first = max(1, round(BASE_CHANNELS * width))
    return tuple(first * factor for factor in DEPTH_FACTORS)


def fan_ins(width: float) -> tuple[int, ...]:
    """Inputs of one unit, layer by layer."""
    inputs = (1, *channels(width))
    return (*(kernel**2 * count for kernel, count in zip(KERNELS, inputs)), POOLED_SIDE**2 * inputs[-1])


def count_params(width: float, classes: int = 10) -> int:
    """N in closed form: a weight for each input of each unit, and a bias a unit."""
    return sum(units * (fan_in + 1) for units, fan_in in zip((*channels(width), classes), fan_ins(width)))


def flops_per_image(width: float, classes: int = 10) -> int:
    """C / D in closed form, 2 FLOPs a multiply-add, biases, activations and pooling not counted.

    Forward, gradient of the weights, gradient of the inputs: three products a layer, but two in
    the first, whose inputs are the images.
    """
    positions = (*(side**2 for side in SIDES), 1)
    forward = [2 * place * units * fan_in
               for place, units, fan_in in zip(positions, (*channels(width), classes), fan_ins(width))]
    return 3 * sum(forward) - forward[0]


class ConvNet(nn.Module):
    """28 x 28 image -> 14 x 14 -> 7 x 7 -> 2 x 2 (channels 1:2:4) -> dropout -> linear -> scores."""

    def __init__(self, width: float, dropout: float, classes: int, generator: torch.Generator):
        """Convolutions: orthogonal rows of He's variance, 2 / fan_in, drawn from `generator`. All else zero."""
        super().__init__()
        self.dropout = dropout
        plan = (1, *channels(width))
        self.convolutions = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, inside, outside, kernel, stride=stride, padding=kernel // 2)
            for inside, outside, kernel, stride in zip(plan, plan[1:], KERNELS, (2, 1, 1)))
        self.classifier = nn.utils.skip_init(nn.Linear, fan_ins(width)[-1], classes)
        with torch.no_grad():
            for layer, fan_in in zip(self.convolutions, fan_ins(width)):
                # With more units than inputs the columns are orthonormal instead, and each entry's variance is 1 / units.
                nn.init.orthogonal_(layer.weight, math.sqrt(2.0 * max(1.0, layer.out_channels / fan_in)), generator=generator)
                layer.bias.zero_()
            for parameter in self.classifier.parameters():
                parameter.zero_()

    def layers(self) -> list[nn.Module]:
        """From the images to the scores, in the order of fan_ins."""
        return [*self.convolutions, self.classifier]

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Scores (n, classes) of images (n, 1, 28, 28).

        `keep` (n, features): the dropout mask, 0 or 1/(1-p), drawn by the caller, so that no
        global random state is touched. None when evaluating.
        """
        first, second, third = self.convolutions
        maps = F.leaky_relu_(first(images), SLOPE)
        # The maximum commutes with the rectifier, which is cheaper after it.
        maps = F.leaky_relu_(F.max_pool2d(second(maps), 2), SLOPE)
        maps = F.leaky_relu_(F.max_pool2d(third(maps), 4, stride=3), SLOPE)  # windows share the middle row and column
        features = maps.flatten(1)
        return self.classifier(features if keep is None else features * keep)
