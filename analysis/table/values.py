"""What the cells of a column say: numbers, or labels to group by."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.table.files import printable

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
# What names a missing or infinite value is no foreign text: it is counted as not finite.
NOT_FINITE = ("", "nan", "na", "n/a", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity")


def numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """A column as float64 (null where it is not a number), and the mask of what was text.

    Text that reads as a decimal number counts as one. Dates, lists and the like are text.
    """
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


@dataclass(frozen=True)
class Labels:
    """A column as a person would group by it."""

    code: np.ndarray            # (rows,) index into values, -1 where missing
    values: tuple[object, ...]  # numbers as numbers, text as printable text

    def take(self, rows: np.ndarray) -> "Labels":
        """Those rows (mask or indices)."""
        return Labels(self.code[rows], self.values)


def labels(column: pa.ChunkedArray) -> Labels:
    """The distinct values of a column: numbers as numbers, yes and no as words."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.string())
    as_numbers, text = numbers(column)
    if not pc.any(text).as_py():
        column = pc.if_else(pc.is_nan(as_numbers), pa.scalar(None, pa.float64()), as_numbers)
    elif not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    if not encoded.num_chunks:
        return Labels(np.empty(0, np.int64), ())
    encoded = encoded.unify_dictionaries()
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks])
    values = encoded.chunk(0).dictionary.to_pylist()
    return Labels(pc.fill_null(indices.cast(pa.int64()), -1).to_numpy(),
                  tuple(v if isinstance(v, float) else printable(v) for v in values))


def values_as_labels(column: np.ndarray) -> Labels:
    """The distinct numbers of a column (n,); NaN is missing."""
    values, code = np.unique(column, return_inverse=True)
    return Labels(np.where(np.isnan(column), -1, code), tuple(map(float, values[~np.isnan(values)])))


def _numbers_in_dictionary(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Each distinct text is looked at once, and never repeated for its rows."""
    if not column.num_chunks:
        return numbers(pa.chunked_array([], column.type.value_type))
    indices = pa.chunked_array([chunk.indices for chunk in column.unify_dictionaries().chunks])
    values, text = numbers(pa.chunked_array([column.unify_dictionaries().chunk(0).dictionary]))
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
