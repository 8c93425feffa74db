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
    FUNCTION,
    MNIST,
    SEED,
    SEEDS,
    assert_part_of,
    finish,
    line,
    of,
    rows_of,
    small_disk,
    start,
    wait_for_rows,
    words,
)
from worlds.sweep_cases import ROOT, assert_same_rows

pytestmark = pytest.mark.slow


def killed_with_rows(case, out, count):
    """A sweep that had so many rows more when it was killed."""
    sweep = start(case, out)
    wait_for_rows(case, out, len(rows_of(case, out)) + count, sweep)
    sweep.kill()
    sweep.wait()


def assert_ended_in_one_line(out, sweep, says):
    assert sweep.wait(300) == 2, words(out)[-3000:]
    assert "Traceback" not in words(out), words(out)[-3000:]
    assert says in words(out).splitlines()[-1]


@of(FUNCTION)
def test_a_disk_that_fills_up_ends_the_sweep_with_one_line_and_loses_nothing(tmp_path, record_testsuite_property, case):
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "r.parquet"
        sweep = start(case, out)
        wait_for_rows(case, out, 3, sweep)
        with (disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        assert_ended_in_one_line(out, sweep, "no space is left")
        kept = rows_of(case, out)
        assert len(kept) >= 3
        assert_part_of(kept, case.undisturbed)

        assert start(case, out).wait(300) == 2, "still full: refused again, and nothing is touched"
        assert_same_rows(rows_of(case, out), kept)
        (disk / "filler").unlink()
        finish(case, out)
    record_testsuite_property("disk full", f"{len(kept)} of {case.grid.size} rows kept, the rest trained by the rerun")


@of(MNIST)
def test_an_out_folder_that_is_read_only_is_refused(tmp_path, record_testsuite_property, case):
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert_ended_in_one_line(disk / "r.parquet", start(case, disk / "r.parquet"), "cannot be read or written")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        finish(case, disk / "r.parquet")
    record_testsuite_property("out folder read-only at the start", "refused")


@of(FUNCTION)
def test_an_out_folder_that_becomes_read_only_ends_the_sweep(tmp_path, record_testsuite_property, case):
    """No name in the folder may change any more; the open journal can still be written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("no folder can be made immutable here")
    subprocess.run(["chattr", "-i", folder], check=True)
    out = folder / "r.parquet"
    sweep = start(case, out)
    try:
        wait_for_rows(case, out, 3, sweep)
        subprocess.run(["chattr", "+i", folder], check=True)
        assert_ended_in_one_line(out, sweep, "cannot be read or written")
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
    kept = rows_of(case, out)
    assert len(kept) >= 3
    assert_part_of(kept, case.undisturbed)
    finish(case, out)
    record_testsuite_property("out folder becomes read-only", f"{len(kept)} of {case.grid.size} rows kept, the rest trained by the rerun")


@of(MNIST, FUNCTION)
def test_a_journal_with_a_damaged_end_costs_only_what_it_hit(tmp_path, record_testsuite_property, case):
    draw, hit = random.Random(SEED), {}
    out, journal = tmp_path / "r.parquet", tmp_path / "r.parquet.journal"
    for damage in ("cut", "garbage", "flip", "zeros"):
        killed_with_rows(case, out, 3)
        before = rows_of(case, out)
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
        rows = rows_of(case, out)
        assert_part_of(rows, case.undisturbed)
        hit[damage] = len(before) - len(rows)
        assert hit[damage] <= 1
    finish(case, out)
    assert hit["garbage"] == 0
    record_testsuite_property(f"journal's end damaged, {case.name}", f"rows hit, and trained again: {hit}")


@of(MNIST)
def test_another_code_data_set_or_choice_never_mixes_with_the_rows_there(tmp_path, record_testsuite_property, case):
    out = tmp_path / "r.parquet"
    killed_with_rows(case, out, 3)

    checkout = tmp_path / "checkout"
    for package in ("trainers", "sweeps", "analysis"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = checkout / "trainers" / "mnist" / "train.py"
    changed = code.read_text().replace("TRAIN_LOSS_SHARE = 0.1", "TRAIN_LOSS_SHARE = 0.2")
    assert changed != code.read_text()
    code.write_text(changed)
    other_code = line(case, out)
    other_code[1] = str(checkout / "sweeps" / "mnist_grid.py")

    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        pixels = gzip.decompress((ROOT / "trainers" / "mnist" / "data" / f"{name}.gz").read_bytes())
        (raw / name).write_bytes(pixels[:16] + bytes(255 - value for value in pixels[16:]) if "images" in name else pixels)

    other_data = line(case, out, "--dataset", "fashion-mnist", "--data-root", str(tmp_path / "data"))
    others = ((other_code, "another version of the training code or data"),
              (other_data, "another version of the training code or data"),
              (line(case, out, "--lr", "0.02"), "lr 0.01"),
              (line(case, out, "--batch-size", "64"), "batch_size"),
              (line(case, out, "--schedule", "cosine"), "schedule linear"))
    before = rows_of(case, out)
    for other, says in others:
        refused = subprocess.run(other, cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert says in refused.stderr and "--out" in refused.stderr and "Traceback" not in refused.stderr
        assert_same_rows(rows_of(case, out), before)

    # Another grid is welcome: it adds its cells to those there.
    wider = start(case, out, "--widths", "0.25", "0.75")
    assert wider.wait(600) == 0, words(out)[-3000:]
    rows = rows_of(case, out)
    assert {key.width for key in rows} >= {0.25, 0.75} and before.keys() <= rows.keys()
    assert_part_of({key: row for key, row in rows.items() if key.width in case.axes["width"]}, case.undisturbed)
    ended = start(case, out)
    assert ended.wait(600) == 0, words(out)[-3000:]
    rows = rows_of(case, out)
    assert len(rows) == 3 * 2 * SEEDS
    assert_same_rows({key: row for key, row in rows.items() if key.width in case.axes["width"]}, case.undisturbed)
    record_testsuite_property("other code, data set, choice", f"{len(others)} of {len(others)} refused; another grid added")


@of(FUNCTION)
def test_another_function_under_the_same_name_never_mixes_with_the_rows_there(tmp_path, record_testsuite_property, case):
    """Nor what it imports beside it, nor another loss under the same settings; a comment is no other function."""
    mine = tmp_path / "mine"
    mine.mkdir()
    text = Path(case.words[1].rpartition(":")[0]).read_text()
    (mine / "slow_model.py").write_text(text)
    out = tmp_path / "r.parquet"

    def swept():
        command = line(case, out)
        command[2] = f"{mine}/slow_model.py:train"
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    sweep = swept()
    assert sweep.returncode == 0, sweep.stderr
    before = out.read_bytes()
    (mine / "slow_model.py").write_text(text + "\n# explained better\n")
    assert swept().returncode == 0 and out.read_bytes() == before
    (mine / "slow_model.py").write_text(text.replace("0.1 *", "0.2 *"))
    refused = swept()
    assert refused.returncode == 2 and "--out" in refused.stderr and "Traceback" not in refused.stderr
    assert out.read_bytes() == before
    record_testsuite_property("another function of the name", "refused; one with another comment goes on")
