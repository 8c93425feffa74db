"""The IMPALA CNN (Espeholt et al. 2018, figure 3), as OpenAI's train-procgen has it: three stages, a dense layer, two heads.

    stage:  x = pool(conv x);  twice  x += conv(relu(conv(relu x)))        pool: 3 x 3 maxima, every second pixel
    h = relu(W relu(x) + b);  scores = P h + p;  value = v h + w

Pictures are bytes until the first convolution, whose kernel takes the 1/255. The stages run by our own kernels where these can be
(`blocks/`), else by torch's layers, channels-last.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.init import orthogonal_, xavier_uniform_

from trainers.procgen.shape import RESIDUAL, Shape

POLICY_SCALE = 0.01   # of the first scores: training starts from even odds (baselines' pdfromlatent in train-procgen)
BYTE = 255.0


class Network:
    """Weights, and the way from pictures to scores of the actions and a value."""

    def __init__(self, shape: Shape, generator: torch.Generator, device: torch.device | str = "cpu"):
        """Glorot's uniform kernels, orthogonal heads, no biases at first: as TensorFlow's layers and baselines have it."""
        self.shape = shape
        self._stages = _machine_code(shape, torch.device(device)) or torchs_layers
        convolutions = [xavier_uniform_(torch.empty(outputs, inputs, 3, 3), generator=generator)
                        for inputs, outputs, _ in shape.convolutions]
        (features, units), *heads = shape.dense
        dense = [xavier_uniform_(torch.empty(units, features), generator=generator),
                 *(orthogonal_(torch.empty(outputs, inputs), scale, generator=generator)
                   for (inputs, outputs), scale in zip(heads, (POLICY_SCALE, 1.0)))]
        channels_last = [weights.to(memory_format=torch.channels_last) for weights in convolutions]
        self.kernels = [_trained(weights, device) for weights in (*channels_last, *dense)]
        self.biases = [_trained(torch.zeros(len(weights)), device) for weights in self.kernels]

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.kernels, *self.biases]

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, actions) and values (n,) of pictures (n, side, side, 3), uint8."""
        kernels, biases = [self.kernels[0] / BYTE, *self.kernels[1:-3]], self.biases[:-3]
        features = self._stages(pictures, kernels, biases)
        (dense, policy, value), (dense_bias, policy_bias, value_bias) = self.kernels[-3:], self.biases[-3:]
        h = F.linear(features.relu_(), dense, dense_bias).relu_()
        return F.linear(h, policy, policy_bias), F.linear(h, value, value_bias)[:, 0]


def torchs_layers(pictures: Tensor, kernels: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The stages by torch's layers: features (n, channels x pixels) of pictures (n, side, side, 3), uint8."""
    def convolved(x: Tensor, number: int) -> Tensor:
        return F.conv2d(x, kernels[number], biases[number], padding=1)

    x = pictures.permute(0, 3, 1, 2).to(kernels[0].dtype)   # channels-last as it comes
    for first in range(0, len(kernels), 1 + RESIDUAL):
        x = F.max_pool2d(convolved(x, first), 3, 2, 1)
        for inner in range(first + 1, first + RESIDUAL, 2):
            x = convolved(convolved(F.relu(x), inner).relu_(), inner + 1).add_(x)
    return x.flatten(1)


def _machine_code(shape: Shape, device: torch.device) -> Callable[..., Tensor] | None:
    """The stages by our own kernels, two to four times as fast on a CPU; None where they can't be, or llvmlite is missing."""
    try:
        from trainers.procgen.blocks.stages import Stages, fits
    except ImportError:
        return None
    return Stages(shape) if fits(shape, device) else None


def _trained(weights: Tensor, device: torch.device | str) -> Tensor:
    return weights.to(device).requires_grad_()
