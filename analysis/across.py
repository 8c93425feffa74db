"""What is asked across the groups of a table: how their exponents differ, and how the tuned choice moves with size."""

from collections.abc import Callable, Sequence

import numpy as np

from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import GENERALISED
from analysis.approaches.parametric import ParametricFit, fit_generalised, fit_parametric
from analysis.questions.differences import Difference, compare_groups
from analysis.questions.learning_rate import LearningRateFit, best_rates, fit_learning_rate, rates_of_study
from analysis.table.runs import Runs, Table
from analysis.table.tuning import given_rates, tuning_of

MAX_COMPARED = 6      # groups: 15 pairs of them; more differences are noise to a reader


def differences_of(groups: Sequence[tuple[str, Runs, ParametricFit | None]], *, fit_law: Callable, seeds_known: bool, level: float, resamples: int,
                   rng: int) -> tuple[Difference, ...]:
    """Between all pairs of (label, runs, the quoted fit), by one law. Raises ValueError where there are too many."""
    law = {fit_parametric: ADDITIVE, fit_generalised: GENERALISED}.get(fit_law)   # the saturating law is each group's own
    if len(groups) > MAX_COMPARED:
        raise ValueError(f"{len(groups)} groups make {len(groups) * (len(groups) - 1) // 2} "
                         f"differences; at most {MAX_COMPARED} groups are compared")
    errors = {name: fit.errors for name, _, fit in groups if fit is not None and fit.correlated}
    # a covariance is of the rows that it was found on
    held = [fit.sample if name in errors else runs for name, runs, fit in groups]
    label = np.repeat([name for name, _, _ in groups], [len(rows.N) for rows in held])
    N, D, L, C = (np.concatenate([getattr(rows, name) for rows in held]) for name in "NDLC")
    seed = np.concatenate([np.zeros(len(rows.N), int) if name in errors else rows.seed
                           for (name, _, _), rows in zip(groups, held, strict=True)])
    # by generalised least squares, as a fit of its own would be
    made = {name: fit for name, _, fit in groups if name in errors and fit.point.objective.precision is not None
            and (law is None or fit.law is law)}
    return compare_groups(N, D, L, label, fit_law=fit_law, C=C, seed=seed if seeds_known else None, level=level,
                          resamples=resamples, rng=rng, errors=errors, made=made)


def learning_rate_of(table: Table, trials: Table | None, level: float) -> LearningRateFit | None:
    """The law of the tuned choice, of trials where there are any; None where nothing was tuned. Raises ValueError."""
    tuning = given_rates(table) if trials is None else tuning_of(trials)
    if tuning is None:
        return None
    if len(tuning.rules) > 1:
        raise ValueError(f"the rates follow several rules: {', '.join(tuning.rules)}")
    rates = (rates_of_study(tuning.size, tuning.value) if trials is None
             else best_rates(tuning.size, tuning.place, tuning.value, tuning.loss))
    return fit_learning_rate(rates, choice=tuning.choice, against=tuning.against,
                             lr_rule=tuning.rules[0] if tuning.rules else None, level=level)
