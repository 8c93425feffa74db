"""What a run on a worker may ask of the sweep: its saved state, time to save, and the form of its row."""

import faulthandler
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import ray
from ray.actor import ActorHandle

from sweeps.running.checkpoints import decoded, encoded, key_of
from trainers.function import OWN
from trainers.task import Stopped, Task

ASK_EVERY_S = 2.0   # between questions to the driver's machine whether the sweep is stopping


class RunningAttempt:
    """An Attempt, as trainers.task defines it; made anew for each attempt at a job."""

    def __init__(self, task: Task, cells: Sequence[object], *, device: str, fingerprint: str, timeout_s: float,
                 checkpoints: ActorHandle | None):
        """`checkpoints`: the actor that keeps states beside the table; None for a task that saves none."""
        self.device, self.fingerprint = device, fingerprint
        self._task, self._timeout_s, self._checkpoints = task, timeout_s, checkpoints
        self._key = key_of(cells, fingerprint) if checkpoints is not None else ""
        self._began = time.perf_counter()
        self._saved_at, self._proved = time.monotonic(), False
        self._every_s = ray.get(checkpoints.every.remote()) if checkpoints is not None else math.inf
        self._asked_at, self._stopping = time.monotonic(), False

    @property
    def stopping(self) -> bool:
        if self._checkpoints is not None and not self._stopping and time.monotonic() - self._asked_at > ASK_EVERY_S:
            self._asked_at = time.monotonic()
            self._stopping = ray.get(self._checkpoints.alive.remote(self._key))
        return self._stopping

    def restored(self) -> object | None:
        if self._checkpoints is None:
            return None
        data = ray.get(self._checkpoints.read.remote(self._key))
        try:
            return None if data is None else decoded(data)
        except Exception:  # damaged, or somebody else's: the run starts afresh, and its row is the same
            return None

    def save(self, state: object) -> None:
        self._sign_of_life()
        if self._checkpoints is None:
            return
        stopping = self.stopping
        if not stopping and time.monotonic() - self._saved_at < self._every_s:
            return
        ray.get(self._checkpoints.write.remote(self._key, encoded(state() if callable(state) else state, proved=self._proved)))
        self._saved_at, self._proved = time.monotonic(), True
        if stopping:
            raise Stopped

    def row(self, cell: object, **measured: object) -> object:
        own = {"wall_seconds": time.perf_counter() - self._began, "device": self._device_name(), "fingerprint": self.fingerprint}
        if self._task.row is None:   # only the driver knows what the first run returned
            return asdict(cell) | measured | own
        columns = self._task.row.__dataclass_fields__
        return self._task.row(**asdict(cell), **measured, **{name: own[name] for name in OWN if name in columns and name not in measured})

    def _device_name(self) -> str:
        torch = sys.modules.get("torch")
        if self.device == "cuda" and torch is not None:
            return torch.cuda.get_device_name()
        return self.device

    def _sign_of_life(self) -> None:
        """The deadline counts from here."""
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=sys.__stderr__)
