"""What Ray Tune is told so that thousands of short trials cost little, and print and write nothing of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from ray.tune import registry
from ray.tune.progress_reporter import TrialProgressCallback

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial would cost more than a small cell
    "TUNE_DISABLE_SIGINT_HANDLER": "1",         # ours finishes what is running
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",      # the store is our snapshot
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",    # the searcher decides how many
    "RAY_AIR_NEW_OUTPUT": "0",                  # whose banner no verbosity silences
}


@contextmanager
def class_kept_in_mind() -> Iterator[None]:
    """Tune fetches the one class that it runs from the cluster's head three times a trial, and unpickles it: once will do.

    Of an empty cell that was a seventh of the driver's time. Without the registry, which is internal to Ray, nothing is kept.
    """
    held = getattr(registry, "_global_registry", None)
    kept = [name for name in ("contains", "get") if hasattr(held, name)]
    for name in kept:
        setattr(held, name, cache(getattr(held, name)))
    try:
        yield
    finally:
        for name in kept:
            delattr(held, name)


class Quiet(TrialProgressCallback):
    """In the place of Tune's own, which says on the terminal that a trial stopped early has completed."""

    def log_result(self, *_: object, **__: object) -> None:
        """Nothing: the watcher shows what is to be seen."""

    def on_trial_complete(self, *_: object, **__: object) -> None:
        """Nothing."""


class Unpickled(list):
    """Callbacks that Tune may use, but not pickle into a snapshot: loggers hold files and threads."""

    def __reduce__(self) -> tuple:
        return list, ()
