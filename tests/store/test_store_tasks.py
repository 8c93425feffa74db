"""The store with rows of a user's function: their columns are known only once a run has returned."""

from dataclasses import asdict, make_dataclass

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.sweep_cases import faulty_task

from sweeps.store.files import LocalPlace
from sweeps.store.journal import encode
from sweeps.store.recovery import place_of
from sweeps.store.rows import failure_type
from sweeps.store.store import StoreError, open_store, read_store
from trainers.columns import axis, choice, identity_of, measured
from trainers.function import FunctionError, FunctionTask

OWN = {"wall_seconds": 0.1, "device": "cpu", "fingerprint": "f"}
MEASURED = {"params": 1000.0, "samples": 64.0, "flops": 1e9, "val_loss": 0.5}


def row_of(task, number, more=(), **changes):
    values = {**asdict(task.cell(number=number, **dict(more))), **MEASURED, **OWN, **changes}
    return task.row_type(values)(**values)


def opened(path, task, **options):
    return open_store(path, **{"task": task, "provenance": {}, "fingerprint": "f"} | options)


def test_the_columns_of_the_first_run_are_those_of_every_later_sweep(tmp_path):
    """A process that has run nothing yet must read what another one wrote: from the table, and from the journal alone."""
    out, first = tmp_path / "r.parquet", faulty_task()
    with opened(out, first) as keeping:
        assert not out.exists(), "no column of a row is known yet"
        keeping.append(row_of(first, 1))
        assert set(read_store(out, task=faulty_task()).results) == {identity_of(row_of(first, 1))}, "from the journal"
    second = faulty_task()
    with opened(out, second) as keeping:
        [held] = keeping.results.values()
        assert asdict(held) == asdict(row_of(first, 1))
        keeping.append_tuning(row_of(second, 2))
        keeping.fail(failure_type(second.cell)(number=3, folder="", seconds=0.0, kind="raised", error="E", traceback="", host="h",
                                               attempts=1, time=1.0))
    found = read_store(out, task=faulty_task())
    assert [len(found.results), len(found.tuning), len(found.failures)] == [1, 1, 1]


def test_what_returns_other_keys_than_the_table_has_is_refused(tmp_path):
    out, task = tmp_path / "r.parquet", faulty_task()
    with opened(out, task) as keeping:
        keeping.append(row_of(task, 1))
    later = faulty_task()
    with opened(out, later):
        for odd in ({"surprise": 1.0}, {"flops": "many"}):
            with pytest.raises(FunctionError, match=next(iter(odd))):
                row_of(later, 2, **odd)


def another(number: int, folder: str = "", seconds: float = 0.0) -> dict:
    return MEASURED


def test_the_table_of_another_task_is_refused_and_left_as_it_is(tmp_path):
    """By its name; and by its code, where two functions have one name."""
    out, task = tmp_path / "r.parquet", faulty_task()
    with opened(out, task) as keeping:
        keeping.append(row_of(task, 1))
    before = out.read_bytes()
    for other, fingerprint in ((FunctionTask(another, axes=["number"]), "f"), (faulty_task(), "g")):
        with pytest.raises(StoreError, match="give another --out") as refusal:
            opened(out, other, fingerprint=fingerprint)
        assert "\n" not in str(refusal.value)
    assert out.read_bytes() == before


def test_roles_units_and_letters_are_in_the_file(tmp_path):
    """The analysis finds N, D, C and L by them, whatever the columns are called."""
    out, task = tmp_path / "r.parquet", faulty_task()
    with opened(out, task) as keeping:
        keeping.append(row_of(task, 1))
    schema = pq.read_schema(out)
    said = {field.name: (field.metadata[b"role"].decode(), field.metadata.get(b"law", b"").decode()) for field in schema}
    assert said == {"number": ("axis", ""), "folder": ("choice", ""), "seconds": ("choice", ""), "params": ("measured", "N"),
                    "samples": ("measured", "D"), "flops": ("measured", "C"), "val_loss": ("measured", "L"),
                    "wall_seconds": ("clock", ""), "device": ("measured", ""), "fingerprint": ("measured", "")}
    assert schema.metadata[b"task"] == b"faulty_model:train"


