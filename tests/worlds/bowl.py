"""A user's training function with a known answer: its loss has one minimum in lr, at a rate that falls with the depth."""

import math
import random


def train(depth: int, tokens: float = 1e5, lr: float = 3e-3, activation: str = "relu", seed: int = 0) -> dict:
    if lr > 0.5:
        return {"params": 100.0 * depth, "flops": 600.0 * depth * tokens, "val_loss": math.inf}
    off = math.log(lr / best_lr(depth))
    noise = 1e-4 * random.Random(f"{seed} {lr}").gauss(0, 1)
    loss = 0.5 + 2.0 / depth + 50.0 / tokens**0.5 + 0.05 * off**2 + noise
    return {"params": 100.0 * depth, "flops": 600.0 * depth * tokens, "val_loss": loss}


def best_lr(depth: int) -> float:
    return 0.02 / depth
