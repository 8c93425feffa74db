"""What a fitted law says of the best use of compute, with intervals from its cloud of resampled surfaces."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.laws.saturation import level
from analysis.approaches.surface import Surface
from analysis.estimates.estimate import Estimate, spanning
from analysis.estimates.refusal import Doubt

PLACES = 5   # of compute at which local exponents are told


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
    """L*(C) = E + K C^-gamma, or (L* - E)/(top - L*)^c = K C^-gamma by the saturating law."""

    E: Estimate
    K: Estimate
    gamma: Estimate
    c: float = 0.0
    top: float = np.inf

    def loss(self, C):
        return level(np.log(self.K.value) - self.gamma.value * np.log(np.asarray(C, float)), self.E.value, self.c, self.top)

    @property
    def formula(self) -> str:
        return "(L* - E)/(top - L*)^c = K C^-gamma" if self.c else "L* = E + K C^-gamma"

    def summary(self) -> str:
        return f"frontier        {self.formula}, E {self.E}, K {self.K}, gamma {self.gamma}"


@dataclass(frozen=True)
class EffectiveExponents:
    """Slopes a power law without E would show over the sampled range (Kaplan et al. 2020's exponents)."""

    L_N: Estimate  # smallest to largest N at the largest D
    L_D: Estimate  # smallest to largest D at the largest N
    L_C: Estimate  # cheapest to dearest C along the compute-efficient frontier


@dataclass(frozen=True)
class Range:
    """Compute over which the exponents a and b are read off runs rather than extrapolated."""

    low: float    # FLOPs from which on the law's N* and D* lie inside the sampled sizes and data
    high: float   # FLOPs up to which they do; below low: nowhere

    @property
    def decades(self) -> float:
        return float(max(np.log10(self.high / self.low), 0.0))


@dataclass(frozen=True)
class LocalExponent:
    """Slopes at one place of the frontier."""

    C: float
    L_C: Estimate    # -dlog L*/dlog C, gamma dlog L/dlog R: gamma (1 - E/L*) where nothing saturates
    L_N: Estimate    # -dlog L/dlog N at (N*, D*)
    L_D: Estimate    # -dlog L/dlog D at (N*, D*)
    inside: bool     # N* and D* lie inside the sampled


class Foretelling:
    """What follows from a `surface`, its `cost` law, `draws` and `cost_draws` of both, and `percentile(value, draws)`."""

    @property
    def cloud(self) -> Surface:
        """Draws as one surface with array fields (R,)."""
        return Surface(*self.draws.T)

    @property
    def cost_cloud(self) -> CostLaw:
        return CostLaw(*self.cost_draws.T)

    def loss_draws(self, N, D) -> np.ndarray:
        """Loss (R, ...) at N, D under every draw."""
        shape = np.broadcast(np.asarray(N), np.asarray(D)).shape
        columns = (c.reshape(-1, *[1] * len(shape)) for c in self.draws.T)
        return Surface(*columns).loss(N, D)

    def loss(self, N: float, D: float) -> Estimate:
        """Loss of the law at N, D: its interval is of the law, not of one run's noise."""
        return self.percentile(float(self.surface.loss(N, D)), self.loss_draws(N, D))

    def optimum(self, C: float) -> OptimumEstimate:
        """How big a model, on how much data, and how good, for C FLOPs. Raises ValueError for no positive number."""
        return optimum_estimate(self, C)


def spanning_optimum(C: float, one: Foretelling, other: Foretelling | None) -> OptimumEstimate:
    """One's optimum, its intervals joined with the other's where there is another."""
    best = one.optimum(C)
    if other is None:
        return best
    second = other.optimum(C)
    return replace(best, **{k: spanning(getattr(best, k), getattr(second, k)) for k in "NDL"})


def optimum_estimate(fit, C: float) -> OptimumEstimate:
    """How big a model, on how much data, and how good, for C FLOPs."""
    if not (np.isfinite(C) and C > 0):
        raise ValueError(f"a compute budget is a positive number of FLOPs, got {C}")
    best, cloud = fit.surface.optimum(C, fit.cost), fit.cloud.optimum(C, fit.cost_cloud)
    return OptimumEstimate(float(C), *(fit.percentile(float(getattr(best, k)), getattr(cloud, k)) for k in "NDL"),
                           bool(fit.C.min() <= C <= fit.C.max()), _doubts_at(fit, C, best))


def _doubts_at(fit, C, best) -> tuple[Doubt, ...]:
    doubts = []
    if not fit.C.min() <= C <= fit.C.max():
        away = max(np.log10(fit.C.min() / C), np.log10(C / fit.C.max()))
        doubts.append(Doubt("extrapolation", f"C = {C:.3g} lies {away:.1f} decades outside the table's compute"))
    for name, value, sampled in (("N", best.N, fit.N), ("D", best.D, fit.D)):
        if not sampled.min() <= value <= sampled.max():
            doubts.append(Doubt(f"{name}_outside_grid", f"{name}* = {value:.3g} lies outside the sampled "
                                f"{sampled.min():.3g} to {sampled.max():.3g}"))
    return tuple(doubts)


def frontier_band(fit, C) -> FrontierBand:
    """Pointwise intervals of N*, D*, L* at C (m,)."""
    C = np.asarray(C, float)
    best = fit.surface.optimum(C, fit.cost)
    cost = CostLaw(*(c[:, None] for c in fit.cost_draws.T))
    cloud = Surface(*(c[:, None] for c in fit.draws.T)).optimum(C, cost)
    ends = [np.quantile(getattr(cloud, k), [fit.cut, 1 - fit.cut], axis=0) for k in "NDL"]
    return FrontierBand(C, best.N, *ends[0], best.D, *ends[1], best.L, *ends[2])


def frontier_law(fit) -> FrontierLaw:
    """The compute-efficient frontier's own law."""
    K = fit.percentile(float(fit.surface.frontier_coefficient(fit.cost)), fit.cloud.frontier_coefficient(fit.cost_cloud))
    return FrontierLaw(fit.E, K, fit.gamma, fit.surface.c, fit.surface.top)


def effective_exponents(fit) -> EffectiveExponents:
    def slope(ends, surface, cost):
        return -np.log(ends[1](surface, cost) / ends[0](surface, cost))
    N, D, C = ((v.min(), v.max()) for v in (fit.N, fit.D, fit.C))
    paths = (([lambda s, c, n=n: s.loss(n, D[1]) for n in N], N), ([lambda s, c, d=d: s.loss(N[1], d) for d in D], D),
             ([lambda s, c, f=f: s.optimum(f, c).L for f in C], C))
    return EffectiveExponents(*(
        fit.percentile(float(slope(ends, fit.surface, fit.cost) / np.log(r[1] / r[0])),
                       slope(ends, fit.cloud, fit.cost_cloud) / np.log(r[1] / r[0])) for ends, r in paths))


def exponent_range(fit) -> Range:
    """Where the path of best (N, D) runs inside the sampled rectangle: N* and D* are powers of C there and everywhere,
    but only there do runs say so."""
    unit = fit.surface.optimum(1.0, fit.cost)
    a, b = fit.surface.a(fit.cost), fit.surface.b(fit.cost)
    low, high = fit.C.min(), fit.C.max()
    for at_one, exponent, sampled in ((unit.N, a, fit.N), (unit.D, b, fit.D)):
        low, high = (side(end, np.exp((np.log(edge) - np.log(at_one)) / exponent))
                     for side, end, edge in ((max, low, sampled.min()), (min, high, sampled.max())))
    return Range(float(low), float(high))


def local_exponents(fit) -> tuple[LocalExponent, ...]:
    """Along the frontier, from the cheapest to the dearest compute of the table."""
    reach = exponent_range(fit)
    return tuple(_local(fit, float(C), reach) for C in np.geomspace(fit.C.min(), fit.C.max(), PLACES))


def _local(fit, C: float, reach: Range) -> LocalExponent:
    def slopes(surface, cost):
        best = surface.optimum(C, cost)
        local = surface.local_exponents(best.N, best.D)
        return surface.gamma(cost) * surface.elasticity(best.L), local.N, local.D
    L_C, L_N, L_D = (fit.percentile(float(value), draws)
                     for value, draws in zip(slopes(fit.surface, fit.cost), slopes(fit.cloud, fit.cost_cloud), strict=True))
    return LocalExponent(C, L_C, L_N, L_D, bool(reach.low <= C <= reach.high))
