"""Sensitivity, rival laws, condensing and the cost law."""

import warnings

import numpy as np
import pytest
from worlds.simulated_grids import grid

from analysis.approaches.cost import LANGUAGE, fit_cost
from analysis.approaches.laws.saturating import HEADROOM
from analysis.approaches.parametric import fit_generalised, fit_parametric
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import LOG_SQUARES, fit_surface
from analysis.approaches.wild_bootstrap import reduce_to_cells
from analysis.estimates.refusal import NotIdentified, TooFewPoints
from analysis.questions import alternatives
from analysis.questions import sensitivity as choices
from analysis.questions.alternatives import compare_laws
from analysis.questions.rival_laws import LAWS
from analysis.questions.sensitivity import sensitivity
from analysis.table import condense as condensing
from analysis.table.condense import condense


def test_a_draw_of_which_a_term_has_vanished_is_told_without_a_warning():
    """Bootstraps have such draws; the law is then of data alone, no size is too small, and a warning would name neither row nor remedy."""
    cloud = Surface(1.7, np.array([0.0, 400.0]), 2000.0, 0.35, 0.37, g=0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, best, local = cloud.loss(1e7, 1e9), cloud.optimum(1e18, LANGUAGE), cloud.local_exponents(1e7, 1e9)
    # (B/D^(beta/g))^g
    assert loss[0] == pytest.approx(1.7 + 2000**0.8 / 1e9**0.37) and loss[1] > loss[0]
    assert best.N[0] == 0 and best.D[0] == np.inf and np.isfinite(best.L[1])
    assert local.N[0] == 0 and local.N[1] > 0


def test_choices_do_not_matter_where_the_law_is_exact():
    g = grid(seeds=1)
    rows = sensitivity(g.N, g.D, g.L, C=g.C, resamples=50)
    free = [r for r in rows if r.surface is not None and r.name not in ("E = 0", "alpha = beta")]
    assert len(free) > 12
    assert all(r.a == pytest.approx(g.a, abs=2e-3) for r in free)
    used = {r.name: r.n for r in rows}
    assert used["without the two smallest sizes"] == (g.N > np.unique(g.N)[1]).sum()
    assert used["without the smallest budget of data"] == (g.D > g.D.min()).sum()


def test_least_squares_shows_the_outliers_that_huber_hides():
    g = grid(noise=0.01, rng=2)
    L = g.L.copy()
    L[(g.N == g.N.max()) & (g.seed == 0)] *= 3
    rows = {r.name: r for r in sensitivity(g.N, g.D, L, C=g.C, resamples=100)}
    assert abs(rows["least squares on log L"].shift) > 5
    assert abs(rows["without residuals beyond 4 sd"].shift) < 1.5


def test_a_cut_that_leaves_too_little_is_a_row_that_says_so():
    g = grid(widths=3, seeds=1)
    rows = {r.name: r for r in sensitivity(g.N, g.D, g.L, C=g.C, resamples=50)}
    assert rows["without the smallest size"].surface is None and "distinct N" in rows["without the smallest size"].note


def kaplans(g):
    aN, aD = 0.3, 0.4
    return ((500 / g.N) ** (aN / aD) + 2e3 / g.D) ** aD


@pytest.mark.parametrize("make, best", [
    (lambda g: g.L, "E + A/N^alpha + B/D^beta"),
    (lambda g: 9 * g.N**-0.2 * g.D**-0.1, "A N^-alpha D^-beta"),
    (kaplans, "Kaplan's joint law"),
])
def test_the_law_that_made_the_table_wins(make, best):
    g = grid(E=0.05, seeds=1)
    L = make(g) * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(g.N)))
    scores = compare_laws(g.N, g.D, L, C=g.C)
    # a larger law that contains the truth may come within AICc's noise of it
    made = next(s for s in scores if s.law == best)
    assert made.delta_aicc < 3
    assert made.rollout_error < 0.03
    assert {s.law for s in scores if s.k < made.k and s.delta_aicc < 10} == set()


def test_a_table_of_another_law_raises_a_doubt_and_one_of_ours_none():
    g = grid(E=0.05, seeds=1)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(g.N)))
    assert alternatives.doubts(compare_laws(g.N, g.D, g.L * noise, C=g.C)) == ()
    found = alternatives.doubts(compare_laws(g.N, g.D, kaplans(g) * noise, C=g.C))
    assert [d.code for d in found] == ["law_outdone"] and "Kaplan" in found[0].text


def test_a_cheap_end_off_the_law_raises_a_doubt_that_names_the_choice():
    g = grid(noise=0.01, rng=2)
    fit = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=100)
    assert choices.doubts(sensitivity(g.N, g.D, g.L, C=g.C, fit=fit)) == ()
    middle = np.median(g.D)
    bent = g.L * np.where(g.D < middle, (g.D / middle) ** -0.5, 1.0)   # another beta for little data
    bent_fit = fit_parametric(g.N, g.D, bent, C=g.C, resamples=100, cluster="cell")   # the bend passes for errors that go together
    found = choices.doubts(sensitivity(g.N, g.D, bent, C=g.C, fit=bent_fit))
    assert [d.code for d in found] == ["sensitive"] and "standard errors" in found[0].text


