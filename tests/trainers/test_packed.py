"""Packs: each member is the cell trained alone, and has a row of its own, whatever befalls the others."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import torch
from worlds.sweep_cases import attempt_at, digits

from sweeps.store.rows import differing
from trainers.columns import identity_of
from trainers.mnist.cell import Cell
from trainers.mnist.packed import Pack, train_packed
from trainers.mnist.task import TASK
from trainers.mnist.train import Run, put_on, train


def cell(seed=0, **more):
    return Cell(**{"width": 0.5, "fraction": 0.25, "seed": seed, "lr": 0.01, "batch_size": 8} | more)


@pytest.fixture(scope="module")
def arrays():
    return digits(640, 300)


@pytest.fixture(scope="module")
def images(arrays):
    return put_on(arrays, "cpu", "f")


@pytest.fixture
def exact_images(arrays):
    """Float64 from the weights to the loss, so that an error of mathematics shows above rounding."""
    torch.set_default_dtype(torch.float64)
    yield put_on(replace(arrays, train_images=arrays.train_images.astype(np.float64),
                         val_images=arrays.val_images.astype(np.float64)), "cpu", "f")
    torch.set_default_dtype(torch.float32)


def test_members_are_the_cells_trained_alone(exact_images):
    """Catches members that share an order, a mask, a rate or a moment of Adam, a loss averaged over
    members instead of summed, and another schedule: seeds, dropouts, rates and layer rules all differ."""
    members = [cell(0, lr_rule="fan_in"), cell(1, dropout=0.2, lr_rule="fan_in"), cell(2, dropout=0.5, lr=0.03, lr_rule="fan_in")]
    for packed, member in zip(train_packed(members, exact_images), members, strict=True):
        alone = train(member, exact_images)
        assert set(differing(packed, alone)) <= {"train_loss", "val_loss"}
        assert packed.val_loss == pytest.approx(alone.val_loss, rel=1e-9)
        assert packed.train_loss == pytest.approx(alone.train_loss, rel=1e-9)


def test_in_float32_they_differ_by_rounding_alone(images):
    members = [cell(seed, width=1.0) for seed in range(3)]
    for packed, member in zip(train_packed(members, images), members, strict=True):
        assert packed.val_loss == pytest.approx(train(member, images).val_loss, rel=1e-3)


def test_a_pack_goes_on_where_it_stopped(exact_images):
    """Catches steps counted from the call instead of from the run's beginning."""
    run = Run(cell(), exact_images)
    run.advance([0.5] * 7)
    pack = Pack([cell(), cell(1)], exact_images)
    pack.advance([0.5] * 3)
    pack.advance([0.5] * 4)
    assert pack.runs[0].result().val_loss == pytest.approx(run.result().val_loss, rel=1e-9)
    assert pack.runs[0].step == 7


def test_a_member_that_diverges_disturbs_no_other_and_its_row_is_infinite(images):
    members = [cell(0), cell(1, lr=1e30), cell(2)]
    rows = train_packed(members, images)
    assert [identity_of(row) for row in rows] == [identity_of(member) for member in members]
    assert [np.isfinite(row.val_loss) for row in rows] == [True, False, True]
    for row, member in zip(rows[::2], members[::2]):
        assert row.val_loss == pytest.approx(train(member, images).val_loss, rel=1e-3)


def test_cells_of_two_shapes_are_refused(images):
    for other in (cell(1, width=1.0), cell(1, fraction=0.125), cell(1, batch_size=4), cell(1, schedule="cosine")):
        with pytest.raises(ValueError, match="differ"):
            train_packed([cell(), other], images)
    with pytest.raises(ValueError):
        train_packed([], images)


def test_seconds_of_the_rows_add_up_to_the_pack(images):
    """Catches a pack that bills its wall time to each member: estimates and costs would grow with its size."""
    pack = Pack([cell(seed) for seed in range(4)], images)
    began = perf_counter()
    pack.advance([0.5] * 5)
    assert 0 < sum(run.seconds for run in pack.runs) <= perf_counter() - began


def test_on_a_cpu_a_pack_has_the_very_rows_of_its_cells(images):
    """A batched model would give other bits than the cells alone, and gain nothing there."""
    members = (cell(0), cell(1), cell(2, lr=1e30))
    for row, member in zip(TASK.train(members, images, attempt_at(TASK, members)), members, strict=True):
        assert differing(row, train(member, images)) == []
        assert identity_of(row) == identity_of(member)
