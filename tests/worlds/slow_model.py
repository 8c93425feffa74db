"""A user's training function that takes a moment: a linear student learns a linear teacher, one example at a time."""

import numpy as np


def train(width: int, samples: int, lr: float = 0.3, seed: int = 0) -> dict:
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, width))
    y = x.sum(1) + 0.1 * random.normal(size=samples)
    weights = np.zeros(width)
    for row, target in zip(x, y):
        weights += lr / width * (target - row @ weights) * row
    held = random.normal(size=(1000, width))
    loss = float(np.mean(((held * (weights - 1)).sum(1)) ** 2))   # no BLAS, whose threads decide the last bits
    return {"params": width, "flops": 6.0 * width * samples, "val_loss": loss}
