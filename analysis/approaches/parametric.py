"""Approach 3 (Hoffmann et al. 2022): the loss surface fitted to every run, with intervals.

L = E + A/N^alpha + B/D^beta by a Huber loss of log L, the global optimum on the data and on
every bootstrap resample. Profiles and predictions follow from the result.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis.approaches.cost import LANGUAGE, CostLaw, fit_cost
from analysis.approaches.global_minimum import Optimum, global_minima, global_minimum
from analysis.approaches.newton import EXPONENTS, Coordinates, Objective
from analysis.approaches.profile import Profile, profile_of
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import HUBER, SurfaceFit, check_runs, describe
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt

LOOSE, EXACT = 0.1, 1e-6   # rms of the residuals of log L: more is said, and so is less
NAMES = ("E", "A", "B", "alpha", "beta", "a", "b", "gamma")


@dataclass(frozen=True)
class OptimumEstimate:
    """The best use of C FLOPs, with intervals."""

    C: float
    N: Estimate
    D: Estimate
    L: Estimate
    inside: bool                 # C lies within the table's compute
    warnings: tuple[Doubt, ...]

    def summary(self) -> str:
        lines = [f"C = {self.C:.3g} FLOPs: N* = {self.N}, D* = {self.D}, L* = {self.L}"]
        return "\n".join(lines + [f"  note: {w.text}" for w in self.warnings])


@dataclass(frozen=True)
class FrontierBand:
    """The compute-efficient frontier with pointwise intervals; arrays (m,)."""

    C: np.ndarray
    N: np.ndarray
    N_low: np.ndarray
    N_high: np.ndarray
    D: np.ndarray
    D_low: np.ndarray
    D_high: np.ndarray
    L: np.ndarray
    L_low: np.ndarray
    L_high: np.ndarray


@dataclass(frozen=True)
class FrontierLaw:
    """L*(C) = E + K C^-gamma."""

    E: Estimate
    K: Estimate
    gamma: Estimate

    def loss(self, C):
        return self.E.value + self.K.value * np.asarray(C, float) ** -self.gamma.value

    def summary(self) -> str:
        return f"frontier        L* = E + K C^-gamma, E {self.E}, K {self.K}, gamma {self.gamma}"


@dataclass(frozen=True)
class EffectiveExponents:
    """Slopes a power law without E would show over the sampled range (Kaplan et al. 2020's exponents)."""

    L_N: Estimate  # smallest to largest N at the largest D
    L_D: Estimate  # smallest to largest D at the largest N
    L_C: Estimate  # cheapest to dearest C along the compute-efficient frontier


@dataclass(frozen=True, eq=False)
class ParametricFit:
    """A fitted surface, its cost law, and the cloud of surfaces that resampling gives."""

    point: SurfaceFit
    cost: CostLaw
    draws: np.ndarray = field(repr=False)       # (R, 5): E, A, B, alpha, beta
    draw_values: np.ndarray = field(repr=False) # (R,): objective of each resample at its draw
    cost_draws: np.ndarray = field(repr=False)  # (R, 2): k, p
    clusters: intervals.Clusters = field(repr=False)
    interval_method: str                        # percentile, bca or profile: of the named estimates
    level: float
    N: np.ndarray = field(repr=False)
    D: np.ndarray = field(repr=False)
    L: np.ndarray = field(repr=False)
    C: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    multiplicity: np.ndarray = field(repr=False)  # (R, n) of the resamples
    optimum_found: Optimum = field(repr=False)

    @property
    def surface(self) -> Surface:
        return self.point.surface

    @property
    def n(self) -> int:
        return self.point.n

    @property
    def cells(self) -> int:
        return self.clusters.count

    @property
    def points(self) -> Coordinates:
        return Coordinates.of(self.N, self.D, self.L, self.weight)

    @property
    def cloud(self) -> Surface:
        """Draws as one surface with array fields (R,)."""
        return Surface(*self.draws.T)

    @property
    def cost_cloud(self) -> CostLaw:
        return CostLaw(*self.cost_draws.T)

    def quantity(self, name: str) -> tuple[float, np.ndarray]:
        """Value and draws (R,) of one of NAMES."""
        if name not in NAMES:
            raise ValueError(f"a quantity is one of {', '.join(NAMES)}; got {name!r}")
        return (float(_quantity(name, self.surface, self.cost)),
                np.asarray(_quantity(name, self.cloud, self.cost_cloud)))

    def interval(self, name: str, method: str | None = None) -> Estimate:
        """Interval of one of NAMES by "percentile", "bca" or "profile".

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
        return intervals.percentile(value, draws, label=self.clusters.label, count=self.cells, n=self.n,
                                    level=self.level)

    @cached_property
    def _left_out(self) -> Surface:
        weight = intervals.leave_out(self.clusters) * self.weight
        found = global_minima(self.points, weight, self.point.objective, self.optimum_found)
        return Surface(*self.points.external(found.theta).T)

    def _bca(self, name: str) -> Estimate:
        value, draws = self.quantity(name)
        return intervals.bca(value, draws, _quantity(name, self._left_out, self.cost), label=self.clusters.label,
                             count=self.cells, n=self.n, level=self.level)

    def profile(self, name: str) -> Profile:
        """Profile of the objective in E, A, B, alpha, beta or a, calibrated by the bootstrap."""
        if name not in self._profiles:
            self._profiles[name] = profile_of(self, name)
        return self._profiles[name]

    @cached_property
    def _profiles(self) -> dict[str, Profile]:
        return {}

    E = property(lambda self: self.interval("E"))
    A = property(lambda self: self.interval("A"))
    B = property(lambda self: self.interval("B"))
    alpha = property(lambda self: self.interval("alpha"))
    beta = property(lambda self: self.interval("beta"))
    a = property(lambda self: self.interval("a"))
    b = property(lambda self: self.interval("b"))
    gamma = property(lambda self: self.interval("gamma"))

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
        return float(np.sqrt(np.average(self.residuals**2, weights=self.weight)))

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
        if not (np.isfinite(C) and C > 0):
            raise ValueError(f"a compute budget is a positive number of FLOPs, got {C}")
        best, cloud = self.surface.optimum(C, self.cost), self.cloud.optimum(C, self.cost_cloud)
        return OptimumEstimate(float(C), *(self.percentile(float(getattr(best, k)), getattr(cloud, k)) for k in "NDL"),
                               bool(self.C.min() <= C <= self.C.max()), self._doubts_at(C, best))

    def _doubts_at(self, C, best) -> tuple[Doubt, ...]:
        doubts = []
        if not self.C.min() <= C <= self.C.max():
            away = max(np.log10(self.C.min() / C), np.log10(C / self.C.max()))
            doubts.append(Doubt("extrapolation", f"C = {C:.3g} lies {away:.1f} decades outside the table's compute"))
        for name, value, sampled in (("N", best.N, self.N), ("D", best.D, self.D)):
            if not sampled.min() <= value <= sampled.max():
                doubts.append(Doubt(f"{name}_outside_grid", f"{name}* = {value:.3g} lies outside the sampled "
                                    f"{sampled.min():.3g} to {sampled.max():.3g}"))
        return tuple(doubts)

    def frontier_band(self, C) -> FrontierBand:
        """Pointwise intervals of N*, D*, L* at C (m,)."""
        C = np.asarray(C, float)
        best = self.surface.optimum(C, self.cost)
        cost = CostLaw(*(c[:, None] for c in self.cost_draws.T))
        cloud = Surface(*(c[:, None] for c in self.draws.T)).optimum(C, cost)
        cut = intervals.tail(self.level, self.cells, 5)
        ends = [np.quantile(getattr(cloud, k), [cut, 1 - cut], axis=0) for k in "NDL"]
        return FrontierBand(C, best.N, *ends[0], best.D, *ends[1], best.L, *ends[2])

    @property
    def frontier(self) -> FrontierLaw:
        """The compute-efficient frontier's own law."""
        K = self.percentile(float(self.surface.frontier_coefficient(self.cost)),
                            self.cloud.frontier_coefficient(self.cost_cloud))
        return FrontierLaw(self.E, K, self.gamma)

    def effective_exponents(self) -> EffectiveExponents:
        def slope(ends, surface, cost):
            return -np.log(ends[1](surface, cost) / ends[0](surface, cost))
        N, D, C = ((v.min(), v.max()) for v in (self.N, self.D, self.C))
        paths = (([lambda s, c, n=n: s.loss(n, D[1]) for n in N], N), ([lambda s, c, d=d: s.loss(N[1], d) for d in D], D),
                 ([lambda s, c, f=f: s.optimum(f, c).L for f in C], C))
        return EffectiveExponents(*(
            self.percentile(float(slope(ends, self.surface, self.cost) / np.log(r[1] / r[0])),
                            slope(ends, self.cloud, self.cost_cloud) / np.log(r[1] / r[0])) for ends, r in paths))

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        doubts = [Doubt("at_bound", f"the fit ends at {bound}") for bound in self.point.at_bound]
        if not self.point.converged:
            doubts.append(Doubt("not_converged", "the optimiser ran out of iterations"))
        if not self.E_identified:
            doubts.append(Doubt("E_not_identified", "the irreducible loss E cannot be told from 0 on this table"))
        pegged = np.isin(self.draws[:, 3:], EXPONENTS).any(1).mean()
        if pegged > 0.01:
            doubts.append(Doubt("draws_at_bound", f"{pegged:.0%} of the resamples end at a bound of alpha or beta"))
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
        lines += [f"  {name:6s} {self.interval(name)}" for name in NAMES]
        lines += [f"  note: {doubt.text}" for doubt in self.warnings]
        return "\n".join(lines)


def _quantity(name: str, surface: Surface, cost: CostLaw):
    return getattr(surface, name)(cost) if name in ("a", "b", "gamma") else getattr(surface, name)


def fit_parametric(N, D, L, *, C=None, cost: CostLaw | None = None, objective: Objective = HUBER, weight=None,
                   cell=None, seed=None, cluster: str = "cell", interval_method: str = "profile",
                   level: float = 0.95, resamples: int = 1000, rng=0, multiplicity=None) -> ParametricFit:
    """Approach 3 with its cloud of resampled surfaces, each at its own global optimum.

    The cost law is measured where C is given, and C = 6 N D where neither is.
    multiplicity (R, n) replaces the resampling by the caller's own.
    """
    N, D, L, weight = check_runs(N, D, L, weight)
    cost = cost or (LANGUAGE if C is None else fit_cost(N, D, C, level=level))
    C = cost.flops(N, D) if C is None else np.asarray(C, float)
    rng = np.random.default_rng(rng)
    chosen = intervals.clusters(cluster, N, D, cell=cell, seed=seed)
    if multiplicity is None:
        multiplicity = intervals.resample(chosen, resamples, rng)
    points = Coordinates.of(N, D, L, weight)
    found = global_minimum(points, weight, objective)
    cloud = global_minima(points, multiplicity * weight, objective, found)
    return ParametricFit(describe(points, found, objective), cost, points.external(cloud.theta), cloud.value,
                         _cost_draws(cost, N, len(multiplicity), rng), chosen, interval_method, level, N, D, L, C,
                         weight, multiplicity, found)


def _cost_draws(cost: CostLaw, N, count: int, rng) -> np.ndarray:
    """k, p (R, 2): p by its standard error, the cost at the geometric mean size held."""
    se = cost.p_estimate.se if cost.p_estimate else 0.0
    shift = se * rng.standard_normal(count)
    return np.stack([cost.k * np.exp(-shift * np.log(N).mean()), cost.p + shift], 1)
