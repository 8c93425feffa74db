"""The next runs: information against numerical derivatives, exchange against all plans, and what a plan promises against what it keeps."""

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose
from scipy import special
from worlds.role_tables import function_table
from worlds.simulated_grids import grid
from worlds.simulated_study import simulated_study

from analysis.approaches.parametric import fit_generalised, fit_parametric
from analysis.design.exchange import Setting, choose, expected
from analysis.design.information import Belief, Noise, belief, jacobian, noise_of
from analysis.design.next_runs import candidates, simulated_runs
from analysis.design.places import places_of
from analysis.design.target import parsed_target
from analysis.design.text import eight_in_ten
from analysis.questions.both_laws import GroupLaw
from analysis.questions.law_choice import choose_law
from analysis.table.files import BadTable
from analysis.table.runs import group_of, read_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fit", [fit_parametric, fit_generalised])
def test_the_jacobian_is_the_laws_own_slope(fit):
    world = grid(noise=0.02, g=2.0, rng=1)
    made = fit(world.N, world.D, world.L, C=world.C, resamples=50)
    theta = made.law.internal(made.points, made.draws[:4])
    J = jacobian(made.points, made.law, theta, world.N[::7], world.D[::7])
    k = theta.shape[1]

    def log_loss(t):
        natural = made.law.external(made.points, t)
        from analysis.approaches.surface import Surface
        return np.log(Surface(*natural).loss(world.N[::7], world.D[::7]))

    for r, i in itertools.product(range(4), range(k)):
        step = np.zeros(k)
        step[i] = 1e-5 * (theta[r, 5] if i == 5 else 1.0)
        slope = (log_loss(theta[r] + step) - log_loss(theta[r] - step)) / 2e-5
        assert_allclose(J[r, :, i], slope, rtol=1e-4, atol=1e-7)


def test_noise_is_split_into_what_a_cell_shares_and_what_its_repeats_differ_by():
    random = np.random.default_rng(3)
    N, D = (np.repeat(v, 4) for v in (np.arange(1, 401.0), np.ones(400)))
    residuals = np.repeat(0.05 * random.standard_normal(400), 4) + 0.02 * random.standard_normal(1600)
    found = noise_of(residuals, N, D, parameters=0)
    assert found.shared == pytest.approx(0.05, rel=0.1) and found.each == pytest.approx(0.02, rel=0.1)
    alone = noise_of(residuals[::4], N[::4], D[::4], parameters=0)
    assert alone.each == 0 and alone.weight(5) == alone.weight(1), "without repeats a repeat tells nothing"
    assert found.misfit and found.weight(1, 2.0) < found.weight(1) and not alone.misfit and alone.weight(1, 2.0) == alone.weight(1)


@pytest.mark.parametrize("repeats, cells, parameters", [(1, 12, 5), (3, 14, 6)])
def test_what_the_noise_may_be_covers_what_it_is(repeats, cells, parameters):
    """Of 200 tables 80% have the true noise between the 10% and the 90% quantile of its draws: residuals of a linear law are
    scaled by the freedom that it leaves, and a table of 12 cells knows its noise to a quarter."""
    random, inside = np.random.default_rng(cells), []
    N, D, J = np.repeat(np.arange(cells), repeats), np.ones(cells * repeats), random.standard_normal((cells, parameters))
    hat = np.repeat(J, repeats, 0) @ np.linalg.pinv(np.repeat(J, repeats, 0))
    for _ in range(200):
        errors = 0.02 * random.standard_normal(cells * repeats)
        drawn = [noise_of(errors - hat @ errors, N, D, parameters=parameters, rng=random) for _ in range(40)]
        low, high = np.quantile([one.each if repeats > 1 else one.shared for one in drawn], [0.1, 0.9])
        inside.append(low < 0.02 < high)
    assert 0.715 < np.mean(inside) < 0.885   # three standard errors of a count


def test_simulated_outcomes_differ_in_their_noise_as_far_as_the_table_leaves_it_open():
    """200 cells near one place, where every surface is flat: their scatter is an outcome's noise. 12 cells and 5 parameters leave
    7 degrees of freedom; the log of a standard deviation then has half the root of trigamma(7/2), 0.28."""
    world = grid(noise=0.01, E=0.05, seeds=1, widths=4, fractions=3)
    made = fit_parametric(world.N, world.D, world.L, C=world.C, resamples=50, cluster="cell")
    group = GroupLaw(None, choose_law(made, None), {})
    N, D = world.N[5] * (1 + 1e-6 * np.arange(200)), np.full(200, world.D[5])
    spread = np.log([np.log(simulated_runs(group, N, D, np.zeros(200), rng=np.random.default_rng(k))).std() for k in range(200)])
    assert spread.std() == pytest.approx(np.sqrt(special.polygamma(1, 3.5)) / 2, rel=0.2)
    assert np.median(spread) == pytest.approx(np.log(noise_of(made.residuals, world.N, world.D, parameters=5).shared), abs=0.1)


