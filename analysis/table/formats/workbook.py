"""Excel: the first sheet that holds a table. Needs openpyxl, an extra of the project."""

import zipfile
from collections.abc import Sequence

import pyarrow as pa

from analysis.estimates.refusal import Doubt
from analysis.table.formats.sheet import Dialect, Sheet, check_shape
from analysis.table.formats.streams import opened

MAX_UNPACKED_BYTES = 64 << 20   # of the workbook's XML: a dozen seconds of reading
ZIP = b"PK\x03\x04"


def open_workbook(source: str, dialect: Dialect) -> Sheet:
    """Raises OSError where the archive is no workbook, or none of its sheets holds a table."""
    with opened(source) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise OSError("is a damaged zip archive, or a damaged Excel workbook") from None
        if "xl/workbook.xml" not in {m.filename for m in members}:
            raise OSError("is a zip archive; unpack it and name the table in it")
        if sum(m.file_size for m in members) > MAX_UNPACKED_BYTES:
            raise OSError(f"holds more than {MAX_UNPACKED_BYTES >> 20} MiB unpacked; export the sheet as CSV")
        try:
            from openpyxl import load_workbook  # an extra: asked for only where a workbook is read
        except ImportError:
            raise OSError("is an Excel workbook, which takes openpyxl (pip install openpyxl); "
                          "or export the sheet as CSV") from None
        stream.seek(0)
        try:
            book = load_workbook(stream, read_only=True, data_only=True)
            found = {sheet.title: _table(list(_filled(sheet))) for sheet in book.worksheets}
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, SyntaxError, zipfile.BadZipFile) as error:
            raise OSError(f"is a damaged Excel workbook ({type(error).__name__})") from None
    tables = {title: table for title, table in found.items() if table is not None}
    if not tables:
        raise OSError("is an Excel workbook without a table: its header is to be one row of at least two names")
    title, table = next(iter(tables.items()))
    several = Doubt("first_sheet", f"the workbook's sheets {', '.join(tables)} hold tables: {title} is read")
    return Sheet(source, tuple(table.column_names), "held", dialect, held=table, doubts=(several,) if len(tables) > 1 else ())


def _filled(sheet) -> Sequence[tuple]:
    """Rows that are not blank."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        check_shape(number, len(row))
        if any(cell is not None for cell in row):
            yield row


def _table(rows: list[tuple]) -> pa.Table | None:
    """Below the first row of at least two names; what stands above is a title."""
    at = next((i for i, row in enumerate(rows) if sum(isinstance(cell, str) for cell in row) >= 2), None)
    if at is None:
        return None
    columns = {}
    for place, name in enumerate(rows[at]):
        if name is not None:
            values = [row[place] if place < len(row) else None for row in rows[at + 1:]]
            title = str(name).strip()
            columns[title if title not in columns else f"{title} ({place + 1})"] = _column(values)
    return pa.table(columns)


def _column(values: list) -> pa.Array:
    if all(v is None or isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if v is None else str(v) for v in values], pa.string())
