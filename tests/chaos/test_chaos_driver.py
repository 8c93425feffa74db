"""Kill a sweep, or the Ray below it, at any moment: the same command goes on to the undisturbed table.

Sweeps of MNIST's cells and of a user's function, whose rows nobody knows before its first run.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from worlds.chaos_cases import (
    FUNCTION,
    MNIST,
    SEED,
    assert_part_of,
    finish,
    kill_all,
    of,
    own_temp_folder,
    processes_of,
    rows_of,
    start,
    wait_for_rows,
    words,
)
from worlds.sweep_cases import real_cluster

from sweeps.running.temp_folder import remove_abandoned
from sweeps.store.store import read_store

pytestmark = pytest.mark.slow



@pytest.fixture
def scratch():
    with own_temp_folder() as folder:
        yield folder


def assert_nothing_outlives(scratch):
    """Neither a process of Ray's nor a folder, but for one that a dying daemon made anew: that one a later driver removes."""
    until = time.monotonic() + 30
    while processes_of(scratch) and time.monotonic() < until:
        time.sleep(0.2)
    assert not processes_of(scratch), "Ray outlived its driver"
    for left in scratch.glob("sll-*"):
        os.utime(left, (0, 0))   # as a minute later
    remove_abandoned(scratch)
    assert not list(scratch.glob("sll-*")), "folders of killed drivers stay"


START_S = 15.0   # until the first row, of the first run; the later runs tell


def kills_of_the_driver(case, folder, wanted, count, draw, *more):
    """SIGKILL, half of them at any moment of the start, half once some of the missing rows are in; what was counted."""
    kills, tables, moments, held, to_first = 0, 1, Counter(), {}, START_S
    out = folder / "1.parquet"
    while kills < count:
        began, sweep = time.monotonic(), start(case, out, *more)
        if draw.random() < 0.5:
            wait_for_end(sweep, draw.uniform(0.0, to_first))
        else:
            enough = draw.randint(1, len(wanted) - len(held))
            while sweep.poll() is None and (new := len(rows_of(case, out)) - len(held)) < enough:
                to_first = time.monotonic() - began if not new else to_first
                time.sleep(0.02)
            wait_for_end(sweep, draw.uniform(0.0, 0.3))
        sweep.kill()
        killed = sweep.wait() == -signal.SIGKILL
        assert killed or sweep.returncode == 0, words(out)[-3000:]
        rows = rows_of(case, out)
        assert held.keys() <= rows.keys(), "rows were lost"
        assert_part_of(rows, wanted)
        if killed:
            kills += 1
            moments["after new rows" if len(rows) > len(held) else "before any"] += 1
        held = rows
        if len(rows) == len(wanted):
            finish(case, out, *more, wanted=wanted)
            tables, held, out = tables + 1, {}, folder / f"{tables + 1}.parquet"
    finish(case, out, *more, wanted=wanted)
    return (f"{kills} of {count} survived ({dict(moments)}), {tables} tables of {len(wanted)} rows; "
            "0 rows lost, doubled or differing")


def wait_for_end(sweep, seconds):
    with suppress(subprocess.TimeoutExpired):
        sweep.wait(seconds)


@of("part", (MNIST, 0), (MNIST, 1), (FUNCTION, 2))
def test_fifty_kills_of_the_driver_thirty_with_a_ray_of_its_own(tmp_path, scratch, record_testsuite_property, case, part):
    """After each kill every row acknowledged is there; Ray ends with its driver, whose folder the next one removes."""
    counts = kills_of_the_driver(case, tmp_path, case.undisturbed, 10, random.Random(SEED + part))
    record_testsuite_property(f"driver killed, own Ray, {case.name}, part {part}", counts)
    assert_nothing_outlives(scratch)


@of("tuned", (MNIST, False), (FUNCTION, True))
def test_fifty_kills_of_the_driver_twenty_on_a_cluster_that_stays(tmp_path, scratch, record_testsuite_property, case, tuned):
    """The next driver comes while the dead one's actors still hold the slots; tuning finds the same rates from its rows."""
    with real_cluster(num_cpus=2) as cluster:
        more = ("--address", cluster.address, *(case.tuned if tuned else ()))
        if tuned:
            first = tmp_path / "undisturbed.parquet"
            assert start(case, first, *more).wait(600) == 0, words(first)[-3000:]
            wanted = rows_of(case, first)
        else:
            wanted = case.undisturbed
        counts = kills_of_the_driver(case, tmp_path, wanted, 10, random.Random(SEED + tuned), *more)
    record_testsuite_property(f"driver killed, standing cluster, {case.name}{', tuned' if tuned else ''}", counts)
    assert_nothing_outlives(scratch)


