"""What comparisons of training procedures share: runs, the points that several have in common, and resampling in pairs.

Two resamplings are paired, each drawing the same points for both procedures: whole cells (width, budget), which carries what
the law misses there, and whole runs (a seed within its width, at all budgets), which carries what the budgets of one trunk have
in common.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.cost import CostLaw
from analysis.approaches.laws.additive import ADDITIVE as ADDITIVE_LAW
from analysis.approaches.laws.generalised import GENERALISED as GENERALISED_LAW
from analysis.approaches.laws.objective import Objective
from analysis.approaches.laws.saturating import Saturating
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric, fit_saturating
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Refusal, TooFewPoints
from analysis.questions.alternatives import compare_laws
from analysis.questions.law_choice import GENERALISED, choose_law
from analysis.questions.nested import nested_tests

# Below delta the fit is linear in the noise, so that what a pair has in common cancels; with the
# delta of 1e-3 that analysis/fit.py takes from Hoffmann et al. it is nearly a fit of medians, and the
# errors of paired differences come out up to twice as large. 5% is about the scatter between seeds.
OBJECTIVE = Objective("log", 0.05)
POWER = 0.8      # with which `detectable` would have been found


@dataclass(frozen=True)
class Points:
    """Runs of a study of procedures, a row each."""

    protocol: np.ndarray  # (n,) str
    width: np.ndarray
    budget: np.ndarray    # of data: a share of the images, or tokens
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
        return mine.take(np.lexsort((mine.seed, mine.budget, mine.width)))


def law_of(points: Points, cost: CostLaw, **drawn) -> tuple[Callable, str]:
    """The fit that the reference's points ask for, and the law in words. Raises Refusal where not even the additive law fits."""
    shared = dict(C=points.C, cost=cost, cell=cells(points), cluster="cell", **drawn)   # as the protocols are resampled below
    additive = fit_parametric(points.N, points.D, points.L, objective=OBJECTIVE, **shared)
    try:
        generalised = fit_generalised(points.N, points.D, points.L, **shared)
        choice = choose_law(additive, generalised, tests=nested_tests(generalised), scores=compare_laws(
            points.N, points.D, points.L, C=points.C, cost=cost, cell=cells(points), rng=drawn["rng"]))
    except Refusal as why:
        choice = choose_law(additive, None, untested=str(why))
    if choice.outdoes:
        return fit_saturating, f"{Saturating.name}, which outdoes the {choice.name}"
    fit_law, law = (fit_generalised, GENERALISED_LAW) if choice.speaks == GENERALISED else (fit_parametric, ADDITIVE_LAW)
    return fit_law, f"L = {law.name}: {choice.why}"


def common_points(points: Points, names: list[str], *, chance: float) -> Points:
    """Rows whose (width, budget, seed) lives under every protocol. Raises TooFewPoints where that leaves none."""
    alive = points.take(np.isin(points.protocol, names) & (points.L < chance))
    key = distinct(alive.width, alive.budget, alive.seed) if len(alive) else np.empty(0, np.int64)
    common = alive.take(np.bincount(key)[key] == len(names)) if len(alive) else alive
    if not len(common):
        raise TooFewPoints("no (width, budget, seed) has a living run under every protocol: finish the sweep first")
    return common


def cells(points: Points) -> np.ndarray:
    """(n,) index of each row's (width, budget): two protocols' D may differ by part of a batch."""
    return distinct(points.width, points.budget)


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


def fits_of_draws(fit_law: Callable, points: Points, cost: CostLaw, draws: Mapping[str, np.ndarray | None],
                  **shared) -> dict[str, ParametricFit]:
    """The law on each resampling's draws. Raises Refusal."""
    return {scheme: fit_law(points.N, points.D, points.L, C=points.C, cost=cost, cell=cells(points), objective=OBJECTIVE,
                            multiplicity=draw, **shared) for scheme, draw in draws.items() if draw is not None}


def in_pairs(value: float, gaps: Mapping[str, np.ndarray], points: Points, *, parameters: int,
             level: float) -> tuple[Estimate, float, float]:
    """A paired difference: estimate, p-value of none, and the difference that would have been found with the power of POWER.

    gaps: resampling -> (R,) differences of the draws; the larger standard error speaks.
    """
    errors = {}
    for scheme, gap in gaps.items():
        left = freedom(scheme, points, parameters=parameters)
        errors[scheme] = (float(np.std(gap, ddof=1)) * inflation(scheme, points, left), left)
    scheme = max(errors, key=lambda name: errors[name][0])
    se, left = errors[scheme]
    reach = stats.t.ppf((1 + level) / 2, left)
    label = {"cell": "cell", "run": "seed within width, all budgets together"}[scheme]
    method = f"paired bootstrap by {label}, Student's t"
    return (Estimate(value, value - reach * se, value + reach * se, se, method, len(points), level),
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
