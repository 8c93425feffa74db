"""Cells that go wrong in every way, and resources that do: the sweep goes on, and says what failed.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from worlds.sweep_cases import FaultyJob, Log, assert_same_rows, few_images, jobs_of, real_cluster

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


FAULTS = {"raise": "raised", "nan": "raised", "nothing": "raised", "unstorable": "raised", "diverge": "diverged",
          "exhaust": "raised", "devour": "killed", "hang": "timeout", "hang_in_c": "timeout", "segfault": "killed",
          "kill": "killed", "exit": "killed"}


def test_every_fault_of_a_cell_once_for_ever_and_mended(tmp_path, record_testsuite_property):
    """One that passes is tried again and leaves no trace; one that stays is a failure, and the sweep goes on;
    the rerun tries just the failures, and once the fault is mended nothing is left of it."""
    good = [FaultyJob(i) for i in range(10)]
    mended = [FaultyJob(100 + i) for i in range(len(FAULTS))]
    rows = {job.identities()[0]: job.row() for job in [*good, *mended]}

    def sweep(out, bad):
        log = Log()
        with open_store(out, provenance={}, fingerprint="f") as store:
            todo = [job for job in [*good, *bad] if job.identities()[0] not in store.results]
            outcome = run_jobs(jobs_of(todo), images=few_images(), store=store, cluster=cluster, watcher=log,
                               trials=Trials(retries=1, timeout_s=lambda job: 4.0 if "hang" in job.fault else 300.0))
        assert outcome.finished + outcome.failed == len(todo)
        return read_store(out), log, len(todo)

    with limited_cgroup(1500) as group, real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster:
        for times in (1, 10**9):
            notes, out = tmp_path / f"notes{times}", tmp_path / f"r{times}.parquet"
            notes.mkdir()
            (notes / "cgroup").write_text(str(group))
            bad = [FaultyJob(100 + i, fault, times=times, notes=str(notes)) for i, fault in enumerate(FAULTS)]
            found, log, _ = sweep(out, bad)
            assert {list(FAULTS)[number - 100]: kind for number, kind, _ in log.failures} == FAULTS, log.failures
            if times == 1:
                [diverged] = found.failures.values()   # again would be the same, so it is not tried again
                assert diverged.kind == "diverged"
                assert_same_rows(found.results, {key: row for key, row in rows.items() if key.seed != diverged.seed})
                continue
            assert_same_rows(found.results, {job.identities()[0]: job.row() for job in good})
            assert len(found.failures) == len(FAULTS)
            for failed in found.failures.values():
                assert failed.kind == list(FAULTS.values())[failed.seed - 100]
                assert failed.attempts == (1 if failed.kind == "diverged" else 2) and failed.error and failed.host
            found, log, tried = sweep(out, mended)
            assert tried == len(FAULTS) and not log.failures and not found.failures
            assert_same_rows(found.results, rows)
    record_testsuite_property("faults of a cell", f"{len(FAULTS)} of {len(FAULTS)} once, for ever, and mended")


def test_a_cell_that_rays_memory_monitor_kills_costs_no_other_cell(tmp_path, record_testsuite_property):
    """It ends the whole Tuner; the sweep finds the culprit and spares the bystanders."""
    info = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(info[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    if free < 10 * 2**30:
        pytest.skip("needs 10 GiB of free memory")
    threshold = (total - free + 3 * 2**30) / total
    notes = tmp_path / "notes"
    notes.mkdir()
    jobs = [FaultyJob(i, seconds=1.0) for i in range(6)] + [FaultyJob(2**20, "gobble", notes=str(notes))]
    with real_cluster(num_cpus=2, _system_config={"memory_monitor_refresh_ms": 100, "memory_usage_threshold": threshold}) \
            as ray_cluster, connect(ray_cluster.address) as cluster, \
            open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        log = Log()
        source = JobList(jobs, seconds=lambda job: job.number)
        outcome = run_jobs(source, images=few_images(), store=store, cluster=cluster, watcher=log, trials=Trials(retries=1))
    assert (outcome.finished, outcome.failed) == (6, 1), (log.failures, log.notes)
    [failed] = read_store(tmp_path / "r.parquet").failures.values()
    assert failed.seed == 2**20 and failed.kind == "killed"
    assert_same_rows(read_store(tmp_path / "r.parquet").results, {job.identities()[0]: job.row() for job in jobs[:6]})
    record_testsuite_property("killed by Ray's memory monitor",
                              f"the culprit failed, 6 of 6 others finished; {len(log.notes)} rounds broken off")


def test_trials_that_cannot_start_end_the_sweep_at_once(tmp_path):
    with real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster, \
            open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        with pytest.raises(SweepError, match="torch sees no GPU"):
            run_jobs(jobs_of(FaultyJob(i) for i in range(1000)), images=few_images(), store=store, cluster=cluster,
                     watcher=Log(), trials=Trials(device="cuda", retries=1))
