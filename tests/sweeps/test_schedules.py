"""The schedule study: what its protocols train, what they charge, and what the analysis makes of them."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from worlds.simulated_schedules import BASE, simulated
from worlds.sweep_cases import attempt_at
from worlds.templates import templates

from analysis.approaches.cost import fit_cost
from analysis.estimates.refusal import TooFewPoints
from analysis.figures.schedules import plates, plot_excess
from analysis.figures.theme import sheet
from analysis.report.output import rendered
from analysis.procedures.fits import ORDER, TRUNKS, Points, fit_schedules, holm, spent_alone
from analysis.procedures.text import read_points, schedule_json
from sweeps.jobs.grid import Grid
from sweeps.store.store import StoreError, open_store
from sweeps.studies.schedules import PROTOCOLS, SchedulePlan, SchedulePreset, source_of
from trainers.mnist.cell import Cell
from trainers.mnist.presets import BatchRule
from trainers.mnist.task import TASK
from trainers.mnist.trunk import CONSTANT, SCHEDULES, SINGLE_RUN, WSD, train_trunk

CHANCE = 2.19
ROOT = Path(__file__).resolve().parents[2]
BUDGETS = (1.0, 0.5, 0.25)


@pytest.fixture(scope="module")
def arrays():
    return templates()


GRID = Grid({"width": (0.25, 0.5), "fraction": BUDGETS, "dropout": (0.0,)}, seeds=(0, 1))
PLAN = SchedulePlan("test", SchedulePreset(GRID, tune_trials=3, tune_seeds=1), BatchRule(full=16), "float32")


def drive(plan, arrays, path, *, most=10**9):
    """The study without Ray: one job after the other into the store. Returns the jobs it ran, whether it is over, and its rows."""
    ran, images, fingerprint = [], TASK.place(arrays, "cpu"), TASK.fingerprint(arrays)
    with open_store(path, task=TASK, provenance={}, fingerprint=fingerprint) as store:
        source = source_of(plan, store, seconds=lambda job: 1.0, hopeless=arrays.knowing_nothing)
        while len(ran) < most and (job := source.next()) is not None:
            rows = list(TASK.train(job.cells, images, attempt_at(TASK, job.cells)))
            for row in rows:
                store.append(row) if job.table == "results" else store.append_tuning(row)
            held = store.results if job.table == "results" else store.tuning
            source.finished(job, [held[identity] for identity in job.identities()])
            ran.append(job)
        return ran, source.exhausted(), {key: repr(replace(row, train_seconds=0.0)) for key, row in store.results.items()}


def test_a_stopped_study_goes_on_and_ends_with_the_same_table(arrays, tmp_path):
    """Fails where a resumed study loses, repeats or changes a run, or settles on another rate."""
    whole, over, table = drive(PLAN, arrays, tmp_path / "whole.parquet")
    assert over and len(table) == 12 * len(PROTOCOLS) and len(whole) == len(set(whole))
    planned = sum(len(part.jobs()) for part in PLAN.parts())
    assert Counter(job.table for job in whole)["results"] == planned, "the plan that was shown is not what runs"
    runs = []
    while not (part := drive(PLAN, arrays, tmp_path / "parts.parquet", most=31))[1]:
        runs += part[0]
    runs += part[0]
    assert Counter(runs) == Counter(whole) and part[2] == table
    assert drive(PLAN, arrays, tmp_path / "parts.parquet")[0] == []

    rates = {protocol: {} for protocol in PROTOCOLS}
    losses = {protocol: {} for protocol in PROTOCOLS}
    for key, row in table.items():
        rates[key.protocol][key.width, key.fraction] = key.lr
        losses[key.protocol][key.width, key.fraction, key.seed] = row.split("val_loss=")[1].split(",")[0]
    at_end = [place for place in losses["per-budget"] if place[1] == 1.0]
    for protocol in (SINGLE_RUN, "per-budget-one-batch"):   # at the whole data these are one and the same run
        assert all(losses[protocol][place] == losses["per-budget"][place] for place in at_end)
    assert len(set(rates["untuned-one-rate"].values())) == 1 == len(set(rates["untuned-rule"].values()))
    assert rates["untuned-rule"][0.5, 0.5] == rates["per-budget"][0.5, 0.5]


def test_a_table_of_another_design_is_refused(arrays, tmp_path):
    """Fails where two warm-ups or batch sizes could mix within one protocol."""
    path = tmp_path / "t.parquet"
    drive(PLAN, arrays, path, most=40)
    other = replace(PLAN, batch=BatchRule(full=16, power=0.0))
    with pytest.raises(StoreError, match="another --out"):
        drive(other, arrays, path)


def test_with_one_batch_size_no_control_is_trained_twice():
    """Fails where per-budget is trained a second time under another name, at a quarter of the study's price."""
    plan = replace(PLAN, batch=BatchRule(full=16, power=0.0))
    assert set(PROTOCOLS) - set(plan.protocols) == {"per-budget-one-batch"} and plan.protocols[0] == "per-budget"
    assert PLAN.protocols == PROTOCOLS


