"""One run: repeatable bit for bit, its subset nested, its branches independent, its schedule whole."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from trainers.mnist.cell import Cell
from trainers.mnist.images import load_images
from trainers.mnist.network import fan_ins
from trainers.mnist.train import Run, put_on, steps_of, train
from trainers.schedule import SHAPES, decay_factors, rate_factors
from trainers.task import Diverged

CELL = Cell(width=0.5, fraction=1 / 256, dropout=0.2, seed=3, lr=0.02, batch_size=4)
TIMINGS = {"train_seconds": 0.0}


@pytest.fixture(scope="module")
def images():
    torch.set_num_threads(1)
    return put_on(load_images(), "cpu", "f")


@pytest.fixture(scope="module")
def result(images):
    return train(CELL, images)


def test_the_same_cell_is_the_same_row_whatever_ran_before(images, result):
    torch.manual_seed(99)
    torch.rand(7)
    train(replace(CELL, width=1.0, seed=8), images)
    assert replace(train(CELL, images), **TIMINGS) == replace(result, **TIMINGS)


def test_read_only_arrays_as_from_rays_store_give_the_same_bits(result):
    arrays = load_images()
    for array in (arrays.train_images, arrays.val_images, arrays.train_labels, arrays.val_labels):
        array.setflags(write=False)
    assert train(CELL, put_on(arrays, "cpu", "f")).val_loss == result.val_loss


def test_training_touches_no_global_random_state(images):
    before = torch.random.get_rng_state()
    train(CELL, images)
    assert torch.equal(before, torch.random.get_rng_state())


def test_seed_dropout_and_rate_matter(images, result):
    assert all(train(replace(CELL, **change), images).val_loss != result.val_loss for change in ({"seed": 4}, {"dropout": 0.0}, {"lr": 0.01}))


def test_the_subset_is_random_and_nested(images):
    run = Run(CELL, images)
    assert sorted(run.order.tolist()) == list(range(60_000))
    wider = Run(replace(CELL, width=2.0, dropout=0.0, batch_size=32), images)
    assert torch.equal(run.order, wider.order)  # a fraction is a prefix, of one order for all cells of a seed
    assert not torch.equal(run.order, Run(replace(CELL, seed=4), images).order)


def test_the_row_counts_what_was_processed(images, result):
    assert result.steps == 234 // 4 and result.samples == result.steps * 4
    assert result.spent_flops == result.flops > 0
    assert 0 < result.val_accuracy < 1 and 0 < result.val_loss < math.log(10) * 1.2


def test_a_run_in_two_parts_is_the_run_in_one(images, result):
    run, factors = Run(CELL, images), rate_factors(58, shape=CELL.schedule, warmup=CELL.warmup)
    run.advance(factors[:20])
    run.evaluate()
    run.advance(factors[20:])
    assert run.result().val_loss == result.val_loss


def test_a_branch_leaves_its_trunk_alone(images):
    factors = [1.0] * 40
    alone, trunk = Run(CELL, images), Run(CELL, images)
    alone.advance(factors)
    trunk.advance(factors[:20])
    branch = trunk.branch()
    branch.advance(decay_factors(10))
    trunk.advance(factors[20:])
    assert trunk.evaluate() == alone.evaluate() != branch.evaluate()


def test_adam_is_torchs_own_under_both_rules(images):
    """Against plain torch.optim.AdamW, a parameter group a layer, driven by hand."""
    for rule in ("uniform", "fan_in"):
        cell = replace(CELL, dropout=0.0, lr_rule=rule, lr=0.05 if rule == "fan_in" else 0.02, weight_decay=0.01)
        ours, peer = Run(cell, images), Run(cell, images)
        ours.advance([0.5] * 5)
        shares = [(4 / n) ** 0.5 if rule == "fan_in" else 1.0 for n in fan_ins(cell.width)]
        plain = torch.optim.AdamW(
            [{"params": layer.parameters(), "lr": 0.5 * cell.lr * share} for layer, share in zip(peer.network.layers(), shares)],
            betas=(cell.beta1, cell.beta2), weight_decay=cell.weight_decay, fused=False, foreach=False)
        for k in range(5):
            batch = peer.order[4 * k:4 * k + 4]
            plain.zero_grad()
            torch.nn.functional.cross_entropy(peer.network(images.train_images[batch]), images.train_labels[batch]).backward()
            plain.step()
        for mine, theirs in zip(ours.network.parameters(), peer.network.parameters()):
            assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-3, atol=1e-5)


def test_a_run_that_diverges_is_told_and_its_row_has_infinite_losses(images):
    """Catches NaN in a row, which equals nothing, and a run that goes on from weights that are no numbers."""
    wild = replace(CELL, lr=1e30)
    run = Run(wild, images)
    with pytest.raises(Diverged, match="lr 1e"):
        run.advance([1.0] * 20)
    row = train(wild, images)
    assert (row.val_loss, row.train_loss, row.val_accuracy) == (math.inf, math.inf, 0.0) and row.steps > 0


def test_too_small_a_fraction_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="58, fewer than a batch of 64"):
        steps_of(2.0**-10, 64, 60_000)


def test_bfloat16_is_close_to_float32_but_not_it(images, result):
    rough = train(replace(CELL, precision="bfloat16"), images)
    assert rough.val_loss != result.val_loss and abs(rough.val_loss - result.val_loss) < 0.2


@settings(max_examples=60, deadline=None)
@given(steps=st.integers(1, 3000), shape=st.sampled_from(SHAPES), warmup=st.floats(0, 1))
def test_a_schedule_has_a_positive_factor_for_each_step_and_peaks_at_one(steps, shape, warmup):
    factors = np.array(rate_factors(steps, shape=shape, warmup=warmup))
    assert len(factors) == steps and (factors > 0).all() and factors.max() <= 1
    peak = int(factors.argmax())
    assert (np.diff(factors[:peak + 1]) > 0).all() and (np.diff(factors[peak:]) <= 0).all()


def test_schedules_decay_to_nearly_nothing():
    assert rate_factors(1000, shape="cosine")[-1] < 1e-5 and rate_factors(1000, shape="linear")[-1] < 2e-3
    assert decay_factors(9)[-1] == pytest.approx(0.1)
