"""Where a store lies on a file system: locked, replaced and appended to so that no crash can tear it."""

import errno
import json
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from stat import S_ISREG

import filelock


class StoreError(RuntimeError):
    """The table can't be opened, read or written; the one-line message says what is wrong and how to mend it."""

    def __init__(self, message: str):
        # One line whatever a file's name, column or metadata tries to print.
        super().__init__("".join(c if c.isprintable() else " " for c in message))


@dataclass(frozen=True)
class Owner:
    """The process that holds a table, told to whoever comes second."""

    pid: int
    host: str
    started: str   # ISO 8601, UTC
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started} ({self.command})"


def this_process() -> Owner:
    return Owner(pid=os.getpid(), host=socket.gethostname(), command=" ".join(sys.argv)[:200],
                 started=datetime.now(timezone.utc).isoformat(timespec="seconds"))


def held_by(path: str, owner: Owner | str) -> StoreError:
    return StoreError(f"{path} is held by another sweep: {owner}; wait for it, stop it, or give another --out")


JUST_STARTING = "one that is just starting or ending"


def _dead(owner: Owner) -> bool:
    if os.name == "nt" or owner.host != socket.gethostname():   # there os.kill ends the process that it asks for
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


class LocalPlace:
    """A table at a path, NFS included.

    Beside it, while a sweep holds it: .lock (an advisory lock, which dies with its process),
    .owner (who that is), .journal, and .tmp for the length of a write.
    """

    sync_seconds = 1.0   # a row may wait so long for fsync: a power cut loses no more than that
    patience = 0.0       # seconds for which writes may fail: a disk that failed once has lost data

    def __init__(self, out: str | os.PathLike):
        with _told(f"{out}"):
            try:
                path = Path(out).resolve()   # one table has one lock, whichever link leads to it
            except (ValueError, RuntimeError) as error:
                raise StoreError(f"--out {str(out)!r} is no path: {error}") from error
            self.path = str(path)
            if not path.parent.is_dir():
                raise StoreError(f"the folder {path.parent} of --out does not exist: make it, or give another --out")
            if path.exists() and not S_ISREG(path.stat().st_mode):
                raise StoreError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}: "
                                 "give the name of a file as --out")
        self._lock = filelock.FileLock(self.path + ".lock", timeout=0)
        self._journal = self.path + ".journal"
        self._file: int | None = None
        self._length = 0   # of the journal's whole lines; what lies beyond is a write that failed
        self._dirty = False
        self._guard = threading.Lock()   # sync() comes from another thread: the file may not be closed under it

    def acquire(self) -> None:
        """Take the lock. Raises StoreError, naming the owner, where another process has it."""
        with _told(self.path):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")   # without flock, filelock tells of its slower way
                    self._lock.acquire()
            except filelock.Timeout:
                raise held_by(self.path, self._read_owner()) from None
            except NotImplementedError as error:
                raise StoreError(f"the file system of {self.path} has no locks: give another --out") from error
            try:
                self.replace(self.path + ".owner", json.dumps(asdict(this_process())).encode())
            except BaseException:
                self._lock.release()
                raise

    def _read_owner(self) -> Owner | str:
        try:
            owner = Owner(**json.loads(self.read(self.path + ".owner")))
        except (StoreError, ValueError, TypeError):
            return JUST_STARTING
        return JUST_STARTING if _dead(owner) else owner   # a killed one's, which the next has not replaced yet

    def release(self) -> None:
        """Close the journal and give the lock back; what was not folded stays in the journal."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with suppress(OSError):
            os.unlink(self.path + ".owner")
        self._lock.release()

    def read(self, path: str) -> bytes | None:
        with _told(path):
            try:
                return Path(path).read_bytes()
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """Make data the file's contents, wholly or not at all, and on the disk before this returns."""
        temporary = path + ".tmp"   # a fixed name: the lock is held, and a crash leaves at most one
        with _told(path):
            file = _new_file(temporary)
            try:
                try:
                    _write(file, data)
                    os.fsync(file)
                finally:
                    os.close(file)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            self._sync_folder()

    def put_beside(self, folder: str, name: str, data: bytes) -> None:
        """A file in a folder beside the table, wholly or not at all; the caller is the only one that writes there."""
        with _told(folder):
            if os.path.islink(folder):
                raise StoreError(f"{folder} is a link: what is saved goes beside the table, so remove the link")
            os.makedirs(folder, exist_ok=True)
        self.replace(os.path.join(folder, name), data)

    def remove_beside(self, folder: str, name: str) -> None:
        """That file, if it is there, and the folder once it is empty."""
        with suppress(OSError):
            os.unlink(os.path.join(folder, name))
            os.rmdir(folder)

    def _sync_folder(self) -> None:
        if os.name == "nt":   # folders can't be opened there; NTFS journals its names itself
            return
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def journal(self) -> list[bytes]:
        data = self.read(self._journal)
        return [] if data is None else [data]

    def append(self, line: bytes) -> None:
        """Add a line: at once safe from the death of this process, after sync() from that of the machine."""
        with _told(self.path):
            if self._file is None:
                self._file = _new_file(self._journal)
                self._sync_folder()
            try:
                os.lseek(self._file, self._length, os.SEEK_SET)
                _write(self._file, line)
            except BaseException:
                # Half a line (full disk, Ctrl-C) would spoil the next one.
                with suppress(OSError):
                    os.ftruncate(self._file, self._length)
                raise
            self._length += len(line)
            self._dirty = True

    def sync(self) -> None:
        with self._guard, _told(self.path):
            if self._dirty and self._file is not None:
                self._dirty = False
                os.fsync(self._file)

    def clear(self) -> None:
        """Drop the journal: its rows are in the tables."""
        with self._guard, _told(self.path):
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._length, self._dirty = 0, False
            with suppress(FileNotFoundError):
                os.unlink(self._journal)
                self._sync_folder()


def _new_file(path: str) -> int:
    """Open a file that nobody else has: what bears its name, a crash's remains or a link to who knows where, goes."""
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        os.unlink(path)
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view):]


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn the system's errors about path into a StoreError that says how to mend them."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = (f"no space is left for {path}: free some and run the same command again; "
                       "the rows finished so far are kept")
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            message = f"{path} cannot be read or written ({error.strerror}): change its rights, or give another --out"
        else:
            message = f"{path}: {error.strerror or error}: mend that, or give another --out"
        raise StoreError(message) from error
