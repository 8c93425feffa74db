"""Approach 3 (Hoffmann et al. 2022): the loss surface fitted to every run, with intervals.

The additive law L = E + A/N^alpha + B/D^beta by Hoffmann's Huber loss of log L, or by one as wide as the runs scatter the
generalised law L = E + (A/N^(alpha/g) + B/D^(beta/g))^g, or the saturating one, (L - E)/(top - L)^c = A/N^alpha + B/D^beta:
the global optimum on the data and on every bootstrap resample. Profiles and predictions follow from the result.

Where the residuals show that errors go together (analysis/errors), whole cells are no longer what varies independently: the
latter two are then fitted by generalised least squares, and in place of resamples stand tables drawn with those errors.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from analysis.approaches import frontier
from analysis.approaches.cost import LANGUAGE, CostLaw, fit_cost
from analysis.approaches.doubts import doubts_about
from analysis.approaches.frontier import EffectiveExponents, FrontierBand, Foretelling
from analysis.approaches.global_minimum import Descents, Optimum, descents, global_minima, global_minimum
from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import GENERALISED
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.laws.saturating import Saturating
from analysis.approaches.profile import PARAMETERS, Profile, at_fit, profile_of
from analysis.approaches.resampled import Drawn, Resampled, Sample, cost_draws, errors_about, quantity, refitted, satterthwaite, simulated
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import HUBER, SurfaceFit, check_runs, describe, efficient
from analysis.errors.model import ErrorModel
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt

NAMES = ("E", "A", "B", "alpha", "beta", "a", "b", "gamma")   # and g of the generalised law, c of the saturating one


@dataclass(frozen=True, eq=False)
class ParametricFit(Foretelling):
    """A fitted surface, its cost law, and the cloud of surfaces that resampling gives."""

    point: SurfaceFit
    law: object                                 # ADDITIVE, GENERALISED or a Saturating
    cost: CostLaw
    sample: Sample = field(repr=False)
    resampled: Resampled = field(repr=False)
    optimum_found: Optimum = field(repr=False)
    interval_method: str                        # percentile, bca or profile: of the named estimates
    level: float
    errors: ErrorModel | None = field(default=None, repr=False)   # what was found about the residuals; None where nothing was asked

    surface = property(lambda self: self.point.surface)
    n = property(lambda self: self.point.n)
    N = property(lambda self: self.sample.N)
    D = property(lambda self: self.sample.D)
    L = property(lambda self: self.sample.L)
    C = property(lambda self: self.sample.C)
    clusters = property(lambda self: self.resampled.drawn.clusters)
    draws = property(lambda self: self.resampled.surfaces)
    cost_draws = property(lambda self: self.resampled.costs)

    cells = property(lambda self: self.clusters.count)          # what is resampled: (N, D) cells, by default
    parameters = property(lambda self: len(self.law.names))
    names = property(lambda self: (*NAMES, *self.law.names[5:6]))   # of the quantities that have an interval

    @property
    def profiled(self) -> tuple[str, ...]:
        """The names that have a profile: to hold A or B of the saturating law is no affine restriction."""
        without = ("A", "B") if isinstance(self.law, Saturating) else ()
        return tuple(name for name in PARAMETERS if name in self.names and name not in without)

    @property
    def correlated(self) -> bool:
        """Whether the fit allows for errors that go together."""
        return self.resampled.drawn.noise is not None

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of a standard error: of what clusters leave, or of the worst known exponent."""
        return min(self.freedom_of(name) for name in ("alpha", "beta", "a"))

    def freedom_of(self, name: str) -> float:
        """Of the standard error of one quantity: clusters less parameters, or, where errors go together, Satterthwaite's."""
        return satterthwaite(self, name) if self.correlated else max(self.cells - self.parameters, 1)

    @property
    def shortfall(self) -> float:
        """By which the spread of resamples falls short of the estimate's: clusters over what parameters leave of them."""
        return 1.0 if self.correlated else self.cells / self.freedom

    @property
    def resampling(self) -> str:
        """What varies between the tables behind the intervals."""
        return "with errors that go together" if self.correlated else self.clusters.label

    @cached_property
    def points(self) -> Coordinates:
        return Coordinates.of(self.N, self.D, self.L, self.sample.weight)

    def quantity(self, name: str) -> tuple[float, np.ndarray]:
        """Value and draws (R,) of one of `names`."""
        if name not in self.names:
            raise ValueError(f"a quantity is one of {', '.join(self.names)}; got {name!r}")
        return (float(quantity(name, self.surface, self.cost)),
                np.asarray(quantity(name, self.cloud, self.cost_cloud)))

    def interval(self, name: str, method: str | None = None) -> Estimate:
        """Interval of one of `names` by "percentile", "bca" or "profile".

        b = 1 - p a has a's profile; gamma has none and falls back on percentiles, as do A and B of the saturating law.
        """
        method = method or self.interval_method
        if method not in ("percentile", "bca", "profile"):
            raise ValueError(f"an interval is percentile, bca or profile; got {method!r}")
        if method == "bca":
            return self._bca(name)
        if method == "percentile" or name != "b" and name not in self.profiled:
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
    def cut(self) -> float:
        """Share of the draws beyond each end of a percentile interval."""
        if self.correlated:
            return intervals.student_tail(self.level, self.freedom)
        return intervals.tail(self.level, self.cells, self.parameters)

    @cached_property
    def _left_out(self) -> Surface:
        weight = intervals.leave_out(self.clusters) * self.sample.weight
        found = global_minima(self.points, weight, self.point.objective, self.optimum_found, law=self.law)
        return Surface(*self.law.external(self.points, found.theta).T)

    def _bca(self, name: str) -> Estimate:
        if self.correlated:
            raise ValueError("a BCa interval leaves out independent clusters, and errors go together here")
        value, draws = self.quantity(name)
        return intervals.bca(value, draws, quantity(name, self._left_out, self.cost), label=self.clusters.label,
                             count=self.cells, n=self.n, parameters=self.parameters, level=self.level)

    @cached_property
    def at_fit(self) -> np.ndarray:
        """Objective (R,) of each resample at the fit."""
        return at_fit(self)

    def profile(self, name: str) -> Profile:
        """Profile of the objective in E, A, B, alpha, beta, a, g or c, calibrated by the bootstrap. Computed once."""
        if name not in self.profiled:
            raise ValueError(f"profiles are of {', '.join(self.profiled)}; got {name!r}")
        return getattr(self, f"_profile_{name}")

    units = cached_property(lambda self: {})   # of the profiles asked for, by name: analysis.approaches.profile.unit_of
    _profile_E = cached_property(lambda self: profile_of(self, "E"))
    _profile_A = cached_property(lambda self: profile_of(self, "A"))
    _profile_B = cached_property(lambda self: profile_of(self, "B"))
    _profile_alpha = cached_property(lambda self: profile_of(self, "alpha"))
    _profile_beta = cached_property(lambda self: profile_of(self, "beta"))
    _profile_a = cached_property(lambda self: profile_of(self, "a"))
    _profile_g = cached_property(lambda self: profile_of(self, "g"))
    _profile_c = cached_property(lambda self: profile_of(self, "c"))

    E = property(lambda self: self.interval("E"))
    A = property(lambda self: self.interval("A"))
    B = property(lambda self: self.interval("B"))
    alpha = property(lambda self: self.interval("alpha"))
    beta = property(lambda self: self.interval("beta"))
    a = property(lambda self: self.interval("a"))
    b = property(lambda self: self.interval("b"))
    gamma = property(lambda self: self.interval("gamma"))
    g = property(lambda self: self.interval("g"))
    c = property(lambda self: self.interval("c"))

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

    def frontier_band(self, C) -> FrontierBand:
        """Pointwise intervals of N*, D*, L* at C (m,)."""
        return frontier.frontier_band(self, C)

    frontier = property(lambda self: frontier.frontier_law(self))   # the compute-efficient frontier's own law
    range = property(lambda self: frontier.exponent_range(self))   # compute over which N* and D* lie inside the sampled

    def effective_exponents(self) -> EffectiveExponents:
        return frontier.effective_exponents(self)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        return doubts_about(self)

    def summary(self) -> str:
        lines = [self.point.summary(), f"intervals: {self.level:.0%}, {self.a.method}, {len(self.draws)} resamples"]
        lines += [f"  {name:6s} {self.interval(name)}" for name in self.names]
        lines += [f"  note: {doubt.text}" for doubt in self.warnings]
        return "\n".join(lines)


