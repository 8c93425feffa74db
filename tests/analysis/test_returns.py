"""Intrinsic performance: the law comes back from agents of known scaling, and returns are never fitted as losses."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scipy import stats
from worlds.agents import Agents, learning_curves, sigmoid
from worlds.coverage import told
from worlds.role_tables import with_roles

from analysis.estimates.refusal import NotIdentified, TooFewPoints
from analysis.fit import main
from analysis.intrinsic.curves import Points, curves_of, least_compute
from analysis.intrinsic.frontier import read_frontier
from analysis.intrinsic.law import fit_intrinsic, fit_shape
from analysis.intrinsic.link import fit_link
from analysis.intrinsic.returns import read_returns, return_column
from analysis.table.runs import read_table

WORLDS = (Agents(), Agents(alpha_N=1.2, alpha_E=0.5, p=1.1), Agents(alpha_N=0.3, alpha_E=0.6, p=0.95))


def exact(agents: Agents, **world):
    return fit_intrinsic(curves_of(learning_curves(agents, seeds=2, luck=0, noise=0, **world)))


@pytest.mark.parametrize("agents", WORLDS, ids=lambda agents: f"a = {agents.a:.2f}")
def test_the_law_behind_curves_without_noise_comes_back(agents):
    law = exact(agents)
    assert law.a.value == pytest.approx(agents.a, abs=0.01)
    assert law.b.value == pytest.approx(1 - agents.p * agents.a, abs=0.01)
    found = law.alpha_N.value, law.alpha_E.value, law.beta.value
    assert found == pytest.approx((agents.alpha_N, agents.alpha_E, agents.beta), rel=0.04)


@pytest.mark.parametrize("agents", WORLDS, ids=lambda agents: f"a = {agents.a:.2f}")
def test_intrinsic_performance_is_the_least_compute_of_all_sizes(agents):
    """Against a search over 20,001 sizes; the paper's normalisation, I = C along the frontier, is not fitted but follows."""
    law, N, E = exact(agents), np.array([3e4, 1e5, 3e5]), np.array([1e7, 2e6, 4e6])
    np.testing.assert_allclose(law.fitted.log_I(np.log(N), np.log(E)), agents.log_I(N, E), atol=0.06)
    budget = np.log(5e12)
    shape = law.fitted.shape
    assert law.fitted.log_I(shape.best_size(budget), shape.best_frames(budget)) == pytest.approx(budget, abs=1e-9)
    N_c, E_c = np.exp(shape.scales)
    made = ((N_c / N) ** shape.alpha_N + (E_c / E) ** shape.alpha_E) ** (-1 / shape.beta)
    np.testing.assert_allclose(np.log(made), law.fitted.log_I(np.log(N), np.log(E)), atol=1e-9)


def test_no_size_does_better_than_the_best_at_its_compute():
    shape = exact(WORLDS[1]).fitted.shape
    C = np.log(3e12)
    N = shape.best_size(C) + np.linspace(-3, 3, 601)
    E = C - np.log(shape.cost.k) - shape.cost.p * N
    assert abs(int(np.argmax(shape.rise(N, E))) - 300) <= 1


def test_returns_may_be_negative_and_in_any_unit():
    """A law of losses would fall at a change of sign; that of intrinsic performance is about order alone."""
    points = learning_curves(seeds=2)
    one, other = (fit_shape(curves_of(p).merged(), exact(Agents()).fitted.shape.cost).shape
                  for p in (points, replace(points, R=0.01 * points.R - 3)))
    assert (one.a, one.alpha_N, one.alpha_E) == pytest.approx((other.a, other.alpha_N, other.alpha_E), rel=1e-3)


def test_a_step_of_learning_between_plateaus_moves_the_law_little():
    """Returns that jump, as CoinRun's do, and learn nothing before: f may have any rising shape."""
    def jump(t):
        return sigmoid(t) + 20 / (1 + np.exp(-(t - np.log(6e12)) / 0.25))
    assert exact(Agents(), returns=jump).a.value == pytest.approx(Agents().a, abs=0.03)


def test_luck_of_a_run_is_left_out_whole():
    """Runs that differ by luck alone: their points are not so many independent ones, and more points tell no more."""
    few, many = (fit_intrinsic(curves_of(learning_curves(luck=0.3, noise=0.0, points=points))).a for points in (13, 49))
    assert 0.05 < many.high - many.low and (many.high - many.low) / (few.high - few.low) > 0.6


def test_the_link_never_falls_and_finds_its_inverse():
    t = np.linspace(20, 30, 200)
    R = sigmoid(t) + np.random.default_rng(0).normal(0, 2.0, 200)
    link, residuals = fit_link(t, R, np.ones(200), 8)
    fitted = link(t)
    assert (np.diff(fitted) >= -1e-9).all() and residuals.std() == pytest.approx(2.0, rel=0.15)
    middle = fitted[(fitted > 8) & (fitted < 35)]
    np.testing.assert_allclose(link(link.inverse(middle)), middle, atol=0.05)
    assert math.isnan(link.inverse(1e3))


