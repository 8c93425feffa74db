"""A user's own file: a function that keeps a core busy, and knows nothing of the lab."""

import time


def spin(number: int, seconds: float = 0.0) -> dict:
    """So many seconds of CPU time: work as steady as work can be. With 0 an empty cell."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return {"loss": 1.0, "core_seconds": seconds}
