"""A data set of noisy templates: learnt within a pass over it, in milliseconds a run."""

import numpy as np

from trainers.mnist.images import Images, normalised


def templates(train: int = 640, val: int = 200, *, noise: float = 2.0, seed: int = 0) -> Images:
    """Ten random images, one a class, each with noise of its own."""
    random = np.random.default_rng(seed)
    means = random.normal(size=(10, 28, 28))

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 10
        images = means[labels] + noise * random.normal(size=(count, 28, 28))
        return np.clip(128 + 20 * images, 0, 255).astype(np.uint8), labels

    return normalised("templates", *split(train), *split(val))
