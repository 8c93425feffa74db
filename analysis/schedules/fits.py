"""What a training protocol does to the exponents: fits protocol by protocol, and their paired differences.

All protocols are fitted on the same points, those that lived under every one of them, so that a
difference is the protocol's and not the grid's. Two resamplings are paired, each drawing the same
points for both protocols: whole cells (width, budget), which carries what the law misses there,
and whole runs (a seed within its width, at all budgets), which carries what the budgets of one
trunk have in common. The interval takes the larger of the two standard errors.

All protocols are fitted by one law: the generalised where the reference's points leave no doubt that the additive law
does not hold (the rule of analysis/questions/law_choice.py), else the additive.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.cost import CostLaw, fit_cost
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.laws.additive import ADDITIVE as ADDITIVE_LAW
from analysis.approaches.laws.generalised import GENERALISED as GENERALISED_LAW
from analysis.approaches.laws.objective import Objective
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric
from analysis.approaches.surface_fit import fit_surface
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Refusal, TooFewPoints
from analysis.questions.alternatives import compare_laws
from analysis.questions.law_choice import GENERALISED, choose_law
from analysis.questions.nested import nested_tests

# The names that sweeps/studies/schedules.py writes into the column `protocol`.
REFERENCE = "per-budget"
ONE_BATCH = "per-budget-one-batch"
CONSTANT, WSD = "constant", "wsd"
TRUNKS = ("single-run", CONSTANT, WSD)
ORDER = (REFERENCE, ONE_BATCH, WSD, CONSTANT, "single-run", "untuned-one-rate", "untuned-rule")

QUANTITIES = ("a", "alpha", "beta", "E", "gamma")
# Below delta the fit is linear in the noise, so that what a pair has in common cancels; with the
# delta of 1e-3 that analysis/fit.py takes from Hoffmann et al. it is nearly a fit of medians, and the
# errors of paired differences come out up to twice as large. 5% is about the scatter between seeds.
OBJECTIVE = Objective("log", 0.05)
POWER = 0.8      # with which `detectable` would have been found


@dataclass(frozen=True)
class Points:
    """Runs of a schedule study, a row each."""

    protocol: np.ndarray  # (n,) str
    width: np.ndarray
    fraction: np.ndarray  # budget, as a share of the images
    seed: np.ndarray
    N: np.ndarray
    D: np.ndarray
    C: np.ndarray         # FLOPs charged to the point
    L: np.ndarray
    spent: np.ndarray     # FLOPs that the row added to the bill

    def __len__(self) -> int:
        return len(self.L)

    def take(self, rows: np.ndarray) -> "Points":
        return Points(**{name: column[rows] for name, column in vars(self).items()})

    def of(self, protocol: str) -> "Points":
        """Its rows in the order of width, budget and seed."""
        mine = self.take(self.protocol == protocol)
        return mine.take(np.lexsort((mine.seed, mine.fraction, mine.width)))


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
    fit_law, law = _law_of(reference, cost, resamples=resamples, level=level, rng=rng)
    clouds: dict[str, dict[str, ParametricFit]] = {}
    refused: dict[str, str] = {}
    for name in names:
        mine = common.of(name)
        try:
            clouds[name] = {scheme: fit_law(mine.N, mine.D, mine.L, C=mine.C, cost=cost, cell=cells(mine),
                                            objective=OBJECTIVE, multiplicity=draw, level=level, rng=rng)
                            for scheme, draw in draws.items() if draw is not None}
        except Refusal as why:
            if name == REFERENCE:
                raise
            refused[name] = str(why)
    fits = tuple(_described(name, cloud["cell"], points, common.of(name), chance=chance, level=level, rng=rng)
                 for name, cloud in clouds.items())
    return ScheduleFit(points, common, fits, _differences(common, clouds, draws, level), refused, law, level)


def _law_of(points: Points, cost: CostLaw, **drawn) -> tuple[Callable, str]:
    """The fit that the reference's points ask for, and the law in words. Raises Refusal where not even the additive law fits."""
    shared = dict(C=points.C, cost=cost, cell=cells(points), cluster="cell", **drawn)   # as the protocols are resampled below
    additive = fit_parametric(points.N, points.D, points.L, objective=OBJECTIVE, **shared)
    try:
        generalised = fit_generalised(points.N, points.D, points.L, **shared)
        choice = choose_law(additive, generalised, tests=nested_tests(generalised), scores=compare_laws(
            points.N, points.D, points.L, C=points.C, cost=cost, cell=cells(points), rng=drawn["rng"]))
    except Refusal as why:
        choice = choose_law(additive, None, untested=str(why))
    fit_law, law = (fit_generalised, GENERALISED_LAW) if choice.speaks == GENERALISED else (fit_parametric, ADDITIVE_LAW)
    return fit_law, f"L = {law.name}: {choice.why}"


