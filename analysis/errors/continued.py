"""Errors of runs to come, given those of the runs that there are: what they share with them goes on."""

import numpy as np

from analysis.errors.components import Components, innovation_of
from analysis.errors.structure import groupings, structure_of


def continued(found: Components, errors: np.ndarray, N, D, seed, rng) -> np.ndarray:
    """Errors (k,) of log L of the last k of n + k runs, drawn from the normal law that they have given the first n's, errors (n,).

    N, D, seed (n + k,): sizes, amounts of data, and the index of each run's seed, or None. V is the found covariance carried on to all runs;
    new runs are sequences of their own unless they share their seed with others of their size.
    """
    n = len(errors)
    V = _covariance(found, N, D, seed)
    pull = np.linalg.solve(V[:n, :n], V[:n, n:]).T
    left = V[n:, n:] - pull @ V[:n, n:]
    # to rounding a covariance: a run whose error is known has none left
    size, axes = np.linalg.eigh((left + left.T) / 2)
    return pull @ errors + axes @ (np.sqrt(np.maximum(size, 0)) * np.random.default_rng(rng).standard_normal(len(size)))


def _covariance(found: Components, N, D, seed) -> np.ndarray:
    """V = sigma^2 B + sum sigma_l^2 Z_l Z_l' of all runs; new ones have weight 1."""
    N, D = np.asarray(N, float), np.asarray(D, float)
    weight = np.append(found.weight, np.ones(len(N) - len(found.weight)))
    V = found.variance * innovation_of(structure_of(N, D, seed=seed), found.base.kind, found.base.value, weight).covariance()
    member = {one.name: one.member for one in groupings(N, D, seed)}
    for one in found.found:
        # a run's own error, where a column named the runs, ends with it
        if one.shared.name in member:
            V += one.variance * (member[one.shared.name][:, None] == member[one.shared.name])
        else:
            m = len(found.weight)
            V[:m, :m] += one.variance * (one.shared.member[:, None] == one.shared.member)
            V[np.arange(m, len(N)), np.arange(m, len(N))] += one.variance
    return V
