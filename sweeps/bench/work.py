"""Jobs to measure orchestration with: each knows what it took itself."""

import time
from dataclasses import dataclass, replace

from trainers.mnist.results import Result

from sweeps.jobs.job import CellJob, Cost, Shape
from sweeps.store.rows import Identity, identity
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.train import DeviceImages

SPUN = "benchmark"  # the protocol of rows that nobody trained


@dataclass(frozen=True)
class Spin:
    """Keep a core busy for so many seconds of CPU time: work as steady as work can be."""

    number: int
    seconds: float
    table: str = "results"

    def identities(self) -> tuple[Identity, ...]:
        return (identity(*self._place(), SPUN),)

    def cost(self, shape: Shape) -> Cost:
        return Cost(steps=1, flops=0.0, evaluations=0, eval_flops=0.0)

    def run(self, images: DeviceImages) -> list[Result]:
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        cell, recipe = self._place()
        return [Result(**vars(cell), **vars(recipe), protocol=SPUN, channels=0, params=0, samples=0, steps=0, flops=0.0,
                       spent_flops=0.0, train_loss=0.0, val_loss=0.0, val_accuracy=0.0, train_seconds=self.seconds,
                       device="cpu", dataset=images.name, fingerprint=images.fingerprint)]

    def describe(self) -> dict:
        return {"number": self.number, "seconds": self.seconds}

    def _place(self) -> tuple[Cell, Recipe]:
        return Cell(width=1.0, fraction=1.0, dropout=0.0, seed=self.number), Recipe(lr=1.0, batch_size=1)


@dataclass(frozen=True)
class Metered:
    """A real cell, whose row says what its training and its validation took of a core."""

    job: CellJob
    table: str = "results"

    def identities(self) -> tuple[Identity, ...]:
        return self.job.identities()

    def cost(self, shape: Shape) -> Cost:
        return self.job.cost(shape)

    def run(self, images: DeviceImages) -> list[Result]:
        began = time.thread_time()
        rows = self.job.run(images)
        return [replace(row, train_seconds=(time.thread_time() - began) / len(rows)) for row in rows]

    def describe(self) -> dict:
        return self.job.describe()
