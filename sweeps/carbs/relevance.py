"""Which hyperparameters a cost depends on, by the evidence: most bear none.

Where the laws ask for the optimum at a given cost, a slope of a few hundredths that is none moves it: near a fixed
overhead hardly anything makes a run cheaper, and a learning rate that the cost model leaves a little slope is then lowered
for its sake.
"""

from dataclasses import dataclass, replace

import numpy as np

from sweeps.carbs import gp
from sweeps.carbs.surrogate import TRAIN, CostModel, cost_prior, spread

Array = np.ndarray

# Of a retraining without one coordinate: from the hyperparameters with it, a short way.
ITERATIONS = 40


@dataclass(frozen=True)
class _Fit:
    theta: Array
    unlikelihood: float     # negative log posterior


def without_irrelevant(model: CostModel) -> CostModel:
    """The same costs modelled without the coordinates that make them no likelier: it is constant along these.

    Backward, the least missed first, until the data miss one (negative log posterior at its mode). One always stays.
    """
    d = model.process.X.shape[1]
    some = spread(len(model.process.y), TRAIN)
    X, y, ones = model.process.X[some], model.process.y[some], np.ones(len(some))
    prior = cost_prior(d)

    def fit(kept: Array, theta: Array, iterations: int) -> _Fit:
        # Hyperparameters of a coordinate left out are those that the prior thinks likeliest: they cost nothing.
        theta = np.where(np.concatenate([np.tile(kept, 3), [True, True]]), theta, prior.mean)
        if iterations:
            theta = gp.train(X * kept, y, prior, theta, weights=ones, iterations=iterations)
        return _Fit(theta, gp.objective(theta, X * kept, y, prior, ones)[0])

    kept, best = np.ones(d, bool), fit(np.ones(d, bool), model.process.theta, ITERATIONS)
    missed = [fit(np.arange(d) != j, best.theta, 0).unlikelihood for j in range(d)]
    for j in np.argsort(missed, kind="stable")[:-1]:
        fewer = kept & (np.arange(d) != j)
        other = fit(fewer, best.theta, ITERATIONS)
        if other.unlikelihood > best.unlikelihood:
            break
        kept, best = fewer, other
    process = gp.condition(best.theta, model.process.X * kept, model.process.y, model.process.weights)
    return replace(model, process=process, scaling=replace(model.scaling, sd=np.where(kept, model.scaling.sd, np.inf)))
