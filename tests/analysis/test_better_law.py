"""A law outside the two that are fitted in full, where it holds: its exponent, its interval, and that they are the ones quoted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from worlds.coverage import told, within_92_and_98
from worlds.simulated_grids import grid

from analysis.approaches.parametric import fit_generalised, fit_parametric
from analysis.estimates.sandwich import half_width
from analysis.fitted import Request, headlined
from analysis.questions.alternatives import compare_laws
from analysis.questions.claims import Claim, judge
from analysis.questions.law_choice import choose_law
from analysis.report.findings import headlines
from analysis.table.runs import read_table

ALPHA, BETA, FLOOR, TOP, BEND = 0.55, 0.6, 0.9, 2.5, 0.33   # as the language study's law
A = BETA / (ALPHA + BETA)


def saturating(*, noise=0.006, by_data=0.0, by_size=0.0, rng=0):
    """N, D, L (63,) of L with (L - E) / (top - L)^c = A/N^alpha + B/D^beta; log L errs by itself, and with all runs of one D or N."""
    random = np.random.default_rng(rng)
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(4e3, 8e5, 9), np.geomspace(1.25e5, 8e6, 7), indexing="ij"))
    bracket = 250 / N**ALPHA + 2500 / D**BETA
    low, high = np.full(63, FLOOR), np.full(63, TOP)
    for _ in range(60):   # bisection, for an answer that owes nothing to the code under test
        L = (low + high) / 2
        below = (L - FLOOR) / (TOP - L) ** BEND < bracket
        low, high = np.where(below, L, low), np.where(below, high, L)
    shared = by_data * random.standard_normal(7)[None, :] + by_size * random.standard_normal(9)[:, None]
    return N, D, L * np.exp(noise * random.standard_normal(63) + shared.ravel())


def choice_of(N, D, L, **drawn):
    made = [fit(N, D, L, resamples=60, **drawn) for fit in (fit_parametric, fit_generalised)]
    return choose_law(*made, scores=compare_laws(N, D, L))


@given(st.integers(8, 40), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_error_for_independent_points_is_the_jackknifes(m, seed):
    random = np.random.default_rng(seed)
    X, y = np.column_stack([np.ones(m), random.standard_normal((m, 2))]), random.standard_normal(m)
    at = np.linalg.lstsq(X, y)[0]
    left_out = np.array([np.linalg.lstsq(np.delete(X, i, 0), np.delete(y, i))[0] for i in range(m)])
    c = np.array([0.3, 1.0, -2.0])
    jackknife = np.sqrt(np.sum(((left_out - at) @ c) ** 2))
    assert half_width(c, X, y - X @ at) == pytest.approx(jackknife * t.ppf(0.975, m - 3), rel=1e-8)


def test_a_better_laws_exponent_is_quoted():
    choice = choice_of(*saturating())
    assert choice.better.law == "saturating (M4)" and choice.a.value == choice.better.a == pytest.approx(A, abs=0.03)
    assert choice.own("a") != choice.a == choice.of_better("a")
    assert A in choice.a and choice.b.value == pytest.approx(1 - choice.a.value)
    truth, far = judge(choice.quoted, (Claim("truth", "a", A), Claim("far", "b", 1.2)), better={n: choice.of_better(n) for n in "ab"})
    assert truth.verdict != "rejected" and far.verdict == "rejected" and A in truth.estimate


def test_no_better_law_is_seen_where_the_generalised_one_holds():
    world = grid(g=3.0, noise=0.02, seeds=1)
    choice = choice_of(world.N, world.D, world.L)
    assert choice.better is None and choice.a == choice.own("a")


def test_the_misfit_of_an_outdone_law_is_not_taken_for_errors_that_runs_share(tmp_path):
    # the bug: a fit by that misfit's covariance put the frontier below every run, and said a .69 where all else says .53
    np.savetxt(tmp_path / "r.csv", np.column_stack(saturating(rng=1)), delimiter=",", header="N,D,loss", comments="")
    study = headlined(read_table([str(tmp_path / "r.csv")]), Request(resamples=60))
    law = study.groups[0].approaches.law
    assert law.better is not None and not law.quoted.correlated and law.quoted.a.value == pytest.approx(A, abs=0.06)
    assert A in law.a and "saturating (M4) law, which outdoes" in headlines(study)[0]


@pytest.mark.slow
@pytest.mark.parametrize("noise, by_data, by_size", [(0.006, 0, 0), (0.006, 0.006, 0), (0.006, 0, 0.006)])
def test_its_interval_covers(noise, by_data, by_size):
    """Nominal 95%, of errors of 0.6% each run's own, and of as much that all runs of one amount of data, or of one size, share."""
    tries, hits, widths = 100, 0, []
    for rng in range(tries):
        score = next(s for s in compare_laws(*saturating(noise=noise, by_data=by_data, by_size=by_size, rng=rng)) if s.law == "saturating (M4)")
        hits += abs(score.a - A) <= score.a_half
        widths.append(2 * score.a_half)
    told((noise, by_data, by_size), {("a", f"width {np.median(widths):.3f}"): hits}, tries)
    assert within_92_and_98(hits, tries) or hits / tries > 0.92   # conservative where errors are each run's own
