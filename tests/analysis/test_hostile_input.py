"""Tables made to break the reader: one clear line, no traceback, no hang, bounded memory."""

import json
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import hostile_tables
from worlds.hostile_tables import FIELDS, hostile_bytes
from worlds.simulated_study import simulated_study

from analysis.fitted import Request, study
from analysis.report.export import study_json
from analysis.table.files import BadTable
from analysis.table.runs import Table, read_table

ROOT = Path(__file__).resolve().parents[2]
HANG = 10.0   # seconds: what issue 6 calls one


def outcome(path: Path) -> Table | None:
    """The table, or None where it was refused in one printable line; anything else is a failure."""
    try:
        return read_table([str(path)])
    except BadTable as why:
        assert str(why).isprintable() and len(str(why)) < 1000
        return None


def assault(folder: Path, count: int, seed: int) -> list[Table]:
    """Tables that got through of `count` hostile files."""
    random, through = np.random.default_rng(seed), []
    for number in range(count):
        path = folder / "hostile"
        path.write_bytes(hostile_bytes(random))
        start = time.monotonic()
        try:
            table = outcome(path)
        except Exception as error:
            raise AssertionError(f"file {number} of seed {seed}: {error!r}") from error
        assert time.monotonic() - start < HANG, f"file {number} of seed {seed} hung"
        through += [table] if table is not None else []
    return through


def test_hostile_files_are_read_or_refused(tmp_path):
    through = assault(tmp_path, 300, seed=0)
    # Both ends matter: a reader that refused everything would pass unnoticed.
    assert 20 < len(through) < 200
    for table in through:
        for group in table.groups:
            for values in (group.runs.N, group.runs.D, group.runs.C, group.runs.L):
                assert np.isfinite(values).all() and (values > 0).all()


def test_a_column_whose_type_was_flipped_does_not_end_the_process(tmp_path):
    # the bug: text that the footer calls INT64 keeps its text's statistics, and Arrow aborts when asked for the column's size
    whole = hostile_tables.parquet_bytes(simulated_study(widths=4, fractions=4, seeds=1, dropouts=(0.0,)))
    text = b"\x15\x0c\x25"   # of the footer: physical type 6 (bytes), optional or required
    assert text in whole
    at = whole.rfind(text)
    (tmp_path / "flipped.parquet").write_bytes(whole[:at] + b"\x15\x04\x25" + whole[at + len(text):])
    done = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), "flipped.parquet", "--resamples", "50"],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "damaged" in done.stderr.splitlines()[-1]