# -- analysis ---------------------------------------------------------------------------------------


def test_the_analysis_knows_the_protocols_by_the_names_that_the_sweep_writes():
    """They cannot share a constant: the analysis imports no sweep."""
    assert set(ORDER) == set(PROTOCOLS) and set(TRUNKS) == {SINGLE_RUN, CONSTANT, WSD}


def test_laws_and_differences_without_noise_are_the_truth():
    """Fails where protocols, quantities or the sign of a difference are mixed up."""
    other = replace(BASE, beta=0.65, B=0.2 * 15_000**0.65)
    points = simulated({"per-budget": BASE, "single-run": other}, cell_noise=0, run_noise=0, noise=0)
    study = fit_schedules(points, chance=CHANCE, resamples=100)
    cost = fit_cost(points.N, points.D, points.C)
    for quantity in ("a", "alpha", "beta", "E"):
        found = study.difference(quantity, "single-run")
        truth = [getattr(law, quantity)(cost) if quantity == "a" else getattr(law, quantity) for law in (BASE, other)]
        assert_allclose(found.estimate.value, truth[1] - truth[0], atol=2e-4)
    mine, reference = points.of("single-run"), points.of("per-budget")
    assert_allclose(study.difference("loss", "single-run").estimate.value, np.log(mine.L / reference.L).mean(), rtol=1e-12)


@pytest.mark.parametrize("noise", [{"cell_noise": 0.03}, {"run_noise": 0.03}, {"noise": 0.03}])
def test_noise_that_the_protocols_share_cancels(noise):
    """Fails where the two fits of a pair are resampled by different points."""
    quiet = {"cell_noise": 0.0, "run_noise": 0.0, "noise": 0.0} | noise
    same_law = {"per-budget": BASE, "single-run": BASE}
    apart, together = (fit_schedules(simulated(same_law, shared=shared, **quiet), chance=CHANCE, resamples=100)
                       .difference("a", "single-run").estimate.se for shared in (0.0, 0.99))
    assert together < 0.25 * apart


def test_the_interval_is_as_wide_as_the_noise_of_whole_runs_makes_it():
    """Fails where budgets of one trunk count as independent: the error would come out far too small."""
    laws = {"per-budget": BASE, "single-run": BASE}
    quiet = {"cell_noise": 0.0, "noise": 0.002, "run_noise": 0.05, "shared": 0.0}
    fits = [fit_schedules(simulated(laws, rng=k, **quiet), chance=CHANCE, resamples=100).difference("alpha", "single-run")
            for k in range(12)]
    true_sd = np.sqrt(np.mean([d.estimate.value**2 for d in fits]))
    # 12 draws know a standard deviation within a factor of 2 (chi-square, 1 in 1000)
    assert 0.5 < np.median([d.estimate.se for d in fits]) / true_sd < 2.0
    assert all("seed within width" in d.estimate.method for d in fits)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [(0.03, 0.0, 0.01), (0.0, 0.03, 0.01), (0.0, 0.0, 0.03), (0.02, 0.02, 0.02)])
def test_intervals_of_the_differences_cover(noise):
    """95% intervals of a protocol without effect hold zero at least 88 times in 100, whatever the noise's source."""
    sizes = dict(zip(("cell_noise", "run_noise", "noise"), noise))
    laws = {"per-budget": BASE, "single-run": replace(BASE, beta=0.58, B=0.17 * 15_000**0.58)}
    truth = None
    hits, tried = Counter(), 60
    for k in range(tried):
        points = simulated(laws, shared=0.5, rng=100 + k, **sizes)
        cost = fit_cost(points.N, points.D, points.C)
        truth = {"a": laws["single-run"].a(cost) - BASE.a(cost), "beta": 0.08, "alpha": 0.0}
        study = fit_schedules(points, chance=CHANCE, resamples=150, rng=k)
        hits.update(name for name, value in truth.items() if value in study.difference(name, "single-run").estimate)
    for name in truth:
        assert stats.binomtest(hits[name], tried, 0.95, alternative="less").pvalue > 0.005, (name, hits)


