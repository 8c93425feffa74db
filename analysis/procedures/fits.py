"""What a training protocol does to the exponents: fits protocol by protocol, and their paired differences.

All protocols are fitted on the same points, those that lived under every one of them, so that a
difference is the protocol's and not the grid's. Both of the paired resamplings of paired.py are used; the
interval takes the larger of the two standard errors.

All protocols are fitted by one law: the generalised where the reference's points leave no doubt that the additive law
does not hold (the rule of analysis/questions/law_choice.py), else the additive.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import fit_cost
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface_fit import fit_surface
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Refusal, TooFewPoints
from analysis.procedures.paired import (
    Points, by_cell, by_run, cells, common_points, fits_of_draws, holm, in_pairs, law_of,
)

# The names that sweeps/studies/schedules.py writes into the column `protocol`.
REFERENCE = "per-budget"
ONE_BATCH = "per-budget-one-batch"
CONSTANT, WSD = "constant", "wsd"
TRUNKS = ("single-run", CONSTANT, WSD)
ORDER = (REFERENCE, ONE_BATCH, WSD, CONSTANT, "single-run", "untuned-one-rate", "untuned-rule")

QUANTITIES = ("a", "alpha", "beta", "E", "gamma")


@dataclass(frozen=True)
class ProtocolFit:
    """One protocol's law."""

    protocol: str
    fit: ParametricFit          # approach 3; intervals by cell
    isoflop_a: Estimate | None  # approach 2, which assumes no law; None where too few budgets are bracketed
    a_delta_small: float        # a of the additive law by Hoffmann's objective, to see how much hangs on both
    scatter: float              # root mean square of log loss less the law's: beyond the seeds' it is misfit
    points: int                 # fitted
    dead: int                   # rows of this protocol at or above the loss of a network that learnt nothing
    spent: float                # FLOPs of training that the protocol would take alone, tuning not counted


@dataclass(frozen=True)
class PairedDifference:
    """A quantity under a protocol less that under another."""

    quantity: str       # a, alpha, beta, E, gamma; loss: log ratio of the losses, averaged over the points
    protocol: str
    reference: str
    estimate: Estimate
    p_value: float      # of no difference
    p_holm: float       # the same, corrected for the protocols compared with this reference (Holm 1979)
    detectable: float   # smallest true difference that such a study finds with 80% power


@dataclass(frozen=True)
class ScheduleFit:
    """Everything that is said of a schedule study."""

    points: Points                           # all rows
    common: Points                           # those of the fits
    fits: tuple[ProtocolFit, ...]
    differences: tuple[PairedDifference, ...]
    refused: Mapping[str, str]               # protocol -> why it has no fit
    law: str                                 # the formula fitted, and why that one
    level: float

    def difference(self, quantity: str, protocol: str, reference: str = REFERENCE) -> PairedDifference | None:
        return next((d for d in self.differences
                     if (d.quantity, d.protocol, d.reference) == (quantity, protocol, reference)), None)


def fit_schedules(points: Points, *, chance: float, resamples: int = 1000, level: float = 0.95, rng: int = 0) -> ScheduleFit:
    """All protocols' laws and differences; `chance`: the loss from which a run counts as dead.

    Raises Refusal where the reference has no fit, TooFewPoints where no other protocol is there.
    """
    names = [name for name in ORDER if name in points.protocol]
    if REFERENCE not in names or len(names) < 2:
        raise TooFewPoints(f"a comparison needs rows of {REFERENCE} and of another protocol, got "
                           f"{', '.join(names) or 'none'}: finish the sweep first")
    common = common_points(points, names, chance=chance)
    reference = common.of(REFERENCE)
    draws = {"cell": by_cell(reference, resamples, rng), "run": by_run(reference, resamples, rng)}
    cost = fit_cost(reference.N, reference.D, reference.C, level=level)
    fit_law, law = law_of(reference, cost, resamples=resamples, level=level, rng=rng)
    clouds: dict[str, dict[str, ParametricFit]] = {}
    refused: dict[str, str] = {}
    for name in names:
        mine = common.of(name)
        try:
            clouds[name] = fits_of_draws(fit_law, mine, cost, draws, level=level, rng=rng)
        except Refusal as why:
            if name == REFERENCE:
                raise
            refused[name] = str(why)
    fits = tuple(_described(name, cloud["cell"], points, common.of(name), chance=chance, level=level, rng=rng)
                 for name, cloud in clouds.items())
    return ScheduleFit(points, common, fits, _differences(common, clouds, draws, level), refused, law, level)


def spent_alone(points: Points, protocol: str) -> float:
    """FLOPs of all its runs. Where wsd shares the trunk of `constant`, the trunk up to the last branch is added."""
    mine = points.of(protocol)
    total = float(mine.spent.sum())
    if protocol == WSD and CONSTANT in points.protocol:
        run = distinct(mine.width, mine.seed)
        total += sum(float(np.max((mine.C - mine.spent)[run == k])) for k in range(run.max() + 1))
    return total


def _described(name: str, fit: ParametricFit, points: Points, fitted: Points, *, chance: float, level: float,
               rng: int) -> ProtocolFit:
    return ProtocolFit(
        protocol=name, fit=fit, isoflop_a=_isoflop_a(fitted, level, rng),
        a_delta_small=float(fit_surface(fitted.N, fitted.D, fitted.L).surface.a(fit.cost)),
        scatter=float(np.sqrt(np.mean(np.square(fit.residuals)))), points=len(fitted),
        dead=int((points.of(name).L >= chance).sum()), spent=spent_alone(points, name))


def _isoflop_a(points: Points, level: float, rng: int) -> Estimate | None:
    try:
        return fit_isoflop(points.N, points.D, points.L, points.C, cell=cells(points), level=level, rng=rng).a
    except Refusal:
        return None


def _differences(common: Points, clouds: dict[str, dict[str, ParametricFit]], draws: dict[str, np.ndarray | None],
                 level: float) -> tuple[PairedDifference, ...]:
    """Against per-budget, and of the trunks also against their own batch size: the schedule alone."""
    pairs = [(name, REFERENCE) for name in clouds if name != REFERENCE]
    if ONE_BATCH in clouds:
        pairs += [(name, ONE_BATCH) for name in clouds if name in TRUNKS]
    out = []
    for quantity in (*QUANTITIES, "loss"):
        for reference in (REFERENCE, ONE_BATCH):
            some = [(name, _paired(quantity, name, reference, common, clouds, draws, level))
                    for name, against in pairs if against == reference]
            corrected = holm([p for _, (_, p, _) in some])
            out += [PairedDifference(quantity, name, reference, estimate, p, adjusted, detectable)
                    for (name, (estimate, p, detectable)), adjusted in zip(some, corrected, strict=True)]
    return tuple(out)


def _paired(quantity: str, name: str, reference: str, common: Points, clouds: dict, draws: dict,
            level: float) -> tuple[Estimate, float, float]:
    """Estimate, p-value, detectable difference."""
    mine, other = common.of(name), common.of(reference)
    ratio = np.log(mine.L / other.L)
    gaps, value = {}, float(ratio.mean())
    for scheme in clouds[name]:
        if quantity == "loss":
            gaps[scheme] = draws[scheme] @ ratio / draws[scheme].sum(1)
        else:
            (v, cloud), (w, others) = (clouds[p][scheme].quantity(quantity) for p in (name, reference))
            value, gaps[scheme] = v - w, cloud - others
    return in_pairs(value, gaps, mine, parameters=1 if quantity == "loss" else clouds[name]["cell"].parameters, level=level)
