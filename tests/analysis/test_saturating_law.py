"""The saturating law: its derivatives, recovery, intervals, when it speaks, and that what it says is kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import t
from worlds.coverage import told, within_92_and_98
from worlds.simulated_grids import grid

from analysis.approaches.kept import kept_law
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.laws.saturating import Saturating
from analysis.approaches.laws.saturation import elasticity, level
from analysis.approaches.parametric import fit_saturating
from analysis.approaches.surface import Surface
from analysis.estimates.sandwich import half_width
from analysis.fitted import Request, headlined
from analysis.questions.alternatives import compare_laws
from analysis.questions.both_laws import fit_both
from analysis.questions.claims import Claim, judge
from analysis.questions.law_choice import SATURATING
from analysis.report.findings import headlines
from analysis.table.condense import condense
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


def choice_of(N, D, L, resamples=60, cluster=None):
    return fit_both(condense(N, D, L, 6 * N * D), None, {}, cluster=cluster, level=0.95, resamples=resamples, rng=0)


def surface(top=TOP):
    return Surface(FLOOR, 250.0, 2500.0, ALPHA, BETA, 1.0, BEND, top)


@given(st.floats(-12, 6), st.floats(0.2, 3), st.floats(1e-2, 20), st.floats(0.1, 9))
def test_the_level_solves_its_equation(log_R, E, c, room):
    top = E + room
    root = brentq(lambda w: c * np.logaddexp(0, w) - np.logaddexp(0, -w) + (1 - c) * np.log(room) - log_R, -1e3, 1e3, xtol=1e-12)
    assert level(log_R, E, c, top) == pytest.approx(E + room / (1 + np.exp(-root)), rel=1e-9)


def test_without_c_it_is_the_additive_law():
    N, D, _ = saturating()
    close = Surface(FLOOR, 250.0, 2500.0, ALPHA, BETA, 1.0, 1e-9, 1e3).loss(N, D)
    assert close == pytest.approx(Surface(FLOOR, 250.0, 2500.0, ALPHA, BETA).loss(N, D), rel=1e-6)


def test_the_elasticity_is_the_slope_of_the_level():
    rho = np.linspace(-4, 2, 25)
    ends = [np.log(level(rho + shift, FLOOR, BEND, TOP)) for shift in (-1e-6, 1e-6)]
    assert elasticity(level(rho, FLOOR, BEND, TOP), FLOOR, BEND, TOP) == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("objective", [Objective("log", np.inf), Objective("log", 0.01), Objective("raw", np.inf)], ids=str)
def test_derivatives_are_those_of_the_objective(objective):
    N, D, L = saturating(noise=0.02)
    points, law, random = Coordinates.of(N, D, L, np.ones(63)), Saturating(L.max()), np.random.default_rng(0)
    exact = law.internal(points, [FLOOR, 250.0, 2500.0, ALPHA, BETA, 1.0, BEND, 1.05 * L.max()])
    theta = exact * (1 + 0.02 * random.standard_normal((4, 7)))
    weight, work, step = random.uniform(0.5, 2, (4, 63)), law.workshop(points, 4), 1e-6
    made = law.derivatives(weight, theta, objective, work)
    for i in range(7):
        shift = step * np.eye(7)[i]
        up, down = (law.derivatives(weight, theta + sign * shift, objective, work) for sign in (1, -1))
        assert made.gradient[:, i] == pytest.approx((up.value - down.value) / (2 * step), rel=1e-5, abs=1e-7)
        assert made.hessian[:, i] == pytest.approx((up.gradient - down.gradient) / (2 * step), rel=1e-4, abs=1e-5)
        sloped = [law.log_loss(points, theta[0] + sign * shift) for sign in (1, -1)]
        assert law.slopes(points, theta)[0, i] == pytest.approx((sloped[0] - sloped[1]) / (2 * step), rel=1e-5, abs=1e-8)


@given(st.floats(1e-3, 1e3), st.floats(1e-2, 1e4))
@settings(deadline=None, max_examples=10)
def test_it_is_recovered_in_any_units(unit, size):
    N, D, L = saturating(noise=0.0)
    fit = fit_saturating(size * N, D, unit * L, resamples=2)
    assert fit.surface.a(fit.cost) == pytest.approx(A, abs=1e-6) and fit.surface.E == pytest.approx(unit * FLOOR, rel=1e-5)
    assert fit.surface.c == pytest.approx(BEND, rel=1e-4) and fit.surface.top == pytest.approx(unit * TOP, rel=1e-4)
    assert fit.surface.loss(size * N, D) == pytest.approx(unit * L, rel=1e-8)


def test_the_best_size_is_the_lowest_of_a_fine_search():
    made = surface()
    best = made.optimum(1e12, fit_saturating(*saturating(), resamples=2).cost)
    N = np.geomspace(best.N / 30, best.N * 30, 200_001)
    assert best.N == pytest.approx(N[made.loss(N, 1e12 / (6 * N)).argmin()], rel=1e-3)


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


def test_it_speaks_where_it_outdoes_the_others():
    choice = choice_of(*saturating())
    assert choice.speaks == SATURATING and choice.quoted is choice.saturating and A in choice.a
    assert choice.a.value == pytest.approx(A, abs=0.03) and choice.b.value == pytest.approx(1 - choice.a.value)
    assert BEND in choice.saturating.c and choice.outdone == ()
    truth, far = judge(choice.quoted, (Claim("truth", "a", A), Claim("far", "b", 1.2)))
    assert truth.verdict != "rejected" and far.verdict == "rejected"


def test_it_is_silent_where_the_generalised_law_holds():
    world = grid(g=3.0, noise=0.02, seeds=1)
    choice = choice_of(world.N, world.D, world.L)
    assert choice.saturating is None and choice.speaks != SATURATING


def test_its_frontier_is_kept_and_foretells_what_was_not_seen():
    choice = choice_of(*saturating(), resamples=100)
    C = 10 * choice.C.max()
    kept, whole = kept_law(choice.quoted).optimum(C), choice.optimum(C)
    assert (kept.N, kept.L) == (whole.N, whole.L)
    truth = surface().optimum(C, choice.cost)
    assert truth.L in whole.L and whole.N.value == pytest.approx(truth.N, rel=0.3)
    assert choice.frontier.loss(C) == pytest.approx(whole.L.value, rel=1e-9) and "top - L*" in choice.frontier.formula


def test_the_misfit_of_an_outdone_law_is_not_taken_for_errors_that_runs_share(tmp_path):
    # the bug: a fit by that misfit's covariance put the frontier below every run, and said a .69 where all else says .53
    np.savetxt(tmp_path / "r.csv", np.column_stack(saturating(rng=1)), delimiter=",", header="N,D,loss", comments="")
    study = headlined(read_table([str(tmp_path / "r.csv")]), Request(resamples=60))
    law = study.groups[0].approaches.law
    assert law.speaks == SATURATING and not law.generalised.correlated and not law.quoted.correlated
    assert A in law.a and "saturating law with c = " in headlines(study)[0]


@pytest.mark.slow
@pytest.mark.parametrize("noise, by_data, by_size", [(0.006, 0, 0), (0.006, 0.006, 0), (0.006, 0, 0.006)])
def test_its_intervals_cover(noise, by_data, by_size):
    """Nominal 95%, of errors of 0.6% each run's own, and of as much that all runs of one amount of data, or of one size, share."""
    tries, hits, widths, spoke = 60, {"a": 0, "E": 0, "L*": 0, "N*": 0}, [], 0
    for rng in range(tries):
        choice = choice_of(*saturating(noise=noise, by_data=by_data, by_size=by_size, rng=rng), resamples=200)
        best, truth = choice.optimum(1e13), surface().optimum(1e13, choice.cost)
        for name, found, true in (("a", choice.a, A), ("E", choice.E, FLOOR), ("L*", best.L, truth.L), ("N*", best.N, truth.N)):
            hits[name] += true in found
        widths.append(choice.a.high - choice.a.low)
        spoke += choice.speaks == SATURATING
    told((noise, by_data, by_size), {(name, f"width of a {np.median(widths):.3f}, spoke {spoke}"): n for name, n in hits.items()}, tries)
    # errors that all runs of one amount of data share are seen in three of four such tables alone
    least = 0.75 if by_data else 0.88
    assert spoke > 0.8 * tries and all(n / tries > least for n in hits.values())


@pytest.mark.slow
@pytest.mark.parametrize("noise, by_data, by_size", [(0.006, 0, 0), (0.006, 0.006, 0), (0.006, 0, 0.006)])
def test_the_interval_in_the_table_of_laws_covers(noise, by_data, by_size):
    tries, hits, widths = 100, 0, []
    for rng in range(tries):
        score = next(s for s in compare_laws(*saturating(noise=noise, by_data=by_data, by_size=by_size, rng=rng)) if s.law == "saturating (M4)")
        hits += abs(score.a - A) <= score.a_half
        widths.append(2 * score.a_half)
    told((noise, by_data, by_size), {("a", f"width {np.median(widths):.3f}"): hits}, tries)
    assert within_92_and_98(hits, tries) or hits / tries > 0.92   # conservative where errors are each run's own
