"""Does an exponent differ between groups of runs, say with and without dropout?

Groups that share their (N, D) cells are resampled together: what a cell has in common in
both groups then cancels, and the interval is of the difference, not of two fits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

import numpy as np
from scipy import special

from analysis.approaches.cost import LANGUAGE, CostLaw, fit_cost
from analysis.approaches.laws.objective import Objective
from analysis.approaches.parametric import ParametricFit, fit_parametric
from analysis.approaches.resampled import Resampled, cost_draws
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
                   rng=0, errors: Mapping[str, ErrorModel] = MappingProxyType({}),
                   made: Mapping[str, ParametricFit] = MappingProxyType({})) -> tuple[Difference, ...]:
    """Every pair of labels in group (n,), every quantity of QUANTITIES; sizes and costs pooled for p.

    fit_law: fit_parametric, fit_generalised or fit_saturating; objective: None leaves it to that. errors: of the groups whose errors go together, by
    label; such a group is compared as independent of the others, which is conservative where they have errors in common. made: fits of
    such groups that the same law has already, by label; they are not made again.
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
        if str(name) in errors and str(name) in made:
            fits[name] = _independent(made[str(name)], cost, rng)
            continue
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


def _independent(fit: ParametricFit, cost: CostLaw, rng: np.random.Generator) -> ParametricFit:
    """The fit under another cost law, its draws in an order of their own: tables of two groups that one seed has made have errors in
    common that the groups have not."""
    of = fit.resampled
    mixed = rng.permutation(len(of.surfaces))
    noise = None if of.drawn.noise is None else of.drawn.noise[mixed]
    drawn = replace(of.drawn, multiplicity=of.multiplicity[mixed], noise=noise)
    return replace(fit, cost=cost, resampled=Resampled(drawn, of.surfaces[mixed], of.values[mixed], cost_draws(cost, fit.N, len(mixed), rng)))


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
    reach = special.stdtrit(left, (1 + one.level) / 2) * se
    kind = f"{'paired ' if paired else ''}bootstrap {one.resampling}, Student's t"
    estimate = Estimate(w - v, w - v - reach, w - v + reach, se, kind, one.n + other.n, one.level)
    p = float(2 * special.stdtr(left, -abs(w - v) / max(se, 1e-300)))
    return Difference(quantity, first, second, (v, w), estimate, p, paired)
