"""Packs: each member is the cell trained alone, and has a row of its own, whatever befalls the others."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.jobs.job import CellJob
from sweeps.jobs.pack import Packed, PackJob
from sweeps.jobs.source import JobList
from sweeps.store.rows import differing, identity_of
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import load_images
from trainers.mnist.packed import Member, Pack, attempt_packed, train_packed
from trainers.mnist.results import Result
from trainers.mnist.train import Run, put_on, train

RECIPE = Recipe(lr=0.01, batch_size=8)


def member(seed=0, *, width=0.5, fraction=0.25, dropout=0.0, **recipe):
    return Member(Cell(width=width, fraction=fraction, dropout=dropout, seed=seed), replace(RECIPE, **recipe))


@pytest.fixture(scope="module")
def arrays():
    """The first of MNIST: 640 images to train on, 300 to validate."""
    mnist = load_images()
    return replace(mnist, train_images=mnist.train_images[:640], train_labels=mnist.train_labels[:640],
                   val_images=mnist.val_images[:300], val_labels=mnist.val_labels[:300])


@pytest.fixture(scope="module")
def images(arrays):
    return put_on(arrays, "cpu")


@pytest.fixture
def exact_images(arrays):
    """Float64 from the weights to the loss, so that an error of mathematics shows above rounding."""
    torch.set_default_dtype(torch.float64)
    yield put_on(replace(arrays, train_images=arrays.train_images.astype(np.float64),
                         val_images=arrays.val_images.astype(np.float64)), "cpu")
    torch.set_default_dtype(torch.float32)


def test_members_are_the_cells_trained_alone(exact_images):
    """Catches members that share an order, a mask, a rate or a moment of Adam, a loss averaged over
    members instead of summed, and another schedule: seeds, dropouts, rates and layer rules all differ."""
    members = [member(0, lr_rule="fan_in"), member(1, dropout=0.2, lr_rule="fan_in"), member(2, dropout=0.5, lr=0.03, lr_rule="fan_in")]
    for packed, m in zip(train_packed(members, exact_images), members, strict=True):
        alone = train(m.cell, m.recipe, exact_images)
        assert set(differing(packed, alone)) <= {"train_loss", "val_loss"}
        assert packed.val_loss == pytest.approx(alone.val_loss, rel=1e-9)
        assert packed.train_loss == pytest.approx(alone.train_loss, rel=1e-9)


def test_in_float32_they_differ_by_rounding_alone(images):
    members = [member(seed, width=1.0) for seed in range(3)]
    for packed, m in zip(train_packed(members, images), members, strict=True):
        assert packed.val_loss == pytest.approx(train(m.cell, m.recipe, images).val_loss, rel=1e-3)


def test_a_pack_goes_on_where_it_stopped(exact_images):
    """Catches steps counted from the call instead of from the run's beginning."""
    run = Run(member().cell, RECIPE, exact_images)
    run.advance([0.5] * 7)
    pack = Pack([member(), member(1)], exact_images)
    pack.advance([0.5] * 3)
    pack.advance([0.5] * 4)
    assert pack.runs[0].result().val_loss == pytest.approx(run.result().val_loss, rel=1e-9)
    assert pack.runs[0].step == 7


def test_a_member_that_diverges_disturbs_no_other_and_has_no_row(images):
    members = [member(0), member(1, lr=1e30), member(2)]
    rows = train_packed(members, images)
    assert [row.seed for row in rows] == [0, 2]
    for row in rows:
        alone = train(members[row.seed].cell, RECIPE, images)
        assert row.val_loss == pytest.approx(alone.val_loss, rel=1e-3)
    attempts = attempt_packed(members, images)
    assert [np.isfinite(row.val_loss) for row in attempts] == [True, False, True]


def test_cells_of_two_shapes_are_refused(images):
    for other in (member(1, width=1.0), member(1, fraction=0.125), member(1, batch_size=4), member(1, schedule="linear")):
        with pytest.raises(ValueError, match="differ"):
            train_packed([member(), other], images)
    with pytest.raises(ValueError):
        train_packed([], images)


def test_seconds_of_the_rows_add_up_to_the_pack(images):
    """Catches a pack that bills its wall time to each member: estimates and costs would grow with its size."""
    pack = Pack([member(seed) for seed in range(4)], images)
    began = perf_counter()
    pack.advance([0.5] * 5)
    assert 0 < sum(run.seconds for run in pack.runs) <= perf_counter() - began


def cell_job(m, table="results"):
    return CellJob(m.cell, m.recipe, table=table)


def test_on_a_cpu_a_pack_has_the_very_rows_of_its_cells(images):
    jobs = tuple(cell_job(member(seed)) for seed in range(2))
    for row, job in zip(PackJob(jobs).run(images), jobs, strict=True):
        assert differing(row, job.run(images)[0]) == []
        assert identity_of(row) == job.identities()[0]


members_of_grids = st.lists(st.builds(
    member, seed=st.integers(0, 5), width=st.sampled_from([0.5, 1.0]), fraction=st.sampled_from([0.25, 0.5]),
    dropout=st.sampled_from([0.0, 0.2])), unique=True, max_size=12)


class Told(JobList):
    """A list of jobs that notes what it is told."""

    def __init__(self, jobs):
        super().__init__(jobs, seconds=lambda job: 1.0)
        self.seen = []

    def finished(self, job, rows):
        assert [identity_of(row) for row in rows] == list(job.identities())
        self.seen.append(job)

    def failed(self, job):
        self.seen.append(job)


@settings(deadline=None)
@given(members_of_grids, st.integers(1, 5), st.data())
def test_every_cell_ends_exactly_once_whatever_happens_to_its_pack(members, size, data):
    """Catches a cell lost between two packs, one handed out twice, and one that goes down with its pack."""
    jobs = [cell_job(m) for m in members]
    told = Told(jobs)
    source = Packed(told, size=size)
    while (job := source.next()) is not None:
        fate = data.draw(st.sampled_from(["all", "some", "none"]))
        if not isinstance(job, PackJob):
            source.failed(job) if fate == "none" else source.finished(job, [_row(job)])
            continue
        shapes = {Member(one.cell, one.recipe).shape() for one in job.jobs}
        assert len(shapes) == 1 and 1 < len(job.jobs) <= size
        if fate == "none":
            source.failed(job)
        else:
            source.finished(job, [_row(one) for one in job.jobs][fate == "some":])
    assert source.exhausted() and source.remaining() == []
    assert sorted(told.seen, key=str) == sorted(jobs, key=str)


def _row(job):
    """Any row of that identity."""
    return Result(**job.identities()[0]._asdict(), channels=1, params=1, samples=1, steps=1, flops=1.0, spent_flops=1.0,
                  train_loss=1.0, val_loss=1.0, val_accuracy=0.5, train_seconds=0.1, device="cpu", dataset="none",
                  fingerprint="0")
