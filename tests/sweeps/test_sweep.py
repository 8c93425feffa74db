"""Real sweeps through Ray, from the command line to the table, disturbed and not: the short version of tests/chaos."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest
from ray.tune import Callback
from worlds import bowl
from worlds.faulty_model import mend, spoil
from worlds.sweep_cases import SMALL, Log, assert_same_rows, command, faulty_jobs, faulty_task, few_images, in_order, real_cluster, trained

from sweeps import grid as grid_command
from sweeps.jobs.grid import Grid, cells_of
from sweeps.lab import sweep as lab_sweep
from sweeps.mnist_grid import main
from sweeps.running import conduct
from sweeps.running.connect import connect
from sweeps.running.exit import SweepError
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.files import StoreError
from sweeps.store.store import open_store, read_store
from trainers.mnist.task import TASK

GRID = Grid({"width": (0.25, 0.5), "fraction": (0.0078125, 0.00390625), "dropout": (0.0,)}, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def head():
    """One Ray for all sweeps of this module but the one that is killed: a start costs seconds."""
    with real_cluster(num_cpus=2, object_store_memory=600 * 2**20) as cluster:
        yield cluster.address


@pytest.fixture
def outcomes(monkeypatch):
    """How the sweeps of this process ended; a sweep that finds nothing to run leaves none."""
    ended = []
    monkeypatch.setattr(conduct, "run_jobs", lambda *args, **kwargs: ended.append(run_jobs(*args, **kwargs)) or ended[-1])
    return ended


def sweep(out, head, *more):
    """The command, in this process."""
    return main([*SMALL, "--address", head, "--out", str(out), *more])


def cells(grid):
    return cells_of(TASK, grid, lr=0.01)


def wait_for_rows(out, count, process):
    while process.poll() is None:
        if out.exists() and len(read_store(out, task=TASK).results) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"ended with {process.returncode} before it had {count} rows")


def test_killed_rerun_widened_and_repeated_a_table_is_that_of_an_undisturbed_loop(tmp_path, head, outcomes, capsys, mnist_once):
    """The promise in short: kill -9 in the middle, rerun on a wider grid, run again."""
    out = tmp_path / "r.parquet"
    killed = subprocess.Popen(command(out), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_rows(out, 2, killed)
        # A second terminal, while the first sweep runs.
        assert sweep(out, head) == 2
        assert str(killed.pid) in capsys.readouterr().err and not outcomes
    finally:
        killed.kill()
        killed.wait()
    kept = read_store(out, task=TASK).results
    assert 2 <= len(kept) <= GRID.size

    wider = replace(GRID, axes={**GRID.axes, "width": (0.25, 0.5, 0.75)})
    assert sweep(out, head, "--widths", "0.25", "0.5", "0.75") == 0
    [outcome] = outcomes
    assert (outcome.finished, outcome.failed) == (wider.size - len(kept), 0), "trained more than was missing"
    found = read_store(out, task=TASK)
    assert_same_rows(found.results, trained(TASK, cells(wider), TASK.load()))
    assert len(found.runs) == 2

    before = out.read_bytes()
    assert sweep(out, head) == 0
    assert len(outcomes) == 1, "something was trained again"
    assert out.read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()
                                                 if not path.name.endswith(".lock")) == ["r.parquet"]

    # Another choice, another data set: refused, and nothing is lost.
    assert sweep(out, head, "--lr", "0.02") == 2
    assert "lr 0.01" in capsys.readouterr().err
    with pytest.raises(StoreError, match="another --out"):
        open_store(out, task=TASK, provenance={}, fingerprint=TASK.fingerprint(few_images()))
    assert out.read_bytes() == before and len(outcomes) == 1


def test_the_smoke_preset_tunes_and_trains_end_to_end(tmp_path, head):
    out = tmp_path / "smoke.parquet"
    assert main(["--preset", "smoke", "--address", head, "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table.num_rows == 8 and json.loads(table.schema.metadata[b"provenance"])[0]["tuning"]["tuning"]["trials"] == 3
    # Each width's rate came out of its study at one fraction, and went to the other by the rule.
    rates = {(row["width"], row["fraction"]): row["lr"] for row in table.to_pylist()}
    tuned = read_store(out, task=TASK).tuning.values()
    assert {row.fraction for row in tuned} == {1 / 64}
    for width in (0.25, 0.5):
        tried = [row.lr for row in tuned if row.width == width]
        assert len(tried) >= 3 and min(tried) < rates[width, 1 / 64] < max(tried)
        at = {"width": width, "fraction": 1 / 64}
        assert rates[width, 1 / 128] == TASK.carried("lr", rates[width, 1 / 64], at, {"width": width, "fraction": 1 / 128})


MY_MODEL = """
import numpy as np
from my_data import line   # a file beside it

