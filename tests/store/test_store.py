"""The store's promises while nothing crashes: exact rows, one owner, refusals, cost."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.store_cases import PROVENANCE, TASK, failure, result, sweep, tables

from sweeps.store.journal import decode, encode
from sweeps.store.rows import TableKind, differing, from_parquet, to_parquet
from sweeps.store.store import StoreError, open_store, read_store
from trainers.columns import identity_of, measured, schema_of
from trainers.mnist.cell import Cell, Result

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = schema_of(Result)


def opened(path, **options):
    return open_store(path, **{"task": TASK, "provenance": PROVENANCE, "fingerprint": "f"} | options)


def read(path):
    return read_store(path, task=TASK)


def any_result():
    """Every value that a column's type admits; only an identity may hold no NaN."""
    texts = st.text(st.characters(exclude_categories=["Cs"]))
    measured = {float: st.floats(), int: st.integers(-2**63, 2**63 - 1), str: texts}
    identifying = measured | {float: st.floats(allow_nan=False)}
    names = set(identity_of(result(0))._fields)
    return st.builds(Result, **{f.name: (identifying if f.name in names else measured)[f.type] for f in fields(Result)})


@given(any_result())
def test_any_row_comes_back_from_the_journal_bit_for_bit(row):
    """A float written with 17 digits, NaN, infinities, -0.0 or a newline in a text must survive."""
    (entry,) = decode(encode("results", row)).entries
    assert repr(Result(**entry.row)) == repr(row)


@given(st.lists(any_result(), max_size=5))
@settings(max_examples=50)
def test_any_rows_come_back_from_parquet_bit_for_bit(rows):
    found = from_parquet(to_parquet(rows, Result, [PROVENANCE], "mnist").to_pybytes(), TASK, Result)
    assert sorted(map(repr, found.rows)) == sorted(map(repr, rows))
    assert found.runs == [PROVENANCE]


@given(any_result())
@settings(max_examples=25, deadline=None)
def test_a_row_survives_the_store_itself(tmp_path_factory, row):
    out = tmp_path_factory.mktemp("store") / "results.parquet"
    with opened(out, fingerprint=None) as keeping:
        keeping.append(row)
        assert [repr(r) for r in read(out).results.values()] == [repr(row)]
    assert [repr(r) for r in read(out).results.values()] == [repr(row)]


@pytest.mark.parametrize("changes", [dict(width=math.nan), dict(params=2**63), dict(device="\udcff"), dict(steps=1.5),
                                     dict(val_loss="0.1"), dict(flops=10**400), dict(device=None)])
def test_a_row_that_could_not_be_read_back_is_refused_and_spoils_nothing(tmp_path, changes):
    """One int too long in the journal would make every later fold fail, and so every rerun."""
    with opened(tmp_path / "results.parquet") as keeping:
        keeping.append(result(1))
        with pytest.raises(ValueError):
            keeping.append(result(2, **changes))
        keeping.append(result(3))
    assert len(read(tmp_path / "results.parquet").results) == 2


def test_the_final_files_do_not_depend_on_the_order_of_finishing(tmp_path):
    for name, order in (("a", range(200)), ("b", reversed(range(200)))):
        (tmp_path / name).mkdir()
        with opened(tmp_path / name / "results.parquet") as keeping:
            for i in order:
                keeping.append(result(i))
                keeping.append_tuning(result(i + 300))
                keeping.fail(failure(i + 600))
    assert tables(tmp_path / "a") == tables(tmp_path / "b") and len(tables(tmp_path / "a")) == 3


def test_a_rerun_with_nothing_to_do_changes_no_byte(tmp_path):
    out = tmp_path / "results.parquet"
    with opened(out) as keeping:
        sweep(keeping, 20)
    before = tables(tmp_path)
    with opened(out, provenance={"another": "run"}) as keeping:
        assert len(keeping.results) == 20
    assert tables(tmp_path) == before


