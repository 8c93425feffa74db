"""Everything that can be said of a table: each group's fits, their differences, what was refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.across import differences_of, learning_rate_of
from analysis.approaches.calibration import Calibrated, calibrated
from analysis.approaches.envelope import EnvelopeFit, envelope_slopes, fit_envelope
from analysis.approaches.frontier import LocalExponent, OptimumEstimate, local_exponents
from analysis.approaches.isoflop import IsoflopFit, fit_isoflop, isoflop_slopes
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric, fit_saturating
from analysis.approaches.profile import Profile
from analysis.choices.laws import ChoiceLaws
from analysis.choices.selection import choice_laws
from analysis.errors.model import sentence
from analysis.estimates.refusal import Doubt, attempt
from analysis.questions import sensitivity
from analysis.questions.accuracy import AccuracyFit, fit_accuracy
from analysis.questions.agreement import Agreement, agreement
from analysis.questions.both_laws import cost_of, fit_group, with_every_test
from analysis.questions.claims import Verdict, judge
from analysis.questions.differences import Difference
from analysis.questions.law_choice import ADDITIVE, SATURATING, LawChoice
from analysis.questions.learning_rate import LearningRateFit
from analysis.questions.repeated_data import RepeatedFit, repeated_data
from analysis.questions.sensitivity import Row
from analysis.table.condense import Condensed
from analysis.table.pooled import pooled_doubts
from analysis.table.runs import Group, Runs, Table

PROFILED = ("E", "A", "B", "alpha", "beta", "g", "c", "a")
CURVES = {             # of approach 2, beside the chosen one: what other people draw through a budget
    "parabola, within a factor of 10 of the lowest": dict(curve="parabola"),
    "parabola, through all of a budget": dict(curve="parabola", reach=np.inf),
    "cubic, through all of a budget": dict(curve="cubic", reach=np.inf),
    "Akima's curve": dict(curve="akima"),
}
CURVE_RESAMPLES = 200
SAMPLE = 5_000        # rows that accuracy and figures look at; more move no digit shown


@dataclass(frozen=True)
class Request:
    """What is asked of a study beside the table."""

    budgets: tuple[float, ...] = ()   # FLOPs to predict the best model for
    resamples: int = 1000
    level: float = 0.95
    cluster: str | None = None        # what the bootstrap resamples; None lets the core choose
    rng: int = 0


@dataclass(frozen=True)
class Approaches:
    """The three approaches to a group's exponents; None where refused."""

    envelope: EnvelopeFit | None              # approach 1
    isoflop: IsoflopFit | None                # approach 2
    law: LawChoice | None                     # approach 3: both laws, and which of them is quoted
    curves: Mapping[str, IsoflopFit] = field(default_factory=dict)         # approach 2 by CURVES, those that bracket enough
    calibrations: Mapping[str, Calibrated] = field(default_factory=dict)   # "approach 1", "approach 2" -> bias on this grid
    agreement: Agreement | None = None

    @property
    def additive(self) -> ParametricFit | None:
        """Approach 3 as the literature has it."""
        return self.law and self.law.additive

    @property
    def quoted(self) -> ParametricFit | None:
        """Approach 3 by the law that speaks."""
        return self.law and self.law.quoted


@dataclass(frozen=True)
class Answers:
    """What else is asked of a group; empty or None where refused."""

    accuracy: AccuracyFit | None = None
    profiles: tuple[Profile, ...] = ()        # of the quoted law, as all below
    claims: tuple[Verdict, ...] = ()
    sensitivity: tuple[Row, ...] = ()
    optima: tuple[OptimumEstimate, ...] = ()
    local: tuple[LocalExponent, ...] = ()

    def optimum(self, C: float) -> OptimumEstimate | None:
        """Of the budgets that were asked for; None where it was refused."""
        return next((o for o in self.optima if o.C == C), None)


@dataclass(frozen=True)
class GroupFit:
    """All that was estimated of one group; where something is None, `refused` says why."""

    group: Group
    seen: Runs                          # at most SAMPLE rows, for figures
    few: Condensed                      # the rows that are fitted
    approaches: Approaches
    answers: Answers
    pooled: tuple[Doubt, ...]           # of kinds of run that nobody told apart
    errors: str                         # which errors were found to go together, or that none were; "" where nothing was asked
    refused: Mapping[str, str]          # name of an analysis -> why
    choices: ChoiceLaws | None = None   # best settings against N, D and C; None where none was varied, or refused
    repeated: RepeatedFit | None = None # what data seen again are worth; None where none were, or refused

    note = property(lambda self: self.few.note)   # how the rows were condensed, or ""

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        of, answers = self.approaches, self.answers
        fits = (of.envelope, of.isoflop, of.law, of.agreement, answers.accuracy, self.choices, self.repeated, *answers.optima)
        return tuple(dict.fromkeys([*(d for fit in fits if fit is not None for d in fit.warnings),
                                    *self.pooled, *sensitivity.doubts(answers.sensitivity)]))


