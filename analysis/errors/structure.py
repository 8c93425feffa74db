"""Which runs may share an error: those of one size, of one amount of data, of one seed, of one run, one checkpoint after the other."""

from dataclasses import dataclass, field, replace

import numpy as np

from analysis.estimates.intervals import distinct

LEAST_LEVELS = 4     # of a shared error: the variance of fewer can't be told
LEAST_SEEDS = 5      # of an error that a seed carries to every run: seeds are mostly few, and their mean is the law's level
LEAST_ROWS = 3       # mean rows of a sequence, below which there is no order to speak of
CHECKPOINTS = 12     # evenly spaced amounts of data at a size, in the order of the rows, from which on a sequence is taken for one run
LOOKED_AT = 50       # sequences


@dataclass(frozen=True)
class Shared:
    """Runs of one member share an error."""

    name: str                              # machine-readable
    words: str                             # "runs ..." in a sentence
    member: np.ndarray = field(repr=False)   # (n,) 0 .. levels - 1

    @property
    def levels(self) -> int:
        return int(self.member.max()) + 1

    @property
    def indicator(self) -> np.ndarray:
        """(n, levels) of ones and zeros."""
        return (self.member[:, None] == np.arange(self.levels)).astype(float)


@dataclass(frozen=True)
class Structure:
    """All that the errors of a table are tested for."""

    shared: tuple[Shared, ...]
    cell: np.ndarray = field(repr=False)       # (n,) runs of one (N, D): what is resampled where nothing else is shared
    sequence: np.ndarray = field(repr=False)   # (n,) runs of one size, seed and setting
    place: np.ndarray = field(repr=False)      # (n,) of each run in its sequence, by D
    checkpoints: str                           # why the sequences are taken for one run's checkpoints; "" where they aren't

    def kept(self, rows) -> "Structure":
        """Of some of the runs (mask or indices); places keep their distance."""
        return replace(self, shared=tuple(replace(one, member=distinct(one.member[rows])) for one in self.shared),
                       cell=distinct(self.cell[rows]), sequence=distinct(self.sequence[rows]), place=self.place[rows])

    @property
    def repeated(self) -> bool:
        """Whether cells hold repeats enough to know what a cell's runs share."""
        return int(self.cell.max()) + 1 <= 0.75 * len(self.cell)

    @property
    def ordered(self) -> bool:
        return int(self.sequence.max()) + 1 <= len(self.sequence) / LEAST_ROWS


def structure_of(N, D, *, cell=None, seed=None, run=None) -> Structure:
    """seed: (n,) of each run, run: (n,) name of the run that a row is of, where the table says them."""
    N, D = np.asarray(N, float), np.asarray(D, float)
    cell = distinct(N, D) if cell is None else distinct(cell)
    run = None if run is None or not _names_runs(run, N) else distinct(run)
    sequence, checkpoints = _sequences(N, D, seed, run)
    kept = {}
    for one in groupings(N, D, seed, run):   # what two structures say alike is the first one's
        if _useful(one, cell):
            kept.setdefault(distinct(one.member).tobytes(), one)
    return Structure(tuple(kept.values()), cell, sequence, _places(sequence, D), checkpoints)


def groupings(N, D, seed=None, run=None) -> list[Shared]:
    """All that runs may share, whether a table can tell it or not."""
    shared = [Shared("size", "of one size", distinct(N)), Shared("data", "of one amount of data", distinct(D))]
    if seed is not None and len(np.unique(seed)) > 1:
        shared += [Shared("seed", "of one seed", distinct(seed)),
                   Shared("seed_data", "of one seed and one amount of data, whatever their size,", distinct(seed, D)),
                   Shared("seed_size", "of one seed at one size", distinct(seed, N))]
    return shared if run is None else [*shared, Shared("run", "recorded at checkpoints of one run", run)]


def _names_runs(run, N) -> bool:
    """Whether a column names runs of several rows each, all of one size."""
    levels = int(distinct(run).max()) + 1
    return len(N) >= LEAST_ROWS * levels and int(distinct(run, N).max()) + 1 == levels


def _places(sequence, D) -> np.ndarray:
    """Rank (n,) of each row's D among those of its sequence."""
    order = np.lexsort((D, sequence))
    starts = np.diff(sequence[order], prepend=-1) != 0
    rises = np.cumsum((np.diff(D[order], prepend=0.0) != 0) | starts)
    place = np.empty(len(D), np.int64)
    place[order] = rises - rises[np.maximum.accumulate(np.where(starts, np.arange(len(D)), 0))]
    return place


def _useful(one: Shared, cell: np.ndarray) -> bool:
    """Enough levels, and of several cells each."""
    cells_of_each = np.bincount(np.unique(np.stack([one.member, cell]), axis=1)[0], minlength=one.levels)
    return one.levels >= (LEAST_SEEDS if one.name == "seed" else LEAST_LEVELS) and float(np.mean(cells_of_each > 1)) >= 0.5


def _sequences(N, D, seed, run) -> tuple[np.ndarray, str]:
    """Sequence (n,) of each row, no D twice in one, and why they are checkpoints.

    A column that names runs says so. Without one, rows of one size and seed make a sequence for as long as D rises from row to row,
    or, where it doesn't, one sequence a repeat; they are taken for checkpoints of one run where D goes up in CHECKPOINTS or more equal
    steps, of D or of its logarithm, as nobody spaces runs of their own.
    """
    if run is not None:
        return _apart(run, D), "a column names the run of each row"
    group = distinct(N) if seed is None else distinct(N, seed)
    order = np.argsort(group, kind="stable")
    rising = np.empty(len(N), np.int64)
    rising[order] = np.cumsum((np.diff(group[order], prepend=-1) != 0) | (np.diff(D[order], prepend=np.inf) <= 0)) - 1
    if int(rising.max()) + 1 <= len(N) / CHECKPOINTS and _evenly(D, rising):
        return rising, "at each size the data go up from row to row in many equal steps"
    return _apart(group, D), ""


def _apart(group: np.ndarray, D: np.ndarray) -> np.ndarray:
    """The groups, each repeat of a D in one of them its own sequence."""
    order = np.lexsort((D, group))
    first = (np.diff(group[order], prepend=-1) != 0) | (np.diff(D[order], prepend=-1.0) != 0)
    again = np.empty(len(D), np.int64)
    again[order] = np.arange(len(D)) - np.maximum.accumulate(np.where(first, np.arange(len(D)), 0))
    return distinct(group, again)


def _evenly(D: np.ndarray, sequence: np.ndarray) -> bool:
    """Whether most sequences, of the first LOOKED_AT, step by equal differences, or equal ratios, of D."""
    def even(rows):
        steps = np.diff(np.sort(D[rows])), np.diff(np.log(np.sort(D[rows])))
        return len(rows) > 3 and min(np.std(s) / np.mean(s) for s in steps) < 0.1
    return float(np.mean([even(np.flatnonzero(sequence == s)) for s in range(min(int(sequence.max()) + 1, LOOKED_AT))])) > 0.5


def thinned(N, D, *, seed=None, most: int) -> np.ndarray:
    """Indices, in order, of about `most` rows of a longer table: every k-th of each size and seed, by D."""
    order = np.lexsort((D, np.zeros(len(N)) if seed is None else seed, N))
    return np.sort(order[:: -(-len(N) // most)])