def test_planned_work_is_found_among_finished_rows_after_a_reopening(tmp_path):
    """An int where the schema has a float (width 1, dropout 0) must not train its cell for ever."""
    cell = Cell(width=1, fraction=1, dropout=0, seed=3, lr=1, batch_size=64)
    with opened(tmp_path / "r.parquet") as keeping:
        keeping.append(result(0, width=1, fraction=1, dropout=0, seed=3, lr=1))
        assert identity_of(cell) in keeping.results
    with opened(tmp_path / "r.parquet") as keeping:
        assert identity_of(cell) in keeping.results
        assert identity_of(replace(cell, protocol="another")) not in keeping.results
        assert identity_of(replace(cell, beta2=0.999)) not in keeping.results


def test_a_row_that_comes_twice_is_kept_once_and_a_difference_is_told(tmp_path):
    with opened(tmp_path / "r.parquet") as keeping:
        assert keeping.append(result(1))
        assert not keeping.append(result(1, train_seconds=9.0)) and not keeping.notices
        assert not keeping.append(result(1, val_loss=9.0)) and "val_loss" in keeping.notices[0]
        assert list(keeping.results.values()) == [result(1)]
    assert list(read(tmp_path / "r.parquet").results.values()) == [result(1)]


def test_a_finished_row_clears_its_failure_and_the_newest_failure_stays(tmp_path):
    out = tmp_path / "r.parquet"
    with opened(out) as keeping:
        keeping.fail(failure(1))
        keeping.fail(failure(2))
        keeping.fail(failure(2, error="\udcff: no text", attempts=7))
    with opened(out) as keeping:
        assert len(keeping.failures) == 2
        keeping.append(result(1))
        keeping.fail(failure(1))
        (left,) = keeping.failures.values()
    assert left.attempts == 7
    table = pq.read_table(tmp_path / "r.failures.parquet")
    assert table["seed"].to_pylist() == [2] and table["error"].to_pylist() == ["\\udcff: no text"]


def test_units_meanings_and_provenance_of_every_run_are_in_the_file(tmp_path):
    out = tmp_path / "r.parquet"
    for run, rows in (({"grid": (1, 2)}, [1, 2]), ({"grid": (1, 2)}, [3]), ({"grid": (4,)}, []), ({"grid": (5,)}, [4])):
        with opened(out, provenance=run) as keeping:
            for i in rows:
                keeping.append(result(i))
    found = pq.read_schema(out)
    assert found.remove_metadata().equals(SCHEMA.remove_metadata(), check_metadata=False)
    assert all(found.field(f.name).metadata == f.metadata for f in SCHEMA)
    assert json.loads(found.metadata[b"provenance"]) == [{"grid": [1, 2]}, {"grid": [5]}]


def test_a_study_keeps_columns_of_its_own(tmp_path):
    @dataclass(frozen=True, order=True, kw_only=True)
    class Suggested(Result):
        surprise: float = measured("1", "of the tuner")

    out, task = tmp_path / "r.parquet", TableKind(Suggested, "mnist")
    row = Suggested(**vars(result(1)), surprise=0.1)
    with opened(out, task=task) as keeping:
        keeping.append(row)
        with pytest.raises(TypeError):
            keeping.append(result(2))
    with opened(out, task=task) as keeping:
        assert list(keeping.results.values()) == [row]
    with pytest.raises(StoreError, match="surprise"):
        opened(out)


@pytest.mark.parametrize("reader", ["pandas", "pyarrow", "duckdb", "polars"])
def test_other_readers_see_the_same_rows(tmp_path, reader):
    out = tmp_path / "results.parquet"
    with opened(out) as keeping:
        sweep(keeping, 30)
    library = pytest.importorskip(reader)
    read = {"pandas": lambda: pd.read_parquet(out).to_dict("records"),
            "pyarrow": lambda: pq.read_table(out).to_pylist(),
            "polars": lambda: library.read_parquet(out).to_dicts(),
            "duckdb": lambda: [dict(zip(SCHEMA.names, row))
                               for row in library.sql(f"select * from '{out}'").fetchall()]}[reader]
    assert {Result(**row) for row in read()} == {result(i) for i in range(30)}


