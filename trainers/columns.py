"""What the columns of a table are: each field of a row's dataclass says its role, unit, meaning and letter.

Everything else follows from the roles: what identifies a row, what its Parquet schema is, what may be
tuned, which columns two equal runs may differ in, and what the analysis fits. Neither torch nor Ray is
imported here, so that the analysis can read a table in a second.

    axis      where the run sits on a grid; a law is fitted along it
    choice    how it is trained: may be tuned, and a table holds one value of it a place
    repeat    a seed: the same run once more
    measured  what came out, the same whenever the cell is run again
    clock     seconds and dates, which differ from run to run
"""

import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, make_dataclass
from functools import cache
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa

IDENTIFYING = ("axis", "choice", "repeat")
ROLES = (*IDENTIFYING, "measured", "clock")
LETTERS = ("N", "D", "C", "L", "accuracy", "return")   # what a law is written in

ARROW = {float: pa.float64(), int: pa.int64(), str: pa.string(), bool: pa.bool_()}
KINDS = {pa.float64(): float, pa.int64(): int, pa.string(): str, pa.large_string(): str, pa.bool_(): bool}


class ColumnError(ValueError):
    """A row type that no table can have; the one-line message says what to mend."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    kind: type        # float, int, str or bool
    role: str         # of ROLES
    unit: str         # "1" for a plain number, "" for text
    meaning: str
    law: str          # of LETTERS, where it is one
    default: object   # MISSING where there is none


def _field(role: str, unit: str, meaning: str, default: object, law: str) -> Field:
    if law and law not in LETTERS:
        raise ColumnError(f"no law has the letter {law!r}: choose one of {', '.join(LETTERS)}")
    metadata = {"unit": unit, "meaning": meaning, "role": role} | ({"law": law} if law else {})
    return field(default=default, metadata=metadata)


def axis(unit: str, meaning: str, *, default: object = MISSING, law: str = "") -> Field:
    """A coordinate of the grid."""
    return _field("axis", unit, meaning, default, law)


def choice(unit: str, meaning: str, *, default: object = MISSING, law: str = "") -> Field:
    """A setting of the training; a table holds one value of it at each place on the grid."""
    return _field("choice", unit, meaning, default, law)


def repeat(unit: str, meaning: str, *, default: object = MISSING) -> Field:
    """What makes a repetition of the same run: a seed."""
    return _field("repeat", unit, meaning, default, "")


def measured(unit: str, meaning: str, *, law: str = "") -> Field:
    """What a run yields."""
    return _field("measured", unit, meaning, MISSING, law)


def clock(unit: str, meaning: str) -> Field:
    """A time: two runs of one cell may differ in it."""
    return _field("clock", unit, meaning, MISSING, "")


def typed(name: str, kind: type, value: object) -> object:
    """The value, or its text, as a column of this kind holds it. Raises ColumnError where it is none: 2.5 for an int, say."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind in (int, float) and isinstance(value, str):
        try:
            value = int(value) if kind is int and value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise ColumnError(f"{name}={value}: {name} is {_article(kind)}, and this is no number") from None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind is float and number:
        return float(value)
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise ColumnError(f"{name}={value}: {name} is {_article(kind)}: give one")


def _article(kind: type) -> str:
    return {int: "an int", float: "a float", str: "text", bool: "true or false"}[kind]


@cache
def columns(row_type: type) -> tuple[Column, ...]:
    """Of a row's dataclass, in its order. Raises ColumnError for a field that no table can hold."""
    made = []
    for f in fields(row_type):
        if f.type not in ARROW:
            raise ColumnError(f"{row_type.__name__}.{f.name}: a column holds float, int, str or bool, not {f.type!r}")
        role = f.metadata.get("role")
        if role not in ROLES:
            raise ColumnError(f"{row_type.__name__}.{f.name} has no role: declare it as axis, choice, repeat, measured or clock")
        made.append(Column(f.name, f.type, role, f.metadata["unit"], f.metadata["meaning"], f.metadata.get("law", ""), f.default))
    letters = [column.law for column in made if column.law]
    if twice := sorted({letter for letter in letters if letters.count(letter) > 1}):
        raise ColumnError(f"{row_type.__name__}: {', '.join(twice)} is said of two columns")
    return tuple(made)


