"""The store's promises while everything crashes: real kills, real full disks, damaged bytes."""

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import make_dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from worlds.store_cases import PROVENANCE, TASK, result, sweep, tables

from sweeps.store.journal import encode
from sweeps.store.store import StoreError, open_store, read_store

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_260
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}


def opened(path):
    return open_store(path, task=TASK, provenance=PROVENANCE, fingerprint="f")


def read(path):
    return read_store(path, task=TASK)


def undisturbed(folder, n):
    folder.mkdir()
    with opened(folder / "results.parquet") as keeping:
        sweep(keeping, n)
    return tables(folder)


def rerun(folder, n):
    with opened(folder / "results.parquet") as keeping:
        sweep(keeping, n)
    return tables(folder)


class Reader:
    """Reads the Parquet over and over beside the sweep: it must be whole, and may only grow.

    It opens the file once a reading. pq.read_table(path) opens it twice, and may take its end from
    one table and its rows from the next: no way of writing helps such a reader.
    """

    def __init__(self, path):
        self.path, self.reads, self.wrong = path, 0, []
        self._stop, self._rows = threading.Event(), 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.01):
            try:
                rows = pq.ParquetFile(self.path).read(use_threads=False).num_rows
            except FileNotFoundError:
                if self.reads:
                    self.wrong.append("vanished")
                continue
            except Exception as error:
                self.wrong.append(repr(error))
                continue
            self.reads += 1
            if rows < self._rows:
                self.wrong.append(f"{self._rows} rows became {rows}")
            self._rows = rows