def train(width: int, samples: int, lr: float = 0.1, seed: int = 0) -> dict:
    random = np.random.default_rng(seed)
    x, y = line(random, samples, width)
    weights = np.zeros(width)
    for row, target in zip(x, y):
        weights += lr * (target - row @ weights) * row / width
    held_x, held_y = line(random, 200, width)
    return {"params": width, "flops": 4.0 * width * samples, "val_loss": float(np.mean((held_x @ weights - held_y) ** 2))}
"""
MY_DATA = """
def line(random, n, width):
    x = random.normal(size=(n, width))
    return x, x @ np.ones(width) + 0.1 * random.normal(size=n)
import numpy as np
"""


@pytest.fixture
def my_model(tmp_path, monkeypatch):
    """A user's file and the one that it imports, in a folder of theirs; the driver stands there."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_model.py").write_text(MY_MODEL)
    (folder / "my_data.py").write_text(MY_DATA)
    monkeypatch.chdir(folder)
    path = list(sys.path)
    yield folder
    sys.path[:] = path
    for name in ("my_model", "my_data"):
        sys.modules.pop(name, None)


def test_eight_lines_of_a_users_own_get_a_tuned_table_that_goes_on(tmp_path, head, my_model, outcomes):
    """From the command line: the grid, its tuning on seeds of its own, a rerun that finds nothing, and one that widens."""
    out = tmp_path / "mine.parquet"

    def grid(*more):
        return grid_command.main(["my_model.py:train", "--grid", "width=2,4", "samples=50,100", "--tune", "lr=0.01:2", "--by", "width",
                                  "--trials", "3", "--tune-seeds", "1", "--address", head, "--out", str(out), *more])

    assert grid("--seeds", "2") == 0
    rows = pd.read_parquet(out)
    assert len(rows) == 8 and set(rows.columns) >= {"width", "samples", "lr", "seed", "params", "flops", "val_loss"}
    assert rows.groupby("width")["lr"].nunique().tolist() == [1, 1] and rows["seed"].isin([0, 1]).all()
    assert rows.groupby("width")["val_loss"].min().max() < 0.1, "it has not been trained"
    before = out.read_bytes()
    assert grid("--seeds", "2") == 0 and len(outcomes) == 1 and out.read_bytes() == before
    assert grid("--seeds", "3") == 0 and outcomes[-1].finished == 4
    assert len(pd.read_parquet(out)) == 12
    (my_model / "my_data.py").write_text(MY_DATA.replace("0.1", "0.2"))
    sys.modules.pop("my_model"), sys.modules.pop("my_data")
    assert grid("--seeds", "3") == 2 and len(outcomes) == 2, "another data set under the same name"


def test_from_python_a_function_is_enough(tmp_path, head):
    """The rows are those of calling it, and no more is known of us there than its name."""
    out = str(tmp_path / "r.parquet")
    rows = lab_sweep(bowl.train, {"depth": [2, 4], "tokens": [1e4]}, seeds=2, choices={"lr": 0.01}, out=out, address=head)
    wanted = {(depth, seed): bowl.train(depth, 1e4, 0.01, seed=seed)["val_loss"] for depth in (2, 4) for seed in (0, 1)}
    assert {(row.depth, row.seed): row.val_loss for row in rows.itertuples()} == wanted


