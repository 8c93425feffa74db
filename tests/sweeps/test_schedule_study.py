"""The schedule study: what its protocols train, what they charge, and what the analysis makes of them."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats
from worlds.simulated_schedules import BASE, simulated

from analysis.approaches.cost import fit_cost
from analysis.estimates.refusal import TooFewPoints
from analysis.figures.schedules import plates, plot_excess
from analysis.figures.theme import sheet
from analysis.report.output import rendered
from analysis.schedules.fits import ORDER, TRUNKS, Points, fit_schedules, holm, spent_alone
from analysis.schedules.text import read_points, schedule_json
from sweeps.jobs.grid import BatchRule, Grid
from sweeps.jobs.job import CellJob
from sweeps.jobs.trunk import CONSTANT, SINGLE_RUN, WSD, TrunkJob
from sweeps.store.rows import differing, identity_of
from sweeps.store.store import StoreError, open_store
from sweeps.studies.schedules import PROTOCOLS, Preset, SchedulePlan, source_of
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.network import flops_per_image
from trainers.mnist.train import DeviceImages

CHANCE = 2.19
ROOT = Path(__file__).resolve().parents[2]
BUDGETS = (1.0, 0.5, 0.25)
CELL = Cell(width=0.5, fraction=1.0, dropout=0.2, seed=3)
COSINE = Recipe(lr=0.01, batch_size=16)
LEVEL = replace(COSINE, schedule="constant", warmup=0.05)


@pytest.fixture(scope="module")
def images() -> DeviceImages:
    """640 noisy images of ten templates: learnt within a pass, in milliseconds a run."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    templates = torch.randn(10, 1, 28, 28, generator=random)

    def split(count: int):
        labels = torch.arange(count) % 10
        return templates[labels] + 2.0 * torch.randn(count, 1, 28, 28, generator=random), labels

    (train, train_labels), (val, val_labels) = split(640), split(200)
    return DeviceImages(train, train_labels, val, val_labels, classes=10, name="templates", fingerprint="0" * 12)


def same(one, other) -> bool:
    """Equal bit for bit but for what the protocol's bookkeeping says, and the clock."""
    return set(differing(one, other)) <= {"protocol", "spent_flops"}


def test_a_single_run_ends_as_the_run_of_its_own_budget_bit_for_bit(images):
    """Fails where the trunk's chunks, its evaluations on the way or its rate differ from a plain run's."""
    [plain] = CellJob(CELL, COSINE).run(images)
    rows = TrunkJob(CELL, COSINE, BUDGETS, (SINGLE_RUN,)).run(images)
    assert same(rows[-1], plain)
    assert [row.fraction for row in rows] == [0.25, 0.5, 1.0] and [row.samples for row in rows] == [160, 320, 640]


def test_branches_do_not_disturb_their_trunk(images):
    """Fails where a branch shares weights, optimiser state or dropout's random stream with its trunk."""
    alone = TrunkJob(CELL, LEVEL, BUDGETS, (CONSTANT,)).run(images)
    shared = TrunkJob(CELL, LEVEL, BUDGETS, (CONSTANT, WSD)).run(images)
    assert all(repr(one) == repr(replace(other, train_seconds=one.train_seconds))
               for one, other in zip(alone, [row for row in shared if row.protocol == CONSTANT], strict=True))
    branched = [row for row in shared if row.protocol == WSD]
    assert [row.samples for row in branched] == [row.samples for row in alone]
    only = TrunkJob(CELL, LEVEL, BUDGETS, (WSD,)).run(images)
    assert all(same(one, other) for one, other in zip(only, branched, strict=True))


def test_a_branch_trains_on_from_the_trunk_and_not_from_the_start(images):
    """Fails where the branch loses the optimiser's state or its place in the order of images."""
    from trainers.mnist.train import Run
    from trainers.schedule import decay_factors, rate_factors
    run = Run(CELL, LEVEL, images)
    run.advance([*rate_factors(40, shape="constant", warmup=0.05)[:32], *decay_factors(8)])
    [row] = TrunkJob(CELL, LEVEL, (1.0,), (WSD,)).run(images)
    assert row.val_loss == run.evaluate().loss and row.schedule == "wsd"


@pytest.mark.parametrize("protocols", [(SINGLE_RUN,), (CONSTANT, WSD), (WSD,)])
def test_what_the_rows_spent_adds_up_to_what_was_computed(images, protocols, monkeypatch):
    """Counts the optimiser's steps themselves."""
    from trainers.mnist.train import Run
    steps = Counter()
    take = Run._take_step
    monkeypatch.setattr(Run, "_take_step", lambda run: (steps.update(["taken"]), take(run))[1])
    job = TrunkJob(CELL, COSINE if protocols == (SINGLE_RUN,) else LEVEL, BUDGETS, protocols)
    rows = job.run(images)
    image = flops_per_image(CELL.width)
    assert sum(row.spent_flops for row in rows) == steps["taken"] * COSINE.batch_size * image
    assert all(row.flops == row.samples * image for row in rows)
    from sweeps.jobs.job import Shape
    cost = job.cost(Shape(train=640, val=200, classes=10))
    assert (cost.steps, cost.evaluations) == (steps["taken"], len(rows))
    assert {identity_of(row) for row in rows} == set(job.identities())


