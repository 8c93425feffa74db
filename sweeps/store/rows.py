"""Rows as the store keeps them: a failed one, the way to Parquet and back, and what the table of a task is."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.columns import (
    IDENTIFYING,
    ColumnError,
    clock,
    columns,
    extended,
    identity_type,
    measured,
    names,
    row_type_of,
    schema_of,
)

_INT64 = range(-2**63, 2**63)


class Kind(Protocol):
    """Whose rows a table holds: a Task, or what stands for one where only tables are at hand."""

    name: str
    cell: type
    row: type | None   # None until a first row tells

    def row_type(self, values: Mapping[str, object]) -> type:
        """The class of a row with these values."""


@dataclass
class TableKind:
    """Of a table whose task is not at hand: what its own schema says."""

    row: type
    name: str = ""
    cell: type = field(init=False)

    def __post_init__(self):
        self.cell = extended(object, {c.name: (c.kind, self.row.__dataclass_fields__[c.name]) for c in columns(self.row)
                                      if c.role in IDENTIFYING}, "Cell")

    def row_type(self, values: Mapping[str, object]) -> type:
        return self.row


@cache
def failure_type(cell_type: type) -> type:
    """Dataclass of a cell that could not be finished: one row of NAME.failures.parquet."""
    return extended(cell_type, {
        "kind": (str, measured("", "raised, refused, timeout, killed, diverged, ...")),
        "error": (str, measured("", "type and message of the last attempt's error")),
        "traceback": (str, measured("", "of the last attempt, where there was one")),
        "host": (str, measured("", "on which the last attempt ran")),
        "attempts": (int, measured("1", "times that the cell was tried in that sweep")),
        "time": (float, clock("s", "when it was given up, since 1970-01-01 UTC")),
    }, "Failure")


def normal(row: object) -> object:
    """The row with every value in its column's own type, as it comes back from disk.

    Raises ValueError where a value would not survive Parquet: an int beyond 64 bits, text
    that is not Unicode, a number or text of another kind, NaN in an identity (it equals
    nothing, so such a row would never be found again).
    """
    values = {f.name: _as_column(f.name, f.type, getattr(row, f.name)) for f in fields(row)}
    for name in identity_type(type(row))._fields:
        if values[name] != values[name]:
            raise ValueError(f"{name} identifies a row and may not be NaN")
    return type(row)(**values)


def _as_column(name: str, kind: type, value: object) -> object:
    if kind is float and type(value) is float:   # the most, and without the abstract class's slow check
        return value
    if kind is bool and isinstance(value, bool):
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


def printable(failure: object) -> object:
    """The failure with undecodable bytes of its messages escaped: no error is too odd to record."""
    texts = {f.name: str(getattr(failure, f.name)).encode(errors="backslashreplace").decode()
             for f in fields(failure) if f.type is str}
    return type(failure)(**(vars(failure) | texts))


def differing(one: object, other: object) -> list[str]:
    """Columns in which two rows differ bit for bit. Clocks don't count."""
    return [c.name for c in columns(type(one)) if c.role != "clock"
            and repr(getattr(one, c.name)) != repr(getattr(other, c.name))]


class Table(NamedTuple):
    """A Parquet file's rows, and the provenance of the runs that made them, oldest first."""

    rows: list
    runs: list[dict]


class NotOurTable(ValueError):
    """The bytes are no Parquet, or Parquet with other columns; says which."""


def to_parquet(rows: Iterable, row_type: type, runs: list[dict], task: str) -> pa.Buffer:
    """A Parquet file with the rows sorted by identity: the order of finishing leaves no trace."""
    rows, schema = list(rows), schema_of(row_type)
    said = runs[-1] if runs and isinstance(runs[-1], dict) else {}
    about = {"provenance": json.dumps(runs)} | ({"task": task} if task else {}) | {
        name: str(said[name]) for name in ("study", "hopeless") if said.get(name)}   # what the analysis asks of a table as a whole
    table = pa.table([pa.array([getattr(row, f.name) for row in rows], f.type) for f in schema], schema=schema.with_metadata(about))
    order = pc.sort_indices(table, [(name, "ascending") for name in identity_type(row_type)._fields])   # starts no thread, as sort_by does
    sink = pa.BufferOutputStream()
    pq.write_table(table.take(order), sink, compression="zstd")
    return sink.getvalue()


