"""The journal's lines: a checksum and a row each, so that damage is seen and costs only the rows it hit.

    5f3a9c01 {"sheet": "results", "row": {"width": 1.4142135623730951, ...}}

JSON written by Python keeps every float exactly (repr is the shortest text that reads back the same).
"""

import json
from dataclasses import dataclass, fields
from zlib import crc32


@dataclass(frozen=True)
class Entry:
    """A row as it was written, by column name, and the table it belongs to."""

    sheet: str
    row: dict


@dataclass(frozen=True)
class Replay:
    """What could be read of a journal."""

    entries: list[Entry]
    damaged: list[bytes]   # whole lines that fail their checksum
    torn: bool             # the last line has no end: its write was cut short


def encode(sheet: str, row: object) -> bytes:
    values = {f.name: getattr(row, f.name) for f in fields(row)}
    text = json.dumps({"sheet": sheet, "row": values}).encode()
    return b"%08x %s\n" % (crc32(text), text)


def decode(data: bytes) -> Replay:
    """Every line that is whole; a torn last line is dropped, other damage is kept to be reported."""
    *lines, tail = data.split(b"\n")
    entries, damaged = [], []
    for line in lines:
        entry = _entry(line)
        if entry is None:
            damaged.append(line)
        else:
            entries.append(entry)
    return Replay(entries, damaged, torn=bool(tail))


def _entry(line: bytes) -> Entry | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % crc32(text):
        return None
    try:
        return Entry(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
