"""Errors that go together: found, measured and allowed for; coverage when asked for (-m slow)."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from worlds.coverage import told, within_92_and_98
from worlds.correlated_errors import WORLDS, checkpoints, independent, intraclass, layout, shared_order, sizes_off

from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import GENERALISED
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.parametric import fit_generalised, fit_parametric
from analysis.errors.components import find_components
from analysis.errors.innovation import along, of_cells
from analysis.errors.model import ErrorModel
from analysis.errors.structure import structure_of, thinned
from analysis.fitted import Request, study
from analysis.table.runs import read_table


def found_in(world, rng, slopes=None):
    residuals = np.log(world.losses(rng) / world.law.loss(world.N, world.D))
    slopes = np.ones((len(world.N), 1)) if slopes is None else slopes
    return find_components(residuals - residuals.mean(), slopes, structure_of(world.N, world.D, seed=world.seed))


def test_one_way_components_and_their_freedom_are_the_analysis_of_variances():
    # balanced: REML's components are the mean squares', and a mean's variance has groups - 1 degrees of freedom
    N, D, _ = layout(9, np.geomspace(1, 9, 6))
    values = np.repeat(np.random.default_rng(0).standard_normal(9), 6) + np.random.default_rng(1).uniform(-1, 1, 54)
    found = find_components(values - values.mean(), np.ones((54, 1)), structure_of(N, D))
    by_size = values.reshape(9, 6)
    between, within = 6 * by_size.mean(1).var(ddof=1), by_size.var(1, ddof=1).mean()
    assert (found.weight == 1).all() and [c.shared.name for c in found.found] == ["size"]
    assert found.variance == pytest.approx(within, rel=1e-3)
    assert found.found[0].variance == pytest.approx((between - within) / 6, rel=1e-3)
    model = ErrorModel(found, np.ones((54, 1)))
    assert model.freedom(model.efficient(np.ones(1))) == pytest.approx(8, rel=1e-2)


def test_innovations_filters_whiten_their_own_covariance():
    N, D, seed = layout(3, np.arange(1.0, 6), 2)
    structure, weight = structure_of(N, D, seed=seed), np.random.default_rng(0).uniform(0.5, 1, 30)
    run, place = structure.sequence, structure.place
    fading = np.where(run[:, None] == run, 0.7 ** np.abs(place[:, None] - place), 0.0)
    alike = np.eye(30) + 2 * (structure.cell[:, None] == structure.cell)
    for base, truth in ((along(run, place, 0.7, weight), fading), (of_cells(structure.cell, 2.0, weight), alike)):
        expected = truth / np.sqrt(np.outer(weight, weight))
        assert_allclose(base.covariance(), expected, atol=1e-12)
        assert_allclose(base.filter @ expected @ base.filter.T, np.eye(30), atol=1e-12)
        assert_allclose(base.filter @ base.coloured(np.eye(30)), np.eye(30), atol=1e-12)
        assert base.log_determinant == pytest.approx(np.linalg.slogdet(expected)[1])


@pytest.mark.parametrize("law, theta", [(ADDITIVE, [0.3, -0.5, -0.7, 0.4, 0.5]), (GENERALISED, [0.3, -0.5, -0.7, 0.4, 0.5, 0.7]),
                                        (GENERALISED, [0.3, 0.1, 0.3, 0.8, 0.3, 6.0])])
def test_generalised_least_squares_is_its_definition_and_its_derivatives_are_slopes(law, theta):
    world = shared_order(sizes=5, seeds=2)
    points = Coordinates.of(world.N, world.D, world.law.loss(world.N, world.D), np.ones(len(world.N)))
    found = find_components(np.log(world.losses(1) / world.law.loss(world.N, world.D)), np.ones((len(world.N), 1)),
                            structure_of(world.N, world.D, seed=world.seed))
    model = ErrorModel(found, np.ones((len(world.N), 1)))
    objective, noise = Objective("log", np.inf, precision=model.precision), model.draws(1, 0)
    theta, work = np.array(theta), law.workshop(points, 1)

    def at(t):
        return law.derivatives(np.ones((1, len(world.N))), t[None], objective, work, noise)

    residual = law.log_loss(points, theta) - np.log(points.loss) - noise[0]
    assert found.correlated
    assert at(theta).value[0] == pytest.approx(found.variance * residual @ np.linalg.solve(model.covariance, residual) / 2)
    moves = 1e-5 * np.eye(len(theta))
    slope = [(at(theta + m).value[0] - at(theta - m).value[0]) / 2e-5 for m in moves]
    bend = np.array([(at(theta + m).gradient[0] - at(theta - m).gradient[0]) / 2e-5 for m in moves])
    assert_allclose(at(theta).gradient[0], slope, rtol=1e-5, atol=1e-6)
    assert_allclose(at(theta).hessian[0], bend, rtol=1e-4, atol=1e-6 * np.abs(bend).max())
    kept = np.arange(len(world.N)) % 3 > 0
    part = model.kept(kept).precision
    assert_allclose(part.times(np.eye(kept.sum())), np.linalg.inv(model.covariance[np.ix_(kept, kept)] / found.variance), atol=1e-8)


@pytest.mark.parametrize("world, name, share", [
    (intraclass(0.4, sizes=14), "size", 0.4), (sizes_off(sizes=14, own=0.005), "size", 0.8), (shared_order(), "seed_data", 0.5)])
def test_what_runs_share_is_found_and_measured(world, name, share):
    shares = [ErrorModel(f, np.ones((len(world.N), 1))).shares.get(name, 0.0) for f in (found_in(world, s) for s in range(15))]
    assert np.median(shares) == pytest.approx(share, abs=0.12)


def test_checkpoints_are_known_by_a_column_or_by_their_steps_and_a_grid_is_not():
    world = checkpoints()
    run = np.repeat(np.arange(9), 25)
    mixed = np.random.default_rng(0).permutation(225)
    assert "steps" in structure_of(world.N, world.D).checkpoints
    assert not structure_of(world.N[mixed], world.D[mixed]).checkpoints       # nothing says so any more
    assert "column" in structure_of(world.N[mixed], world.D[mixed], run=run[mixed]).checkpoints
    assert not structure_of(*layout(10, np.geomspace(1e8, 1e11, 8))[:2]).checkpoints
    found = found_in(world, 3)
    assert found.base.kind == "order" and found.base.value == pytest.approx(0.9, abs=0.08) and found.order_p < 1e-6


def test_two_runs_of_one_size_are_two_sequences():
    N, D = np.full(40, 7.0), np.tile(np.arange(1.0, 21), 2)
    assert structure_of(N, D).sequence.max() == 1
    assert structure_of(N, D, run=np.repeat([0, 1], 20)).sequence.max() == 1
    rows = thinned(N, D, most=20)
    assert len(rows) == 20 and (np.diff(rows) > 0).all()


def test_an_interval_that_takes_runs_for_independent_misses_where_the_default_covers():
    world, missed, covered, ratio = sizes_off(own=0.001), 0, 0, []
    for s in range(6):
        L = world.losses(s)
        naive, fit = (fit_generalised(world.N, world.D, L, C=world.C, resamples=60, rng=s, cluster=c) for c in ("cell", None))
        missed += world.a not in naive.a
        covered += world.a in fit.a
        ratio.append((fit.a.high - fit.a.low) / 2 / world.needed)
    assert covered >= 5 and missed >= 2 and np.median(ratio) < 1.3


def test_independent_runs_keep_the_bootstrap_of_cells_bit_for_bit():
    world = independent()
    L = world.losses(0)
    asked, told_so = (fit_parametric(world.N, world.D, L, C=world.C, resamples=60, cluster=c) for c in (None, "cell"))
    assert not asked.correlated and (asked.draws == told_so.draws).all() and asked.a == told_so.a


def test_order_of_rows_and_units_do_not_matter():
    world = sizes_off()
    L, mixed = world.losses(1), np.random.default_rng(0).permutation(len(world.N))
    one = fit_generalised(world.N, world.D, L, C=world.C, resamples=60)
    other = fit_generalised(world.N[mixed] * 1e3, world.D[mixed] / 7, L[mixed] * 5, C=world.C[mixed], resamples=60)
    assert one.correlated and other.a.value == pytest.approx(one.a.value, abs=1e-5)
    assert other.errors.found.variance == pytest.approx(one.errors.found.variance, rel=1e-3)


def test_a_run_that_went_astray_is_no_correlation_and_moves_little():
    world = sizes_off()
    L = world.losses(1)
    spoilt = L * np.where(np.arange(len(L)) == 33, 1.3, 1.0)
    one, other = (fit_generalised(world.N, world.D, v, C=world.C, resamples=60) for v in (L, spoilt))
    assert other.correlated and abs(other.a.value - one.a.value) < one.a.high - one.a.value


def test_a_study_says_in_one_sentence_what_was_found_and_long_runs_are_thinned(tmp_path):
    world = checkpoints(runs=9, each=112, fade=0.98)   # every second is kept
    table = pd.DataFrame({"params": world.N, "tokens": world.D, "flops": world.C, "loss": world.losses(0),
                          "run_id": [f"r{n:.0f}" for n in world.N]})
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "runs.csv", index=False)
    found = study(read_table([str(tmp_path / "runs.csv")]), Request(resamples=50)).groups[0]
    assert "checkpoints of 9 runs" in found.errors and "column" in found.errors
    assert found.approaches.quoted.correlated and found.approaches.quoted.n == 504 and "of 1,008 rows" in found.note
    assert world.a in found.approaches.law.a


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_nominal_95_percent_cover_a_and_are_hardly_wider_than_needed(world):
    tries, drawn = 300, WORLDS[world]
    hits, width, together = dict.fromkeys(("a", "alpha", "beta"), 0), [], 0
    for s in range(tries):
        fit = fit_generalised(drawn.N, drawn.D, drawn.losses(80_000 + s), C=drawn.C, seed=drawn.seed, resamples=200, rng=s)
        for name in hits:
            hits[name] += (drawn.a if name == "a" else getattr(drawn.law, name)) in getattr(fit, name)
        width.append((fit.a.high - fit.a.low) / 2 / drawn.needed)
        together += fit.correlated
    told((world, f"width over the oracle's {np.mean(width):.2f}"), hits | {"found to go together": together}, tries)
    assert within_92_and_98(hits["a"], tries) and np.mean(width) < 1.3