def run(jobs, task, store, head, log, **trials):
    with connect(head) as cluster:
        return run_jobs(in_order(jobs), task=task, data=None, store=store, cluster=cluster, watcher=log, trials=Trials(**trials))


def opened(out, task):
    return open_store(out, task=task, provenance={}, fingerprint=task.fingerprint(None))


FAULTS = {   # of a user's function, how it is recorded, and how often it was tried
    "raise": ("raised", 2), "exit": ("raised", 2), "nan": ("diverged", 1), "infinite": ("diverged", 1), "nothing": ("refused", 1),
    "no_loss": ("refused", 1), "array": ("refused", 1), "text": ("refused", 1), "other_keys": ("refused", 1),
    "nan_elsewhere": ("refused", 1), "of_another_cell": ("refused", 1), "hang": ("timeout", 2), "segfault": ("killed", 2)}


def test_whatever_a_function_does_is_a_failure_of_its_cell_and_the_sweep_goes_on(tmp_path, head):
    notes = tmp_path / "notes"
    notes.mkdir()
    task, faults = faulty_task(), dict(enumerate(FAULTS, 100))
    for number, fault in faults.items():
        spoil(notes, number, fault)
    spoil(notes, 50, "kill", times=1)     # fails once only
    spoil(notes, 51, "chat")              # prints twenty thousand lines, and is fine
    jobs = faulty_jobs(task, [0, 1, 2, 3, 50, 51, *faults], folder=str(notes))
    with opened(tmp_path / "r.parquet", task) as store:
        log = Log()
        outcome = run(jobs, task, store, head, log, retries=1, timeout_s=lambda job: 2.0)
        assert (outcome.finished, outcome.failed, outcome.interrupted) == (6, len(faults), False)
        assert {row.number for row in store.results.values()} == {0, 1, 2, 3, 50, 51}
        assert {faults[failed.number]: (failed.kind, failed.attempts) for failed in store.failures.values()} == FAULTS
        raised = next(failed for failed in store.failures.values() if faults[failed.number] == "raise")
        assert "no such cell" in raised.error and "LookupError" in raised.traceback and raised.host

        # A rerun tries just those, and what has been mended is a row.
        mend(notes)
        again = [job for job in jobs if job.identities()[0] not in store.results]
        outcome = run(again, task, store, head, log)
        assert (outcome.finished, outcome.failed) == (len(faults), 0) and not store.failures
    wanted = trained(task, [job.cells[0] for job in jobs])
    assert_same_rows(read_store(tmp_path / "r.parquet", task=faulty_task()).results, wanted)


def test_a_function_that_returns_no_loss_ends_the_sweep_at_once_and_says_so(tmp_path, head):
    """Of 10,000 cells nobody wants to read 10,000 failures."""
    task = faulty_task()
    for number in range(5):
        spoil(tmp_path, number, "no_loss")
    with opened(tmp_path / "r.parquet", task) as store, pytest.raises(SweepError, match="val_loss or loss"):
        run(faulty_jobs(task, range(5), folder=str(tmp_path)), task, store, head, Log())


class Broken(Callback):
    """A logger that fails on every result, and holds what no pickle can."""

    def setup(self, *args, **info):
        self.lock = threading.Lock()

    def on_trial_result(self, iteration, trials, trial, result, **info):
        raise ConnectionError("the tracking server is away")


def test_a_logger_that_fails_costs_no_attempt_and_no_row(tmp_path, head):
    """Catches cells that are given up because a logger broke their round off again and again."""
    task, log = faulty_task(), Log()
    jobs = faulty_jobs(task, range(6))
    with opened(tmp_path / "r.parquet", task) as store:
        outcome = run(jobs, task, store, head, log, callbacks=(Broken(),))
    assert (outcome.finished, outcome.failed) == (6, 0) and not log.failures
    assert len(log.notes) == 1 and "Broken" in log.notes[0], "told once, and by name"
    assert_same_rows(read_store(tmp_path / "r.parquet", task=faulty_task()).results, trained(task, [job.cells[0] for job in jobs]))