def fit_parametric(N, D, L, *, C=None, cost: CostLaw | None = None, objective: Objective | None = None, weight=None,
                   cell=None, seed=None, run=None, cluster: str | None = None, errors: ErrorModel | None = None,
                   interval_method: str = "profile", level: float = 0.95, resamples: int = 1000, rng=0, multiplicity=None,
                   after: Descents | None = None) -> ParametricFit:
    """Approach 3 as the literature has it: the additive law, each resample at its own global optimum.

    The cost law is measured where C is given, and C = 6 N D where neither is. The objective is Hoffmann's, or generalised least
    squares where errors go together; one that is given stays, and its intervals allow for them. cluster: what is resampled; None takes
    whole cells, or the errors' covariance where the residuals ask for it. errors: a covariance found elsewhere. multiplicity (R, n)
    replaces the resampling by the caller's own. after: the law's descents, of another fit to the same runs.
    """
    N, D, L, weight = check_runs(N, D, L, weight)
    request = _Request(C, cost, cluster, cell, seed, run, errors, interval_method, level, resamples, multiplicity)
    points = Coordinates.of(N, D, L, weight)
    return _fitted(ADDITIVE, objective or HUBER, points, (N, D, L, weight), request, np.random.default_rng(rng),
                   after=after or descents(points, weight), by_covariance=objective is None)


