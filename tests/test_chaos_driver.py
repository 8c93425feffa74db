"""Kill a sweep, or the Ray below it, at any moment: the same command goes on to the undisturbed table.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from chaos_cases import (GRID, SEED, assert_part_of, finish, kill_all, own_temp_folder, processes_of, rows_of, start,
                         undisturbed, wait_for_rows, words)
from sweep_cases import assert_same_rows, real_cluster
from sweeps.store import read_store

pytestmark = pytest.mark.slow

CELLS = len(GRID.cells())


@pytest.fixture
def scratch():
    with own_temp_folder() as folder:
        yield folder


def assert_nothing_outlives(scratch):
    """Neither a process of Ray's nor a folder."""
    until = time.monotonic() + 30
    while processes_of(scratch) and time.monotonic() < until:
        time.sleep(0.2)
    assert not processes_of(scratch), "Ray outlived its driver"
    assert not list(scratch.glob("sll-*")), "folders of killed drivers stay"


def run_length(out, *more):
    """Seconds of an undisturbed run until its first row, and from there to its end."""
    began = time.monotonic()
    sweep = start(out, *more)
    wait_for_rows(out, 1, sweep)
    first = time.monotonic()
    assert sweep.wait(600) == 0, words(out)[-3000:]
    return first - began, time.monotonic() - first


def kills_of_the_driver(folder, count, draw, *more):
    """SIGKILL, half of them at any moment of a run, half while rows come in; what was counted."""
    first = folder / "undisturbed.parquet"
    to_first, to_end = run_length(first, *more)
    wanted = rows_of(first)
    kills, tables, moments, held = 0, 1, Counter(), {}
    out = folder / "1.parquet"
    while kills < count:
        sweep = start(out, *more)
        late, left = draw.random() < 0.5, to_end * (1 - len(held) / len(wanted))
        while late and sweep.poll() is None and len(rows_of(out)) == len(held):
            time.sleep(0.02)
        try:
            sweep.wait(draw.uniform(0.0, left if late else to_first + left))
            assert sweep.returncode == 0, words(out)[-3000:]
        except subprocess.TimeoutExpired:
            sweep.kill()
            sweep.wait()
            kills += 1
        rows = rows_of(out)
        assert held.keys() <= rows.keys(), "rows were lost"
        assert_part_of(rows, wanted)
        if sweep.returncode:
            moments["after new rows" if len(rows) > len(held) else "before"] += 1
        held = rows
        if len(rows) == len(wanted):
            finish(out, *more, wanted=wanted)
            tables, held, out = tables + 1, {}, folder / f"{tables + 1}.parquet"
    finish(out, *more, wanted=wanted)
    if "tuned" not in more:
        assert_same_rows(wanted, undisturbed())
    return (f"{kills} of {count} survived ({dict(moments)}), {tables} tables of {len(wanted)} rows, a run of "
            f"{to_first:.0f} + {to_end:.0f} s; 0 rows lost, doubled or differing")


@pytest.mark.parametrize("part", range(3))
def test_fifty_kills_of_the_driver_thirty_with_a_ray_of_its_own(tmp_path, scratch, record_testsuite_property, part):
    """After each kill every row acknowledged is there; Ray ends with its driver, whose folder the next one removes."""
    counts = kills_of_the_driver(tmp_path, 10, random.Random(SEED + part))
    record_testsuite_property(f"driver killed, own Ray, part {part}", counts)
    assert_nothing_outlives(scratch)


@pytest.mark.parametrize("lr", ["0.01", "tuned"])
def test_fifty_kills_of_the_driver_twenty_on_a_cluster_that_stays(tmp_path, scratch, record_testsuite_property, lr):
    """The next driver comes while the dead one's actors still hold the slots; tuning finds the same rates from its rows."""
    with real_cluster(num_cpus=2) as cluster:
        counts = kills_of_the_driver(tmp_path, 10, random.Random(SEED + len(lr)), "--address", cluster.address, "--lr", lr)
    record_testsuite_property(f"driver killed, standing cluster, --lr {lr}", counts)
    assert_nothing_outlives(scratch)


