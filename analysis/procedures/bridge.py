"""From one procedure to another, a step at a time: what each does to the exponent of N*(C).

A step is a protocol of training (rows of the table), a count of N (a column) and a count of C (the FLOPs, less the columns left
out). The sequence of Porian et al. 2024 leads from Kaplan et al. 2020 to Hoffmann et al. 2022. All steps are fitted on the same
(width, budget, seed), by approaches 1 and 2 and by one law in approach 3, and neighbours are compared in pairs: approach 3 by the
resamplings of paired.py, approach 2 by copies of the table in which each cell's residual has the same sign at both steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.cost import CostLaw, fit_cost
from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import IsoflopFit, fit_isoflop
from analysis.approaches.parametric import ParametricFit
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Refusal
from analysis.procedures.paired import Points, by_cell, by_run, cells, common_points, fits_of_draws, holm, in_pairs, law_of

RESAMPLES_2 = 500     # copies of the table for approaches 1 and 2


@dataclass(frozen=True)
class Step:
    """One procedure."""

    name: str
    protocol: str                   # as in the column `protocol`
    params: str                     # column of N
    left_out: tuple[str, ...] = ()  # columns of FLOPs that C does not count

    def __str__(self) -> str:
        return f"{self.name}: {self.protocol}, N {self.params}, C flops" + "".join(f" - {name}" for name in self.left_out)


ONE_RUN, ONE_RUN_PROPORTIONAL = "single-run:fixed-warmup", "single-run"
ONE_RATE, TUNED = "per-budget:one-rate", "per-budget"

# Porian et al. 2024, figure 1, with attention's FLOPs as a step of their own: their share grows with the context, and that with the width.
KAPLAN_TO_CHINCHILLA = (
    Step("Kaplan's", ONE_RUN, "params_blocks", ("head_flops", "attention_flops")),
    Step("head counted", ONE_RUN, "params", ("attention_flops",)),
    Step("attention counted", ONE_RUN, "params"),
    Step("warm-up by size", ONE_RUN_PROPORTIONAL, "params"),
    Step("decay by budget", ONE_RATE, "params"),
    Step("rate and batch tuned", TUNED, "params"),
)
COUNTS = (("blocks", "params_blocks"), ("with head", "params"), ("all", "params_total"))


@dataclass(frozen=True)
class StepFit:
    """A step's exponent by each approach; None where refused."""

    step: Step
    points: Points
    envelope_a: Estimate | None
    isoflop: IsoflopFit | None
    laws: Mapping[str, ParametricFit]   # resampling -> approach 3; empty where refused
    refused: Mapping[int, str]          # approach -> why

    @property
    def a(self) -> dict[int, Estimate | None]:
        """By approach."""
        return {1: self.envelope_a, 2: self.isoflop and self.isoflop.a, 3: self.laws["cell"].a if self.laws else None}

    @property
    def scatter(self) -> float:
        """Root mean square of log loss about approach 3's law; nan where it was refused."""
        return float(np.sqrt(np.mean(np.square(self.laws["cell"].residuals)))) if self.laws else float("nan")


@dataclass(frozen=True)
class StepDifference:
    """a after a step less a before it."""

    step: str
    before: str
    approach: int
    estimate: Estimate
    p_value: float
    p_holm: float      # corrected for the steps of this approach


@dataclass(frozen=True)
class Bridge:
    """A sequence of steps, and the last one's law by each count of N."""

    steps: tuple[StepFit, ...]
    counts: tuple[StepFit, ...]
    differences: tuple[StepDifference, ...]   # of neighbours, and of the last step and the first
    law: str                                  # approach 3's, and why that one
    runs: int                                 # (width, budget, seed) that live at every step
    level: float


