"""Whether a column that nobody grouped by tells the runs apart: several laws fitted as one."""

import shlex
from collections.abc import Mapping

import numpy as np
from scipy import special

from analysis.estimates.refusal import Doubt
from analysis.table.values import Labels

LEVELS = (2, 12)     # values of a column that may name experiments; of numbers at most NUMBERS, for more are a scale
NUMBERS = 4
SIZES = 3            # distinct N of every value: a model's name tells no experiment
FILES = "/"          # the tag that says which file a run is from: no column's name
SHARE, P = 0.25, 1e-4   # of the residuals' variance that goes with the column, adjusted for its levels; of an F test


def may_group(tag: Labels, N: np.ndarray, D: np.ndarray) -> bool:
    """Whether a column names a few kinds of run, each of several sizes; a number that N or D determines names none."""
    present = np.unique(tag.code)   # a missing value is one, too
    if not LEVELS[0] <= len(present) <= LEVELS[1] or any(len(np.unique(N[tag.code == i])) < SIZES for i in present):
        return False
    if not all(isinstance(tag.values[i], float) for i in present if i >= 0):
        return True
    return len(present) <= NUMBERS and not any(_determines(column, tag.code) for column in (N, D))


def _determines(column: np.ndarray, code: np.ndarray) -> bool:
    return np.unique(np.stack([column, code]), axis=1).shape[1] == len(np.unique(column))


def pooled_doubts(residuals: np.ndarray, tags: Mapping[str, np.ndarray]) -> tuple[Doubt, ...]:
    """A doubt about the column, of codes (n,), that goes with most of what the law misses (n,), if any does."""
    shares = {name: _share(residuals, code) for name, code in tags.items()}
    name = max(shares, key=shares.get, default=None)
    if name is None or shares[name] < SHARE:
        return ()
    remedy = "fit each alone" if name == FILES else f"--by {shlex.quote(name)} fits each apart"
    what = f"{len(np.unique(tags[name]))} {'files' if name == FILES else f'values of {name}'}"
    return (Doubt("pooled", f"the {what} go with {shares[name]:.0%} of what the law "
                  f"misses: they may follow laws of their own ({remedy})"),)


def _share(residuals: np.ndarray, code: np.ndarray) -> float:
    """Adjusted share of variance between the codes; 0 where chance may have made it."""
    levels, member, count = np.unique(code, return_inverse=True, return_counts=True)
    n, k = len(residuals), len(levels)
    if k < 2 or n < 5 * k:
        return 0.0
    total = float(np.square(residuals - residuals.mean()).sum())
    means = np.bincount(member, residuals) / count
    within = float(np.square(residuals - means[member]).sum())
    if total <= 0 or within <= 0:
        return 0.0
    p = special.fdtrc(k - 1, n - k, (total - within) / (k - 1) / (within / (n - k)))
    return 1 - within / total * (n - 1) / (n - k) if p < P else 0.0
