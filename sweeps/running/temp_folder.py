"""Temp folders of a driver, gone when it ends, and when it is killed gone soon: locked while it lives."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "sll-"
ABANDONED_S = 60.0   # a folder without a lock for so long is nobody's


@contextmanager
def temp_folder(parent: Path, kind: str = "") -> Iterator[Path]:
    """A folder of the driver's in `parent`; those of drivers that were killed go first."""
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX + kind, dir=parent))
    with FileLock(folder / "driver.lock"):
        try:
            yield folder
        finally:
            remove(folder, patience_s=3.0)
            remove_abandoned(parent)


def remove_abandoned(parent: Path) -> None:
    """Folders of drivers that were killed, once their daemons have ended, too: these would make them anew."""
    for left in parent.glob(f"{PREFIX}*"):
        with suppress(Timeout, OSError):  # its driver lives, or is another user's
            lock = left / "driver.lock"
            # One without a lock may have been made this moment.
            if lock.exists() or left.stat().st_mtime < time.time() - ABANDONED_S:
                with FileLock(lock, timeout=0):
                    if not _named_by_a_process(left):
                        remove(left, patience_s=0.0)


def _named_by_a_process(folder: Path) -> bool:
    """Whether a process has the folder on its command line, as Ray's daemons have; where there is no /proc, nobody can tell."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            if os.fsencode(folder) in line.read_bytes():
                return True
    return False


def remove(folder: Path, *, patience_s: float) -> None:
    """The folder and all in it. Ray's daemons outlive their driver by a second or two, and write on.

    The lock goes last: by it the next driver finds what could not be removed now.
    """
    lock, until = folder / "driver.lock", time.monotonic() + patience_s
    while True:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry != lock:
                with suppress(OSError):
                    entry.unlink()
        if all(entry == lock for entry in folder.iterdir()):
            lock.unlink(missing_ok=True)
            try:
                return folder.rmdir()
            except OSError:  # one more file, just now
                lock.touch()
        if time.monotonic() > until:
            return
        time.sleep(0.1)
