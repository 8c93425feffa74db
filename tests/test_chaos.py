"""Kill anything, at any moment, and run the same command again: the table is that of an undisturbed sweep.

Real sweeps, real signals, real full disks. Each test prints its counts (pytest -s) for the README.
"""

import gc
import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ray.tune import Callback

from sweep_cases import (ROOT, FaultyJob, Log, PlacedJob, assert_same_rows, command, digits, few_images, jobs_of,
                         real_cluster, trained)
from sweeps import engine
from sweeps.connect import connect
from sweeps.engine import Trials, run_jobs
from sweeps.grid import BatchRule, Grid
from sweeps.refusal import SweepError
from sweeps.source import JobList
from sweeps.store import open_store, read_store
from trainers.cell import Cell, Recipe
from trainers.fingerprint import fingerprint
from trainers.images import load_images
from trainers.train import put_on

pytestmark = pytest.mark.slow

SEED = 6
SEEDS = 8
LARGER = ("--seeds", str(SEEDS))
GRID = Grid(widths=(0.25, 0.5), fractions=(0.0078125, 0.00390625), seeds=tuple(range(SEEDS)), dropouts=(0.0,))


@pytest.fixture(scope="module")
def wanted():
    """The undisturbed table of GRID."""
    return trained(GRID.cells(), lr=0.01, batch=BatchRule(), images=put_on(load_images(), "cpu"))


@pytest.fixture
def scratch(monkeypatch):
    """A temp folder for this test's sweeps alone, short, for Ray puts sockets there."""
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(out, *more):
    """The sweep in a session of its own, as in a terminal; its words go to a file beside the table."""
    with open(f"{out}.words", "ab") as words:
        return subprocess.Popen(command(out, *LARGER, *more), cwd=out.parent, stdout=words, stderr=words,
                                start_new_session=True)


def words(out):
    return Path(f"{out}.words").read_text()


def finish(out, *more):
    ended = start(out, *more)
    assert ended.wait(600) == 0, words(out)[-3000:]


def rows_of(out):
    return dict(read_store(out).results) if out.exists() else {}


def wait_for_rows(out, count, process):
    while len(rows_of(out)) < count:
        assert process.poll() is None, words(out)[-3000:]
        time.sleep(0.02)


def processes_of(folder):
    """Command lines of the processes that name the folder."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found


# ---- the driver ----

def test_fifty_kills_of_the_driver(tmp_path, scratch, wanted):
    """SIGKILL at moments drawn uniformly over a run; after each the table is whole, and has lost nothing."""
    draw = random.Random(SEED)
    out = tmp_path / "first.parquet"
    began = time.monotonic()
    finish(out)
    whole = time.monotonic() - began
    assert_same_rows(rows_of(out), wanted)
    kills, tables, moments, held = 0, 1, Counter(), {}
    out = tmp_path / "0.parquet"
    while kills < 50:
        sweep = start(out)
        try:
            sweep.wait(draw.uniform(0.0, whole))
            assert sweep.returncode == 0, words(out)[-3000:]
        except subprocess.TimeoutExpired:
            sweep.kill()
            sweep.wait()
            kills += 1
        rows = rows_of(out)
        assert held.keys() <= rows.keys(), "rows were lost"
        assert_same_rows(rows, {key: wanted[key] for key in rows})
        moments["with rows" if rows else "before any row"] += 1
        held = rows
        if len(rows) == len(wanted):
            finish(out)
            assert_same_rows(rows_of(out), wanted)
            tables, held, out = tables + 1, {}, tmp_path / f"{tables}.parquet"
    finish(out)
    assert_same_rows(rows_of(out), wanted)
    print(f"driver kills: {kills}/50 ({dict(moments)}) over {tables} tables, a run of {whole:.0f} s; 0 rows lost, 0 differing")
    time.sleep(10)
    assert not processes_of(scratch), "Ray outlived its driver"
    assert not list(scratch.glob("sll-*")), "folders of killed drivers stay"


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_by_the_terminal(tmp_path, wanted, twice, number):
    """A terminal's Ctrl-C goes to every process of the session's foreground, Ray's among them."""
    out = tmp_path / "r.parquet"
    sweep = start(out)
    wait_for_rows(out, 3, sweep)
    os.killpg(sweep.pid, number) if number == signal.SIGINT else sweep.send_signal(number)
    if twice:
        time.sleep(0.3)
        if sweep.poll() is None:
            os.killpg(sweep.pid, number) if number == signal.SIGINT else sweep.send_signal(number)
    status = sweep.wait(90)
    assert "Traceback" not in words(out), words(out)[-3000:]
    rows = rows_of(out)
    assert 3 <= len(rows) < len(wanted)
    assert not Path(f"{out}.journal").exists(), "an orderly end leaves one file"
    assert not read_store(out).failures, "a cell that was told to stop has not failed"
    assert status in ((1, 130) if twice else (1,))   # one that ends between the two signals was interrupted once
    assert "same command goes on" in words(out)
    finish(out)
    assert_same_rows(rows_of(out), wanted)