@pytest.mark.parametrize("outcomes", [9, 12, 30])
def test_eight_in_ten_further_outcomes_lie_in_the_range_that_is_printed(outcomes):
    random = np.random.default_rng(outcomes)
    widths, further = np.exp(random.standard_normal((2000, outcomes))), np.exp(random.standard_normal(2000))
    low, high = np.transpose([eight_in_ten(one) for one in widths])
    assert np.mean((low <= further) & (further <= high)) == pytest.approx(0.8, abs=0.03)   # three standard errors


def test_a_cells_own_departure_goes_on_where_repeats_tell_it_from_noise():
    """Cells lie apart by 5%, repeats by 0.5%: a further run of a cell is what its others were. Of one seed nothing is known."""
    world = grid(noise=0.005, cell_noise=0.05, E=0.05, seeds=3, widths=6, fractions=5, rng=2)
    own = {}
    for label, rows in (("three seeds", np.arange(len(world.N))), ("one", np.flatnonzero(world.seed == 0))):
        N, D, L, C = (getattr(world, name)[rows] for name in "NDLC")
        made = fit_parametric(N, D, L, C=C, resamples=50, cluster="cell")
        cells = world.seed[rows] == 0
        group = GroupLaw(None, choose_law(made, None), {})
        again = simulated_runs(group, N[cells], D[cells], np.zeros(30), rng=np.random.default_rng(4))
        own[label] = np.std(np.log(again / L[cells]))
    assert own["three seeds"] < 0.015 and own["one"] > 0.05


def world_of(seed: int, candidates: int = 6) -> tuple[list[Belief], np.ndarray]:
    """A linear model of three parameters under two surfaces."""
    random = np.random.default_rng(seed)
    J = random.standard_normal((2, candidates, 3))
    P = np.stack([np.linalg.inv(np.eye(3) + A.T @ A) for A in random.standard_normal((2, 5, 3))])
    return [Belief(J, random.standard_normal((2, 3)), P)], random.uniform(1, 3, candidates)