def test_a_trunk_that_cannot_serve_its_protocols_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        TrunkJob(CELL, COSINE, BUDGETS, (CONSTANT, WSD))
    with pytest.raises(ValueError, match="at most there"):
        TrunkJob(replace(CELL, fraction=0.5), COSINE, BUDGETS, (SINGLE_RUN,))


def test_a_diverging_trial_of_a_trunk_is_an_answer_and_a_diverging_trunk_an_error(images):
    from trainers.mnist.train import Diverged
    wild = replace(LEVEL, lr=1e30)
    [row] = TrunkJob(CELL, wild, (1.0,), (WSD,), "tuning").run(images)
    assert row.val_loss == float("inf") and identity_of(row) in TrunkJob(CELL, wild, (1.0,), (WSD,), "tuning").identities()
    with pytest.raises(Diverged):
        TrunkJob(CELL, wild, BUDGETS, (CONSTANT, WSD)).run(images)


PLAN = SchedulePlan("test", Preset(Grid((0.25, 0.5), BUDGETS, (0, 1), (0.0,)), 3, 1), BatchRule(full=16), "float32")


def drive(plan, images, path, *, most=10**9):
    """The study without Ray: one job after the other into the store. Returns the jobs it ran."""
    ran = []
    with open_store(path, provenance={}, fingerprint=images.fingerprint) as store:
        source = source_of(plan, store, seconds=lambda job: 1.0, classes=10)
        while len(ran) < most and (job := source.next()) is not None:
            rows = job.run(images)
            for row in rows:
                store.append(row) if job.table == "results" else store.append_tuning(row)
            source.finished(job, rows)
            ran.append(job)
        return ran, source.exhausted(), {key: repr(replace(row, train_seconds=0.0)) for key, row in store.results.items()}


def test_a_stopped_study_goes_on_and_ends_with_the_same_table(images, tmp_path):
    """Fails where a resumed study loses, repeats or changes a run, or settles on another rate."""
    whole, over, table = drive(PLAN, images, tmp_path / "whole.parquet")
    assert over and len(table) == 12 * len(PROTOCOLS) and len(whole) == len(set(whole))
    runs = []
    while not (part := drive(PLAN, images, tmp_path / "parts.parquet", most=31))[1]:
        runs += part[0]
    runs += part[0]
    assert Counter(runs) == Counter(whole) and part[2] == table
    assert drive(PLAN, images, tmp_path / "parts.parquet")[0] == []

    rates = {protocol: {} for protocol in PROTOCOLS}
    losses = {protocol: {} for protocol in PROTOCOLS}
    for key, row in table.items():
        rates[key.protocol][key.width, key.fraction] = key.lr
        losses[key.protocol][key.width, key.fraction, key.seed] = row.split("val_loss=")[1].split(",")[0]
    at_end = [place for place in losses["per-budget"] if place[1] == 1.0]
    for protocol in (SINGLE_RUN, "per-budget-one-batch"):   # at the whole data these are one and the same run
        assert all(losses[protocol][place] == losses["per-budget"][place] for place in at_end)
    assert len(set(rates["untuned-one-rate"].values())) == 1 == len(set(rates["untuned-rule"].values()))
    assert rates["untuned-one-rate"][0.5, 0.5] == rates["per-budget"][0.5, 0.5]


def test_a_table_of_another_design_is_refused(images, tmp_path):
    """Fails where two warm-ups or batch sizes could mix within one protocol."""
    path = tmp_path / "t.parquet"
    drive(PLAN, images, path, most=40)
    other = replace(PLAN, batch=BatchRule(full=16, power=0.0))
    with pytest.raises(StoreError, match="another --out"):
        drive(other, images, path)


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


def test_wsd_alone_costs_what_a_job_without_its_neighbours_spends(images):
    """Fails where the shared trunk is charged twice or not at all."""
    shared = TrunkJob(CELL, LEVEL, BUDGETS, (CONSTANT, WSD)).run(images)
    alone = TrunkJob(CELL, LEVEL, BUDGETS, (WSD,)).run(images)
    assert spent_alone(as_points(shared), WSD) == sum(row.spent_flops for row in alone)
    assert spent_alone(as_points(shared), CONSTANT) == max(row.flops for row in shared)


def as_points(rows) -> Points:
    names = {"protocol": "protocol", "width": "width", "fraction": "fraction", "seed": "seed", "N": "params",
             "D": "samples", "C": "flops", "L": "val_loss", "spent": "spent_flops"}
    return Points(**{letter: np.array([getattr(row, name) for row in rows]) for letter, name in names.items()})


def test_holms_correction_on_a_worked_example():
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_figures_show_the_losses_of_the_table():
    points = simulated(seeds=2, budgets=5)
    ax = plot_excess(points, sheet().axes[0])
    [line] = [line for line in ax.get_lines() if line.get_label() == "single-run"]
    mine, reference = points.of("single-run"), points.of("per-budget")
    at = reference.fraction == 0.25
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
    ends = {protocol: points.of(protocol).L[points.of(protocol).fraction == 1 / 32] for protocol in (SINGLE_RUN, "per-budget")}
    assert (ends[SINGLE_RUN] == ends["per-budget"]).all()
    refused = command("analysis/fit_schedules.py", out, "--out", tmp_path / "fit")
    assert refused.returncode == 2 and "at least 3" in refused.stderr   # two widths carry no law