@pytest.mark.parametrize("daemon", ["raylet", "gcs_server"])
def test_its_own_rays_daemons_killed_end_the_sweep_and_lose_nothing(tmp_path, scratch, record_testsuite_property, daemon):
    """No sweep without Ray: it ends by itself, with a status that says so, and the same command goes on."""
    out = tmp_path / "r.parquet"
    sweep = start(out)
    wait_for_rows(out, 4, sweep)
    victims = [pid for pid, line in processes_of(scratch).items() if re.search(rf"/{daemon}$", line.split(" ")[0])]
    kill_all(victims)
    began, before = time.monotonic(), rows_of(out)
    status = sweep.wait(300)
    assert victims and status != 0
    assert before.keys() <= rows_of(out).keys()
    assert_part_of(rows_of(out), undisturbed())
    record_testsuite_property(f"{daemon} killed", f"ended after {time.monotonic() - began:.0f} s with status {status}, "
                                        f"{len(rows_of(out))} of {CELLS} rows kept, the rest trained by the rerun")
    finish(out)
    assert_nothing_outlives(scratch)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_while_it_trains(tmp_path, twice, number, record_testsuite_property):
    """A terminal's Ctrl-C goes to every process of the session's foreground, Ray's among them."""
    def interrupt(sweep):
        os.killpg(sweep.pid, number) if number == signal.SIGINT else sweep.send_signal(number)

    out = tmp_path / "r.parquet"
    sweep = start(out)
    wait_for_rows(out, 3, sweep)
    interrupt(sweep)
    if twice:
        time.sleep(0.3)
        if sweep.poll() is None:
            interrupt(sweep)
    status = sweep.wait(90)
    assert "Traceback" not in words(out), words(out)[-3000:]
    rows = rows_of(out)
    assert 3 <= len(rows) < CELLS
    assert_part_of(rows, undisturbed())
    assert not Path(f"{out}.journal").exists(), "an orderly end leaves one file"
    assert not read_store(out).failures, "a cell that was told to stop has not failed"
    assert status in ((1, 130) if twice else (1,))   # one that ends between the two signals was interrupted once
    assert "same command goes on" in words(out)
    finish(out)
    record_testsuite_property(f"{number.name} {'twice' if twice else 'once'}", f"status {status}, {len(rows)} of {CELLS} rows kept")


def test_interrupted_before_it_trains(tmp_path, scratch, record_testsuite_property):
    """Ctrl-C at moments of the start: while modules load, while Ray starts, while its workers do."""
    draw, out = random.Random(SEED), tmp_path / "r.parquet"
    to_first, _ = run_length(tmp_path / "first.parquet")
    statuses, rounds = Counter(), 8
    for _ in range(rounds):
        sweep = start(out)
        time.sleep(draw.uniform(2.0, to_first))   # before that Python itself may still start
        os.killpg(sweep.pid, signal.SIGINT)
        statuses[sweep.wait(90)] += 1
        assert "Traceback" not in words(out), words(out)[-3000:]
        assert_part_of(rows_of(out), undisturbed())
    assert set(statuses) <= {1, 130}
    finish(out)
    record_testsuite_property("SIGINT during the start", f"{rounds} of {rounds}, statuses {dict(statuses)}")
    assert_nothing_outlives(scratch)


def test_two_sweeps_on_one_table(tmp_path, record_testsuite_property):
    """Started at once: one goes on, the other is refused with the first one's pid."""
    rounds, out = 6, tmp_path / "r.parquet"
    for _ in range(rounds):
        pair = [start(out), start(out)]
        loser = None
        while loser is None:
            loser = next((one for one in pair if one.poll() is not None), None)
            time.sleep(0.02)
        winner = pair[1 - pair.index(loser)]
        assert loser.returncode == 2
        assert f"process {winner.pid} on" in words(out) or "just starting" in words(out)
        winner.kill()
        winner.wait()
        assert_part_of(rows_of(out), undisturbed())
    finish(out)
    record_testsuite_property("two sweeps at once", f"{rounds} of {rounds} times one was refused")
