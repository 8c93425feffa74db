"""What a store's tables and journal hold: read, checked, and freed of what a crash left behind."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sweeps.store.bucket import ObjectPlace
from sweeps.store.files import LocalPlace, StoreError
from sweeps.store.journal import Replay, decode
from sweeps.store.rows import Kind, NotOurTable, differing, failure_type, from_parquet, normal
from trainers.columns import columns, identity_of

Place = LocalPlace | ObjectPlace


@dataclass(frozen=True)
class Snapshot:
    """What a store holds at one moment, tables and journal together."""

    results: Mapping[NamedTuple, object]
    tuning: Mapping[NamedTuple, object]
    failures: Mapping[NamedTuple, object]
    notices: list[str]   # what was damaged, and what that costs
    runs: list[dict]     # provenance of each run that wrote rows, oldest first
    fingerprint: str | None


def table_path(path: str, sheet: str) -> str:
    """results.parquet -> itself for the results, results.tuning.parquet for the tuning trials."""
    if sheet == "results":
        return path
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{sheet}.{suffix}" if dot and "/" not in suffix else f"{path}.{sheet}"


def place_of(out: str | os.PathLike) -> Place:
    text = os.fspath(out)
    if "://" in text and not text.startswith("file://"):
        place = ObjectPlace(text)
    else:
        place = LocalPlace(unquote(urlsplit(text).path) if text.startswith("file://") else text)
    name = PurePosixPath(place.path)
    if name.suffix and name.with_suffix("").suffix in (".tuning", ".failures"):
        raise StoreError(f"{name.name} is the name of a table beside another sweep's: give another --out")
    return place


class Recovery:
    """Reads tables and journal; the journal first, since a fold moves rows from it to the tables."""

    def __init__(self, place: Place, task: Kind):
        self._place, self._task = place, task
        self.notices: list[str] = []
        chunks = place.journal()
        replays = [decode(chunk) for chunk in chunks]
        self.has_journal = bool(chunks)
        self.damaged = [line for replay in replays for line in replay.damaged]
        self.has_table = False
        self.stale: set[str] = set()   # sheets whose Parquet lacks something
        self.runs: list[dict] = []
        self.results = self._table("results")
        self.tuning = self._table("tuning")
        self.failures = self._table("failures")
        for replay in replays:
            self._replay(replay)
        for key in [key for key in self.failures if key in self.results or key in self.tuning]:
            del self.failures[key]
            self.stale.add("failures")
        self.fingerprint = self._only_fingerprint()

    def _kind(self, sheet: str) -> type | None:
        """The class of that table's rows; None where only a row can tell."""
        return failure_type(self._task.cell) if sheet == "failures" else self._task.row

    def _table(self, sheet: str) -> dict:
        path = table_path(self._place.path, sheet)
        data = self._place.read(path)
        if data is None:
            return {}
        try:
            table = from_parquet(data, self._task, self._kind(sheet))
        except NotOurTable as error:
            raise StoreError(f"{path} is not this sweep's table: {error}; give another --out") from error
        if sheet == "results":
            self.has_table, self.runs = True, table.runs
        rows = {}
        for row in table.rows:
            self._add(rows, row, sheet)
        return rows

    def _add(self, rows: dict, row: object, sheet: str) -> bool:
        key = identity_of(row)
        held = rows.setdefault(key, row)
        if held is not row and sheet != "failures":
            note_difference(self.notices, held, row)
        return held is row

    def _replay(self, replay: Replay) -> None:
        for entry in replay.entries:
            row = self._row(entry.sheet, entry.row)
            if entry.sheet == "failures":
                self.failures[identity_of(row)] = row
                self.stale.add("failures")
            elif self._add(getattr(self, entry.sheet), row, entry.sheet):
                self.stale.add(entry.sheet)
        if replay.torn:
            self.notices.append("the journal's last line was cut short by a crash and is dropped: its cell trains again")
        if replay.damaged:
            self.notices.append(f"{len(replay.damaged)} damaged lines in the journal (checksum): "
                                f"their cells train again; the lines are kept in {self._place.path}.journal.damaged")

    def _row(self, sheet: str, values: dict) -> object:
        another = StoreError(f"the journal of {self._place.path} holds rows of another schema: give another --out")
        if sheet not in ("results", "tuning", "failures") or not isinstance(values, dict):
            raise another
        try:
            kind = self._kind(sheet) or self._task.row_type(values)
            added = {c.name: c.default for c in columns(kind) if c.name not in values and c.default is not MISSING}
            if set(values) | set(added) != {f.name for f in fields(kind)}:
                raise another
            return normal(kind(**values, **added))
        except ValueError as error:
            raise StoreError(f"the journal of {self._place.path} holds a row of another kind ({error}): "
                             "give another --out") from error

    def _only_fingerprint(self) -> str | None:
        found = {row.fingerprint for rows in (self.results, self.tuning) for row in rows.values()}
        if len(found) > 1:
            raise StoreError(f"{self._place.path} mixes rows of {len(found)} versions of the training code or data: "
                             "give another --out")
        return found.pop() if found else None


def note_difference(notices: list[str], held: object, other: object) -> None:
    """Say so where one identity brought two rows that differ; timings may."""
    names = differing(held, other)
    if names:
        notices.append(f"{identity_of(held)} came twice and differs in {', '.join(names)}: the first row is kept")