def other_schema(path):
    pq.write_table(pa.table({"width": [1.0]}), path)


def wrong_type(path):
    with opened(path) as keeping:
        keeping.append(result(1))
    frame = pd.read_parquet(path).astype({"params": float})
    frame.to_parquet(path)


def with_nulls(path):
    with opened(path) as keeping:
        keeping.append(result(1))
    frame = pd.read_parquet(path)
    frame.loc[0, "val_loss"] = None
    pq.write_table(pa.Table.from_pandas(frame, schema=pa.schema([f.with_nullable(True) for f in SCHEMA])), path)


def foreign_fingerprint(path):
    with opened(path, fingerprint="older") as keeping:
        keeping.append(result(1, fingerprint="older"))


def foreign_tuning(path):
    with opened(path, fingerprint="older") as keeping:
        keeping.append_tuning(result(1, fingerprint="older"))


def truncated(path):
    with opened(path) as keeping:
        keeping.append(result(1))
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("spoil", [other_schema, wrong_type, with_nulls, foreign_fingerprint, foreign_tuning, truncated,
                                   lambda path: path.write_text("width,seed\n1,2\n"), lambda path: path.touch()],
                         ids="other-schema wrong-type nulls fingerprint tuning truncated csv empty".split())
def test_a_table_that_is_not_this_sweeps_is_refused_and_left_as_it_is(tmp_path, spoil):
    path = tmp_path / "results.parquet"
    spoil(path)
    before = tables(tmp_path)
    with pytest.raises(StoreError) as refusal:
        opened(path)
    assert "\n" not in str(refusal.value) and "--out" in str(refusal.value)
    assert tables(tmp_path) == before
    assert not list(tmp_path.glob("*.owner"))   # and the lock is free again


def test_a_copy_that_pandas_rewrote_goes_on(tmp_path):
    """Pandas drops units and writes nullable columns; its rows are the same."""
    path = tmp_path / "results.parquet"
    with opened(path) as keeping:
        sweep(keeping, 10)
    pd.read_parquet(path).to_parquet(path)
    with opened(path) as keeping:
        assert set(keeping.results.values()) == {result(i) for i in range(10)}


def test_rows_of_another_fingerprint_are_refused_one_by_one_too(tmp_path):
    with opened(tmp_path / "r.parquet", fingerprint=None) as keeping:
        keeping.append(result(1))
        with pytest.raises(StoreError):
            keeping.append(result(2, fingerprint="g"))
    with pytest.raises(StoreError):
        read(tmp_path / "absent.parquet")


@pytest.mark.parametrize("out", ["", "absent/r.parquet", "/dev/null", "nul\0byte", "ftp://host/r.parquet", "x" * 300,
                                 "r.tuning.parquet", "s3://bucket", "s3://", "gs://bucket/"])