def grown(number: int, folder: str = "", seconds: float = 0.0, momentum: float = 0.9, nesterov: bool = False) -> dict:
    return MEASURED


@pytest.mark.parametrize("folded", [True, False])
def test_a_setting_that_was_added_since_has_its_default_in_older_rows(tmp_path, folded):
    """A study goes on when its function gains a parameter; with no default nobody knows what older runs had."""
    out, task, later = tmp_path / "r.parquet", faulty_task(), FunctionTask(grown, axes=["number"])
    later.name = task.name
    with opened(out, task) as keeping:
        keeping.append(row_of(task, 1))
    if not folded:
        (tmp_path / "r.parquet.journal").write_bytes(encode("results", row_of(task, 1)))
        out.unlink()
    with opened(out, later) as keeping:
        [row] = keeping.results.values()
        assert (row.momentum, row.nesterov) == (0.9, False)
        keeping.append(row_of(later, 2, {"momentum": 0.5, "nesterov": True}))
    rows = {row["number"]: row for row in pq.read_table(out).to_pylist()}
    assert rows[1]["nesterov"] is False and rows[2]["nesterov"] is True and rows[2]["momentum"] == 0.5


values = {float: st.floats(allow_nan=False), int: st.integers(-2**63, 2**63 - 1), bool: st.booleans(),
          str: st.text(st.characters(exclude_categories=["Cs"]), max_size=9)}


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(st.tuples(st.sampled_from(list(values)), st.sampled_from([axis, choice])), min_size=1, max_size=6))
def test_any_settings_come_back_bit_for_bit(tmp_path_factory, data, kinds):
    """Truth values beside numbers and text, in identities too; a cell of one column alone."""
    names = [f"x{k}" for k in range(len(kinds))]
    cell = make_dataclass("Cell", [(name, kind, role("1" if kind in (int, float) else "", "any"))
                                   for name, (kind, role) in zip(names, kinds)], frozen=True, order=True, kw_only=True)
    row = make_dataclass("Row", [("loss", float, measured("nat", "L", law="L")), ("fingerprint", str, measured("", "code"))],
                         bases=(cell,), frozen=True, order=True, kw_only=True)

    class Any:
        name = "any"
        row_type = staticmethod(lambda values: row)

    Any.cell, Any.row = cell, row
    made = row(**{name: data.draw(values[kind]) for name, (kind, _) in zip(names, kinds)}, loss=0.5, fingerprint="f")
    out = tmp_path_factory.mktemp("any") / "r.parquet"
    with opened(out, Any) as keeping:
        keeping.append(made)
        assert repr(*read_store(out, task=Any).results.values()) == repr(made)
    found = read_store(out, task=Any).results
    assert repr(*found.values()) == repr(made) and set(found) == {identity_of(made)}


def test_what_is_saved_beside_a_table_is_whole_or_absent_and_goes_when_told(tmp_path):
    place = place_of(tmp_path / "r.parquet")
    assert isinstance(place, LocalPlace)
    folder = tmp_path / "r.parquet.saved"
    place.put_beside(str(folder), "one", b"state")
    place.put_beside(str(folder), "one", b"newer state")
    place.put_beside(str(folder), "two", b"other")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"one": b"newer state", "two": b"other"}
    place.remove_beside(str(folder), "one")
    place.remove_beside(str(folder), "never there")
    assert [file.name for file in folder.iterdir()] == ["two"]
    place.remove_beside(str(folder), "two")
    assert not folder.exists(), "nothing is left of runs that are through"


def test_states_do_not_go_through_a_link_to_who_knows_where(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r.parquet.saved").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="link"):
        place_of(tmp_path / "r.parquet").put_beside(str(tmp_path / "r.parquet.saved"), "one", b"state")
    assert not list((tmp_path / "elsewhere").iterdir())
