"""Approach 3 (Hoffmann et al. 2022): the loss surface fitted to every run, with intervals.

The additive law L = E + A/N^alpha + B/D^beta by Hoffmann's Huber loss of log L, or the generalised law
L = E + (A/N^(alpha/g) + B/D^(beta/g))^g by one as wide as the runs scatter: the global optimum on the data and on
every bootstrap resample. Profiles and predictions follow from the result.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis.approaches import frontier
from analysis.approaches.cost import LANGUAGE, CostLaw, fit_cost
from analysis.approaches.frontier import EffectiveExponents, FrontierBand, FrontierLaw, OptimumEstimate, Range
from analysis.approaches.global_minimum import Optimum, global_minima, global_minimum
from analysis.approaches.laws.additive import ADDITIVE, EXPONENTS
from analysis.approaches.laws.generalised import BRACKET, GENERALISED
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.profile import PARAMETERS, Profile, profile_of
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import HUBER, SurfaceFit, check_runs, describe, efficient
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt

LOOSE, EXACT = 0.1, 1e-6   # rms of the residuals of log L: more is said, and so is less
NAMES = ("E", "A", "B", "alpha", "beta", "a", "b", "gamma")   # and g, of the generalised law


@dataclass(frozen=True)
class Sample:
    """The runs of a fit, arrays (n,)."""

    N: np.ndarray
    D: np.ndarray
    L: np.ndarray
    C: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Resampled:
    """The fits of R resamples."""

    clusters: intervals.Clusters
    multiplicity: np.ndarray  # (R, n) of each run
    surfaces: np.ndarray      # (R, k): E, A, B, alpha, beta and, of the generalised law, g
    values: np.ndarray        # (R,): objective of each resample at its surface
    costs: np.ndarray         # (R, 2): k, p


@dataclass(frozen=True, eq=False)
class ParametricFit:
    """A fitted surface, its cost law, and the cloud of surfaces that resampling gives."""

    point: SurfaceFit
    law: object                                 # ADDITIVE or GENERALISED
    cost: CostLaw
    sample: Sample = field(repr=False)
    resampled: Resampled = field(repr=False)
    optimum_found: Optimum = field(repr=False)
    interval_method: str                        # percentile, bca or profile: of the named estimates
    level: float

    surface = property(lambda self: self.point.surface)
    n = property(lambda self: self.point.n)
    N = property(lambda self: self.sample.N)
    D = property(lambda self: self.sample.D)
    L = property(lambda self: self.sample.L)
    C = property(lambda self: self.sample.C)
    clusters = property(lambda self: self.resampled.clusters)
    draws = property(lambda self: self.resampled.surfaces)
    cost_draws = property(lambda self: self.resampled.costs)

    @property
    def cells(self) -> int:
        """What was resampled: (N, D) cells, by default."""
        return self.clusters.count

    @property
    def parameters(self) -> int:
        return len(self.law.names)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of a standard error."""
        return max(self.cells - self.parameters, 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Quantities that have an interval."""
        return NAMES if self.law is ADDITIVE else (*NAMES, "g")

    @cached_property
    def points(self) -> Coordinates:
        return Coordinates.of(self.N, self.D, self.L, self.sample.weight)

    @property
    def cloud(self) -> Surface:
        """Draws as one surface with array fields (R,)."""
        return Surface(*self.draws.T)

    @property
    def cost_cloud(self) -> CostLaw:
        return CostLaw(*self.cost_draws.T)

    def quantity(self, name: str) -> tuple[float, np.ndarray]:
        """Value and draws (R,) of one of `names`."""
        if name not in self.names:
            raise ValueError(f"a quantity is one of {', '.join(self.names)}; got {name!r}")
        return (float(_quantity(name, self.surface, self.cost)),
                np.asarray(_quantity(name, self.cloud, self.cost_cloud)))

    def interval(self, name: str, method: str | None = None) -> Estimate:
        """Interval of one of `names` by "percentile", "bca" or "profile".

        b = 1 - p a has a's profile; gamma has none and falls back on percentiles.
        """
        method = method or self.interval_method
        if method not in ("percentile", "bca", "profile"):
            raise ValueError(f"an interval is percentile, bca or profile; got {method!r}")
        if method == "bca":
            return self._bca(name)
        if method == "percentile" or name == "gamma":
            return self.percentile(*self.quantity(name))
        if name == "b":
            a, p = self.profile("a").estimate, self.cost.p
            return replace(a, value=1 - p * a.value, low=1 - p * a.high, high=1 - p * a.low, se=p * a.se)
        return self.profile(name).estimate

    def percentile(self, value: float, draws) -> Estimate:
        """Percentile interval of anything computed on the draws (R,)."""
        return intervals.percentile(value, draws, label=self.resampling, count=self.cells, n=self.n, parameters=self.parameters,
                                    level=self.level, cut=self.cut)

    @property
    def resampling(self) -> str:
        """What varies between the tables behind the intervals."""
        return self.clusters.label

    @property
    def cut(self) -> float:
        """Share of the draws beyond each end of a percentile interval."""
        return intervals.tail(self.level, self.cells, self.parameters)

    @cached_property
    def _left_out(self) -> Surface:
        weight = intervals.leave_out(self.clusters) * self.sample.weight
        found = global_minima(self.points, weight, self.point.objective, self.optimum_found, law=self.law)
        return Surface(*self.law.external(self.points, found.theta).T)

    def _bca(self, name: str) -> Estimate:
        value, draws = self.quantity(name)
        return intervals.bca(value, draws, _quantity(name, self._left_out, self.cost), label=self.clusters.label,
                             count=self.cells, n=self.n, parameters=self.parameters, level=self.level)

    def profile(self, name: str) -> Profile:
        """Profile of the objective in E, A, B, alpha, beta, a or g, calibrated by the bootstrap. Computed once."""
        if name not in PARAMETERS or name not in self.names:
            raise ValueError(f"profiles are of {', '.join(n for n in PARAMETERS if n in self.names)}; got {name!r}")
        return getattr(self, f"_profile_{name}")

    _profile_E = cached_property(lambda self: profile_of(self, "E"))
    _profile_A = cached_property(lambda self: profile_of(self, "A"))
    _profile_B = cached_property(lambda self: profile_of(self, "B"))
    _profile_alpha = cached_property(lambda self: profile_of(self, "alpha"))
    _profile_beta = cached_property(lambda self: profile_of(self, "beta"))
    _profile_a = cached_property(lambda self: profile_of(self, "a"))
    _profile_g = cached_property(lambda self: profile_of(self, "g"))

    E = property(lambda self: self.interval("E"))
    A = property(lambda self: self.interval("A"))
    B = property(lambda self: self.interval("B"))
    alpha = property(lambda self: self.interval("alpha"))
    beta = property(lambda self: self.interval("beta"))
    a = property(lambda self: self.interval("a"))
    b = property(lambda self: self.interval("b"))
    gamma = property(lambda self: self.interval("gamma"))
    g = property(lambda self: self.interval("g"))

    @property
    def E_identified(self) -> bool:
        """Whether E = 0 lies outside E's interval."""
        return self.E.low > 1e-6 * self.L.min()

    @property
    def residuals(self) -> np.ndarray:
        """log L less the fit's, (n,)."""
        return np.log(self.L / self.surface.loss(self.N, self.D))

    @property
    def scatter(self) -> float:
        """Root mean square of the residuals: what the law leaves of log L."""
        return float(np.sqrt(np.average(self.residuals**2, weights=self.sample.weight)))

    def loss_draws(self, N, D) -> np.ndarray:
        """Loss (R, ...) at N, D under every draw."""
        shape = np.broadcast(np.asarray(N), np.asarray(D)).shape
        columns = (c.reshape(-1, *[1] * len(shape)) for c in self.draws.T)
        return Surface(*columns).loss(N, D)

    def loss(self, N: float, D: float) -> Estimate:
        """Loss of the law at N, D: its interval is of the law, not of one run's noise."""
        return self.percentile(self.surface.loss(N, D), self.loss_draws(N, D))

    def optimum(self, C: float) -> OptimumEstimate:
        """How big a model, on how much data, and how good, for C FLOPs."""
        return frontier.optimum_estimate(self, C)

    def frontier_band(self, C) -> FrontierBand:
        """Pointwise intervals of N*, D*, L* at C (m,)."""
        return frontier.frontier_band(self, C)

    @property
    def frontier(self) -> FrontierLaw:
        """The compute-efficient frontier's own law."""
        return frontier.frontier_law(self)

    @property
    def range(self) -> Range:
        """Compute over which N* and D* lie inside the sampled sizes and data."""
        return frontier.exponent_range(self)

    def effective_exponents(self) -> EffectiveExponents:
        return frontier.effective_exponents(self)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        doubts = [Doubt("at_bound", f"the fit ends at {bound}") for bound in self.point.at_bound]
        if not self.point.converged:
            doubts.append(Doubt("not_converged", "the optimiser ran out of iterations"))
        if not self.E_identified:
            doubts.append(Doubt("E_not_identified", "the irreducible loss E cannot be told from 0 on this table"))
        pegged = np.isin(self.draws[:, 3:5], EXPONENTS).any(1).mean()
        if pegged > 0.01:
            doubts.append(Doubt("draws_at_bound", f"{pegged:.0%} of the resamples end at a bound of alpha or beta"))
        if self.law is GENERALISED and (loose := np.isin(self.draws[:, 5], BRACKET).mean()) > 0.01:
            doubts.append(Doubt("g_not_identified", f"{loose:.0%} of the resamples end at a bound of g: the maximum of two terms, "
                                "or their product, describes them as well"))
        if self.scatter > LOOSE:
            doubts.append(Doubt("large_scatter", f"the runs stray from the law by {self.scatter:.0%} (rms of log L)"))
        if self.scatter < EXACT:
            doubts.append(Doubt("no_noise", "the runs lie on the law to the last digits, as simulated ones do: what the intervals "
                                "show is rounding"))
        if self.point.agreeing == 1:
            doubts.append(Doubt("lonely_optimum", f"only 1 of {self.point.starts} descents found the optimum"))
        return tuple(doubts)

    def summary(self) -> str:
        lines = [self.point.summary(), f"intervals: {self.level:.0%}, {self.a.method}, {len(self.draws)} resamples"]
        lines += [f"  {name:6s} {self.interval(name)}" for name in self.names]
        lines += [f"  note: {doubt.text}" for doubt in self.warnings]
        return "\n".join(lines)


def _quantity(name: str, surface: Surface, cost: CostLaw):
    return getattr(surface, name)(cost) if name in ("a", "b", "gamma") else getattr(surface, name)


def fit_parametric(N, D, L, *, C=None, cost: CostLaw | None = None, objective: Objective = HUBER, weight=None,
                   cell=None, seed=None, cluster: str = "cell", interval_method: str = "profile",
                   level: float = 0.95, resamples: int = 1000, rng=0, multiplicity=None) -> ParametricFit:
    """Approach 3 as the literature has it: the additive law, each resample at its own global optimum.

    The cost law is measured where C is given, and C = 6 N D where neither is.
    multiplicity (R, n) replaces the resampling by the caller's own.
    """
    N, D, L, weight = check_runs(N, D, L, weight)
    return _fitted(ADDITIVE, objective, (N, D, L, weight), C, cost, (cluster, cell, seed), interval_method, level, resamples,
                   np.random.default_rng(rng), multiplicity)


def fit_generalised(N, D, L, *, C=None, cost: CostLaw | None = None, objective: Objective | None = None, weight=None,
                    cell=None, seed=None, cluster: str = "cell", interval_method: str = "profile",
                    level: float = 0.95, resamples: int = 1000, rng=0, multiplicity=None) -> ParametricFit:
    """Approach 3 by the generalised law; its objective is that of `efficient` where none is given.

    Raises TooFewPoints where there are fewer than 7 distinct (N, D).
    """
    N, D, L, weight = check_runs(N, D, L, weight, parameters=6)
    objective = objective or efficient(Coordinates.of(N, D, L, weight), weight)
    return _fitted(GENERALISED, objective, (N, D, L, weight), C, cost, (cluster, cell, seed), interval_method, level, resamples,
                   np.random.default_rng(rng), multiplicity)


def _fitted(law, objective, table, C, cost, drawn, interval_method, level, resamples, rng, multiplicity) -> ParametricFit:
    N, D, L, weight = table
    cost = cost or (LANGUAGE if C is None else fit_cost(N, D, C, level=level))
    C = cost.flops(N, D) if C is None else np.asarray(C, float)
    scheme, cell, seed = drawn
    chosen = intervals.clusters(scheme, N, D, cell=cell, seed=seed)
    if multiplicity is None:
        multiplicity = intervals.resample(chosen, resamples, rng)
    points = Coordinates.of(N, D, L, weight)
    found = global_minimum(points, weight, objective, law=law)
    cloud = global_minima(points, multiplicity * weight, objective, found, law=law)
    resampled = Resampled(chosen, multiplicity, law.external(points, cloud.theta), cloud.value,
                          _cost_draws(cost, N, len(multiplicity), rng))
    return ParametricFit(describe(points, found, objective, law), law, cost, Sample(N, D, L, C, weight), resampled, found,
                         interval_method, level)


def _cost_draws(cost: CostLaw, N, count: int, rng) -> np.ndarray:
    """k, p (R, 2): p by its standard error, the cost at the geometric mean size held."""
    se = cost.p_estimate.se if cost.p_estimate else 0.0
    shift = se * rng.standard_normal(count)
    return np.stack([cost.k * np.exp(-shift * np.log(N).mean()), cost.p + shift], 1)
