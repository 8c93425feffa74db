"""The models: trained, extrapolating, and as sure as they claim. Defects 1, 3 and 4 of the reference."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import binomtest, norm

from sweeps.carbs import gp
from sweeps.carbs.acquisition import Staircase, log_h, log_improvement, staircase
from sweeps.carbs.front import monotone
from sweeps.carbs.surrogate import WARPS, Warp, fit_cost, fit_failure, fit_loss, warp_of

MIDDLE = len(WARPS) // 2


def test_the_gradient_of_the_evidence_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(15, 3)), rng.normal(size=15)
    p = gp.prior(3, linear=0.3, quadratic=0.1, amplitude=0.5, noise=0.05)
    theta, weights = p.mean + 0.3 * rng.normal(size=11), rng.uniform(0.5, 2.0, 15)
    numeric = approx_fprime(theta, lambda t: gp.objective(t, X, y, p, weights)[0], 1e-6)
    np.testing.assert_allclose(gp.objective(theta, X, y, p, weights)[1], numeric, rtol=1e-3, atol=1e-3)


def test_the_posterior_is_that_of_dense_gaussian_conditioning():
    rng = np.random.default_rng(1)
    X, y, Z = rng.normal(size=(12, 2)), rng.normal(size=12), rng.normal(size=(5, 2))
    p = gp.prior(2, linear=0.3, quadratic=0.1, amplitude=0.5, noise=0.05)
    a, b, length, s, noise = np.exp(p.mean[:2]), np.exp(p.mean[2:4]), np.exp(p.mean[4:6]), *np.exp(p.mean[6:])

    def k(x, z):        # the module's docstring, a pair at a time
        r = math.sqrt(5 * (((x - z) / length) ** 2).sum())
        q = (b * x * z).sum()
        return 1 + (a * x * z).sum() + q ** 2 + gp.CUBIC * q ** 3 + s * (1 + r + r * r / 3) * math.exp(-r)

    K = np.array([[k(x, z) for z in X] for x in X]) + noise * np.eye(12)
    k_star = np.array([[k(x, z) for z in Z] for x in X])
    mean = k_star.T @ np.linalg.solve(K, y)
    variance = np.array([k(z, z) for z in Z]) - np.einsum("nm,nm->m", k_star, np.linalg.solve(K, k_star))
    posterior = gp.condition(p.mean, X, y, np.ones(12))
    found_mean, found_sd = posterior.predict(Z)
    np.testing.assert_allclose(found_mean, mean, atol=1e-9)
    np.testing.assert_allclose(found_sd ** 2, variance, atol=1e-9)


@pytest.mark.parametrize("d", [4, 2, 7])
def test_exactly_linear_log_cost_is_learnt_in_every_dimension_in_one_process(d):
    """The reference's kernels froze at the first fit in a process: RMSE .154, a true 10^6 read as 10^5.5."""
    rng = np.random.default_rng(d)
    slopes = np.zeros(d)
    slopes[:2] = math.log(10)
    X = rng.normal(0, 0.5, (30, d))
    model = fit_cost(X, X @ slopes, start=None, iterations=60)
    Z = rng.normal(0, 0.5, (200, d))
    assert np.sqrt(np.mean((model.predict(Z)[0] - Z @ slopes) ** 2)) < 0.01
    far = np.zeros((1, d))
    far[0, :2] = 1.5, 1.5       # three decades above the middle of the data, one beyond its end
    assert abs(model.predict(far)[0][0] / math.log(10) - 3.0) < 0.05


def test_a_warm_start_ends_where_a_cold_start_does():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 3))
    y = X @ [1.0, 0.5, 0.0] + 0.3 * np.sin(2 * X[:, 0]) + rng.normal(0, 0.05, 40)
    cold = fit_cost(X, y, start=None, iterations=200)
    first = fit_cost(X[:38], y[:38], start=None, iterations=200)
    warm = fit_cost(X, y, start=first.process.theta, iterations=200)
    Z = rng.normal(size=(50, 3))
    np.testing.assert_allclose(warm.predict(Z)[0], cold.predict(Z)[0], atol=0.02)


def test_no_more_than_a_twentieth_of_runs_admitted_by_the_margin_go_over_the_cap():
    """Defect 3: the reference let one run in five over, the worst by 421 times. Each trial admits
    the candidate nearest the cap, the worst case for a leak, mostly outside what has been paid for."""
    over, trials = 0, 120
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        d, n = 4, int(rng.integers(5, 25))
        slopes = math.log(10) * np.array([1.0, rng.uniform(0.5, 2.0), 0.0, 0.0])
        offset = rng.choice([0.0, math.exp(-1.0)])      # some with an overhead that bends the log-log line

        def cost(X):
            return np.log(offset + np.exp(X @ slopes))

        X = rng.normal(0, 0.4, (n, d))
        model = fit_cost(X, cost(X) + rng.normal(0, 0.03, n), start=None, iterations=40)
        Z = rng.normal(0, 0.8, (400, d))
        safe = Z[model.margin(Z, 1.5) >= 0]
        nearest = safe[np.argmin(model.margin(safe, 1.5))]
        over += cost(nearest[None])[0] + rng.normal(0, 0.03) > 1.5
    assert binomtest(over, trials, 0.05, alternative="greater").pvalue > 0.01, f"{over} of {trials} over the cap"


