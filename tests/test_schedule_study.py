"""The schedule study: what its protocols train, what they charge, and what the analysis makes of them."""

from argparse import Namespace
from collections import Counter
from dataclasses import astuple, replace

import pytest
import torch

from sweeps.grid import BatchRule, Grid
from sweeps.job import CellJob
from sweeps.protocols import PROTOCOLS, Preset, SchedulePlan, source_of
from sweeps.rows import differing, identity_of
from sweeps.store import StoreError, open_store
from sweeps.trunks import CONSTANT, SINGLE_RUN, WSD, TrunkJob
from trainers.cell import Cell, Recipe
from trainers.network import flops_per_image
from trainers.train import DeviceImages

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
    from trainers.schedule import decay_factors, rate_factors
    from trainers.train import Run
    run = Run(CELL, LEVEL, images)
    run.advance([*rate_factors(40, shape="constant", warmup=0.05)[:32], *decay_factors(8)])
    [row] = TrunkJob(CELL, LEVEL, (1.0,), (WSD,)).run(images)
    assert row.val_loss == run.evaluate().loss and row.schedule == "wsd"


@pytest.mark.parametrize("protocols", [(SINGLE_RUN,), (CONSTANT, WSD), (WSD,)])
def test_what_the_rows_spent_adds_up_to_what_was_computed(images, protocols, monkeypatch):
    """Counts the optimiser's steps themselves."""
    from trainers.train import Run
    steps = Counter()
    take = Run._take_step
    monkeypatch.setattr(Run, "_take_step", lambda run: (steps.update(["taken"]), take(run))[1])
    job = TrunkJob(CELL, COSINE if protocols == (SINGLE_RUN,) else LEVEL, BUDGETS, protocols)
    rows = job.run(images)
    image = flops_per_image(CELL.width)
    assert sum(row.spent_flops for row in rows) == steps["taken"] * COSINE.batch_size * image
    assert all(row.flops == row.samples * image for row in rows)
    from sweeps.job import Shape
    cost = job.cost(Shape(train=640, val=200, classes=10))
    assert (cost.steps, cost.evaluations) == (steps["taken"], len(rows))
    assert {identity_of(row) for row in rows} == set(job.identities())


def test_a_trunk_that_cannot_serve_its_protocols_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        TrunkJob(CELL, COSINE, BUDGETS, (CONSTANT, WSD))
    with pytest.raises(ValueError, match="at most there"):
        TrunkJob(replace(CELL, fraction=0.5), COSINE, BUDGETS, (SINGLE_RUN,))


def test_a_diverging_trial_of_a_trunk_is_an_answer_and_a_diverging_trunk_an_error(images):
    from trainers.train import Diverged
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