def fit_generalised(N, D, L, **request) -> ParametricFit:
    """Approach 3 by the generalised law, with the arguments of fit_parametric; its own objective is that of `efficient`.

    Raises TooFewPoints where there are fewer than 7 distinct (N, D).
    """
    return fit_by(GENERALISED, N, D, L, **request)


def fit_saturating(N, D, L, **request) -> ParametricFit:
    """As fit_generalised, by the saturating law. Raises TooFewPoints where there are fewer than 8 distinct (N, D)."""
    return fit_by(Saturating(float(np.max(L))), N, D, L, **request)


def fit_by(law, N, D, L, *, C=None, cost: CostLaw | None = None, objective: Objective | None = None, weight=None,
           cell=None, seed=None, run=None, cluster: str | None = None, errors: ErrorModel | None = None,
           interval_method: str = "profile", level: float = 0.95, resamples: int = 1000, rng=0, multiplicity=None) -> ParametricFit:
    """As fit_generalised, by a law of more than five parameters."""
    N, D, L, weight = check_runs(N, D, L, weight, parameters=len(law.names))
    points = Coordinates.of(N, D, L, weight)
    request = _Request(C, cost, cluster, cell, seed, run, errors, interval_method, level, resamples, multiplicity)
    after = descents(points, weight, law=law)
    return _fitted(law, objective or efficient(after), points, (N, D, L, weight), request, np.random.default_rng(rng),
                   after=after, by_covariance=objective is None)


@dataclass(frozen=True)
class _Request:
    """What a caller asks of a fit."""

    C: np.ndarray | None
    cost: CostLaw | None
    cluster: str | None
    cell: np.ndarray | None
    seed: np.ndarray | None
    run: np.ndarray | None
    errors: ErrorModel | None
    interval_method: str
    level: float
    resamples: int
    multiplicity: np.ndarray | None


def _fitted(law, objective: Objective, points: Coordinates, table, request: _Request, rng, *, after: Descents,
            by_covariance: bool) -> ParametricFit:
    N, D, L, weight = table
    cost = request.cost or (LANGUAGE if request.C is None else fit_cost(N, D, request.C, level=request.level))
    C = cost.flops(N, D) if request.C is None else np.asarray(request.C, float)
    chosen = intervals.clusters(request.cluster or "cell", N, D, cell=request.cell, seed=request.seed)
    found = global_minimum(points, weight, objective, law=law, after=after)
    errors = request.errors
    if errors is None and request.cluster is None and request.multiplicity is None:
        errors = errors_about(law, points, weight, found, cell=request.cell, seed=request.seed, run=request.run)
    if errors is not None and errors.found.correlated:
        if by_covariance:
            objective = Objective("log", np.inf, precision=errors.precision)
            found = global_minimum(points, weight, objective, law=law, after=after)
        errors = replace(errors, slopes=law.slopes(points, found.solution.theta)[0].T)
        drawn = simulated(law, points, found, errors, request.resamples, chosen, rng)
    else:
        given = request.multiplicity
        drawn = Drawn(chosen, intervals.resample(chosen, request.resamples, rng) if given is None else given, None)
    cloud = refitted(law, points, weight, objective, found, drawn)
    resampled = Resampled(drawn, law.external(points, cloud.theta), cloud.value, cost_draws(cost, N, len(drawn.multiplicity), rng))
    return ParametricFit(describe(points, found, objective, law), law, cost, Sample(N, D, L, C, weight), resampled, found,
                         request.interval_method, request.level, errors)
