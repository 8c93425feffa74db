"""Text with a delimiter: CSV by commas, semicolons, tabs or pipes, columns set by spaces, tables of Markdown."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv

from analysis.table.formats.sheet import Block, Dialect, Sheet, agreed, check_held, check_shape, printable, sound
from analysis.table.formats.streams import MAX_LINE_BYTES, encoding_of, text_stream, whole_text

MAX_RETOLD_BYTES = 64 << 20   # of text that is set anew line by line before Arrow reads it
DELIMITERS = ",;\t|"
SPACE = " "                   # stands for any run of spaces and tabs
LOOKED_AT = 20                # lines that tell a delimiter


def open_text(source: str, dialect: Dialect) -> Sheet:
    """The header of a text. Raises OSError where it has none, or its delimiter can't be told."""
    with text_stream(source) as stream:
        start = stream.read(MAX_LINE_BYTES)
    encoding = encoding_of(start)
    if encoding == "utf-8-sig" and b"\0" in start:
        raise OSError("is neither Parquet nor CSV text")
    text = start.decode(encoding, errors="ignore" if len(start) >= MAX_LINE_BYTES or encoding == "utf-16" else "strict")
    lines = text.splitlines(keepends=True)
    sheet = Sheet(source, (), "text", encoding=encoding)
    ruled = next((i for i in range(1, len(lines)) if "|" in lines[i - 1] and _is_rule(lines[i])), None)
    if ruled is not None and dialect.delimiter in (None, "|"):
        names = _cells(lines[ruled - 1])
        sheet = replace(sheet, dialect=replace(dialect, delimiter="|"), layout="markdown", skipped_lines=ruled - 1)
    else:
        at = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
        if at is None:
            raise OSError("has no header line")
        delimiter = dialect.delimiter or _delimiter(lines[at:])
        names = lines[at].split() if delimiter == SPACE else next(csv.reader(lines[at:], delimiter=delimiter, strict=True))
        sheet = replace(sheet, dialect=replace(dialect, delimiter=delimiter), layout="spaced" if delimiter == SPACE else "plain",
                        skipped_lines=at)
    check_shape(0, len(names))
    return replace(sheet, names=tuple(n.strip() for n in names))


def _is_rule(line: str) -> bool:
    """What stands below the header of a Markdown table: |---|:--:|."""
    return "-" in line and "|" in line and not line.strip("|-: \t\r\n")


def _delimiter(lines: Sequence[str]) -> str:
    """The one that the header has most of; where two are equal, the one that the lines below have as often.

    Raises OSError where that can't tell either.
    """
    head = lines[0].rstrip("\r\n")
    most = max(map(head.count, DELIMITERS))
    if not most:
        below = [len(line.split()) for line in lines[1:LOOKED_AT] if line.strip()]
        # A lone column may have a name of two words; columns set by spaces are equally many below.
        return SPACE if len(head.split()) > 1 and below and set(below) == {len(head.split())} else ","
    equal = [d for d in DELIMITERS if head.count(d) == most]
    even = [d for d in equal if all(line.count(d) == most for line in lines[1:LOOKED_AT] if line.strip())]
    if len(equal) > 1 and len(even) != 1:
        said = " or ".join("a tab" if d == "\t" else d for d in equal)
        raise OSError(f"is its delimiter {said}? its header is {printable(head)!r}; name one with --delimiter")
    return even[0] if len(equal) > 1 else equal[0]


def _cells(line: str) -> list[str]:
    """Of a row of a Markdown table, without the marks of emphasis and code."""
    return [cell.strip().strip("*`").strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _retold(sheet: Sheet) -> io.BytesIO:
    """The text as Arrow reads it: UTF-8, one delimiter, from the header on."""
    text = whole_text(sheet.source, MAX_RETOLD_BYTES)
    if sheet.layout == "plain":
        return io.BytesIO(text.encode())
    lines = text.splitlines()[sheet.skipped_lines:]
    buffer = io.StringIO()
    write = csv.writer(buffer, delimiter=_delimiter_of(sheet), lineterminator="\n").writerow
    if sheet.layout == "spaced":
        for line in lines:
            if line.strip():
                write(line.split())
    else:
        end = next((i for i, line in enumerate(lines) if "|" not in line), len(lines))
        for line in [lines[0], *lines[2:end]]:
            write(_cells(line))
    return io.BytesIO(buffer.getvalue().encode())


def _delimiter_of(sheet: Sheet) -> str:
    """What stands between fields once the text is set anew."""
    return "\t" if sheet.layout == "spaced" else sheet.dialect.delimiter


def read_text(sheet: Sheet, wanted: list[str]) -> Block:
    ragged = 0

    def skip(_row) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    anew = sheet.layout != "plain" or sheet.encoding == "utf-16"
    skipped = 0 if sheet.layout != "plain" else sheet.skipped_lines
    # Columns go by position: names may be empty, twice there, or longer than any sense.
    places = {name: [str(i) for i, n in enumerate(sheet.names) if n == name] for name in wanted}
    all_places = [p for found in places.values() for p in found]
    options = dict(
        read_options=pa.csv.ReadOptions(
            block_size=MAX_LINE_BYTES, use_threads=False, skip_rows=skipped,
            column_names=[str(i) for i in range(len(sheet.names))], skip_rows_after_names=1),
        parse_options=pa.csv.ParseOptions(
            delimiter=_delimiter_of(sheet), newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pa.csv.ConvertOptions(
            include_columns=all_places, strings_can_be_null=True, column_types={p: pa.string() for p in all_places}))
    with (_retold(sheet) if anew else text_stream(sheet.source)) as stream:
        try:
            batches = list(_bounded(pa.csv.open_csv(pa.PythonFile(stream, mode="r"), **options)))
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise
            batches = []
    columns = {p: sound(pa.chunked_array([b.column(p) for b in batches], pa.string())) for p in all_places}
    named = {name: agreed(name, [columns[p] for p in found]) for name, found in places.items()}
    return Block(named, sum(b.num_rows for b in batches), ragged)


def _bounded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = held = 0
    for batch in batches:
        rows, held = rows + batch.num_rows, held + batch.nbytes
        check_held(rows, batch.num_columns, held)
        yield batch
