"""PPO as a task, on a toy game that takes no envpool: it learns, repeats, goes on from saved states, and fails in words."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from worlds.sweep_cases import Interrupted, attempt_at
from worlds.toy_game import CELLS, LONGEST, ToyGames

from sweeps.running.checkpoints import decoded, encoded
from sweeps.store.rows import differing
from trainers.procgen.cell import Cell
from trainers.procgen.games import held_out_levels, training_levels
from trainers.procgen.network import Network
from trainers.procgen.play import play_afresh
from trainers.procgen.task import TASK
from trainers.procgen.train import Run, act_flops, learn_flops, shape_of
from trainers.task import Diverged, Stopped

pytestmark = pytest.mark.usefixtures("one_thread")

GAMES = ToyGames()
CELL = Cell(game="line", frames=3072, width=0.5, lr=3e-3, gamma=0.9, envs=16, steps=16, minibatches=2, episodes=64)
SMALL = replace(CELL, frames=96, width=0.125, envs=5, steps=8, minibatches=4, episodes=3)


def trained(cells):
    return list(TASK.train(cells, GAMES, attempt_at(TASK, cells)))


def test_ppo_solves_the_toy_game_on_levels_that_it_has_not_seen():
    early, late = trained([replace(CELL, frames=256, levels=4), replace(CELL, levels=4)])
    assert late.held_out_return > 0.95 and late.training_return > 0.95 and late.recent_return > 0.9
    assert early.held_out_return < 0.8 and early.shortfall > late.shortfall == 1 - late.held_out_score
    assert late.held_out_score == pytest.approx((late.held_out_return - 0.5) / 0.5)


def test_a_cell_gives_the_same_row_again_and_in_company():
    """Catches a row that depends on what was played for another, and environments that share a stream."""
    cells = [replace(SMALL, frames=frames) for frames in (40, 125)]
    rows = trained(cells)
    assert [row.samples for row in rows] == [40, 120] and [row.updates for row in rows] == [1, 3]
    for cell, row in zip(cells, rows):
        assert differing(trained([cell])[0], row) == []
    assert differing(trained([replace(cells[0], seed=1)])[0], rows[0])


def test_cells_that_differ_in_frames_alone_are_one_run_unless_the_rate_decays():
    cells = [replace(SMALL, frames=frames, seed=seed) for frames in (40, 80) for seed in (0, 1)]
    assert sorted(map(len, TASK.runs(cells, most=1))) == [2, 2]
    assert sorted(map(len, TASK.runs([replace(cell, schedule="linear") for cell in cells], most=1))) == [1, 1, 1, 1]
    assert TASK.cost(cells[::2], GAMES).flops == TASK.cost([cells[2]], GAMES).flops


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_a_run_that_is_stopped_again_and_again_gives_the_same_rows_bit_for_bit(schedule):
    """In the middle of playing, of learning, of what is played afterwards, and of replaying."""
    cells = [replace(SMALL, frames=frames, schedule=schedule) for frames in ((40, 120) if schedule == "constant" else (120,))]
    wanted, state, stops = trained(cells), None, 0
    while True:
        attempt = Interrupted(attempt_at(TASK, cells), state, after=25 + 7 * stops)
        try:
            rows = list(TASK.train(cells, GAMES, attempt))
            break
        except Stopped:
            state, stops = attempt.state, stops + 1
    assert stops >= 3
    assert [differing(one, other) for one, other in zip(rows, wanted, strict=True)] == [[]] * len(wanted)


def test_a_state_whose_environments_are_not_found_again_begins_afresh():
    """Catches a run that goes on from weights and pictures that do not belong together."""
    run = Run(SMALL, GAMES)
    run.advance(1)
    state = {"rows": [], "run": {**run.boundary, "actions": [1 - run.boundary["actions"][0] % 2]}}
    wrong = Interrupted(attempt_at(TASK, [SMALL]), encoded(state))
    assert not Run(SMALL, GAMES).restore(decoded(encoded(state))["run"])
    assert differing(list(TASK.train([SMALL], GAMES, wrong))[0], trained([SMALL])[0]) == []


def test_what_a_run_costs_is_what_torch_counts():
    """C in closed form against every product of one update, acting and learning."""
    run, shape = Run(SMALL, GAMES), shape_of(SMALL, GAMES)
    with FlopCounterMode(display=False) as counted:
        run.advance(1)
    assert counted.get_total_flops() == act_flops(SMALL, shape, 1) + learn_flops(SMALL, shape, 1)
    row = trained([SMALL])[0]
    assert row.flops == TASK.cost([SMALL], GAMES).flops == 2 * counted.get_total_flops()
    assert {name: getattr(row, name) for name in ("params", "samples")} == TASK.sizes(SMALL, GAMES)


def test_parts_of_a_minibatch_add_up_to_the_whole(monkeypatch):
    """Catches a mean over parts of different sizes."""
    whole, parts = Run(SMALL, GAMES), Run(SMALL, GAMES)
    whole.advance(1)
    monkeypatch.setattr("trainers.procgen.train.AT_A_TIME", {"cpu": 3})
    parts.advance(1)
    for one, other in zip(whole.network.parameters, parts.network.parameters):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert whole.learnt.entropy == pytest.approx(parts.learnt.entropy, rel=1e-5)


def test_episodes_played_afterwards_are_whole_and_each_counts_once():
    """A new network acts almost at random: return and length of a random walk, the latter by its own chain. Catches episodes
    that are cut, and a mean that favours short ones."""
    cell = replace(CELL, episodes=600)
    network = Network(shape_of(cell, GAMES), torch.Generator().manual_seed(0))
    played = play_afresh(network, cell, GAMES, training_levels(0), device=torch.device("cpu"), keep=lambda: None)
    chances, length = np.zeros(CELLS), 0.0
    chances[2:6] = 0.25
    for _ in range(LONGEST):
        length += chances[1:-1].sum()
        left = 8 / 15   # eight of the actions 0 to 14 are even
        moved = np.zeros(CELLS)
        moved[:-1] += left * np.r_[0, chances[1:-1], 0][1:]
        moved[1:] += (1 - left) * np.r_[0, chances[1:-1], 0][:-1]
        chances = moved
    assert len(played.returns) == 600 and abs(played.mean - 0.5) < 5 * played.error
    assert played.frames / 600 == pytest.approx(length, rel=0.1)
    assert played.error == pytest.approx(np.std(played.returns) / np.sqrt(599))


def test_no_level_of_training_is_held_out():
    for count in (1, 200):
        assert not set(training_levels(count)) & set(held_out_levels(count)[:1000]) and held_out_levels(count)[0] == count
    assert training_levels(0) == held_out_levels(0)


@pytest.mark.parametrize("change", [{"lr": 1e30}, {"lr": 1e30, "schedule": "linear"}])
def test_numbers_that_are_none_fail_the_cell(change):
    cells = [replace(SMALL, **change)]
    with pytest.raises(Diverged, match="no longer finite"):
        trained(cells)


def test_rows_before_a_failure_are_kept(monkeypatch):
    check = Run._check

    def fail_later(run):
        check(run)
        if run.updates == 3:
            raise Diverged("on purpose")

    monkeypatch.setattr(Run, "_check", fail_later)
    cells, rows = [replace(SMALL, frames=frames) for frames in (80, 160)], []
    with pytest.raises(Diverged):
        for row in TASK.train(cells, GAMES, attempt_at(TASK, cells)):
            rows.append(row)
    assert [row.frames for row in rows] == [80]


def test_a_policy_that_tries_nothing_and_has_learnt_nothing_has_collapsed():
    """A bonus for certainty drives it there; without a reward nothing is learnt."""
    run = Run(replace(CELL, game="mute", entropy=-1.0, lr=0.02), GAMES)
    with pytest.raises(Diverged, match="collapsed"):
        run.advance(40)


def test_a_return_that_never_moves_is_a_row():
    row, = trained([replace(SMALL, game="mute")])
    assert row.held_out_return == 0.0 and row.held_out_error == 0.0 and row.shortfall == 2.0


@pytest.mark.parametrize("change, said", [
    ({"game": "lime"}, "did you mean line"), ({"frames": 39}, "fewer than one update"),
    ({"minibatches": 3}, "do not divide"), ({"distribution": "extreme"}, "easy or hard"), ({"schedule": "cosine"}, "constant or"),
    ({"lr": 0.0}, "more than 0"), ({"gamma": 1.01}, "0 to 1"), ({"entropy": -0.1}, "0 or more"), ({"levels": -1}, "0 for all"),
    ({"levels": 2**31 - 1}, "0 for all"), ({"episodes": 1}, "at least 2"), ({"envs": 0}, "at least 1"),
    ({"width": float("nan")}, "more than 0")])
def test_what_can_not_be_trained_is_refused_in_a_line(change, said):
    TASK.check(SMALL, GAMES)
    with pytest.raises(ValueError, match=said) as refusal:
        TASK.check(replace(SMALL, **change), GAMES)
    assert "\n" not in str(refusal.value)


def test_every_choice_changes_the_run():
    """Catches a setting that nobody reads."""
    other = {"lr": 1e-3, "schedule": "linear", "entropy": 0.5, "gamma": 0.5, "gae_lambda": 0.5, "envs": 10, "steps": 4,
             "minibatches": 2, "epochs": 1, "clip": 0.001, "value_coefficient": 5.0, "gradient_norm": 0.001, "width": 0.25}
    choices = {f.name for f in fields(Cell) if f.metadata["role"] == "choice"} - {"episodes"}
    assert choices <= set(other)

    def learnt(cell):
        run = Run(cell, GAMES)
        run.advance(2)
        return run.learnt

    usual = learnt(SMALL)
    for name, value in other.items():
        assert learnt(replace(SMALL, **{name: value})) != usual, name
