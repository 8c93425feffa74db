"""The learning rate's law: recovered from trials, doubted where the search did not bracket it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from worlds.simulated_study import simulated_trials

from analysis.estimates.refusal import NotIdentified
from analysis.questions.learning_rate import best_rates, fit_learning_rate, rates_of_study


def test_the_rule_comes_back_from_trials_that_follow_it():
    table = simulated_trials(trials=25)
    width, fraction, lr, loss, channels = (table[c].to_numpy() for c in ("width", "fraction", "lr", "val_loss", "channels"))
    fit = fit_learning_rate(best_rates(width, fraction, lr, loss))
    assert -0.5 in fit.exponent
    assert fit.exponent.high - fit.exponent.low < 0.3
    assert fit.rates.bracketed.all() and not fit.warnings


def test_a_parabola_between_trials_beats_the_best_trial():
    lr = np.geomspace(1e-3, 1e-1, 9)
    rates = best_rates(np.ones(9), np.ones(9), lr, np.exp(0.3 * np.log(lr / 0.0123) ** 2))
    assert_allclose(rates.lr, [0.0123], rtol=1e-6)


def test_a_best_rate_at_the_end_of_the_search_is_doubted():
    width = np.repeat([1.0, 2.0, 4.0], 5)
    lr = np.tile(np.geomspace(1e-3, 1e-1, 5), 3)
    fit = fit_learning_rate(best_rates(width, np.ones(15), lr, 1 / lr))
    assert not fit.rates.bracketed.any()
    assert [d.code for d in fit.warnings] == ["lr_not_bracketed"]


def test_one_rate_for_every_width_is_no_tuning():
    with pytest.raises(NotIdentified):
        rates_of_study([1, 2, 4], [0.01, 0.01, 0.01])
    with pytest.raises(NotIdentified, match=r"width\^-1 exactly"):
        rates_of_study([8, 12, 16, 24, 104], [float(f"{0.23 / w:.3g}") for w in (8, 12, 16, 24, 104)])


def test_under_the_fan_in_rule_the_tuned_column_is_expected_to_be_flat():
    assert fit_learning_rate(rates_of_study([1, 2, 4], [0.01, 0.011, 0.0105]), lr_rule="fan_in").rule == 0
