"""MNIST as a Task: what a sweep is told of a cell before it runs is what its row says, and older tables go on."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from worlds.sweep_cases import attempt_at, few_images
from worlds.templates import templates

from sweeps.jobs.grid import grid_of
from sweeps.store.rows import differing
from sweeps.store.store import read_store
from sweeps.studies.grid import plan_grid
from trainers.columns import names
from trainers.mnist.cell import Cell
from trainers.mnist.packed import shape
from trainers.mnist.presets import BatchRule, rate
from trainers.mnist.task import TASK
from trainers.mnist.train import train
from trainers.mnist.trunk import CONSTANT, SCHEDULES, SINGLE_RUN, WSD
from trainers.task import Tuning

PUBLISHED = Path(__file__).resolve().parents[2] / "analysis" / "published"
CELL = Cell(width=0.5, fraction=0.5, lr=0.01, batch_size=8)


@pytest.mark.parametrize("cell", [CELL, replace(CELL, width=1.0, fraction=0.3, batch_size=7, dropout=0.2)])
def test_cost_and_sizes_are_those_of_the_row(cell):
    images = templates()
    row = train(cell, TASK.place(images, "cpu"))
    cost = TASK.cost([cell], images)
    assert (cost.flops, cost.steps, cost.evaluations) == (row.flops, row.steps, 1)
    assert TASK.sizes(cell, images) == {"channels": row.channels, "params": row.params, "samples": row.samples}
    two = TASK.cost([cell, replace(cell, seed=1)], images)
    assert two == cost + cost


cells = st.builds(lambda protocol, **settings: Cell(lr=0.01, protocol=protocol, schedule=SCHEDULES.get(protocol, "cosine"), **settings),
                  width=st.sampled_from([0.5, 1.0]), fraction=st.sampled_from([0.25, 0.5]), dropout=st.sampled_from([0.0, 0.2]),
                  seed=st.integers(0, 5), protocol=st.sampled_from(["per-budget", "carbs", SINGLE_RUN, CONSTANT, WSD]))


@given(st.lists(cells, unique=True, max_size=20), st.integers(1, 5), st.randoms(use_true_random=False))
def test_runs_hold_every_cell_once_whatever_the_order_and_packs_are_of_one_shape(cells, most, random):
    """Catches a cell lost between two packs, and company that depends on the order: on a GPU it decides the last bits."""
    runs = TASK.runs(cells, most=most)
    assert sorted(cell for run in runs for cell in run) == sorted(cells)
    shuffled = random.sample(cells, len(cells))
    assert sorted(TASK.runs(shuffled, most=most)) == sorted(runs)
    for run in runs:
        trunk = run[0].protocol in SCHEDULES
        assert {cell.protocol in SCHEDULES for cell in run} == {trunk}
        assert trunk or (len(run) <= most and len({shape(cell) for cell in run}) == 1)
        if trunk:   # one run serves all of its budgets, however many
            assert len({(cell.width, cell.dropout, cell.seed, cell.schedule == "cosine") for cell in run}) == 1
            assert TASK.apart(run) == [run]
        else:
            assert TASK.apart(run) == [(cell,) for cell in run]
    assert len([run for run in runs if run[0].protocol in SCHEDULES]) <= len({replace(cell, fraction=1.0) for cell in cells})


def test_budgets_and_protocols_of_one_trunk_are_one_run():
    points = [replace(CELL, fraction=fraction, protocol=protocol, schedule=SCHEDULES[protocol])
              for fraction in (0.25, 0.5) for protocol in (CONSTANT, WSD, SINGLE_RUN)]
    assert sorted(map(len, TASK.runs(points, most=1))) == [2, 4]


@pytest.mark.parametrize("change", [{"width": 0.0}, {"width": float("inf")}, {"fraction": 1.5}, {"fraction": 0.0}, {"dropout": 1.0},
                                    {"dropout": -0.1}, {"seed": -1}, {"precision": "float8"}, {"schedule": "spiral"},
                                    {"fraction": 1 / 64, "batch_size": 11}])
def test_what_no_run_can_have_is_refused_in_one_line(change):
    images = templates()
    TASK.check(CELL, images)
    with pytest.raises(ValueError) as refusal:
        TASK.check(replace(CELL, **change), images)
    assert "\n" not in str(refusal.value)


@given(st.integers(0, 12))
def test_steps_shrink_as_the_square_root_of_the_data(k):
    batch, images = BatchRule(full=32), 2.0**-k * 60_000
    assume(batch(2.0**-k) >= 2)  # below, rounding rules
    assert images / batch(2.0**-k) == pytest.approx(1875 * 2 ** (-k / 2), rel=0.25)


@pytest.mark.parametrize("table", ["mnist-thorough.parquet", "mnist-rule.parquet", "mnist-carbs.parquet"])
def test_published_tables_go_on_with_this_code(table):
    """Catches a change of the trainer that gives other bits, or bars tables whose bits it would give."""
    images = TASK.load()
    found = read_store(PUBLISHED / table, task=TASK)
    assert found.fingerprint == TASK.fingerprint(images) and not found.notices
    row = min(found.results.values(), key=lambda row: row.flops)
    again = train(Cell(**{name: getattr(row, name) for name in names(Cell, "axis", "choice", "repeat")}), TASK.place(images, "cpu"))
    # Other processors round otherwise: there the losses agree as far as rounding lets two runs stay together.
    assert set(differing(row, again)) <= {"train_loss", "val_loss", "val_accuracy"}
    assert again.val_loss == pytest.approx(row.val_loss, rel=1e-3)


def test_the_fingerprint_tells_data_sets_apart():
    assert len({TASK.fingerprint(few_images(seed=0)), TASK.fingerprint(few_images(seed=1)), TASK.fingerprint(templates())}) == 3


def test_a_pack_is_one_run_only_where_a_device_gains_by_it():
    """On a CPU the same cells, whatever the pack: their rows are the cells' own."""
    images, members = TASK.place(templates(), "cpu"), (CELL, replace(CELL, seed=1))
    packed = list(TASK.train(members, images, attempt_at(TASK, members)))
    assert [differing(row, train(cell, images)) for row, cell in zip(packed, members, strict=True)] == [[], []]


