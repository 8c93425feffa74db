"""What is asked across the groups of a table: how their exponents differ, and how the tuned choice moves with size."""

from collections.abc import Callable, Sequence

import numpy as np

from analysis.questions.differences import Difference, compare_groups
from analysis.questions.learning_rate import LearningRateFit, best_rates, fit_learning_rate, rates_of_study
from analysis.table.runs import Runs, Table
from analysis.table.tuning import given_rates, tuning_of

MAX_COMPARED = 6      # groups: 15 pairs of them; more differences are noise to a reader


def differences_of(groups: Sequence[tuple[str, Runs]], *, fit_law: Callable, seeds_known: bool, level: float, resamples: int,
                   rng: int) -> tuple[Difference, ...]:
    """Between all pairs of (label, runs), by one law. Raises ValueError where there are too many."""
    if len(groups) > MAX_COMPARED:
        raise ValueError(f"{len(groups)} groups make {len(groups) * (len(groups) - 1) // 2} "
                         f"differences; at most {MAX_COMPARED} groups are compared")
    label = np.repeat([label for label, _ in groups], [len(runs) for _, runs in groups])
    N, D, L, C, seed = (np.concatenate([getattr(runs, name) for _, runs in groups]) for name in ("N", "D", "L", "C", "seed"))
    return compare_groups(N, D, L, label, fit_law=fit_law, C=C, seed=seed if seeds_known else None, level=level,
                          resamples=resamples, rng=rng)


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
