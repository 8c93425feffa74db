"""The simulated sweep against closed forms: Graham's bounds, equal cells, a driver that is the bottleneck."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.running.forecast import (
    IDEAL,
    LOSS,
    Driver,
    Load,
    enough_drivers,
    forecast,
    in_order,
    keeps_up,
    lower_bound,
    main,
    makespan,
    reach,
    sample_seconds,
)


def turns(seconds: float) -> Driver:
    """A driver that needs so long to start a cell, and never starts afresh."""
    return replace(IDEAL, seconds_per_trial=seconds)


lengths = st.lists(st.floats(0.01, 100), min_size=1, max_size=60).map(np.array)


def optimum(seconds: np.ndarray, slots: int) -> float:
    """By trying every assignment."""
    return min(max(sum(t for t, s in zip(seconds, where) if s == slot) for slot in range(slots))
               for where in product(range(slots), repeat=len(seconds)))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=7).map(np.array), st.integers(1, 3))
def test_longest_first_is_within_grahams_bound_of_the_optimum(seconds, slots):
    """Graham 1969, theorem 2: LPT <= (4/3 - 1/(3m)) OPT; and our lower bound never exceeds OPT."""
    best = optimum(seconds, slots)
    assert lower_bound(seconds, slots) <= best <= makespan(seconds, slots)
    assert makespan(seconds, slots) <= (4 / 3 - 1 / (3 * slots)) * best + 1e-9


@given(lengths, st.integers(1, 12))
def test_no_list_schedule_exceeds_the_mean_load_by_more_than_a_cell(seconds, slots):
    """Graham 1966: at most work / m + (1 - 1/m) x the longest."""
    assert makespan(seconds, slots) <= seconds.sum() / slots + (1 - 1 / slots) * seconds.max() + 1e-9


@pytest.mark.parametrize("slots", [2, 3, 5, 8])
def test_grahams_worst_case_is_met_exactly(slots):
    """2m+1 cells of 2m-1, 2m-1, ..., m+1, m+1, m, m, m: LPT takes 4m-1 where 3m would do (Graham 1969, fig. 5)."""
    seconds = np.array([k for k in range(slots + 1, 2 * slots) for _ in range(2)] + [slots] * 3, dtype=float)
    assert makespan(seconds, slots) == 4 * slots - 1
    assert lower_bound(seconds, slots) == 3 * slots


@given(st.integers(1, 200), st.integers(1, 20), st.floats(0.1, 10))
def test_equal_cells_take_whole_rounds(cells, slots, length):
    assert makespan(np.full(cells, length), slots) == pytest.approx(-(-cells // slots) * length)


@given(lengths, st.integers(1, 12), st.floats(0.01, 3))
def test_scaling_the_clock_scales_the_makespan(seconds, slots, unit):
    assert makespan(unit * seconds, slots, driver=turns(0.3 * unit)) == pytest.approx(unit * makespan(seconds, slots, driver=turns(0.3)))


@given(lengths)
def test_a_slot_for_every_cell_waits_for_nothing_but_the_driver(seconds):
    dispatch = 0.05
    ordered = np.sort(seconds)[::-1]
    expected = (dispatch * np.arange(1, len(ordered) + 1) + ordered).max()
    assert makespan(seconds, len(seconds), driver=turns(dispatch)) == pytest.approx(expected)
    assert makespan(seconds, len(seconds)) == seconds.max()


def test_cells_shorter_than_the_drivers_turn_take_the_drivers_time():
    """10,000 cells of 1 ms on 1,000 slots: one driver of 10 ms needs 100 s, whatever the slots do."""
    assert makespan(np.full(10_000, 1e-3), 1000, driver=turns(0.01)) == pytest.approx(100.0, rel=1e-3)
    assert makespan(np.full(10_000, 1e-3), 1000, drivers=4, driver=turns(0.01)) == pytest.approx(25.0, rel=1e-3)


def test_one_driver_reaches_as_many_slots_as_it_starts_cells_while_one_trains():
    """Equal cells: it starts length/dispatch cells in the time of one, and slots beyond that idle."""
    seconds = np.full(20_000, 10.0)
    assert reach(seconds, driver=turns(10 / 500)) == 512         # 2 % too many, within LOSS; 1024 would be twice too many
    assert reach(seconds, driver=turns(10 / 800)) == 512
    assert reach(seconds, driver=turns(10 / 1000)) == 1024


def test_the_advised_drivers_keep_up_and_half_as_many_do_not():
    seconds = sample_seconds(20_000, 5.0)
    drivers = enough_drivers(seconds, 640, driver=turns(0.029))
    assert drivers > 1
    assert keeps_up(seconds, 640, drivers, driver=turns(0.029))
    assert not keeps_up(seconds, 640, drivers // 2, driver=turns(0.029))
    assert makespan(seconds, 640, drivers=drivers, driver=turns(0.029)) <= (1 + LOSS) * makespan(seconds, 640)


def test_a_driver_that_is_behind_does_better_with_short_cells_among_long_ones():
    """200 long cells, then 20,000 short ones, on 200 slots: longest first, the driver idles while the long ones
    run and then needs 20,000 turns; alternately, it needs little more than its turns in all."""
    long, short = np.full(200, 100.0), np.full(20_000, 0.01)
    mixed = np.concatenate([np.insert(short.reshape(200, 100)[i], 0, long[i]) for i in range(200)])
    handing_out = 20_200 * 0.01
    assert in_order(mixed, 200, driver=turns(0.01)) < handing_out + 101
    assert makespan(np.concatenate([long, short]), 200, driver=turns(0.01)) > handing_out + 90
    assert in_order(mixed, 200) == pytest.approx(makespan(mixed, 200), rel=0.05), "without a driver, order is all one here"


def test_a_round_waits_for_its_last_cell_and_then_for_new_actors():
    """10 cells of 1 s in rounds of 4 on 3 slots: 2 + 6, 2 + 6, 1."""
    rounds = replace(IDEAL, trials_per_round=4, seconds_per_round=6.0)
    assert in_order(np.full(10, 1.0), 3, rounds) == 2 + 6 + 2 + 6 + 1


def test_rounds_are_those_of_the_engine():
    pytest.importorskip("ray")
    from sweeps.running.ray_tune import ROUND
    assert Driver().trials_per_round == ROUND


BYTES = dict(driver=Driver(trials_per_round=4, base_bytes=100, bytes_per_trial=3, bytes_per_row=2), load=Load(data_bytes=1000, row_bytes=7))


def bytes_of(cells, slots=4, **more):
    plan = forecast(np.full(cells, 1.0), slots, **BYTES | more)
    return np.array([plan.driver_bytes, plan.traffic_bytes])


def test_a_driver_forgets_trials_at_a_rounds_end_and_keeps_every_row():
    """Beyond a round a cell adds its row alone, in memory and on the network; within one, its trial too."""
    assert bytes_of(14) - bytes_of(9) == pytest.approx([5 * 2, 5 * 7])
    assert bytes_of(3) - bytes_of(2) == pytest.approx([3 + 2, 7])


def test_the_data_go_to_each_further_node_once_for_each_driver():
    assert bytes_of(9, nodes=3) - bytes_of(9, nodes=2) == pytest.approx([0, 1000])
    assert bytes_of(10, nodes=3, drivers=2) - bytes_of(10, nodes=2, drivers=2) == pytest.approx([0, 2000])
    assert bytes_of(8, drivers=2)[0] == bytes_of(4)[0], "a driver holds its own half of the cells"


@given(st.integers(1, 2000), st.floats(0.1, 100), st.integers(0, 5))
def test_sampled_cells_have_the_mean_that_was_asked_for(cells, mean, seed):
    assert sample_seconds(cells, mean, seed=seed).mean() == pytest.approx(mean)


@pytest.mark.parametrize("argv", [["--gpus", "0"], ["--cells", "-1"], ["--gpus-per-trial", "0"], ["--drivers", "0"]])
def test_bad_input_is_one_line_and_status_2(argv, capsys):
    assert main(argv) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
