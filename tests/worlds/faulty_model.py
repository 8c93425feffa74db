"""A user's training function that knows nothing of the lab, and goes wrong in every way that one can.

What is wrong with a cell stands in a file of the folder that the cell is told, so that it can be mended
without another cell: NUMBER.fault holds the fault's name, and how many attempts it spoils.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np


def train(number: int, folder: str = "", seconds: float = 0.0) -> dict:
    """Cell `number` takes so long; in the folder each attempt leaves a file NUMBER-PID-TIME."""
    time.sleep(seconds)
    row = {"params": 1000 + number, "samples": 64, "flops": 1e9 / 3 + number, "gap": 2.0 * number, "val_loss": 1 / (number + 7)}
    if folder:
        Path(folder, f"{number}-{os.getpid()}-{time.time_ns()}").touch()
        spoilt = Path(folder, f"{number}.fault")
        if spoilt.exists():
            fault, times = spoilt.read_text().split()
            if attempts(folder, number) <= int(times):
                return FAULTS[fault](row, folder)
    return row


def attempts(folder: str | os.PathLike, number: int) -> int:
    return len(list(Path(folder).glob(f"{number}-*")))


def spoil(folder: str | os.PathLike, number: int, fault: str, times: int = 10**9) -> None:
    """Have the next `times` attempts at the cell go wrong."""
    Path(folder, f"{number}.fault").write_text(f"{fault} {times}")


def mend(folder: str | os.PathLike) -> None:
    for file in Path(folder).glob("*.fault"):
        file.unlink()


def _raise(row, folder):
    raise LookupError("<b>no such cell</b>\nsecond line")


def _exhaust(row, folder):
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**36, limits[1]))
    try:
        return {"val_loss": np.ones(2**34).sum()}   # 128 GiB
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _devour(row, folder):
    """Until the kernel ends it: its memory cgroup, which the test has limited, is named in the folder."""
    Path(Path(folder, "cgroup").read_text(), "cgroup.procs").write_text(str(os.getpid()))
    hoard = []
    while True:
        hoard.append(np.ones(2**20))


def _gobble(row, folder):
    """8 GiB, held: more than the test's threshold for Ray's memory monitor."""
    hoard = [np.ones(2**27) for _ in range(8)]
    time.sleep(30)
    return row if hoard else {}


def _hang(row, folder):
    while True:
        time.sleep(1)


def _hang_in_c(row, folder):
    """With the interpreter's lock held: no Python thread of this process runs again."""
    ctypes.PyDLL(None).sleep(10**6)


def _segfault(row, folder):
    ctypes.string_at(0)


def _kill(row, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def _chat(row, folder):
    for _ in range(20_000):
        print("x" * 500)
        print("y" * 500, file=sys.stderr)
    return row


FAULTS = {
    "raise": _raise,
    "exit": lambda row, folder: sys.exit(3),
    "exhaust": _exhaust, "devour": _devour, "gobble": _gobble,
    "hang": _hang, "hang_in_c": _hang_in_c,
    "segfault": _segfault, "kill": _kill,
    "chat": _chat,
    "nan": lambda row, folder: row | {"val_loss": float("nan")},
    "nan_elsewhere": lambda row, folder: row | {"flops": float("nan")},
    "infinite": lambda row, folder: row | {"val_loss": float("inf")},
    "nothing": lambda row, folder: None,
    "no_loss": lambda row, folder: {"params": 5},
    "other_keys": lambda row, folder: row | {"surprise": 1.0},
    "array": lambda row, folder: row | {"flops": np.ones(3)},
    "text": lambda row, folder: row | {"gap": "many"},
    "of_another_cell": lambda row, folder: row | {"number": -1},
    "unprintable": lambda row, folder: row | {"gap": "\udcff"},
}
