"""Everything that can be said of a table: each group's fits, their differences, what was refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.across import differences_of, learning_rate_of
from analysis.approaches.calibration import Calibrated, calibrated
from analysis.approaches.cost import LANGUAGE
from analysis.approaches.envelope import EnvelopeFit, fit_envelope
from analysis.approaches.frontier import LocalExponent, OptimumEstimate, local_exponents
from analysis.approaches.isoflop import IsoflopFit, fit_isoflop
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric
from analysis.approaches.profile import Profile
from analysis.estimates.refusal import Doubt
from analysis.questions import sensitivity
from analysis.questions.accuracy import AccuracyFit, fit_accuracy
from analysis.questions.agreement import Agreement, agreement
from analysis.questions.alternatives import compare_laws
from analysis.questions.claims import Verdict, judge
from analysis.questions.differences import Difference
from analysis.questions.lack_of_fit import lack_of_fit
from analysis.questions.law_choice import ADDITIVE, EITHER, LawChoice, choose_law
from analysis.questions.learning_rate import LearningRateFit
from analysis.questions.nested import ADDITIVE_CASE, nested_tests
from analysis.questions.sensitivity import Row
from analysis.table.condense import Condensed, condense
from analysis.table.pooled import pooled_doubts
from analysis.table.runs import Group, Runs, Table

PROFILED = ("E", "A", "B", "alpha", "beta", "g", "a")
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
    refused: Mapping[str, str]          # name of an analysis -> why

    note = property(lambda self: self.few.note)   # how the rows were condensed, or ""

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        of, answers = self.approaches, self.answers
        fits = (of.envelope, of.isoflop, of.law, of.agreement, answers.accuracy, *answers.optima)
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
        laws = {_fitter(g.approaches.law) for g in groups}
        differences = _attempt("differences", refused, lambda: differences_of(
            [(g.group.label, g.seen) for g in groups], fit_law=fit_parametric if fit_parametric in laws else fit_generalised,
            seeds_known="seed" in table.columns, level=request.level, resamples=request.resamples, rng=request.rng)) or ()
    rates = None
    if table.ours:
        rates = _attempt("learning rate", refused, lambda: learning_rate_of(table, trials, request.level))
    return Study(table, request, groups, differences, rates, refused)


def _attempt(name: str, refused: dict[str, str], compute: Callable):
    """The result, or None with the reason noted: what can't be estimated never stops the rest."""
    try:
        return compute()
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as why:
        refused[name] = str(why) or type(why).__name__
        return None


def _with_intervals(fit):
    """The fit, whose a and b have intervals: a number without one is not a result."""
    if not all(np.isfinite([e.low, e.high]).all() for e in (fit.a, fit.b)):
        raise ValueError("too few resamples of the table could be fitted for an interval")
    return fit


