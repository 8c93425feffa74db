"""Cells that a file lists, one a row: what analysis/plan.py writes, or a person.

    # axes: depth, tokens
    depth,tokens,lr,seed
    4,200000,0.003,3
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.jobs.grid import missing, valued
from trainers.columns import columns, names, place_of
from trainers.task import Task

MOST_BYTES = 50_000_000
AXES = "# axes:"    # a line above the header; it tells a function's axes from its other settings


@dataclass(frozen=True)
class Listing:
    """A file of cells, as text."""

    file: str
    axes: tuple[str, ...] | None            # as its comment says; None where it says nothing
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]   # line of the file, values

    @property
    def on_grid(self) -> tuple[str, ...]:
        """The axes of a function that is called for each row."""
        return self.axes if self.axes is not None else tuple(name for name in self.columns if name != "seed")


def read_listing(file: str) -> Listing:
    """Raises ValueError, one line, for what is no such file."""
    try:
        if Path(file).stat().st_size > MOST_BYTES:
            raise ValueError(f"{file}: larger than {MOST_BYTES:,} bytes: no list of cells")
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as why:
        raise ValueError(f"{file}: {why.strerror or why}: --cells takes a CSV file with a cell a row") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: no text: --cells takes a CSV file with a cell a row") from None
    said = [line[len(AXES):] for line in lines if line.lower().startswith(AXES)]
    axes = tuple(name.strip() for name in said[0].split(",") if name.strip()) if said else None
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    try:
        read = [tuple(value.strip() for value in row) for row in csv.reader([line for _, line in kept], strict=True)]
    except csv.Error as why:
        raise ValueError(f"{file}: no CSV ({why})") from None
    if len(read) < 2 or len(read) != len(kept):
        raise ValueError(f"{file}: no cells: give a header with the names of settings, and a row for each cell")
    header, rows = read[0], tuple((number, row) for (number, _), row in zip(kept[1:], read[1:], strict=True))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{file}: column {twice[0]!r} is there twice")
    for number, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{file}, line {number}: {len(row)} values under {len(header)} names")
    if axes is not None and (absent := [name for name in axes if name not in header]):
        raise ValueError(f"{file}: its first line names the axis {absent[0]!r}, which is no column of it")
    return Listing(file, axes, header, rows)


def listed_cells(task: Task, listing: Listing, choices: Mapping[str, object]) -> tuple:
    """The cells of the rows, in order; `choices`: settings equal in all of them.

    A choice that the comment names among the axes is on the grid, as with --grid. Raises ValueError, one line, for a name that
    the task does not take, a setting that nobody gives, a value of another type, a cell that is there twice, and two cells of
    one place.
    """
    known = {c.name: c for c in columns(task.cell)}
    for name in (*listing.columns, *choices):
        if name not in known:
            raise ValueError(f"{listing.file}: {task.name} takes no {name}: it takes {', '.join(known)}")
    if both := [name for name in listing.columns if name in choices]:
        raise ValueError(f"{both[0]} is given twice: in {listing.file}, and by --set")
    if absent := missing(task, (*listing.columns, *choices)):
        raise ValueError(f"{task.name} needs {absent[0]}, which {listing.file} does not name: add a column, or --set {absent[0]}=...")
    fixed, lines = {name: valued(known[name], value) for name, value in choices.items()}, {}
    varied = [name for name in listing.axes or () if name not in names(task.cell, "axis")]
    for number, row in listing.rows:
        try:
            given = {name: valued(known[name], value) for name, value in zip(listing.columns, row, strict=True)}
        except ValueError as why:
            raise ValueError(f"{listing.file}, line {number}: {why}") from None
        axes = {name: given[name] for name in names(task.cell, "axis") if name in given}
        cell = task.cell(**{**task.recipe(axes), **fixed, **given})
        before, same = lines.setdefault((place_of(cell), *(getattr(cell, name) for name in varied)), (number, cell))
        if before != number:
            raise ValueError(f"{listing.file}, lines {before} and {number} are " + ("the same cell: give it once, or another seed"
                             if same == cell else f"of one place: to vary a setting there, name it in a first line '{AXES} ...'"))
    return tuple(cell for _, cell in lines.values())
