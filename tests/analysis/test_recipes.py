"""Recipes beside a baseline: a known difference comes back at equal data and at equal compute, and its interval covers."""

import json

import numpy as np
import pytest
from scipy import stats

from analysis import recipes
from analysis.intrinsic.recipes import COMPUTE, DATA, beside
from analysis.intrinsic.returns import read_returns

FRAMES = (1e4, 2e4, 4e4, 8e4)


def table(path, rng, *, gain=0.0, cost=1.0, seeds=4, noise=0.3, frames=FRAMES, envs=("maze",), N=1000, lr=1e-3):
    """Runs whose return rises by 1 a doubling of frames from 2 at 1e4, `gain` above that; a frame costs `cost` times 6 N."""
    rows = ["params,frames,flops,seed,env,lr,mean_return"]
    for env in envs:
        for seed in range(seeds):
            luck = noise * rng.normal()
            rows += [f"{N},{E:.0f},{6 * N * E * cost:.6g},{seed},{env},{lr},{2 + gain + np.log2(E / 1e4) + luck:.12g}" for E in frames]
    path.write_text("\n".join(rows) + "\n")
    return path


def of(*paths, **more):
    tables = [read_returns([str(path)], "mean_return", by=["env"]) for path in paths]
    return {(one.group, one.at): one for one in beside(tables[0], tables[1:], **more)}


def test_a_known_gain_comes_back_at_equal_data_and_what_dearer_frames_take_of_it_at_equal_compute(tmp_path):
    rng = np.random.default_rng(0)
    found = of(table(tmp_path / "a.csv", rng, noise=0.01), table(tmp_path / "b.csv", rng, gain=1.5, cost=2.0, noise=0.01))
    data, compute = found["env maze", DATA], found["env maze", COMPUTE]
    assert data.x == 8e4 and data.difference.value == pytest.approx(1.5, abs=0.03) and 1.5 in data.difference
    # A frame costs twice as much: a doubling less of frames, one return less.
    assert compute.x == 6 * 1000 * 8e4 and compute.difference.value == pytest.approx(0.5, abs=0.03) and 0.5 in compute.difference


def test_the_interval_is_welchs_and_p_is_holms_for_all_that_was_compared(tmp_path):
    rng = np.random.default_rng(1)
    paths = (table(tmp_path / "a.csv", rng, seeds=5), table(tmp_path / "b.csv", rng, gain=0.6, seeds=3))
    a, b = (np.array([float(line.rsplit(",", 1)[1]) for line in path.read_text().splitlines()[1:] if ",80000," in line]) for path in paths)
    test = stats.ttest_ind(b, a, equal_var=False)
    one = of(*paths)["env maze", DATA]
    assert (one.difference.low, one.difference.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert one.p_value == pytest.approx(min(2 * test.pvalue, 1)) and one.runs == (5, 3)   # equal frames cost the same: two comparisons


def test_intervals_cover(tmp_path):
    rng = np.random.default_rng(2)
    held = [1.0 in of(table(tmp_path / "a.csv", rng, seeds=4), table(tmp_path / "b.csv", rng, gain=1.0, seeds=3))["env maze", DATA].difference
            for _ in range(120)]
    assert 0.9 <= np.mean(held) <= 0.99


def test_groups_that_one_side_lacks_and_a_single_run_are_said(tmp_path, capsys):
    rng = np.random.default_rng(3)
    one = table(tmp_path / "a.csv", rng, envs=("maze", "heist"))
    single, other = table(tmp_path / "b.csv", rng, seeds=1), table(tmp_path / "c.csv", rng, envs=("ninja",))
    assert list(of(one, single)) == [("env maze", DATA), ("env maze", COMPUTE)]
    assert "an interval takes 2" in of(one, single)["env maze", DATA].why
    assert recipes.main([str(one), str(other), "--by", "env", "--out", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "env heist, env maze" in err and not (tmp_path / "r").exists()


def test_the_command_says_which_is_higher_where_and_writes_every_digit(tmp_path, capsys):
    rng = np.random.default_rng(4)
    one = table(tmp_path / "usual.csv", rng, envs=("heist", "maze"), noise=0.1)
    other = table(tmp_path / "tuned.csv", rng, envs=("heist", "maze"), gain=2.0, cost=0.5, noise=0.1)
    assert recipes.main([str(one), str(other), "--by", "env", "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "At equal compute tuned is higher in env heist" in said and "At equal data tuned is higher in env heist" in said
    assert max(map(len, said.splitlines())) <= 200
    told = json.loads((tmp_path / "r" / "recipes.json").read_text())["compared"]
    assert {(x["group"], x["at"]) for x in told} == {("env heist", "data"), ("env heist", "compute"), ("env maze", "data"), ("env maze", "compute")}
    assert all(1.5 < x["difference"]["low"] < x["difference"]["value"] < 3.5 for x in told)
    assert (tmp_path / "r" / "recipes.svg").stat().st_size > 2000


def test_a_table_of_two_recipes_is_refused(tmp_path, capsys):
    import pyarrow.parquet as pq

    from analysis.published import __path__ as published
    path = next(iter(published)) + "/procgen-quarter.parquet"
    twice = pq.read_table(path)
    column = twice.column_names.index("lr")
    lr = [0.5 * v if i % 2 else v for i, v in enumerate(twice["lr"].to_pylist())]
    import pyarrow as pa
    pq.write_table(twice.set_column(column, twice.schema.field("lr"), pa.array(lr)), tmp_path / "two.parquet")
    assert recipes.main([path, str(tmp_path / "two.parquet"), "--out", str(tmp_path / "r")]) == 2
    assert "differ in lr: give a table for each recipe" in capsys.readouterr().err
