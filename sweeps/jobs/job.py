"""A piece of work for one trial: the cells that one run trains, and the table that their rows go to."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from trainers.columns import identity_of
from trainers.task import Task

TABLES = ("results", "tuning")


@dataclass(frozen=True)
class Job:
    """Plain, frozen data: it identifies what is out, and is found again in the table."""

    cells: tuple
    table: str = "results"

    def identities(self) -> tuple[NamedTuple, ...]:
        """Of the rows that it will yield."""
        return tuple(identity_of(cell) for cell in self.cells)

    def describe(self) -> dict:
        """What a logger or a person wants to know it by: names and plain values."""
        return asdict(self.cells[0]) | ({"cells": len(self.cells)} if len(self.cells) > 1 else {})


def jobs_of(task: Task, cells: list, *, table: str = "results", most: int = 1) -> list[Job]:
    """The cells as the task puts them together, at most `most` in a run where it may choose.

    Put together from all cells that are asked for, done or not, so that a run that goes on after a crash
    has the company that it had before: on a GPU that decides the last bits.
    """
    return [Job(tuple(together), table) for together in task.runs(cells, most=most)]
