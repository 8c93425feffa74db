"""The games themselves, where envpool is installed; and what is said where it is not."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds.sweep_cases import assert_same_rows, attempt_at

from sweeps import grid, search
from sweeps.store.store import read_store
from trainers.columns import identity_of
from trainers.procgen import games
from trainers.procgen.cell import Cell
from trainers.procgen.games import BOUNDS, Procgen, checked_game, held_out_levels, installed, training_levels
from trainers.procgen.presets import SIXTEEN
from trainers.procgen.task import TASK
from trainers.procgen.train import Run

ROOT = Path(__file__).resolve().parents[2]
playable = pytest.mark.skipif(importlib.util.find_spec("envpool") is None,
                              reason="envpool is not installed: pip install -e '.[procgen]'")


def test_without_envpool_every_command_says_so_in_a_line_with_status_2(monkeypatch, capsys):
    games.ready.cache_clear()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "envpool" else find(name, *more))
    for refused in (lambda: grid.main(["procgen", "--preset", "smoke", "--dry-run"]),
                    lambda: search.main(["procgen", "--game", "starpilot", "--budget", "1e14", "--dry-run"])):
        assert refused() == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and "pip install -e '.[procgen]'" in said


def test_a_qt_that_does_not_load_is_a_line(monkeypatch):
    games.ready.cache_clear()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: find("json") if name == "envpool" else find(name, *more))
    monkeypatch.setattr(games, "QT", ("libQt5Nowhere.so.5",))
    with pytest.raises(ValueError, match="need Qt 5") as refusal:
        installed()
    games.ready.cache_clear()
    assert "\n" not in str(refusal.value)


def test_every_game_has_bounds_and_the_nearest_names_are_offered():
    known = Procgen("any")
    assert known.names == SIXTEEN
    assert all(known.bounds(game, mode).low < known.bounds(game, mode).high for game in SIXTEEN for mode in ("easy", "hard"))
    assert known.bounds("starpilot", "hard").score(35) == 1 and known.bounds("fruitbot", "easy").score(-1.5) == 0
    with pytest.raises(ValueError, match="did you mean starpilot"):
        checked_game("StarPilot2", known.names)


def test_the_bounds_are_the_shared_ones():
    """Where the shared data lie beside the checkout."""
    shared = ROOT.parent / "shared" / "data" / "procgen" / "bounds.csv"
    if not shared.exists():
        pytest.skip("no shared data beside this checkout")
    assert shared.read_text() == BOUNDS.read_text()


@playable
def test_environments_repeat_by_their_seeds_whatever_the_threads_and_the_company():
    """Catches seeds that are shared, and an episode's first picture that comes a step late."""
    draw = np.random.default_rng(0)
    actions = draw.integers(15, size=(150, 6))
    made = {}
    for label, own, threads in (("all", slice(0, 6), 1), ("threads", slice(0, 6), 3), ("some", slice(2, 6), 2)):
        environments = installed().make("starpilot", "easy", training_levels(0), range(10, 16)[own], threads=threads, again=True)
        told = []
        for step in actions:
            environments.send(step[own])
            told.append(environments.receive())
        made[label] = [np.stack([getattr(one, name) for one in told]) for name in ("pictures", "rewards", "ended")]
    assert made["all"][2].any() and made["all"][1].any()
    for one, other, part in zip(made["all"], made["threads"], made["some"]):
        assert np.array_equal(one, other) and np.array_equal(one[:, 2:], part)
    assert len({picture.tobytes() for picture in made["all"][0][0]}) == 6


@playable
def test_training_levels_are_the_first_and_held_out_ones_the_others():
    for levels, fits in ((training_levels(3), lambda seed: seed < 3), (held_out_levels(3), lambda seed: seed >= 3)):
        environments = installed().make("coinrun", "hard", levels, range(30), threads=1, again=True)
        _, told = environments._pool.reset()
        assert all(map(fits, told["level_seed"])) and len(set(told["level_seed"])) >= 3


@playable
def test_a_run_goes_on_by_replaying_its_actions():
    """Weights after the next update, bit for bit, episodes having ended before."""
    cell = Cell(game="starpilot", frames=1024, width=0.125, envs=4, steps=64, minibatches=2, epochs=1)
    whole = Run(cell, installed())
    whole.advance(2)
    again = Run(cell, installed())
    assert whole.episodes and again.restore(whole.boundary)
    whole.advance(1)
    again.advance(1)
    assert all(torch.equal(one, other) for one, other in zip(whole.network.parameters, again.network.parameters))


@playable
@pytest.mark.slow
def test_a_grid_of_two_games_through_ray_gives_the_cells_own_rows(tmp_path):
    command = [sys.executable, str(ROOT / "sweeps" / "grid.py"), "procgen", "--preset", "smoke",
               "--grid", "game=starpilot,coinrun", "--levels", "200", "--cpus", "2", "--out", "r.parquet"]
    for _ in range(2):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
        assert ran.returncode == 0, ran.stderr
    assert "nothing to train" in ran.stdout
    rows = read_store(tmp_path / "r.parquet", task=TASK).results
    assert len(rows) == 4 and {row.levels for row in rows.values()} == {200}
    settings = TASK.cell.__dataclass_fields__
    cells = [TASK.cell(**{name: getattr(row, name) for name in settings}) for row in rows.values()]
    data, threads = installed(), torch.get_num_threads()
    torch.set_num_threads(1)
    fingerprint = TASK.fingerprint(data)
    again = [row for run in TASK.runs(cells, most=1)
             for row in TASK.train(run, data, attempt_at(TASK, run, fingerprint=fingerprint))]
    torch.set_num_threads(threads)
    assert_same_rows(rows, {identity_of(row): row for row in again})


@playable
@pytest.mark.slow
def test_a_search_trains_runs_of_a_game(tmp_path):
    out = tmp_path / "s.parquet"
    space, settings = ("frames=log:1024:512:4096", "lr=log:5e-4", "envs=pow2:16:8:32"), ("steps=32", "episodes=2", "width=0.125")
    assert search.main(["procgen", "--game", "starpilot", "--budget", "1e13", "--runs", "3",
                        "--search", *space, "--set", *settings, "--cpus", "2", "--out", str(out)]) == 0
    assert len(read_store(out, task=TASK).results) == 3
