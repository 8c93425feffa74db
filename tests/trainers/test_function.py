"""A task made of a plain function: its columns, what it may return, where its code is found, and what tells two apart."""

import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from trainers.columns import columns, identity_of, lettered, names
from trainers.function import FunctionError, FunctionTask, parameters_of, plain
from trainers.lookup import own_names, task_of
from trainers.script import ScriptError, script_of

ROOT = Path(__file__).resolve().parents[2]


class Attempt:
    """As much of one as a function needs."""

    device, fingerprint, stopping = "cpu", "f", False

    def row(self, cell, **measured):
        return dict(zip(identity_of(cell)._fields, identity_of(cell))) | measured


def train(depth: int, tokens: int, lr: float = 3e-4, seed: int = 0) -> dict:
    return {"params": depth, "flops": 6.0 * depth * tokens, "val_loss": lr}


def one_row(task, **settings):
    row, = task.train((task.cell(**settings),), None, Attempt())
    return row


def write(folder, text, name="my_model.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_parameters_become_axes_choices_and_a_repeat():
    task = FunctionTask(train, axes=("depth", "tokens"))
    assert [(c.name, c.kind, c.role) for c in columns(task.cell)] == [
        ("depth", int, "axis"), ("tokens", int, "axis"), ("lr", float, "choice"), ("seed", int, "repeat")]
    assert task.cell(depth=2, tokens=3).lr == 3e-4


def test_the_first_return_settles_the_columns_and_their_letters():
    task = FunctionTask(train, axes=("depth", "tokens"))
    row = task.row_type({"params": 3.0, "flops": 9.0, "val_loss": 1.0, "note": "x"})
    assert {letter: lettered(row, letter) for letter in "NDCL"} == {"N": "params", "D": "tokens", "C": "flops", "L": "val_loss"}
    assert {c.name: c.kind for c in columns(row) if c.role == "measured"} == {
        "params": float, "flops": float, "val_loss": float, "note": str, "device": str, "fingerprint": str}
    assert names(row, "axis") == ("depth", "tokens")
    for other in ({"params": 3.0, "val_loss": 1.0}, {"params": 3.0, "flops": 9.0, "val_loss": 1.0, "note": 4.0}):
        with pytest.raises(FunctionError):
            task.row_type(other)


def test_samples_that_are_measured_are_D_before_tokens_that_were_planned():
    row = FunctionTask(train, axes=("tokens",)).row_type({"samples": 4.0, "loss": 1.0})
    assert lettered(row, "D") == "samples" and lettered(row, "L") == "loss" and lettered(row, "N") is None


def test_a_call_gets_the_settings_and_its_numbers_come_back_as_floats():
    def odd(depth: int, name: str = "a", on: bool = True) -> dict:
        return {"loss": np.float32(depth), "n": np.int64(3), "flag": on, "name2": name, "depth": depth}

    row = one_row(FunctionTask(odd), depth=2)
    assert (row["loss"], row["n"], row["flag"], row["name2"], row["depth"]) == (2.0, 3.0, 1.0, "a", 2)


def test_torch_scalars_count_and_arrays_do_not():
    import torch
    cell = FunctionTask(train).cell(depth=1, tokens=1)
    assert plain({"loss": torch.tensor(2.5)}, cell) == {"loss": 2.5}
    for bad in (torch.ones(3), np.ones((2, 2)), [1.0], None, 10**400, 1j, np.datetime64("2026-01-01")):
        with pytest.raises(FunctionError):
            plain({"loss": 1.0, "x": bad}, cell)


@pytest.mark.parametrize("returned", [3.0, None, {}, {"params": 3}, {"loss": 1.0, "depth": 7}, {"loss": 1.0, "device": "x"},
                                      {"loss": "0.5"}, {"loss": 1.0, "flops": "many"},
                                      {"loss": 1.0, 3: 4}])
def test_what_no_table_can_hold_is_refused_in_one_line(returned):
    with pytest.raises(FunctionError) as refusal:
        plain(returned, FunctionTask(train).cell(depth=1, tokens=1))
    assert "\n" not in str(refusal.value)


def test_a_loss_that_is_no_number_is_no_refusal():
    cell = FunctionTask(train).cell(depth=1, tokens=1)
    assert math.isnan(plain({"loss": float("nan")}, cell)["loss"])


def test_parameters_that_can_be_no_column_stay_at_their_defaults_or_are_refused():
    def optional(depth: int, callback=None, sizes: list = (1, 2), *args, **more) -> dict: ...
    assert [p.name for p in parameters_of(optional)] == ["depth"]

    def by_default(depth=2, lr=1e-3, on=False): ...
    assert [p.kind for p in parameters_of(by_default)] == [int, float, bool]

    def without(depth, lr: float = 1.0): ...
    def of_another_kind(depth: list): ...
    def wrong_default(depth: int = 2.5): ...
    def own(device: str = "x"): ...
    def by_place(depth: int, /): ...
    for bad in (without, of_another_kind, wrong_default, own, by_place, int, 3):
        with pytest.raises(ValueError):
            parameters_of(bad)


def test_a_function_that_draws_from_global_generators_gives_a_cell_its_own_row():
    def sloppy(depth: int, seed: int = 0) -> dict:
        import torch
        return {"loss": random.random() + float(np.random.rand()) + float(torch.rand(()))}

    task = FunctionTask(sloppy)
    first = one_row(task, depth=1)
    random.seed(5), np.random.seed(5)
    other = one_row(task, depth=2)
    assert one_row(task, depth=1) == first and other["loss"] != first["loss"]


def test_a_function_from_a_file_is_found_with_what_it_imports_beside_it(tmp_path):
    write(tmp_path, "import math\nfrom parts import scale\ndef train(depth: int): return {'loss': scale(depth)}\n")
    write(tmp_path, "from deep.inner import factor\ndef scale(x): return x * factor\n", "parts.py")
    write(tmp_path, "", "deep/__init__.py")
    write(tmp_path, "factor = 3.0\n", "deep/inner.py")
    write(tmp_path, "raise RuntimeError('nobody imports this')\n", "unrelated.py")
    script = script_of(tmp_path / "my_model.py")
    assert set(script.texts) == {"my_model.py", "parts.py", "deep/__init__.py", "deep/inner.py"} and "math" in script.imports
    task = task_of(f"{tmp_path}/my_model.py:train", axes=("depth",))
    assert one_row(task, depth=2)["loss"] == 6.0


def run_elsewhere(pickled, folder):
    """The row of depth 2, in a process that knows nothing of the file."""
    (folder / "task.pickle").write_bytes(pickled)
    code = (f"import pickle, sys; sys.path.insert(0, {str(ROOT)!r}); t = pickle.load(open('task.pickle', 'rb')); t.place(None, 'cpu')\n"
            "class A:\n  device = 'cpu'\n  def row(self, cell, **m): return m\n"
            "print(*(r['loss'] for r in t.train((t.cell(depth=2),), None, A())))")
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_function_travels_to_a_process_that_has_never_seen_its_file(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    away.mkdir()
    write(home, "from parts import factor\ndef train(depth: int): return {'loss': depth * factor}\n")
    parts = write(home, "factor = 3.0\n", "parts.py")
    pickled = cloudpickle.dumps(task_of(f"{home}/my_model.py:train", axes=("depth",)))
    parts.write_text("factor = 5.0\n")   # changed since: the workers still train what was asked for
    assert run_elsewhere(pickled, away) == "6.0"
    parts.unlink()
    (home / "my_model.py").unlink()
    assert run_elsewhere(pickled, away) == "6.0"


def test_a_function_that_was_typed_in_travels_itself(tmp_path):
    scope = {}
    exec("def typed_in(depth: int): return {'loss': depth * 4.0}", scope)
    assert run_elsewhere(cloudpickle.dumps(FunctionTask(scope["typed_in"])), tmp_path) == "8.0"


def test_two_functions_under_one_name_have_two_fingerprints_and_a_comment_changes_none(tmp_path):
    def fingerprint(text, parts="factor = 3.0\n"):
        write(tmp_path, text)
        write(tmp_path, parts, "parts.py")
        return task_of(f"{tmp_path}/my_model.py:train").fingerprint(None)

    code = "from parts import factor\ndef train(depth: int): return {'loss': depth * factor}\n"
    first = fingerprint(code)
    assert fingerprint(f'"""About."""\n# said\n{code}') == first == fingerprint(code)
    assert fingerprint(code.replace("*", "+")) != first
    assert fingerprint(code, parts="factor = 4.0\n") != first


@pytest.mark.parametrize(("name", "text"), [
    ("analysis.py", "def train(depth: int): return {}\n"), ("random.py", "def train(depth: int): return {}\n"),
    ("my-model.py", "def train(depth: int): return {}\n"), ("my_model.py", "def train(depth: int:\n"),
    ("my_model.py", "import no_such_module_anywhere\ndef train(depth: int): return {}\n"), ("my_model.py", "raise ValueError('so\\nthere')\n"),
    ("my_model.py", "def other(depth: int): return {}\n"), ("my_model.py", "train = 3\n"), ("my_model.txt", "")])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, name, text):
    with pytest.raises(ValueError) as refusal:
        task_of(f"{write(tmp_path, text, name)}:train")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("named", ["minst", "no_file.py:train", "", ":", "a.b.c:train", "mnist:train"])
def test_a_name_that_stands_for_nothing_is_refused(named):
    with pytest.raises(ValueError):
        task_of(named)


def test_the_labs_own_tasks_go_by_their_names():
    assert "mnist" in own_names()
    assert task_of("mnist").name == "mnist"


def test_a_sibling_that_has_the_name_of_a_package_of_ours_is_refused(tmp_path):
    write(tmp_path, "import sweeps\ndef train(depth: int): return {}\n")
    write(tmp_path, "", "sweeps.py")
    with pytest.raises(ScriptError):
        script_of(tmp_path / "my_model.py")


def test_two_files_of_one_name_with_siblings_of_one_name_are_told_apart_in_one_process(tmp_path):
    """As in a notebook that sweeps two projects: the second must not import the first one's neighbours."""
    for folder, factor in (("one", 3.0), ("two", 5.0)):
        write(tmp_path / folder, "from parts import factor\ndef train(depth: int): return {'loss': depth * factor}\n")
        write(tmp_path / folder, f"factor = {factor}\n", "parts.py")
    write(tmp_path / "two", "from parts import factor\ndef train(depth: int): return {'loss': factor - depth}\n", "other_model.py")
    losses = [one_row(task_of(f"{tmp_path}/{name}:train", axes=("depth",)), depth=2)["loss"]
              for name in ("one/my_model.py", "two/my_model.py", "one/my_model.py", "two/other_model.py")]
    assert losses == [6.0, 10.0, 6.0, 3.0]
