"""Grids of runs on a known surface, for tests of the fits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from analysis.approaches.cost import CostLaw
from analysis.approaches.surface import Surface

HERE = Path(__file__).resolve().parent
CARRIED = HERE / "published"                                      # PROVENANCE.txt says whose
UNLICENSED = HERE.parents[1].parent / "shared" / "data"           # beside the checkout, on machines that have it


def published(name: str) -> Path:
    """A table that others published: one that their licence lets us carry, or else a reason to skip."""
    for folder in (CARRIED, UNLICENSED):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"needs {name}, whose owners gave it no licence: the project does not carry it")


@dataclass(frozen=True)
class Grid:
    """Runs and the truth behind them."""

    N: np.ndarray
    D: np.ndarray
    L: np.ndarray
    C: np.ndarray
    seed: np.ndarray
    cell: np.ndarray
    surface: Surface
    cost: CostLaw

    @property
    def a(self) -> float:
        return float(self.surface.a(self.cost))


def grid(*, alpha=0.6, beta=0.4, E=0.02, g=1.0, noise=0.0, cell_noise=0.0, seeds=3, widths=10, fractions=8, p=0.85,
         shift=0.0, rng=0) -> Grid:
    """widths x fractions x seeds; the two terms of the bracket are equal in the middle, but for 2^shift, and the
    reducible loss is 0.3 there."""
    random = np.random.default_rng(rng)
    sizes, samples = 700 * 2.0 ** (0.8 * np.arange(widths)), 60_000 * 0.5 ** np.arange(fractions)
    cell = np.repeat(np.arange(widths * fractions), seeds)
    N, D = np.repeat(sizes, fractions)[cell], np.tile(samples, widths)[cell]
    term = 0.3 ** (1 / g) / 2
    surface = Surface(E, term * sizes[widths // 2] ** (alpha / g), term * 2.0 ** (shift / g) * samples[fractions // 2] ** (beta / g),
                      alpha, beta, g)
    cost = CostLaw(30.0, p)
    wobble = noise * random.standard_normal(len(N)) + cell_noise * random.standard_normal(cell.max() + 1)[cell]
    return Grid(N, D, surface.loss(N, D) * np.exp(wobble), cost.flops(N, D), np.tile(np.arange(seeds), widths * fractions),
                cell, surface, cost)


STUDY_LAWS = {   # as the MNIST study's table without dropout gives them: generalised, and additive, which does not describe it
    "g 3": Surface(0.0146, 6.67, 2.587, 1.542, 0.690, 3.18),
    "g 1": Surface(0.00634, 55.1, 22.3, 0.884, 0.646, 1.0),
}


def study_grid(law: str, *, noise: float = 0.0, rng=0) -> Grid:
    """The MNIST study's 10 sizes x 7 fractions, one value for the 8 seeds of a cell; channels c, 2c, 4c and the classifier."""
    channels, fractions = np.array([1, 2, 3, 4, 6, 8, 11, 16, 23, 32]), 0.5 ** np.arange(7)
    sizes = 90.0 * channels**2 + 192 * channels + 10
    N, D = np.repeat(sizes, 7), np.tile(60_000 * fractions, 10)
    surface, cost = STUDY_LAWS[law], CostLaw(130.0, 1.116)
    L = surface.loss(N, D) * np.exp(noise * np.random.default_rng(rng).standard_normal(70))
    return Grid(N, D, L, cost.flops(N, D), np.zeros(70, int), np.arange(70), surface, cost)
