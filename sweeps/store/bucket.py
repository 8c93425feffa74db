"""Where a store lies in an object store (s3://, gs://), which has neither locks nor appends.

For a lock there is a lease, an object that its owner renews; for appends, small objects (segments)
in a folder of their own, each put anew with every line that it gains until it is full.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType

from sweeps.store.files import Owner, StoreError, held_by, this_process

BEAT_SECONDS = 5.0      # between two renewals of a lease
SILENT_BEATS = 3        # renewals missed until a lease counts as a dead process's
SETTLE_SECONDS = 1.0    # two sweeps that start at once both put a lease: the later put wins, seen by then
SEGMENT_BYTES = 65_536  # about 80 rows: bounds what is put anew for a row, and the number of objects


@dataclass(frozen=True)
class Lease:
    """Who holds a table, and how often it said so: a count, since clocks differ between hosts."""

    owner: Owner
    token: str    # drawn by each acquisition
    domain: str   # where the owner's pid means something: boot and pid namespace
    beat: int


class LeaseLost(StoreError):
    """Another sweep took the table over (this one was silent for too long) and must not be written over."""


class ObjectPlace:
    """A table at s3://bucket/key or gs://bucket/key; pyarrow's options follow as ?endpoint_override=…&scheme=http."""

    sync_seconds = 2.0
    patience = 600.0   # an outage of the network so long is waited out, rows kept in memory

    def __init__(self, uri: str):
        scheme, _, rest = uri.partition("://")
        if scheme not in ("s3", "gs", "gcs"):
            raise StoreError(f"--out {scheme}://… is not supported: give a path, s3://… or gs://…")
        shown = f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"   # without keys
        with _told(shown):
            try:
                self._files, self.path = FileSystem.from_uri(uri)
            except (ValueError, TypeError) as error:
                raise StoreError(f"--out {shown} is no address that pyarrow reads: {_short(error)}") from error
        if self.path.count("/") < 1 or self.path.endswith("/"):
            raise StoreError(f"--out {shown} names no object: give {scheme}://bucket/results.parquet")
        self._shown = shown
        self._segments = self.path + ".journal"
        self._token = uuid.uuid4().hex
        self._lease: Lease | None = None
        self._beaten = 0.0
        self._guard = threading.RLock()   # sync() comes from another thread
        self._uploads = ThreadPoolExecutor(max_workers=1)   # one: an interrupted upload ends before the next
        self._clear_buffer()

    def _clear_buffer(self) -> None:
        self._full: list[tuple[str, bytes]] = []   # segments that are complete and not yet put
        self._open = bytearray()                   # the segment that grows
        self._number = getattr(self, "_number", 0) + 1
        self._dirty = False

    def acquire(self) -> None:
        """Take the lease. Raises StoreError, naming the owner, where another process renews it.

        A lease that nobody renews for 15 s, or whose process is known to be dead, is taken over.
        """
        path = self.path + ".lock"
        with self._guard:
            found = self._read_lease()
            if found is not None and not _died_here(found) and self._is_renewed(found):
                raise held_by(self._shown, found.owner)
            self._lease = Lease(owner=this_process(), token=self._token, domain=_pid_domain(), beat=0)
            self._put(path, _lease_bytes(self._lease))
            time.sleep(SETTLE_SECONDS)
            now = self._read_lease()
            if now is None or now.token != self._token:
                self._lease = None
                raise held_by(self._shown, now.owner if now else "one that is just starting")
            self._beaten = time.monotonic()

    def _is_renewed(self, lease: Lease) -> bool:
        for _ in range(SILENT_BEATS * 4):
            time.sleep(BEAT_SECONDS / 4)
            now = self._read_lease()
            if now is None:
                return False
            if (now.token, now.beat) != (lease.token, lease.beat):
                return True
        return False

    def _read_lease(self) -> Lease | None:
        data = self.read(self.path + ".lock")
        try:
            fields = json.loads(data) if data else None
            return Lease(**fields | {"owner": Owner(**fields["owner"])}) if fields else None
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self._shown}.lock is no lease of a sweep: remove it, or give another --out") from error

    def _still_ours(self) -> None:
        found = self._read_lease()
        if self._lease is None or found is None or found.token != self._token:
            holder = f": {found.owner}" if found else ""
            raise LeaseLost(f"{self._shown} was taken over by another sweep{holder}; this one stops, "
                            "what it had put by then is kept")

    def release(self) -> None:
        with self._guard:
            if self._lease is not None:
                with suppress(StoreError):
                    self._still_ours()
                    self._remove(self.path + ".lock")
                self._lease = None
        self._uploads.shutdown()

    def read(self, path: str) -> bytes | None:
        with _told(self._shown):
            try:
                with self._files.open_input_stream(path) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """Make data the object's contents: an upload is seen whole or not at all."""
        with self._guard:
            self._still_ours()
            self._put(path, data)

    def put_beside(self, folder: str, name: str, data: bytes) -> None:
        """An object beside the table; the caller is the only one that writes there, and needs no lease."""
        self._put(f"{folder}/{name}", data)

    def remove_beside(self, folder: str, name: str) -> None:
        """That object, if it is there."""
        self._remove(f"{folder}/{name}")

    def _put(self, path: str, data: bytes) -> None:
        # In a thread, where no Ctrl-C strikes: a stream that is left half-way, by any exception,
        # is closed, and so puts what it has by then in place of a good object.
        with _told(self._shown):
            self._uploads.submit(self._upload, path, data).result()

    def _upload(self, path: str, data: bytes) -> None:
        with self._files.open_output_stream(path) as stream:
            stream.write(data)

    def _remove(self, path: str) -> None:
        with _told(self._shown), suppress(FileNotFoundError):
            self._files.delete_file(path)

    def journal(self) -> list[bytes]:
        with _told(self._shown):
            found = self._files.get_file_info(FileSelector(self._segments, allow_not_found=True))
        paths = sorted(info.path for info in found if info.type == FileType.File and info.size)
        return [data for path in paths if (data := self.read(path))]   # None: folded since it was listed

    def append(self, line: bytes) -> None:
        """Add a line: safe after the next sync()."""
        with self._guard:
            self._open += line
            self._dirty = True
            if len(self._open) >= SEGMENT_BYTES:
                self._full.append((self._segment(), bytes(self._open)))
                self._open.clear()
                self._number += 1

    def _segment(self) -> str:
        return f"{self._segments}/{self._token}-{self._number:08d}"

    def sync(self) -> None:
        """Put the segments that grew, renew the lease. Raises LeaseLost where it is another's."""
        with self._guard:
            if self._dirty:
                self._still_ours()
                while self._full:
                    self._put(*self._full[0])
                    del self._full[0]
                if self._open:
                    self._put(self._segment(), bytes(self._open))
                self._dirty = False
            if self._lease is not None and time.monotonic() - self._beaten >= BEAT_SECONDS:
                self._still_ours()
                self._lease = replace(self._lease, beat=self._lease.beat + 1)
                self._put(self.path + ".lock", _lease_bytes(self._lease))
                self._beaten = time.monotonic()

    def clear(self) -> None:
        """Drop the journal: its rows are in the tables."""
        with self._guard:
            self._clear_buffer()
            with _told(self._shown), suppress(FileNotFoundError):
                self._files.delete_dir(self._segments)


def _lease_bytes(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode()


def _pid_domain() -> str:
    """Where this process's pid means something; containers share a host's name, not its pids."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{socket.gethostname()}-{uuid.uuid4().hex}"   # no way to tell: dead processes are waited for


def _died_here(lease: Lease) -> bool:
    if lease.domain != _pid_domain():
        return False
    try:
        os.kill(lease.owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def _told(shown: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ArrowException) as error:
        raise StoreError(f"{shown} cannot be read or written: {_short(error)}; "
                         "check the bucket, the credentials and the region, or give another --out") from error