def test_least_compute_is_linear_in_log_C_and_says_what_it_cannot():
    log_C, R = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 1.0, 3.0])
    np.testing.assert_allclose(least_compute(log_C, R, np.array([0.5, 1.0, 2.0])), [1.5, 2.0, 3.5], atol=1e-6)
    assert least_compute(log_C, R, np.array([-1.0]))[0] == -math.inf and math.isnan(least_compute(log_C, R, np.array([4.0]))[0])


def test_the_lowest_of_the_sizes_that_were_run_lies_at_or_above_the_least_of_all():
    curves = curves_of(learning_curves(seeds=1, luck=0, noise=0))
    levels = read_frontier(curves)
    truth = np.exp(np.log(1e12) - 1.3 * np.log(37.5 / (np.array([v.R for v in levels]) - 2.5) - 1))
    ratio = np.array([v.compute.value for v in levels]) / truth
    assert len(levels) >= 5 and (ratio > 0.99).all() and ratio.max() < 1.35


def test_beginnings_are_left_out_and_dense_points_average():
    points = learning_curves(sizes=3, seeds=1, points=40)
    late = curves_of(points)
    assert late.left_out == 3 * np.count_nonzero(points.E[:40] < points.E.max() / 64 * (1 - 1e-9)) > 0
    dense = Points(*(np.repeat(v, 5) for v in (points.N, points.E, points.C, points.R, points.run)))
    np.testing.assert_allclose(curves_of(dense).R, late.R)


@pytest.mark.parametrize(("change", "refusal", "said"), [
    (dict(sizes=1), TooFewPoints, "one size"), (dict(sizes=2), TooFewPoints, "2 sizes"),
    (dict(sizes=3, seeds=1), TooFewPoints, "run once"), (dict(returns=lambda t: 0 * t), NotIdentified, "never move"),
    (dict(returns=lambda t: 0 * t, noise=0.0), NotIdentified, "never move"),
    (dict(points=2), NotIdentified, "two numbers of frames")])
def test_what_tells_no_law_is_refused(change, refusal, said):
    with pytest.raises(refusal, match=said):
        fit_intrinsic(curves_of(learning_curves(**change)))


def test_runs_of_one_point_each_are_curves_of_their_size():
    """A rate that falls to the end of a run makes another run of each number of frames."""
    points = learning_curves(seeds=1, luck=0, noise=0.2, points=16)
    law = fit_intrinsic(curves_of(replace(points, run=np.arange(len(points)))))
    assert law.runs == 96 and law.a.value == pytest.approx(Agents().a, abs=0.02)


def frame(points: Points, **columns) -> dict:
    """Columns as a logger of agents names them."""
    return {"params": points.N, "frames": points.E, "flops": points.C, "episode_return": points.R,
            "seed": points.run % 3} | columns


def written(folder, columns: dict) -> str:
    path = folder / "curves.csv"
    pa.csv.write_csv(pa.table({name: v for name, v in columns.items() if v is not None}), path)
    return str(path)


