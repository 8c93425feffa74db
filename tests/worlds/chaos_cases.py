"""The command itself as a process that the tests of chaos start, watch, kill and start again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.jobs.grid import Grid, cells_of
from sweeps.store.recovery import table_path
from sweeps.store.store import read_store
from trainers.function import FunctionTask
from trainers.mnist.task import TASK
from trainers.task import Task
from worlds import slow_model
from worlds.sweep_cases import ROOT, SMALL, assert_same_rows, trained

SEED = 6     # of every draw: a count in the README comes back with the same moments drawn
SEEDS = 8    # 32 cells, some seconds of training after as many seconds of start

Rows = dict[tuple, object]


@dataclass(frozen=True, eq=False)
class Case:
    """A command, and the grid that it sweeps."""

    name: str
    words: tuple[str, ...]     # of the command line, from the script on
    axes: Mapping[str, tuple]
    choices: Mapping[str, object] = field(default_factory=dict)
    tuned: tuple[str, ...] = ()   # what makes a sweep that tunes lr as well

    def task(self) -> Task:
        """Anew: a function's columns are those of the table that it is read from."""
        return TASK if self.name == "mnist" else FunctionTask(slow_model.train, axes=list(self.axes))

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.axes, tuple(range(SEEDS)), self.choices)

    @cached_property
    def undisturbed(self) -> Rows:
        """The grid's table: each cell trained in this process, one after the other."""
        task = self.task()
        return trained(task, cells_of(task, self.grid), task.load())


MNIST = Case("mnist", (str(ROOT / "sweeps" / "mnist_grid.py"), *SMALL, "--seeds", str(SEEDS)),
             {"width": (0.25, 0.5), "fraction": (0.0078125, 0.00390625), "dropout": (0.0,)}, {"lr": 0.01}, ("--lr", "tuned"))
FUNCTION = Case("function", (str(ROOT / "sweeps" / "grid.py"), f"{slow_model.__file__}:train", "--grid", "width=16,64",
                             "samples=20000,80000", "--seeds", str(SEEDS), "--cpus", "2"),
                {"width": (16, 64), "samples": (20_000, 80_000)},
                tuned=("--tune", "lr=0.03:1", "--by", "width", "--trials", "3", "--tune-seeds", "1"))


def of(*names_and_cases: object) -> pytest.MarkDecorator:
    """A test's cases: of(MNIST), or of("part", (MNIST, 0), (FUNCTION, 1)) with the values of a further parameter."""
    further = [name for name in names_and_cases if isinstance(name, str)]
    rows = [case if isinstance(case, tuple) else (case,) for case in names_and_cases if not isinstance(case, str)]
    ids = ["-".join([row[0].name, *(getattr(value, "name", str(value)) for value in row[1:])]) for row in rows]
    return pytest.mark.parametrize(",".join(["case", *further]), rows if further else [row[0] for row in rows], ids=ids)


def line(case: Case, out: Path, *more: str) -> list[str]:
    """The command; options given again in `more` win."""
    return [sys.executable, *case.words, "--out", os.fspath(out), *more]


def start(case: Case, out: Path, *more: str) -> subprocess.Popen:
    """The sweep in a session of its own, as in a terminal."""
    with words_file(out).open("ab") as words:
        return subprocess.Popen(line(case, out, *more), cwd=out.parent, stdout=words, stderr=words, start_new_session=True)


def words_file(out: Path) -> Path:
    """Beside the table's folder: that one may be full, read-only or gone."""
    return out.parent.parent / f"{out.parent.name}-{out.name}.words"


def words(out: Path) -> str:
    return words_file(out).read_text()


def finish(case: Case, out: Path, *more: str, wanted: Rows | None = None) -> None:
    """The same command again, to its end; the promise then holds."""
    ended = start(case, out, *more)
    assert ended.wait(600) == 0, words(out)[-3000:]
    assert_same_rows(rows_of(case, out), case.undisturbed if wanted is None else wanted)
    assert not Path(f"{out}.journal").exists(), "an orderly end leaves no journal"
    tables = [file for file in (out, Path(table_path(str(out), "tuning"))) if file.exists()]
    assert sum(pq.read_metadata(file).num_rows for file in tables) == len(rows_of(case, out)), "a row is there twice"


def rows_of(case: Case, out: Path) -> Rows:
    """Of tuning, too, if there is any: its trials have seeds of their own."""
    if not (out.exists() or Path(f"{out}.journal").exists()):   # a function's first rows are in the journal alone
        return {}
    found = read_store(out, task=case.task())
    return {**found.results, **found.tuning}


def wait_for_rows(case: Case, out: Path, count: int, process: subprocess.Popen) -> None:
    while len(rows_of(case, out)) < count:
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
