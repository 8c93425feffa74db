"""Bytes of a file, plain or gzip, that stop before they fill the memory."""

import codecs
import io
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from analysis.table.formats.sheet import MAX_ROWS

MAX_TEXT_BYTES = 384 << 20        # of CSV after decompression: under 10 s even if all of it is newlines
MAX_RATIO = 50                    # of gzip: numbers in text shrink by 3 to 10
MAX_LINES = 2 * MAX_ROWS          # of CSV: Arrow takes 20 s over a hundred MB of quoted newlines
MAX_LINE_BYTES = 1 << 20          # one CSV record; Arrow refuses records beyond its block
GZIP = b"\x1f\x8b"


def opened(source: str) -> pa.NativeFile:
    """source is a path, or a URI that pyarrow.fs knows (s3://, gs://, file://)."""
    if "://" in source:
        files, path = pa.fs.FileSystem.from_uri(source)
        return files.open_input_file(path)
    # A pipe or a device has no end that we could check; a folder has no bytes.
    mode = Path(source).stat().st_mode
    if stat.S_ISDIR(mode):
        raise OSError("is a folder; name the table in it")
    if not stat.S_ISREG(mode):
        raise OSError("is not a regular file")
    return pa.OSFile(source, "rb")


class Counted(io.RawIOBase):
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
            raise OSError(f"has more than {MAX_LINES:,} lines, and we read {MAX_ROWS:,} rows at most; "
                          "aggregate it to one row a run")
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


def text_stream(source: str, most: int = MAX_TEXT_BYTES) -> Counted:
    """The text of a file, unpacked where it is gzip."""
    stream = opened(source)
    start = stream.read(2)
    stream.seek(0)
    if start != GZIP:
        return Counted(stream, most)
    return Counted(pa.CompressedInputStream(stream, "gzip"), min(most, MAX_RATIO * stream.size() + MAX_LINE_BYTES))


def whole_text(source: str, most: int) -> str:
    """All of it, where a format can't be read in pieces."""
    with text_stream(source, most) as stream:
        raw = b"".join(iter(lambda: stream.read(MAX_LINE_BYTES), b""))
    return raw[:-1].decode(encoding_of(raw))   # without the newline that a stream ends in


def encoding_of(start: bytes) -> str:
    """By the byte order mark; text without one is UTF-8."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