def test_an_impossible_out_is_one_line(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(StoreError) as refusal:
        opened(out)
    assert "\n" not in str(refusal.value)


OPEN = ("from sweeps.store.rows import TableKind; from sweeps.store.store import open_store; from trainers.mnist.cell import Result; "
        "TASK = TableKind(Result, 'mnist')")


def test_a_second_sweep_is_refused_by_whatever_path_and_told_who_holds_the_table(tmp_path):
    (tmp_path / "link.parquet").symlink_to(tmp_path / "r.parquet")
    code = f"{OPEN}; open_store({str(tmp_path / 'link.parquet')!r}, task=TASK, provenance={{}})"
    with opened(tmp_path / "r.parquet") as keeping:
        keeping.append(result(1))
        second = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert second.returncode and f"process {os.getpid()} on " in second.stderr
        keeping.append(result(2))
    assert not subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode
    assert len(read(tmp_path / "r.parquet").results) == 2


def test_whoever_is_named_as_the_owner_is_alive(tmp_path):
    """Between the lock and the new owner's file there lies a killed one's: nobody can stop that process."""
    out = tmp_path / "r.parquet"
    with opened(out):
        owner = json.loads(Path(f"{out}.owner").read_text())
        for pid, named in ((subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip(), False), (os.getpid(), True)):
            Path(f"{out}.owner").write_text(json.dumps(owner | {"pid": int(pid)}))
            with pytest.raises(StoreError) as refusal:
                second = open_store(out, task=TASK, provenance={})
                second.close()
            assert (f"process {pid} on" in str(refusal.value)) is named


def test_the_lock_dies_with_its_process_even_where_a_child_lives_on(tmp_path):
    """Ray's processes outlive a killed driver: a lock that they inherited would bar the rerun."""
    out = tmp_path / "r.parquet"
    code = (f"import os, subprocess, sys; {OPEN}; s = open_store({str(out)!r}, task=TASK, provenance={{}});"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False, stdout=subprocess.DEVNULL);"
            "print(child.pid, flush=True); os.kill(os.getpid(), 9)")
    dead = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        with opened(out) as keeping:
            keeping.append(result(1))
    finally:
        os.kill(int(dead.stdout), 9)   # fails where the child was gone, and the test with it


def bytes_written(monkeypatch, folder, n):
    """How many bytes the store hands to the system for n rows, and their CPU seconds."""
    written = 0
    real = os.write

    def count(file, data):
        nonlocal written
        written += len(data)
        return real(file, data)

    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", count)
        start = time.process_time()
        with opened(folder / "r.parquet") as keeping:
            for i in range(n):
                keeping.append(result(i))
        return written, time.process_time() - start


def test_the_bytes_written_grow_in_proportion_to_the_rows(monkeypatch, tmp_path):
    """A table rewritten for each row, or each 1000 rows, costs O(n^2)."""
    few, _ = bytes_written(monkeypatch, tmp_path / "few", 2_000)
    many, _ = bytes_written(monkeypatch, tmp_path / "many", 16_000)
    assert many / few < 8 * 1.5


@pytest.mark.slow
def test_a_hundred_thousand_rows_cost_ten_times_ten_thousand(monkeypatch, tmp_path, capsys):
    few, few_seconds = bytes_written(monkeypatch, tmp_path / "few", 10_000)
    many, many_seconds = bytes_written(monkeypatch, tmp_path / "many", 100_000)
    with capsys.disabled():
        print(f"\n100,000 rows against 10,000: {many / few:.1f} times the bytes ({many / 1e6:.0f} MB), "
              f"{many_seconds / few_seconds:.1f} times the CPU time ({1e6 * many_seconds / 100_000:.0f} us a row)")
    assert many / few < 10 * 1.5


def test_rows_are_synced_within_two_seconds_though_nothing_more_happens(monkeypatch, tmp_path):
    """A sync that waits for the next row leaves the last one to a power cut for as long as cells last."""
    with opened(tmp_path / "r.parquet") as keeping:
        synced = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: (real(file), synced.append(os.fstat(file).st_size)))
        keeping.append(result(1))
        size = (tmp_path / "r.parquet.journal").stat().st_size
        deadline = time.monotonic() + 10
        while size not in synced and time.monotonic() < deadline:
            time.sleep(0.05)
        assert size in synced


def test_an_exception_in_the_sweep_is_not_masked_and_loses_no_row(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "r.parquet") as keeping:
        keeping.append(result(1))
        raise KeyboardInterrupt
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 1


def test_differing_names_what_differs_and_no_timing():
    assert differing(result(1), result(1, train_seconds=3.0)) == []
    assert differing(result(1), result(1, val_loss=math.nan, device="x")) == ["val_loss", "device"]
    assert differing(result(1, val_loss=math.nan), result(1, val_loss=math.nan)) == []
