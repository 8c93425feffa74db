"""What runs on a node: a Tune trainable that does one job a trial and keeps its actor for the next."""

import faulthandler
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import ray
from ray import tune

from sweeps.running.attempt import RunningAttempt
from trainers.columns import ColumnError
from trainers.task import Diverged, Stopped, Task

OURS = "_sweep"   # key of all that is not a column, in a trial's config and in its result


class JobTrainable(tune.Trainable):
    """One job a trial. Its one result holds `rows` as far as they go, and a `failure`, or `stopped`; it never raises."""

    def setup(self, config: dict, task: Task, data: object, threads: int, device: str, fingerprint: str, folder: str,
              checkpoints: object) -> None:
        if Path(folder).is_dir():   # the driver's own, where this is its machine: a function may read a file by its name
            os.chdir(folder)
        self.task, self.device, self.fingerprint, self.checkpoints = task, _device(device), fingerprint, checkpoints
        self.data = task.place(data, self.device)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)

    def reset_config(self, new_config: dict) -> bool:
        self.config = new_config
        return True

    def step(self) -> dict:
        told = self.config[OURS]
        cells = tuple(self.task.cell(**values) for values in told["cells"])
        attempt = RunningAttempt(self.task, cells, device=self.device, fingerprint=self.fingerprint,
                                 timeout_s=told["timeout_s"], checkpoints=self.checkpoints)
        began, rows, ended = time.perf_counter(), [], {}
        try:
            with _deadline(told["timeout_s"]):
                for row in self.task.train(cells, self.data, attempt):
                    rows.append(row if isinstance(row, dict) else asdict(row))
            ended = {"rows": rows}
        except Stopped:   # what it saved is safe; rows that it had are kept
            ended = {"rows": rows, "stopped": True}
        except (Exception, SystemExit) as error:  # the boundary: whatever a job raises becomes a row of failures
            ended = {"rows": rows, "failure": {
                "kind": _kind(error), "error": str(error) if isinstance(error, ColumnError) else f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(), "host": socket.gethostname()}}
        finally:
            _free_memory()
        report = {"job_seconds": time.perf_counter() - began, "host": socket.gethostname(), **ended}
        # The numbers once more where a logger looks for them.
        return {**{k: v for k, v in (rows[-1] if rows else {}).items() if isinstance(v, (int, float))}, OURS: report, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: what a run saves goes through its Attempt, and finished rows are kept by the driver's store."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing was saved."""


def _kind(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    return "refused" if isinstance(error, ColumnError) else "raised"


def _device(wanted: str) -> str:
    """cpu or cuda, whichever the trial has. Raises RuntimeError where a GPU is wanted and there is none."""
    has = bool(ray.get_gpu_ids()) and wanted != "cpu"
    if wanted == "cuda" and not has:
        raise RuntimeError("--device cuda, but this trial has no GPU: give trials a share by --gpus-per-trial")
    return "cuda" if has else "cpu"


def _free_memory() -> None:
    """Of a GPU, what the run has let go: the next trial may live in another process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End this process if the body takes longer: a watchdog thread in C, so that a hang that holds
    the interpreter's lock is ended too. The driver sees the actor die, and tries again elsewhere."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
