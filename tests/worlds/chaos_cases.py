"""The command itself as a process that the tests of chaos start, watch, kill and start again."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.jobs.grid import BatchRule, Grid
from sweeps.store.recovery import table_path
from sweeps.store.rows import Identity
from sweeps.store.store import read_store
from trainers.mnist.images import load_images
from trainers.mnist.results import Result
from trainers.mnist.train import put_on
from worlds.sweep_cases import assert_same_rows, command, trained

SEED = 6     # of every draw: a count in the README comes back with the same moments drawn
SEEDS = 8    # 32 cells, some seconds of training after as many seconds of start
GRID = Grid(widths=(0.25, 0.5), fractions=(0.0078125, 0.00390625), seeds=tuple(range(SEEDS)), dropouts=(0.0,))


Rows = dict[Identity, Result]


@cache
def undisturbed() -> Rows:
    """GRID's table: each cell trained in this process, one after the other."""
    return trained(GRID.cells(), lr=0.01, batch=BatchRule(), images=put_on(load_images(), "cpu"))


def line(out: Path, *more: str) -> list[str]:
    return command(out, "--seeds", str(SEEDS), *more)


def start(out: Path, *more: str) -> subprocess.Popen:
    """The sweep in a session of its own, as in a terminal."""
    with words_file(out).open("ab") as words:
        return subprocess.Popen(line(out, *more), cwd=out.parent, stdout=words, stderr=words, start_new_session=True)


def words_file(out: Path) -> Path:
    """Beside the table's folder: that one may be full, read-only or gone."""
    return out.parent.parent / f"{out.parent.name}-{out.name}.words"


def words(out: Path) -> str:
    return words_file(out).read_text()


def finish(out: Path, *more: str, wanted: Rows | None = None) -> None:
    """The same command again, to its end; the promise then holds."""
    ended = start(out, *more)
    assert ended.wait(600) == 0, words(out)[-3000:]
    assert_same_rows(rows_of(out), undisturbed() if wanted is None else wanted)
    assert not Path(f"{out}.journal").exists(), "an orderly end leaves no journal"
    tables = [file for file in (out, Path(table_path(str(out), "tuning"))) if file.exists()]
    assert sum(pq.read_metadata(file).num_rows for file in tables) == len(rows_of(out)), "a row is there twice"


def rows_of(out: Path) -> Rows:
    """Of tuning, too, if there is any: its trials have seeds of their own."""
    if not out.exists():
        return {}
    found = read_store(out)
    return {**found.results, **found.tuning}


def wait_for_rows(out: Path, count: int, process: subprocess.Popen) -> None:
    while len(rows_of(out)) < count:
        assert process.poll() is None, words(out)[-3000:]
        time.sleep(0.02)


def assert_part_of(rows: Rows, wanted: Rows) -> None:
    """Nothing but whole, true rows; which ones is left open."""
    assert_same_rows(rows, {key: wanted[key] for key in rows})


def processes_of(name: str | Path) -> dict[int, str]:
    """Command lines, by pid, of the processes whose lines name it: a folder, say."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(name) in text:
            found[int(file.parent.name)] = text
    return found


@contextmanager
def own_temp_folder() -> Iterator[Path]:
    """A temp folder for these sweeps alone, short, for Ray puts sockets there."""
    with tempfile.TemporaryDirectory(prefix="ch-", dir="/tmp", ignore_cleanup_errors=True) as folder, \
            pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of its own, of that size."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def below(pid: int) -> list[int]:
    """Pids of the process and of all its descendants."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL, none of them warned by the others' end."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
