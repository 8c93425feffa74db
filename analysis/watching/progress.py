"""How far a sweep has come, from the files that it keeps: nothing is locked, nothing is written.

Beside NAME.parquet a sweep keeps NAME.parquet.journal, a line a row that the table does not hold yet
("checksum {"sheet": ..., "row": {...}}"), NAME.failures.parquet and NAME.parquet.owner. The grid it was asked for stands in the
table's metadata under "provenance" (sweeps/store).
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.table.files import BadTable
from analysis.table.formats.sheet import path_text, printable
from analysis.table.roles import Description, common_description, described

IDENTITY = ("axis", "choice", "repeat")


@dataclass(frozen=True)
class Progress:
    """One look at a sweep."""

    rows: tuple[Mapping, ...]                      # finished runs, by column
    failures: tuple[Mapping, ...]
    schema: pa.Schema | None = field(repr=False)   # None until the sweep has folded its first rows into a table
    planned: Mapping[str, tuple]                   # axis -> the values that were asked for; empty where the table doesn't say
    seeds: int                                     # runs wanted of each place
    sweeper: str                                   # who is at it, or ""

    @property
    def description(self) -> Description:
        return _description(self.schema)

    @property
    def wanted(self) -> int | None:
        """Runs that the grid asks for; None where nobody says."""
        if not self.planned:
            return None
        count = self.seeds
        for values in self.planned.values():
            count *= len(values)
        return count

    def table(self) -> pa.Table:
        """The finished runs as one table that says what its columns are."""
        rows = [{name: row.get(name) for name in self.schema.names} for row in self.rows]
        return pa.Table.from_pylist(rows, schema=self.schema)


def read_progress(path: Path) -> Progress:
    """Raises BadTable where there is neither table nor journal, or where they are no sweep's."""
    # The journal first: a fold moves rows from it to the tables.
    entries = _journal(path.with_name(path.name + ".journal"))
    table, failed = _parquet(path), _parquet(path.with_name(f"{path.stem}.failures{path.suffix}"))
    if table is None and not entries:
        raise BadTable(f"{path_text(path)}: no table and no journal yet; start the sweep, or give the path of its --out")
    schema = table.schema if table is not None else None
    about = _description(schema)
    keys = tuple(dict.fromkeys((*about.named(*IDENTITY), *(about.splits or ()))))
    rows = _distinct([*(table.to_pylist() if table is not None else ()), *_of(entries, "results")], keys)
    done = {_key(row, keys) for row in rows}
    failures = [row for row in _distinct([*(failed.to_pylist() if failed is not None else ()), *_of(entries, "failures")], keys)
                if _key(row, keys) not in done]
    planned, seeds = _plan(schema)
    return Progress(tuple(rows), tuple(failures), schema, planned, seeds, _sweeper(path.with_name(path.name + ".owner")))


def _description(schema: pa.Schema | None) -> Description:
    return common_description([described(schema)], [schema.names]) if schema is not None else Description()


def _parquet(path: Path) -> pa.Table | None:
    """Its bytes at one moment: the file may be replaced while it is read."""
    try:
        return pq.ParquetFile(BytesIO(path.read_bytes())).read(use_threads=False)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        said = printable(str(error).splitlines()[0], 120)
        raise BadTable(f"{path_text(path)}: no Parquet that can be read ({said})") from error


def _journal(path: Path) -> list[dict]:
    """The lines that are whole; the last may be half written, and others damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        checksum, _, text = line.partition(b" ")
        if text and checksum == b"%08x" % crc32(text):
            try:
                entries.append(json.loads(text))
            except ValueError:
                continue
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("row"), dict)]


def _of(entries: Sequence[Mapping], sheet: str) -> list[dict]:
    return [e["row"] for e in entries if e.get("sheet") == sheet]


def _key(row: Mapping, keys: Sequence[str]) -> tuple:
    return tuple(row.get(k) for k in keys)


def _distinct(rows: Sequence[Mapping], keys: Sequence[str]) -> list[Mapping]:
    """Rows of one identity once; all of them where nobody says what identifies a row."""
    return list({_key(row, keys): row for row in reversed(rows)}.values())[::-1] if keys else list(rows)


def _plan(schema: pa.Schema | None) -> tuple[dict[str, tuple], int]:
    """Axes with the values asked for, and seeds, of the last run that says. Older studies name their axes in the plural."""
    try:
        said = json.loads((schema.metadata or {}).get(b"provenance", b"[]")) if schema is not None else []
        grid = next(run["grid"] for run in reversed(said) if isinstance(run, dict) and isinstance(run.get("grid"), dict))
        seeds = grid.get("seeds", 1)
        axes = grid["axes"] if isinstance(grid.get("axes"), dict) else {
            name.removesuffix("s"): values for name, values in grid.items() if name != "seeds"}
        return ({name: tuple(values) for name, values in axes.items() if name in schema.names and isinstance(values, list)},
                len(seeds) if isinstance(seeds, list) else int(seeds))
    except (ValueError, TypeError, KeyError, StopIteration):
        return {}, 1


def _sweeper(path: Path) -> str:
    """The process that holds the table, where it runs or runs elsewhere."""
    try:
        owner = json.loads(path.read_bytes())
        pid, host = int(owner["pid"]), str(owner["host"])
        if host == socket.gethostname() and os.name != "nt":
            os.kill(pid, 0)   # asks, and sends nothing
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return f"process {pid} on {printable(host)}, since {printable(str(owner.get('started', '?')))}"
