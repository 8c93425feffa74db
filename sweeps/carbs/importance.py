"""Which hyperparameters the loss depends on, near the front."""

import numpy as np

from analysis.estimates.estimate import Estimate
from sweeps.carbs.draws import draws_of
from sweeps.carbs.optimum import Searched

# About the runs of the front, in basic coordinates: what is far from it doesn't matter.
NEAR, POINTS = 0.3, 512


def importance(carbs: Searched, *, draws: int = 24, level: float = 0.95, seed: int = 0) -> dict[str, Estimate]:
    """Total effect of each hyperparameter on the model's loss within NEAR of the front, largest first.

    The share of the (warped) loss's variance that is left when all others are known: Jansen's estimator
    E[(f(x) - f(x'))^2] / (2 Var f), x and x' alike but for that hyperparameter (Saltelli et al. 2010, Table 2f).
    Shares sum to more than 1 where hyperparameters interact. Intervals are quantiles over draws from the model.
    """
    rng, space, now = np.random.default_rng(seed), carbs.space, carbs.beliefs()
    front = np.array([space.encode(p.config) for p in carbs.front()])

    def around() -> np.ndarray:
        X = front[rng.integers(len(front), size=POINTS)]
        X = X + np.where(space.numeric, NEAR * rng.standard_normal(X.shape), 0.0)
        for block in space.blocks:
            k = block.stop - block.start
            X[:, block] = np.eye(k)[rng.integers(k, size=POINTS)] * space.high[block.start]
        return space.snap(np.clip(X, space.low, space.high))

    X, other = around(), around()
    functions = draws_of(now.loss.process, draws, rng)
    shares = {}
    for name, columns in space.columns.items():
        moved = X.copy()
        moved[:, columns] = other[:, columns]
        values = []
        for f in functions:
            at, then = (f.value_and_gradient(now.loss.scaling(Z))[0] for Z in (X, moved))
            values.append(float(((at - then) ** 2).mean() / (2.0 * max(at.var(), 1e-300))))
        low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
        shares[name] = Estimate(float(np.mean(values)), float(low), float(high), float(np.std(values, ddof=1)),
                                f"quantiles of {draws} posterior draws", len(now.X), level)
    return dict(sorted(shares.items(), key=lambda item: -item[1].value))
