"""Does an exponent differ between groups of runs, say with and without dropout?

Groups that share their (N, D) cells are resampled together: what a cell has in common in
both groups then cancels, and the interval is of the difference, not of two fits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np
from scipy import stats

from analysis.approaches.cost import LANGUAGE, fit_cost
from analysis.approaches.laws.objective import Objective
from analysis.approaches.parametric import ParametricFit, fit_parametric
from analysis.errors.model import ErrorModel
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate

QUANTITIES = ("E", "alpha", "beta", "a", "b", "gamma")
SHARED = 0.5  # of the clusters must be in both groups for pairing to mean anything


@dataclass(frozen=True)
class Difference:
    """One quantity in two groups."""

    quantity: str
    first: str
    second: str
    values: tuple[float, float]
    estimate: Estimate   # second less first
    p_value: float       # of no difference
    paired: bool

    @property
    def zero_inside(self) -> bool:
        return 0.0 in self.estimate

    def summary(self) -> str:
        verdict = "no difference shown" if self.zero_inside else "differ"
        return (f"{self.quantity:6s} {self.first} {self.values[0]:.3g}, {self.second} {self.values[1]:.3g}: "
                f"difference {self.estimate}, p = {self.p_value:.2g}, {verdict}")


def compare_groups(N, D, L, group, *, fit_law: Callable = fit_parametric, C=None, weight=None, cell=None,
                   seed=None, cluster: str = "cell",
                   objective: Objective | None = None, level: float = 0.95, resamples: int = 1000,
                   rng=0, errors: Mapping[str, ErrorModel] = MappingProxyType({})) -> tuple[Difference, ...]:
    """Every pair of labels in group (n,), every quantity of QUANTITIES; sizes and costs pooled for p.

    fit_law: fit_parametric or fit_generalised; objective: None leaves it to that. errors: of the groups whose errors go together, by
    label; such a group is compared as independent of the others, which is conservative where they have errors in common.
    Raises Refusal where a group is too small for a fit of its own.
    """
    N, D, L = (np.asarray(v, float) for v in (N, D, L))
    group = np.asarray(group)
    if len(group) != len(N):
        raise ValueError(f"group has {len(group)} labels for {len(N)} runs")
    names = np.unique(group)
    if len(names) < 2:
        raise ValueError(f"need at least 2 groups to compare, got {len(names)}")
    rng = np.random.default_rng(rng)
    seed = None if seed is None else np.asarray(seed)
    cost = LANGUAGE if C is None else fit_cost(N, D, C, level=level)
    pooled = intervals.clusters(cluster, N, D, cell=cell, seed=seed)
    paired = {(a, b): not {str(a), str(b)} & set(errors) and _shared(pooled.member[group == a], pooled.member[group == b]) >= SHARED
              for a, b in combinations(names, 2)}
    together = intervals.resample(pooled, resamples, rng) if any(paired.values()) else None
    chosen = {} if objective is None else {"objective": objective}
    fits = {}
    for name in names:
        at = group == name
        own = intervals.clusters(cluster, N[at], D[at], cell=pooled.member[at], seed=None if seed is None else seed[at])
        # a resample that misses every cluster of a group says nothing; a pooled draw seldom does
        draw = None if str(name) in errors else together[:, at] if together is not None else intervals.resample(own, resamples, rng)
        fits[name] = fit_law(N[at], D[at], L[at], C=None if C is None else np.asarray(C, float)[at], cost=cost,
                                    **chosen, weight=None if weight is None else np.asarray(weight)[at],
                                    cell=pooled.member[at], seed=None if seed is None else seed[at],
                                    cluster=cluster, level=level, multiplicity=draw, rng=0 if draw is not None else rng,
                                    errors=errors.get(str(name)), resamples=resamples)
    return tuple(difference(q, str(a), str(b), fits[a], fits[b], paired[a, b])
                 for a, b in combinations(names, 2) for q in QUANTITIES)


def _shared(first, second) -> float:
    """Share of the two groups' clusters that both have."""
    return len(np.intersect1d(first, second)) / len(np.union1d(first, second))


def difference(quantity: str, first: str, second: str, one: ParametricFit, other: ParametricFit,
               paired: bool) -> Difference:
    """Student's t interval with the resampled differences' standard error.

    Percentiles of differences of robust fits cover more than they claim on small grids
    (the draws' centre is steadier than the estimate).
    """
    (v, draws), (w, others) = one.quantity(quantity), other.quantity(quantity)
    gap = others - draws
    left = min(one.freedom_of(quantity), other.freedom_of(quantity))
    se = float(np.std(gap, ddof=1) * np.sqrt(max(one.shortfall, other.shortfall)))
    reach = stats.t.ppf((1 + one.level) / 2, left) * se
    kind = f"{'paired ' if paired else ''}bootstrap {one.resampling}, Student's t"
    estimate = Estimate(w - v, w - v - reach, w - v + reach, se, kind, one.n + other.n, one.level)
    p = float(2 * stats.t.sf(abs(w - v) / max(se, 1e-300), left))
    return Difference(quantity, first, second, (v, w), estimate, p, paired)
