"""What long runs save: plain data that comes back whole, from a file that can run nothing, when it is due."""

import io
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from worlds.sweep_cases import faulty_task

from sweeps.running import attempt as module
from sweeps.running.attempt import RunningAttempt
from sweeps.running.checkpoints import Checkpoints, decoded, encoded, key_of
from trainers.mnist.task import TASK
from trainers.mnist.cell import Cell
from trainers.task import Stopped

kinds = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_])
leaves = (st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.binary(max_size=9)
          | arrays.arrays(kinds, arrays.array_shapes(max_dims=3, max_side=3)))
plain = st.recursive(leaves, lambda inner: (st.lists(inner, max_size=3) | st.tuples(inner, inner)
                                            | st.dictionaries(st.text(max_size=5), inner, max_size=3)), max_leaves=8)


def same(one, other):
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(deadline=None, max_examples=60)
@given(plain)
def test_plain_data_comes_back_bit_for_bit(state):
    assert same(state, decoded(encoded(state)))


def test_what_a_network_and_an_optimiser_are_made_of_comes_back():
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "rng": torch.get_rng_state(),
             "numpy": np.random.default_rng(3).bit_generator.state, "loss": np.float64(0.5), "half": np.float16(0.25)}
    found = decoded(encoded(state))
    assert all(torch.equal(found["network"][name], value) for name, value in state["network"].items())
    assert torch.equal(found["rng"], state["rng"]) and found["numpy"] == state["numpy"] and found["loss"] == 0.5
    torch.optim.AdamW(torch.nn.Linear(3, 2).parameters()).load_state_dict(found["optimiser"])


class Own:
    pass


@pytest.mark.parametrize("state", [Own(), {"model": torch.nn.Linear(2, 2)}, lambda: 3, np.array([Own()], dtype=object), Own])
def test_what_is_no_plain_data_is_refused_when_it_is_saved_and_not_when_it_is_needed(state):
    with pytest.raises(ValueError) as refusal:
        encoded(state)
    assert "\n" not in str(refusal.value)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a saved state ran code')",)


def test_a_file_that_somebody_else_wrote_runs_nothing():
    """A table's folder may be shared: what lies there is data."""
    sink = io.BytesIO()
    torch.save({"state": Trap()}, sink)
    for data in (sink.getvalue(), pickle.dumps(Trap())):
        with pytest.raises(Exception):   # of torch's own kinds
            decoded(data)


def test_a_run_is_named_by_its_cells_and_its_code():
    """A state under another name's key would make another run's row."""
    cells = [Cell(width=1.0, fraction=0.5, seed=seed) for seed in range(2)]
    keys = {key_of(cells, "f"), key_of(cells[:1], "f"), key_of(cells[1:], "f"), key_of(cells, "g"), key_of(cells[::-1], "f")}
    assert len(keys) == 5 and key_of(cells, "f") == key_of(list(cells), "f")


class Local:
    """The actor's methods, called at once: as a handle that needs no Ray."""

    def __init__(self, actor):
        for name in ("every", "alive", "stop", "write", "read", "drop", "silent_for"):
            setattr(self, name, SimpleNamespace(remote=getattr(actor, name)))


@pytest.fixture
def attempts(tmp_path, monkeypatch):
    """Makes attempts at one run, as two workers would; and the driver's side."""
    monkeypatch.setattr(module.ray, "get", lambda value: value)
    monkeypatch.setattr(module, "ASK_EVERY_S", -1.0)
    signs = []
    monkeypatch.setattr(RunningAttempt, "_sign_of_life", lambda self: signs.append(self))
    task = faulty_task()

    def make(actor):
        return RunningAttempt(task, (task.cell(number=1),), device="cpu", fingerprint="f", timeout_s=60.0, checkpoints=Local(actor))

    make.signs, make.out = signs, str(tmp_path / "r.parquet")
    return make


def test_a_state_is_asked_for_only_when_it_is_due_and_the_next_attempt_finds_it(attempts):
    """Making a state of a large model costs seconds: `save` may be called every step."""
    hasty, patient = Checkpoints(attempts.out, 0.0), Checkpoints(attempts.out, 3600.0)
    made = []
    run = attempts(patient)
    assert run.restored() is None
    for step in range(5):
        run.save(lambda: made.append(step) or {"step": step})
    assert not made and len(attempts.signs) == 5, "not due, and a sign of life all the same"
    run = attempts(hasty)
    for step in range(3):
        run.save(lambda: made.append(step) or {"step": step})
    assert made == [0, 1, 2]
    assert attempts(hasty).restored() == {"step": 2}
    hasty.drop(key_of((faulty_task().cell(number=1),), "f"))
    assert attempts(hasty).restored() is None


def test_a_sweep_that_stops_lets_the_run_save_and_leave(attempts):
    actor = Checkpoints(attempts.out, 3600.0)
    run = attempts(actor)
    run.save({"step": 0})
    assert not run.stopping
    actor.stop()
    assert run.stopping
    with pytest.raises(Stopped):
        run.save({"step": 1})
    assert attempts(actor).restored() == {"step": 1}, "though it was not due"


def test_a_damaged_state_costs_the_work_and_not_the_run(attempts, tmp_path):
    actor = Checkpoints(attempts.out, 0.0)
    attempts(actor).save({"step": 5})
    [file] = (tmp_path / "r.parquet.saved").iterdir()
    for data in (file.read_bytes()[:-20], b"", b"not a state"):
        file.write_bytes(data)
        assert attempts(actor).restored() is None


def test_the_last_sign_of_a_run_is_known_and_a_run_without_one_is_silent_for_ever(tmp_path):
    actor = Checkpoints(str(tmp_path / "r.parquet"), 60.0)
    assert actor.silent_for("one") == math.inf
    actor.alive("one")
    assert 0 <= actor.silent_for("one") < 60 and actor.silent_for("two") == math.inf


def test_a_row_has_the_cells_columns_what_was_measured_and_what_the_worker_knows():
    task = faulty_task()
    run = RunningAttempt(task, (), device="cpu", fingerprint="f", timeout_s=60.0, checkpoints=None)
    cell = task.cell(number=3)
    row = run.row(cell, val_loss=0.5)
    assert row["wall_seconds"] >= 0 and {**row, "wall_seconds": 0} == {
        "number": 3, "folder": "", "seconds": 0.0, "val_loss": 0.5, "wall_seconds": 0, "device": "cpu", "fingerprint": "f"}
    mnist = RunningAttempt(TASK, (), device="cpu", fingerprint="f", timeout_s=60.0, checkpoints=None)
    with pytest.raises(TypeError):   # a Task says its columns: one that it doesn't have is its author's mistake
        mnist.row(Cell(width=1.0, fraction=0.5), luck=1.0)
