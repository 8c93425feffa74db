"""The grids of the language study, the rules for batch size and rate, and where a search starts."""

import math

from trainers.language.shape import CONTEXT
from trainers.task import Preset, Tuning

LOWEST, HIGHEST = 1e-4, 0.3   # learning rates searched: nothing learns at either end
BATCH_AT_1E6 = 256            # tokens a step at 1e6 tokens of data
SEQUENCES_AT_LEAST = 2        # a step: one alone, of neighbouring bytes, costs up to 3% of the loss
RATE_TIMES_WIDTH = 0.23


def batch_size_of(tokens: int) -> int:
    """Tokens a step: 256 at 1e6 tokens of data, growing as their square root, in whole sequences of a text, two at least.

    Of two neighbouring batch sizes at one rate the smaller was the better in 43 of 54 comparisons (widths 8 to 64, 1.25e5 to
    2e6 bytes of Python, 128 to 1,536 tokens a step). Fewer than these would cost more time than they gain.
    """
    return CONTEXT * max(SEQUENCES_AT_LEAST, round(BATCH_AT_1E6 * math.sqrt(tokens / 1e6) / CONTEXT))


def rate_of(width: int) -> float:
    """Peak learning rate: inversely proportional to the width, as for Adam's hidden matrices in Yang et al. 2022 (table 8).

    Fitted to 91 runs at 4 widths, 3 budgets and 3 batch sizes each: lr* = 0.23 (+- 0.06) width^(-1.05 +- 0.28), of the data
    no power (0.02 +- 0.12) where the batch grows with them. At a factor of 1.3 from it the loss is 0.2% higher.
    """
    return float(f"{RATE_TIMES_WIDTH / width:.3g}")


def octaves(first: float, count: int) -> tuple[int, ...]:
    """first, twice as much, and so on."""
    return tuple(round(first * 2**k) for k in range(count))


WIDTHS = (8, 12, 16, 24, 32, 48, 64, 80, 104)   # 1.5e3 to 8e5 parameters in the blocks


def tuning(trials: int, seeds: int) -> Tuning:
    """Of the learning rate, width by width, at the budget in the middle: for sizes beyond those that the rule was fitted to."""
    return Tuning("lr", LOWEST, HIGHEST, by=("width",), start=rate_of(WIDTHS[len(WIDTHS) // 2]), trials=trials, seeds=seeds)


PRESETS = {
    "smoke": Preset({"width": (8, 12), "tokens": (8192, 16384)}, 1, purpose="a test, seconds"),
    "quick": Preset({"width": WIDTHS[:7], "tokens": octaves(112_500, 6)}, 1, purpose="minutes on a laptop, rates by rule"),
    "standard": Preset({"width": WIDTHS, "tokens": octaves(125e3, 7)}, 2, purpose="under 3 hours on 2 cores"),
    "full": Preset({"width": (*WIDTHS[:7], 96, 128, 192, 256, 384, 512), "tokens": octaves(62.5e3, 8)}, 5, tuning(7, 3),
                   choices={"precision": "bfloat16"}, purpose="GPUs"),
}

# A search's dimensions. The centre is a small run that learns something: CARBS walks up from it.
SEARCH = {
    "width": "log:12:4",
    "tokens": "log:2.5e5:6e4:8e6",
    "lr": "log:0.02:1e-4:0.5",
    "batch_size": "log:256:128:16384",
    "beta1": "logit:0.9",
    "beta2": "logit:0.95",
    "warmup": "logit:0.1",
    "weight_decay": "log:0.01:1e-6:10",
}