def kill_while_appending(folder, kills):
    """Kill a sweep at random moments, again and again, each run going on where the last was killed."""
    out, clock = folder / "results.parquet", random.Random(SEED)
    acknowledged = set()
    with Reader(out) as reader:
        for kill in range(kills):
            process = subprocess.Popen([sys.executable, "-m", "worlds.store_cases", str(out), str(clock.choice([0.001, 0.005]))],
                                       env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
            if kill % 4:   # every fourth is killed at any moment of its start, the recovery included
                process.stdout.readline()
                time.sleep(clock.uniform(0, 0.3))
            else:
                time.sleep(clock.uniform(0.2, 1.2))
            process.send_signal(signal.SIGKILL)
            told = process.communicate()[0].splitlines()
            acknowledged |= {int(line) for line in told[:-1] if line != "open"}   # the last may be half a line
            if acknowledged:
                rows = list(read(out).results.values())
                assert {result(i) for i in acknowledged} <= set(rows)
                assert sorted(row.seed for row in rows) == list(range(len(rows)))
    assert not reader.wrong and reader.reads
    with opened(out) as keeping:
        n = len(keeping.results)
        assert set(keeping.results.values()) == {result(i) for i in range(n)}
    assert pq.read_table(out).num_rows == n > kills
    return n, reader.reads


def test_sigkill_at_random_moments_loses_and_doubles_nothing(tmp_path):
    kill_while_appending(tmp_path, 8)


@pytest.mark.slow
def test_sigkill_at_fifty_random_moments_loses_and_doubles_nothing(tmp_path, capsys):
    n, reads = kill_while_appending(tmp_path, 50)
    with capsys.disabled():
        print(f"\n50 kills, {n} rows, none lost or doubled; {reads} reads of the Parquet beside, all whole")


def crash_at_every_call(folder, n, fold_rows, half_write):
    """For k = 1, 2, ...: vanish at the k-th system call, look, run again, compare with an undisturbed run."""
    expected = undisturbed(folder / "undisturbed", n)
    with subprocess.Popen([sys.executable, "-m", "worlds.store_cases"], env=ENVIRONMENT, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dying:
        for k in itertools.count(1):
            case = folder / str(k)
            case.mkdir()
            arguments = dict(out=str(case / "results.parquet"), n=n, fold_rows=fold_rows, k=k, half_write=half_write)
            print(json.dumps(arguments), file=dying.stdin, flush=True)
            status = int(dying.stdout.readline())
            assert status in (0, 8, 9)
            if status != 9 or not half_write:   # else as without half_write
                mended_by_a_rerun(case, n, expected)
            shutil.rmtree(case)
            if status == 0:
                dying.stdin.close()
                return k - 1


def mended_by_a_rerun(case, n, expected):
    out = case / "results.parquet"
    for path in case.glob("*.parquet"):
        pq.read_table(path).validate(full=True)
    acknowledged = {int(line) for line in (case / "results.parquet.acks").read_text().split()}
    if acknowledged:
        assert {result(i) for i in acknowledged} <= set(read(out).results.values())
    assert rerun(case, n) == expected, f"differs after a crash at call {case.name}"
    left = {path.name for path in case.iterdir()} - set(expected)
    assert left <= {"results.parquet.lock", "results.parquet.acks"}


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where there is one: thousands of syncs cost a disk minutes, and tell no more."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("half_write", [False, True])
def test_a_crash_between_any_two_system_calls_is_mended_by_a_rerun(memory, half_write):
    assert crash_at_every_call(memory, 6, 5, half_write) > 60


def test_no_rename_or_removal_comes_before_what_it_relies_on_is_on_the_disk(tmp_path, monkeypatch):
    """After a power cut only synced bytes are there: a fold that drops the journal first loses its rows."""
    names, dirty, unsynced_renames = {}, set(), set()
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink")}

    def open_(path, *args, **kwargs):
        file = real["open"](path, *args, **kwargs)
        names[file] = os.fspath(path)
        return file

    def write(file, data):
        dirty.add(names.get(file))
        return real["write"](file, data)

    def fsync(file):
        dirty.discard(names[file])
        if os.path.isdir(names[file]):
            unsynced_renames.clear()
        return real["fsync"](file)

    def replace(source, target):
        assert source not in dirty, "renamed before its bytes were synced"
        unsynced_renames.add(target)
        return real["replace"](source, target)

    def unlink(path, *args, **kwargs):
        if str(path).endswith(".journal"):
            assert not unsynced_renames, "journal dropped before the table's new name was synced"
            removed.append(path)
        return real["unlink"](path, *args, **kwargs)

    removed = []
    for name, wrapper in (("open", open_), ("write", write), ("fsync", fsync), ("replace", replace), ("unlink", unlink)):
        monkeypatch.setattr(os, name, wrapper)
    with opened(tmp_path / "results.parquet") as keeping:
        sweep(keeping, 200)
    assert len(removed) >= 3


@pytest.fixture
def journal(tmp_path):
    """A killed sweep's folder: 40 results in the Parquet, 20 results and trials in the journal."""
    folder = tmp_path / "killed"
    folder.mkdir()
    with opened(tmp_path / "results.parquet") as keeping:
        sweep(keeping, 40)
        keeping.compact()
        sweep(keeping, 60)
        for path in tmp_path.glob("results.*"):
            shutil.copy(path, folder)
    return folder / "results.parquet.journal"


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(journal, tmp_path):
    data = journal.read_bytes()
    for length in range(0, len(data), 97):
        journal.write_bytes(data[:length])
        found = read(journal.with_suffix(""))
        whole = data[:length].count(b"\n")
        assert len(found.results) + len(found.tuning) + len(found.failures) == 40 + 14 + 1 + _new(data[:length], whole)
        assert bool(found.notices) == (length > 0 and data[length - 1:length] != b"\n")


def _new(data, whole):
    """Rows that the journal's whole lines add: failures cleared by their result add nothing."""
    lines = data.split(b"\n")[:whole]
    failed = {line[9:].split(b'"seed": ')[1].split(b",")[0] for line in lines if b'"failures"' in line}
    finished = [line[9:].split(b'"seed": ')[1].split(b",")[0] for line in lines if b'"failures"' not in line]
    return len(finished) + len(failed - set(finished) - {b"5000"})


def test_flipped_bits_cost_the_lines_they_hit_and_are_told(journal, tmp_path):
    expected = undisturbed(tmp_path / "undisturbed", 60)
    data, dice = journal.read_bytes(), random.Random(SEED)
    for _ in range(100):
        damaged = bytearray(data)
        position = dice.randrange(len(data))
        damaged[position] ^= 1 << dice.randrange(8)
        journal.write_bytes(damaged)
        found = read(journal.with_suffix(""))
        assert found.notices
        assert set(found.results.values()) <= {result(i) for i in range(60)}
        assert len(found.results) >= 58   # a flipped line end joins two lines
    assert rerun(journal.parent, 60) == expected
    assert (journal.parent / "results.parquet.journal.damaged").exists()


def test_garbage_and_zeros_in_the_journal_never_stop_a_rerun(journal, tmp_path):
    """After a power cut a file system may leave zeros or another file's bytes where the tail was."""
    expected = undisturbed(tmp_path / "undisturbed", 60)
    data, dice = journal.read_bytes(), random.Random(SEED)
    for tail in (b"\0" * 4096, dice.randbytes(4096), b"\n\n\n", b"[" * 100_000 + b"\n", "\u2028é".encode() + b"\xff\n"):
        journal.write_bytes(data[:-100] + tail)
        assert rerun(journal.parent, 60) == expected


def test_a_journal_of_another_schema_is_refused_and_stays(journal):
    other = make_dataclass("Other", [("x", int)])(x=1)
    data = journal.read_bytes() + encode("results", other)
    journal.write_bytes(data)
    with pytest.raises(StoreError, match="another schema"):
        opened(journal.with_suffix(""))
    assert journal.read_bytes() == data


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path, room):
    """Leave room bytes on path's file system."""
    free = os.statvfs(path.parent)
    path.write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - room))


