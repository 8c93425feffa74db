"""The bridge from one procedure to another, on runs whose exponents are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from worlds.procedures import ALPHA, BETA, procedure_rows

from analysis.approaches.cost import fit_cost
from analysis.bridge import main
from analysis.procedures.bridge import COUNTS, KAPLAN_TO_CHINCHILLA, Step, bridged
from analysis.procedures.bridge_text import bridge_json, bridge_text, read_steps, sentence

TRUE_A = BETA / (ALPHA + BETA)
TUNED = KAPLAN_TO_CHINCHILLA[-1].protocol


def written(folder, **world) -> str:
    path = folder / "runs.parquet"
    procedure_rows(**world).to_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("bridge"))


@pytest.fixture(scope="module")
def bridge(table):
    counts = [Step(name, TUNED, column) for name, column in COUNTS]
    return bridged(read_steps([table], KAPLAN_TO_CHINCHILLA), read_steps([table], counts), chance=np.inf, resamples=200)


def test_the_last_step_has_the_law_s_own_exponent(bridge):
    last = bridge.steps[-1]
    assert TRUE_A in last.a[3] and abs(last.a[3].value - TRUE_A) < 0.02
    assert abs(last.a[2].value - TRUE_A) < 0.04 and abs(last.a[1].value - TRUE_A) < 0.04
    assert last.scatter < 0.006


def test_a_count_of_N_alone_moves_the_exponent_as_its_slope_says(bridge):
    """N* ~ C^a in one count is N'* ~ C^(a s) in another, s the slope of log N' on log N: told by the runs, whatever they lost."""
    known = {fit.step.name: fit.a[2].value for fit in bridge.counts}
    points = {fit.step.name: fit.points for fit in bridge.counts}
    for name in ("blocks", "all"):
        # over the sizes that the minima of approach 2 span
        minima = np.log([m.N for m in bridge.steps[-1].isoflop.minima])
        here, there = (np.log(np.unique(points[count].N)) for count in ("with head", name))
        slope = np.polyfit(minima, np.interp(minima, here, there), 1)[0]
        assert known[name] == pytest.approx(known["with head"] * slope, abs=0.03)
    assert known["all"] < known["with head"] < known["blocks"]


def test_a_fixed_warm_up_raises_the_exponent_and_is_named(bridge):
    """Its penalty falls on small budgets alone, so that little data seem worth less than they are."""
    change = next(d for d in bridge.differences if d.step == "warm-up by size" and d.approach == 3)
    assert change.estimate.high < 0 and change.p_holm < 0.01
    assert "warm-up by size (-" in sentence(bridge)


def test_steps_that_share_their_runs_are_compared_in_pairs(bridge):
    """The head's FLOPs change no run: their difference is known far better than either exponent."""
    first, second = bridge.steps[:2]
    change = next(d for d in bridge.differences if d.step == "head counted" and d.approach == 3).estimate
    alone = np.hypot(*(fit.a[3].high - fit.a[3].low for fit in (first, second)))
    assert change.high - change.low < 0.5 * alone


def test_every_step_is_fitted_on_the_same_runs(table, tmp_path):
    """A run that died under one procedure is left out under all."""
    import pandas as pd

    rows = pd.read_parquet(table)
    rows.loc[(rows.protocol == TUNED) & (rows.width == 12), "val_loss"] = 6.0
    path = tmp_path / "dead.parquet"
    rows.to_parquet(path)
    found = bridged(read_steps([str(path)], KAPLAN_TO_CHINCHILLA), chance=5.0, resamples=100)
    assert found.runs == 6 * 7 * 2
    assert all(len(fit.points) == found.runs and 12 not in fit.points.width for fit in found.steps)


def test_loss_in_other_units_moves_nothing(table, bridge):
    read = read_steps([table], KAPLAN_TO_CHINCHILLA[-2:])
    scaled = {step: replace(points, L=points.L / np.log(2)) for step, points in read.items()}
    found = bridged(scaled, chance=np.inf, resamples=100)
    for one, other in zip(found.steps, bridge.steps[-2:], strict=True):
        for approach in (1, 2, 3):
            assert one.a[approach].value == pytest.approx(other.a[approach].value, abs=2e-4)


def test_C_leaves_out_what_a_step_says(table):
    """Kaplan's C = 6 N D, N of the blocks alone."""
    points = read_steps([table], KAPLAN_TO_CHINCHILLA[:1])[KAPLAN_TO_CHINCHILLA[0]]
    np.testing.assert_allclose(points.C, 6 * points.N * points.D)
    assert fit_cost(points.N, points.D, points.C).p == pytest.approx(1)


def test_text_and_json_tell_every_step(bridge):
    text = bridge_text(bridge)
    document = json.loads(json.dumps(bridge_json(bridge), allow_nan=False))
    for fit in bridge.steps:
        assert fit.step.name in text
    assert len(document["steps"]) == 6 and len(document["differences"]) == 12
    assert len(text.splitlines()) <= 25


@pytest.mark.parametrize(("change", "said"), [
    (lambda rows: rows[rows.protocol != "single-run"], "no rows of protocol single-run"),
    (lambda rows: rows.drop(columns="head_flops"), "no head_flops"),
    (lambda rows: rows.assign(dataset=np.where(rows.seed == 0, "a", "b")), "2 data sets"),
])
def test_bad_tables_get_one_line(change, said, tmp_path, capsys):
    path = tmp_path / "bad.parquet"
    change(procedure_rows()).to_parquet(path)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_person_s_own_steps(table, tmp_path, capsys):
    assert main([table, "--out", str(tmp_path / "out"), "--resamples", "50", "--step", "one rate;per-budget:one-rate;params",
                 "--step", "tuned;per-budget;params"]) == 0
    assert "tuned" in capsys.readouterr().out
    assert {"bridge.json", "bridge.svg", "bridge.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert main([table, "--out", str(tmp_path / "out"), "--step", "nonsense"]) == 2


@pytest.mark.slow
def test_intervals_of_differences_cover():
    """Nominal 95% of the change that counting the head makes, and of the last step's a: 100 tables."""
    inside = {"a": 0, "change": 0}
    truth = None
    tables = 100
    for k in range(-1, tables):
        rows = procedure_rows(noise=1e-6 if k < 0 else 0.01, rng=k + 1)
        steps = _steps_of(rows, KAPLAN_TO_CHINCHILLA[-2:])
        found = bridged(steps, chance=np.inf, resamples=200)
        change = next(d.estimate for d in found.differences if d.approach == 3)
        if k < 0:
            truth = change.value
            continue
        inside["a"] += TRUE_A in found.steps[-1].a[3]
        inside["change"] += truth in change
    print(inside)
    assert all(0.88 * tables <= count <= tables for count in inside.values())


def _steps_of(rows, steps):
    import pyarrow as pa

    from analysis.procedures.bridge_text import _points

    columns = {name: pa.array(rows[name]).to_numpy(zero_copy_only=False) for name in rows.columns}
    return {step: _points(step, columns) for step in steps}
