"""Laws of the error rate: the truth that made the data comes back, with intervals that hold it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import curve_fit
from scipy.stats import linregress

from analysis.estimates.refusal import NotIdentified, TooFewPoints
from analysis.questions.accuracy import fit_accuracy, fit_error_of_loss


def grid(sizes: int = 8, budgets: int = 8, seeds: int = 2) -> tuple[np.ndarray, ...]:
    N, D, _ = (v.ravel() for v in np.meshgrid(np.geomspace(1e3, 1e5, sizes), np.geomspace(1e3, 1e5, budgets),
                                              np.arange(seeds)))
    return N, D, 0.02 + 20 / N**0.6 + 15 / D**0.5


def test_exponential_law_of_exact_data_comes_back():
    N, D, L = grid()
    fit = fit_error_of_loss(N, D, L, 0.9 - 0.88 * np.exp(-0.35 * L), resamples=100)
    assert_allclose([fit.eps.value, fit.k.value, fit.gamma.value], [0.9, 0.88, 0.35], rtol=1e-5)
    assert fit.scatter < 1e-6 and not fit.warnings


def test_exponential_law_agrees_with_scipy_on_noisy_data():
    N, D, L = grid()
    error = (0.9 - 0.88 * np.exp(-0.35 * L)) * np.exp(0.05 * np.random.default_rng(0).standard_normal(len(L)))
    fit = fit_error_of_loss(N, D, L, error, resamples=200)
    line = linregress(np.log(L), np.log(error))
    ours, _ = curve_fit(lambda x, eps, k, gamma: eps - k * np.exp(-gamma * x), L, error, [0.9, 0.9, 0.4],
                        sigma=np.exp(line.intercept) * L**line.slope, xtol=1e-12, ftol=1e-12, maxfev=20_000)
    assert_allclose([fit.eps.value, fit.k.value, fit.gamma.value], ours, rtol=1e-4)
    assert_allclose(fit.exponent.value, line.slope, rtol=1e-9)


def test_power_law_data_are_told_from_exponential_ones_by_their_scatter():
    N, D, L = grid()
    fit = fit_error_of_loss(N, D, L, 0.3 * L**1.1, resamples=100)
    assert_allclose([fit.exponent.value, fit.coefficient], [1.1, 0.3], rtol=1e-9)
    assert fit.power_scatter < 1e-9 < fit.scatter
    assert [d.code for d in fit.warnings] == ["gamma_not_identified"]


def test_units_of_loss_scale_gamma_and_nothing_else():
    N, D, L = grid()
    error = (0.9 - 0.88 * np.exp(-0.35 * L)) * np.exp(0.03 * np.random.default_rng(1).standard_normal(len(L)))
    nats, bits = (fit_error_of_loss(N, D, x, error, resamples=60) for x in (L, L / np.log(2)))
    assert_allclose(bits.gamma.value, nats.gamma.value * np.log(2), rtol=1e-5)
    assert_allclose(bits.eps.value, nats.eps.value, rtol=1e-5)


def test_order_of_the_runs_does_not_matter_to_the_last_digit():
    N, D, L = grid()
    error = (0.9 - 0.88 * np.exp(-0.35 * L)) * np.exp(0.03 * np.random.default_rng(1).standard_normal(len(L)))
    order = np.random.default_rng(2).permutation(len(L))
    one, other = (fit_error_of_loss(N[o], D[o], L[o], error[o], resamples=60) for o in (np.arange(len(L)), order))
    assert one == other


def test_interval_of_a_gamma_that_nothing_bounds_is_open():
    # the bug: both ends on the grid's first node, an interval of no width about a number without meaning
    N, D, L = grid()
    noise = np.exp(0.001 * np.random.default_rng(1).standard_normal(len(L)))
    line = fit_error_of_loss(N, D, L, (0.02 + 0.3 * L) * noise, resamples=60)
    assert line.gamma.low == 0.0 and line.eps.high == line.k.high == np.inf and 0.0 < line.gamma.high < np.inf


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_intervals_hold_the_truth_about_as_often_as_they_say(noise):
    # 60 tables: a 95% interval that covered 80% would hold at most 53 of them with probability 0.98.
    N, D, L = grid(6, 6, 2)
    held = 0
    for seed in range(60):
        error = (0.9 - 0.88 * np.exp(-0.35 * L)) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(L)))
        held += 0.35 in fit_error_of_loss(N, D, L, error, resamples=150, rng=seed).gamma
    assert held >= 53


def test_error_against_compute_recovers_its_own_surface():
    N, D, L = grid()
    error = 0.004 + 8 / N**0.7 + 6 / D**0.6
    fit = fit_accuracy(N, D, L, 300 * N**0.8 * D, 1 - error, resamples=60)
    assert_allclose([fit.of_compute.surface.alpha, fit.of_compute.surface.beta, fit.of_compute.surface.E], [0.7, 0.6, 0.004],
                    rtol=1e-2)
    assert_allclose(fit.of_compute.gamma.value, 0.7 * 0.6 / (0.7 + 0.8 * 0.6), rtol=1e-2)
    assert_allclose(fit.best, 1 - error.min())


def test_perfect_and_missing_accuracies_are_left_out_and_counted():
    N, D, L = grid()
    accuracy = 1 - (0.9 - 0.88 * np.exp(-0.35 * L))
    spoilt = accuracy.copy()
    spoilt[:3], spoilt[3:5] = 1.0, np.nan
    fit = fit_accuracy(N, D, L, N * D, spoilt, resamples=60)
    assert (fit.perfect, fit.n, fit.best) == (3, len(L) - 5, 1.0)
    assert "perfect_runs" in [d.code for d in fit.warnings]
    assert_allclose(fit.of_loss.gamma.value, 0.35, rtol=1e-4)


def test_too_little_is_refused():
    N, D, L = grid()
    with pytest.raises(TooFewPoints):
        fit_accuracy(N[:4], D[:4], L[:4], N[:4] * D[:4], np.full(4, 0.5))
    with pytest.raises(NotIdentified):
        fit_error_of_loss(N, D, np.full(len(N), 0.3), L / 10)
