"""A table whose header has been read, and the bounds that every format keeps.

A file is hostile until read. Only the columns asked for are decoded, text stays
dictionary-coded, and every size is checked before the bytes it promises are made.
What breaks a bound is an OSError whose message goes on after the file's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from analysis.estimates.refusal import Doubt
from analysis.table.roles import Description

MAX_ROWS = 2_000_000              # columns and the sorts on them stay under 1 GB and 10 s
MAX_COLUMNS = 4_096               # a header beyond it is not a table of runs
MAX_DECODED_BYTES = 512 << 20     # of the columns asked for, as Arrow holds them


@dataclass(frozen=True)
class Dialect:
    """How the numbers of a text are set; None where it is to be told from the text."""

    delimiter: str | None = None   # , ; | a tab, or a space for any run of spaces and tabs
    decimal: str | None = None     # . or ,


@dataclass(frozen=True)
class Sheet:
    """A file whose header has been read."""

    source: str               # path or URI, as given
    names: tuple[str, ...]    # of its columns, in order
    kind: str                 # "parquet", "text", or "held" where it had to be read whole
    dialect: Dialect = Dialect()   # text only, but for the decimal sign
    encoding: str = "utf-8"   # text only
    layout: str = "plain"     # text only: plain, or what is set anew first: spaced or markdown
    skipped_lines: int = 0    # text only: comments and blank lines above the header
    nested: frozenset[str] = frozenset()   # columns of lists and structs, never numbers
    description: Description = field(default_factory=Description)   # Parquet only: what it says of its own columns
    held: pa.Table | None = field(default=None, repr=False)         # held only; its names are unique
    doubts: tuple[Doubt, ...] = ()         # what was done to make one row a run

    @property
    def flat(self) -> tuple[str, ...]:
        """Names of the columns that may hold numbers or labels."""
        return tuple(n for n in self.names if n not in self.nested)


@dataclass(frozen=True)
class Block:
    """Some columns of a sheet."""

    columns: dict[str, pa.ChunkedArray]
    rows: int
    ragged: int               # records with the wrong number of fields, left out


def printable(text: object, limit: int = 80) -> str:
    """Text fit for a terminal: no control characters, no direction marks, bounded length."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
                    for c in str(text)[:4 * limit])
    return shown if len(shown) <= limit else shown[:limit - 3] + "..."


def path_text(path: object) -> str:
    """A path fit for a terminal, and whole: a cut one leads nowhere. (From 1,000 characters on it is cut, too.)"""
    return printable(path, 1000)


def check_shape(rows: int, columns: int) -> None:
    if not 0 <= rows <= MAX_ROWS:
        raise OSError(f"has {rows:,} rows or more, and we read {MAX_ROWS:,} at most; aggregate it to one row a run")
    if columns > MAX_COLUMNS:
        raise OSError(f"has {columns:,} columns, and we read {MAX_COLUMNS:,} at most")


def check_held(rows: int, columns: int, size: int) -> None:
    check_shape(rows, columns)
    if size > MAX_DECODED_BYTES:
        raise OSError(f"its columns hold more than {MAX_DECODED_BYTES >> 20} MiB")


def sound(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column, once proved whole: damaged files hold indices beyond their dictionary and text that is no UTF-8."""
    column.validate(full=True)
    return column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column


def agreed(name: str, columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The column of a name: of several that say the same, the first. Raises OSError where they differ."""
    first, *others = columns
    if not all(_same(first, other) for other in others):
        raise OSError(f"has two columns named {printable(name)!r} that differ; rename one of them")
    return first


def _same(first: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    if first.type != other.type:
        return False
    if pa.types.is_floating(first.type):
        return np.array_equal(first.to_numpy(), other.to_numpy(), equal_nan=True)
    return first.equals(other)