@dataclass(frozen=True)
class Study:
    """A table and all that was estimated from it."""

    table: Table
    request: Request
    groups: tuple[GroupFit, ...]
    differences: tuple[Difference, ...]
    learning_rate: LearningRateFit | None
    refused: Mapping[str, str]          # analyses across groups
    trial_choices: ChoiceLaws | None = None   # best settings by the trials of tuning

    @property
    def estimated(self) -> bool:
        """Whether any approach gave an exponent for any group."""
        return any(fit is not None for g in self.groups for fit in (g.approaches.envelope, g.approaches.isoflop, g.approaches.law))


def study(table: Table, request: Request, *, trials: Table | None = None,
          tell: Callable[[str], None] = lambda step: None) -> Study:
    """Everything; `tell` hears the name of each step as it begins.

    trials: tuning trials of the same study, for the law of the learning rate.
    """
    return completed(headlined(table, request, tell=tell), trials=trials, tell=tell)


def headlined(table: Table, request: Request, *, tell: Callable[[str], None] = lambda step: None) -> Study:
    """The three approaches to every group and what is predicted: what there is to say first, and its doubts."""
    return Study(table, request, tuple(_approached(group, table, request, tell) for group in table.groups), (), None, {})


def completed(begun: Study, *, trials: Table | None = None, tell: Callable[[str], None] = lambda step: None) -> Study:
    """A study that has its headline, and all else that can be asked."""
    table, request = begun.table, begun.request
    groups = tuple(_answered(g, table, request, tell) for g in begun.groups)
    refused: dict[str, str] = {}
    differences = ()
    if len(groups) > 1:
        tell("differences between groups")
        differences = attempt("differences", refused, lambda: differences_of(
            [(g.group.label, g.seen, g.approaches.quoted) for g in groups], fit_law=_common_fitter([g.approaches.law for g in groups]),
            seeds_known="seed" in table.columns, level=request.level, resamples=request.resamples, rng=request.rng)) or ()
    rates = None
    if table.ours:
        rates = attempt("learning rate", refused, lambda: learning_rate_of(table, trials, request.level))
    tried = trials and attempt("best settings of tuning", refused, lambda: choice_laws(trials.groups[0].runs, trials.description))
    return Study(table, request, groups, differences, rates, refused, tried)


def _with_intervals(fit):
    """The fit, whose a and b have intervals: a number without one is not a result."""
    if not all(np.isfinite([e.low, e.high]).all() for e in (fit.a, fit.b)):
        raise ValueError("too few resamples of the table could be fitted for an interval")
    return fit