def test_a_run_added_is_the_inverse_of_more_information():
    (one,), _ = world_of(0)
    after = one.after(2, 0.7)
    for r in range(2):
        j = one.J[r, 2]
        assert_allclose(after.P[r], np.linalg.inv(np.linalg.inv(one.P[r]) + 0.7 * np.outer(j, j)), rtol=1e-10)
    assert_allclose(one.gains(np.full(6, 0.7))[:, 2], np.log(after.variance / one.variance), rtol=1e-10)
    assert_allclose(after.after(2, -0.7).P, one.P, rtol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_exchange_comes_near_the_best_of_all_plans_within_the_budget(seed):
    """All plans of up to two runs a candidate are tried; what is found is within a twentieth of the best's log ratio."""
    beliefs, flops = world_of(seed)
    setting = Setting(flops, np.zeros(6, int), np.zeros(6), Noise(0.6, 0.6, False), 7.0, 100, 2)
    found = choose(beliefs, setting)
    assert found.spent <= 7.0 * (1 + 1e-12) and found.runs.max() <= 2
    assert found.log_ratio == pytest.approx(expected(beliefs, setting, found.runs), rel=1e-9)
    plans = (np.array(p) for p in itertools.product(range(3), repeat=6))
    best = min(expected(beliefs, setting, p) for p in plans if p @ flops <= 7.0)
    assert found.log_ratio <= 0.95 * best < 0


def test_limits_on_runs_and_a_budget_that_pays_for_none():
    beliefs, flops = world_of(1)
    assert choose(beliefs, Setting(flops, np.zeros(6, int), np.zeros(6), Noise(0.1, 0.1, False), 50.0, 3, 9)).runs.sum() == 3
    with pytest.raises(ValueError, match="pay for none"):
        choose(beliefs, Setting(flops, np.zeros(6, int), np.zeros(6), Noise(0.1, 0.1, False), 0.5, 3, 9))


def test_the_information_foretells_the_bootstraps_own_spread():
    """sqrt(c^T M^-1 c) at the fit against the standard deviation of the draws, on a world whose noise is what the law takes it for."""
    world = grid(noise=0.03, rng=5)
    made = fit_parametric(world.N, world.D, world.L, C=world.C, resamples=300)
    noise = noise_of(made.residuals, world.N, world.D, parameters=5)
    told = belief(made, parsed_target("a"), (world.N[:1], world.D[:1]), noise, np.arange(100))
    assert np.median(np.sqrt(told.variance)) == pytest.approx(made.a.se, rel=0.25)


@pytest.mark.parametrize("text, name, C", [("a", "a", None), ("alpha", "alpha", None), ("N*@1e21", "N", 1e21), ("L@3e9", "L", 3e9)])
def test_targets_are_read(text, name, C):
    assert (parsed_target(text).name, parsed_target(text).C) == (name, C)


@pytest.mark.parametrize("text", ["", "E", "N", "N*@", "N*@x", "L@-1", "a@1e9", "L@inf"])
def test_what_is_no_target_is_refused(text):
    with pytest.raises(ValueError, match="nothing to plan for"):
        parsed_target(text)


def table_of(folder: Path, table) -> tuple:
    pq.write_table(table, folder / "r.parquet")
    read = read_table([str(folder / "r.parquet")])
    return read, group_of(read, None)


def test_axes_are_the_tables_own_and_settings_follow_them(tmp_path):
    """Of a function's table: depth moves N, tokens are D, the rate follows depth as a power, and whole axes stay whole."""
    table, group = table_of(tmp_path, function_table())
    places = places_of(table, group, {})
    depth, tokens = places.axes
    assert (depth.name, tokens.name) == ("depth", "tokens") and depth.whole and tokens.whole
    made = depth.candidates(1, 2)
    assert {1, 2, 3, 4, 6, 32, 64, 128} <= set(made) and (made == np.round(made)).all()
    at = {"depth": np.array([4.0, 6.0, 64.0]), "tokens": np.array([1e5, 3e5, 3.2e6])}
    assert_allclose(places.N(at), 12 * 64**2 * at["depth"], rtol=1e-9)
    assert_allclose(places.D(at), at["tokens"], rtol=1e-9)
    assert_allclose(places.settings(at)["lr"], 0.02 * at["depth"]**-0.7, rtol=1e-3)
    assert places.seed == "seed" and places.next_seed == 2


@pytest.mark.parametrize("made", [function_table(), simulated_study(widths=5, fractions=5, seeds=2)])
def test_a_cell_that_the_table_has_has_its_N_and_D_to_the_last_digit(made, tmp_path):
    """Runs are put in one cell, and share a size's error, by that: e^(log N) is another size."""
    table, group = table_of(tmp_path, made)
    offered = candidates(places_of(table, group, {}))
    own = set(zip(group.runs.N, group.runs.D, strict=True))
    assert set(zip(offered.N[offered.there > 0], offered.D[offered.there > 0], strict=True)) == own


def test_a_share_stays_a_share_and_bounds_are_kept(tmp_path):
    table, group = table_of(tmp_path, simulated_study(widths=5, fractions=5, seeds=1))
    axes = {a.name: a for a in places_of(table, group, {}).axes}
    assert axes["fraction"].candidates(3, 3).max() <= 1 and axes["width"].candidates(1, 3).max() > axes["width"].values.max()
    bound = {a.name: a for a in places_of(table, group, {"width": (0.3, 0.9)}).axes}["width"].candidates(1, 3)
    new = set(bound) - set(axes["width"].values)
    assert new and all(0.3 <= value <= 0.9 for value in new)
    with pytest.raises(BadTable, match="depth"):
        places_of(table, group, {"depth": (1, 2)})


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "analysis" / "plan.py"), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def test_a_plan_is_within_the_budget_and_its_csv_holds_fresh_runs_of_the_tables_own_columns(tmp_path):
    table = function_table(noise=0.005)
    pq.write_table(table, tmp_path / "r.parquet")
    done = command("r.parquet", "--budget", "3e12", "--outcomes", "0", "--resamples", "60", "--runs", "12", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = (tmp_path / "plan.csv").read_text().splitlines()
    assert lines[0] == "# axes: depth, tokens"
    rows = list(csv.DictReader(lines[1:]))
    assert 0 < len(rows) <= 12 and set(rows[0]) == {"depth", "tokens", "lr", "seed"}
    assert all(int(row["seed"]) >= 2 and int(row["depth"]) > 0 for row in rows)
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    assert sum(6 * 12 * 64**2 * int(row["depth"]) * int(row["tokens"]) for row in rows) <= 3e12 * 1.001


def test_a_strangers_table_gets_its_own_columns(tmp_path):
    world = grid(noise=0.02, seeds=1, widths=6, fractions=6)
    (tmp_path / "t.csv").write_text("\n".join(["params,tokens,flops,loss", *(
        f"{n},{d},{c},{loss}" for n, d, c, loss in zip(world.N, world.D, world.C, world.L, strict=True))]))
    done = command("t.csv", "--budget", "1e10", "--outcomes", "0", "--resamples", "60", "--for", "L@1e11", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "plan.csv").read_text().splitlines()[1:]))
    assert rows and set(rows[0]) == {"params", "tokens"}


@pytest.mark.parametrize("arguments", [
    ("r.parquet",), ("r.parquet", "--budget", "-1"), ("r.parquet", "--budget", "1e12", "--for", "E"), ("missing.parquet", "--budget", "1e12"),
    ("r.parquet", "--budget", "1"), ("r.parquet", "--budget", "1e12", "--group", "x"), ("r.parquet", "--budget", "1e12", "--within", "depth"),
    ("r.parquet", "--budget", "1e12", "--within", "width=1:2"), ("r.parquet", "--budget", "1e12", "--out", "no/such/plan.csv", "--outcomes", "0"),
    ("few.csv", "--budget", "1e12")])
def test_a_wrong_command_is_one_line_and_status_2(tmp_path, arguments):
    pq.write_table(function_table(depths=4, budgets=4), tmp_path / "r.parquet")
    (tmp_path / "few.csv").write_text("N,D,loss\n1e6,1e7,3\n1e6,2e7,2.9\n2e6,1e7,2.8\n2e6,2e7,2.7\n")
    done = command(*arguments, "--resamples", "50", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr
    assert not (tmp_path / "plan.csv").exists()
