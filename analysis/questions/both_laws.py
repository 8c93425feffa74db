"""The laws fitted to a group's rows, the tests between them, and which of them speaks."""

from dataclasses import dataclass, replace
from functools import partial


from analysis.approaches.cost import LANGUAGE, CostLaw
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric, fit_saturating
from analysis.approaches.resampled import TESTED
from analysis.approaches.surface_fit import HUBER
from analysis.errors.structure import thinned
from analysis.estimates.refusal import attempt
from analysis.questions.alternatives import LawScore, compare_laws
from analysis.questions.lack_of_fit import LackOfFit, lack_of_fit
from analysis.questions.law_choice import EITHER, LawChoice, choose_law, saturated
from analysis.questions.nested import ADDITIVE_CASE, CASES, nested_tests
from analysis.table.condense import Condensed, condense
from analysis.table.runs import Runs, Table

BESIDE = 400   # resamples of the additive law where it only stands beside the generalised one: its interval's width is known to 2%


@dataclass(frozen=True, eq=False)
class GroupLaw:
    """The law of a group of a table's runs."""

    few: Condensed            # the rows that are fitted
    law: LawChoice | None     # None where refused
    refused: dict[str, str]   # what could not be had -> why

    @property
    def why(self) -> str:
        """There is no law; "" where there is."""
        return "" if self.law else self.refused.get("approach3", self.refused.get("generalised law", "approach 3 was refused"))


def fit_group(runs: Runs, table: Table, *, cluster: str | None = None, level: float = 0.95, resamples: int = 1000, rng: int = 0) -> GroupLaw:
    """Both laws of some of a table's runs, and which speaks: the way to them that fit.py, plan.py and every other command takes.

    Of a long table, every k-th row of each size is fitted where errors go together, else all rows, merged.
    """
    seeds = "seed" in table.columns

    def whole(of: Runs) -> Condensed:
        return condense(of.N, of.D, of.L, of.C, budget=of.budget, cell=of.cell, seed=of.seed if seeds else None, run=of.run)

    few, refused = None, {}
    if len(runs) > TESTED and cluster is None:
        rows = thinned(runs.N, runs.D, seed=runs.seed if seeds else None, most=TESTED)
        thin = replace(whole(runs.take(rows)), note=f"{len(rows):,} of {len(runs):,} rows are fitted, evenly chosen at each size: errors "
                       "go together, and more rows would tell little more")
        asked = attempt("errors", {}, lambda: fit_generalised(thin.N, thin.D, thin.L, seed=thin.seed, run=thin.run, resamples=50))
        few = thin if asked is not None and asked.correlated else None
    few = few or whole(runs)
    law = fit_both(few, cost_of(table), refused, cluster=cluster, level=level, resamples=resamples, rng=rng)
    return GroupLaw(few, law, refused)


def cost_of(table: Table) -> CostLaw | None:
    """The cost law where the table's C is one: 6 N D by our own doing needs no estimate."""
    return LANGUAGE if table.derived else None


def fit_both(few: Condensed, cost: CostLaw | None, refused: dict[str, str], *, cluster: str | None, level: float, resamples: int,
             rng: int) -> LawChoice | None:
    """None where neither law can be fitted; what else can't be had is noted in `refused`, by name.

    What the generalised law's residuals say of errors that go together holds for the additive law's fits too. Where the saturating law
    outdoes them its own residuals are asked, and theirs no more: what runs seem to share is the misfit of an outdone law.
    """
    of = partial(_two_laws, few, cost, refused, level=level, resamples=resamples, rng=rng)
    law = of(cluster=cluster)
    fit = law and law.outdoes and attempt("saturating law", refused, lambda: fit_saturating(
        few.N, few.D, few.L, **_asked(few, cost, cluster=cluster, level=level, resamples=resamples, rng=rng)))
    if not fit:
        return law
    if law.quoted.correlated:
        law = of(cluster="cell", scores=law.scores)
    return saturated(law, fit, attempt("lack of fit", {}, lambda: _misfit(fit, few)))


def _asked(few: Condensed, cost: CostLaw | None, **drawn) -> dict:
    """Of every fit."""
    return dict(C=few.C, cost=cost, weight=few.weight, cell=few.cell, seed=few.seed, run=few.run, **drawn)


def _two_laws(few: Condensed, cost: CostLaw | None, refused: dict[str, str], *, cluster: str | None, level: float, resamples: int,
              rng: int, scores: tuple[LawScore, ...] = ()) -> LawChoice | None:
    """scores: of all laws, where known."""
    drawn = _asked(few, cost, cluster=cluster, level=level, resamples=resamples, rng=rng)
    generalised = attempt("generalised law", refused, lambda: fit_generalised(few.N, few.D, few.L, **drawn))
    if generalised is not None and generalised.errors is None:
        drawn["cluster"] = cluster or "cell"   # nothing could be asked of the errors
    drawn["errors"] = generalised and generalised.errors
    beside = resamples if generalised is None or generalised.correlated else min(resamples, BESIDE)
    additive = attempt("approach3", refused, lambda: fit_parametric(few.N, few.D, few.L, objective=HUBER, **drawn | {"resamples": beside}))
    if additive is None and generalised is None:
        return None
    tests = () if generalised is None else attempt("nested laws", refused, lambda: nested_tests(
        generalised, [ADDITIVE_CASE], additive=additive)) or ()
    scores = scores or attempt("alternatives", refused, lambda: compare_laws(
        few.N, few.D, few.L, C=few.C, cost=(additive or generalised).cost, weight=few.weight, cell=few.cell, rng=rng,
        near=(additive, generalised))) or ()
    misfits = tuple(attempt("lack of fit", refused, lambda fit=fit: _misfit(fit, few)) if fit else None
                    for fit in (additive, generalised))
    made = dict(tests=tests, scores=scores, misfits=misfits, untested=refused.get("generalised law", ""))
    law = choose_law(additive, generalised, **made)
    if law.speaks == EITHER:
        plain = attempt("additive law by the same objective", {}, lambda: fit_parametric(
            few.N, few.D, few.L, objective=generalised.point.objective, after=additive.optimum_found.after, **drawn))
        law = choose_law(additive, generalised, plain=plain, **made)
    return law


def with_every_test(law: LawChoice | None, refused: dict[str, str]) -> LawChoice | None:
    """The choice with the tests of all special cases, of which it needed one."""
    if law is None or law.generalised is None:
        return law
    done = {test.case: test for test in law.tests}
    more = attempt("nested laws", refused, lambda: nested_tests(law.generalised, [case for case in CASES if case not in done])) or ()
    done |= {test.case: test for test in more}
    return replace(law, tests=tuple(done[case] for case in CASES if case in done))


def _misfit(fit: ParametricFit, few: Condensed) -> LackOfFit:
    if few.seed is None and (few.weight > 1).any():
        raise ValueError("repeats were merged")
    return lack_of_fit(fit.residuals, few.N, few.D, parameters=fit.parameters, cell=few.cell)
