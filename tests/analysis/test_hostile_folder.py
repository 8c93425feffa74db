"""A results folder that somebody else filled: nothing in it is run, unpickled, or leads out of it."""

import json
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds.simulated_study import simulated_study
from worlds.store_cases import PROVENANCE, TASK, result

from analysis.table.runs import read_table
from sweeps.store.store import open_store, read_store


class Bomb:
    """Unpickled, it leaves a file; its text, evaluated or run in a shell, does, too."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)

    def __str__(self):
        return f"__import__('os').mkdir({str(self.mark)!r})"

    def shell(self):
        return f"$(mkdir {self.mark})`mkdir {self.mark}`; mkdir {self.mark} #"


@pytest.mark.parametrize("name", ["r.parquet.tmp", "r.parquet.journal", "r.parquet.owner", "r.parquet.owner.tmp",
                                  "r.parquet.journal.damaged", "r.tuning.parquet.tmp", "r.failures.parquet.tmp"])
def test_a_link_in_the_folder_leads_the_store_to_no_file_outside(tmp_path, name):
    """Catches a file of the user's emptied by a link that waits under the name of one of ours."""
    folder, outside = tmp_path / "results", tmp_path / "precious"
    folder.mkdir()
    outside.write_text("not yours\n")
    (folder / name).symlink_to(outside)
    for i in (1, 2):
        with open_store(folder / "r.parquet", task=TASK, provenance=PROVENANCE, fingerprint="f") as store:
            store.append(result(i))
            store.append_tuning(result(i))
    assert outside.read_text() == "not yours\n"
    found = read_store(folder / "r.parquet", task=TASK)
    assert set(found.results.values()) == set(found.tuning.values()) == {result(1), result(2)}


def test_what_lies_beside_a_table_is_never_run(tmp_path):
    """A pickle, Python, a shell's words: as files, as text in rows and names, as Arrow's and pandas' own metadata."""
    folder, mark = tmp_path / "results", tmp_path / "mark"
    folder.mkdir()
    bomb = Bomb(mark)
    pickle.loads(pickle.dumps(bomb))
    os.rmdir(mark)       # the case is void if the bomb doesn't go off

    with open_store(folder / "r.parquet", task=TASK, provenance={"command": str(bomb)}, fingerprint="f") as store:
        store.append(result(1, device=str(bomb), dataset=bomb.shell()))
    for name in ("r.parquet.owner", "r.parquet.lock", "r.parquet.journal.damaged", "r.laws.json", "state.pkl", "sitecustomize.py"):
        (folder / name).write_bytes(pickle.dumps(bomb))
    (folder / "r.parquet.journal").write_bytes(pickle.dumps(bomb) + b"\n" + str(bomb).encode() + b"\n")
    assert set(read_store(folder / "r.parquet", task=TASK).results.values()) == {result(1, device=str(bomb), dataset=bomb.shell())}
    with open_store(folder / "r.parquet", task=TASK, provenance={}, fingerprint="f") as store:
        assert len(store.results) == 1 and any("damaged" in notice for notice in store.notices)

    # A study whose schema carries the extension type by which Arrow once loaded pickles (CVE-2023-47248).
    study = simulated_study(widths=4, fractions=4, seeds=1, dropouts=(0.0,))
    armed = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(bomb)}
    schema = pa.schema([field.with_metadata(armed) if field.name == "val_loss" else field for field in study.schema],
                       metadata={b"provenance": json.dumps([{"command": str(bomb)}]).encode(), b"pandas": pickle.dumps(bomb)})
    pq.write_table(pa.table([column.combine_chunks() for column in study.columns], schema=schema), folder / "study.parquet")
    assert read_table([str(folder / "study.parquet")]).rows == len(study)
    assert len(read_store(folder / "study.parquet", task=TASK).results) == len(study)
    assert not mark.exists()
