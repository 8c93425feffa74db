"""How a command ends: a clear line and status 2 for what the user can mend, never a traceback for it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sweeps.store.files import StoreError

INTERRUPTED = 130  # as shells say of SIGINT


class SweepError(RuntimeError):
    """The sweep can't go on; the one-line message says why. What is finished is in the store."""


def exit_status(command: Callable[[], int]) -> int:
    """The command's own status; 2 where it is refused or can't go on, 130 on Ctrl-C or SIGTERM.

    Refusals are ValueErrors: of a bad value, ConnectError, DatasetError.
    """
    try:
        with _sigterm_interrupts():
            return command()
    except (ValueError, StoreError, SweepError) as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; every finished cell is kept, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def leave(status: int) -> NoReturn:
    """End the process: one signal while Python shuts down, which takes it half a second, no longer changes the status."""
    def once(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # whoever asks again means it: something hangs

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, once)
    sys.exit(status)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, which schedulers and pre-empted machines send, is Ctrl-C to a command; elsewhere Python dies of it unheard."""
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    with handled(interrupt, signal.SIGTERM):
        yield


@contextmanager
def handled(handle: Callable, *numbers: int) -> Iterator[None]:
    """These signals go to `handle` meanwhile; for the main thread."""
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
