"""Parquet: the footer, what it says of its columns, and the columns asked for."""

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.table.formats.sheet import MAX_DECODED_BYTES, Block, Sheet, agreed, check_held, check_shape, printable, sound
from analysis.table.formats.streams import opened
from analysis.table.roles import described


def _file(source: str, **options) -> pq.ParquetFile:
    return pq.ParquetFile(opened(source), thrift_string_size_limit=16 << 20,
                          thrift_container_size_limit=1_000_000, schema_depth_limit=64,
                          pre_buffer=False, **options)


def open_parquet(source: str) -> Sheet:
    with _file(source) as file:
        names = tuple(file.schema_arrow.names)
        check_shape(file.metadata.num_rows, len(names))
        nested = frozenset(f.name for f in file.schema_arrow if pa.types.is_nested(f.type))
        description = described(file.schema_arrow)
    return Sheet(source, names, "parquet", nested=nested, description=description)


def read_parquet(sheet: Sheet, wanted: list[str]) -> Block:
    with _file(sheet.source) as file:
        schema = file.schema_arrow
        nested = [n for n in wanted if n in sheet.nested]
        if nested:
            raise OSError(f"column {printable(nested[0])!r} holds {printable(schema.field(nested[0]).type)}, not numbers")
        # One long string repeated a million times is a small file and a terabyte of text:
        # dictionary-coded it stays small.
        kinds = {n: [f.type for f in schema if f.name == n] for n in wanted}
        text = [n for n in wanted if any(kind in (pa.string(), pa.large_string(), pa.binary()) for kind in kinds[n])]
        unbounded = any(not pa.types.is_primitive(kind) for n in wanted for kind in kinds[n])
        # Numbers take 8 bytes a row, and the rows are counted; text may be of any length. The whole groups' sizes, not the
        # columns': asked for those of a damaged file, Arrow ends the process (a C++ exception that nobody catches).
        promised = sum(file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups)) if unbounded else 0
        if promised > MAX_DECODED_BYTES:
            raise OSError(f"its rows hold {promised / 2**30:.1f} GiB with text among them, more than we read; "
                          "write the columns you need to a table of their own")
    with _file(sheet.source, read_dictionary=text) as file:
        # Whole row groups: batches would each bring the dictionary along again.
        table = file.read(columns=wanted, use_threads=False)
    check_held(table.num_rows, table.num_columns, table.nbytes)
    columns = {name: [sound(c) for c, n in zip(table.columns, table.column_names, strict=True) if n == name] for name in wanted}
    return Block({name: agreed(name, found) for name, found in columns.items()}, table.num_rows, ragged=0)