@pytest.mark.parametrize("law", [law for law in LAWS if law.sloping], ids=lambda law: law.name)
def test_slopes_in_closed_form_are_those_of_the_law(law):
    rng, step = np.random.default_rng(0), 1e-5
    x, y = rng.normal(0, 1.5, (2, 40))
    for last in (0.3, HEADROOM[1] + 1):   # beyond the bound the headroom moves nothing
        t = np.array([0.4, -0.2, 0.1, -1.0, -1.1, 0.5, -0.4, last][:len(law.names)])
        t[-1] = last
        L, slopes = law.sloping(t, x, y, 9.0)
        numerical = [(law.log_loss(t + d, x, y, 9.0) - law.log_loss(t - d, x, y, 9.0)) / (2 * step) for d in step * np.eye(len(t))]
        assert np.array_equal(L, law.log_loss(t, x, y, 9.0))
        assert slopes == pytest.approx(np.array(numerical), abs=1e-8)


def test_laws_compare_alike_from_the_minima_of_fits_to_the_same_runs():
    g = grid(noise=0.01, rng=3)
    fits = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=20), fit_generalised(g.N, g.D, g.L, C=g.C, resamples=20)
    alone, near = (compare_laws(g.N, g.D, g.L, C=g.C, near=known) for known in ((), fits))
    assert [s.law for s in alone] == [s.law for s in near]
    assert [s.aicc for s in near] == pytest.approx([s.aicc for s in alone], abs=1e-4)


def test_law_comparison_refuses_a_handful_of_cells():
    g = grid(widths=3, fractions=3)
    with pytest.raises(TooFewPoints):
        compare_laws(g.N, g.D, g.L, C=g.C)


def test_cost_law_is_measured_exactly_and_sizes_count_once():
    g = grid(p=0.85)
    law = fit_cost(g.N, g.D, g.C)
    assert law.p == pytest.approx(0.85) and law.k == pytest.approx(30)
    repeated = np.concatenate([np.arange(len(g.N)), np.repeat(np.flatnonzero(g.N == g.N.min()), 50)])
    assert fit_cost(g.N[repeated], g.D[repeated], g.C[repeated]).p_estimate.n == 10
    with pytest.raises(NotIdentified):
        fit_cost(g.N[:24], g.D[:24], g.C[:24])


def test_cells_take_the_median_over_seeds_never_the_minimum():
    g = grid(seeds=3)
    L = g.L.copy()
    L[g.seed == 0] *= 0.5   # a lucky seed
    cells = reduce_to_cells(g.N, g.D, L, g.C)
    order = np.lexsort((g.C[::3], g.N[::3]))
    np.testing.assert_allclose(cells.log_L, np.log(g.L[::3][order]))


def test_weighted_median_of_a_cell_is_that_of_repeated_rows():
    N, D, C = np.full(4, 10.0), np.full(4, 20.0), np.full(4, 30.0)
    L = np.array([1.0, 2.0, 3.0, 4.0])
    weight = np.array([5.0, 1.0, 1.0, 1.0])
    assert np.exp(reduce_to_cells(N, D, L, C, weight=weight).log_L[0]) == pytest.approx(1.0)
    assert np.exp(reduce_to_cells(N, D, L, C).log_L[0]) == pytest.approx(np.sqrt(6))


def test_short_tables_are_left_alone():
    g = grid()
    short = condense(g.N, g.D, g.L, g.C)
    assert short.note == "" and (short.L == g.L).all() and (short.weight == 1).all()


@pytest.mark.parametrize("scattered", [False, True])
def test_long_tables_keep_their_law(scattered):
    g = grid(E=0.05)
    random = np.random.default_rng(0)
    n = 60_000
    if scattered:
        N, D = (np.exp(random.uniform(np.log(v.min()), np.log(v.max()), n)) for v in (g.N, g.D))
    else:
        pick = random.integers(0, len(g.N), n)
        N, D = g.N[pick], g.D[pick]
    L = g.surface.loss(N, D) * np.exp(0.05 * random.standard_normal(n))
    short = condense(N, D, L, g.cost.flops(N, D))
    assert len(short.L) <= 5000 and short.weight.sum() == n and f"{n:,}" in short.note
    assert len(short.L) == 80 if not scattered else len(short.L) > 500
    fit = fit_surface(short.N, short.D, short.L, weight=short.weight, objective=LOG_SQUARES)
    assert float(fit.surface.a(g.cost)) == pytest.approx(g.a, abs=0.01)


def test_squares_of_a_long_table_cost_nothing_however_wide(monkeypatch):
    # 12,000 runs without noise: what the squares' width does to the law is all there is
    random = np.random.default_rng(1)
    N, D = np.exp(random.uniform(18, 23, 12_000)), np.exp(random.uniform(20, 26, 12_000))
    surface = Surface(1.8, 480.0, 2100.0, 0.35, 0.37)
    off = []
    for bins in (300, 1200):
        monkeypatch.setattr(condensing, "BINS", bins)
        short = condense(N, D, surface.loss(N, D), 6 * N * D)
        found = fit_surface(short.N, short.D, short.L, weight=short.weight).surface
        off.append(abs(float(found.a(LANGUAGE)) - 0.37 / 0.72))
    assert max(off) < 1e-4


def test_merged_and_unmerged_replicates_tell_the_same_story():
    g = grid(noise=0.03, seeds=5)
    whole = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=100)
    short = condense(g.N, g.D, g.L, g.C, limit=100)
    merged = fit_parametric(short.N, short.D, short.L, C=short.C, weight=short.weight, resamples=100)
    assert merged.cells == whole.cells == 80
    assert abs(merged.surface.alpha - whole.surface.alpha) < 2 * np.std(whole.draws[:, 3])
