"""What runs on a node: a Tune trainable that does one job a trial and keeps its actor for the next."""

import faulthandler
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch
from ray import tune

from sweeps.jobs.job import Job
from trainers.mnist.images import Images
from trainers.mnist.train import Diverged, put_on


class JobTrainable(tune.Trainable):
    """One job a trial. Its one result holds either `rows` or a `failure`; it never raises."""

    def setup(self, config: dict, images: Images, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        # cuDNN picks kernels by timing them unless told not to: another pick, other bits.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        self.images = put_on(images, "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        if device == "cuda" and self.images.train_images.device.type != "cuda":
            raise RuntimeError("--device cuda, but torch sees no GPU in this trial: give trials a share by --gpus-per-trial")

    def reset_config(self, new_config: dict) -> bool:
        self.config = new_config
        return True

    def step(self) -> dict:
        job: Job = self.config["job"]
        # Left alone, cuDNN's convolutions take float32 for TF32, and the row would not know.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = self.config.get("precision") == "tf32"
        began = time.perf_counter()
        try:
            with _deadline(self.config["timeout_s"]):
                rows = [asdict(row) for row in job.run(self.images)]
            _check(rows)
        except Exception as error:  # the boundary: whatever a job raises becomes a row of failures
            return {"done": True, "job_seconds": time.perf_counter() - began, "failure": {
                "kind": "diverged" if isinstance(error, Diverged) else "raised",
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(), "host": socket.gethostname()}}
        return {"done": True, "job_seconds": time.perf_counter() - began, "rows": rows,
                **{k: v for k, v in rows[-1].items() if isinstance(v, (int, float))}}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a cell is seconds long, and finished rows are kept by the driver's store."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing was saved."""


def _check(rows: list[dict]) -> None:
    """Raises ValueError for what would pass as finished and is not: no row, or one with a number that is none."""
    if not rows:
        raise ValueError("the job yielded no row")
    for row in rows:
        if odd := [name for name, value in row.items() if value != value]:
            raise ValueError(f"{', '.join(odd)} of its row is NaN")


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """End this process if the body takes longer: a watchdog thread in C, so that a hang that holds
    the interpreter's lock is ended too. The driver sees the actor die, and tries again elsewhere."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
