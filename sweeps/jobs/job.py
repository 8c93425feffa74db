"""A piece of work for one trial: what it will yield, what it costs, and how to do it."""

from dataclasses import asdict, dataclass, replace
from typing import Protocol

from sweeps.store.rows import Identity, identity
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.network import flops_per_image
from trainers.mnist.results import Result
from trainers.mnist.train import DeviceImages, attempt, steps_of, train

PER_BUDGET = "per-budget"  # the protocol in which every data budget has its own schedule


@dataclass(frozen=True)
class Cost:
    """What a job will cost, known before it runs."""

    steps: int
    flops: float        # of training, forward and backward
    evaluations: int    # passes over the validation set
    eval_flops: float   # of all of them

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.steps + other.steps, self.flops + other.flops,
                    self.evaluations + other.evaluations, self.eval_flops + other.eval_flops)


@dataclass(frozen=True)
class Shape:
    """As much of a data set as a plan needs."""

    train: int    # images
    val: int
    classes: int


class Job(Protocol):
    """Anything a trial can do; it travels to the worker, so it is plain, frozen data."""

    table: str  # "results" or "tuning": where its rows belong

    def identities(self) -> tuple[Identity, ...]:
        """Of the rows it will yield."""

    def cost(self, shape: Shape) -> Cost: ...

    def run(self, images: DeviceImages) -> list[Result]: ...

    def describe(self) -> dict:
        """What a logger or a person wants to know it by: names and plain values."""


@dataclass(frozen=True)
class CellJob:
    """Train one cell: one row."""

    cell: Cell
    recipe: Recipe
    table: str = "results"
    protocol: str = PER_BUDGET

    def identities(self) -> tuple[Identity, ...]:
        return (identity(self.cell, self.recipe, self.protocol),)

    def cost(self, shape: Shape) -> Cost:
        """Raises ValueError where the fraction holds fewer images than a batch."""
        steps = steps_of(self.cell.fraction, self.recipe.batch_size, shape.train)
        return training_cost(self.cell.width, steps, self.recipe.batch_size, shape)

    def run(self, images: DeviceImages) -> list[Result]:
        row = (attempt if self.table == "tuning" else train)(self.cell, self.recipe, images)
        return [replace(row, protocol=self.protocol)]

    def describe(self) -> dict:
        return {**asdict(self.cell), **asdict(self.recipe), "protocol": self.protocol}


def training_cost(width: float, steps: int, batch_size: int, shape: Shape, *, evaluations: int = 1) -> Cost:
    """Of `steps` steps and so many passes over the validation set."""
    image = flops_per_image(width, shape.classes)
    return Cost(steps=steps, flops=float(steps * batch_size * image), evaluations=evaluations,
                eval_flops=evaluations * shape.val * image / 3.0)  # a forward pass is about a third