def from_parquet(data: bytes, kind: Kind, row_type: type | None) -> Table:
    """Raises NotOurTable unless data is a Parquet file of this task, with row_type's columns and no nulls.

    Without a row_type the file's first row tells it. A setting that the file lacks takes its default:
    it was added to the task since.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        about = file.schema_arrow.metadata or {}
        _same_task(about.get(b"task", b"").decode(errors="replace"), kind.name)
        # Arrow's threads, where they are young at the interpreter's end, abort it (seen: 2 of 100 short processes).
        table = file.read(use_threads=False)
        table.validate(full=True)
        runs = json.loads(about.get(b"provenance", b"[]"))
        if row_type is None:
            row_type = _told_by_first_row(table, kind)
        added = _same_columns(file.schema_arrow, row_type) if row_type else {}
    except NotOurTable:
        raise
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise NotOurTable(f"not a Parquet file that can be read ({_first_line(error)})") from error
    runs = runs if isinstance(runs, list) else [runs]
    if row_type is None:
        return Table([], runs)
    held = [name for name in schema_of(row_type).names if name not in added]
    if empty := next((name for name in held if table[name].null_count), None):
        raise NotOurTable(f"has missing values in {empty}")
    values = zip(*(table[name].to_pylist() for name in held))
    return Table([row_type(**dict(zip(held, row)), **added) for row in values], runs)


def _told_by_first_row(table: pa.Table, kind: Kind) -> type | None:
    if not len(table):
        return None
    missing = [c.name for c in columns(kind.cell) if c.name not in table.column_names and c.default is MISSING]
    if missing:
        raise NotOurTable(f"another schema: it lacks {', '.join(missing[:4])}")
    return kind.row_type(table.slice(0, 1).to_pylist()[0])


def _same_task(found: str, wanted: str) -> None:
    if found and wanted and found != wanted:
        raise NotOurTable(f"it holds rows of the task {found}, not of {wanted}")


def _same_columns(found: pa.Schema, row_type: type) -> dict[str, object]:
    """Names and types only: a copy rewritten by pandas loses units and reads as well. Returns defaults of what was added since."""
    wanted = schema_of(row_type)
    if len(set(found.names)) != len(found.names):
        raise NotOurTable("names a column twice")
    added = {c.name: c.default for c in columns(row_type)
             if c.name not in found.names and c.role in IDENTIFYING and c.default is not MISSING}
    missing = [f.name for f in wanted if f.name not in found.names and f.name not in added]
    extra = [name for name in found.names if name not in wanted.names]
    other = [f.name for f in wanted if f.name in found.names and not _same_type(found.field(f.name).type, f.type)]
    told = [f"{what} {', '.join(some[:4])}{' ...' if len(some) > 4 else ''}"
            for what, some in (("lacks", missing), ("has also", extra), ("has another type of", other)) if some]
    if told:
        raise NotOurTable("another schema: it " + "; ".join(told))
    return added


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    return found == wanted or (wanted == pa.string() and found == pa.large_string())


def kind_of(data: bytes, known: Iterable[Kind] = ()) -> Kind:
    """Whose rows a Parquet file holds, by what its schema says; tables from before it said so are one of `known`'s.

    Raises NotOurTable where it is no sweep's table.
    """
    try:
        found = pq.read_schema(pa.BufferReader(data))
        task = (found.metadata or {}).get(b"task", b"").decode()
        older = None if task else next((kind.row for kind in known if set(names(kind.row, *IDENTIFYING)) <= set(found.names)), None)
        return TableKind(row_type_of(found, older), task)
    except ColumnError as error:
        raise NotOurTable(f"another schema: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotOurTable(f"not a Parquet file that can be read ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