def bridged(tables: Mapping[Step, Points], counted: Mapping[Step, Points] | None = None, *, chance: float, resamples: int = 1000,
            level: float = 0.95, rng: int = 0) -> Bridge:
    """All steps in their order; `chance`: the loss from which a run counts as dead.

    tables: step -> its protocol's rows, with its own N and C. counted: the same for further counts of N at the last step.
    Raises Refusal where no law fits the last step's points, TooFewPoints where the steps have no living run in common.
    """
    common = _common({**tables, **(counted or {})}, chance)
    last = list(tables)[-1]
    fit_law, law = law_of(common[last], _cost(common[last], level), resamples=resamples, level=level, rng=rng)
    draws = {"cell": by_cell(common[last], resamples, rng), "run": by_run(common[last], resamples, rng)}
    made: dict[tuple, StepFit] = {}   # by account: a count of N may be the last step's own

    def fitted(step: Step) -> StepFit:
        account = step.protocol, step.params, step.left_out
        if account not in made:
            made[account] = _step_fit(step, common[step], fit_law, draws, level, rng)
        return replace(made[account], step=step)

    steps, counts = (tuple(fitted(step) for step in some) for some in (tables, counted or {}))
    return Bridge(steps, counts, _differences(steps, level), law, len(common[last]), level)


def _common(tables: Mapping[Step, Points], chance: float) -> dict[Step, Points]:
    """Rows whose (width, budget, seed) lives at every step, in one order."""
    labelled = [replace(points, protocol=np.full(len(points), str(k))) for k, points in enumerate(tables.values())]
    stacked = Points(**{name: np.concatenate([getattr(p, name) for p in labelled]) for name in vars(labelled[0])})
    common = common_points(stacked, [str(k) for k in range(len(tables))], chance=chance)
    return {step: common.of(str(k)) for k, step in enumerate(tables)}


def _cost(points: Points, level: float) -> CostLaw:
    return fit_cost(points.N, points.D, points.C, level=level)


def _step_fit(step: Step, points: Points, fit_law, draws, level: float, rng: int) -> StepFit:
    refused: dict[int, str] = {}

    def attempted(approach: int, fit):
        try:
            return fit()
        except Refusal as why:
            refused[approach] = str(why)
            return None

    shared = {"cell": cells(points), "level": level, "resamples": RESAMPLES_2, "rng": rng}
    read = (points.N, points.D, points.L, points.C)
    envelope = attempted(1, lambda: fit_envelope(*read, **shared))
    isoflop = attempted(2, lambda: fit_isoflop(*read, **shared))
    laws = attempted(3, lambda: fits_of_draws(fit_law, points, _cost(points, level), draws, level=level, rng=rng))
    return StepFit(step, points, envelope and envelope.a, isoflop, laws or {}, refused)


def _differences(steps: Sequence[StepFit], level: float) -> tuple[StepDifference, ...]:
    pairs = [*zip(steps[:-1], steps[1:], strict=True), *([(steps[0], steps[-1])] if len(steps) > 2 else [])]
    out = []
    for approach, difference in ((2, _by_isoflop), (3, _by_law)):
        found = [(before, after, difference(before, after, level)) for before, after in pairs]
        found = [(before, after, made) for before, after, made in found if made]
        corrected = holm([p for *_, (_, p) in found])
        out += [StepDifference(after.step.name, before.step.name, approach, estimate, p, adjusted)
                for (before, after, (estimate, p)), adjusted in zip(found, corrected, strict=True)]
    return tuple(out)


def _by_law(before: StepFit, after: StepFit, level: float) -> tuple[Estimate, float] | None:
    """Approach 3, the draws of both resamplings in pairs."""
    if not before.laws or not after.laws:
        return None
    drawn = {scheme: (before.laws[scheme].quantity("a"), after.laws[scheme].quantity("a")) for scheme in after.laws}
    value = drawn["cell"][1][0] - drawn["cell"][0][0]
    estimate, p, _ = in_pairs(value, {scheme: w[1] - v[1] for scheme, (v, w) in drawn.items()}, after.points,
                              parameters=after.laws["cell"].parameters, level=level)
    return estimate, p


def _by_isoflop(before: StepFit, after: StepFit, level: float) -> tuple[Estimate, float] | None:
    """Approach 2, on copies whose residuals flip together."""
    if before.isoflop is None or after.isoflop is None:
        return None
    both = before.isoflop.usable & after.isoflop.usable
    gap = after.isoflop.draws[both[after.isoflop.usable], 0] - before.isoflop.draws[both[before.isoflop.usable], 0]
    value = after.isoflop.a.value - before.isoflop.a.value
    estimate, p, _ = in_pairs(value, {"cell": gap}, after.points, parameters=4, level=level)
    return replace(estimate, method="paired wild bootstrap by cell, Student's t"), p