def test_two_sweeps_on_one_table(tmp_path, wanted):
    """Started at once, ten times: one goes on, the other is refused with the first one's pid."""
    refused = 0
    out = tmp_path / "r.parquet"
    for _ in range(10):
        pair = [start(out), start(out)]
        loser = None
        while loser is None:
            loser = next((one for one in pair if one.poll() is not None), None)
            time.sleep(0.02)
        winner = pair[1 - pair.index(loser)]
        assert loser.returncode == 2
        assert f"process {winner.pid} on" in words(out) or "just starting" in words(out)
        refused += 1
        winner.kill()
        winner.wait()
    finish(out)
    assert_same_rows(rows_of(out), wanted)
    print(f"two sweeps at once: {refused}/10 refused")


# ---- the disk ----

@contextmanager
def small_disk(folder, size="1m"):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_ends_the_sweep_with_one_line_and_loses_nothing(tmp_path, wanted):
    with small_disk(tmp_path / "disk") as disk:
        out, log = disk / "r.parquet", tmp_path / "words"
        with log.open("wb") as stream:
            sweep = subprocess.Popen(command(out, *LARGER), cwd=tmp_path, stdout=stream, stderr=stream, start_new_session=True)
        while len(rows_of(out)) < 3:
            assert sweep.poll() is None, log.read_text()
            time.sleep(0.02)
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        assert sweep.wait(120) == 2, log.read_text()
        said = log.read_text()
        assert "no space is left" in said.splitlines()[-1] and "Traceback" not in said, said
        kept = rows_of(out)
        assert len(kept) >= 3
        assert_same_rows(kept, {key: wanted[key] for key in kept})
        (disk / "filler").unlink()
        again = subprocess.run(command(out, *LARGER), cwd=tmp_path, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert_same_rows(rows_of(out), wanted)
        print(f"full disk: {len(kept)} of {len(wanted)} rows kept, the rest trained by the rerun")


def test_an_out_folder_that_cannot_be_written_is_refused_or_ends_the_sweep(tmp_path, wanted):
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused = subprocess.run(command(disk / "r.parquet", *LARGER), cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        assert "cannot be read or written" in refused.stderr.splitlines()[-1]

    # In the middle: no name in the folder may change any more, the open journal can still be written.
    folder, log = tmp_path / "locked", tmp_path / "words"
    folder.mkdir()
    if subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("no folder can be made immutable here")
    subprocess.run(["chattr", "-i", folder], check=True)
    out = folder / "r.parquet"
    with log.open("wb") as stream:
        sweep = subprocess.Popen(command(out, *LARGER), cwd=tmp_path, stdout=stream, stderr=stream)
    try:
        while len(rows_of(out)) < 3:
            assert sweep.poll() is None, log.read_text()
            time.sleep(0.02)
        subprocess.run(["chattr", "+i", folder], check=True)
        assert sweep.wait(300) == 2, log.read_text()
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
    assert "cannot be read or written" in log.read_text().splitlines()[-1] and "Traceback" not in log.read_text(), log.read_text()
    assert len(rows_of(out)) >= 3
    assert subprocess.run(command(out, *LARGER), cwd=tmp_path, capture_output=True).returncode == 0
    assert_same_rows(rows_of(out), wanted)


def test_a_journal_with_a_damaged_end_costs_only_what_it_hit(tmp_path, wanted):
    draw, spoilt = random.Random(SEED), 0
    out, journal = tmp_path / "r.parquet", tmp_path / "r.parquet.journal"
    for damage in ("cut", "garbage", "flip", "zeros", "cut"):
        sweep = start(out)
        wait_for_rows(out, len(rows_of(out)) + 3, sweep)
        sweep.kill()
        sweep.wait()
        if not journal.exists():
            continue
        data = bytearray(journal.read_bytes())
        if damage == "cut":
            data = data[:-draw.randrange(1, 200)]
        elif damage == "garbage":
            data += draw.randbytes(300)
        elif damage == "flip":
            data[-draw.randrange(2, 200)] ^= 0x40
        else:
            data[-150:] = bytes(150)
        journal.write_bytes(data)
        spoilt += 1
        rows = rows_of(out)
        assert_same_rows(rows, {key: wanted[key] for key in rows})
    finish(out)
    assert_same_rows(rows_of(out), wanted)
    print(f"journal damaged: {spoilt}/5")
    assert spoilt >= 3


# ---- another protocol ----

def test_another_code_data_set_or_recipe_never_mixes_with_the_rows_there(tmp_path, wanted):
    out = tmp_path / "r.parquet"
    sweep = start(out)
    wait_for_rows(out, 3, sweep)
    sweep.kill()
    sweep.wait()

    checkout = tmp_path / "checkout"
    for package in ("trainers", "sweeps", "analysis"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = checkout / "trainers" / "train.py"
    code.write_text(code.read_text().replace("TRAIN_LOSS_SHARE = 0.1", "TRAIN_LOSS_SHARE = 0.2"))
    other_code = command(out, *LARGER)
    other_code[1] = str(checkout / "sweeps" / "mnist_grid.py")

    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        pixels = gzip.decompress((ROOT / "trainers" / "mnist" / f"{name}.gz").read_bytes())
        (raw / name).write_bytes(pixels[:16] + bytes(255 - value for value in pixels[16:]) if "images" in name else pixels)

    for line, says in ((other_code, "another version of trainer or data set"),
                       (command(out, *LARGER, "--dataset", "fashion-mnist", "--data-root", str(tmp_path / "data")),
                        "another version of trainer or data set"),
                       (command(out, *LARGER, "--lr", "0.02"), "lr 0.01"),
                       (command(out, *LARGER, "--batch-size", "64"), "batch_size"),
                       (command(out, *LARGER, "--schedule", "linear"), "schedule cosine")):
        before = rows_of(out)
        refused = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert says in refused.stderr and "--out" in refused.stderr and "Traceback" not in refused.stderr
        assert_same_rows(rows_of(out), before)

    finish(out, "--widths", "0.25", "0.5", "0.75")   # another grid is welcome
    rows = rows_of(out)
    assert len(rows) == 3 * 2 * SEEDS
    assert_same_rows({key: row for key, row in rows.items() if key in wanted}, wanted)


# ---- workers and nodes ----

def ray_workers(folder):
    """Pids of the processes that run trials, below a raylet of the cluster in folder."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"Trainable" not in status.read_bytes():
                continue
            parent = int(re.search(r"PPid:\s+(\d+)", (status.parent / "status").read_text())[1])
            if folder in Path(f"/proc/{parent}/cmdline").read_text():
                found.append(int(status.parent.name))
        except (OSError, ValueError, TypeError):
            continue
    return found


def placed_jobs(notes, count, seconds=0.3):
    return [PlacedJob(Cell(width=0.25, fraction=0.25, dropout=0.2, seed=seed), Recipe(lr=0.01, batch_size=16),
                      notes=str(notes), seconds=seconds) for seed in range(count)]


def test_twenty_workers_killed(tmp_path):
    images, notes, kills = digits(), tmp_path / "notes", []
    notes.mkdir()
    jobs, done = placed_jobs(notes, 120), threading.Event()
    draw = random.Random(SEED)
    with real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster:
        folder = os.environ["RAY_TMPDIR"]

        def killer():
            while not done.is_set() and len(kills) < 20:
                time.sleep(draw.uniform(0.2, 2.0))
                if pids := ray_workers(folder):
                    kills.append(draw.choice(pids))
                    os.kill(kills[-1], signal.SIGKILL)
        thread = threading.Thread(target=killer)
        thread.start()
        sittings = 0
        try:
            while True:
                sittings += 1
                with open_store(tmp_path / "r.parquet", provenance={}, fingerprint=fingerprint(images)) as store:
                    missing = [job for job in jobs if job.identities()[0] not in store.results]
                    if not missing and len(kills) >= 20:
                        break
                    if not missing:
                        jobs += placed_jobs(notes, len(jobs) + 40)[len(jobs):]
                        continue
                    run_jobs(JobList(missing, seconds=lambda job: 1.0), images=images, store=store, cluster=cluster,
                             watcher=Log(), trials=Trials(retries=3))
        finally:
            done.set()
            thread.join()
    assert not read_store(tmp_path / "r.parquet").failures
    assert_same_rows(read_store(tmp_path / "r.parquet").results,
                     trained([job.cell for job in jobs], lr=0.01, batch=lambda f: 16, images=put_on(images, "cpu")))
    print(f"workers killed: {len(kills)}/20 over {len(jobs)} cells in {sittings - 1} sittings")


def test_twenty_nodes_killed(tmp_path):
    """Two one-slot nodes; one at a time loses its raylet to SIGKILL, and another comes. One sweep, no rerun."""
    images, notes = digits(), tmp_path / "notes"
    notes.mkdir()
    lost = []
    with real_cluster(num_cpus=0) as ray_cluster:
        nodes = [ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
        done = threading.Event()
        draw = random.Random(SEED)

        def killer():
            while not done.is_set() and len(lost) < 20:
                time.sleep(draw.uniform(1.0, 6.0))
                victim = nodes.pop(draw.randrange(len(nodes)))
                victim.kill_raylet()
                lost.append(victim.node_id)
                ray_cluster.worker_nodes.discard(victim)
                victim.kill_all_processes(check_alive=False, allow_graceful=False)
                nodes.append(ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20))

        class Until:
            """New cells until the twentieth node is lost, and some after."""
            def __init__(self):
                self.jobs, self.after = [], 0

            def next(self):
                if self.exhausted():
                    return None
                self.after += len(lost) >= 20
                self.jobs += placed_jobs(notes, len(self.jobs) + 1)[-1:]
                return self.jobs[-1]

            def exhausted(self):
                return self.after >= 10

            def finished(self, job, rows):
                pass

            def failed(self, job):
                pass

        thread = threading.Thread(target=killer)
        thread.start()
        source, log = Until(), Log()
        try:
            with connect(ray_cluster.address) as cluster, \
                    open_store(tmp_path / "r.parquet", provenance={}, fingerprint=fingerprint(images)) as store:
                outcome = run_jobs(source, images=images, store=store, cluster=cluster, watcher=log, trials=Trials())
        finally:
            done.set()
            thread.join()
    kinds = Counter(kind for _, kind, _ in ((None, *entry[1:]) for entry in log.failures))
    print(f"nodes killed: {len(lost)}/20 over {len(source.jobs)} cells; attempts lost: {dict(kinds)}; "
          f"rounds broken off: {len([n for n in log.notes if 'stopped' in n])}")
    assert (outcome.finished, outcome.failed) == (len(source.jobs), 0), log.failures
    assert_same_rows(read_store(tmp_path / "r.parquet").results,
                     trained([job.cell for job in source.jobs], lr=0.01, batch=lambda f: 16, images=put_on(images, "cpu")))


# ---- cells ----

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


def test_every_fault_of_a_cell_once_and_for_ever(tmp_path):
    """One that passes is tried again and leaves no trace; one that stays is a failure, and the sweep goes on."""
    good = [FaultyJob(i) for i in range(10)]
    seen = {}
    with limited_cgroup(1500) as group, real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster:
        for times in (1, 10**9):
            notes = tmp_path / f"notes{times}"
            notes.mkdir()
            (notes / "cgroup").write_text(str(group))
            bad = [FaultyJob(100 + i, fault, times=times, notes=str(notes)) for i, fault in enumerate(FAULTS)]
            with open_store(tmp_path / f"r{times}.parquet", provenance={}, fingerprint="f") as store:
                log = Log()
                outcome = run_jobs(jobs_of([*good, *bad]), images=few_images(), store=store, cluster=cluster, watcher=log,
                                   trials=Trials(retries=1, timeout_s=lambda job: 4.0 if "hang" in job.fault else 300.0))
            seen[times] = read_store(tmp_path / f"r{times}.parquet")
            kinds = {list(FAULTS)[number - 100]: kind for number, kind, _ in log.failures}
            assert kinds == FAULTS, [f.error for f in seen[times].failures.values()]
            assert outcome.finished + outcome.failed == len(good) + len(bad)
    assert_same_rows(seen[1].results, {job.identities()[0]: job.row() for job in [*good, *bad] if job.fault != "diverge"})
    assert [failed.kind for failed in seen[1].failures.values()] == ["diverged"]
    assert_same_rows(seen[10**9].results, {job.identities()[0]: job.row() for job in good})
    for failed in seen[10**9].failures.values():
        assert failed.kind == list(FAULTS.values())[failed.seed - 100]
        assert failed.attempts == (1 if failed.kind == "diverged" else 2) and failed.error and failed.host
    print(f"faults of a cell: {len(FAULTS)}/{len(FAULTS)} once, {len(FAULTS)}/{len(FAULTS)} for ever")


def test_a_cell_that_rays_memory_monitor_kills_costs_no_other_cell(tmp_path):
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
    print(f"memory monitor: {log.failures} {log.notes}")
    assert (outcome.finished, outcome.failed) == (6, 1)
    [failed] = read_store(tmp_path / "r.parquet").failures.values()
    assert failed.seed == 2**20 and failed.kind == "killed"


class Broken(Callback):
    """A logger that fails on every result, and holds what no pickle can."""

    def setup(self, *args, **info):
        self.lock = threading.Lock()

    def on_trial_result(self, iteration, trials, trial, result, **info):
        raise ConnectionError("the tracking server is away")


def test_a_logger_that_fails_loses_no_row(tmp_path):
    jobs = [FaultyJob(i) for i in range(4)]
    with real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster, \
            open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        log = Log()
        outcome = run_jobs(jobs_of(jobs), images=few_images(), store=store, cluster=cluster, watcher=log,
                           trials=Trials(callbacks=(Broken(),)))
    assert (outcome.finished, outcome.failed) == (4, 0) and not log.failures
    assert any("tracking server" in note for note in log.notes)
    assert_same_rows(read_store(tmp_path / "r.parquet").results, {job.identities()[0]: job.row() for job in jobs})


def test_trials_that_cannot_start_end_the_sweep_at_once(tmp_path):
    with real_cluster(num_cpus=2) as ray_cluster, connect(ray_cluster.address) as cluster, \
            open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        with pytest.raises(SweepError, match="torch sees no GPU"):
            run_jobs(jobs_of(FaultyJob(i) for i in range(1000)), images=few_images(), store=store, cluster=cluster,
                     watcher=Log(), trials=Trials(device="cuda", retries=1))


# ---- long runs ----

def memory():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def shared_memory():
    return sum(path.stat().st_size for path in Path("/dev/shm").glob("*") if path.is_file())


class Gauge(Log):
    """Notes the driver's memory and files as jobs finish, and remembers no job."""

    def __init__(self):
        super().__init__()
        self.count, self.readings = 0, []

    def started(self, job):
        pass

    def finished(self, job, rows):
        self.count += 1
        if self.count % 250 == 0:
            gc.collect()
            self.readings.append((self.count, memory(), len(os.listdir("/proc/self/fd")), shared_memory()))


def test_a_long_sweep_does_not_grow(tmp_path, scratch):
    """LONG cells of nothing (20,000 unless the environment says less): the driver's memory goes up and down with each
    Tuner, and not up and up."""
    cells = int(os.environ.get("LONG", "20000"))
    shared = shared_memory()
    with connect(None, cpus=2) as cluster, open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as store:
        gauge = Gauge()
        began = time.monotonic()
        outcome = run_jobs(jobs_of(FaultyJob(i) for i in range(cells)), images=few_images(), store=store,
                           cluster=cluster, watcher=gauge)
        seconds = time.monotonic() - began
    assert outcome.finished == cells == len(read_store(tmp_path / "r.parquet").results)
    assert not list(scratch.glob("sll-*")) and not processes_of(scratch)
    x, y, files, shm = (np.array(column, float) for column in zip(*gauge.readings))
    within = np.polyfit(x[x <= engine.ROUND], y[x <= engine.ROUND], 1)[0]
    ends = np.array([y[x <= edge][-1] for edge in range(engine.ROUND, cells + 1, engine.ROUND)])
    across = np.polyfit(np.arange(len(ends)) * engine.ROUND, ends, 1)[0] if len(ends) > 1 else float("nan")
    print(f"{cells} cells in {seconds:.0f} s: driver {y[0] / 2**20:.0f} -> {y[-1] / 2**20:.0f} MiB, most "
          f"{y.max() / 2**20:.0f}; {within / 1024:.1f} KiB a cell within a Tuner, {across / 1024:.1f} KiB a cell from "
          f"Tuner to Tuner; files open {files.min():.0f} to {files.max():.0f}; "
          f"/dev/shm {(shm.min() - shared) / 2**20:+.0f} to {(shm.max() - shared) / 2**20:+.0f} MiB while it ran, "
          f"{(shared_memory() - shared) / 2**20:+.0f} after")
    assert files.max() - files.min() < 40
    if len(ends) > 2:
        assert across < 0.2 * within + 4096
