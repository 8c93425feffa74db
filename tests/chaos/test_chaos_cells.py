"""A user's function that goes wrong in every way, and resources that do: the sweep goes on, and says what failed.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from worlds.faulty_model import mend, spoil
from worlds.sweep_cases import Log, assert_same_rows, faulty_jobs, faulty_task, in_order, real_cluster, trained

from sweeps.jobs.source import JobList
from sweeps.running.connect import connect
from sweeps.running.exit import SweepError
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.store import open_store, read_store

pytestmark = pytest.mark.slow


@contextmanager
def limited_cgroup(mebibytes):
    """A memory cgroup (v1 or v2); the kernel kills what outgrows it."""
    for parent, name in ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")):
        group = parent / f"lab-chaos-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(mebibytes * 2**20))
        except OSError:
            shutil.rmtree(group, ignore_errors=True)
            continue
        try:
            yield group
        finally:
            time.sleep(1)
            group.rmdir()
        return
    pytest.skip("no memory cgroup may be made here")


FAULTS = {"raise": "raised", "exit": "raised", "exhaust": "raised", "nan": "diverged", "nothing": "refused", "unprintable": "refused",
          "devour": "killed", "hang": "timeout", "hang_in_c": "timeout", "segfault": "killed", "kill": "killed"}
FINAL = ("diverged", "refused")   # the same again, whenever it is tried: a failure after one attempt


def opened(out, task):
    return open_store(out, task=task, provenance={}, fingerprint=task.fingerprint(None))


def rows_of(task, jobs):
    return trained(task, [job.cells[0] for job in jobs])


def test_every_fault_of_a_cell_once_for_ever_and_mended(tmp_path, record_testsuite_property):
    """One that passes is tried again and leaves no trace; one that stays is a failure, and the sweep goes on;
    the rerun tries just the failures, and once the fault is mended nothing is left of it."""
    faults = dict(enumerate(FAULTS, 100))

    def limit(job):
        return 4.0 if "hang" in faults.get(job.cells[0].number, "") else 300.0

    def sweep(out, jobs):
        log, task = Log(), faulty_task()
        with opened(out, task) as store:
            todo = [job for job in jobs if job.identities()[0] not in store.results]
            outcome = run_jobs(in_order(todo), task=task, data=None, store=store, cluster=cluster, watcher=log,
                               trials=Trials(retries=1, timeout_s=limit))
        assert outcome.finished + outcome.failed == len(todo)
        return read_store(out, task=faulty_task()), log, len(todo)

    with limited_cgroup(1500) as group, real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster:
        for times in (1, 10**9):
            notes, out, task = tmp_path / f"notes{times}", tmp_path / f"r{times}.parquet", faulty_task()
            notes.mkdir()
            (notes / "cgroup").write_text(str(group))
            good, bad = (faulty_jobs(task, numbers, folder=str(notes)) for numbers in (range(10), faults))
            for number, fault in faults.items():
                spoil(notes, number, fault, times)
            found, log, _ = sweep(out, [*good, *bad])
            assert {faults[job.cells[0].number]: kind for job, kind, _ in log.failures} == FAULTS, log.failures
            final = [job for job in bad if FAULTS[faults[job.cells[0].number]] in FINAL]
            if times == 1:
                assert {failed.kind for failed in found.failures.values()} == set(FINAL)
                assert set(found.failures) == {job.identities()[0] for job in final}
                mend(notes)
                assert_same_rows(found.results, rows_of(task, [job for job in [*good, *bad] if job not in final]))
                continue
            assert set(found.results) == {job.identities()[0] for job in good} and len(found.failures) == len(FAULTS)
            for failed in found.failures.values():
                assert failed.kind == FAULTS[faults[failed.number]]
                assert failed.attempts == (1 if failed.kind in FINAL else 2) and failed.error and failed.host
            mend(notes)
            found, log, tried = sweep(out, [*good, *bad])
            assert tried == len(FAULTS) and not log.failures and not found.failures
            assert_same_rows(found.results, rows_of(task, [*good, *bad]))
    record_testsuite_property("faults of a cell", f"{len(FAULTS)} of {len(FAULTS)} once, for ever, and mended")


def test_a_cell_that_rays_memory_monitor_kills_costs_no_other_cell(tmp_path, record_testsuite_property):
    """It ends the whole Tuner; the sweep finds the culprit and spares the bystanders."""
    info = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(info[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    if free < 10 * 2**30:
        pytest.skip("needs 10 GiB of free memory")
    threshold, culprit, task = (total - free + 3 * 2**30) / total, 2**20, faulty_task()
    notes = tmp_path / "notes"
    notes.mkdir()
    spoil(notes, culprit, "gobble")
    good = faulty_jobs(task, range(6), seconds=1.0, folder=str(notes))
    with real_cluster(num_cpus=2, _system_config={"memory_monitor_refresh_ms": 100, "memory_usage_threshold": threshold}) \
            as ray_cluster, connect(ray_cluster.address) as cluster, opened(tmp_path / "r.parquet", task) as store:
        log = Log()
        source = JobList([*good, *faulty_jobs(task, [culprit], folder=str(notes))], seconds=lambda job: job.cells[0].number)
        outcome = run_jobs(source, task=task, data=None, store=store, cluster=cluster, watcher=log, trials=Trials(retries=1))
    assert (outcome.finished, outcome.failed) == (6, 1), (log.failures, log.notes)
    found = read_store(tmp_path / "r.parquet", task=faulty_task())
    [failed] = found.failures.values()
    assert failed.number == culprit and failed.kind == "killed"
    assert_same_rows(found.results, rows_of(task, good))
    record_testsuite_property("killed by Ray's memory monitor",
                              f"the culprit failed, 6 of 6 others finished; {len(log.notes)} rounds broken off")


def test_trials_that_cannot_start_end_the_sweep_at_once(tmp_path):
    task = faulty_task()
    with real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster, opened(tmp_path / "r.parquet", task) as store:
        with pytest.raises(SweepError, match="has no GPU"):
            run_jobs(in_order(faulty_jobs(task, range(1000))), task=task, data=None, store=store, cluster=cluster,
                     watcher=Log(), trials=Trials(device="cuda", retries=1))
