"""Cells that a file lists: what is asked for is what is trained, beside a table's own, and nonsense is one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from worlds import bowl
from worlds.sweep_cases import report, trained

from sweeps.jobs.listed import read_listing
from sweeps.lab import planned_cells, planned_grid
from sweeps.store.files import StoreError
from sweeps.store.store import open_store
from sweeps.studies.grid import source_of
from trainers.columns import names
from trainers.mnist.task import TASK

ROOT = Path(__file__).resolve().parents[2]
GOOD = "# axes: depth, tokens\ndepth,tokens,lr,seed\n3,2e4,0.01,5\n4,1e5,0.005,2\n"


def listed(folder: Path, text: str, task=bowl.train, **more):
    (folder / "cells.csv").write_text(text)
    return planned_cells(task, str(folder / "cells.csv"), **more)


def drive(plan, path: Path) -> tuple[int, dict]:
    """Without Ray. Returns how many runs it took, and the table."""
    with open_store(path, task=plan.task, provenance={}, fingerprint="f") as store:
        source, ran = source_of(plan, store, seconds=lambda job: 1.0), 0
        while (job := source.next()) is not None:
            ran += 1
            for values in report(plan.task, job)["rows"]:
                store.append(plan.task.row_type(values)(**values))
        return ran, dict(store.results)


def test_the_listed_cells_are_trained_and_nothing_else(tmp_path):
    plan = listed(tmp_path, GOOD)
    ran, results = drive(plan, tmp_path / "r.parquet")
    cells = [plan.task.cell(depth=3, tokens=2e4, lr=0.01, seed=5), plan.task.cell(depth=4, tokens=1e5, lr=0.005, seed=2)]
    assert ran == 2 and plan.cells() == sorted(cells)
    assert {key: row.val_loss for key, row in results.items()} == {key: row.val_loss for key, row in trained(plan.task, cells).items()}
    assert names(plan.task.cell, "axis") == ("depth", "tokens") and names(plan.task.cell, "choice") == ("lr", "activation")
    assert drive(listed(tmp_path, GOOD), tmp_path / "r.parquet")[0] == 0, "a second time nothing is missing"


def test_they_join_the_table_of_a_grid_and_refuse_its_places_at_another_choice(tmp_path):
    path = tmp_path / "r.parquet"
    drive(planned_grid(bowl.train, {"depth": [1, 4], "tokens": [1e5]}, seeds=2, choices={"lr": 0.01}), path)
    assert len(drive(listed(tmp_path, GOOD), path)[1]) == 4 + 2
    with pytest.raises(StoreError, match="lr"):
        drive(listed(tmp_path, GOOD.replace("4,1e5,0.005,2", "4,1e5,0.005,1")), path)


def test_columns_that_are_not_there_come_from_the_defaults_and_from_set(tmp_path):
    cell, = listed(tmp_path, "depth\n4\n", choices={"lr": "0.5", "activation": "gelu"}).cells()
    assert (cell.depth, cell.tokens, cell.lr, cell.activation, cell.seed) == (4, 1e5, 0.5, "gelu", 0)


def test_a_choice_among_the_axes_varies_at_one_place(tmp_path):
    text = "# axes: width, fraction, lr\nwidth,fraction,lr\n0.5,1,0.01\n0.5,1,0.02\n"
    assert [cell.lr for cell in listed(tmp_path, text, "mnist").cells()] == [0.01, 0.02]
    with pytest.raises(ValueError, match="lines 3 and 4.*place.*axes"):
        listed(tmp_path, text.replace(", lr\n", "\n"), "mnist")
    with pytest.raises(ValueError, match="the same cell"):
        listed(tmp_path, text.replace("0.02", "0.01"), "mnist")


def test_a_task_of_the_lab_knows_its_own_axes_and_recipes(tmp_path):
    text = "width,fraction,seed\n0.25,0.25,7\n0.3,1,8\n"
    batch = [TASK.recipe({"fraction": fraction})["batch_size"] for fraction in (0.25, 1.0)]
    assert [(cell.width, cell.batch_size, cell.seed) for cell in listed(tmp_path, text, "mnist").cells()] == [
        (0.25, batch[0], 7), (0.3, batch[1], 8)]
    with pytest.raises(ValueError, match="fraction"):
        listed(tmp_path, text.replace("0.3,1,", "0.3,2,"), "mnist")


NONSENSE = {
    "nothing": ("", "no cells"),
    "a header alone": ("depth,tokens\n", "no cells"),
    "a name that the function does not take": (GOOD.replace("lr", "rate"), "rate"),
    "text for a number": (GOOD.replace("3,2e4", "three,2e4"), "line 3.*depth=three"),
    "a fraction for a whole number": (GOOD.replace("3,2e4", "2.5,2e4"), "line 3.*depth=2.5"),
    "an empty value": (GOOD.replace("3,2e4", ",2e4"), "line 3.*depth"),
    "infinity": (GOOD.replace("2e4", "inf"), "line 3.*tokens"),
    "too few values": (GOOD.replace("3,2e4,0.01,5", "3,2e4"), "line 3"),
    "a column twice": (GOOD.replace("lr,seed", "depth,seed"), "depth.*twice"),
    "a cell twice": (GOOD + "3,2e4,0.01,5\n", "lines 3 and 5"),
    "a place twice, at two rates": (GOOD + "3,2e4,0.02,5\n", "lines 3 and 5.*place"),
    "an axis that is no column": (GOOD.replace("axes: depth", "axes: width"), "width"),
    "no setting that the function needs": ("tokens\n1e4\n", "depth"),
    "a stray quote": (GOOD + '4,"1e5,0.1,3\n', "CSV|values|cells"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_what_lists_no_cells_is_one_line_that_says_where(tmp_path, case):
    text, said = NONSENSE[case]
    with pytest.raises(ValueError, match=said) as refusal:
        listed(tmp_path, text)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_bytes_a_folder_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80PAR1")
    for name in ("b.csv", ".", "missing.csv"):
        with pytest.raises(ValueError) as refusal:
            read_listing(str(tmp_path / name))
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("arguments", [("--cells", "missing.csv"), ("--cells", "bad.csv"), ("--cells", "bad.csv", "--grid", "depth=1"),
                                       ("--cells", "bad.csv", "--seeds", "2")])
def test_the_command_refuses_with_one_line_and_status_2(tmp_path, arguments):
    (tmp_path / "bad.csv").write_text("widht,fraction\n0.25,1\n")
    done = subprocess.run([sys.executable, str(ROOT / "sweeps" / "grid.py"), "mnist", *arguments, "--dry-run"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line]) == 1
