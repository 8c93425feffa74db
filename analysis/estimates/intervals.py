"""Bootstrap resampling of clusters of runs, and intervals from the draws.

What is resampled must be what varies independently. On a grid run with several seeds
that is the whole (N, D) cell: its seeds share whatever the law misses there. Resampling
cells and then seeds within them ("two-stage") counts the seeds' noise twice and is
conservative (Davison and Hinkley 1997, section 3.8); resampling single runs ignores
what they share. A table of single runs has one run a cell, and cells are rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special   # scipy.stats takes longer to import than a kept fit to predict

from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import TooFewPoints

SCHEMES = {
    "cell": "by (N, D) cell",
    "two-stage": "by (N, D) cell, then by seed within it",
    "run": "by run",
    "params": "by model size",
    "seed": "by seed",
}


@dataclass(frozen=True)
class Clusters:
    """Which runs are drawn together."""

    scheme: str         # a key of SCHEMES
    member: np.ndarray  # (n,) cluster of each run, 0 .. count - 1
    count: int

    @property
    def label(self) -> str:
        return f"{SCHEMES[self.scheme]} ({self.count})"


def distinct(*columns) -> np.ndarray:
    """Index (n,) of each row's distinct combination of values."""
    index = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, code = np.unique(column, return_inverse=True)
        index = np.unique(index * len(values) + code, return_inverse=True)[1]
    return index


def clusters(scheme: str, N, D, *, cell=None, seed=None) -> Clusters:
    """Raises TooFewPoints where fewer than 6 clusters would be drawn from (seeds: 5)."""
    if scheme not in SCHEMES:
        raise ValueError(f"cluster is one of {', '.join(SCHEMES)}; got {scheme!r}")
    if scheme == "seed" and seed is None:
        raise ValueError("resampling by seed needs the seeds")
    key = {"cell": lambda: distinct(N, D) if cell is None else distinct(cell), "run": lambda: np.arange(len(N)),
           "params": lambda: distinct(N), "seed": lambda: distinct(seed)}
    member = key["cell" if scheme == "two-stage" else scheme]()
    count = int(member.max()) + 1
    least = 5 if scheme == "seed" else 6
    if count < least:
        raise TooFewPoints(f"a bootstrap {SCHEMES[scheme]} needs at least {least} of them, got {count}")
    return Clusters(scheme, member, count)


def resample(chosen: Clusters, resamples: int, rng) -> np.ndarray:
    """Multiplicities (resamples, n) of each run in each resample."""
    rng = np.random.default_rng(rng)
    counts = rng.multinomial(chosen.count, np.full(chosen.count, 1 / chosen.count), size=resamples)
    weights = counts[:, chosen.member].astype(float)
    if chosen.scheme != "two-stage":
        return weights
    for members in (np.flatnonzero(chosen.member == g) for g in range(chosen.count)):
        drawn = counts[:, chosen.member[members[0]]] * len(members)
        weights[:, members] = rng.multinomial(drawn, np.full(len(members), 1 / len(members)))
    return weights


def leave_out(chosen: Clusters, *, most: int = 200) -> np.ndarray:
    """Weights (blocks, n) with one cluster, or one of `most` blocks of clusters, left out."""
    blocks = min(chosen.count, most)
    return (chosen.member[None, :] % blocks != np.arange(blocks)[:, None]).astype(float)


def tail(level: float, count: int, parameters: int) -> float:
    """Share to cut at each end: a percentile interval widened for a finite number of clusters.

    The bootstrap's spread is too small by sqrt((G - k)/G) and its tails are normal where
    Student's are due (Hesterberg 2015, The American Statistician 69, section 4: "expanded percentile").
    """
    left = max(count - parameters, 1)
    return float(special.ndtr(np.sqrt(count / left) * special.stdtrit(left, (1 - level) / 2)))


def student_tail(level: float, freedom: float) -> float:
    """Share to cut at each end where the draws' spread is right and its own freedom is Student's."""
    return float(special.ndtr(special.stdtrit(freedom, (1 - level) / 2)))


def percentile(value: float, draws, *, label: str, count: int, n: int, parameters: int = 5,
               level: float = 0.95, cut: float | None = None) -> Estimate:
    """Percentile interval of draws (R,), widened for few clusters, or with another share cut at each end."""
    cut = tail(level, count, parameters) if cut is None else cut
    low, high = np.quantile(draws, [cut, 1 - cut])
    return Estimate(float(value), float(low), float(high), float(np.std(draws, ddof=1)),
                    f"percentile bootstrap {label}", n, level)


def bca(value: float, draws, left_out, *, label: str, count: int, n: int, parameters: int = 5,
        level: float = 0.95) -> Estimate:
    """Bias-corrected and accelerated (Efron 1987), acceleration by leaving out clusters."""
    draws = np.asarray(draws, float)
    below = ((draws < value).mean() + (draws <= value).mean()) / 2
    bias = special.ndtri(np.clip(below, 1 / (2 * len(draws)), 1 - 1 / (2 * len(draws))))
    pull = np.mean(left_out) - np.asarray(left_out, float)
    power = np.square(pull).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * power) if power > 0 else 0.0
    z = bias + special.ndtri([tail(level, count, parameters), 1 - tail(level, count, parameters)])
    ends = special.ndtr(bias + z / (1 - acceleration * z))
    low, high = np.quantile(draws, ends)
    return Estimate(float(value), float(low), float(high), float(np.std(draws, ddof=1)),
                    f"BCa bootstrap {label}", n, level)


def jackknife(value: float, left_out, *, freedom: float, label: str, n: int, level: float = 0.95) -> Estimate:
    """From values (blocks,) with one block left out each, Student's t (Efron and Tibshirani 1993, chapter 11)."""
    left_out = np.asarray(left_out, float)
    blocks = len(left_out)
    se = float(np.sqrt((blocks - 1) / blocks * np.square(left_out - left_out.mean()).sum()))
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * se
    method = f"jackknife {label}, Student's t with {freedom:g} degrees of freedom"
    return Estimate(value, value - reach, value + reach, se, method, n, level)


def exponential(e: Estimate) -> Estimate:
    """Of a logarithm's estimate, that of the quantity itself."""
    value = float(np.exp(e.value))
    return Estimate(value, float(np.exp(e.low)), float(np.exp(e.high)), value * e.se, e.method, e.n, e.level)
