"""Everything that can be said of a table: each group's fits, their differences, what was refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.calibration import Calibrated, calibrated
from analysis.approaches.cost import LANGUAGE
from analysis.approaches.envelope import EnvelopeFit, fit_envelope
from analysis.approaches.frontier import LocalExponent, OptimumEstimate, local_exponents
from analysis.approaches.isoflop import IsoflopFit, fit_isoflop
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric
from analysis.approaches.profile import Profile
from analysis.approaches.resampled import TESTED
from analysis.choices.laws import ChoiceLaws
from analysis.choices.selection import choice_laws
from analysis.errors.model import sentence
from analysis.errors.structure import thinned
from analysis.estimates.refusal import Doubt, attempt
from analysis.questions import sensitivity
from analysis.questions.accuracy import AccuracyFit, fit_accuracy
from analysis.questions.agreement import Agreement, agreement
from analysis.questions.both_laws import fit_both
from analysis.questions.claims import Verdict, judge
from analysis.questions.differences import Difference, compare_groups
from analysis.questions.law_choice import ADDITIVE, LawChoice
from analysis.questions.learning_rate import LearningRateFit, best_rates, fit_learning_rate, rates_of_study
from analysis.questions.repeated_data import RepeatedFit, repeated_data
from analysis.questions.sensitivity import Row
from analysis.table.condense import Condensed, condense
from analysis.table.pooled import pooled_doubts
from analysis.table.runs import Group, Runs, Table
from analysis.table.tuning import given_rates, tuning_of

PROFILED = ("E", "A", "B", "alpha", "beta", "g", "a")
MAX_COMPARED = 6      # groups: 15 pairs of them; more differences are noise to a reader
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
    curves: Mapping[str, IsoflopFit]          # approach 2 by CURVES, those that bracket enough
    law: LawChoice | None                     # approach 3: both laws, and which of them is quoted
    calibrations: Mapping[str, Calibrated]    # "approach 1", "approach 2" -> its bias on this grid under the quoted law
    agreement: Agreement | None

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

    accuracy: AccuracyFit | None
    profiles: tuple[Profile, ...]             # of the quoted law, as all below
    claims: tuple[Verdict, ...]
    sensitivity: tuple[Row, ...]
    optima: tuple[OptimumEstimate, ...]
    local: tuple[LocalExponent, ...]

    def optimum(self, C: float) -> OptimumEstimate | None:
        """Of the budgets that were asked for; None where it was refused."""
        return next((o for o in self.optima if o.C == C), None)


@dataclass(frozen=True)
class GroupFit:
    """All that was estimated of one group; where something is None, `refused` says why."""

    group: Group
    seen: Runs                          # at most SAMPLE rows, for figures
    note: str                           # how the rows were condensed, or ""
    approaches: Approaches
    answers: Answers
    choices: ChoiceLaws | None          # best settings against N, D and C; None where none was varied, or refused
    repeated: RepeatedFit | None        # what data seen again are worth; None where none were, or refused
    pooled: tuple[Doubt, ...]           # of kinds of run that nobody told apart
    errors: str                         # which errors were found to go together, or that none were; "" where nothing was asked
    refused: Mapping[str, str]          # name of an analysis -> why

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
    trial_choices: ChoiceLaws | None    # best settings by the trials of tuning
    refused: Mapping[str, str]          # analyses across groups

    @property
    def estimated(self) -> bool:
        """Whether any approach gave an exponent for any group."""
        return any(fit is not None for g in self.groups for fit in (g.approaches.envelope, g.approaches.isoflop, g.approaches.law))


def study(table: Table, request: Request, *, trials: Table | None = None,
          tell: Callable[[str], None] = lambda step: None) -> Study:
    """Fits every group; `tell` hears the name of each step as it begins.

    trials: tuning trials of the same study, for the law of the learning rate.
    """
    groups = tuple(_fit_group(group, table, request, tell) for group in table.groups)
    refused: dict[str, str] = {}
    differences = ()
    if len(groups) > 1:
        tell("differences between groups")
        differences = attempt("differences", refused, lambda: _differences(table, groups, request)) or ()
    rates = None
    if table.ours:
        rates = attempt("learning rate", refused, lambda: _learning_rate(table, trials, request))
    tried = trials and attempt("best settings of tuning", refused, lambda: choice_laws(trials.groups[0].runs, trials.description))
    return Study(table, request, groups, differences, rates, tried, refused)


def _with_intervals(fit):
    """The fit, whose a and b have intervals: a number without one is not a result."""
    if not all(np.isfinite([e.low, e.high]).all() for e in (fit.a, fit.b)):
        raise ValueError("too few resamples of the table could be fitted for an interval")
    return fit


def _fit_group(group: Group, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    refused: dict[str, str] = {}
    runs = group.runs
    name = f"{group.label}: " if group.label else ""
    seen = _sample(runs, request.rng)
    tell(name + "approach 3")
    few, law = _condensed(runs, table, request, refused)
    approaches = _approaches(few, law, request, refused, lambda step: tell(name + step))
    tell(name + "accuracy, claims, profiles, sensitivity")
    answers = _answers(few, seen, law, _cost(table), request, refused)
    pooled = pooled_doubts(law.quoted.residuals, runs.tags) if law and not few.note else ()
    choices = attempt("best settings", refused, lambda: choice_laws(seen, table.description, law=law, level=request.level))
    again = attempt("repeated data", refused, lambda: repeated_data(seen, law, level=request.level, rng=request.rng))
    found = law.quoted.errors if law else None
    return GroupFit(group, seen, few.note, approaches, answers, choices, again, pooled, sentence(found.found) if found else "", refused)


def _condensed(runs: Runs, table: Table, request: Request, refused: dict[str, str]) -> tuple[Condensed, LawChoice | None]:
    """The rows that are fitted, and their law: of a long table, every k-th of each size where errors go together, else all, merged."""
    def whole(of: Runs) -> Condensed:
        return condense(of.N, of.D, of.L, of.C, budget=of.budget, cell=of.cell, seed=_seeds(table, of), run=of.run)

    if len(runs) > TESTED and request.cluster is None:
        rows = thinned(runs.N, runs.D, seed=_seeds(table, runs), most=TESTED)
        few = replace(whole(runs.take(rows)), note=f"{len(rows):,} of {len(runs):,} rows are fitted, evenly chosen at each size: errors "
                      "go together, and more rows would tell little more")
        asked = attempt("errors", {}, lambda: fit_generalised(few.N, few.D, few.L, seed=few.seed, run=few.run, resamples=50))
        few = few if asked is not None and asked.correlated else whole(runs)
    else:
        few = whole(runs)
    return few, fit_both(few, _cost(table), refused, cluster=request.cluster, level=request.level, resamples=request.resamples,
                         rng=request.rng)


def _approaches(few: Condensed, law: LawChoice | None, request: Request, refused: dict[str, str], tell) -> Approaches:
    def second(L, resamples: int, **choice):
        return fit_isoflop(few.N, few.D, L, few.C, budget=few.budget, weight=few.weight, cell=few.cell, level=request.level,
                           rng=request.rng, resamples=resamples, **choice)

    def first(L, resamples: int):
        return fit_envelope(few.N, few.D, L, few.C, weight=few.weight, cell=few.cell, level=request.level, rng=request.rng,
                            resamples=resamples)

    tell("approach 2")
    isoflop = attempt("approach2", refused, lambda: _with_intervals(second(few.L, request.resamples)))
    curves = {} if isoflop is None else {kind: fit for kind, choice in CURVES.items() if (fit := attempt(
        f"approach 2, {kind}", {}, lambda choice=choice: _with_intervals(
            second(few.L, min(CURVE_RESAMPLES, request.resamples), **choice))))}
    tell("approach 1")
    envelope = attempt("approach1", refused, lambda: _with_intervals(first(few.L, request.resamples)))
    tell("bias of approaches 1 and 2 under the law")
    calibrations = {} if law is None else {name: found for name, fit, approach in (
        ("approach 1", envelope, first), ("approach 2", isoflop, second)) if fit and (found := attempt(
            f"bias of {name}", refused, lambda fit=fit, approach=approach: calibrated(
                fit.a, approach, law.quoted, places=getattr(fit, "places", ()), rng=request.rng)))}
    return Approaches(envelope, isoflop, curves, law, calibrations,
                      attempt("agreement", refused, lambda: agreement(envelope, isoflop, law, calibrations=calibrations)))


def _answers(few: Condensed, seen: Runs, law: LawChoice | None, cost, request: Request, refused: dict[str, str]) -> Answers:
    accuracy = None
    if seen.accuracy is not None:
        accuracy = attempt("accuracy", refused, lambda: fit_accuracy(
            seen.N, seen.D, seen.L, seen.C, seen.accuracy, cell=seen.cell, level=request.level,
            fit_law=_fitter(law), resamples=request.resamples, rng=request.rng))
    if law is None:
        return Answers(accuracy, (), (), (), (), ())
    fit = law.quoted
    return Answers(
        accuracy,
        tuple(p for q in PROFILED if q in fit.names and (p := attempt(f"profile of {q}", refused, lambda q=q: fit.profile(q)))),
        attempt("claims", refused, lambda: judge(fit, beside=law.other)) or (),
        attempt("sensitivity", refused, lambda: sensitivity.sensitivity(
            few.N, few.D, few.L, C=few.C, cost=cost, fit=fit, weight=few.weight)) or (),
        tuple(o for C in request.budgets if (o := attempt(
            f"prediction at {C:.3g} FLOPs", refused, lambda C=C: law.optimum(C)))),
        attempt("local exponents", refused, lambda: local_exponents(fit)) or ())


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


def _differences(table: Table, groups: tuple[GroupFit, ...], request: Request) -> tuple[Difference, ...]:
    """By the generalised law, unless the additive speaks alone in some group."""
    if len(table.groups) > MAX_COMPARED:
        raise ValueError(f"{len(table.groups)} groups make {len(table.groups) * (len(table.groups) - 1) // 2} "
                         f"differences; at most {MAX_COMPARED} groups are compared")
    errors = {g.group.label: g.approaches.quoted.errors for g in groups if g.approaches.law and g.approaches.quoted.correlated}
    # a covariance is of the rows that it was found on
    runs = [g.approaches.quoted.sample if g.group.label in errors else _sample(g.group.runs, request.rng) for g in groups]
    label = np.repeat([group.label for group in table.groups], [len(r.N) for r in runs])
    N, D, L, C = (np.concatenate([getattr(r, name) for r in runs]) for name in "NDLC")
    seed = np.concatenate([np.zeros(len(r.N), int) if g.group.label in errors else r.seed for g, r in zip(groups, runs, strict=True)])
    fitters = {_fitter(g.approaches.law) for g in groups}
    return compare_groups(N, D, L, label, fit_law=fit_parametric if fit_parametric in fitters else fit_generalised, C=C,
                          seed=seed if "seed" in table.columns else None, level=request.level, resamples=request.resamples,
                          rng=request.rng, errors=errors)


def _learning_rate(table: Table, trials: Table | None, request: Request) -> LearningRateFit | None:
    tuning = given_rates(table) if trials is None else tuning_of(trials)
    if tuning is None:
        return None
    if len(tuning.rules) > 1:
        raise ValueError(f"the rates follow several rules: {', '.join(tuning.rules)}")
    rates = (rates_of_study(tuning.size, tuning.value) if trials is None
             else best_rates(tuning.size, tuning.place, tuning.value, tuning.loss))
    return fit_learning_rate(rates, choice=tuning.choice, against=tuning.against,
                             lr_rule=tuning.rules[0] if tuning.rules else None, level=request.level)
