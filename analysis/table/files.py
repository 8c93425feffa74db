"""Columns of a Parquet or CSV file that may be anybody's: bounded in memory and time.

A file is hostile until read. Only the columns asked for are decoded, text stays
dictionary-coded, and every size is checked before the bytes it promises are made.
"""

import codecs
import csv
import io
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.fs
import pyarrow.parquet as pq

from analysis.table.roles import Description, described

MAX_ROWS = 2_000_000              # columns and the sorts on them stay under 1 GB and 10 s
MAX_COLUMNS = 4_096               # a header beyond it is not a table of runs
MAX_DECODED_BYTES = 512 << 20     # of the columns asked for, as Arrow holds them
MAX_TEXT_BYTES = 384 << 20        # of CSV after decompression: under 10 s even if all of it is newlines
MAX_RATIO = 50                    # of gzip: numbers in text shrink by 3 to 10
MAX_LINES = 2 * MAX_ROWS          # of CSV: Arrow takes 20 s over a hundred MB of quoted newlines
MAX_LINE_BYTES = 1 << 20          # one CSV record; Arrow refuses records beyond its block


class BadTable(ValueError):
    """A table that cannot be used; the message says what is wrong and how to mend it."""


@dataclass(frozen=True)
class Sheet:
    """A file whose header has been read."""

    source: str               # path or URI, as given
    names: tuple[str, ...]    # of its columns, in order
    kind: str                 # "parquet" or "csv"
    delimiter: str = ","      # CSV only
    skipped_lines: int = 0    # CSV only: comments and blank lines above the header
    nested: frozenset[str] = frozenset()   # Parquet only: columns of lists and structs, never numbers
    description: Description = field(default_factory=Description)   # Parquet only: what it says of its own columns

    @property
    def flat(self) -> tuple[str, ...]:
        """Names of the columns that may hold numbers or labels."""
        return tuple(n for n in self.names if n not in self.nested)


@dataclass(frozen=True)
class Block:
    """Some columns of a sheet."""

    columns: dict[str, pa.ChunkedArray]
    rows: int
    ragged: int               # CSV records with the wrong number of fields, left out


