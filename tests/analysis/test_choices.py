"""Laws of the best settings: recovery of known truth, invariances, refusals, and (-m slow) coverage."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose
from worlds.coverage import told, within_92_and_98
from worlds.role_tables import RATE_EXPONENT, function_trials

from analysis.choices.bowl import Trials, _projection, _residual, _slopes, _start, shape_of
from analysis.choices.laws import fit_choices
from analysis.choices.selection import choice_laws
from analysis.estimates.refusal import Refusal
from analysis.table.runs import read_table

ROOT = Path(__file__).resolve().parents[2]
NU, OMEGA, AT = -0.3, 0.1, 3e-3     # of lr* = AT (N/1e7)^NU (D/1e8)^OMEGA


def best_rate(N, D):
    return AT * (N / 1e7) ** NU * (D / 1e8) ** OMEGA


def sweep(*, sizes=5, budgets=4, rates=7, noise=0.01, wobble=0.0, skew=0.0, scattered=False, rng=0):
    """N, D, L, lr of runs whose log loss is a bowl in log lr about a best rate; wobble: what a cell's own optimum strays by, in logs."""
    random = np.random.default_rng(rng)
    if scattered:
        n = sizes * budgets * rates
        N, D, lr = 10 ** random.uniform(6, 9, n), 10 ** random.uniform(7, 10, n), 10 ** random.uniform(-4, -1.5, n)
        off = np.zeros(n)
    else:
        N, D = (np.repeat(v.ravel(), rates) for v in np.meshgrid(1e6 * 4.0 ** np.arange(sizes), 1e7 * 4.0 ** np.arange(budgets), indexing="ij"))
        lr, off = np.tile(1e-4 * 4.0 ** np.arange(rates), sizes * budgets), np.repeat(wobble * random.standard_normal(sizes * budgets), rates)
    d = np.log(lr / best_rate(N, D)) - off
    curvature = 0.03 * (N / 1e7) ** 0.1
    loss = (1.7 + 400 / N**0.34 + 1000 / D**0.3) * np.exp(curvature * d**2 + skew * d**3 + noise * random.standard_normal(len(N)))
    return N, D, loss, lr


@pytest.mark.parametrize("world", [dict(), dict(skew=0.004), dict(scattered=True)])
def test_the_law_that_made_the_runs_is_found(world):
    """Without noise to the digit, though bowls are skew and differ between sizes; scattered runs within a percent."""
    N, D, L, lr = sweep(noise=0.0, **world)
    found = fit_choices(N, D, L, {"lr": lr})
    law = found.laws[0]
    tolerance = 0.02 if world.get("scattered") else 1e-4
    assert law.of_N.value == pytest.approx(NU, abs=tolerance) and law.of_D.value == pytest.approx(OMEGA, abs=tolerance)
    assert found.best("lr", 3e8, 2e9).value == pytest.approx(best_rate(3e8, 2e9), rel=5 * tolerance)
    assert found.smooth == bool(world.get("scattered"))


