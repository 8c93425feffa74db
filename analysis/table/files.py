"""Tables of runs in anybody's files: the format told by its bytes, the columns asked for read."""

import csv
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from analysis.table.formats import long
from analysis.table.formats.delimited import open_text, read_text
from analysis.table.formats.parquet import open_parquet, read_parquet
from analysis.table.formats.records import open_json
from analysis.table.formats.sheet import Block, Dialect, Sheet, path_text, printable
from analysis.table.formats.streams import GZIP, encoding_of, opened, text_stream
from analysis.table.formats.workbook import ZIP, open_workbook

READERS = {"parquet": read_parquet, "text": read_text}
KNOWN = (OSError, pa.ArrowException, MemoryError, UnicodeError, csv.Error, zlib.error)   # what a damaged file may raise

# Files that are often named in a table's place, by their first bytes.
ELSE = {
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save it as .xlsx or CSV",
    b"ARROW1": "is an Arrow file; write it as Parquet",
    b"SQLite format 3": "is a database; export the table of runs as CSV",
    b"version https://git-lfs": "is a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"<!doctype html": "is a web page; save the table that it shows as CSV",
    b"<html": "is a web page; save the table that it shows as CSV",
}


class BadTable(ValueError):
    """A table that cannot be used; the message says what is wrong and how to mend it."""


def open_sheet(source: str, dialect: Dialect = Dialect()) -> Sheet:
    """The header of a table: Parquet, delimited text, Markdown, JSON or Excel, told apart by content.

    source is a path, or a URI that pyarrow.fs knows (s3://, gs://, file://). Text may be gzip.
    A table with a row a value is made wide. Raises BadTable.
    """
    try:
        return _with_a_row_a_run(_opened_sheet(source, dialect))
    except KNOWN as error:
        raise BadTable(f"{path_text(source)}: {_reason(error)}") from error


def _opened_sheet(source: str, dialect: Dialect) -> Sheet:
    with opened(source) as stream:
        head = stream.read(8192)
    if head[:4] == b"PAR1":
        return open_parquet(source)
    for magic, said in ELSE.items():
        if head.lstrip().lower().startswith(magic.lower()):
            raise OSError(said)
    if head[:4] == ZIP:
        return open_workbook(source, dialect)
    if head[:2] == GZIP:
        with text_stream(source) as stream:
            head = stream.read(8192)
    if not head.strip():
        raise OSError("is empty")
    if head.decode(encoding_of(head), errors="ignore").lstrip()[:1] in ("[", "{"):
        return open_json(source, dialect)
    return open_text(source, dialect)


def _with_a_row_a_run(sheet: Sheet) -> Sheet:
    """The sheet, or what it says once every run has one row."""
    if sheet.description or len(set(sheet.names)) < len(sheet.names):
        return sheet
    if long.one_curve(sheet.names):
        raise OSError("is one curve of one run, as TensorBoard saves it; a law takes a table with a row a run: "
                      "its size, its data and its loss")
    columns = long.long_columns(sheet.names)
    if columns is None and not long.is_chart(sheet.names):
        return sheet
    block = _block(sheet, sheet.names if columns is None else columns.columns)
    table = pa.table(block.columns)
    table, said = long.from_chart(table) if columns is None else long.widened(table, columns)
    return replace(sheet, names=tuple(table.column_names), kind="held", held=table, doubts=(*sheet.doubts, said))


def read_columns(sheet: Sheet, wanted: Sequence[str]) -> Block:
    """The wanted columns, all rows. Text columns come dictionary-coded. Raises BadTable."""
    try:
        return _block(sheet, wanted)
    except KNOWN as error:
        raise BadTable(f"{path_text(sheet.source)}: {_reason(error)}") from error


def _block(sheet: Sheet, wanted: Sequence[str]) -> Block:
    if sheet.kind == "held":
        return Block({name: sheet.held[name] for name in wanted}, sheet.held.num_rows, ragged=0)
    return READERS[sheet.kind](sheet, list(wanted))


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
    said = printable((str(error).strip().splitlines() or [type(error).__name__])[0], 200)
    ours = said.startswith(("is ", "has ", "holds ", "claims ", "its ", "column "))
    return said if ours else f"damaged or not what it seems ({said})"
