"""The durable table under every sweep: one Parquet, and a journal that no crash can tear.

A finished row is a line in the journal within the call that brings it. The journal is folded into
the Parquet when it holds a quarter of the table, so that n rows cost O(n) bytes in all; the fold
writes a whole new file and only then drops the journal. A crash between the two leaves rows in
both, and they are told apart by their identity.
"""

import atexit
import json
import os
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

from sweeps.store.bucket import LeaseLost
from sweeps.store.files import StoreError
from sweeps.store.journal import encode
from sweeps.store.recovery import Place, Recovery, Snapshot, note_difference, place_of, table_path
from sweeps.store.rows import Kind, failure_type, normal, printable, to_parquet
from trainers.columns import identity_of

FOLD_ROWS = 64       # the journal may always grow to this: small tables are cheap, and early readers see rows
FOLD_SHARE = 0.25    # and to this share of the table: a row is written about 5 times in all, however many there are


def open_store(out: str | os.PathLike, *, task: Kind, provenance: dict, fingerprint: str | None = None) -> "Store":
    """The table at out, locked, with every row that any earlier run finished.

    Raises StoreError where another sweep holds it, where it is no table of the task, where its
    rows carry another fingerprint, and where it can't be read or written.
    """
    place = place_of(out)
    place.acquire()
    try:
        return Store(place, json.loads(json.dumps(provenance)), fingerprint, task)
    except BaseException:
        place.release()
        raise


def read_store(out: str | os.PathLike, *, task: Kind) -> Snapshot:
    """What the store at out holds now. Takes no lock and writes nothing: a sweep may be running.

    Raises StoreError where there is no table of the task.
    """
    found = Recovery(place_of(out), task)
    if not (found.has_table or found.has_journal):
        raise StoreError(f"{out} does not exist: give the table of a sweep")
    return Snapshot(results=found.results, tuning=found.tuning, failures=found.failures,
                    notices=found.notices, runs=found.runs, fingerprint=found.fingerprint)


class Store:
    """An open table. Rows come in from any thread; made by open_store, ended by close or a with block."""

    def __init__(self, place: Place, provenance: dict, fingerprint: str | None, task: Kind):
        self._place, self._provenance, self._task = place, provenance, task
        self._lock = threading.RLock()
        found = Recovery(place, task)
        if None not in (fingerprint, found.fingerprint) and fingerprint != found.fingerprint:
            raise StoreError(f"{place.path} holds rows of another version of the training code or data "
                             f"({found.fingerprint}, now {fingerprint}), which may differ in their bits: give another --out")
        self._fingerprint = fingerprint or found.fingerprint
        self._results, self._tuning, self._failures = found.results, found.tuning, found.failures
        self.notices, self._runs, self._stale = found.notices, found.runs, found.stale
        self._journalled = 0
        if not found.has_table and task.row is not None:
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
        atexit.register(self._end_keeper)   # a thread that lives into the interpreter's end aborts it

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
    def fingerprint(self) -> str | None:
        """Of all its rows, and of those to come; None while nobody has said it."""
        return self._fingerprint

    @property
    def results(self) -> Mapping[NamedTuple, object]:
        return MappingProxyType(self._results)

    @property
    def tuning(self) -> Mapping[NamedTuple, object]:
        return MappingProxyType(self._tuning)

    @property
    def failures(self) -> Mapping[NamedTuple, object]:
        return MappingProxyType(self._failures)

    def append(self, result: object) -> bool:
        """Keep a finished row; False where its identity is held already, whose row stays.

        Raises StoreError where it can't be kept, ValueError where it could not be read back.
        """
        return self._append("results", self._results, result)

    def append_tuning(self, result: object) -> bool:
        """The same for a tuning trial, in the table beside."""
        return self._append("tuning", self._tuning, result)

    def _append(self, sheet: str, rows: dict, result: object) -> bool:
        if type(result) is not self._task.row:
            raise TypeError(f"this store keeps rows of {self._task.name}, not {type(result).__name__}")
        row = normal(result)
        key = identity_of(row)
        with self._lock:
            self._check_writable()
            if key in rows:
                note_difference(self.notices, rows[key], row)
                return False
            if self._fingerprint not in (None, row.fingerprint):
                raise StoreError(f"a row of another version of the training code or data ({row.fingerprint}) "
                                 f"does not go into {self._place.path} ({self._fingerprint}): give another --out")
            # Held before it is journalled: a Ctrl-C between the two leaves it to the fold.
            rows[key] = row
            try:
                self._journal(sheet, row)
            except StoreError:
                del rows[key]
                raise
            self._fingerprint = row.fingerprint
            if self._failures.pop(key, None) is not None:
                self._stale.add("failures")
            self._fold_when_due()
        return True

    def fail(self, failure: object) -> None:
        """Keep a failure, in place of an older one of that identity; a finished row stays finished."""
        row = normal(printable(failure))
        key = identity_of(row)
        with self._lock:
            self._check_writable()
            if key not in self._results and key not in self._tuning:
                self._journal("failures", row)
                self._failures[key] = row
                self._fold_when_due()

    def _journal(self, sheet: str, row: object) -> None:
        self._stale.add(sheet)
        self._journalled += 1
        self._place.append(encode(sheet, row))

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
                kind = failure_type(self._task.cell) if sheet == "failures" else self._task.row
                rows = getattr(self, f"_{sheet}").values()
                self._place.replace(table_path(self._place.path, sheet), to_parquet(rows, kind, runs, self._task.name))
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

    def _end_keeper(self) -> None:
        atexit.unregister(self._end_keeper)
        self._stop.set()
        self._keeper.join()

    def close(self) -> None:
        """Fold what is journalled and release the lock. Raises StoreError where that fails: the journal then stays."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._end_keeper()
            self.compact()
        finally:
            self._place.release()
