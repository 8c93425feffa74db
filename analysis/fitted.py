"""Everything that can be said of a table: each group's fits, their differences, what was refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.approaches.cost import LANGUAGE
from analysis.approaches.envelope import EnvelopeFit, fit_envelope
from analysis.approaches.isoflop import IsoflopFit, fit_isoflop
from analysis.approaches.parametric import OptimumEstimate, ParametricFit, Profile, fit_parametric
from analysis.estimates.refusal import Doubt
from analysis.questions import alternatives, sensitivity
from analysis.questions.accuracy import AccuracyFit, fit_accuracy
from analysis.questions.agreement import Agreement, agreement
from analysis.questions.alternatives import LawScore
from analysis.questions.claims import Verdict, judge
from analysis.questions.differences import Difference, compare_groups
from analysis.questions.learning_rate import LearningRateFit, best_rates, fit_learning_rate, rates_of_study
from analysis.questions.sensitivity import Row
from analysis.table.condense import condense
from analysis.table.pooled import pooled_doubts
from analysis.table.runs import Group, Runs, Table
from analysis.table.tuning import given_rates, tuning_of

PROFILED = ("E", "A", "B", "alpha", "beta", "a")
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
class GroupFit:
    """All fits to one group; None where refused, and then `refused` says why."""

    group: Group
    seen: Runs                          # at most SAMPLE rows, for figures
    note: str                           # how the rows were condensed, or ""
    envelope: EnvelopeFit | None        # approach 1
    isoflop: IsoflopFit | None          # approach 2
    curves: Mapping[str, IsoflopFit]    # approach 2 by CURVES, those that bracket enough
    parametric: ParametricFit | None    # approach 3
    agreement: Agreement | None
    accuracy: AccuracyFit | None
    profiles: tuple[Profile, ...]
    claims: tuple[Verdict, ...]
    sensitivity: tuple[Row, ...]
    laws: tuple[LawScore, ...]
    optima: tuple[OptimumEstimate, ...]
    pooled: tuple[Doubt, ...]           # of kinds of run that nobody told apart
    refused: Mapping[str, str]          # name of an analysis -> why

    def optimum(self, C: float) -> OptimumEstimate | None:
        """Approach 3's, of the budgets that were asked for; None where it was refused."""
        return next((o for o in self.optima if o.C == C), None)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        fits = (self.envelope, self.isoflop, self.parametric, self.agreement, self.accuracy, *self.optima)
        return tuple(dict.fromkeys([*(d for fit in fits if fit is not None for d in fit.warnings),
                                    *self.pooled, *sensitivity.doubts(self.sensitivity), *alternatives.doubts(self.laws)]))


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
        return any(fit is not None for g in self.groups for fit in (g.envelope, g.isoflop, g.parametric))


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
        differences = _attempt("differences", refused, lambda: _differences(table, request)) or ()
    rates = None
    if table.ours:
        rates = _attempt("learning rate", refused, lambda: _learning_rate(table, trials, request))
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


def _fit_group(group: Group, table: Table, request: Request, tell: Callable[[str], None]) -> GroupFit:
    refused: dict[str, str] = {}
    runs = group.runs
    name = f"{group.label}: " if group.label else ""
    few = condense(runs.N, runs.D, runs.L, runs.C, budget=runs.budget, cell=runs.cell,
                   seed=_seeds(table, runs))
    seen = _sample(runs, request.rng)
    shared = dict(weight=few.weight, cell=few.cell, level=request.level, rng=request.rng)
    drawn = shared | dict(resamples=request.resamples)
    tell(name + "approach 3")
    chosen = {} if request.cluster is None else {"cluster": request.cluster}
    parametric = _attempt("approach3", refused, lambda: fit_parametric(
        few.N, few.D, few.L, C=few.C, cost=_cost(table), seed=few.seed, **chosen, **drawn))
    tell(name + "approach 2")
    isoflop = _attempt("approach2", refused, lambda: _with_intervals(fit_isoflop(
        few.N, few.D, few.L, few.C, budget=few.budget, **drawn)))
    curves = {} if isoflop is None else {kind: fit for kind, choice in CURVES.items() if (fit := _attempt(
        f"approach 2, {kind}", {}, lambda choice=choice: _with_intervals(fit_isoflop(
            few.N, few.D, few.L, few.C, budget=few.budget, resamples=min(CURVE_RESAMPLES, request.resamples), **choice, **shared))))}
    tell(name + "approach 1")
    envelope = _attempt("approach1", refused, lambda: _with_intervals(
        fit_envelope(few.N, few.D, few.L, few.C, **drawn)))
    tell(name + "accuracy")
    accuracy = None
    if seen.accuracy is not None:
        accuracy = _attempt("accuracy", refused, lambda: fit_accuracy(
            seen.N, seen.D, seen.L, seen.C, seen.accuracy, cell=seen.cell, level=request.level,
            resamples=request.resamples, rng=request.rng))
    tell(name + "claims, profiles, sensitivity")
    return GroupFit(
        group, seen, few.note, envelope, isoflop, curves, parametric,
        _attempt("agreement", refused, lambda: agreement(envelope, isoflop, parametric)),
        accuracy,
        tuple(p for q in PROFILED if parametric and (p := _attempt(
            f"profile of {q}", refused, lambda q=q: parametric.profile(q)))),
        _attempt("claims", refused, lambda: judge(parametric)) or () if parametric else (),
        _attempt("sensitivity", refused, lambda: sensitivity.sensitivity(
            few.N, few.D, few.L, C=few.C, cost=_cost(table), fit=parametric, weight=few.weight)) or () if parametric else (),
        _attempt("alternatives", refused, lambda: alternatives.compare_laws(
            few.N, few.D, few.L, C=few.C, weight=few.weight, cell=few.cell, rng=request.rng)) or () if parametric else (),
        tuple(o for C in request.budgets if parametric and (o := _attempt(
            f"prediction at {C:.3g} FLOPs", refused, lambda C=C: parametric.optimum(C)))),
        pooled_doubts(parametric.residuals, runs.tags) if parametric and not few.note else (),
        refused)


def _cost(table: Table):
    """The cost law where the table's C is one: 6 N D by our own doing needs no estimate."""
    return LANGUAGE if any(d.code.startswith("derived_") for d in table.doubts) else None


def _seeds(table: Table, runs: Runs) -> np.ndarray | None:
    return runs.seed if "seed" in table.columns else None


def _sample(runs: Runs, rng: int) -> Runs:
    if len(runs) <= SAMPLE:
        return runs
    return runs.take(np.sort(np.random.default_rng(rng).choice(len(runs), SAMPLE, replace=False)))


def _differences(table: Table, request: Request) -> tuple[Difference, ...]:
    if len(table.groups) > MAX_COMPARED:
        raise ValueError(f"{len(table.groups)} groups make {len(table.groups) * (len(table.groups) - 1) // 2} "
                         f"differences; at most {MAX_COMPARED} groups are compared")
    runs = [_sample(group.runs, request.rng) for group in table.groups]
    label = np.repeat([group.label for group in table.groups], [len(r) for r in runs])
    N, D, L, C, seed = (np.concatenate([getattr(r, name) for r in runs]) for name in ("N", "D", "L", "C", "seed"))
    return compare_groups(N, D, L, label, C=C, seed=seed if "seed" in table.columns else None,
                          level=request.level, resamples=request.resamples, rng=request.rng)


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
