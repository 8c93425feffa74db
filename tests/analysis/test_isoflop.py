"""Approach 2: closed forms, published isoFLOP tables, bracketing."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import linregress
from worlds.simulated_grids import grid, published

from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.vertex import isoflop_minimum
from analysis.estimates.power_law import fit_power_law
from analysis.estimates.refusal import NoMinimum, TooFewPoints


def test_vertex_of_a_parabola_and_of_a_cubic_are_exact():
    x = np.linspace(-2, 2, 9)
    for curve, L in (("parabola", 0.3 * (x - 0.37) ** 2), ("cubic", 0.3 * (x - 0.37) ** 2 + 0.02 * (x - 0.37) ** 3)):
        assert isoflop_minimum(np.exp(x), np.exp(1 + L), curve=curve).N == pytest.approx(np.exp(0.37), rel=1e-9)


@pytest.mark.parametrize("L, reason", [
    (np.exp(np.linspace(0, 1, 8)), "smallest"), (np.exp(np.linspace(1, 0, 8)), "largest"),
    (np.array([1.0, 0.9]), "2 sizes")])
def test_unbracketed_budget_is_refused_with_the_reason(L, reason):
    with pytest.raises(NoMinimum, match=reason):
        isoflop_minimum(np.geomspace(1e3, 1e6, len(L)), L)


@pytest.mark.parametrize("curve, tolerance", [("cubic", 0.012), ("akima", 0.012), ("parabola", 0.04)])
@pytest.mark.parametrize("alpha, beta, shift", [(0.5, 0.5, 0), (0.6, 0.4, 0), (0.75, 0.25, 1.5), (0.25, 0.75, 0)])
def test_noiseless_grid_gives_a(alpha, beta, shift, curve, tolerance):
    # parabolas are biased without noise where alpha and beta differ, hence their own tolerance
    g = grid(alpha=alpha, beta=beta, shift=shift, seeds=1)
    fit = fit_isoflop(g.N, g.D, g.L, g.C, curve=curve, resamples=50)
    assert fit.a.value == pytest.approx(g.a, abs=tolerance)
    assert fit.b.value == pytest.approx(float(g.surface.b(g.cost)), abs=tolerance)


def test_minima_lie_where_the_surface_has_them():
    g = grid(seeds=1)
    fit = fit_isoflop(g.N, g.D, g.L, g.C, resamples=50)
    for m in fit.minima:
        best = g.surface.optimum(m.C, g.cost)
        assert m.N == pytest.approx(float(best.N), rel=0.15)
        assert m.L == pytest.approx(float(best.L), rel=0.01)
        assert m.points.N.min() < m.N < m.points.N.max()


def test_unbracketed_grid_is_refused_by_name():
    # every budget is best spent on the smallest size: a slope through such "minima" is the grid's edge
    g = grid(alpha=0.25, beta=0.75, shift=4, seeds=1)
    with pytest.raises(NoMinimum, match="smallest"):
        fit_isoflop(g.N, g.D, g.L, g.C, resamples=50)


def test_grid_and_labelled_budgets_agree():
    # exact isoFLOPs fed as labels must give what interpolation gives on the same law
    g = grid(alpha=0.5, beta=0.5, seeds=1)
    C = np.repeat(np.geomspace(1e7, 1e10, 7), 9)
    N = np.concatenate([g.surface.optimum(c, g.cost).N * 3.0 ** np.linspace(-2, 2, 9) for c in C[::9]])
    D = g.cost.samples(N, C)
    labelled = fit_isoflop(N, D, g.surface.loss(N, D), C, budget=C, resamples=50)
    found = fit_isoflop(N, D, g.surface.loss(N, D), C, resamples=50)
    assert labelled.a.value == pytest.approx(g.a, abs=2e-3)
    assert found.a.value == labelled.a.value and not found.interpolated


def test_rescaling_and_row_order_do_not_matter():
    g = grid(noise=0.03)
    mixed = np.random.default_rng(1).permutation(len(g.L))
    one = fit_isoflop(g.N, g.D, g.L, g.C, resamples=50)
    other = fit_isoflop(g.N[mixed] * 1e3, g.D[mixed], g.L[mixed] * 7, g.C[mixed] * 1e6, resamples=50)
    assert other.a.value == pytest.approx(one.a.value, rel=1e-6)


def test_prediction_follows_the_line_and_widens_outside():
    g = grid(noise=0.03)
    fit = fit_isoflop(g.N, g.D, g.L, g.C, resamples=200)
    middle, far = (fit.params(c) for c in (np.exp(fit.middle), np.exp(fit.middle) * 1e6))
    assert middle.low < float(g.surface.optimum(np.exp(fit.middle), g.cost).N) < middle.high
    assert np.log(far.high / far.low) > 2 * np.log(middle.high / middle.low)


def test_power_law_is_scipys_regression():
    random = np.random.default_rng(0)
    x = np.geomspace(1, 1e6, 20)
    y = 3 * x**0.4 * np.exp(0.1 * random.standard_normal(20))
    ours, theirs = fit_power_law(x, y), linregress(np.log(x), np.log(y))
    assert_allclose([ours.exponent.value, ours.exponent.se, np.log(ours.coefficient)],
                    [theirs.slope, theirs.stderr, theirs.intercept])
    with pytest.raises(TooFewPoints):
        fit_power_law(x[:2], y[:2])


PORIAN = ["dataset", "hparams", "warmup", "decay", "param_count", "val"]


def test_porians_exponents_come_back_from_their_minima():
    pairs = pd.read_csv(published("porian/optimal_pairs.csv"))
    exponents = pd.read_csv(published("porian/published_exponents.csv"))
    groups = dict(list(pairs.groupby(PORIAN)))
    for row in exponents.itertuples():
        minima = groups[tuple(getattr(row, key) for key in PORIAN)].dropna(subset=["n", "n_star_std"])
        even = fit_power_law(minima.flops, minima.n)
        weighted = fit_power_law(minima.flops, minima.n, weight=1 / minima.n_star_std**2)
        assert even.exponent.value == pytest.approx(row.a_basic, abs=1e-6)
        assert weighted.exponent.value == pytest.approx(row.a_weighted, abs=1e-6)


def test_porians_exponents_come_back_from_their_points():
    # the published ladder .835 -> .706 -> .602 -> .571 -> .497, read by our own minima
    points = pd.read_csv(published("porian/isoflop_points.csv"))
    exponents = pd.read_csv(published("porian/published_exponents.csv"))
    groups = dict(list(points.groupby(PORIAN)))
    inside = []
    for row in exponents.itertuples():
        q = groups[tuple(getattr(row, key) for key in PORIAN)]
        fit = fit_isoflop(q.n, q.t, q.loss, q.flops, budget=q.flops, curve="akima", resamples=200)
        assert fit.a.value == pytest.approx(row.a_bs_median_weighted, abs=0.035)
        inside.append(row.a_bs_median_weighted in fit.a)
    assert np.mean(inside) >= 0.8


def test_a_parabola_through_all_of_a_budget_is_numpys():
    """What others draw: the figures of a published table must come back by their curve, too."""
    g = grid(noise=0.02, seeds=1, rng=4, alpha=0.5, beta=0.5, p=1.0)
    budgets = np.repeat(np.geomspace(1e9, 1e12, 5), 9)
    N = np.tile(np.geomspace(0.05, 20, 9), 5) * np.sqrt(budgets / 30)
    D = budgets / (30 * N)
    L = g.surface.loss(N, D) * np.exp(0.01 * np.random.default_rng(1).standard_normal(45))
    fit = fit_isoflop(N, D, L, budgets, budget=budgets, curve="parabola", reach=np.inf, resamples=50)
    for m in fit.minima:
        at = np.isclose(budgets, m.C)
        c2, c1, _ = np.polyfit(np.log(N[at]), np.log(L[at]), 2)
        assert np.log(m.N) == pytest.approx(-c1 / (2 * c2), abs=1e-9)
    near = fit_isoflop(N, D, L, budgets, budget=budgets, curve="parabola", resamples=50)
    assert near.minima != fit.minima
