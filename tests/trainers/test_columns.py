"""Columns and roles: what identifies a row, and a schema that says it all again."""

from dataclasses import dataclass, fields, make_dataclass

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.columns import (
    ROLES,
    ColumnError,
    axis,
    choice,
    clock,
    columns,
    identity_of,
    lettered,
    measured,
    names,
    place_of,
    repeat,
    row_type_of,
    schema_of,
    typed,
)


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    depth: int = axis("layers", "of the network")
    kind: str = axis("", "of the network", default="mlp")
    lr: float = choice("1", "peak rate", default=1e-3)
    clip: bool = choice("", "gradients", default=False)
    seed: int = repeat("1", "of everything", default=0)


@dataclass(frozen=True, order=True, kw_only=True)
class Row(Cell):
    params: int = measured("parameters", "N", law="N")
    loss: float = measured("nat", "L", law="L")
    seconds: float = clock("s", "of training")


ROW = Row(depth=2, lr=0.5, seed=3, params=7, loss=1.5, seconds=0.1)


def test_a_row_is_identified_by_axes_choices_and_repeats_and_placed_by_axes_and_repeats():
    assert identity_of(ROW) == (2, "mlp", 0.5, False, 3)
    assert identity_of(ROW) == identity_of(Cell(depth=2, lr=0.5, seed=3))
    assert place_of(ROW) == (2, "mlp", 3)
    assert place_of(ROW)._fields == ("depth", "kind", "seed")


def test_identity_of_a_cell_with_a_single_setting_is_a_tuple_as_well():
    alone = make_dataclass("Alone", [("depth", int, axis("1", ""))], frozen=True, order=True, kw_only=True)
    assert identity_of(alone(depth=4)) == (4,) and place_of(alone(depth=4)).depth == 4


def test_a_schema_tells_the_row_type_again():
    schema = schema_of(Row, task="mine")
    again = columns(row_type_of(schema))
    assert [(c.name, c.kind, c.role, c.unit, c.meaning, c.law) for c in again] \
        == [(c.name, c.kind, c.role, c.unit, c.meaning, c.law) for c in columns(Row)]
    assert schema.metadata[b"task"] == b"mine" and schema.field("clip").type == pa.bool_()
    assert lettered(row_type_of(schema), "N") == "params" and lettered(Row, "D") is None


def test_a_table_without_roles_is_read_by_those_of_a_known_row():
    bare = pa.schema([pa.field(f.name, f.type) for f in schema_of(Row)] + [pa.field("extra", pa.float64())])
    made = row_type_of(bare, known=Row)
    assert names(made, "axis", "choice", "repeat") == names(Row, "axis", "choice", "repeat")
    assert names(made, "measured") == ("params", "loss", "extra")
    with pytest.raises(ColumnError):
        row_type_of(bare)


@pytest.mark.parametrize("field", [("a", list, axis("1", "")), ("a", "int", axis("1", "")), ("a", int, None)])
def test_a_field_that_no_table_can_hold_is_refused(field):
    name, kind, declared = field
    spec = (name, kind, declared) if declared is not None else (name, kind)
    with pytest.raises(ColumnError):
        columns(make_dataclass("Odd", [spec]))


def test_one_letter_is_one_column():
    with pytest.raises(ColumnError):
        columns(make_dataclass("Twice", [("a", int, measured("1", "", law="N")), ("b", int, measured("1", "", law="N"))]))
    with pytest.raises(ColumnError):
        measured("1", "", law="Z")


@given(st.integers(-2**53, 2**53))
def test_a_whole_number_is_typed_from_any_way_of_writing_it(number):
    assert typed("n", int, str(number)) == number == typed("n", int, float(number)) == typed("n", int, number)
    assert typed("x", float, str(number)) == float(number) and isinstance(typed("x", float, number), float)


@pytest.mark.parametrize(("kind", "value"), [(int, "2.5"), (int, 2.5), (int, "two"), (int, True), (int, "nan"), (float, "a"), (float, None),
                                             (float, True), (bool, "maybe"), (bool, 1), (str, 3), (int, float("inf"))])
def test_a_value_of_another_kind_is_refused(kind, value):
    with pytest.raises(ColumnError):
        typed("n", kind, value)


def test_every_field_made_here_has_one_of_the_roles():
    assert {f.metadata["role"] for f in fields(Row)} <= set(ROLES)
