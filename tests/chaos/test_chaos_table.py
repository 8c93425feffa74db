"""Spoil what a sweep writes to, or change what it trains: nothing finished is lost, and nothing is mixed in.

Each test records its counts, which pytest's --junitxml=FILE keeps.
"""

import gzip
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from worlds.chaos_cases import (
    GRID,
    SEED,
    SEEDS,
    assert_part_of,
    finish,
    line,
    rows_of,
    small_disk,
    start,
    undisturbed,
    wait_for_rows,
    words,
)
from worlds.sweep_cases import ROOT, assert_same_rows

pytestmark = pytest.mark.slow

CELLS = len(GRID.cells())


def killed_with_rows(out, count):
    """A sweep that had so many rows more when it was killed."""
    sweep = start(out)
    wait_for_rows(out, len(rows_of(out)) + count, sweep)
    sweep.kill()
    sweep.wait()


def assert_ended_in_one_line(out, sweep, says):
    assert sweep.wait(300) == 2, words(out)[-3000:]
    assert "Traceback" not in words(out), words(out)[-3000:]
    assert says in words(out).splitlines()[-1]


def test_a_disk_that_fills_up_ends_the_sweep_with_one_line_and_loses_nothing(tmp_path, record_testsuite_property):
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "r.parquet"
        sweep = start(out)
        wait_for_rows(out, 3, sweep)
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        assert_ended_in_one_line(out, sweep, "no space is left")
        kept = rows_of(out)
        assert len(kept) >= 3
        assert_part_of(kept, undisturbed())

        assert start(out).wait(300) == 2, "still full: refused again, and nothing is touched"
        assert_same_rows(rows_of(out), kept)
        (disk / "filler").unlink()
        finish(out)
    record_testsuite_property("disk full", f"{len(kept)} of {CELLS} rows kept, the rest trained by the rerun")


def test_an_out_folder_that_is_read_only_is_refused(tmp_path, record_testsuite_property):
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert_ended_in_one_line(disk / "r.parquet", start(disk / "r.parquet"), "cannot be read or written")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        finish(disk / "r.parquet")
    record_testsuite_property("out folder read-only at the start", "refused")


def test_an_out_folder_that_becomes_read_only_ends_the_sweep(tmp_path, record_testsuite_property):
    """No name in the folder may change any more; the open journal can still be written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("no folder can be made immutable here")
    subprocess.run(["chattr", "-i", folder], check=True)
    out = folder / "r.parquet"
    sweep = start(out)
    try:
        wait_for_rows(out, 3, sweep)
        subprocess.run(["chattr", "+i", folder], check=True)
        assert_ended_in_one_line(out, sweep, "cannot be read or written")
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
    kept = rows_of(out)
    assert len(kept) >= 3
    assert_part_of(kept, undisturbed())
    finish(out)
    record_testsuite_property("out folder becomes read-only", f"{len(kept)} of {CELLS} rows kept, the rest trained by the rerun")


def test_a_journal_with_a_damaged_end_costs_only_what_it_hit(tmp_path, record_testsuite_property):
    draw, hit = random.Random(SEED), {}
    out, journal = tmp_path / "r.parquet", tmp_path / "r.parquet.journal"
    for damage in ("cut", "garbage", "flip", "zeros"):
        killed_with_rows(out, 3)
        before = rows_of(out)
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
        rows = rows_of(out)
        assert_part_of(rows, undisturbed())
        hit[damage] = len(before) - len(rows)
        assert hit[damage] <= 1
    finish(out)
    assert hit["garbage"] == 0
    record_testsuite_property("journal's end damaged", f"rows hit, and trained again: {hit}")


def test_another_code_data_set_or_recipe_never_mixes_with_the_rows_there(tmp_path, record_testsuite_property):
    out = tmp_path / "r.parquet"
    killed_with_rows(out, 3)

    checkout = tmp_path / "checkout"
    for package in ("trainers", "sweeps", "analysis"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = checkout / "trainers" / "mnist" / "train.py"
    changed = code.read_text().replace("TRAIN_LOSS_SHARE = 0.1", "TRAIN_LOSS_SHARE = 0.2")
    assert changed != code.read_text()
    code.write_text(changed)
    other_code = line(out)
    other_code[1] = str(checkout / "sweeps" / "mnist_grid.py")

    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        pixels = gzip.decompress((ROOT / "trainers" / "mnist" / "data" / f"{name}.gz").read_bytes())
        (raw / name).write_bytes(pixels[:16] + bytes(255 - value for value in pixels[16:]) if "images" in name else pixels)

    other_data = line(out, "--dataset", "fashion-mnist", "--data-root", str(tmp_path / "data"))
    others = ((other_code, "another version of trainer or data set"),
              (other_data, "another version of trainer or data set"),
              (line(out, "--lr", "0.02"), "lr 0.01"),
              (line(out, "--batch-size", "64"), "batch_size"),
              (line(out, "--schedule", "linear"), "schedule cosine"))
    before = rows_of(out)
    for other, says in others:
        refused = subprocess.run(other, cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert says in refused.stderr and "--out" in refused.stderr and "Traceback" not in refused.stderr
        assert_same_rows(rows_of(out), before)

    # Another grid is welcome: it adds its cells to those there.
    wider = start(out, "--widths", "0.25", "0.75")
    assert wider.wait(600) == 0, words(out)[-3000:]
    rows = rows_of(out)
    assert {key.width for key in rows} >= {0.25, 0.75} and before.keys() <= rows.keys()
    assert_part_of({key: row for key, row in rows.items() if key.width in GRID.widths}, undisturbed())
    ended = start(out)
    assert ended.wait(600) == 0, words(out)[-3000:]
    rows = rows_of(out)
    assert len(rows) == 3 * 2 * SEEDS
    assert_same_rows({key: row for key, row in rows.items() if key.width in GRID.widths}, undisturbed())
    record_testsuite_property("other code, data set, recipe", f"{len(others)} of {len(others)} refused; another grid added")
