"""A grid's plan, and its tuning, without Ray: what is asked for is what runs, a table goes on, and nonsense is one line."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import bowl
from worlds.sweep_cases import assert_same_rows, few_images, report, trained

from sweeps.jobs.grid import Grid, Spaced, cells_of, parsed_axis, parsed_range
from sweeps.lab import planned_grid
from sweeps.store.files import StoreError
from sweeps.store.store import open_store
from sweeps.studies.grid import plan_grid, source_of
from sweeps.tuning.tuned_grid import SEED_BASE
from trainers.columns import identity_of
from trainers.function import FunctionTask
from trainers.mnist.task import TASK
from trainers.task import Tuning

TUNED = dict(tune={"lr": (1e-4, 1.0)}, by=["depth"], trials=7, tune_seeds=2)


def plan(grid=None, **more):
    return planned_grid(bowl.train, grid or {"depth": [1, 4, 16], "tokens": [1e4, 1e5]}, **{"seeds": 2} | more)


def drive(plan, path, *, most=10**9, most_together=1):
    """The sweep without Ray: one job after the other. Returns the jobs it ran, its results and its tuning rows."""
    ran = []
    with open_store(path, task=plan.task, provenance={}, fingerprint="f") as store:
        source = source_of(plan, store, seconds=lambda job: 1.0, most=most_together)
        while len(ran) < most and (job := source.next()) is not None:
            rows = [plan.task.row_type(values)(**values) for values in report(plan.task, job)["rows"]]
            for row in rows:
                if job.table == "tuning":
                    store.append_tuning(row)
                elif math.isfinite(row.val_loss):
                    store.append(row)
            source.finished(job, rows)
            ran.append(job)
        return ran, source, dict(store.results), dict(store.tuning)


def test_the_plan_counts_what_one_run_trains_on_its_way_once():
    """Cells that differ in frames alone are points of one learning curve; an estimate by cells would be twice too long."""
    from sweeps.studies.grid import total_cost
    from trainers.procgen.task import ProcgenTask

    class Games:
        names, digest, actions, side = ("starpilot",), "d", 15, 64

    task, games = ProcgenTask(), Games()
    cells = [task.cell(game="starpilot", frames=frames, width=width) for width in (0.125, 0.25) for frames in (16384, 32768, 65536)]
    runs = task.runs(cells, most=1)
    assert [len(run) for run in runs] == [3, 3]
    assert total_cost(task, runs, games).flops == sum(task.cost([cell], games).flops for cell in cells if cell.frames == 65536)


def test_each_group_gets_the_value_that_made_its_losses_least(tmp_path):
    """Recovery: the best rate of each depth, through noise, over runs that diverge; on seeds that the grid does not use."""
    ran, source, results, tuning = drive(plan(**TUNED), tmp_path / "r.parquet")
    assert source.exhausted() and len(results) == 3 * 2 * 2
    for row in results.values():
        assert row.lr == pytest.approx(bowl.best_lr(row.depth), rel=0.2)
    assert all(verdict.bracketed for verdict in source.tuned.values())
    assert len({(row.depth, row.lr) for row in results.values()}) == 3, "a group's cells share its value"
    assert {row.seed for row in results.values()} == {0, 1}
    assert {row.seed for row in tuning.values()} == {SEED_BASE, SEED_BASE + 1}
    assert {row.tokens for row in tuning.values()} == {1e5}, "the other axis stays at its middle"


def test_a_stopped_sweep_goes_on_and_ends_with_the_same_table(tmp_path):
    """Fails where a resumed sweep loses, repeats or changes a run, or settles on another value."""
    whole, _, results, tuning = drive(plan(**TUNED), tmp_path / "whole.parquet")
    runs = Counter((job.table, job.identities()) for job in whole)
    assert set(runs.values()) == {1}
    parts = []
    while ran := drive(plan(**TUNED), tmp_path / "parts.parquet", most=5)[0]:
        parts += ran
    assert Counter((job.table, job.identities()) for job in parts) == runs
    _, _, held, tried = drive(plan(**TUNED), tmp_path / "parts.parquet")
    assert_same_rows(held, results)
    assert_same_rows(tried, tuning)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 8, 16]), min_size=1, max_size=4, unique=True), st.integers(1, 3),
       st.lists(st.sampled_from([1e4, 1e5, 1e6]), min_size=1, max_size=3, unique=True))
def test_widening_a_grid_trains_what_is_missing_and_nothing_else(tmp_path_factory, depths, seeds, tokens):
    """A sweep is a set difference, whatever was there before."""
    path = tmp_path_factory.mktemp("wider") / "r.parquet"
    first = drive(plan(), path)[2]
    wider = plan({"depth": depths, "tokens": tokens}, seeds=seeds)
    ran, source, results, _ = drive(wider, path)
    asked = {identity_of(cell) for cell in wider.cells()}
    assert len(asked) == len(depths) * len(tokens) * seeds
    assert {identity for job in ran for identity in job.identities()} == asked - set(first)
    assert set(results) == asked | set(first) and source.exhausted()


def test_an_untuned_grid_is_the_loop_that_a_person_would_write(tmp_path):
    grid = plan(choices={"lr": 0.01, "activation": "gelu"})
    _, _, results, tuning = drive(grid, tmp_path / "r.parquet")
    task = FunctionTask(bowl.train, axes=["depth", "tokens"])
    cells = [task.cell(depth=depth, tokens=tokens, lr=0.01, activation="gelu", seed=seed)
             for depth in (1, 4, 16) for tokens in (1e4, 1e5) for seed in (0, 1)]
    wanted = trained(task, cells)
    assert {key: row.val_loss for key, row in results.items()} == {key: row.val_loss for key, row in wanted.items()}
    assert not tuning


def test_a_table_of_another_choice_is_refused_and_one_of_further_axes_is_not(tmp_path):
    """Two rates at one place of the grid would make two values of one point."""
    path = tmp_path / "r.parquet"
    drive(plan(choices={"lr": 0.01}), path)
    with pytest.raises(StoreError, match="lr.*choose another --out"):
        drive(plan(choices={"lr": 0.02}), path)
    with pytest.raises(StoreError, match="activation"):
        drive(plan(choices={"lr": 0.01, "activation": "gelu"}), path)
    with pytest.raises(StoreError, match="lr"):
        drive(plan(**TUNED), path)
    assert len(drive(plan({"depth": [32], "tokens": [1e4]}, choices={"lr": 0.02}), path)[0]) == 2, "another place"


def test_a_preset_is_what_it_says_and_each_part_of_it_can_be_said_otherwise(mnist_once):
    whole = planned_grid(TASK, preset="smoke")
    assert whole.tuning.tuning.choice == "lr" and len(whole.cells()) == whole.grid.size == 8
    given = planned_grid(TASK, {"width": [0.25]}, preset="smoke", choices={"lr": 0.01})
    assert given.tuning is None and {(cell.width, cell.lr) for cell in given.cells()} == {(0.25, 0.01)}
    narrow = planned_grid(TASK, preset="smoke", tune={"lr": (1e-3, 1e-1)}, trials=4)
    assert (narrow.tuning.tuning.low, narrow.tuning.tuning.trials, narrow.tuning.tuning.by) == (1e-3, 4, ("width",))
    other = planned_grid(TASK, preset="smoke", choices={"lr": 0.01}, tune={"weight_decay": (1e-4, 1.0)}, by=["width"])
    assert other.tuning.tuning.choice == "weight_decay" and {cell.lr for cell in other.cells()} == {0.01}


def test_choices_follow_from_the_axes_unless_they_are_given(mnist_once):
    """MNIST's batch size grows with the data, and a batch size that is asked for stays."""
    grid = {"width": [0.25], "fraction": [0.25, 1.0], "dropout": [0.0]}
    assert {cell.batch_size for cell in planned_grid(TASK, grid, choices={"lr": 0.01}).cells()} == {12, 24}
    assert {cell.batch_size for cell in planned_grid(TASK, grid, choices={"lr": 0.01, "batch_size": 8}).cells()} == {8}