def test_a_power_law_is_extrapolated_past_the_best_seen():
    """Defect 4: the reference's warp put the best run at +5.2 sd, beyond which nothing is better."""
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.uniform(4, 7, 40), rng.normal(0, 0.3, 40)])
    truth = lambda X: 1.7 + 400 * 10 ** (-0.34 * X[:, 0]) + 0.4 * X[:, 1] ** 2      # noqa: E731
    loss = truth(X) + rng.normal(0, 0.01, 40)
    model = fit_loss(X, loss, np.zeros(len(X)), start=None, index=MIDDLE, iterations=60)
    better = np.array([[7.7, 0.0]])
    predicted = model.warp.inverse(model.predict(better)[0])[0]
    assert predicted < loss.min()
    assert abs(predicted - truth(better)[0]) < 0.5 * (loss.min() - truth(better)[0])


@pytest.mark.parametrize("loss", [np.array([3.0, 3.0, 3.0]), np.array([-5.0, -4.0, 1e30]), np.array([1e-12, 1.0, 2.0])])
def test_the_warp_is_finite_monotone_and_invertible_for_any_losses(loss):
    for index in range(len(WARPS)):
        warp = warp_of(loss, index)
        y = warp(loss)
        assert np.isfinite(y).all() and (np.diff(y) >= 0).all()
        below = loss[loss <= warp.ceiling]
        np.testing.assert_allclose(warp.inverse(warp(below)), below, rtol=1e-6, atol=1e-9)


def test_a_wall_is_learnt_from_both_sides():
    rng = np.random.default_rng(3)
    X = rng.normal(0, 1, (60, 4))
    model = fit_failure(X, X[:, 1] > 0.8, start=None, iterations=60)
    deep = np.zeros((2, 4))
    deep[:, 1] = 2.0, -1.0
    assert model.success(deep)[0] < 0.1 and model.success(deep)[1] > 0.9


@pytest.mark.parametrize("z", [-30.0, -8.0, -1.0001, -0.9999, 0.0, 0.7, 5.0])
def test_log_h_is_the_log_of_the_integral_it_stands_for(z):
    shift = 0.5 * min(z, 0.0) ** 2      # keeps the integrand in range far in the tail
    value, _ = quad(lambda u: u * math.exp(-0.5 * (u - z) ** 2 + shift) / math.sqrt(2 * math.pi), 0, max(z, 0) + 40,
                    epsabs=0, epsrel=1e-10, limit=200, points=[0.01, 0.1, 1.0])
    assert math.isclose(log_h(np.array([z]))[0], math.log(value) - shift, rel_tol=1e-6)


def test_log_h_keeps_its_slope_at_a_thousand_standard_deviations():
    z = np.array([-1e5, -2e3, -1001.0, -999.0, -500.0])
    assert np.isfinite(log_h(z)).all() and (np.diff(log_h(z)) > 0).all()


def test_the_expected_improvement_of_a_front_is_that_of_monte_carlo():
    steps = Staircase(np.array([0.0, 1.0, 2.5]), np.array([2.0, 1.0, 0.2]), 4.0, np.zeros(3))
    log_cost, mean, sd = np.array([0.5, 3.0, 5.0]), np.array([1.2, 0.5, -9.0]), np.array([0.5, 0.3, 1.0])
    draws = mean + sd * np.random.default_rng(0).standard_normal((400_000, 3))
    budgets = np.linspace(0, 4, 4001)[:-1] + 0.0005
    front = steps.loss[np.searchsorted(steps.start, budgets, side="right") - 1]
    expected = []
    for i in range(2):
        value = sum((front[budgets >= log_cost[i]] == level).sum() * 0.001 * np.maximum(level - draws[:, i], 0).mean()
                    for level in steps.loss)
        expected.append(value)
    found = log_improvement(steps, log_cost, mean, sd)
    np.testing.assert_allclose(np.exp(found[:2]), expected, rtol=0.01)
    assert found[2] == -math.inf    # dearer than any budget of interest


def test_a_front_is_monotone_and_its_staircase_starts_at_the_floor():
    rng = np.random.default_rng(4)
    cost, loss = rng.uniform(0, 4, 50), rng.normal(size=50)
    pick = monotone(cost, loss)
    assert (np.diff(cost[pick]) > 0).all() and (np.diff(loss[pick]) < 0).all()
    assert all(loss[pick][cost[pick] <= c][-1] <= v for c, v in zip(cost, loss))    # nobody beats it
    steps = staircase(cost, loss, 1.0, 3.0, Warp(0.0, 0.0, 1.0, 9.0))
    assert steps.start[0] == 1.0 and steps.start[-1] <= 3.0 and (np.diff(steps.loss) < 0).all()


def test_the_interval_of_the_loss_covers():
    inside = total = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.normal(0, 0.6, (40, 3))
        truth = lambda X: 3.0 + 0.5 * (X[:, 0] - 0.5) ** 2 + np.exp(-X[:, 1])       # noqa: E731
        model = fit_loss(X, truth(X) + rng.normal(0, 0.03, 40), np.zeros(40), start=None, index=MIDDLE, iterations=60)
        Z = rng.normal(0, 0.4, (25, 3))
        mean, sd = model.predict(Z)
        inside += (np.abs(model.warp(truth(Z)) - mean) < norm.ppf(0.975) * sd).sum()
        total += 25
    # Points of one fit err together: .85 is what 95% intervals must beat, by far, over 12 fits.
    assert inside / total > 0.85
