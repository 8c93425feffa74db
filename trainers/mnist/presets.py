"""The grids of the MNIST study, its batch size, and where a search starts."""

import math
from dataclasses import dataclass

from trainers.task import Preset, Tuning

# Learning rates under the rule fan_in: lr sqrt(batch_size / fan_in) in each layer.
LOWEST, HIGHEST = 3e-4, 1.0   # searched; everything fails at both ends
START = 0.02                  # where a search without a tuned neighbour begins: the optimum at middling widths


@dataclass(frozen=True)
class BatchRule:
    """Images a step: `full` at the whole data set, growing with the data budget as its square root.

    With one batch size everywhere small fractions get too few steps, lose for want of steps
    rather than of images, and the best use of any compute is the whole data set: the frontier
    would be the grid's edge.
    """

    full: int = 24
    power: float = 0.5

    def __post_init__(self):
        if self.full < 1:
            raise ValueError(f"batch size {self.full}: at least 1 image")

    def __call__(self, fraction: float) -> int:
        return max(1, round(self.full * fraction**self.power))


def rate(width: float, fraction: float) -> float:
    """Peak learning rate where nobody gave or tuned one: 0.019 w^-1/2 f^(-0.12 - 0.08 ln w).

    Fitted to the 700 tuning runs of the preset `thorough`, 70 pairs of width w and fraction f: on top of the layers'
    sqrt(batch / fan_in), wide networks want yet smaller rates, the more so the longer they train.
    """
    return 0.019 * width**-0.5 * fraction**(-0.12 - 0.08 * math.log(width))


def half_octaves(low: int, high: int) -> tuple[float, ...]:
    """sqrt(2)^k for k from low to high: each step about doubles an image's FLOPs."""
    return tuple(2.0 ** (k / 2) for k in range(low, high + 1))


def halvings(first: int, last: int) -> tuple[float, ...]:
    """2^-k for k from first to last."""
    return tuple(2.0**-k for k in range(first, last + 1))


def tuning(trials: int, seeds: int, *by: str) -> Tuning:
    """Of the learning rate, width by width unless `by` says more; without dropout, which asks for no rate of its own."""
    return Tuning("lr", LOWEST, HIGHEST, by=by or ("width",), start=START, trials=trials, seeds=seeds, at={"dropout": 0.0})


def _preset(widths: tuple, fractions: tuple, seeds: int, tuned: Tuning, purpose: str, dropouts: tuple = (0.0, 0.2)) -> Preset:
    return Preset({"width": widths, "fraction": fractions, "dropout": dropouts}, seeds, tuned, purpose=purpose)


ONE_CHANNEL = 0.25  # the narrowest width; sqrt 2 times it would round to one channel again

PRESETS = {
    "smoke": _preset((ONE_CHANNEL, 0.5), halvings(6, 7), 1, tuning(3, 1), "a test, seconds"),
    "quick": _preset((ONE_CHANNEL, *half_octaves(-2, 2)), halvings(0, 5), 2, tuning(5, 1), "minutes on a laptop"),
    "standard": _preset((ONE_CHANNEL, *half_octaves(-2, 6)), halvings(0, 6), 4, tuning(7, 2), "half an hour on 2 cores"),
    "thorough": _preset((ONE_CHANNEL, *half_octaves(-2, 6)), halvings(0, 6), 8, tuning(5, 2, "width", "fraction"),
                        "hours on 2 cores: a rate for every width and fraction"),
    "full": _preset((ONE_CHANNEL, *half_octaves(-2, 12)), halvings(0, 8), 8, tuning(9, 3), "GPUs"),
}

# A search's dimensions. The centre is a small run that learns something: CARBS walks up from it. Bounds where the
# network or the data set ends, and where no rate trains anything.
SEARCH = {
    "width": "log:1:0.25",             # one channel: the narrowest
    "fraction": "log:0.0625:0.001:1",
    "lr": "log:0.02:1e-4:1",
    # Below 4 images a step takes as long as one of 4, though it costs fewer FLOPs.
    "batch_size": "log:8:4:60",
    "weight_decay": "log:0.01:1e-6:10",
    "dropout": "logit:0.05",
    "beta1": "logit:0.8",
    "beta2": "logit:0.99",
    "warmup": "logit:0.25",
}