def test_a_setting_may_be_an_option_and_stands_in_for_a_presets_axis():
    """`--lr 0.01` is `--set lr=0.01`, and `--width 0.5` on a preset is `--grid width=0.5`: of the setting's own type."""
    assert {cell.lr for cell in plan(options={"lr": "0.01"}).cells()} == {0.01}
    asked = planned_grid(TASK, preset="smoke", options={"width": "0.5", "lr": "0.01"})
    assert {(cell.width, cell.lr) for cell in asked.cells()} == {(0.5, 0.01)} and asked.tuning is None


def quiet(depth: int, width: int, lr: float = 1e-3) -> dict:
    return {"loss": 1.0}


NONSENSE = {
    "an axis that the function does not take": (dict(grid={"depht": [1, 2]}), "depht"),
    "none for a setting without a default": (dict(grid={"tokens": [1e4]}), "depth"),
    "a fraction for a whole number": (dict(grid={"depth": [1, 2.5]}), "depth=2.5"),
    "text for a number": (dict(grid={"depth": ["two"]}), "depth=two"),
    "a value twice": (dict(grid={"depth": [2, 2]}), "depth"),
    "one value twice, in two spellings": (dict(grid={"depth": ["2", "2.0"]}), "depth"),
    "no value": (dict(grid={"depth": []}), "depth"),
    "infinity": (dict(grid={"depth": [1], "tokens": [math.inf]}), "tokens"),
    "NaN": (dict(grid={"depth": [1], "tokens": [math.nan]}), "tokens"),
    "no seed": (dict(seeds=0), "--seeds"),
    "a setting on the grid and set": (dict(choices={"depth": 3}), "depth"),
    "an unknown setting": (dict(choices={"momentum": 0.9}), "momentum"),
    "tuned and given": (dict(tune={"lr": (1e-4, 1e-1)}, choices={"lr": 0.1}), "lr"),
    "text tuned": (dict(tune={"activation": (1, 2)}), "activation"),
    "bounds that fall": (dict(tune={"lr": (1e-1, 1e-4)}), "lr"),
    "bounds below zero": (dict(tune={"lr": (-1.0, 1.0)}), "lr"),
    "two choices tuned": (dict(tune={"lr": (1e-4, 1e-1), "tokens": (1e3, 1e5)}), "--tune"),
    "tuned by what is no axis": (dict(tune={"lr": (1e-4, 1e-1)}, by=["activation"]), "activation"),
    "said where to tune, and not what": (dict(by=["depth"]), "--tune"),
    "too few values": (dict(tune={"lr": (1e-4, 1e-1)}, trials=2), "3 values"),
    "a preset of a function": (dict(preset="quick"), "preset"),
    "an option that it has not": (dict(options={"dataset": "x"}), "--dataset"),
    "a setting as an option, with two values": (dict(options={"lr": ("1e-3", "1e-2")}), "--lr"),
    "a setting as an option, and set": (dict(choices={"lr": 1e-3}, options={"lr": "1e-2"}), "lr is given twice"),
    "an axis of the grid as an option": (dict(options={"depth": "3"}), "depth is given twice"),
    "more cells than anybody trains": (dict(grid={"depth": range(1, 4000), "tokens": range(1, 4000)}), "cells"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_what_no_sweep_can_do_is_one_line_that_names_it(case):
    more, names = NONSENSE[case]
    with pytest.raises(ValueError, match=names) as refusal:
        plan(more.get("grid"), **{name: value for name, value in more.items() if name != "grid"})
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize(("axes", "change"), [({"width": (0.0,)}, {}), ({"fraction": (1.5,)}, {}), ({"dropout": (1.0,)}, {}),
                                              ({}, {"batch_size": 4000})])
def test_what_the_task_cannot_train_is_refused_before_anything_is(axes, change):
    whole = {"width": (0.5,), "fraction": (0.5,), "dropout": (0.0,)} | axes
    with pytest.raises(ValueError):
        plan_grid(TASK, few_images(), Grid(whole, choices={"lr": 0.01, "batch_size": 8} | change))


def test_without_a_seed_there_is_one_run_a_place_and_tuning_repeats_nothing(tmp_path):
    with pytest.raises(ValueError, match="--seeds"):
        planned_grid(quiet, {"depth": [1], "width": [2]}, seeds=3)
    once = planned_grid(quiet, {"depth": [1, 2], "width": [2]}, tune={"lr": (1e-4, 1e-1)}, tune_seeds=3)
    assert once.tuning.tuning.seeds == 1 and len(once.cells()) == 2


def test_seeds_can_be_given_by_their_values():
    assert {cell.seed for cell in plan({"depth": [1], "seed": [7, 9]}, seeds=None).cells()} == {7, 9}


@given(st.dictionaries(st.sampled_from(["depth", "tokens"]), st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True), min_size=2),
       st.integers(1, 3))
def test_cells_are_every_combination_once_whatever_the_order_of_the_values(axes, seeds):
    task = FunctionTask(bowl.train, axes=["depth", "tokens"])
    grid = Grid({name: tuple(values) for name, values in axes.items()}, tuple(range(seeds)))
    turned = Grid({name: tuple(reversed(values)) for name, values in axes.items()}, tuple(reversed(range(seeds))))
    cells = cells_of(task, grid)
    assert cells == cells_of(task, turned) and len(cells) == len(set(cells)) == grid.size
    assert {(cell.depth, cell.tokens, cell.seed) for cell in cells} == {
        (depth, tokens, seed) for depth in axes["depth"] for tokens in axes["tokens"] for seed in range(seeds)}


@pytest.mark.parametrize(("text", "name", "values"), [
    ("depth=2,4,8", "depth", ("2", "4", "8")), ("p=wsd:mine, single", "p", ("wsd:mine", "single")), ("lr=1e-3", "lr", ("1e-3",)), ("kind=relu, gelu", "kind", ("relu", "gelu")),
    ("tokens=1e5:1e7:5", "tokens", pytest.approx((1e5, 10**5.5, 1e6, 10**6.5, 1e7), rel=1e-5)), ("x=0.5:8:5", "x", (0.5, 1, 2, 4, 8))])
def test_axes_are_read_as_they_are_written(text, name, values):
    assert parsed_axis(text) == (name, values)


def test_a_range_of_a_whole_axis_is_rounded_and_names_none_twice():
    assert plan({"depth": Spaced((1.0, 1.3, 2.6))}).grid.axes["depth"] == (1, 3)


@pytest.mark.parametrize("text", ["depth", "=2", "depth=", "2=3", "x=1:2", "x=2:1:3", "x=0:1:3", "x=1:2:1", "x=a:b:c", "x=1:inf:3", "a b=1"])
def test_what_is_no_axis_is_refused(text):
    with pytest.raises(ValueError) as refusal:
        parsed_axis(text)
    assert text in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["lr", "lr=1", "lr=a:b", "lr=1:2:3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match="--tune"):
        parsed_range(text)


def test_tuning_is_planned_where_the_grid_is():
    tuning = Tuning("lr", 1e-4, 1.0, by=("depth",), at={"tokens": 1e4})
    task, grid = FunctionTask(bowl.train, axes=["depth", "tokens"]), Grid({"depth": (1, 4), "tokens": (1e4, 1e5)})
    made = plan_grid(task, None, grid, tuning=tuning)
    assert {cell.tokens for cell in made.trials()} == {1e4} and len(made.trials()) == 2 * 7 * 2
