"""A user's function from end to end, through real Ray: grid, tuning, search, kills, saved states, and a node without the file."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweeps.running.conduct import Machines
from sweeps.studies.grid import run_grid
from trainers.script import script_of

ROOT = Path(__file__).resolve().parents[2]

MODEL = '''
import numpy as np
from parts import loss_of

def train(depth: int, tokens: int, lr: float = 3e-4, seed: int = 0) -> dict:
    n = 100 * depth**2
    return {"params": n, "samples": tokens, "flops": 6.0 * n * tokens, "val_loss": loss_of(n, tokens, lr, np.random.default_rng(seed))}
'''
PARTS = '''
import math

def loss_of(n, d, lr, rng):
    return (1.5 + 30 / n**0.4 + 300 / d**0.4 + 0.1 * math.log(lr / 3e-3) ** 2) * math.exp(0.01 * rng.standard_normal())
'''
SAVING = '''
import time
import numpy as np

def train(depth: int, steps: int = 80, seed: int = 0, *, attempt) -> dict:
    rng, total, first = np.random.default_rng(seed), 0.0, 0
    state = attempt.restored()
    if state is not None:
        rng.bit_generator.state, total, first = state["rng"], float(state["total"][0]), state["step"]
    for step in range(first, steps):
        total += depth * rng.standard_normal()
        time.sleep(0.1)
        attempt.save(lambda: {"rng": rng.bit_generator.state, "total": np.array([total]), "step": step + 1})
    return {"loss": 10.0 + np.tanh(total), "began_at": first}
'''


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def command(folder, *words, script="grid.py"):
    return [sys.executable, str(ROOT / "sweeps" / script), *map(str, words)]


def run(folder, *words, script="grid.py"):
    return subprocess.run(command(folder, *words, script=script), cwd=folder, capture_output=True, text=True, timeout=300)


def without_clocks(path):
    return pd.read_parquet(path).drop(columns="wall_seconds")


def test_a_function_is_swept_and_tuned_goes_on_where_it_was_and_is_fitted(tmp_path):
    write(tmp_path, my_model=MODEL, parts=PARTS)
    grid = ("my_model.py:train", "--grid", "depth=2,4,8,16", "tokens=1e3:8e3:4", "--tune", "lr=1e-4:1e-1", "--by", "depth",
            "--tune-seeds", 1, "--out", "r.parquet")
    first = run(tmp_path, *grid, "--seeds", 1)
    assert first.returncode == 0, first.stderr
    rows = pd.read_parquet(tmp_path / "r.parquet")
    assert len(rows) == 16 and sorted(rows.depth.unique()) == [2, 4, 8, 16] and rows.tokens.dtype == np.int64
    train = script_of(tmp_path / "my_model.py").load().train
    for _, row in rows.iterrows():   # every row is what the function gives for its settings
        assert train(int(row.depth), int(row.tokens), row.lr, int(row.seed))["val_loss"] == row.val_loss
    assert all(abs(math.log(lr / 3e-3)) < 0.3 for lr in rows.lr.unique())   # where the loss has its minimum
    wider = run(tmp_path, *grid, "--seeds", 2)
    assert wider.returncode == 0, wider.stderr
    both = pd.read_parquet(tmp_path / "r.parquet")
    assert len(both) == 32 and both[both.seed == 0].reset_index(drop=True).equals(rows)   # clocks included: trained once
    again = run(tmp_path, *grid, "--seeds", 2)
    assert again.returncode == 0 and pd.read_parquet(tmp_path / "r.parquet").equals(both)
    fit = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), "r.parquet", "--resamples", "50", "--no-figures"], cwd=tmp_path,
                         capture_output=True, text=True, timeout=200)
    assert fit.returncode == 0 and (tmp_path / "r-fit" / "report.html").exists(), fit.stderr


def test_five_lines_of_python_give_a_table_and_a_search_goes_on_from_it(tmp_path):
    script = '''
from sweeps.lab import search, sweep

def train(depth: int, tokens: int, lr: float = 3e-4, seed: int = 0) -> dict:
    return {"params": depth, "flops": 6.0 * depth * tokens, "loss": 1 + 1 / depth + 100 / tokens}

rows = sweep(train, {"depth": [2, 4], "tokens": [1e3, 2e3]}, seeds=2, out="p.parquet")
assert list(rows.loss) == [1 + 1 / d + 100 / t for d, t in zip(rows.depth, rows.tokens)], rows
found = search(train, {"depth": "log:2", "tokens": "log:1000", "lr": "log:1e-3"}, budget=1e7, runs=6, out="s.parquet")
assert 5 <= len(found) <= 6, found
'''
    (tmp_path / "five.py").write_text(script)
    ran = subprocess.run([sys.executable, "five.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr
    fit = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), "s.parquet", "--no-figures"], cwd=tmp_path,
                         capture_output=True, text=True, timeout=200)
    assert fit.returncode == 0 and "The front falls to a loss of" in fit.stdout, fit.stdout + fit.stderr


def wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_saves_goes_on_after_the_sweep_was_stopped_and_gives_the_same_row(tmp_path, number):
    write(tmp_path, saving=SAVING)
    undisturbed, out = tmp_path / "u.parquet", tmp_path / "r.parquet"
    grid = ("saving.py:train", "--grid", "depth=1,2", "--save-every", 0.5, "--cpus", 2)
    with open(tmp_path / "log", "w") as log:
        sweep = subprocess.Popen(command(tmp_path, *grid, "--out", out), cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        saved = Path(f"{out}.saved")
        wait_for(lambda: sweep.poll() is not None or saved.is_dir() and len(list(saved.glob("[0-9a-f]*"))) >= 2)
        if number == signal.SIGKILL:
            os.killpg(sweep.pid, number)
        else:
            sweep.send_signal(number)
        sweep.wait(timeout=60)
    assert not out.exists() and list(saved.iterdir()), (tmp_path / "log").read_text()
    resumed = run(tmp_path, *grid, "--out", out)
    assert resumed.returncode == 0, resumed.stderr
    assert not saved.exists()   # what was saved goes once the rows are safe
    rows = pd.read_parquet(out)
    assert (rows.began_at > 0).all()
    whole = run(tmp_path, *grid, "--out", undisturbed)
    assert whole.returncode == 0, whole.stderr
    assert without_clocks(out).drop(columns="began_at").equals(without_clocks(undisturbed).drop(columns="began_at"))


@pytest.mark.slow
def test_a_node_that_has_never_seen_the_file_trains_it(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    from sweeps.lab import planned_grid
    write(tmp_path, my_model=MODEL, parts=PARTS)
    monkeypatch.chdir(tmp_path)
    plan = planned_grid(f"{tmp_path}/my_model.py:train", {"depth": (2, 3), "tokens": (10, 20)}, seeds=2)
    for name in ("my_model.py", "parts.py"):
        (tmp_path / name).rename(tmp_path / f"hidden-{name}")   # from here on no process can import them from their folder
    for name in ("my_model", "parts"):
        sys.modules.pop(name)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        assert run_grid(plan, out=str(tmp_path / "c.parquet"), machines=Machines(address=cluster.address)) == 0
    finally:
        cluster.shutdown()
    rows = pd.read_parquet(tmp_path / "c.parquet")
    assert len(rows) == 8 and (rows.params == 100 * rows.depth**2).all()
