"""Claims and differences: true ones stand, false ones fall, vague tables decide nothing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from worlds.coverage import within_92_and_98
from worlds.simulated_grids import grid

from analysis.approaches.calibration import calibrated
from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import fit_isoflop, isoflop_slopes
from analysis.approaches.parametric import fit_parametric
from analysis.approaches.surface_fit import LOG_SQUARES
from analysis.estimates.refusal import Refusal
from analysis.questions.agreement import agreement
from analysis.questions.claims import CLAIMS, Claim, holm, judge
from analysis.questions.differences import compare_groups


@pytest.fixture(scope="module")
def study():
    return grid(noise=0.02, rng=4)


@pytest.fixture(scope="module")
def fitted(study):
    return fit_parametric(study.N, study.D, study.L, C=study.C, resamples=300)


def test_truth_stands_and_kaplan_falls(study, fitted):
    verdicts = judge(fitted, (Claim("the truth", "a", study.a), Claim("the truth", "b", 1 - 0.85 * study.a),
                              Claim("Kaplan", "a", 0.73), Claim("impossible", "a", 4.0)))
    assert [v.verdict for v in verdicts] == ["consistent", "consistent", "rejected", "rejected"]


def test_a_claim_that_only_one_of_many_tests_would_reject_is_not_rejected_and_not_called_consistent(fitted):
    # a little outside the interval: alone it falls, among six its p-value means little
    edge = fitted.a.high + 0.1 * (fitted.a.high - fitted.a.value)
    alone, = judge(fitted, (Claim("edge", "a", edge),))
    among = judge(fitted, (Claim("edge", "a", edge), *(Claim(f"truth {i}", "a", fitted.a.value) for i in range(5))))
    assert alone.verdict == "rejected" and alone.adjusted == alone.p_value
    assert among[0].verdict == "undecided" and among[0].adjusted == pytest.approx(6 * among[0].p_value)
    assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])   # Holm 1979, by hand


def test_equal_slopes_at_different_levels_are_no_agreement():
    g = grid(noise=0.02, seeds=1, widths=9, fractions=7)
    isoflop = fit_isoflop(g.N, g.D, g.L, g.C, resamples=100)
    parametric = fit_parametric(g.N, g.D, g.L, C=g.C, objective=LOG_SQUARES, resamples=100)
    moved = replace(isoflop, N_line=(isoflop.N_line[0] + np.log(2), isoflop.N_line[1]))
    known = {"approach 2": calibrated(isoflop.a, lambda L, resamples: isoflop_slopes(
        g.N, g.D, L, g.C, places=isoflop.places, resamples=resamples), parametric, places=isoflop.places)}
    one, other = (agreement(None, fit, parametric, calibrations=known) for fit in (isoflop, moved))
    assert one.agree and not other.agree and [d.code for d in other.warnings] == ["approaches_disagree"]
    assert [p.agree for p in one.pairs] == [p.agree for p in other.pairs] == [True]
    assert all(b.ratio.value == pytest.approx(2 * a.ratio.value) for a, b in zip(one.levels, other.levels, strict=True))
    assert all(m.C <= v.C * (1 + 1e-9) for m, v in zip(isoflop.minima[:1], one.levels[:1]))


def test_a_vague_table_leaves_near_claims_undecided():
    g = grid(noise=0.3, seeds=1, rng=1)
    fit = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=200)
    assert judge(fit, (Claim("the truth", "a", g.a),))[0].verdict == "undecided"


def test_claims_own_error_makes_rejection_harder(study, fitted):
    sharp, vague = judge(fitted, (Claim("x", "a", study.a + 0.05), Claim("x", "a", study.a + 0.05, se=0.05)))
    assert vague.p_value > sharp.p_value


def test_every_published_claim_gets_a_verdict_and_a_p_value(fitted):
    verdicts = judge(fitted)
    assert len(verdicts) == len(CLAIMS)
    assert all(0 <= v.p_value <= 1 and v.verdict in ("consistent", "rejected", "undecided") for v in verdicts)


def test_effective_exponents_of_a_power_law_are_its_exponents():
    # with D's term and E negligible, log L against log N is a line of slope -alpha
    g = grid(E=1e-9, noise=0.001, shift=-12, seeds=1)
    fit = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=50)
    assert fit.effective_exponents().L_N.value == pytest.approx(0.6, abs=0.02)


def two_groups(shift: float, *, shared: float = 0.0, noise: float = 0.03, seed: int = 0):
    """Two copies of a grid; the second's alpha is larger by shift; cells share part of their noise."""
    g, h = grid(rng=seed), grid(alpha=0.6 + shift, rng=seed)
    random = np.random.default_rng(seed)
    common = shared * random.standard_normal(80)[g.cell]
    losses = [v.L * np.exp(common + noise * random.standard_normal(len(v.L))) for v in (g, h)]
    return (np.tile(g.N, 2), np.tile(g.D, 2), np.concatenate(losses), np.repeat([0.0, 0.2], len(g.N)),
            np.tile(g.C, 2))


def find(differences, quantity):
    return next(d for d in differences if d.quantity == quantity)


def test_groups_of_one_law_show_no_difference_and_different_laws_do():
    for shift, inside in ((0.0, True), (0.15, False)):
        N, D, L, group, C = two_groups(shift)
        found = find(compare_groups(N, D, L, group, C=C, resamples=200), "alpha")
        assert found.paired and found.zero_inside == inside and (found.p_value > 0.05) == inside
        assert shift in found.estimate


def test_pairing_cancels_what_cells_share():
    N, D, L, group, C = two_groups(0.0, shared=0.05, noise=0.005)
    paired = find(compare_groups(N, D, L, group, C=C, resamples=200), "a").estimate.se
    fits = [fit_parametric(N[group == g], D[group == g], L[group == g], C=C[group == g], resamples=200, rng=i)
            for i, g in enumerate((0.0, 0.2))]
    independent = np.hypot(*(np.std(f.quantity("a")[1]) for f in fits))
    assert paired < 0.5 * independent


def test_one_group_is_refused(study):
    with pytest.raises(ValueError, match="at least 2 groups"):
        compare_groups(study.N, study.D, study.L, np.zeros(len(study.N)))


def test_group_too_small_to_fit_is_refused_by_name(study):
    group = np.zeros(len(study.N))
    group[:4] = 1
    with pytest.raises(Refusal):
        compare_groups(study.N, study.D, study.L, group, C=study.C, resamples=50)


def test_three_approaches_agree_on_clean_grids_and_the_missing_are_left_out(fitted):
    """Each pair disagrees by chance at the 5% level, so several grids are judged together."""
    agree = []
    for rng in range(6):
        g = grid(noise=0.02, rng=rng)
        envelope = fit_envelope(g.N, g.D, g.L, g.C, resamples=100)
        isoflop = fit_isoflop(g.N, g.D, g.L, g.C, resamples=100)
        parametric = fit_parametric(g.N, g.D, g.L, C=g.C, resamples=100)
        agree += [p.agree for p in agreement(envelope, isoflop, parametric).pairs]
    assert len(agree) == 18 and sum(agree) >= 14
    assert agreement(None, None, fitted).pairs == ()


@pytest.mark.slow
def test_paired_differences_cover_zero_95_times_in_100():
    hits, tries = 0, 150
    for s in range(tries):
        N, D, L, group, C = two_groups(0.0, shared=0.02, seed=s)
        hits += find(compare_groups(N, D, L, group, C=C, resamples=200, rng=s), "a").zero_inside
    assert within_92_and_98(hits, tries), hits
