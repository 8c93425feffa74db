"""Rows as the store keeps them: what identifies one, a failed one, and the way to Parquet and back."""

import json
from collections import namedtuple
from collections.abc import Iterable
from dataclasses import dataclass, fields, make_dataclass
from numbers import Integral, Real
from operator import attrgetter
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.mnist.cell import Cell, Recipe, column
from trainers.mnist.results import Result, schema_of

_IDENTITY_COLUMNS = tuple(f.name for part in (Cell, Recipe) for f in fields(part)) + ("protocol",)

# Two rows with equal Identities are one run; named after the fields of Cell and Recipe so that
# a column added there counts here. A tuple: 100,000 of them are hashed, sorted and held.
Identity = namedtuple("Identity", _IDENTITY_COLUMNS)

_INT64 = range(-2**63, 2**63)


@dataclass(frozen=True, order=True, kw_only=True)
class Failure(Recipe, Cell):
    """A cell that could not be finished: one row of results.failures.parquet."""

    protocol: str = column("", "whose schedule the point belongs to; per-budget: its own")
    kind: str = column("", "raised, timeout, killed, diverged, ...")
    error: str = column("", "type and message of the last attempt's error")
    traceback: str = column("", "of the last attempt, where there was one")
    host: str = column("", "on which the last attempt ran")
    attempts: int = column("1", "times that the cell was tried in that sweep")
    time: float = column("s", "when it was given up, since 1970-01-01 UTC")

    @classmethod
    def of(cls, cell: Cell, recipe: Recipe, protocol: str, **details: object) -> Self:
        """The failure of cell under recipe; details are the fields from kind to time."""
        return cls(**identity(cell, recipe, protocol)._asdict(), **details)


def identity(cell: Cell, recipe: Recipe, protocol: str) -> Identity:
    """What the finished row of this cell under this recipe will be known by."""
    return Identity(*(getattr(cell, f.name) for f in fields(Cell)),
                    *(getattr(recipe, f.name) for f in fields(Recipe)), protocol)


def identity_of(row: Result | Failure) -> Identity:
    return Identity(*_identity_values(row))


_identity_values = attrgetter(*_IDENTITY_COLUMNS)


def normal(row: Result | Failure) -> Result | Failure:
    """The row with every value in its column's own type, as it comes back from disk.

    Raises ValueError where a value would not survive Parquet: an int beyond 64 bits, text
    that is not Unicode, a number or text of another kind, NaN in an identity (it equals
    nothing, so such a row would never be found again).
    """
    values = {f.name: _as_column(f.name, f.type, getattr(row, f.name)) for f in fields(row)}
    for name in _IDENTITY_COLUMNS:
        if values[name] != values[name]:
            raise ValueError(f"{name} identifies a row and may not be NaN")
    return type(row)(**values)


def _as_column(name: str, kind: type, value: object) -> object:
    if kind is float and type(value) is float:   # the most, and without the abstract class's slow check
        return value
    if kind is float and isinstance(value, Real):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{name}: {value} does not fit a float") from error
    if kind is int and isinstance(value, Integral):
        if value not in _INT64:
            raise ValueError(f"{name}: {value} does not fit 64 bits")
        return int(value)
    if kind is str and isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name}: {value!r} is not valid Unicode") from error
        return str(value)
    raise ValueError(f"{name}: expected {kind.__name__}, got {type(value).__name__} {value!r}")


def printable(failure: Failure) -> Failure:
    """The failure with undecodable bytes of its messages escaped: no error is too odd to record."""
    texts = {f.name: str(getattr(failure, f.name)).encode(errors="backslashreplace").decode()
             for f in fields(failure) if f.type is str}
    return type(failure)(**(vars(failure) | texts))


def differing(one: Result, other: Result) -> list[str]:
    """Columns in which two rows differ bit for bit. Timings, the columns in seconds, don't count."""
    return [f.name for f in fields(one) if f.metadata["unit"] != "s"
            and repr(getattr(one, f.name)) != repr(getattr(other, f.name))]


class Table(NamedTuple):
    """A Parquet file's rows, and the provenance of the runs that made them, oldest first."""

    rows: list
    runs: list[dict]


class NotOurTable(ValueError):
    """The bytes are no Parquet, or Parquet with other columns; says which."""


def to_parquet(rows: Iterable, row_type: type, runs: list[dict]) -> pa.Buffer:
    """A Parquet file with the rows sorted by identity: the order of finishing leaves no trace."""
    rows, schema = list(rows), schema_of(row_type)
    table = pa.table([pa.array([getattr(row, f.name) for row in rows], f.type) for f in schema],
                     schema=schema.with_metadata({"provenance": json.dumps(runs)}))
    order = pc.sort_indices(table, [(name, "ascending") for name in _IDENTITY_COLUMNS])   # starts no thread, as sort_by does
    sink = pa.BufferOutputStream()
    pq.write_table(table.take(order), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes, row_type: type) -> Table:
    """Raises NotOurTable unless data is a Parquet file with row_type's columns and no nulls."""
    schema = schema_of(row_type)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _same_columns(file.schema_arrow, schema)
        # Arrow's threads, where they are young at the interpreter's end, abort it (seen: 2 of 100 short processes).
        table = file.read(use_threads=False)
        table.validate(full=True)
        runs = json.loads((file.schema_arrow.metadata or {}).get(b"provenance", b"[]"))
    except NotOurTable:
        raise
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise NotOurTable(f"not a Parquet file that can be read ({_first_line(error)})") from error
    columns = []
    for f in schema:
        if table[f.name].null_count:
            raise NotOurTable(f"has missing values in {f.name}")
        columns.append(table[f.name].to_pylist())
    rows = [row_type(**dict(zip(schema.names, values))) for values in zip(*columns)]
    return Table(rows, runs if isinstance(runs, list) else [runs])


def _same_columns(found: pa.Schema, wanted: pa.Schema) -> None:
    """Names and types only: a copy rewritten by pandas loses units and reads as well."""
    if len(set(found.names)) != len(found.names):
        raise NotOurTable("names a column twice")
    missing = [f.name for f in wanted if f.name not in found.names]
    extra = [name for name in found.names if name not in wanted.names]
    other = [f.name for f in wanted if f.name in found.names and not _same_type(found.field(f.name).type, f.type)]
    told = [f"{what} {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
            for what, names in (("lacks", missing), ("has also", extra), ("has another type of", other)) if names]
    if told:
        raise NotOurTable("another schema: it " + "; ".join(told))


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    return found == wanted or (wanted == pa.string() and found == pa.large_string())


def row_type_of(data: bytes) -> type:
    """The row class of any study's Parquet file: Result, and the columns that the file has beside it.

    Raises NotOurTable where a column of Result is missing.
    """
    try:
        found = pq.read_schema(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotOurTable(f"not a Parquet file that can be read ({_first_line(error)})") from error
    own = schema_of(Result)
    extra = [f for f in found if f.name not in own.names]
    kinds = {pa.float64(): float, pa.int64(): int, pa.string(): str, pa.large_string(): str}
    for f in extra:
        if f.type not in kinds:
            raise NotOurTable(f"another schema: it has also {f.name}, of type {f.type}")
    _same_columns(pa.schema([f for f in found if f.name in own.names]), own)
    if not extra:
        return Result
    described = [(f.metadata or {}) for f in extra]
    return make_dataclass("StudyResult", bases=(Result,), frozen=True, order=True, kw_only=True, fields=[
        (f.name, kinds[f.type], column(text.get(b"unit", b"").decode(), text.get(b"meaning", b"").decode()))
        for f, text in zip(extra, described)])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
