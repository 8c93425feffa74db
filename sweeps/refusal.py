"""How a command ends: a clear line and status 2 for what the user can mend, never a traceback for it."""

import sys
from collections.abc import Callable

from sweeps.places import StoreError

INTERRUPTED = 130  # as shells say of SIGINT


class SweepError(RuntimeError):
    """The sweep can't go on; the one-line message says why. What is finished is in the store."""


def exit_status(command: Callable[[], int]) -> int:
    """The command's own status; 2 where it is refused or can't go on, 130 on Ctrl-C.

    Refusals are ValueErrors: of a bad value, ConnectError, DatasetError.
    """
    try:
        return command()
    except (ValueError, StoreError, SweepError) as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; every finished cell is kept, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
