"""A sweep watched while it runs: what its files say, nothing of them touched, served on loopback alone."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from functools import partial
from pathlib import Path
from zlib import crc32

import pyarrow.parquet as pq
import pytest
from worlds.simulated_study import simulated_study
from worlds.store_cases import TASK, failure, result

from analysis.table.files import BadTable
from analysis.watching.grid import panels
from analysis.watching.page import sight_of, watch_html
from analysis.watching.progress import read_progress
from sweeps.store.store import open_store
from trainers.mnist.cell import Result

ROOT = Path(__file__).resolve().parents[2]
WIDTHS, FRACTIONS = (1.0, 2.0, 4.0), (0.25, 0.5)
AXES = {"width": list(WIDTHS), "fraction": list(FRACTIONS), "dropout": [0.0]}
DESIGN = {"command": "a sweep", "grid": {"axes": AXES, "seeds": 2, "choices": {}}}


def cell(i: int, width: float, fraction: float, seed: int) -> Result:
    return replace(result(i), width=width, fraction=fraction, dropout=0.0, seed=seed)


def snapshot(folder: Path) -> dict[str, tuple]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.iterdir())}


@pytest.fixture
def running(tmp_path):
    """A sweep of 12 runs held open: 4 rows, none of them folded into its table yet, and one failure."""
    with open_store(tmp_path / "r.parquet", task=TASK, provenance=DESIGN, fingerprint="f") as store:
        for i, (width, fraction, seed) in enumerate([(1.0, 0.25, 0), (1.0, 0.25, 1), (2.0, 0.25, 0), (4.0, 0.5, 1)]):
            store.append(cell(i, width, fraction, seed))
        store.fail(replace(failure(9), width=2.0, fraction=0.5, dropout=0.0, seed=0))
        yield tmp_path / "r.parquet"


def states(path: Path) -> dict[tuple, str]:
    (panel,) = panels(read_progress(path))
    return {(x, y) if panel.across == "width" else (y, x): square.state for y, row in zip(panel.rows, panel.squares, strict=True)
            for x, square in zip(panel.columns, row, strict=True)}


def test_rows_in_the_journal_count_and_nothing_of_the_sweep_is_touched(running):
    before = snapshot(running.parent)
    progress = read_progress(running)
    assert (len(progress.rows), len(progress.failures), progress.wanted) == (4, 1, 12)
    assert "process" in progress.sweeper
    assert states(running) == {(1.0, 0.25): "done", (2.0, 0.25): "begun", (4.0, 0.25): "waiting", (1.0, 0.5): "waiting",
                               (2.0, 0.5): "failed", (4.0, 0.5): "begun"}
    assert watch_html(progress, sight_of(progress), [], name="r", every=5)
    assert snapshot(running.parent) == before


def test_what_is_journalled_and_folded_counts_once_and_a_half_written_line_not_at_all(running):
    rows = read_progress(running).rows
    folded = running.with_name("copy.parquet")
    pq.write_table(read_progress(running).table(), folded)
    journal = running.with_name(running.name + ".journal").read_bytes()
    folded.with_name("copy.parquet.journal").write_bytes(journal + journal[: len(journal) // 3])
    assert sorted(map(str, read_progress(folded).rows)) == sorted(map(str, rows))


def test_a_failure_that_a_later_run_made_good_is_none(running):
    (failed,) = read_progress(running).failures
    journal = running.with_name(running.name + ".journal")
    row = json.loads(journal.read_bytes().splitlines()[0].partition(b" ")[2])["row"]
    again = {name: failed.get(name, value) for name, value in row.items()}
    text = json.dumps({"sheet": "results", "row": again}).encode()
    elsewhere = running.with_name("two.parquet")
    elsewhere.write_bytes(running.read_bytes())
    elsewhere.with_name("two.parquet.journal").write_bytes(journal.read_bytes() + b"%08x %s\n" % (crc32(text), text))
    assert not read_progress(elsewhere).failures


def test_a_sweep_that_ended_is_not_said_to_run(tmp_path):
    with open_store(tmp_path / "r.parquet", task=TASK, provenance=DESIGN, fingerprint="f") as store:
        store.append(cell(0, 1.0, 0.25, 0))
    owner = tmp_path / "r.parquet.owner"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    if owner.exists():
        owner.write_text(json.dumps(json.loads(owner.read_text()) | {"pid": dead.pid}))
    assert read_progress(tmp_path / "r.parquet").sweeper == ""


def test_nothing_there_is_said_in_a_line(tmp_path):
    with pytest.raises(BadTable, match="start the sweep"):
        read_progress(tmp_path / "none.parquet")


def test_the_page_is_served_on_loopback_alone_and_ctrl_c_ends_it_well(tmp_path):
    pq.write_table(simulated_study(widths=5, fractions=5, seeds=1, dropouts=(0.0,)), tmp_path / "r.parquet")
    before = snapshot(tmp_path)
    command = [sys.executable, str(ROOT / "analysis" / "watch.py"), str(tmp_path / "r.parquet"), "--every", "60"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)   # a job in the background would ignore it
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    try:
        address = next(word for word in watching.stdout.readline().split() if word.startswith("http"))
        assert address.startswith("http://127.0.0.1:")
        page = urllib.request.urlopen(address, timeout=300).read().decode()
        assert "25" in page and "<script" not in page and "data:image/svg+xml" in page and "best model size grows as" in page
        elsewhere = urllib.request.Request(address, headers={"Host": "somewhere.example"})
        for refused in (urllib.request.Request(address + "etc"), elsewhere):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(refused, timeout=60)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=120) == 0 and "Traceback" not in watching.stderr.read()
    finally:
        watching.kill()
    assert snapshot(tmp_path) == before