def test_a_tuned_rate_is_carried_to_other_fractions_by_the_rule_and_stays_where_it_was_tuned():
    at = {"width": 2.0, "fraction": 0.125, "dropout": 0.0}
    assert TASK.carried("lr", 0.0123456789, at, {**at, "dropout": 0.2}) == 0.0123456789, "a trial's own rate, to the last bit"
    assert TASK.carried("lr", 0.01, at, {**at, "fraction": 1.0}) == pytest.approx(0.01 * rate(2.0, 1.0) / rate(2.0, 0.125), rel=1e-3)
    assert TASK.carried("weight_decay", 0.01, at, {**at, "fraction": 1.0}) == 0.01


def test_a_sweep_tuned_by_width_trains_each_fraction_at_its_carried_rate():
    grid = grid_of(TASK, {"width": (0.25, 2.0), "fraction": (0.125, 1.0), "dropout": (0.0,)}, 1, {})
    plan = plan_grid(TASK, few_images(), grid, tuning=Tuning("lr", 1e-3, 1.0, by=("width",), start=0.01, trials=3, seeds=1, at={"fraction": 0.125}))
    assert {cell.lr for cell in plan.trials()} == {0.01}
    rates = {(cell.width, cell.fraction): cell.lr for cell in plan.cells()}
    assert rates[2.0, 0.125] == 0.01 and rates[2.0, 1.0] == TASK.carried("lr", 0.01, {"width": 2.0, "fraction": 0.125}, {"width": 2.0, "fraction": 1.0})
