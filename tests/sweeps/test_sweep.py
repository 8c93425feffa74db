"""Real sweeps through Ray, from the command line to the table, disturbed and not: the short version of test_chaos."""

import json
import subprocess
import threading
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from ray.tune import Callback
from worlds.sweep_cases import SMALL, FaultyJob, Log, assert_same_rows, command, few_images, jobs_of, real_cluster, trained

from sweeps.jobs.grid import BatchRule, Grid
from sweeps.mnist_grid import main
from sweeps.running.connect import connect
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.store import open_store, read_store
from trainers.mnist.images import load_images
from trainers.mnist.train import put_on

GRID = Grid(widths=(0.25, 0.5), fractions=(0.0078125, 0.00390625), seeds=(0, 1, 2), dropouts=(0.0,))


@pytest.fixture(scope="module")
def head():
    """One Ray for all sweeps of this module but the one that is killed: a start costs seconds."""
    with real_cluster(num_cpus=2, object_store_memory=600 * 2**20) as cluster:
        yield cluster.address


@pytest.fixture(scope="module")
def images():
    return put_on(load_images(), "cpu")


def sweep(out, head, *more):
    """The command, in this process."""
    return main([*SMALL, "--address", head, "--out", str(out), *more])


def wait_for_rows(out, count, process):
    while process.poll() is None:
        if out.exists() and len(read_store(out).results) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"ended with {process.returncode} before it had {count} rows")


def test_killed_rerun_widened_and_repeated_a_table_is_that_of_an_undisturbed_loop(tmp_path, head, images, capsys):
    """The promise in short: kill -9 in the middle, rerun on a wider grid, run again."""
    out = tmp_path / "r.parquet"
    killed = subprocess.Popen(command(out), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_rows(out, 2, killed)
        # A second terminal, while the first sweep runs.
        assert sweep(out, head) == 2
        assert f"process {killed.pid} on" in capsys.readouterr().err
    finally:
        killed.kill()
        killed.wait()
    kept = read_store(out).results
    assert 2 <= len(kept) <= len(GRID.cells())

    wider = replace(GRID, widths=(0.25, 0.5, 0.75))
    assert sweep(out, head, "--widths", "0.25", "0.5", "0.75") == 0
    lines = capsys.readouterr().out
    assert f"{len(wider.cells()) - len(kept)} runs in this sweep, 0 failed" in lines, "trained more than was missing"
    found = read_store(out)
    assert_same_rows(found.results, trained(wider.cells(), lr=0.01, batch=BatchRule(), images=images))
    assert len(found.runs) == 2

    before = out.read_bytes()
    assert sweep(out, head) == 0
    assert "nothing to train" in capsys.readouterr().out
    assert out.read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()
                                                 if not path.name.endswith(".lock")) == ["r.parquet"]

    # Another recipe, another data set: refused, and nothing is lost.
    assert sweep(out, head, "--lr", "0.02") == 2
    assert "lr 0.01" in capsys.readouterr().err
    with pytest.raises(Exception, match="another version of trainer or data set"):
        open_store(out, provenance={}, fingerprint=put_on(few_images(), "cpu").fingerprint)
    assert out.read_bytes() == before


def test_the_smoke_preset_tunes_and_trains_end_to_end(tmp_path, head, capsys):
    out = tmp_path / "smoke.parquet"
    assert main(["--preset", "smoke", "--address", head, "--out", str(out)]) == 0
    assert "8 of 8 cells done" in capsys.readouterr().out
    table = pq.read_table(out)
    assert table.num_rows == 8 and json.loads(table.schema.metadata[b"provenance"])[0]["tuning"]["trials"] == 3
    # Each width's cells were trained with one rate, and that rate came out of its study.
    rates = {(row["width"], row["lr"]) for row in table.to_pylist()}
    assert len(rates) == 2
    tuned = read_store(out).tuning
    assert all(sum(row.width == width for row in tuned.values()) >= 3 for width, _ in rates)


def test_cells_that_raise_hang_or_crash_are_failures_and_the_sweep_goes_on(tmp_path, head):
    faults = ("raise", "nan", "diverge", "hang", "segfault")
    notes = tmp_path / "notes"
    notes.mkdir()
    jobs = [FaultyJob(i) for i in range(4)] + [FaultyJob(100 + i, fault, notes=str(notes)) for i, fault in enumerate(faults)]
    jobs.append(FaultyJob(50, "kill", times=1, notes=str(notes)))   # and one that fails once only
    with connect(head) as cluster, open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        log = Log()
        outcome = run_jobs(jobs_of(jobs), images=few_images(), store=store, cluster=cluster, watcher=log,
                           trials=Trials(retries=1, timeout_s=lambda job: 2.0))
        assert (outcome.finished, outcome.failed, outcome.interrupted) == (5, 5, False)
        assert {row.seed for row in store.results.values()} == {0, 1, 2, 3, 50}
        kinds = {faults[failed.seed - 100]: (failed.kind, failed.attempts) for failed in store.failures.values()}
        assert kinds == {"raise": ("raised", 2), "nan": ("raised", 2), "diverge": ("diverged", 1),
                         "hang": ("timeout", 2), "segfault": ("killed", 2)}
        raised = next(failed for failed in store.failures.values() if failed.seed == 100)
        assert "no such cell" in raised.error and "LookupError" in raised.traceback and raised.host

        # A rerun tries just those, and what has been mended is a row.
        mended = [FaultyJob(100 + i) for i in range(len(faults))]
        again = [job for job in [*jobs[:4], *mended] if job.identities()[0] not in store.results]
        outcome = run_jobs(jobs_of(again), images=few_images(), store=store, cluster=cluster, watcher=log, trials=Trials())
        assert (outcome.finished, outcome.failed) == (5, 0) and not store.failures
    assert_same_rows(read_store(tmp_path / "r.parquet").results,
                     {job.identities()[0]: job.row() for job in [*jobs[:4], *mended, FaultyJob(50)]})


class Broken(Callback):
    """A logger that fails on every result, and holds what no pickle can."""

    def setup(self, *args, **info):
        self.lock = threading.Lock()

    def on_trial_result(self, iteration, trials, trial, result, **info):
        raise ConnectionError("the tracking server is away")


def test_a_logger_that_fails_costs_no_attempt_and_no_row(tmp_path, head):
    """Catches cells that are given up because a logger broke their round off again and again."""
    jobs = [FaultyJob(i) for i in range(6)]
    with connect(head) as cluster, open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        log = Log()
        outcome = run_jobs(jobs_of(jobs), images=few_images(), store=store, cluster=cluster, watcher=log,
                           trials=Trials(callbacks=(Broken(),)))
    assert (outcome.finished, outcome.failed) == (6, 0) and not log.failures
    [told] = log.notes
    assert "Broken" in told and "tracking server" in told
    assert_same_rows(read_store(tmp_path / "r.parquet").results, {job.identities()[0]: job.row() for job in jobs})
