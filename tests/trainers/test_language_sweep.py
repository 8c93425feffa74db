"""The language task from end to end: the command, real Ray, a text of one's own, and refusals with status 2."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from worlds.sweep_cases import assert_same_rows, attempt_at

from sweeps import grid, search
from sweeps.running.conduct import refuse_other_choices
from sweeps.store.store import StoreError, read_store
from trainers.columns import identity_of
from trainers.language.corpus import load_corpus
from trainers.language.task import TASK

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def texts(tmp_path):
    draw = np.random.default_rng(0)
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_bytes(bytes(draw.choice(list(b"etaoin shrdlu"), 20_000).astype(np.uint8)))
    return tmp_path


def test_a_grid_of_budgets_and_protocols_on_ones_own_files_gives_the_cells_own_rows(texts):
    """Four trunks and eight cells alone, with a choice on the grid; the second time nothing is left to train."""
    command = [sys.executable, str(ROOT / "sweeps" / "grid.py"), "language", "--data", "one.txt", "two.txt", "--grid", "width=8,12",
               "tokens=2048,4096", "protocol=per-budget,wsd", "batch_size=128,256", "--cpus", "2", "--out", "r.parquet"]
    for _ in range(2):
        ran = subprocess.run(command, cwd=texts, capture_output=True, text=True, timeout=1200)
        assert ran.returncode == 0, ran.stderr
    assert "nothing to train" in ran.stdout
    rows = read_store(texts / "r.parquet", task=TASK).results
    assert len(rows) == 16 and {row.dataset for row in rows.values()} == {"one.txt+two.txt"}
    data = TASK.place(load_corpus([str(texts / "one.txt"), str(texts / "two.txt")]), "cpu")
    cells = [TASK.cell(**{name: getattr(row, name) for name in TASK.cell.__dataclass_fields__}) for row in rows.values()]
    fingerprint = TASK.fingerprint(data.corpus)
    again = [row for run in TASK.runs(cells, most=1) for row in TASK.train(run, data, attempt_at(TASK, run, fingerprint=fingerprint))]
    assert_same_rows(rows, {identity_of(row): row for row in again})


@pytest.mark.parametrize("words", [
    ("--data", "missing.txt"), ("--data", "."), ("--data", "one.txt", "missing.txt"), ("--set", "depth=0"), ("--set", "context=4000"),
    ("--grid", "tokens=1e9"), ("--grid", "tokens=64"), ("--levels", "2", "4"), ("--grid", "protocol=unheard")])
def test_what_can_not_be_trained_is_one_line_and_status_2(words, texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    given = words if "--data" in words else (*words, "--data", "one.txt")
    assert grid.main(["language", "--preset", "smoke", "--dry-run", *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_a_search_has_a_space_whose_center_can_be_trained(texts, monkeypatch, capsys):
    monkeypatch.chdir(texts)
    assert search.main(["language", "--budget", "1e13", "--dry-run"]) == 0
    assert "width" in capsys.readouterr().out


def test_a_choice_on_the_grid_goes_on_and_another_value_is_refused():
    """Catches a second sitting that takes its own rows, several at a place, for another sweep's."""
    one, two = (TASK.cell(width=8, tokens=2048, batch_size=size) for size in (128, 256))
    store = SimpleNamespace(results={identity_of(cell): cell for cell in (one, two)})
    refuse_other_choices(TASK, store, {one: True, two: True})
    with pytest.raises(StoreError, match="batch_size 256"):
        refuse_other_choices(TASK, store, {one: True})
