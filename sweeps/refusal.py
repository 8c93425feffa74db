"""How a command ends: a clear line and status 2 for what the user can mend, never a traceback for it."""

import sys
from collections.abc import Callable

INTERRUPTED = 130  # as shells say of SIGINT


def exit_status(command: Callable[[], int]) -> int:
    """The command's own status; 2 where it refuses its input (any ValueError of ours), 130 on Ctrl-C."""
    try:
        return command()
    except ValueError as refusal:  # StoreError, ConnectError, DatasetError and plain bad values
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; every finished cell is kept, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
