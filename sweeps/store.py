"""The durable table under every sweep: one Parquet, and a journal that no crash can tear.

A finished row is a line in the journal within the call that brings it. The journal is folded into
the Parquet when it holds a quarter of the table, so that n rows cost O(n) bytes in all; the fold
writes a whole new file and only then drops the journal. A crash between the two leaves rows in
both, and they are told apart by their identity.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Self
from urllib.parse import unquote, urlsplit

from sweeps.journal import Replay, decode, encode
from sweeps.objects import LeaseLost, ObjectPlace
from sweeps.places import LocalPlace, StoreError
from sweeps.rows import (
    Failure,
    Identity,
    NotOurTable,
    differing,
    from_parquet,
    identity_of,
    normal,
    printable,
    to_parquet,
)
from trainers.results import Result

FOLD_ROWS = 64       # the journal may always grow to this: small tables are cheap, and early readers see rows
FOLD_SHARE = 0.25    # and to this share of the table: rows are written 1 / 0.25 + 1 = 5 times over a sweep

Place = LocalPlace | ObjectPlace


@dataclass(frozen=True)
class Snapshot:
    """What a store holds at one moment, tables and journal together."""

    results: Mapping[Identity, Result]
    tuning: Mapping[Identity, Result]
    failures: Mapping[Identity, Failure]
    notices: list[str]   # what was damaged, and what that costs
    runs: list[dict]     # provenance of each run that wrote rows, oldest first
    fingerprint: str | None


def table_path(path: str, sheet: str) -> str:
    """results.parquet -> itself for the results, results.tuning.parquet for the tuning trials."""
    if sheet == "results":
        return path
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{sheet}.{suffix}" if dot and "/" not in suffix else f"{path}.{sheet}"


def open_store(out: str | os.PathLike, *, provenance: dict, fingerprint: str | None = None,
               row_type: type = Result) -> "Store":
    """The table at out, locked, with every row that any earlier run finished.

    Raises StoreError where another sweep holds it, where it is no table of row_type, where its
    rows carry another fingerprint, and where it can't be read or written.
    """
    place = place_of(out)
    place.acquire()
    try:
        return Store(place, json.loads(json.dumps(provenance)), fingerprint, row_type)
    except BaseException:
        place.release()
        raise


def read_store(out: str | os.PathLike, *, row_type: type = Result) -> Snapshot:
    """What the store at out holds now. Takes no lock and writes nothing: a sweep may be running.

    Raises StoreError where there is no table of row_type.
    """
    recovery = _Recovery(place_of(out), row_type)
    if not recovery.exists:
        raise StoreError(f"{out} does not exist: give the table of a sweep")
    return Snapshot(results=recovery.results, tuning=recovery.tuning, failures=recovery.failures,
                    notices=recovery.notices, runs=recovery.runs, fingerprint=recovery.fingerprint)


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


class _Recovery:
    """Reads tables and journal; the journal first, since a fold moves rows from it to the tables."""

    def __init__(self, place: Place, row_type: type):
        self._place, self._row_type = place, row_type
        self.notices: list[str] = []
        chunks = place.journal()
        replays = [decode(chunk) for chunk in chunks]
        self.has_journal = bool(chunks)
        self.damaged = [line for replay in replays for line in replay.damaged]
        self.exists = self.has_journal
        self.stale: set[str] = set()   # sheets whose Parquet lacks something
        self.runs: list[dict] = []
        self.results = self._table("results", row_type)
        self.tuning = self._table("tuning", row_type)
        self.failures = self._table("failures", Failure)
        for replay in replays:
            self._replay(replay)
        for key in [key for key in self.failures if key in self.results or key in self.tuning]:
            del self.failures[key]
            self.stale.add("failures")
        self.fingerprint = self._only_fingerprint()

    def _table(self, sheet: str, row_type: type) -> dict:
        path = table_path(self._place.path, sheet)
        data = self._place.read(path)
        if data is None:
            return {}
        try:
            table = from_parquet(data, row_type)
        except NotOurTable as error:
            raise StoreError(f"{path} is not this sweep's table: {error}; give another --out") from error
        if sheet == "results":
            self.exists, self.runs = True, table.runs
        rows = {}
        for row in table.rows:
            self._add(rows, row)
        return rows

    def _add(self, rows: dict, row: Result | Failure) -> bool:
        key = identity_of(row)
        held = rows.setdefault(key, row)
        if held is not row:
            note_difference(self.notices, held, row)
        return held is row

    def _replay(self, replay: Replay) -> None:
        for entry in replay.entries:
            row = self._row(entry.sheet, entry.row)
            if entry.sheet == "failures":
                self.failures[identity_of(row)] = row
                self.stale.add("failures")
            elif self._add(getattr(self, entry.sheet), row):
                self.stale.add(entry.sheet)
        if replay.torn:
            self.notices.append("the journal's last line was cut short by a crash and is dropped: its cell trains again")
        if replay.damaged:
            self.notices.append(f"{len(replay.damaged)} damaged lines in the journal (checksum): "
                                f"their cells train again; the lines are kept in {self._place.path}.journal.damaged")

    def _row(self, sheet: str, values: dict) -> Result | Failure:
        kind = {"results": self._row_type, "tuning": self._row_type, "failures": Failure}.get(sheet)
        if kind is None or not isinstance(values, dict) or set(values) != {f.name for f in fields(kind)}:
            raise StoreError(f"the journal of {self._place.path} holds rows of another schema: give another --out")
        try:
            return normal(kind(**values))
        except ValueError as error:
            raise StoreError(f"the journal of {self._place.path} holds a row of another kind ({error}): "
                             "give another --out") from error

    def _only_fingerprint(self) -> str | None:
        found = {row.fingerprint for rows in (self.results, self.tuning) for row in rows.values()}
        if len(found) > 1:
            raise StoreError(f"{self._place.path} mixes rows of {len(found)} versions of trainer or data set: "
                             "give another --out")
        return found.pop() if found else None


def note_difference(notices: list[str], held: Result, other: Result) -> None:
    """Say so where one identity brought two rows that differ; timings may."""
    names = differing(held, other)
    if names and isinstance(held, Result):
        notices.append(f"{identity_of(held)} came twice and differs in {', '.join(names)}: the first row is kept")


class Store:
    """An open table. Rows come in from any thread; made by open_store, ended by close or a with block."""

    def __init__(self, place: Place, provenance: dict, fingerprint: str | None, row_type: type):
        self._place, self._provenance, self._row_type = place, provenance, row_type
        self._lock = threading.RLock()
        found = _Recovery(place, row_type)
        if None not in (fingerprint, found.fingerprint) and fingerprint != found.fingerprint:
            raise StoreError(f"{place.path} holds rows of another version of trainer or data set "
                             f"({found.fingerprint}, now {fingerprint}): give another --out")
        self._fingerprint = fingerprint or found.fingerprint
        self._results, self._tuning, self._failures = found.results, found.tuning, found.failures
        self.notices, self._runs, self._stale = found.notices, found.runs, found.stale
        self._journalled = 0
        if not found.exists or place.read(place.path) is None:
            self._stale.add("results")
        self._set_aside(found.damaged)
        self.compact()
        if found.has_journal:
            place.clear()
        self._broken: StoreError | None = None
        self._failing_since: float | None = None
        self._stop = threading.Event()
        self._closed = False
        self._keeper = threading.Thread(target=self._keep, name="store", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except StoreError as second:
            if error is None:
                raise
            error.add_note(str(second))

    @property
    def results(self) -> Mapping[Identity, Result]:
        return MappingProxyType(self._results)

    @property
    def tuning(self) -> Mapping[Identity, Result]:
        return MappingProxyType(self._tuning)

    @property
    def failures(self) -> Mapping[Identity, Failure]:
        return MappingProxyType(self._failures)

    def append(self, result: Result) -> bool:
        """Keep a finished row; False where its identity is held already, whose row stays.

        Raises StoreError where it can't be kept, ValueError where it could not be read back.
        """
        return self._append("results", self._results, result)

    def append_tuning(self, result: Result) -> bool:
        """The same for a tuning trial, in the table beside."""
        return self._append("tuning", self._tuning, result)

    def _append(self, sheet: str, rows: dict, result: Result) -> bool:
        if type(result) is not self._row_type:
            raise TypeError(f"this store keeps {self._row_type.__name__}, not {type(result).__name__}")
        row = normal(result)
        key = identity_of(row)
        with self._lock:
            self._check_writable()
            if key in rows:
                note_difference(self.notices, rows[key], row)
                return False
            if self._fingerprint not in (None, row.fingerprint):
                raise StoreError(f"a row of another version of trainer or data set ({row.fingerprint}) "
                                 f"does not go into {self._place.path} ({self._fingerprint}): give another --out")
            self._journal(sheet, row)
            self._fingerprint = row.fingerprint
            rows[key] = row
            if self._failures.pop(key, None) is not None:
                self._stale.add("failures")
            self._fold_when_due()
        return True

    def fail(self, failure: Failure) -> None:
        """Keep a failure, in place of an older one of that identity; a finished row stays finished."""
        row = normal(printable(failure))
        key = identity_of(row)
        with self._lock:
            self._check_writable()
            if key not in self._results and key not in self._tuning:
                self._journal("failures", row)
                self._failures[key] = row
                self._fold_when_due()

    def _journal(self, sheet: str, row: Result | Failure) -> None:
        self._place.append(encode(sheet, row))
        self._journalled += 1
        self._stale.add(sheet)

    def _check_writable(self) -> None:
        if self._closed:
            raise StoreError(f"{self._place.path} is closed")
        if self._broken is not None:
            raise StoreError(str(self._broken)) from self._broken

    def _fold_when_due(self) -> None:
        rows = len(self._results) + len(self._tuning) + len(self._failures)
        if self._failing_since is None and self._journalled > max(FOLD_ROWS, FOLD_SHARE * rows):
            try:
                self.compact()
            except LeaseLost:
                raise
            except StoreError:
                # The row is journalled; the keeper decides for how long failing is borne.
                if self._place.patience == 0:
                    raise
                self._failing_since = time.monotonic()

    def flush(self) -> None:
        """Return when every row that came in is on the medium, which it is within sync_seconds anyway."""
        with self._lock:
            self._check_writable()
            self._place.sync()

    def compact(self) -> None:
        """Fold the journal into the Parquet files. With nothing new, no byte of theirs changes."""
        with self._lock:
            runs = self._runs
            if self._stale & {"results", "tuning"} and (not runs or runs[-1] != self._provenance):
                runs = [*runs, self._provenance]
            for sheet in sorted(self._stale):
                kind = Failure if sheet == "failures" else self._row_type
                rows = getattr(self, f"_{sheet}").values()
                self._place.replace(table_path(self._place.path, sheet), to_parquet(rows, kind, runs))
            self._runs = runs
            self._stale.clear()
            if self._journalled:
                self._place.clear()
                self._journalled = 0

    def _set_aside(self, damaged: list[bytes]) -> None:
        if damaged:
            path = self._place.path + ".journal.damaged"
            kept = self._place.read(path) or b""
            self._place.replace(path, kept + b"".join(line + b"\n" for line in damaged))

    def _keep(self) -> None:
        """In a thread: bring rows to the medium in time, and bear failures for as long as the place allows."""
        while not self._stop.wait(self._place.sync_seconds):
            try:
                self._place.sync()
                self._failing_since = None
            except LeaseLost as error:
                self._broken = error
                return
            except StoreError as error:
                self._failing_since = self._failing_since or time.monotonic()
                if time.monotonic() - self._failing_since >= self._place.patience:
                    self._broken = error
                    return

    def close(self) -> None:
        """Fold what is journalled and release the lock. Raises StoreError where that fails: the journal then stays."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._stop.set()
        self._keeper.join()
        try:
            self.compact()
        finally:
            self._place.release()
