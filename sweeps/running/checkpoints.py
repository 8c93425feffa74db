"""States that long runs save: beside the table, where any node's next attempt finds them.

The files are written on the driver's machine (or its bucket) by an actor that lives there, because a worker's
node may vanish with all that is on it. A state is plain data, read back without running any code of the file's.
"""

import hashlib
import io
import math
import os
import time
from collections.abc import Sequence

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.jobs.job import Job
from sweeps.store.recovery import place_of
from trainers.columns import identity_of

EVERY_S = 60.0   # between two states of a run, unless told otherwise


def key_of(cells: Sequence[object], fingerprint: str) -> str:
    """Names the run: its cells and the code that trains them."""
    text = repr((fingerprint, [tuple(identity_of(cell)._asdict().items()) for cell in cells]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def encoded(state: object, *, proved: bool = False) -> bytes:
    """The state as bytes; unless `proved`, read back at once. Raises ValueError where it is not plain data."""
    import torch  # here: functions that save nothing need none
    try:
        sink = io.BytesIO()
        torch.save(state, sink)
        if not proved:
            decoded(sink.getvalue())
    except Exception as error:  # pickle raises whatever the object's own methods raise
        raise ValueError("a saved state is plain data (numbers, text, bytes, lists, dicts, NumPy arrays, torch tensors): "
                         f"{str(error).splitlines()[0][:200]}") from None
    return sink.getvalue()


def decoded(data: bytes) -> object:
    """The state; torch's restricted unpickler runs nothing that the bytes ask for."""
    import torch
    from numpy._core.multiarray import _reconstruct, scalar
    numbers = (type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdgFDGSUV")
    allowed = [bytes, _reconstruct, scalar, np.ndarray, np.dtype, *numbers]
    with torch.serialization.safe_globals(allowed):
        return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def folder_of(path: str) -> str:
    """Of the states that belong to the table at path."""
    return f"{path}.saved"


class Checkpoints:
    """An actor: keeps states on the driver's machine, and passes on that the sweep is stopping."""

    def __init__(self, out: str, every_s: float):
        self._place, self._every_s, self._stopping = place_of(out), every_s, False
        self._signs: dict[str, float] = {}

    def every(self) -> float:
        return self._every_s

    def alive(self, key: str) -> bool:
        """A sign of life of that run; whether the sweep is stopping."""
        self._signs[key] = time.monotonic()
        return self._stopping

    def stop(self) -> None:
        self._stopping = True

    def write(self, key: str, data: bytes) -> None:
        self._signs[key] = time.monotonic()
        self._place.put_beside(folder_of(self._place.path), key, data)

    def read(self, key: str) -> bytes | None:
        return self._place.read(f"{folder_of(self._place.path)}/{key}")

    def drop(self, key: str) -> None:
        self._place.remove_beside(folder_of(self._place.path), key)

    def silent_for(self, key: str) -> float:
        return time.monotonic() - self._signs[key] if key in self._signs else math.inf


class SavedStates:
    """The driver's side: what the dispatcher asks about runs that save."""

    def __init__(self, out: str, *, fingerprint: str, every_s: float = EVERY_S):
        self._fingerprint = fingerprint
        out = out if "://" in out else os.path.abspath(out)   # the actor has another working directory
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.actor = ray.remote(num_cpus=0, max_restarts=3, scheduling_strategy=here)(Checkpoints).remote(out, every_s)

    def drop(self, job: Job) -> None:
        self.actor.drop.remote(key_of(job.cells, self._fingerprint))

    def last_sign(self, job: Job) -> float:
        return ray.get(self.actor.silent_for.remote(key_of(job.cells, self._fingerprint)))

    def stop(self) -> None:
        self.actor.stop.remote()

    def close(self) -> None:
        """Wait for what is under way: the actor ends with this process."""
        ray.get(self.actor.every.remote())