def _approached(group: Group, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    refused: dict[str, str] = {}
    runs = group.runs
    name = f"{group.label}: " if group.label else ""
    few = condense(runs.N, runs.D, runs.L, runs.C, budget=runs.budget, cell=runs.cell, seed=_seeds(table, runs))
    tell(name + "approach 3")
    law = _law(few, _cost(table), request, refused)
    tell(name + "approaches 1 and 2")
    isoflop = _attempt("approach2", refused, lambda: _with_intervals(_isoflop(few, few.L, request, request.resamples)))
    envelope = _attempt("approach1", refused, lambda: _with_intervals(_envelope(few, few.L, request, request.resamples)))
    optima = () if law is None else tuple(o for C in request.budgets if (o := _attempt(
        f"prediction at {C:.3g} FLOPs", refused, lambda C=C: law.optimum(C))))
    pooled = pooled_doubts(law.quoted.residuals, runs.tags) if law and not few.note else ()
    of = Approaches(envelope, isoflop, law)
    return GroupFit(group, _sample(runs, request.rng), few, of, Answers(optima=optima), pooled, refused)


def _answered(g: GroupFit, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    refused, law, of = dict(g.refused), g.approaches.law, g.approaches
    name = f"{g.group.label}: " if g.group.label else ""
    tell(name + "bias of approaches 1 and 2 under the law")
    calibrations = _calibrations(g, law, request, refused)
    agreed = _attempt("agreement", refused, lambda: agreement(of.envelope, of.isoflop, law, calibrations=calibrations))
    tell(name + "accuracy, claims, profiles, sensitivity")
    if law is not None and law.generalised is not None:
        law = replace(law, tests=_attempt("nested laws", refused, lambda: nested_tests(law.generalised)) or law.tests)
    answers = _answers(g, _cost(table), request, refused)
    of = replace(of, law=law, curves=_curves(g.few, request) if of.isoflop else {}, calibrations=calibrations, agreement=agreed)
    return replace(g, approaches=of, answers=answers, refused=refused)


def _law(few: Condensed, cost, request: Request, refused: dict[str, str]) -> LawChoice | None:
    """Both laws, the test between them, and which speaks."""
    chosen = {} if request.cluster is None else {"cluster": request.cluster}
    drawn = dict(C=few.C, cost=cost, weight=few.weight, cell=few.cell, seed=few.seed, level=request.level, rng=request.rng,
                 resamples=request.resamples, **chosen)
    additive = _attempt("approach3", refused, lambda: fit_parametric(few.N, few.D, few.L, **drawn))
    generalised = _attempt("generalised law", refused, lambda: fit_generalised(few.N, few.D, few.L, **drawn))
    if additive is None and generalised is None:
        return None
    tests = _attempt("nested laws", refused, lambda: nested_tests(generalised, [ADDITIVE_CASE])) or () if generalised else ()
    scores = _attempt("alternatives", refused, lambda: compare_laws(
        few.N, few.D, few.L, C=few.C, cost=(additive or generalised).cost, weight=few.weight, cell=few.cell, rng=request.rng)) or ()
    misfits = tuple(_attempt("lack of fit", refused, lambda fit=fit: _misfit(fit, few)) if fit else None
                    for fit in (additive, generalised))
    made = dict(tests=tests, scores=scores, misfits=misfits, untested=refused.get("generalised law", ""))
    law = choose_law(additive, generalised, **made)
    if law.speaks != EITHER:
        return law
    plain = _attempt("additive law by the same objective", {}, lambda: fit_parametric(
        few.N, few.D, few.L, objective=generalised.point.objective, **drawn))
    return choose_law(additive, generalised, plain=plain, **made)


def _misfit(fit: ParametricFit, few: Condensed):
    if few.note:
        raise ValueError("repeats were merged")
    return lack_of_fit(fit.residuals, few.N, few.D, parameters=fit.parameters, cell=few.cell)


def _isoflop(few: Condensed, L, request: Request, resamples: int, **choice) -> IsoflopFit:
    return fit_isoflop(few.N, few.D, L, few.C, budget=few.budget, weight=few.weight, cell=few.cell, level=request.level,
                       rng=request.rng, resamples=resamples, **choice)


def _envelope(few: Condensed, L, request: Request, resamples: int) -> EnvelopeFit:
    return fit_envelope(few.N, few.D, L, few.C, weight=few.weight, cell=few.cell, level=request.level, rng=request.rng,
                        resamples=resamples)


def _calibrations(g: GroupFit, law: LawChoice | None, request: Request, refused: dict[str, str]) -> dict[str, Calibrated]:
    """What approaches 1 and 2 find too much on this grid."""
    made = (("approach 1", g.approaches.envelope, _envelope), ("approach 2", g.approaches.isoflop, _isoflop))
    found = {name: _attempt(f"bias of {name}", refused, lambda fit=fit, approach=approach: calibrated(
        fit.a, lambda L, resamples: approach(g.few, L, request, resamples), law.quoted, rng=request.rng))
        for name, fit, approach in made if law and fit}
    return {name: calibration for name, calibration in found.items() if calibration}


def _curves(few: Condensed, request: Request) -> dict[str, IsoflopFit]:
    """Approach 2 by CURVES, those that bracket enough."""
    return {kind: fit for kind, choice in CURVES.items() if (fit := _attempt(f"approach 2, {kind}", {}, lambda: _with_intervals(
        _isoflop(few, few.L, request, min(CURVE_RESAMPLES, request.resamples), **choice))))}


def _answers(g: GroupFit, cost, request: Request, refused: dict[str, str]) -> Answers:
    few, seen, law, accuracy = g.few, g.seen, g.approaches.law, None
    if seen.accuracy is not None:
        accuracy = _attempt("accuracy", refused, lambda: fit_accuracy(
            seen.N, seen.D, seen.L, seen.C, seen.accuracy, cell=seen.cell, level=request.level,
            fit_law=_fitter(law), resamples=request.resamples, rng=request.rng))
    if law is None:
        return replace(g.answers, accuracy=accuracy)
    fit = law.quoted
    return replace(
        g.answers, accuracy=accuracy,
        profiles=tuple(p for q in PROFILED if q in fit.names and (
            p := _attempt(f"profile of {q}", refused, lambda q=q: fit.profile(q)))),
        claims=_attempt("claims", refused, lambda: judge(fit, beside=law.other)) or (),
        sensitivity=_attempt("sensitivity", refused, lambda: sensitivity.sensitivity(
            few.N, few.D, few.L, C=few.C, cost=cost, fit=fit, weight=few.weight)) or (),
        local=_attempt("local exponents", refused, lambda: local_exponents(fit)) or ())


def _fitter(law: LawChoice | None) -> Callable:
    """The additive law's fit where it speaks alone; else the generalised law's, which contains it."""
    return fit_parametric if law is None or law.speaks == ADDITIVE else fit_generalised


def _cost(table: Table):
    """The cost law where the table's C is one: 6 N D by our own doing needs no estimate."""
    return LANGUAGE if any(d.code.startswith("derived_") for d in table.doubts) else None


def _seeds(table: Table, runs: Runs) -> np.ndarray | None:
    return runs.seed if "seed" in table.columns else None


def _sample(runs: Runs, rng: int) -> Runs:
    if len(runs) <= SAMPLE:
        return runs
    return runs.take(np.sort(np.random.default_rng(rng).choice(len(runs), SAMPLE, replace=False)))