def common_points(points: Points, names: list[str], *, chance: float) -> Points:
    """Rows whose (width, budget, seed) lives under every protocol. Raises TooFewPoints where that leaves none."""
    alive = points.take(np.isin(points.protocol, names) & (points.L < chance))
    key = distinct(alive.width, alive.fraction, alive.seed) if len(alive) else np.empty(0, np.int64)
    common = alive.take(np.bincount(key)[key] == len(names)) if len(alive) else alive
    if not len(common):
        raise TooFewPoints("no (width, budget, seed) has a living run under every protocol: finish the sweep first")
    return common


def cells(points: Points) -> np.ndarray:
    """(n,) index of each row's (width, budget): two protocols' D may differ by part of a batch."""
    return distinct(points.width, points.fraction)


def by_cell(points: Points, resamples: int, rng: int) -> np.ndarray:
    """Multiplicities (R, n): whole cells drawn with replacement."""
    member = cells(points)
    count = member.max() + 1
    return np.random.default_rng(rng).multinomial(count, np.full(count, 1 / count), size=resamples)[:, member].astype(float)


def by_run(points: Points, resamples: int, rng: int) -> np.ndarray | None:
    """Multiplicities (R, n): in each width, seeds drawn with replacement, a seed's budgets together; None with one seed."""
    random = np.random.default_rng([rng, 1])
    weights = np.empty((resamples, len(points)))
    if len(np.unique(points.seed)) < 2:
        return None
    for width in np.unique(points.width):
        at = np.flatnonzero(points.width == width)
        member = distinct(points.seed[at])
        count = member.max() + 1
        weights[:, at] = random.multinomial(count, np.full(count, 1 / count), size=resamples)[:, member]
    return weights


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
    errors = {}
    for scheme in clouds[name]:
        if quantity == "loss":
            value, gap = float(ratio.mean()), draws[scheme] @ ratio / draws[scheme].sum(1)
        else:
            (v, cloud), (w, others) = (clouds[p][scheme].quantity(quantity) for p in (name, reference))
            value, gap = v - w, cloud - others
        left = freedom(scheme, mine, parameters=1 if quantity == "loss" else clouds[name][scheme].parameters)
        errors[scheme] = (float(np.std(gap, ddof=1)) * inflation(scheme, mine, left), left)
    scheme = max(errors, key=lambda name: errors[name][0])
    se, left = errors[scheme]
    reach = stats.t.ppf((1 + level) / 2, left)
    label = {"cell": "cell", "run": "seed within width, all budgets together"}[scheme]
    return (Estimate(value, value - reach * se, value + reach * se, se, f"paired bootstrap by {label}, Student's t",
                     len(mine), level),
            float(2 * stats.t.sf(abs(value) / max(se, 1e-300), left)), float((reach + stats.t.ppf(POWER, left)) * se))


def freedom(scheme: str, points: Points, *, parameters: int) -> int:
    """Degrees of freedom of a standard error: units less what was fitted to them."""
    if scheme == "cell":
        return max(len(np.unique(cells(points))) - parameters, 1)
    return max(len(np.unique(distinct(points.width, points.seed))) - len(np.unique(points.width)), 1)


def inflation(scheme: str, points: Points, left: int) -> float:
    """The bootstrap divides by the number of units where the degrees of freedom are due."""
    units = len(np.unique(cells(points) if scheme == "cell" else distinct(points.width, points.seed)))
    return float(np.sqrt(units / left))


def holm(p_values: list[float]) -> list[float]:
    """Step-down correction for as many tests (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return [float(p) for p in adjusted]