def test_two_choices_that_lean_on_each_other_are_found_at_their_joint_best():
    N, D, L, lr = (np.repeat(v, 4) for v in sweep(noise=0.0, sizes=4, budgets=3))
    batch = np.tile([64.0, 128, 256, 512], len(N) // 4)
    best_batch = 128 * (D / 1e8) ** 0.4
    u, v = np.log(lr / best_rate(N, D)), np.log(batch / best_batch)
    L = L * np.exp(0.02 * v**2 + 0.01 * u * v)
    rate, size = fit_choices(N, D, L, {"lr": lr, "batch_size": batch}).laws
    assert_allclose([rate.of_N.value, rate.of_D.value, size.of_N.value, size.of_D.value], [NU, OMEGA, 0.0, 0.4], atol=1e-3)


def test_slopes_are_those_of_the_residual():
    N, D, L, lr = sweep(rng=4)
    z = np.stack([np.log(lr), np.random.default_rng(0).standard_normal(len(lr))], 1)
    trials = Trials(np.log(N / 1e7), np.log(D / 1e8), z, np.log(L) + 0.05 * z[:, 1] ** 2, np.unique(np.stack([N, D]), axis=1, return_inverse=True)[1])
    shape = shape_of(trials)
    project = _projection(trials, shape)
    target = project(trials.log_L)
    theta = _start(trials, shape, project, target) + 0.01
    J = _slopes(theta, trials, shape, project, target)
    for i in range(len(theta)):
        step = np.eye(len(theta))[i] * 1e-6
        slope = (_residual(theta + step, trials, shape, project, target) - _residual(theta - step, trials, shape, project, target)) / 2e-6
        assert_allclose(J[:, i], slope, rtol=1e-5, atol=1e-7)


def test_order_and_units_change_nothing():
    N, D, L, lr = sweep(rng=1, wobble=0.1)
    order = np.random.default_rng(0).permutation(len(N))
    one, other = fit_choices(N, D, L, {"lr": lr}), fit_choices(N[order] * 1e3, D[order], 2 * L[order], {"lr": 10 * lr[order]})
    for name in ("of_N", "of_D"):
        a, b = getattr(one.laws[0], name), getattr(other.laws[0], name)
        assert_allclose([a.value, a.low, a.high], [b.value, b.low, b.high], atol=1e-5)
    assert other.laws[0].middle.value == pytest.approx(10 * one.laws[0].middle.value, rel=1e-4)


def test_a_cliff_beyond_the_bowl_is_left_out():
    """Runs that diverge at high rates flatten no parabola: as it was without them."""
    N, D, L, lr = sweep(noise=0.002)
    cliff = lr > 20 * best_rate(N, D)
    found = fit_choices(N, D, np.where(cliff, 10.0, L), {"lr": lr})
    assert found.left_out >= cliff.sum() and found.laws[0].of_N.value == pytest.approx(NU, abs=0.02)


@pytest.mark.parametrize("what", ["falls to an end", "one size", "two cells"])
def test_what_tells_no_law_is_refused(what):
    N, D, L, lr = sweep(noise=0.001)
    if what == "falls to an end":
        L = L * 0 + 2 + 1 / np.log(lr * 1e5)
    keep = np.ones(len(N), bool) if what == "falls to an end" else (N == N.min()) & (D == D.min()) if what == "one size" else (
        (N <= 4.1e6) & (D == D.min()))
    with pytest.raises(Refusal):
        fit_choices(N[keep], D[keep], L[keep], {"lr": lr[keep]})


def test_the_tuning_of_a_sweep_is_such_a_table(tmp_path):
    """Trials at each depth of a function's sweep: N = const x depth, so the exponent in N is that in depth."""
    pq.write_table(function_trials(), tmp_path / "t.parquet")
    table = read_table([str(tmp_path / "t.parquet")], by=[])
    law, = choice_laws(table.groups[0].runs, table.description).laws
    assert law.name == "lr" and RATE_EXPONENT in law.of_N and law.of_D is None and law.of_N.high - law.of_N.low < 0.2


def test_fit_finds_them_by_name_in_a_strangers_table(tmp_path):
    N, D, L, lr = sweep(rng=2)
    (tmp_path / "s.csv").write_text("\n".join(["params,tokens,peak_lr,note,val_loss", *(
        f"{n:.0f},{d:.0f},{r:.6g},run {i},{loss:.6f}" for i, (n, d, loss, r) in enumerate(zip(N, D, L, lr, strict=True)))]))
    done = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), "s.csv", "--resamples", "50", "--no-figures"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    law, = json.loads((tmp_path / "s-fit" / "fit.json").read_text())["groups"][0]["choices"]["laws"]
    assert law["choice"] == "peak_lr" and abs(law["N_exponent"]["value"] - NU) < 0.03 and abs(law["D_exponent"]["value"] - OMEGA) < 0.03
    assert law["C_exponent"]["low"] < law["C_exponent"]["high"]


def test_a_table_without_varied_settings_has_no_such_law(tmp_path):
    N, D, L, lr = sweep(rng=2)
    kept = np.abs(np.log(lr / best_rate(N, D))) < 0.5
    (tmp_path / "s.csv").write_text("\n".join(["params,tokens,lr,val_loss", *(
        f"{n:.0f},{d:.0f},{r:.6g},{loss:.6f}" for n, d, loss, r in zip(N[kept], D[kept], L[kept], lr[kept], strict=True))]))
    table = read_table([str(tmp_path / "s.csv")])
    assert choice_laws(table.groups[0].runs, table.description) is None


COVERED = {
    "a grid of 20 cells, 7 rates": dict(),
    "cells' optima stray by 10%": dict(wobble=0.1),
    "6 sizes at one budget, optima stray by 5%": dict(sizes=6, budgets=1, wobble=0.05),
    "12 cells, 5 rates, skew": dict(sizes=4, budgets=3, rates=6, skew=0.003, wobble=0.05),
    "140 runs that share no (N, D)": dict(scattered=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", COVERED)
def test_intervals_cover(world):
    """Exponents in N and D, and the best rate at the middle of the table, 200 tables."""
    tries, hits = 200, {"nu": 0, "omega": 0, "middle": 0}
    for k in range(tries):
        N, D, L, lr = sweep(**COVERED[world], rng=k)
        found = fit_choices(N, D, L, {"lr": lr})
        law = found.laws[0]
        hits["nu"] += NU in law.of_N
        hits["omega"] += law.of_D is None or OMEGA in law.of_D
        hits["middle"] += best_rate(found.N, found.D) in law.middle
    told(world, hits, tries)
    # the jackknife is conservative: no fewer than 92%
    assert all(within_92_and_98(h, tries) or h / tries > 0.95 for h in hits.values())
