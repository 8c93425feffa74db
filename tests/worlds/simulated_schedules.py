"""Tables of a schedule study drawn from known laws, for tests of its analysis."""

from dataclasses import replace

import numpy as np

from analysis.approaches.surface import Surface
from analysis.procedures.paired import Points

BASE = Surface(E=0.02, A=0.15 * 3000**0.6, B=0.15 * 15_000**0.5, alpha=0.6, beta=0.5)


def simulated(laws: dict[str, Surface] | None = None, *, widths: int = 8, budgets: int = 6, seeds: int = 3,
              cell_noise: float = 0.02, run_noise: float = 0.02, noise: float = 0.02, shared: float = 0.7,
              rng: int = 0) -> Points:
    """A row for each protocol, width, budget and seed.

    Noise of log loss: of the cell (what a law misses), of the run (a seed at one width, common
    to all its budgets), and of the row; `shared` is the part of each that protocols have in common.
    """
    random = np.random.default_rng(rng)
    laws = laws or {"per-budget": BASE, "single-run": replace(BASE, beta=0.6, B=0.2 * 15_000**0.6), "wsd": BASE}
    width, budget, seed = (v.ravel() for v in np.meshgrid(np.arange(widths), np.arange(budgets), np.arange(seeds), indexing="ij"))
    N, D = 300 * 2.0 ** (0.8 * width), 60_000 * 0.5**budget
    C = 100.0 * N**0.85 * D
    parts = []

    def wobble() -> np.ndarray:
        return (cell_noise * random.standard_normal((widths, budgets))[width, budget]
                + run_noise * random.standard_normal((widths, seeds))[width, seed] + noise * random.standard_normal(len(N)))

    common = wobble()
    for name, law in laws.items():
        L = law.loss(N, D) * np.exp(shared**0.5 * common + (1 - shared) ** 0.5 * wobble())
        spent = np.where(name == "wsd", 0.2 * C, np.where(name == "per-budget", C, np.where(budget == budgets - 1, C, C / 2)))
        parts.append(Points(np.full(len(N), name), 2.0 ** (width / 2), 0.5**budget, seed, N, D, C, L, spent))
    return Points(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])})
