"""The interface by which anything trainable is swept: a Task says what a run is told, what it yields, and how.

A sweep calls, in this order: `load` on the driver, once; `place` on each worker, once; `train` for every run.
All else has a default, and is asked on the driver before anything runs.

A plain function is made into a Task by trainers.function; the studies that the lab carries are written as
Tasks (trainers/mnist/task.py is one to imitate).
"""

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from trainers.cost import Cost, Speed
from trainers.fingerprint import data_digest, fingerprint
from trainers.script import Script, script_of


class Diverged(FloatingPointError):
    """The loss is no longer a finite number: the cell's own fault, the same whenever it is tried again."""


class Stopped(BaseException):
    """Raised by Attempt.save when the sweep is stopping and the state is safe. Not an Exception: nobody catches it by accident."""


class Attempt(Protocol):
    """What a run may ask of the sweep while it trains."""

    device: str          # "cpu" or "cuda": where the run belongs
    fingerprint: str     # of the code and the data, for the row

    @property
    def stopping(self) -> bool:
        """Whether the sweep wants to end: save, and leave."""

    def restored(self) -> Any | None:
        """The state that an earlier attempt at the same run saved last; None at the first."""

    def save(self, state: Any | Callable[[], Any]) -> None:
        """Keep the state, if it is time to: call this as often as you like. It counts as a sign of life.

        The state is plain data: numbers, text, bytes, lists, tuples, dicts, NumPy arrays, torch tensors.
        A function is called only when it is time. Raises Stopped, once the state is kept, where the
        sweep is stopping; ValueError for a state that is not plain data.
        """

    def row(self, cell: Any, **measured: object) -> Any:
        """The finished row of the cell: its own columns, these, and the clock, device and fingerprint."""


@dataclass(frozen=True)
class Tuning:
    """How the value of one choice is found: an Optuna study for each combination of the axes `by`."""

    choice: str                    # the column, positive, searched on a logarithmic scale
    low: float
    high: float
    by: tuple[str, ...]            # axes that have a value of their own
    start: float | None = None     # first value tried; None: the column's default, or the middle
    trials: int = 7                # values tried, more where the best isn't bracketed yet
    seeds: int = 2                 # runs averaged for each, on seeds that the grid does not use
    at: Mapping[str, object] = field(default_factory=dict)   # the other axes' values while tuning; default: the middle, the first of text


@dataclass(frozen=True)
class Preset:
    """A grid that comes with a task."""

    axes: Mapping[str, tuple]      # values of every axis
    seeds: int
    tuning: Tuning | None = None
    choices: Mapping[str, object] = field(default_factory=dict)   # instead of the defaults
    purpose: str = ""              # a few words, for --help


class Task:
    """Anything trainable. Subclass it, give `name`, `cell`, `row` and `train`, and whatever else you want to say."""

    name: str                    # of the task: it goes into the table, and no other task's rows go there
    cell: type                   # frozen dataclass of axes, choices and repeats: what a run is told
    row: type | None             # the cell's with measured columns and clocks; None until a function's first run
    presets: Mapping[str, Preset] = {}
    search: Mapping[str, str] = {}   # dimension by name, as `sweeps/search.py --search` reads them: {"lr": "log:3e-4"}
    search_settings: Mapping[str, object] = {}   # of every run of a search, instead of the defaults
    saves: bool = False          # whether runs call Attempt.save
    uses_gpu: bool = True        # whether a run gets a share of a GPU where there are any and nothing was said
    shipped: tuple | None = None # a user's file and the task's name in it, from which workers load it

    def train(self, cells: Sequence[Any], data: Any, attempt: Attempt) -> Iterable[Any]:
        """The rows of the cells, in any order, on a worker. One cell, unless `runs` put several together.

        A loss that is no finite number makes the row a failure of its cell (in tuning, an answer).
        Whatever is raised is a failure of all cells that have no row yet.
        """
        raise NotImplementedError

    def load(self) -> Any:
        """On the driver, once: what every run needs, as arrays. It goes through Ray's object store, a copy a node.

        Keyword arguments are the task's own options: `def load(self, *, data: str = "mnist")` gives `--data`.
        """
        return None

    def place(self, data: Any, device: str) -> Any:
        """On a worker, once: the data where `train` wants it. What it returns is `train`'s data."""
        return data

    def recipe(self, axes: Mapping[str, object]) -> Mapping[str, object]:
        """Choices that follow from the axes (a batch size that grows with the data, say), where nobody said otherwise."""
        return {}

    def carried(self, choice: str, value: float, at: Mapping[str, object], axes: Mapping[str, object]) -> float:
        """The value at `axes` of a choice that was tuned to `value` at the axes `at`, where a law of it is known."""
        return value

    def remarks(self, cells: Sequence[Any]) -> list[str]:
        """What a person should know before these are trained, a line each."""
        return []

    def check(self, cell: Any, data: Any) -> None:
        """Raises ValueError, one line, for a cell that can't be trained: before anything is."""

    def cost(self, cells: Sequence[Any], data: Any) -> Cost | None:
        """Of one run of these cells, in closed form; None where only running tells."""
        return None

    def sizes(self, cell: Any, data: Any) -> Mapping[str, float]:
        """Measured columns that are known beforehand, such as params and samples."""
        return {}

    def speed(self, device: str) -> Speed | None:
        """A first guess at a worker's speed; corrected by what finished rows say."""
        return None

    def hopeless(self, data: Any) -> float:
        """The loss of a model that knows nothing, in L's unit; infinite where nobody can tell."""
        return math.inf

    def runs(self, cells: Sequence[Any], *, most: int) -> list[tuple[Any, ...]]:
        """The cells put into runs: each alone, unless a task trains several at once, at most `most` in one."""
        return [(cell,) for cell in cells]

    def apart(self, cells: Sequence[Any]) -> list[tuple[Any, ...]]:
        """How a run of several cells is tried once it has failed: each alone."""
        return [(cell,) for cell in cells]

    def fingerprint(self, data: Any) -> str:
        """Of the code and the data that decide a row: rows of two fingerprints never share a table.

        By default of the task's file and what it imports beside it, and of the data (trainers.fingerprint.data_digest).
        """
        files = self.shipped[0] if self.shipped else script_of(Path(inspect.getfile(type(self))))
        return fingerprint(data_digest(data), files.digest)

    def row_type(self, values: Mapping[str, object]) -> type:
        """The class of a row with these values: `row`, unless only running tells."""
        return self.row

    def __reduce_ex__(self, protocol: int) -> tuple:
        return (_load, self.shipped) if self.shipped else super().__reduce_ex__(protocol)


def _load(script: Script, name: str) -> Task:
    """On a worker: the task that a user's file holds."""
    found = script.load()
    for part in name.split("."):
        found = getattr(found, part)
    task = found() if isinstance(found, type) else found
    task.shipped = (script, name)
    return task


def grouped(cells: Iterable[Any], key: Callable[[Any], Hashable], *, most: int) -> Iterator[tuple[Any, ...]]:
    """Cells of one key together, at most `most`; the same cells give the same groups, whatever their order."""
    for _, same in groupby(sorted(cells, key=lambda cell: (repr(key(cell)), cell)), key=key):
        same = tuple(same)
        for first in range(0, len(same), most):
            yield same[first:first + most]
