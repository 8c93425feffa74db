"""Resampling, intervals and profiles: closed forms by default, coverage when asked for (-m slow)."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from worlds.coverage import told, within_92_and_98
from worlds.simulated_grids import grid

from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.parametric import fit_parametric
from analysis.approaches.profile import p_value, rise
from analysis.approaches.surface_fit import HUBER, LOG_SQUARES
from analysis.estimates import intervals
from analysis.estimates.refusal import Refusal, TooFewPoints


@pytest.fixture(scope="module")
def study():
    return grid(noise=0.03, rng=5)


@pytest.fixture(scope="module")
def fitted(study):
    return fit_parametric(study.N, study.D, study.L, C=study.C, resamples=400, cluster="cell")


def test_cells_are_drawn_whole(study):
    weight = intervals.resample(intervals.clusters("cell", study.N, study.D), 50, 0)
    by_cell = weight.reshape(50, 80, 3)
    assert (by_cell == by_cell[:, :, :1]).all() and (weight.sum(1) == 240).all()


def test_two_stages_keep_each_cells_total_and_split_it_among_its_seeds(study):
    weight = intervals.resample(intervals.clusters("two-stage", study.N, study.D), 200, 0)
    by_cell = weight.reshape(200, 80, 3)
    assert (by_cell.sum(2) % 3 == 0).all() and (weight.sum(1) == 240).all()
    assert (by_cell.std(2) > 0).any()


@pytest.mark.parametrize("scheme, ratio", [("cell", 1.0), ("run", 1.0), ("two-stage", np.sqrt(5 / 3))])
def test_standard_error_of_a_mean_is_the_textbooks(scheme, ratio):
    # independent noise: cells and runs agree, two stages count the seeds twice (Davison and Hinkley 1997, 3.8)
    g = grid(noise=0.03, rng=1)
    value = np.random.default_rng(0).standard_normal(len(g.N))
    weight = intervals.resample(intervals.clusters(scheme, g.N, g.D), 4000, 0)
    means = weight @ value / weight.sum(1)
    assert means.std() == pytest.approx(ratio / np.sqrt(len(value)), rel=0.12)


def test_cluster_bootstrap_sees_what_the_rows_share():
    g = grid()
    value = np.random.default_rng(0).standard_normal(80)[g.cell]
    by = {s: intervals.resample(intervals.clusters(s, g.N, g.D), 2000, 0) for s in ("cell", "run")}
    spread = {s: (w @ value / w.sum(1)).std() for s, w in by.items()}
    assert spread["cell"] == pytest.approx(np.sqrt(3) * spread["run"], rel=0.1)


def test_single_runs_and_the_default_clusters_coincide():
    g = grid(seeds=1)
    cell, run = (intervals.resample(intervals.clusters(s, g.N, g.D), 20, 0) for s in ("cell", "run"))
    # cells are numbered by size, runs by row: the same draws up to that order
    assert_allclose(np.sort(cell, 1), np.sort(run, 1))


def test_too_few_clusters_are_refused():
    g = grid()
    with pytest.raises(TooFewPoints, match="seed"):
        intervals.clusters("seed", g.N, g.D, seed=g.seed)
    with pytest.raises(ValueError, match="one of"):
        intervals.clusters("rows", g.N, g.D)


def test_bca_without_bias_or_skew_is_the_percentile_interval():
    draws = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    left_out = np.tile([-1.0, 1.0], 40)
    kwargs = dict(label="", count=80, n=80)
    one, other = intervals.percentile(0.0, draws, **kwargs), intervals.bca(0.0, draws, left_out, **kwargs)
    assert_allclose([one.low, one.high], [other.low, other.high], atol=2e-3)


def test_expanded_percentiles_of_normal_draws_are_students_interval():
    draws = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    found = intervals.percentile(0.0, draws, label="", count=20, n=20)
    assert found.high == pytest.approx(stats.t.ppf(0.975, 15) * np.sqrt(20 / 15), rel=1e-3)


def test_profile_is_zero_at_the_fit_and_rises_on_both_sides(fitted):
    for name in ("E", "A", "B", "alpha", "beta", "a"):
        found = fitted.profile(name)
        at = np.abs(found.value - fitted.quantity(name)[0]).argmin()
        assert found.statistic[at] == pytest.approx(0, abs=1e-6)
        assert (np.diff(found.statistic[at:]) > -0.05).all() and (np.diff(found.statistic[:at + 1]) < 0.05).all()
        assert found.estimate.low < fitted.quantity(name)[0] < found.estimate.high


def test_profile_follows_the_restricted_optimum(study, fitted):
    # the rise with E held at 0 is what a fit without E loses
    from analysis.approaches.surface_fit import fit_surface
    held = fit_surface(study.N, study.D, study.L, hold={"E": 0.0})
    assert rise(fitted, "E", np.array([0.0]))[0] == pytest.approx(held.value - fitted.point.value, rel=1e-4)
    tied = fit_surface(study.N, study.D, study.L, hold={"alpha=beta": True})
    a_if_tied = 1 / (1 + fitted.cost.p)
    assert rise(fitted, "a", np.array([a_if_tied]))[0] == pytest.approx(tied.value - fitted.point.value, rel=1e-4)


def test_three_interval_methods_agree_on_a_well_determined_exponent(fitted):
    ends = np.array([[fitted.interval("a", m).low, fitted.interval("a", m).high] for m in ("percentile", "bca", "profile")])
    assert np.ptp(ends, axis=0).max() < 0.8 * (ends[:, 1] - ends[:, 0]).mean() / 2


def test_test_and_interval_are_two_sides_of_one_thing(fitted):
    estimate = fitted.interval("a", "profile")
    assert p_value(fitted, "a", estimate.value + 0.9 * (estimate.high - estimate.value)) > 0.05
    assert p_value(fitted, "a", estimate.value + 1.1 * (estimate.high - estimate.value)) < 0.05
    assert p_value(fitted, "a", 5.0) == 0


SCENARIOS = {
    "three seeds": dict(noise=0.03, seeds=3),
    "one seed": dict(noise=0.02, seeds=1),
    "seeds and cells vary": dict(noise=0.05, cell_noise=0.02, seeds=3),
    "off centre": dict(noise=0.03, seeds=3, shift=1.5, alpha=0.5, beta=0.45),
    "alpha thrice beta": dict(noise=0.02, seeds=3, alpha=0.75, beta=0.25),
    "beta thrice alpha": dict(noise=0.02, seeds=3, alpha=0.25, beta=0.75),
    "like the study": dict(noise=0.05, cell_noise=0.05, seeds=3, widths=11, alpha=0.9, beta=0.95, p=1.13),
}
METHODS = ("profile", "percentile", "bca")


@pytest.mark.slow
@pytest.mark.parametrize("scenario, objective", [*((s, HUBER) for s in SCENARIOS), ("three seeds", LOG_SQUARES),
                                                 ("one seed", LOG_SQUARES), ("like the study", LOG_SQUARES)], ids=str)
def test_nominal_95_percent_cover_between_92_and_98(scenario, objective):
    hits, accepted, tries = dict.fromkeys([(q, m) for q in ("E", "alpha", "beta", "a") for m in METHODS], 0), 0, 200
    for s in range(tries):
        g = grid(**SCENARIOS[scenario], rng=10_000 + s)
        fit = fit_parametric(g.N, g.D, g.L, C=g.C, objective=objective, resamples=200, rng=s)
        for name, method in hits:
            truth = g.a if name == "a" else getattr(g.surface, name)
            hits[name, method] += truth in fit.interval(name, method)
        accepted += p_value(fit, "a", g.a) >= 0.05
    told((scenario, str(objective)), hits | {"true a accepted": accepted}, tries)
    assert all(within_92_and_98(h, tries) for h in hits.values()), hits
    assert within_92_and_98(accepted, tries), accepted


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_slopes_of_the_other_approaches_cover_too(scenario):
    hits, refused, tries = {"isoflop": 0, "envelope": 0}, {"isoflop": 0, "envelope": 0}, 300
    for s in range(tries):
        g = grid(**SCENARIOS[scenario], rng=20_000 + s)
        for name, approach in (("isoflop", fit_isoflop), ("envelope", fit_envelope)):
            try:
                hits[name] += g.a in approach(g.N, g.D, g.L, g.C, resamples=300, rng=s).a
            except Refusal:
                refused[name] += 1
    for name in hits:
        given = tries - refused[name]
        if given >= tries / 2:   # an approach that mostly refuses has nothing to cover with
            told((scenario, name), {"a": hits[name]}, given)
            assert within_92_and_98(hits[name], given), (name, hits[name], given)