@pytest.mark.parametrize("room", [4096, 8192, 20480, 28672, 40960, 61440])
def test_a_full_disk_is_told_keeps_every_row_and_is_mended_by_freeing_space(small_disk, tmp_path, room):
    """Full in the middle of a line, of a fold, or at the start: where, depends on the room that is left."""
    expected = undisturbed(tmp_path / "undisturbed", 400)
    out, ballast, kept = small_disk / "results.parquet", small_disk / "ballast", []
    with opened(out) as keeping:
        sweep(keeping, 20)
    fill(ballast, room)
    with pytest.raises(StoreError, match="no space is left"), opened(out) as keeping:
        for i in range(20, 400):
            keeping.append(result(i))
            kept.append(i)
    assert {result(i) for i in range(20)} <= set(pq_rows(out))
    assert {result(i) for i in kept} <= set(read(out).results.values())
    ballast.unlink()
    assert rerun(small_disk, 400) == expected


def pq_rows(path):
    return [type(result(0))(**row) for row in pq.read_table(path).to_pylist()]


def test_half_a_line_on_a_full_disk_does_not_spoil_the_next(tmp_path, monkeypatch):
    """A driver that frees space and appends again must not glue its row to the torn one."""
    real, full = os.write, True

    def write(file, data):
        if full:
            real(file, bytes(data)[:50])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data)

    with opened(tmp_path / "results.parquet") as keeping:
        keeping.append(result(1))
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StoreError):
            keeping.append(result(2))
        full = False
        keeping.append(result(3))
        found = read(tmp_path / "results.parquet")
        assert not found.notices and set(found.results.values()) == {result(1), result(3)}


def test_a_read_only_folder_is_told_and_left_as_it_is(small_disk):
    out = small_disk / "results.parquet"
    with opened(out) as keeping:
        keeping.append(result(1))
    before = tables(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for path in (out, small_disk / "new.parquet"):
        with pytest.raises(StoreError, match="change its rights") as refusal:
            opened(path)
        assert "\n" not in str(refusal.value)
    assert tables(small_disk) == before and len(read(out).results) == 1


def test_a_disk_that_fails_to_sync_stops_the_sweep_with_its_reason(tmp_path, monkeypatch):
    """After a failed fsync the kernel drops the pages: going on would acknowledge rows that are gone."""
    def fail(file):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StoreError, match="Input/output error"), opened(tmp_path / "results.parquet") as keeping:
        keeping.append(result(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            keeping.append(result(2))
            keeping._keeper.join(timeout=30)
        keeping.append(result(3))
    assert set(read(tmp_path / "results.parquet").results.values()) == {result(1), result(2)}
