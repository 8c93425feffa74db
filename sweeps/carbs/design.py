"""The first runs, before there is a model: a scrambled Sobol sequence through a Gaussian."""

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from sweeps.carbs.space import Space

Array = np.ndarray

# Of the Gaussian that the first runs are drawn from, in basic coordinates: wide enough for the
# models to see slopes above the noise.
INITIAL_RADIUS = 0.4


def design_point(space: Space, about: Array, index: int, *, radius: float, seed: int) -> Array:
    """Point `index` of the sequence about a point (d,), inside the bounds; every option of a choice alike."""
    sobol = qmc.Sobol(space.width, seed=np.random.default_rng(seed))
    u = sobol.fast_forward(index).random(1)[0]
    x = about + np.where(space.numeric, radius * ndtri(np.clip(u, 1e-6, 1 - 1e-6)), 0.0)
    for block in space.blocks:
        x[block] = u[block]     # the largest of k uniform draws
    return np.clip(x, space.low, space.high)
