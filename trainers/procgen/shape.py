"""The network's shape by its width, and what follows from it in closed form: N, and the FLOPs of acting and of learning.

torch is not imported here.
"""

from dataclasses import dataclass
from functools import cached_property

CHANNELS, UNITS = (16, 32, 32), 256   # at width 1: the IMPALA CNN of Espeholt et al. 2018, as train-procgen has it
COLOURS, KERNEL, RESIDUAL = 3, 9, 4   # of the picture; weights of a 3 x 3 kernel; convolutions behind each stage's pooling


@dataclass(frozen=True)
class Shape:
    """Of one network."""

    width: float
    actions: int
    side: int     # of the picture; halved by each stage, rounded up

    @cached_property
    def channels(self) -> tuple[int, ...]:
        """Of the three stages."""
        return tuple(max(1, round(self.width * channels)) for channels in CHANNELS)

    @property
    def units(self) -> int:
        """Of the dense layer."""
        return max(1, round(self.width * UNITS))

    @property
    def features(self) -> int:
        """That the dense layer sees: all pixels of all channels."""
        return self.channels[-1] * _halved(self.side, len(self.channels)) ** 2

    @cached_property
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        """(inputs, outputs, pixels) of each, in order: a stage convolves, pools, and then convolves RESIDUAL times."""
        made = []
        for stage, (inputs, outputs) in enumerate(zip((COLOURS, *self.channels), self.channels)):
            before, behind = (_halved(self.side, times) ** 2 for times in (stage, stage + 1))
            made += [(inputs, outputs, before), *[(outputs, outputs, behind)] * RESIDUAL]
        return tuple(made)

    @property
    def dense(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the dense layer, of the policy and of the value."""
        return (self.features, self.units), (self.units, self.actions), (self.units, 1)

    @property
    def params(self) -> int:
        """N: all, biases included."""
        return (sum(KERNEL * inputs * outputs + outputs for inputs, outputs, _ in self.convolutions)
                + sum(inputs * outputs + outputs for inputs, outputs in self.dense))

    @property
    def act_flops(self) -> int:
        """Of a picture, forward: 2 per multiply-add of every kernel at every pixel, borders included, as torch counts."""
        return 2 * (sum(KERNEL * inputs * outputs * pixels for inputs, outputs, pixels in self.convolutions)
                    + sum(inputs * outputs for inputs, outputs in self.dense))

    @property
    def learn_flops(self) -> int:
        """Of a picture, forward and backward once; nobody asks for the gradient of the picture itself."""
        inputs, outputs, pixels = self.convolutions[0]
        return 3 * self.act_flops - 2 * KERNEL * inputs * outputs * pixels


def _halved(side: int, times: int) -> int:
    for _ in range(times):
        side = (side + 1) // 2
    return side
