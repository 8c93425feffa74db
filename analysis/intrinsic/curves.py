"""Learning curves: points of returns along runs, smoothed in steps of log E, seeds averaged, made monotone."""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import isotonic_regression

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import NotIdentified

STEP = np.log(2) / 4     # of log E, over which a run's points are averaged: a curve changes little within a fifth of its frames
SKIP = 1 / 64            # of a run's frames at its beginning: transients of the start (Hilton et al. 2023 leave out as much)
MOVED = 0.4              # of the variance of returns that a rise must explain beyond what a fall does (noise alone: .3 at most)


@dataclass(frozen=True)
class Points:
    """What runs returned on their way, a row each."""

    N: np.ndarray     # (n,) parameters
    E: np.ndarray     # (n,) interactions with the environment (frames) so far
    C: np.ndarray     # (n,) FLOPs so far
    R: np.ndarray     # (n,) mean return: any number
    run: np.ndarray   # (n,) int, which run the row is of

    def __len__(self) -> int:
        return len(self.N)

    def take(self, rows: np.ndarray) -> "Points":
        return Points(self.N[rows], self.E[rows], self.C[rows], self.R[rows], self.run[rows])


@dataclass(frozen=True)
class Merged:
    """The mean curve of each size; NaN where it has no point."""

    log_N: np.ndarray    # (S,)
    log_E: np.ndarray    # (S, B)
    log_C: np.ndarray    # (S, B)
    R: np.ndarray        # (S, B)
    weight: np.ndarray   # (S, B) of the runs in the mean, 0 where there is none

    def rising(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each size that has points log C and the least-squares rising curve through its returns (isotonic regression).

        A running maximum would do for a curve without noise; with it, it takes every lucky point for progress.
        """
        curves = []
        for log_C, R, weight in zip(self.log_C, self.R, self.weight, strict=True):
            if (good := weight > 0).any():
                curves.append((log_C[good], isotonic_regression(R[good], weights=weight[good]).x))
        return curves


@dataclass(frozen=True)
class Curves:
    """Runs' curves in common steps of log E; NaN where a run has no point."""

    sizes: np.ndarray                       # (S,) N
    size: np.ndarray                        # (G,) index of each run's size
    log_E: np.ndarray = field(repr=False)   # (G, B) mean of the run's points in the step
    log_C: np.ndarray = field(repr=False)   # (G, B)
    R: np.ndarray = field(repr=False)       # (G, B)
    points: int                             # that went into them
    left_out: int                           # of the beginnings

    @property
    def runs(self) -> int:
        return len(self.size)

    def merged(self, weight: np.ndarray | None = None) -> Merged:
        """Runs of one size averaged, with a weight for each run (G,)."""
        weight = np.ones(self.runs) if weight is None else weight
        part = np.where(self.size[None] == np.arange(len(self.sizes))[:, None], weight[None], 0.0)
        has = np.isfinite(self.R)
        total = part @ has
        with np.errstate(invalid="ignore", divide="ignore"):
            means = [(part @ np.where(has, v, 0.0)) / total for v in (self.log_E, self.log_C, self.R)]
        return Merged(np.log(self.sizes), *means, total)


def curves_of(points: Points, *, skip: float = SKIP) -> Curves:
    """Raises NotIdentified where no return moves, or N differs within a run."""
    run = distinct(points.run)
    last = np.full(run.max() + 1, 0.0)
    np.maximum.at(last, run, points.E)
    kept = points.take(points.E >= skip * last[run] * (1 - 1e-9))
    run = distinct(kept.run)
    G = run.max() + 1
    first = np.unique(run, return_index=True)[1]
    if (kept.N != kept.N[first][run]).any():
        raise NotIdentified("N differs within a run: what tells runs apart is missing")
    step = np.floor((np.log(kept.E) - np.log(kept.E.min())) / STEP + 0.5).astype(int)
    step = distinct(step)
    cell, B = run * (step.max() + 1) + step, step.max() + 1
    count = np.bincount(cell, minlength=G * B)
    with np.errstate(invalid="ignore"):
        binned = [(np.bincount(cell, v, G * B) / count).reshape(G, B) for v in (np.log(kept.E), np.log(kept.C), kept.R)]
    sizes, size = np.unique(kept.N[first], return_inverse=True)
    made = Curves(sizes, size, *binned, len(kept), len(points) - len(kept))
    means = made.merged()
    if ((means.weight > 0).sum(1) < 2).all():
        raise NotIdentified("no size has returns at two numbers of frames: a row is a point of a learning curve")
    if moved(means) < MOVED:
        low, high = kept.R.min(), kept.R.max()
        said = f"all are {low:.3g}" if low == high else (f"from {low:.3g} to {high:.3g}, they fall with frames about as much as "
                                                         "they rise")
        raise NotIdentified(f"the returns never move: {said}")
    return made


def moved(means: Merged) -> float:
    """Share of the variance along the sizes' mean curves that rising curves explain, less what falling ones do: noise,
    drifting or not, knows neither way."""
    gained, whole = 0.0, 0.0
    for R in means.R:
        R = R[np.isfinite(R)]
        rising, falling = (np.square(R - isotonic_regression(R, increasing=up).x).sum() for up in (True, False))
        gained += falling - rising
        whole += np.square(R - R.mean()).sum()
    return gained / whole if whole > 0 else 0.0


def least_compute(log_C: np.ndarray, R: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """log of the least compute at which a rising curve (b,) reaches each level (J,), between its points linear in log C.

    NaN where it never does, and -inf where its first point is there already: it took less, how much less is not known.
    """
    strict = R + 1e-12 * np.ptp(R) * np.arange(len(R)) / len(R)   # of a level stretch the beginning
    found = np.interp(levels, strict, log_C)
    return np.where(levels > strict[-1], np.nan, np.where(levels <= R[0], -np.inf, found))
