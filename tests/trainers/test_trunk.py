"""Trunks: what the protocols that share a run yield, and what they charge."""

from collections import Counter
from dataclasses import replace

import pytest
from worlds.sweep_cases import attempt_at
from worlds.templates import templates

from sweeps.store.rows import differing
from trainers.columns import identity_of
from trainers.mnist.cell import Cell
from trainers.mnist.network import flops_per_image
from trainers.mnist.task import TASK
from trainers.mnist.train import Run, train
from trainers.mnist.trunk import CONSTANT, SCHEDULES, SINGLE_RUN, WSD, train_trunk
from trainers.schedule import decay_factors, rate_factors

BUDGETS = (0.25, 0.5, 1.0)
COSINE = Cell(width=0.5, fraction=1.0, dropout=0.2, seed=3, lr=0.01, batch_size=16)
LEVEL = replace(COSINE, warmup=0.05)


@pytest.fixture(scope="module")
def arrays():
    return templates()


@pytest.fixture(scope="module")
def images(arrays):
    return TASK.place(arrays, "cpu")


def points(cell, *protocols, budgets=BUDGETS):
    return [replace(cell, fraction=fraction, protocol=protocol, schedule=SCHEDULES[protocol])
            for fraction in budgets for protocol in protocols]


def trunk(cell, images, *protocols, budgets=BUDGETS):
    return list(train_trunk(points(cell, *protocols, budgets=budgets), images))


def same(one, other) -> bool:
    """Equal bit for bit but for what the protocol's bookkeeping says, and the clock."""
    return set(differing(one, other)) <= {"protocol", "spent_flops"}


def test_a_single_run_ends_as_the_run_of_its_own_budget_bit_for_bit(images):
    """Fails where the trunk's chunks, its evaluations on the way or its rate differ from a plain run's."""
    rows = trunk(COSINE, images, SINGLE_RUN)
    assert same(rows[-1], train(COSINE, images))
    assert [row.fraction for row in rows] == [0.25, 0.5, 1.0] and [row.samples for row in rows] == [160, 320, 640]


def test_branches_do_not_disturb_their_trunk(images):
    """Fails where a branch shares weights, optimiser state or dropout's random stream with its trunk."""
    alone, shared = trunk(LEVEL, images, CONSTANT), trunk(LEVEL, images, CONSTANT, WSD)
    assert all(differing(one, other) == [] for one, other in zip(alone, [row for row in shared if row.protocol == CONSTANT], strict=True))
    branched = [row for row in shared if row.protocol == WSD]
    assert [row.samples for row in branched] == [row.samples for row in alone]
    assert all(same(one, other) for one, other in zip(trunk(LEVEL, images, WSD), branched, strict=True))


def test_a_branch_trains_on_from_the_trunk_and_not_from_the_start(images):
    """Fails where the branch loses the optimiser's state or its place in the order of images."""
    run = Run(LEVEL, images)
    run.advance([*rate_factors(40, shape="constant", warmup=0.05)[:32], *decay_factors(8)])
    [row] = trunk(LEVEL, images, WSD, budgets=(1.0,))
    assert row.val_loss == run.evaluate().loss and row.schedule == "wsd"


@pytest.mark.parametrize("protocols", [(SINGLE_RUN,), (CONSTANT, WSD), (WSD,)])
def test_what_the_rows_spent_adds_up_to_what_was_computed_and_to_what_was_planned(arrays, images, protocols, monkeypatch):
    """Counts the optimiser's steps themselves."""
    steps, take = Counter(), Run._take_step
    monkeypatch.setattr(Run, "_take_step", lambda run: (steps.update(["taken"]), take(run))[1])
    cells = points(LEVEL, *protocols)
    rows = list(TASK.train(cells, images, attempt_at(TASK, cells)))
    image = flops_per_image(LEVEL.width)
    assert sum(row.spent_flops for row in rows) == steps["taken"] * LEVEL.batch_size * image
    assert all(row.flops == row.samples * image for row in rows)
    cost = TASK.cost(cells, arrays)
    assert (cost.steps, cost.evaluations) == (steps["taken"], len(rows))
    assert {identity_of(row) for row in rows} == {identity_of(cell) for cell in cells}


def test_a_trunk_that_cannot_serve_its_cells_is_refused(images):
    wrong_schedule = [replace(cell, schedule="cosine") for cell in points(LEVEL, CONSTANT)]
    two_rates = [*points(LEVEL, CONSTANT), *points(replace(LEVEL, lr=0.02), CONSTANT)]
    for cells in (points(LEVEL, SINGLE_RUN, CONSTANT), wrong_schedule, two_rates, [LEVEL], []):
        with pytest.raises(ValueError, match="no one trunk serves"):
            next(train_trunk(cells, images))


def test_a_trunk_that_diverges_yields_a_row_of_infinite_loss_for_each_cell(images):
    """Fails where a cell is lost with its trunk, or a branch goes on from weights that are no numbers."""
    cells = points(replace(LEVEL, lr=1e30), CONSTANT, WSD)
    rows = list(train_trunk(cells, images))
    assert {identity_of(row) for row in rows} == {identity_of(cell) for cell in cells}
    assert {row.val_loss for row in rows} == {float("inf")}