def test_a_point_dead_under_one_protocol_is_left_out_of_all():
    """Fails where protocols are compared on different cells, so that the grid's holes look like an effect."""
    points = simulated()
    dead = np.flatnonzero(points.protocol == "single-run")[5]
    points.L[dead] = 2.3
    study = fit_schedules(points, chance=CHANCE, resamples=60)
    assert len(study.common) == len(points) - 3
    assert {fit.protocol: fit.dead for fit in study.fits} == {"per-budget": 0, "wsd": 0, "single-run": 1}


def test_the_order_of_rows_changes_nothing():
    points = simulated(seeds=2, budgets=5)
    shuffled = points.take(np.random.default_rng(5).permutation(len(points)))
    one, other = (fit_schedules(p, chance=CHANCE, resamples=60) for p in (points, shuffled))
    assert schedule_json(one) == schedule_json(other)


def test_wsd_alone_costs_what_a_run_without_its_neighbours_spends(arrays):
    """Fails where the shared trunk is charged twice or not at all."""
    images = TASK.place(arrays, "cpu")

    def rows(*protocols):
        return list(train_trunk([Cell(width=0.5, fraction=fraction, lr=0.01, batch_size=16, protocol=protocol, schedule=SCHEDULES[protocol])
                                 for fraction in BUDGETS for protocol in protocols], images))

    shared = as_points(rows(CONSTANT, WSD))
    assert spent_alone(shared, WSD) == sum(row.spent_flops for row in rows(WSD))
    assert spent_alone(shared, CONSTANT) == max(row.flops for row in rows(CONSTANT))


def as_points(rows) -> Points:
    names = {"protocol": "protocol", "width": "width", "budget": "fraction", "seed": "seed", "N": "params",
             "D": "samples", "C": "flops", "L": "val_loss", "spent": "spent_flops"}
    return Points(**{letter: np.array([getattr(row, name) for row in rows]) for letter, name in names.items()})


def test_holms_correction_on_a_worked_example():
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_figures_show_the_losses_of_the_table():
    points = simulated(seeds=2, budgets=5)
    ax = plot_excess(points, sheet().axes[0])
    [line] = [line for line in ax.get_lines() if line.get_label() == "single-run"]
    mine, reference = points.of("single-run"), points.of("per-budget")
    at = reference.budget == 0.25
    assert_allclose(line.get_ydata()[list(line.get_xdata()).index(0.25)],
                    stats.gmean(mine.L[at]) / stats.gmean(reference.L[at]) - 1)
    study = fit_schedules(points, chance=CHANCE, resamples=60)
    assert [len(rendered(plate, "png")) > 10_000 for plate in plates(study)] == [True] * 3


def test_a_table_with_one_protocol_is_refused_in_one_line():
    points = simulated()
    with pytest.raises(TooFewPoints, match="another protocol"):
        fit_schedules(points.take(points.protocol == "per-budget"), chance=CHANCE)


def command(*parts: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, parts)], cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n"])
def test_what_is_no_table_is_refused_with_status_2(tmp_path, content):
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    ended = command("analysis/fit_schedules.py", path)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_the_smoke_study_through_ray_end_to_end(tmp_path):
    """Sweep, sweep again (nothing left to do), read by the analysis."""
    out = tmp_path / "s.parquet"
    sweep = ("sweeps/schedule_study.py", "--preset", "smoke", "--cpus", 1, "--out", out)
    ended = command(*sweep)
    assert ended.returncode == 0, ended.stderr
    points, chance = read_points(str(out))
    assert Counter(points.protocol) == dict.fromkeys(PROTOCOLS, 4)
    before = out.read_bytes()
    again = command(*sweep)
    assert "nothing to train" in again.stdout and out.read_bytes() == before
    ends = {protocol: points.of(protocol).L[points.of(protocol).budget == 1 / 32] for protocol in (SINGLE_RUN, "per-budget")}
    assert (ends[SINGLE_RUN] == ends["per-budget"]).all()
    refused = command("analysis/fit_schedules.py", out, "--out", tmp_path / "fit")
    assert refused.returncode == 2 and "at least 3" in refused.stderr   # two widths carry no law