def test_what_gets_through_is_fitted_or_refused_by_name(tmp_path):
    for table in assault(tmp_path, 60, seed=1)[:5]:
        fitted = study(table, Request(resamples=50))
        document = json.loads(study_json(fitted), parse_constant=pytest.fail)
        for group in document["groups"]:
            for name in ("approach1", "approach2", "approach3"):
                assert group[name].keys() >= {"a", "b"} or group[name].keys() == {"refused"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_hostile_files_leave_no_traceback_no_hang_and_little_memory(tmp_path, part):
    code = ("import sys, resource; sys.path[:0] = sys.argv[1:3]\n"
            "from pathlib import Path; from test_hostile_input import assault\n"
            "through = assault(Path(sys.argv[3]), 2_500, seed=10 + int(sys.argv[4]))\n"
            "print(len(through), next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))")
    done = subprocess.run([sys.executable, "-c", code, str(ROOT), str(ROOT / "tests"), str(tmp_path), str(part)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    through, kilobytes = map(int, done.stdout.split())
    print(f"part {part}: {through} of 2,500 read, {kilobytes / 1e6:.2f} GB")
    assert through > 125 and kilobytes < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_two_hundred_survivors_are_fitted_or_refused_by_name(tmp_path, part):
    tables = assault(tmp_path, 400, seed=30 + part)[:50]
    assert len(tables) == 50
    estimated = 0
    for table in tables:
        fitted = study(table, Request(resamples=50))
        json.loads(study_json(fitted), parse_constant=pytest.fail)
        estimated += fitted.estimated
    print(f"part {part}: {estimated} of 50 gave an exponent")


@given(st.lists(st.tuples(*[st.one_of(st.sampled_from(FIELDS), st.floats().map(repr), st.text(max_size=8))] * 4),
                min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_text_in_any_field_is_read_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("h") / "x.csv"
    path.write_bytes("\n".join(["N,D,C,loss", *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass"))
    outcome(path)


def gzip_of(start: bytes, block: bytes, times: int) -> bytes:
    """A gzip file of the start and so many blocks, of which one is packed: after a full flush nothing refers to what came before."""
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head, piece = (packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in (start, block))
    check = zlib.crc32(start)
    for _ in range(times):
        check = zlib.crc32(block, check)
    return (b"\x1f\x8b\x08" + bytes(7) + head + piece * times + packer.flush()
            + struct.pack("<II", check, (len(start) + times * len(block)) % 2**32))


def bombs(folder: Path) -> None:
    """Small files that unfold to gigabytes."""
    rows = 1_000_000
    same = np.zeros(rows, np.int32)
    pq.write_table(pa.table({"N": np.full(rows, 5.0), "D": np.full(rows, 7.0), "loss": np.full(rows, 2.0),
                             "name": pa.DictionaryArray.from_arrays(same, ["x" * 1_000_000])}), folder / "terabyte.parquet")
    with pq.ParquetWriter(folder / "rows.parquet", pa.schema([(n, pa.float64()) for n in ("N", "D", "loss")])) as writer:
        table = pa.table({n: np.full(rows, 3.0) for n in ("N", "D", "loss")})
        for _ in range(30):
            writer.write_table(table)
    (folder / "empties.json").write_bytes(b"[" + b"[]," * (14 << 18) + b"[]]")
    for name, filling in (("newlines", b"\n"), ("digits", b"9"), ("quoted", b'"\n')):
        (folder / f"{name}.csv.gz").write_bytes(gzip_of(b"N,D,loss\n1,2,", filling * ((1 << 20) // len(filling)), 600))


def test_bombs_are_disarmed_within_seconds_and_a_gigabyte(tmp_path):
    bombs(tmp_path)
    code = ("import sys, time; sys.path.insert(0, sys.argv[1])\n"
            "from analysis.table.runs import read_table; from analysis.table.files import BadTable\n"
            "for path in sys.argv[2:]:\n"
            "    start = time.process_time()\n"
            "    try: print(read_table([path], by=['name'] if 'terabyte' in path else None).rows, end=' ')\n"
            "    except BadTable as why: print('refused', end=' ')\n"
            "    print(time.process_time() - start)\n"
            # Not ru_maxrss, which a process inherits from the one that started it: pytest's own gigabyte.
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))")
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", code, str(ROOT), *paths], capture_output=True, text=True, check=True)
    *said, kilobytes = done.stdout.split("\n")[:-1]
    assert len(said) == len(paths) == 6 and int(kilobytes) < 1_000_000
    assert all(float(line.split()[1]) < HANG for line in said)
    assert [line.split()[0] for line in said].count("refused") == 5   # the terabyte is one short label, and is read


def test_names_from_the_table_reach_neither_the_file_system_nor_the_page_as_code(tmp_path):
    hostile = ["<script>alert(1)</script>", "../../../{{ 7*1913 }}"]
    small = simulated_study(widths=4, fractions=4, seeds=1, dropouts=(0.0,))
    table = pa.concat_tables([small] * len(hostile)).append_column("<b>who</b>", pa.array(np.repeat(hostile, len(small))))
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "$x<img src=y onerror=z>.parquet"
    pq.write_table(table, path)
    done = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), str(path), "--by", "<b>who</b>", "--static",
                           "--resamples", "50"], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    outside = {p.name for p in tmp_path.iterdir()}
    assert outside == {"in"}
    made = [p for p in folder.iterdir() if p.is_dir()]
    assert len(made) == 1 and re.fullmatch(r"[\w.-]+", made[0].name)
    assert all(re.fullmatch(r"[a-z_]+\.(svg|png)|fit\.json|report\.html", p.name) for p in made[0].iterdir())
    page = (made[0] / "report.html").read_text()
    assert "<script" not in page and "<b>who" not in page and "onerror=z>" not in page and "13391" not in page