def printable(text: object, limit: int = 80) -> str:
    """Text fit for a terminal: no control characters, no direction marks, bounded length."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
                    for c in str(text)[:4 * limit])
    return shown if len(shown) <= limit else shown[:limit - 3] + "..."


def open_sheet(source: str) -> Sheet:
    """The header of a Parquet or CSV file (plain or gzip), told apart by content.

    source is a path, or a URI that pyarrow.fs knows (s3://, gs://, file://). Raises BadTable.
    """
    try:
        with _opened(source) as stream:
            head = stream.read(8192)
        if head[:4] == b"PAR1":
            return _parquet_sheet(source)
        return _csv_sheet(source, head)
    except (OSError, pa.ArrowException, MemoryError, UnicodeError, csv.Error) as error:
        raise BadTable(f"{printable(source)}: {_reason(error)}") from error


def read_columns(sheet: Sheet, wanted: Sequence[str]) -> Block:
    """The wanted columns, all rows. Text columns come dictionary-coded. Raises BadTable."""
    twice = [n for n in wanted if sheet.names.count(n) > 1]
    if twice:
        raise BadTable(f"{printable(sheet.source)}: two columns are named "
                       f"{printable(twice[0])!r}; rename one of them")
    try:
        block = (_read_parquet if sheet.kind == "parquet" else _read_csv)(sheet, list(wanted))
    except (OSError, pa.ArrowException, MemoryError, UnicodeError) as error:
        raise BadTable(f"{printable(sheet.source)}: {_reason(error)}") from error
    return block


def _opened(source: str) -> pa.NativeFile:
    if "://" in source:
        files, path = pa.fs.FileSystem.from_uri(source)
        return files.open_input_file(path)
    # A pipe or a device has no end that we could check; a folder has no bytes.
    mode = Path(source).stat().st_mode
    if stat.S_ISDIR(mode):
        raise OSError("is a folder; name the Parquet or CSV file in it")
    if not stat.S_ISREG(mode):
        raise OSError("is not a regular file")
    return pa.OSFile(source, "rb")


def _parquet_file(source: str, **options) -> pq.ParquetFile:
    return pq.ParquetFile(_opened(source), thrift_string_size_limit=16 << 20,
                          thrift_container_size_limit=1_000_000, schema_depth_limit=64,
                          pre_buffer=False, **options)


def _parquet_sheet(source: str) -> Sheet:
    with _parquet_file(source) as file:
        names = tuple(file.schema_arrow.names)
        _check_shape(file.metadata.num_rows, len(names))
        nested = frozenset(f.name for f in file.schema_arrow if pa.types.is_nested(f.type))
        description = described(file.schema_arrow)
    return Sheet(source, names, "parquet", nested=nested, description=description)


def _check_shape(rows: int, columns: int) -> None:
    if not 0 <= rows <= MAX_ROWS:
        raise OSError(f"has {rows:,} rows or more, and we read {MAX_ROWS:,} at most; aggregate it to one row a run")
    if columns > MAX_COLUMNS:
        raise OSError(f"has {columns:,} columns, and we read {MAX_COLUMNS:,} at most")


def _read_parquet(sheet: Sheet, wanted: list[str]) -> Block:
    with _parquet_file(sheet.source) as file:
        schema = file.schema_arrow
        nested = [n for n in wanted if n in sheet.nested]
        if nested:
            raise OSError(f"column {printable(nested[0])!r} holds {printable(schema.field(nested[0]).type)}, not numbers")
        # One long string repeated a million times is a small file and a terabyte of text:
        # dictionary-coded it stays small.
        text = [n for n in wanted if schema.field(n).type in (pa.string(), pa.large_string(), pa.binary())]
        unbounded = any(not pa.types.is_primitive(schema.field(n).type) for n in wanted)
        # Numbers take 8 bytes a row, and the rows are counted; text may be of any length. The whole groups' sizes, not the
        # columns': asked for those of a damaged file, Arrow ends the process (a C++ exception that nobody catches).
        promised = sum(file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups)) if unbounded else 0
        if promised > MAX_DECODED_BYTES:
            raise OSError(f"its rows hold {promised / 2**30:.1f} GiB with text among them, more than we read; "
                          "write the columns you need to a table of their own")
    with _parquet_file(sheet.source, read_dictionary=text) as file:
        # Whole row groups: batches would each bring the dictionary along again.
        table = file.read(columns=wanted, use_threads=False)
    _check_held(table.num_rows, len(wanted), table.nbytes)
    return Block({name: _sound(table.column(name)) for name in wanted}, table.num_rows, ragged=0)


def _check_held(rows: int, columns: int, size: int) -> None:
    _check_shape(rows, columns)
    if size > MAX_DECODED_BYTES:
        raise OSError(f"its columns hold more than {MAX_DECODED_BYTES >> 20} MiB")


def _sound(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column, once proved whole: damaged files hold indices beyond their dictionary and text that is no UTF-8."""
    column.validate(full=True)
    return column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column


class _Counted(io.RawIOBase):
    """A stream that stops with an error after so many bytes: no zip bomb unfolds beyond them.

    It ends in a newline, which Arrow wants of the last record.
    """

    def __init__(self, stream: pa.NativeFile, limit: int):
        self._stream, self._limit, self._read, self._lines, self._ended = stream, limit, 0, 0, False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = MAX_LINE_BYTES if size is None or size < 0 else size
        data = bytearray()
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        self._read += len(data)
        self._lines += data.count(b"\n")
        if self._lines > MAX_LINES:
            raise OSError(f"has more than {MAX_LINES:,} lines, and we read {MAX_ROWS:,} rows at most; aggregate it to one row a run")
        if self._read > self._limit:
            raise OSError(f"holds more than {self._limit >> 20} MiB of text; convert it to Parquet")
        if len(data) < size and not self._ended:
            self._ended = True
            data += b"\n"
        return bytes(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _text_stream(source: str, head: bytes) -> _Counted:
    stream = _opened(source)
    if head[:2] != b"\x1f\x8b":
        return _Counted(stream, MAX_TEXT_BYTES)
    limit = min(MAX_TEXT_BYTES, MAX_RATIO * stream.size() + MAX_LINE_BYTES)
    return _Counted(pa.CompressedInputStream(stream, "gzip"), limit)


def _csv_sheet(source: str, head: bytes) -> Sheet:
    if not head.strip():
        raise OSError("is empty")
    if head[:4] == b"PK\x03\x04":
        raise OSError("is a zip archive or an Excel workbook; export the sheet as CSV")
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise OSError("is UTF-16 text; save it as UTF-8")
    with _text_stream(source, head) as stream:
        start = stream.read(MAX_LINE_BYTES)
    if b"\0" in start:
        raise OSError("is neither Parquet nor CSV text")
    if start.lstrip()[:1] in (b"[", b"{"):
        raise OSError("is JSON; write its records as CSV (pandas.read_json(...).to_csv(...))")
    text = start.decode("utf-8-sig", errors="ignore" if len(start) == MAX_LINE_BYTES else "strict")
    lines = text.splitlines(keepends=True)
    skipped = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if skipped is None:
        raise OSError("has no header line")
    delimiter = max(",;\t", key=lines[skipped].count)
    names = next(csv.reader(lines[skipped:], delimiter=delimiter, strict=True))
    _check_shape(0, len(names))
    return Sheet(source, tuple(n.strip() for n in names), "csv", delimiter, skipped)


def _read_csv(sheet: Sheet, wanted: list[str]) -> Block:
    ragged = 0

    def skip(_row) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    # Columns go by position: names may be empty, twice there, or longer than any sense.
    place = {name: str(sheet.names.index(name)) for name in wanted}
    options = dict(
        read_options=pa.csv.ReadOptions(
            block_size=MAX_LINE_BYTES, use_threads=False, skip_rows=sheet.skipped_lines,
            column_names=[str(i) for i in range(len(sheet.names))], skip_rows_after_names=1),
        parse_options=pa.csv.ParseOptions(
            delimiter=sheet.delimiter, newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(place.values()), strings_can_be_null=True,
            column_types={p: pa.string() for p in place.values()}))
    with _opened(sheet.source) as stream:
        head = stream.read(2)
    with _text_stream(sheet.source, head) as stream:
        try:
            batches = list(_bounded(pa.csv.open_csv(pa.PythonFile(stream, mode="r"), **options)))
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise
            batches = []
    columns = {name: pa.chunked_array([b.column(p) for b in batches], pa.string()) for name, p in place.items()}
    return Block({name: _sound(c) for name, c in columns.items()}, sum(b.num_rows for b in batches), ragged)


def _bounded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = held = 0
    for batch in batches:
        rows, held = rows + batch.num_rows, held + batch.nbytes
        _check_held(rows, batch.num_columns, held)
        yield batch


def _reason(error: Exception) -> str:
    """One line in the reader's terms for what a library said."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "may not be read: permission denied"
    if isinstance(error, (MemoryError, pa.ArrowMemoryError)):
        return "needs more memory than we allow; is the file damaged?"
    if isinstance(error, UnicodeError):
        return "is not UTF-8 text; save it as UTF-8 CSV or Parquet"
    said = printable((str(error).strip().splitlines() or [type(error).__name__])[0], 160)
    ours = said.startswith(("is ", "has ", "holds ", "claims ", "its ", "column "))
    return said if ours else f"damaged or not what it seems ({said})"