@of("daemon", (MNIST, "raylet"), (FUNCTION, "gcs_server"))
def test_its_own_rays_daemons_killed_end_the_sweep_and_lose_nothing(tmp_path, scratch, record_testsuite_property, case, daemon):
    """No sweep without Ray: it ends by itself, with a status that says so, and the same command goes on."""
    out = tmp_path / "r.parquet"
    sweep = start(case, out)
    wait_for_rows(case, out, 4, sweep)
    victims = [pid for pid, line in processes_of(scratch).items() if re.search(rf"/{daemon}$", line.split(" ")[0])]
    kill_all(victims)
    began, before = time.monotonic(), rows_of(case, out)
    status = sweep.wait(300)
    # Workers outlive their raylet for seconds: what little is left may all be done by then.
    assert victims and (status != 0 or len(rows_of(case, out)) == case.grid.size)
    assert before.keys() <= rows_of(case, out).keys()
    assert_part_of(rows_of(case, out), case.undisturbed)
    record_testsuite_property(f"{daemon} killed", f"ended after {time.monotonic() - began:.0f} s with status {status}, "
                                        f"{len(rows_of(case, out))} of {case.grid.size} rows kept, the rest trained by the rerun")
    finish(case, out)
    assert_nothing_outlives(scratch)


def interrupt(sweep, number):
    """A terminal's Ctrl-C goes to every process of the session's foreground, Ray's among them; SIGTERM to the command."""
    if sweep.poll() is None:
        os.killpg(sweep.pid, number) if number == signal.SIGINT else sweep.send_signal(number)


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


@of("again", (MNIST, None), (FUNCTION, None), (FUNCTION, 0.1), (MNIST, 0.3), (FUNCTION, 1.0), (MNIST, 2.0), (FUNCTION, 4.0))
@BOTH
def test_interrupted_while_it_trains(tmp_path, case, again, number, record_testsuite_property):
    """Once, or once more after so many seconds: while cells finish, while Tune ends, while Ray shuts down."""
    out = tmp_path / "r.parquet"
    sweep = start(case, out)
    wait_for_rows(case, out, 3, sweep)
    interrupt(sweep, number)
    if again is not None:
        wait_for_end(sweep, again)
        interrupt(sweep, number)
    status = sweep.wait(90)
    assert "Traceback" not in words(out), words(out)[-3000:]
    rows = rows_of(case, out)
    assert 3 <= len(rows) < case.grid.size
    assert_part_of(rows, case.undisturbed)
    assert not read_store(out, task=case.task()).failures, "a cell that was told to stop has not failed"
    # Stopped now, while the journal was being folded into the table, it leaves that to the next run.
    assert status == 130 or not Path(f"{out}.journal").exists(), "an orderly end leaves one file"
    assert status in ((1,) if again is None else (1, 130))   # one that ends between the two signals was interrupted once
    assert "same command goes on" in words(out)
    finish(case, out)
    record_testsuite_property(f"{number.name}{'' if again is None else f', again after {again} s'}",
                              f"status {status}, {len(rows)} of {case.grid.size} rows kept")


@of("number", (MNIST, signal.SIGINT), (FUNCTION, signal.SIGTERM))
def test_interrupted_before_it_trains(tmp_path, scratch, case, number, record_testsuite_property):
    """At moments of the start: while modules load, while Ray starts, while its workers do."""
    draw, out = random.Random(SEED), tmp_path / "r.parquet"
    statuses, rounds = Counter(), 8
    for _ in range(rounds):
        sweep = start(case, out)
        time.sleep(draw.uniform(2.0, START_S))   # before that Python itself may still start
        interrupt(sweep, number)
        statuses[sweep.wait(90)] += 1
        assert "Traceback" not in words(out), words(out)[-3000:]
        assert_part_of(rows_of(case, out), case.undisturbed)
    assert set(statuses) <= {0, 1, 130}   # 0: at the rate that rows come, one round may find the table whole
    finish(case, out)
    record_testsuite_property(f"{number.name} during the start", f"{rounds} of {rounds}, statuses {dict(statuses)}")
    assert_nothing_outlives(scratch)


@of(FUNCTION)
def test_two_sweeps_on_one_table(tmp_path, case, record_testsuite_property):
    """Started at once: one goes on, the other is refused with the first one's pid."""
    rounds, out = 6, tmp_path / "r.parquet"
    for _ in range(rounds):
        pair = [start(case, out), start(case, out)]
        loser = None
        while loser is None:
            loser = next((one for one in pair if one.poll() is not None), None)
            time.sleep(0.02)
        winner = pair[1 - pair.index(loser)]
        assert loser.returncode == 2
        assert str(winner.pid) in words(out) or "just starting" in words(out)
        winner.kill()
        winner.wait()
        assert_part_of(rows_of(case, out), case.undisturbed)
    finish(case, out)
    record_testsuite_property("two sweeps at once", f"{rounds} of {rounds} times one was refused")