def _approached(group: Group, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    runs = group.runs
    name = f"{group.label}: " if group.label else ""
    tell(name + "approach 3")
    made = fit_group(runs, table, cluster=request.cluster, level=request.level, resamples=request.resamples, rng=request.rng)
    few, law, refused = made.few, made.law, dict(made.refused)
    tell(name + "approaches 1 and 2")
    isoflop = attempt("approach2", refused, lambda: _with_intervals(_isoflop(few, few.L, request, request.resamples)))
    envelope = attempt("approach1", refused, lambda: _with_intervals(_envelope(few, few.L, request, request.resamples)))
    optima = () if law is None else tuple(o for C in request.budgets if (o := attempt(
        f"prediction at {C:.3g} FLOPs", refused, lambda C=C: law.optimum(C))))
    pooled = pooled_doubts(law.quoted.residuals, runs.tags) if law and not few.note else ()
    found = law.quoted.errors if law else None
    return GroupFit(group, _sample(runs, request.rng), few, Approaches(envelope, isoflop, law), Answers(optima=optima), pooled,
                    sentence(found.found) if found else "", refused)


def _answered(g: GroupFit, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    refused, law, of = dict(g.refused), g.approaches.law, g.approaches
    name = f"{g.group.label}: " if g.group.label else ""
    tell(name + "bias of approaches 1 and 2 under the law")
    calibrations = _calibrations(g, law, request, refused)
    agreed = attempt("agreement", refused, lambda: agreement(of.envelope, of.isoflop, law, calibrations=calibrations))
    tell(name + "accuracy, claims, profiles, sensitivity")
    law = with_every_test(law, refused)
    answers = _answers(g, cost_of(table), request, refused)
    tell(name + "best settings, repeated data")
    choices = attempt("best settings", refused, lambda: choice_laws(g.seen, table.description, law=law, level=request.level))
    again = attempt("repeated data", refused, lambda: repeated_data(g.seen, law, level=request.level, rng=request.rng))
    of = replace(of, law=law, curves=_curves(g.few, request) if of.isoflop else {}, calibrations=calibrations, agreement=agreed)
    return replace(g, approaches=of, answers=answers, choices=choices, repeated=again, refused=refused)


def _isoflop(few: Condensed, L, request: Request, resamples: int, **choice) -> IsoflopFit:
    return fit_isoflop(few.N, few.D, L, few.C, budget=few.budget, weight=few.weight, cell=few.cell, level=request.level,
                       rng=request.rng, resamples=resamples, **choice)


def _envelope(few: Condensed, L, request: Request, resamples: int) -> EnvelopeFit:
    return fit_envelope(few.N, few.D, L, few.C, weight=few.weight, cell=few.cell, level=request.level, rng=request.rng,
                        resamples=resamples)


def _calibrations(g: GroupFit, law: LawChoice | None, request: Request, refused: dict[str, str]) -> dict[str, Calibrated]:
    """What approaches 1 and 2 find too much on this grid."""
    few, made = g.few, {}
    table = dict(weight=few.weight, cell=few.cell, rng=request.rng)
    if g.approaches.envelope:
        made["approach 1"] = g.approaches.envelope, (), lambda L, resamples: envelope_slopes(
            few.N, few.D, L, few.C, resamples=resamples, **table)
    if g.approaches.isoflop:
        places = g.approaches.isoflop.places
        made["approach 2"] = g.approaches.isoflop, places, lambda L, resamples: isoflop_slopes(
            few.N, few.D, L, few.C, budget=few.budget, places=places, resamples=resamples, **table)
    found = {name: attempt(f"bias of {name}", refused, lambda fit=fit, places=places, approach=approach: calibrated(
        fit.a, approach, law.quoted, places=places, rng=request.rng))
        for name, (fit, places, approach) in made.items() if law}
    return {name: calibration for name, calibration in found.items() if calibration}


def _curves(few: Condensed, request: Request) -> dict[str, IsoflopFit]:
    """Approach 2 by CURVES, those that bracket enough."""
    return {kind: fit for kind, choice in CURVES.items() if (fit := attempt(f"approach 2, {kind}", {}, lambda: _with_intervals(
        _isoflop(few, few.L, request, min(CURVE_RESAMPLES, request.resamples), **choice))))}


def _answers(g: GroupFit, cost, request: Request, refused: dict[str, str]) -> Answers:
    few, seen, law, accuracy = g.few, g.seen, g.approaches.law, None
    if seen.accuracy is not None:
        accuracy = attempt("accuracy", refused, lambda: fit_accuracy(
            seen.N, seen.D, seen.L, seen.C, seen.accuracy, cell=seen.cell, level=request.level,
            fit_law=_fitter(law), resamples=request.resamples, rng=request.rng))
    if law is None:
        return replace(g.answers, accuracy=accuracy)
    fit = law.quoted
    return replace(
        g.answers, accuracy=accuracy,
        profiles=tuple(p for q in PROFILED if q in fit.profiled and (
            p := attempt(f"profile of {q}", refused, lambda q=q: fit.profile(q)))),
        claims=attempt("claims", refused, lambda: judge(fit, beside=law.other)) or (),
        sensitivity=attempt("sensitivity", refused, lambda: sensitivity.sensitivity(
            few.N, few.D, few.L, C=few.C, cost=cost, fit=fit, weight=few.weight)) or (),
        local=attempt("local exponents", refused, lambda: local_exponents(fit)) or ())


def _fitter(law: LawChoice | None) -> Callable:
    """The additive law's fit where it speaks alone; else the generalised law's, which contains it."""
    return fit_parametric if law is None or law.speaks == ADDITIVE else fit_generalised


def _common_fitter(laws: list[LawChoice | None]) -> Callable:
    """The saturating law's fit where all are quoted by it; else one of the other two for all."""
    if all(law is not None and law.speaks == SATURATING for law in laws):
        return fit_saturating
    return fit_parametric if fit_parametric in {_fitter(law) for law in laws} else fit_generalised


def _sample(runs: Runs, rng: int) -> Runs:
    if len(runs) <= SAMPLE:
        return runs
    return runs.take(np.sort(np.random.default_rng(rng).choice(len(runs), SAMPLE, replace=False)))
