"""JSON: records, one a line or in one document, as pandas and trackers of experiments write them.

What is nested becomes columns of dotted names (config.lr), which is how a run's settings and
results lie side by side; lists are left alone.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from analysis.table.formats.sheet import MAX_COLUMNS, Dialect, Sheet, check_held, check_shape
from analysis.table.formats.streams import whole_text

MAX_JSON_BYTES = 15 << 20     # as Python's objects it may take sixty times as much
MAX_CELLS = 10_000_000        # of all records together
DEEPEST = 8                   # of what is nested
ROWS_UNDER = ("data", "runs", "results", "rows", "records", "trials", "experiments")


def open_json(source: str, dialect: Dialect) -> Sheet:
    """Raises OSError where the document is no table of runs."""
    text = whole_text(source, MAX_JSON_BYTES)
    table = as_table(_records(text))
    return Sheet(source, tuple(table.column_names), "held", Dialect(decimal=dialect.decimal or "."), held=table)


def _records(text: str) -> list[Mapping]:
    try:
        return list(_rows(json.loads(text)))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise OSError(f"is damaged JSON ({error.msg} in line {error.lineno})") from None
    except RecursionError:
        raise OSError("is JSON nested too deep for a table of runs") from None
    except ValueError:
        raise OSError("holds a number of thousands of digits") from None
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                raise OSError(f"is damaged JSON (line {number} is no record)") from None
    return list(_rows(rows))


def _rows(document: object) -> Iterator[Mapping]:
    """The records of a document, whichever way they lie in it."""
    if isinstance(document, list):
        if document and all(isinstance(row, list) for row in document):
            yield from (dict(zip(map(str, document[0]), row, strict=False)) for row in document[1:])
        else:
            yield from (row for row in document if isinstance(row, dict))
    elif isinstance(document, dict):
        yield from _rows_of_object(document)


def _rows_of_object(document: Mapping) -> Iterator[Mapping]:
    columns, inside = document.get("columns"), next((document[k] for k in ROWS_UNDER if isinstance(document.get(k), list)), None)
    if isinstance(columns, list) and inside is not None and all(isinstance(row, list) for row in inside):
        yield from (dict(zip(map(str, columns), row, strict=False)) for row in inside)
    elif inside is not None and all(isinstance(row, dict) for row in inside):
        yield from inside
    elif document and all(isinstance(column, list) for column in document.values()):
        yield from (dict(zip(document, row, strict=True)) for row in zip(*document.values(), strict=False))
    elif document and all(isinstance(column, dict) for column in document.values()):
        index = list(next(iter(document.values())))
        if all(key.isdecimal() for key in index):   # pandas' columns, each by row number
            yield from ({name: column.get(key) for name, column in document.items()} for key in index)
        else:
            yield from ({"name": name, **row} for name, row in document.items())
    else:
        yield document


def as_table(records: Iterable[Mapping]) -> pa.Table:
    """A column for each key at any depth, numbers as numbers where all of it is numbers."""
    columns: dict[str, dict[int, object]] = {}
    rows = cells = 0
    for record in records:
        for name, value in _flat(record, ""):
            columns.setdefault(name, {})[rows] = value
            cells += 1
        rows += 1
        check_shape(rows, len(columns))
        if cells > MAX_CELLS:
            raise OSError(f"holds more than {MAX_CELLS:,} values; write the columns you need to a table of their own")
    if rows * len(columns) > 4 * MAX_CELLS:
        raise OSError(f"has {rows:,} records of {len(columns):,} different keys; write those you need to a table of their own")
    table = pa.table({name: _column(found, rows) for name, found in columns.items()})
    check_held(table.num_rows, table.num_columns, table.nbytes)
    return table


def _flat(record: Mapping, above: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """(dotted name, value) of all that is no list; {"value": x} is x, as a tracker writes a run's settings."""
    if depth > DEEPEST or len(record) > MAX_COLUMNS:
        return
    for key, value in record.items():
        name = above + str(key)
        if isinstance(value, dict) and _is_wrapped(value):
            yield name, value["value"]
        elif isinstance(value, dict):
            yield from _flat(value, name + ".", depth + 1)
        elif not isinstance(value, list):
            yield name, value


def _is_wrapped(value: Mapping) -> bool:
    return "value" in value and set(value) <= {"value", "desc"} and not isinstance(value["value"], (dict, list))


def _column(found: Mapping[int, object], rows: int) -> pa.Array:
    values = [found.get(i) for i in range(rows)]
    if all(v is None or isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        try:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        except OverflowError:
            pass   # an integer beyond any float: text that names no number
    return pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values], pa.string())
