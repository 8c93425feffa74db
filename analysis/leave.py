"""How a command ends."""

import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process with the status, its output written, without waiting for the interpreter.

    Arrow's threads are still starting where a table was refused at once, and to end them then aborts the process (status -6).
    """
    with suppress(BrokenPipeError):   # whoever read it has left: fit.py | head
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
