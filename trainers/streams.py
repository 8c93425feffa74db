"""Random streams of a cell: each independent of the others, all from the cell's one seed."""

import numpy as np
import torch

STREAMS = ("weights", "order", "dropout")   # their order decides their numbers


def sequence(seed: int, stream: str, *more: int) -> np.random.SeedSequence:
    """`more`: of a stream of streams, an epoch say."""
    return np.random.SeedSequence(seed, spawn_key=(STREAMS.index(stream), *more))


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """torch's, seeded by the stream."""
    word, = sequence(seed, stream).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(word >> np.uint64(1)))
