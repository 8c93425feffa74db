"""Rows for the store's tests, and the processes that the tests kill."""

import itertools
import json
import os
import sys
import time
from dataclasses import MISSING, fields
from pathlib import Path

from sweeps.store import files as places
from sweeps.store import store
from sweeps.store.rows import TableKind, failure_type
from sweeps.store.store import Store, open_store
from trainers.columns import identity_of
from trainers.mnist.cell import Result

TASK = TableKind(Result, "mnist")   # what the store needs of a task; trainers.mnist.task would import torch into every process

PROVENANCE = {"command": "a sweep"}


def result(i: int, **changes: object) -> Result:
    """Row i of a made-up sweep: equal for equal i, its floats without a short decimal form."""
    row = dict(width=2 ** (i % 7 / 2), fraction=0.5 ** (i % 3), dropout=0.2 * (i % 2), seed=i, lr=1e-3 / (1 + i % 5),
               batch_size=64, protocol="per-budget", channels=4 + i % 7, params=1000 + i, samples=3712, steps=58,
               flops=1e9 / 3 + i, spent_flops=1e9 / 7, train_loss=1 / (i + 3), val_loss=1 / (i + 7), val_accuracy=0.9,
               train_seconds=0.25, device="cpu", dataset="mnist", fingerprint="f")
    other = {f.name: f.type(1) for f in fields(Result) if f.name not in row and f.default is MISSING}
    return Result(**other | row | changes)


def failure(i: int, **changes: object) -> object:
    """The failure of the cell whose finished row is result(i)."""
    details = dict(kind="raised", error="ValueError: no", traceback="Traceback ...", host="h", attempts=3, time=1e9 + i)
    return failure_type(TASK.cell)(**identity_of(result(i))._asdict(), **details | changes)


def sweep(opened: Store, n: int, acknowledge: object = lambda i: None) -> None:
    """What the store lacks of n results, n // 3 tuning trials and a lasting failure; some fail first."""
    for i in range(n):
        row = result(i)
        if identity_of(row) not in opened.results:
            if i % 4 == 0:
                opened.fail(failure(i))
            opened.append(row)
            acknowledge(i)
        trial = result(1000 + i)
        if i % 3 == 0 and identity_of(trial) not in opened.tuning:
            opened.append_tuning(trial)
    opened.fail(failure(5000))


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def append_until_killed(out: str, pause: float) -> None:
    """Append rows for ever, printing each one's number when the store has it."""
    with open_store(out, task=TASK, provenance=PROVENANCE, fingerprint="f") as opened:
        start = len(opened.results)
        print("open", flush=True)
        for i in itertools.count(start):
            opened.append(result(i))
            print(i, flush=True)
            time.sleep(pause)


def die_at_call(out: str, n: int, fold_rows: int, k: int, half_write: bool) -> None:
    """Sweep, and vanish just before the k-th system call that changes the disk.

    With half_write, a write that is reached last puts half its bytes first. Exit status: 0 where
    the sweep ends before the k-th call, 8 after half a write, else 9. Rows acknowledged are
    noted in out + ".acks".
    """
    acks = open(out + ".acks", "a", buffering=1)
    store.FOLD_ROWS = fold_rows
    calls = itertools.count(1)

    def fatal(name: str) -> object:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            if next(calls) == k:
                if name == "write" and half_write:
                    real(args[0], bytes(args[1])[:len(args[1]) // 2])
                    os._exit(8)
                os._exit(9)
            return real(*args, **kwargs)
        return call

    def acknowledge(i: int) -> None:
        acks.write(f"{i}\n")

    for name in ("open", "write", "fsync", "replace", "unlink", "ftruncate", "close"):
        setattr(os, name, fatal(name))
    places.LocalPlace.sync_seconds = 3600.0   # calls from a clock's thread could not be counted
    with open_store(out, task=TASK, provenance=PROVENANCE, fingerprint="f") as opened:
        sweep(opened, n, acknowledge)
    os._exit(0)


def die_when_told() -> None:
    """For each line of arguments for die_at_call: do that in a fork, print how it ended."""
    import pandas  # noqa: F401  pyarrow does so at its first array: once here, not in every fork

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                die_at_call(**json.loads(line))
            finally:
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        append_until_killed(sys.argv[1], float(sys.argv[2]))
    else:
        die_when_told()