def test_fit_takes_a_column_of_returns_for_no_loss(tmp_path, capsys):
    points = learning_curves()
    path = written(tmp_path, frame(replace(points, R=points.R - 20), value_loss=np.ones(len(points))))
    assert main([path, "--out", str(tmp_path / "out"), "--predict-flops", "1e13"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("The best size grows as N* ~ C^") and "irreducible" not in said
    document = json.loads((tmp_path / "out" / "fit.json").read_text())
    found = document["groups"][0]["intrinsic"]
    assert document["kind"] == "returns" and found["a"]["low"] < Agents().a < found["a"]["high"]
    best = document["groups"][0]["predictions"][0]["params"]
    sizes = np.geomspace(1e4, 1e7, 4001)
    truth = sizes[Agents().badness(sizes, 1e13 / (6 * sizes)).argmin()]
    assert best["low"] < truth < best["high"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"fit.json", "report.html", "returns.png", "returns.svg"}


def test_a_role_says_that_a_column_is_a_return(tmp_path, capsys):
    """As trainers/procgen's tables do: a shortfall of scores stands beside, the loss of a search, and the frames are an axis."""
    points = learning_curves(sizes=4, seeds=2)
    n = len(points)
    columns = {"game": np.repeat("starpilot", n), "frames": points.E.astype(int), "seed": points.run % 2, "lr": np.full(n, 5e-4),
               "params": points.N, "samples": points.E, "flops": points.C, "shortfall": np.full(n, 0.5),
               "held_out_return": points.R}
    roles = {"game": "axis", "frames": "axis", "seed": "repeat", "lr": "choice"} | dict.fromkeys(list(columns)[4:], "measured")
    laws = {"params": "N", "samples": "D", "flops": "C", "shortfall": "L", "held_out_return": "return"}
    table = with_roles(pa.table(columns), roles, laws, task="procgen")
    two = pa.concat_tables([table, table.set_column(0, table.schema.field("game"), pa.array(np.repeat("coinrun", n)))])
    pq.write_table(two, tmp_path / "r.parquet")
    assert main([str(tmp_path / "r.parquet"), "--out", str(tmp_path / "out"), "--no-figures"]) == 0
    groups = json.loads((tmp_path / "out" / "fit.json").read_text())["groups"]
    assert [(g["label"], g["runs"]) for g in groups] == [("game coinrun", 8), ("game starpilot", 8)]
    assert groups[0]["points"] == groups[1]["points"] > 200
    assert "game coinrun: The best size" in capsys.readouterr().out


def test_groups_of_returns_are_named_and_ordered_as_those_of_losses(tmp_path):
    """By value and not by spelling; a missing label is a group, the last."""
    level = [10.0, 9.0, None]
    points = [(n, e, 6.0 * n * e, kind) for kind in level for n in (1e5, 1e6) for e in (1e6, 2e6, 4e6)]
    N, E, C, kind = zip(*points, strict=True)
    columns = {"params": N, "frames": E, "flops": C, "level": kind}
    (tmp_path / "loss").mkdir()
    returns = written(tmp_path, columns | {"episode_return": np.linspace(0, 9, len(N))})
    losses = written(tmp_path / "loss", columns | {"loss": np.linspace(3, 2, len(N))})
    by_returns = read_returns([returns], "episode_return", by=["level"])
    by_losses = read_table([losses], by=["level"], flags={"D": "frames"})
    assert [g.label for g in by_returns.groups] == [g.label for g in by_losses.groups] == ["level 9", "level 10", "level missing"]
    assert [len(g.points) for g in by_returns.groups] == [6] * 3


def test_one_size_tells_no_exponent_and_says_so(tmp_path, capsys):
    path = written(tmp_path, frame(learning_curves(sizes=1)))
    assert main([path, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "one size" in said.splitlines()[0] and "can't be told" in " ".join(said.split())
    group = json.loads((tmp_path / "out" / "fit.json").read_text())["groups"][0]
    assert group["intrinsic"] is None and len(group["returns"]) >= 5
    assert all(v["flops"]["low"] <= v["flops"]["value"] <= v["flops"]["high"] for v in group["returns"])


POINTS = learning_curves(sizes=3, seeds=3, points=12)


@pytest.mark.parametrize(("columns", "flags", "said"), [
    (dict(episode_return=np.full(len(POINTS), 3.0)), [], "never move"),
    (dict(flops=None), [], "no 6 N E"),
    (dict(frames=None), [], "frames"),
    (dict(params=None), [], "--params"),
    (dict(seed=None), [], "--seed"),
    (dict(loss=POINTS.R), [], "--return"),
    (dict(mean_reward=POINTS.R), [], "mean_reward"),
    ({}, ["--loss", "episode_return"], "a return is no loss"),
    ({}, ["--best"], "--best"),
    ({}, ["--return", "episode_retrun"], "did you mean 'episode_return'"),
])
def test_bad_tables_get_one_line(columns, flags, said, tmp_path, capsys):
    path = written(tmp_path, frame(POINTS) | columns)
    assert main([path, "--out", str(tmp_path / "out"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_held_out_loss_beside_a_reward_is_still_the_loss(tmp_path):
    columns = frame(POINTS) | dict(val_loss=POINTS.R)
    assert return_column([written(tmp_path, columns)], {}) is None
    assert return_column([written(tmp_path, columns)], {"return": "episode_return"}) == "episode_return"


@pytest.mark.slow
@pytest.mark.parametrize(("agents", "world"), [
    (WORLDS[0], dict()), (WORLDS[0], dict(seeds=1)), (WORLDS[1], dict(sizes=5, seeds=2)), (WORLDS[2], dict(points=9, luck=0.3))],
    ids=["6 sizes x 3", "6 x 1", "5 x 2, steep", "sparse points, more luck"])
def test_intervals_cover(agents, world):
    tables, truth = 100, {"a": agents.a, "alpha_N": agents.alpha_N, "alpha_E": agents.alpha_E, "beta": agents.beta}
    hits = dict.fromkeys(truth, 0)
    for rng in range(tables):
        law = fit_intrinsic(curves_of(learning_curves(agents, rng=rng, **world)))
        for name, value in truth.items():
            hits[name] += value in getattr(law, name)
    told(world, hits, tables)
    # wide ones are allowed: so few runs
    assert all(stats.binom.cdf(count, tables, 0.92) > 0.01 for count in hits.values())