def names(row_type: type, *roles: str) -> tuple[str, ...]:
    """Names of the columns of these roles, in the row's order."""
    return tuple(column.name for column in columns(row_type) if column.role in roles)


def lettered(row_type: type, letter: str) -> str | None:
    """The column that is the law's N, D, C, L or the accuracy; None where none is."""
    return next((column.name for column in columns(row_type) if column.law == letter), None)


@cache
def identity_type(row_type: type) -> type[NamedTuple]:
    """Named tuple of all that identifies a row. A tuple: 100,000 of them are hashed, sorted and held."""
    return namedtuple("Identity", names(row_type, *IDENTIFYING))


@cache
def place_type(row_type: type) -> type[NamedTuple]:
    """Named tuple of axes and repeats: where a table should hold one row, however it was trained."""
    return namedtuple("Place", names(row_type, "axis", "repeat"))


def identity_of(row: object) -> NamedTuple:
    """Of a cell, a finished row or a failure."""
    kind, values = _reader(type(row), identity_type)
    return kind._make(values(row))


def place_of(row: object) -> NamedTuple:
    kind, values = _reader(type(row), place_type)
    return kind._make(values(row))


@cache
def _reader(row_type: type, of: Callable[[type], type[NamedTuple]]) -> tuple[type[NamedTuple], Callable[[object], tuple]]:
    """A row's named tuple and how to read it: attrgetter, because long tables read it 100,000 times."""
    kind = of(row_type)
    if len(kind._fields) == 1:   # of one name attrgetter makes no tuple
        name, = kind._fields
        return kind, lambda row: (getattr(row, name),)
    return kind, attrgetter(*kind._fields)


def schema_of(row_type: type, task: str = "") -> pa.Schema:
    """Arrow schema: a column a field, with its role, unit, meaning and letter in its metadata."""
    described = [pa.field(c.name, ARROW[c.kind], nullable=False, metadata={
        "unit": c.unit, "meaning": c.meaning, "role": c.role} | ({"law": c.law} if c.law else {})) for c in columns(row_type)]
    return pa.schema(described, metadata={"task": task} if task else None)


def row_type_of(schema: pa.Schema, known: type | None = None) -> type:
    """The dataclass of the rows of a table with this schema, by the roles that it carries.

    A table without roles, as sweeps wrote until November 2026, is `known`'s with further measured columns.
    Raises ColumnError where a column is of a kind that no row has, or its role is not known.
    """
    roles = {c.name: c for c in columns(known)} if known else {}
    parts = []
    for f in schema:
        if f.type not in KINDS:
            raise ColumnError(f"{f.name} is of type {f.type}, which no row of ours has")
        said = {key.decode(): value.decode() for key, value in (f.metadata or {}).items()}
        if "role" not in said and f.name in roles:
            said = {"role": roles[f.name].role, "unit": roles[f.name].unit, "meaning": roles[f.name].meaning, "law": roles[f.name].law}
        if said.get("role", "measured") not in ROLES or ("role" not in said and not known):
            raise ColumnError(f"{f.name} has no role: it is no column of a sweep's table")
        parts.append((f.name, KINDS[f.type], _field(said.get("role", "measured"), said.get("unit", ""), said.get("meaning", ""),
                                                    MISSING, said.get("law", ""))))
    return make_dataclass("Row", parts, frozen=True, order=True, kw_only=True)


def extended(cell_type: type, more: Mapping[str, tuple[type, Field]], name: str = "Row") -> type:
    """The cell's dataclass with further columns behind it."""
    return make_dataclass(name, [(column, kind, declared) for column, (kind, declared) in more.items()],
                          bases=(cell_type,), frozen=True, order=True, kw_only=True)
