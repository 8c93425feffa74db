"""Merging the tables of several drivers' shards."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from worlds.store_cases import PROVENANCE, TASK, failure, result, sweep, tables

from sweeps.store.rows import TableKind
from sweeps.store.store import open_store, read_store
from trainers.columns import measured
from trainers.mnist.cell import Result

ROOT = Path(__file__).resolve().parents[2]


def shard(path, rows, fingerprint="f", trials=(), failures=()):
    with open_store(path, task=TASK, provenance={"shard": path.name}, fingerprint=fingerprint) as keeping:
        for row in rows:
            keeping.append(row)
        for row in trials:
            keeping.append_tuning(row)
        for row in failures:
            keeping.fail(row)
    return str(path)


def merge(*arguments):
    return subprocess.run([sys.executable, "-m", "sweeps.merge", *map(str, arguments)], cwd=ROOT,
                          capture_output=True, text=True)


def refused(run, *words):
    assert run.returncode == 2 and not run.stdout
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr
    assert all(word in run.stderr for word in words), run.stderr


def test_shards_make_the_table_of_one_sweep_whatever_their_order_and_overlap(tmp_path):
    """Equal rows count once though their timings differ; a shard's failure ends with another's result."""
    a = shard(tmp_path / "a.parquet", map(result, range(0, 60)), trials=[result(900)], failures=[failure(70)])
    b = shard(tmp_path / "b.parquet", [result(i, train_seconds=0.5) for i in range(50, 100)], trials=[result(901)],
              failures=[failure(200), failure(200, time=2e9, attempts=9)])
    for name, parts in (("ab", (a, b)), ("ba", (b, a))):
        (tmp_path / name).mkdir()
        run = merge(tmp_path / name / "all.parquet", *parts)
        assert run.returncode == 0, run.stderr
    found = read_store(tmp_path / "ab" / "all.parquet", task=TASK)
    assert {row.seed for row in found.results.values()} == set(range(100)) == {
        row.seed for row in read_store(tmp_path / "ba" / "all.parquet", task=TASK).results.values()}
    assert len(found.results) == 100 and len(found.tuning) == 2
    (left,) = found.failures.values()
    assert left == failure(200, time=2e9, attempts=9)
    (told,) = json.loads(pq.read_schema(tmp_path / "ab" / "all.parquet").metadata[b"provenance"])
    assert [runs[0]["shard"] for runs in told["merged"].values()] == ["a.parquet", "b.parquet"]


def test_merging_again_adds_what_came_since_and_changes_nothing_else(tmp_path):
    a, out = shard(tmp_path / "a.parquet", map(result, range(10))), tmp_path / "all.parquet"
    assert merge(out, a).returncode == 0
    before = tables(tmp_path)
    assert merge(out, a).returncode == 0
    assert tables(tmp_path) == before
    with open_store(a, task=TASK, provenance=PROVENANCE) as running:   # not folded, and held: read all the same
        running.append(result(10))
        assert merge(out, a).returncode == 0
    assert len(read_store(out, task=TASK).results) == 11


def test_the_merged_table_equals_the_single_sweeps(tmp_path):
    with open_store(tmp_path / "one.parquet", task=TASK, provenance=PROVENANCE, fingerprint="f") as keeping:
        sweep(keeping, 40)
    parts = [shard(tmp_path / f"{k}.parquet", map(result, range(k, 40, 3))) for k in range(3)]
    assert merge(tmp_path / "all.parquet", *parts).returncode == 0
    merged, single = pq.read_table(tmp_path / "all.parquet"), pq.read_table(tmp_path / "one.parquet")
    assert merged.equals(single)


def test_rows_that_contradict_each_other_are_refused_and_named(tmp_path):
    a = shard(tmp_path / "a.parquet", [result(1), result(2)])
    b = shard(tmp_path / "b.parquet", [result(2, val_loss=0.25), result(3)])
    before = tables(tmp_path)
    refused(merge(tmp_path / "all.parquet", a, b), "seed=2", "val_loss", "a.parquet", "b.parquet")
    assert tables(tmp_path) == before
    assert merge(tmp_path / "all.parquet", a).returncode == 0
    before = tables(tmp_path)
    refused(merge(tmp_path / "all.parquet", b), "seed=2", "all.parquet")
    assert tables(tmp_path) == before


def test_tables_of_other_versions_schemas_or_none_are_refused(tmp_path):
    @dataclass(frozen=True, order=True, kw_only=True)
    class Suggested(Result):
        surprise: float = measured("1", "of the tuner")

    a, b = shard(tmp_path / "a.parquet", [result(1)]), shard(tmp_path / "b.parquet", [result(2, fingerprint="g")], "g")
    with open_store(tmp_path / "c.parquet", task=TableKind(Suggested, "mnist"), provenance=PROVENANCE) as keeping:
        keeping.append(Suggested(**vars(result(3)), surprise=0.5))
    (tmp_path / "d.parquet").write_text("no Parquet")
    out = tmp_path / "all.parquet"
    refused(merge(out, a, b), "a.parquet", "b.parquet", "version")
    refused(merge(out, a, tmp_path / "c.parquet"), "surprise")
    refused(merge(out, tmp_path / "c.parquet", a), "surprise")
    refused(merge(out, a, tmp_path / "d.parquet"), "d.parquet")
    refused(merge(out, tmp_path / "d.parquet"), "d.parquet")
    refused(merge(out, a, tmp_path / "absent.parquet"), "absent.parquet")
    refused(merge(a, a, b), "another name")
    refused(merge(tmp_path / "absent" / "all.parquet", a), "absent")
    assert not out.exists()
    assert merge(out, tmp_path / "c.parquet").returncode == 0
    table = pq.read_table(out)
    assert table["surprise"].to_pylist() == [0.5] and table.schema.field("surprise").metadata[b"meaning"] == b"of the tuner"
