"""What the cells of a column say: numbers, or labels to group by."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.table.formats.sheet import printable
from analysis.table.spelling import spelled

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
# What names a missing or infinite value is no foreign text: it is counted as not finite.
NOT_FINITE = ("", "nan", "na", "n/a", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity")


@dataclass(frozen=True)
class Numbers:
    """A column as numbers."""

    values: np.ndarray    # (n,) float64, NaN where it has none
    text: np.ndarray      # (n,) bool, where it has text in place of one
    spelled: int          # cells of text that name a number in words or signs, as 2.5M does
    first_text: str = ""  # of the cells that name none
    first_spelled: str = ""


@dataclass(frozen=True)
class Labels:
    """A column as a person would group by it."""

    code: np.ndarray            # (rows,) index into values, -1 where missing
    values: tuple[object, ...]  # numbers as numbers, text as printable text

    def take(self, rows: np.ndarray) -> "Labels":
        """Those rows (mask or indices)."""
        return Labels(self.code[rows], self.values)


def numbers(column: pa.ChunkedArray, decimal: str = ".") -> Numbers:
    """A column as float64. Text that names a number counts as one; dates, lists and the like are text.

    decimal: the sign that text has between whole and fraction.
    """
    values, text = _plain_numbers(column)
    plain = Numbers(_float(values), _bool(text), 0)
    distinct = distinct_text(column) if plain.text.any() or decimal == "," else None
    if distinct is None:
        return plain
    code, said = _codes(column), _float(spelled(distinct, decimal))
    said = np.append(said, np.nan)[code]
    named = np.isfinite(said) & (plain.text | (decimal == ","))
    changed = named & (plain.text | (said != plain.values))
    text = plain.text & ~named
    return Numbers(np.where(named, said, plain.values), text, int(changed.sum()), _first(distinct, code, text),
                   _first(distinct, code, changed))


def distinct_text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The different texts of a column of text; None for another."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or not column.num_chunks:
        return None
    return pa.chunked_array([_encoded(column).chunk(0).dictionary.cast(pa.string())])


def labels(column: pa.ChunkedArray) -> Labels:
    """The distinct values of a column: numbers as numbers, yes and no as words."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.string())
    as_numbers, text = _plain_numbers(column)
    if not pc.any(text).as_py():
        column = pc.if_else(pc.is_nan(as_numbers), pa.scalar(None, pa.float64()), as_numbers)
    elif not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if not column.num_chunks:
        return Labels(np.empty(0, np.int64), ())
    values = _encoded(column).chunk(0).dictionary.to_pylist()
    return Labels(_codes(column), tuple(v if isinstance(v, float) else printable(v) for v in values))


def values_as_labels(column: np.ndarray) -> Labels:
    """The distinct numbers of a column (n,); NaN is missing."""
    values, code = np.unique(column, return_inverse=True)
    return Labels(np.where(np.isnan(column), -1, code), tuple(map(float, values[~np.isnan(values)])))


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary-coded by one dictionary."""
    if pa.types.is_dictionary(column.type):
        return column.unify_dictionaries()
    # In one piece: of many chunks each would bring the whole dictionary along, to be unified again.
    return _chunked(pc.dictionary_encode(column.combine_chunks()))


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) index of each cell's value among the distinct ones, -1 where it is missing."""
    indices = pa.chunked_array([chunk.indices for chunk in _encoded(column).chunks])
    return pc.fill_null(indices.cast(pa.int64()), -1).to_numpy()


def _first(distinct: pa.ChunkedArray, code: np.ndarray, rows: np.ndarray) -> str:
    """The text of the first of those rows, fit to be quoted."""
    found = np.flatnonzero(rows & (code >= 0))
    return printable(distinct[int(code[found[0]])].as_py(), 30) if len(found) else ""


def _float(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.float64, copy=False)


def _bool(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(bool, copy=False)


def _plain_numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """A column as float64 (null where it is not a number as programs write it), and the mask of what was text."""
    if pa.types.is_dictionary(column.type):
        return _numbers_in_dictionary(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _numbers_in_text(column)
    numeric = (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
               or pa.types.is_decimal(column.type) or pa.types.is_boolean(column.type))
    if numeric:
        return column.cast(pa.float64(), safe=False), pa.chunked_array([pa.repeat(False, len(column))])
    nothing = pa.chunked_array([pa.nulls(len(column), pa.float64())])
    return nothing, column.is_valid()


def _numbers_in_dictionary(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Each distinct text is looked at once, and never repeated for its rows."""
    if not column.num_chunks:
        return _plain_numbers(pa.chunked_array([], column.type.value_type))
    unified = column.unify_dictionaries()
    indices = pa.chunked_array([chunk.indices for chunk in unified.chunks])
    values, text = _plain_numbers(pa.chunked_array([unified.chunk(0).dictionary]))
    return values.take(indices), pc.fill_null(text.take(indices), False)


def _numbers_in_text(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        return trimmed.cast(pa.float64()), pa.chunked_array([pa.repeat(False, len(column))])
    except pa.ArrowInvalid:
        ok = pc.match_substring_regex(trimmed, NUMBER)
        kept = pc.if_else(pc.fill_null(ok, False), trimmed, pa.scalar(None, trimmed.type))
        known = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(NOT_FINITE))
        text = pc.and_(pc.is_valid(column), pc.invert(pc.or_(pc.fill_null(ok, False), known)))
        return kept.cast(pa.float64()), _chunked(text)


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
