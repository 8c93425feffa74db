"""Approach 3: known truths, Hoffmann's points, invariances, refusals."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import huber
from worlds.simulated_grids import grid, published

from analysis.approaches.global_minimum import global_minima, global_minimum
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.parametric import fit_parametric
from analysis.approaches.surface_fit import HUBER, LOG_SQUARES, RAW_SQUARES, fit_surface
from analysis.estimates.refusal import NotIdentified, TooFewPoints


@pytest.fixture(scope="module")
def chinchilla():
    table = pd.read_csv(published("epoch/svg_extracted_data.csv"))
    table = table[table.loss < np.sort(table.loss)[-5]]
    N, C = table["Model Size"].to_numpy(), table["Training FLOP"].to_numpy()
    return N, C / (6 * N), table.loss.to_numpy(), C


@pytest.fixture(scope="module")
def chinchilla_bootstrap(chinchilla):
    """4000 resamples of Hoffmann's points under numpy's legacy seed 42: weights, surfaces, objectives."""
    N, D, L, _ = chinchilla
    np.random.seed(42)
    rows = [np.random.choice(np.arange(240), 240) for _ in range(4000)]
    weight = np.stack([np.bincount(r, minlength=240) for r in rows]).astype(float)
    points = Coordinates.of(N, D, L, np.ones(240))
    found = global_minima(points, weight, HUBER, global_minimum(points, np.ones(240), HUBER))
    return weight, points.external(found.theta), found.value


@pytest.mark.parametrize("alpha, beta", [(0.6, 0.4), (0.5, 0.5), (0.25, 0.75), (0.75, 0.25)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("objective", [HUBER, LOG_SQUARES, RAW_SQUARES], ids=str)
def test_noiseless_surface_comes_back(alpha, beta, shift, objective):
    # an optimiser that stops early, or a grid that misses the basin of unequal exponents
    g = grid(alpha=alpha, beta=beta, shift=shift, seeds=1)
    fit = fit_surface(g.N, g.D, g.L, objective=objective)
    assert fit.converged and not fit.at_bound
    assert_allclose(astuple(fit.surface), astuple(g.surface), rtol=2e-4)


@settings(max_examples=12, deadline=None)
@given(alpha=st.floats(0.2, 0.9), ratio=st.floats(1 / 3, 3), E=st.floats(0.005, 3), shift=st.floats(-2, 2))
def test_noiseless_optimum_comes_back_anywhere(alpha, ratio, E, shift):
    g = grid(alpha=alpha, beta=alpha * ratio, E=E, shift=shift, seeds=1)
    fit = fit_surface(g.N, g.D, g.L, objective=LOG_SQUARES)
    assert_allclose(float(fit.surface.a(g.cost)), g.a, rtol=1e-3)


def test_outliers_and_dead_runs_do_not_move_the_huber_fit():
    g = grid(noise=0.02, rng=1)
    dead = np.random.default_rng(0).choice(len(g.L), 12, replace=False)
    L = g.L.copy()
    L[dead] = np.log(10)
    clean, soiled = (float(fit_surface(g.N, g.D, v).surface.a(g.cost)) for v in (g.L, L))
    assert abs(soiled - clean) < 0.02


def test_hoffmanns_points_reach_the_global_optimum(chinchilla):
    N, D, L, _ = chinchilla
    fit = fit_surface(N, D, L)
    assert fit.value <= 0.00101827402
    assert_allclose([fit.surface.A, fit.surface.B, fit.surface.E, fit.surface.alpha, fit.surface.beta],
                    [477.826, 2143.42, 1.817218, 0.347311, 0.367172], rtol=1e-5)


def test_objective_reported_is_the_objective_of_the_surface_reported(chinchilla):
    N, D, L, _ = chinchilla
    fit = fit_surface(N, D, L)
    assert_allclose(fit.value, huber(1e-3, np.log(fit.surface.loss(N, D) / L)).sum(), rtol=1e-9)


def test_bootstrap_of_hoffmanns_points_agrees_with_the_published_one(chinchilla, chinchilla_bootstrap):
    N, D, L, _ = chinchilla
    weight, surfaces, value = chinchilla_bootstrap
    E, A, B, alpha, beta = surfaces.T
    rows = np.array([[1.793330, 349.556, 2356.248, .328633, .371855],
                     [1.803583, 487.836, 1509.948, .348965, .349989],
                     [1.861662, 728.411, 2507.011, .372424, .375040]])
    assert_allclose(surfaces[:3], rows, rtol=3e-4)  # B and beta move together along a flat valley ...
    for w, row, ours in zip(weight, rows, value):   # ... in which ours lies no higher
        assert ours <= w @ huber(1e-3, np.log((row[0] + row[1] / N**row[3] + row[2] / D**row[4]) / L))
    # Besiroglu et al.'s notebook prints these
    assert_allclose(surfaces.std(0), [.02566, 124.52, 1293.28, .01540, .02060], rtol=2e-3)
    a = beta / (alpha + beta)
    assert_allclose(np.quantile(a, [.025, .975]), [.480, .556], atol=1e-3)
    assert abs((a < .5).mean() - .215) < 0.005
    assert (a < .73).all()


def test_resamples_end_where_an_exhaustive_search_ends(chinchilla, chinchilla_bootstrap):
    # two descents a resample instead of dozens: they must not miss a lower basin
    N, D, L, _ = chinchilla
    weight, _, value = chinchilla_bootstrap
    points = Coordinates.of(N, D, L, np.ones(240))
    exhaustive = [global_minimum(points, w, HUBER).solution.value[0] for w in weight[:25]]
    assert (value[:25] <= np.array(exhaustive) * (1 + 1e-9)).all()


@pytest.mark.parametrize("objective, a", [(Objective("log", 0.1), .5298), (Objective("log", 1e-2), .5184), (HUBER, .5139),
                                          (Objective("log", 1e-6), .5126), (RAW_SQUARES, .5446)], ids=str)
def test_loss_functions_move_a_on_hoffmanns_points_as_measured(chinchilla, objective, a):
    N, D, L, _ = chinchilla
    surface = fit_surface(N, D, L, objective=objective).surface
    assert surface.beta / (surface.alpha + surface.beta) == pytest.approx(a, abs=1.5e-4)


def test_hoffmanns_published_parameters_are_rejected(chinchilla, chinchilla_bootstrap):
    N, D, L, _ = chinchilla
    fit = fit_surface(N, D, L)
    claimed = np.array([1.69, np.log(406.4), np.log(410.7), .34, .28])
    draws = chinchilla_bootstrap[1].copy()
    draws[:, 1:3] = np.log(draws[:, 1:3])
    ours = np.array([fit.surface.E, np.log(fit.surface.A), np.log(fit.surface.B), fit.surface.alpha, fit.surface.beta])
    wald = (ours - claimed) @ np.linalg.solve(np.cov(draws.T), ours - claimed)
    assert wald > 100  # chi-square with 5 degrees of freedom: 99.9% lies below 20.5


def test_gadres_extrapolation_comes_back():
    # Gadre et al.'s law is ours with alpha = beta and least squares on L; five points determine it
    table = pd.read_csv(published("gadre/gadre_104_models.csv"))
    table = table[table.dataset == "rpj"]
    small = ~table.model.str.contains("1b|7b")
    five = table[(small & (table.cc_mult == 1)) | ((table.model == "d=96_l=8_h=4") & (table.cc_mult == 16))]
    fit = fit_surface(five.N, five.D, five.loss_c4_val, objective=RAW_SQUARES, hold={"alpha=beta": True})
    for model, multiplier, error in (("open_lm_1b", 32, 0.007103), ("open_lm_7b", 1, 0.007320)):
        large = table[(table.model == model) & (table.cc_mult == multiplier)].iloc[0]
        assert abs(fit.surface.loss(large.N, large.D) / large.loss_c4_val - 1) == pytest.approx(error, abs=2e-6)


def test_kyo_takanos_asymmetric_fit_comes_back():
    table = pd.read_csv(published("kyo_takano/df.csv"))
    N, D, L = (table[c].to_numpy(float) for c in ("N", "D", "loss"))
    fit = fit_surface(N, D, L, objective=Objective("raw", 1e-6, over=10))

    def their_objective(E, A, B, alpha, beta):
        error = E + A / N**alpha + B / D**beta - L
        return np.where(error > 0, 10, 1) @ np.abs(error)

    assert their_objective(*astuple(fit.surface)[:5]) <= their_objective(1.7004438, 185.38809, 1627.00125, .2892327, .3556021)
    assert_allclose([fit.surface.E, fit.surface.alpha, fit.surface.beta], [1.7004, .2892, .3556], rtol=2e-3)


@pytest.fixture(scope="module")
def study():
    return grid(noise=0.03, rng=3)


@pytest.fixture(scope="module")
def fitted(study):
    return fit_parametric(study.N, study.D, study.L, C=study.C, resamples=300)


def test_cost_exponent_is_measured_and_enters_a(study, fitted):
    # the textbook beta / (alpha + beta) is wrong for networks whose C is not proportional to N D
    assert fitted.cost.p == pytest.approx(0.85, abs=1e-9)
    s = fitted.surface
    assert fitted.a.value == pytest.approx(s.beta / (s.alpha + 0.85 * s.beta))
    assert fitted.a.value * fitted.cost.p + fitted.b.value == pytest.approx(1)


def test_optimum_is_the_lowest_loss_on_the_curve_of_equal_compute(fitted):
    C = 3e8
    N = np.geomspace(300, 3e6, 200_001)
    loss = fitted.surface.loss(N, fitted.cost.samples(N, C))
    best = fitted.optimum(C)
    assert best.N.value == pytest.approx(N[loss.argmin()], rel=1e-3)
    assert best.L.value == pytest.approx(loss.min(), rel=1e-9)
    assert best.L.value == pytest.approx(float(fitted.frontier.loss(C)), rel=1e-9)


def test_optimum_far_away_is_flagged(study, fitted):
    assert fitted.optimum(float(study.C.mean())).inside
    far = fitted.optimum(1e15)
    assert not far.inside and "extrapolation" in {doubt.code for doubt in far.warnings}


def test_row_order_and_units_do_not_matter(study, fitted):
    mixed = np.random.default_rng(0).permutation(len(study.L))
    again = fit_surface(study.N[mixed] * 1e3, study.D[mixed] / 7, study.L[mixed])
    assert_allclose([again.surface.E, again.surface.alpha, again.surface.beta],
                    [fitted.surface.E, fitted.surface.alpha, fitted.surface.beta], rtol=1e-5)
    assert again.surface.A == pytest.approx(fitted.surface.A * 1e3**fitted.surface.alpha, rel=1e-4)


def test_weights_count_as_repetitions(study):
    twice = np.concatenate([np.arange(len(study.L)), np.arange(0, len(study.L), 3)])
    weight = np.bincount(twice).astype(float)
    repeated = fit_surface(study.N[twice], study.D[twice], study.L[twice], objective=LOG_SQUARES)
    weighted = fit_surface(study.N, study.D, study.L, weight=weight, objective=LOG_SQUARES)
    assert_allclose(astuple(repeated.surface), astuple(weighted.surface), rtol=1e-6)


def test_same_seed_same_cloud_bit_for_bit(study, fitted):
    again = fit_parametric(study.N, study.D, study.L, C=study.C, resamples=300)
    assert (again.draws == fitted.draws).all()


def test_floor_that_the_table_cannot_see_is_said_to_be_unseen():
    g = grid(E=1e-6, noise=0.03, rng=2)
    fit = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=200)
    assert not fit.E_identified and fit.E.low == 0
    assert "E_not_identified" in {doubt.code for doubt in fit.warnings}


@pytest.mark.parametrize("spoil, refusal", [
    (lambda N, D, L: (np.full_like(N, 700.0), D, L), TooFewPoints),
    (lambda N, D, L: (N, np.full_like(D, 60.0), L), TooFewPoints),
    (lambda N, D, L: (N, 20 * N, L), NotIdentified),
    (lambda N, D, L: (N, D, 0.1 + 1e-6 * N), NotIdentified),
    (lambda N, D, L: (N[:4], D[:4], L[:4]), TooFewPoints),
    (lambda N, D, L: (N, D, np.where(np.arange(len(L)) == 3, np.nan, L)), ValueError),
    (lambda N, D, L: (N, D, L - L.max()), ValueError),
    (lambda N, D, L: (N, D[1:], L), ValueError),
])
def test_what_cannot_be_fitted_is_refused_in_one_line(spoil, refusal):
    g = grid(seeds=1)
    with pytest.raises(refusal) as caught:
        fit_parametric(*spoil(g.N, g.D, g.L), resamples=50)
    assert "\n" not in str(caught.value)
