"""Cells to measure orchestration with: of a user's function, and of MNIST's task; each knows what it took itself."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.running.attempt import RunningAttempt
from trainers.lookup import task_of
from trainers.mnist.cell import Cell, Result
from trainers.mnist.images import Images
from trainers.mnist.task import Mnist
from trainers.mnist.train import DeviceImages
from trainers.task import Attempt, Task

# A file of its own that no package holds, as a user's is.
SPIN = Path(__file__).parent / "user" / "spin.py"
# A real cell of about 0.25 s of a core, a third of it validation.
SHORT_CELL = Cell(width=0.25, fraction=1 / 64, lr=0.01, batch_size=4)
CORE_SECONDS = ("core_seconds", "train_seconds")   # column with the CPU time that a cell took, of the function's rows and MNIST's


@dataclass(frozen=True)
class Work:
    """The same cells for every runner."""

    task: Task
    data: Any
    cells: tuple

    def first(self, count: int) -> "Work":
        return replace(self, cells=self.cells[:count])


class Metered(Mnist):
    """Its train_seconds are of a core, validation included."""

    def train(self, cells: Sequence[Cell], data: DeviceImages, attempt: Attempt) -> Iterable[Result]:
        began = time.thread_time()
        rows = list(super().train(cells, data, attempt))
        return [replace(row, train_seconds=(time.thread_time() - began) / len(rows)) for row in rows]


class Untrained(Mnist):
    """Rows of MNIST's 27 columns that nobody trained."""

    def train(self, cells: Sequence[Cell], data: DeviceImages, attempt: Attempt) -> Iterator[Result]:
        for cell in cells:
            yield attempt.row(cell, channels=0, params=0, samples=0, steps=0, flops=0.0, spent_flops=0.0, train_loss=1.0,
                              val_loss=1.0, val_accuracy=0.0, train_seconds=0.0, dataset=data.name)


def spun(count: int, seconds: float) -> Work:
    """Cells of the user's function."""
    task = task_of(f"{SPIN}:spin", axes=["number"])
    return Work(task, None, tuple(task.cell(number=number, seconds=seconds) for number in range(count)))


def trained(count: int, images: Images) -> Work:
    return Work(Metered(), images, tuple(replace(SHORT_CELL, seed=seed) for seed in range(count)))


def untrained(count: int, images: Images) -> Work:
    """With hardly any data, which they don't look at."""
    few = replace(images, train_images=images.train_images[:1], train_labels=images.train_labels[:1],
                  val_images=images.val_images[:1], val_labels=images.val_labels[:1])
    return Work(Untrained(), few, tuple(replace(SHORT_CELL, seed=seed) for seed in range(count)))


def run_alone(task: Task, cell: Any, data: Any) -> dict:
    """The cell's row, in this process; `data` is placed."""
    attempt = RunningAttempt(task, (cell,), device="cpu", fingerprint="", timeout_s=0.0, checkpoints=None)
    row, = task.train((cell,), data, attempt)
    return row if isinstance(row, dict) else vars(row)


def core_seconds(row: Any) -> float:
    """That the cell took, by its own account."""
    values = row if isinstance(row, dict) else vars(row)
    return next(values[name] for name in CORE_SECONDS if name in values)
