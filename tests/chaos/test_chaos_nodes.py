"""Kill the workers and the nodes below one sweep: it goes on, and its table is the undisturbed one.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from worlds import saving_model
from worlds.chaos_cases import SEED, below, kill_all, processes_of
from worlds.sweep_cases import Log, NARROW, NewCells, PlacedMnist, assert_same_rows, digits, faulty_task, real_cluster, trained

from sweeps.jobs.job import Job
from sweeps.jobs.source import JobList
from sweeps.running.checkpoints import SavedStates
from sweeps.running.connect import connect
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.store import open_store, read_store
from trainers.function import FunctionTask
from trainers.mnist.task import TASK

pytestmark = pytest.mark.slow

KILLS = 20
AFTER = 10   # cells after the last kill: the sweep must recover from that one, too


class Killer(threading.Thread):
    """Kills at random moments, each time once some more cells are through: whatever the machine's speed, it
    strikes a sweep that is under way. `strike` kills and returns True, or returns False where there is nothing to kill yet."""

    def __init__(self, notes, strike, draw):
        super().__init__(daemon=True)
        self.notes, self.strike, self.draw = notes, strike, draw
        self.kills, self.stop, self.error = 0, threading.Event(), None

    def run(self):
        try:
            self.kill_them()
        except Exception as error:   # kept for the test, whose sweep would go on for ever
            self.error = error

    def kill_them(self):
        while self.kills < KILLS and not self.stop.is_set():
            enough = len(os.listdir(self.notes)) + self.draw.randint(1, 4)
            while len(os.listdir(self.notes)) < enough and not self.stop.wait(0.05):
                pass
            time.sleep(self.draw.uniform(0.0, 0.7))
            while not self.stop.wait(0.05) and not self.strike():
                pass
            self.kills += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()
        if self.error:
            raise self.error


class UntilKilled(NewCells):
    """Source: until the last kill, and AFTER some."""

    def __init__(self, cell, killer):
        super().__init__(cell)
        self.killer, self.after = killer, 0

    def next(self):
        job = super().next()
        self.after += job is not None and self.killer.kills >= KILLS
        return job

    def exhausted(self):
        return self.after >= AFTER or self.killer.error is not None


def mnist(notes):
    """The task that is swept, the one to compare with, its data, and how its cells are made."""
    return PlacedMnist(notes, seconds=0.3), TASK, digits(), lambda number: NARROW(seed=number)


def function(notes):
    task = faulty_task()
    return task, task, None, lambda number: task.cell(number=number, folder=str(notes), seconds=0.3)


def sweep_under(strike, tmp_path, address, made):
    """One sweep, to its end, while `strike` kills below it; checks the promise, and says what was counted."""
    notes, log = tmp_path / "notes", Log()
    notes.mkdir()
    task, plain, data, cell = made(notes)
    with Killer(notes, strike, random.Random(SEED)) as killer, connect(address) as cluster, \
            open_store(tmp_path / "r.parquet", task=task, provenance={}, fingerprint=task.fingerprint(data)) as store:
        source = UntilKilled(cell, killer)
        # Of one cell many attempts may be struck: that is these tests' doing, no verdict on the cell.
        outcome = run_jobs(source, task=task, data=data, store=store, cluster=cluster, watcher=log, trials=Trials(retries=KILLS))
    assert killer.kills == KILLS
    assert (outcome.finished, outcome.failed, outcome.interrupted) == (len(source.jobs), 0, False), log.failures
    found = read_store(tmp_path / "r.parquet", task=task)
    assert not found.failures
    assert_same_rows(found.results, trained(plain, source.cells, data))
    kinds = Counter(kind for _, kind, _ in log.failures)
    return (f"{killer.kills} of {KILLS} survived over {len(source.jobs)} cells; attempts lost: {dict(kinds)}; rounds broken "
            f"off: {len([note for note in log.notes if 'stopped' in note])}; 0 rows lost, doubled or differing")


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


@pytest.mark.parametrize("made", [mnist, function])
def test_twenty_workers_killed(tmp_path, record_testsuite_property, made):
    draw = random.Random(SEED)

    def strike():
        ours = set(below(raylet_of(cluster.head_node)))
        pids = [pid for pid in processes_of("Trainable") if pid in ours]
        if pids:
            os.kill(draw.choice(pids), signal.SIGKILL)
        return bool(pids)

    with real_cluster(num_cpus=2) as cluster:
        record_testsuite_property(f"workers killed, {made.__name__}", sweep_under(strike, tmp_path, cluster.address, made))


@pytest.mark.parametrize(("whole", "made"), [(False, mnist), (True, function)], ids=["raylets-mnist", "nodes-function"])
def test_twenty_nodes_killed(tmp_path, monkeypatch, record_testsuite_property, whole, made):
    """Of two one-slot nodes one dies, its raylet alone or with all its processes at once, and another comes."""
    draw = random.Random(SEED)

    def strike():
        victim = nodes.pop(draw.randrange(len(nodes)))
        kill_all(below(raylet_of(victim)) if whole else [raylet_of(victim)])
        cluster.worker_nodes.discard(victim)
        victim.kill_all_processes(check_alive=False, allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20))
        return True

    # A node wants the handler of SIGTERM, which Python gives to the main thread only: that one runs the sweep.
    monkeypatch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)

    with real_cluster(num_cpus=0) as cluster:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
        record_testsuite_property("nodes killed" if whole else "raylets killed",
                                  sweep_under(strike, tmp_path, cluster.address, made))


class Undisturbed:
    """An attempt that nobody disturbs."""

    def restored(self):
        return None

    def save(self, state):
        pass


def test_a_long_run_goes_on_on_another_node_from_what_it_saved(tmp_path, monkeypatch, record_testsuite_property):
    """Its node dies with all its processes once it has saved: what it saved lies beside the table, and the row is the same."""
    monkeypatch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)   # as above
    notes, out, task = tmp_path / "notes", tmp_path / "r.parquet", FunctionTask(saving_model.train, axes=["number"])
    notes.mkdir()
    saved_states, jobs = Path(f"{out}.saved"), [Job((task.cell(number=number, folder=str(notes)),)) for number in range(2)]

    def pull_the_plug():
        while not (saved_states.is_dir() and len(list(saved_states.iterdir())) >= 2):
            time.sleep(0.05)
        [pid] = [int(note.name.partition("-")[2]) for note in notes.glob("0-*")]
        victim = next(node for node in nodes if pid in below(raylet_of(node)))
        kill_all(below(raylet_of(victim)))
        cluster.worker_nodes.discard(victim)
        victim.kill_all_processes(check_alive=False, allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    with real_cluster(num_cpus=0) as cluster:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
        fingerprint, log = task.fingerprint(None), Log()
        with connect(cluster.address) as joined, open_store(out, task=task, provenance={}, fingerprint=fingerprint) as store, \
                ThreadPoolExecutor(1) as thread:
            plug = thread.submit(pull_the_plug)
            outcome = run_jobs(JobList(jobs, seconds=lambda job: 1.0), task=task, data=None, store=store, cluster=joined, watcher=log,
                               trials=Trials(), saved=SavedStates(str(out), fingerprint=fingerprint, every_s=0.3))
            plug.result()
    assert (outcome.finished, outcome.failed) == (2, 0), log.failures
    assert [(job.cells[0].number, kind) for job, kind, _ in log.failures] == [(0, "lost node")]
    rows = {row.number: row for row in read_store(out, task=task).results.values()}
    assert {number: row.val_loss for number, row in rows.items()} == {
        number: saving_model.train(number, str(notes), attempt=Undisturbed())["val_loss"] for number in rows}
    assert rows[0].began_at > 0 and rows[1].began_at == 0 and not saved_states.exists()
    record_testsuite_property("a long run's node killed", f"went on at step {rows[0].began_at:.0f} of 60, with the same row")
