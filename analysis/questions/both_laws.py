"""Both laws fitted to a group's rows, the tests between them, and which of them speaks."""

from dataclasses import replace

from analysis.approaches.cost import CostLaw
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric
from analysis.approaches.surface_fit import HUBER
from analysis.estimates.refusal import attempt
from analysis.questions.alternatives import compare_laws
from analysis.questions.lack_of_fit import LackOfFit, lack_of_fit
from analysis.questions.law_choice import EITHER, LawChoice, choose_law
from analysis.questions.nested import ADDITIVE_CASE, nested_tests
from analysis.table.condense import Condensed


def fit_both(few: Condensed, cost: CostLaw | None, refused: dict[str, str], *, cluster: str | None, level: float, resamples: int,
             rng: int) -> LawChoice | None:
    """None where neither law can be fitted; what else can't be had is noted in `refused`, by name.

    What the generalised law's residuals say of errors that go together holds for all three fits.
    """
    drawn = dict(C=few.C, cost=cost, weight=few.weight, cell=few.cell, seed=few.seed, run=few.run, level=level, rng=rng,
                 resamples=resamples, cluster=cluster)
    generalised = attempt("generalised law", refused, lambda: fit_generalised(few.N, few.D, few.L, **drawn))
    if generalised is not None and generalised.errors is None:
        drawn["cluster"] = cluster or "cell"   # nothing could be asked of the errors
    drawn["errors"] = generalised and generalised.errors
    additive = attempt("approach3", refused, lambda: fit_parametric(few.N, few.D, few.L, objective=HUBER, **drawn))
    if additive is None and generalised is None:
        return None
    tests = () if generalised is None else attempt("nested laws", refused, lambda: nested_tests(generalised, [ADDITIVE_CASE])) or ()
    scores = attempt("alternatives", refused, lambda: compare_laws(
        few.N, few.D, few.L, C=few.C, cost=(additive or generalised).cost, weight=few.weight, cell=few.cell, rng=rng)) or ()
    misfits = tuple(attempt("lack of fit", refused, lambda fit=fit: _misfit(fit, few)) if fit else None
                    for fit in (additive, generalised))
    made = dict(tests=tests, scores=scores, misfits=misfits, untested=refused.get("generalised law", ""))
    law = choose_law(additive, generalised, **made)
    if law.speaks != EITHER:
        return law
    plain = attempt("additive law by the same objective", {}, lambda: fit_parametric(
        few.N, few.D, few.L, objective=generalised.point.objective, **drawn))
    return choose_law(additive, generalised, plain=plain, **made)


def with_every_test(law: LawChoice | None, refused: dict[str, str]) -> LawChoice | None:
    """The choice with the tests of all special cases, of which it needed one."""
    if law is None or law.generalised is None:
        return law
    return replace(law, tests=attempt("nested laws", refused, lambda: nested_tests(law.generalised)) or law.tests)


def _misfit(fit: ParametricFit, few: Condensed) -> LackOfFit:
    if few.seed is None and (few.weight > 1).any():
        raise ValueError("repeats were merged")
    return lack_of_fit(fit.residuals, few.N, few.D, parameters=fit.parameters, cell=few.cell)
