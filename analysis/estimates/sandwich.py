"""The error of a number that follows from a least-squares fit, where the residuals may go together.

Where c is the number's gradient in the parameters, J (m, k) the slopes of the fitted values and r the residuals, point i moves the
number by u_i = c^T (J^T J)^-1 J_i r_i / (1 - h_i), h its leverage: the jackknife without a refit (HC3; MacKinnon and White 1985).
The variance is the sum of u_i^2 where points err independently, and of the squares of the clusters' sums where each cluster errs as
one; by two kinds of cluster at once it is V_1 + V_2 - V_12 (Cameron, Gelbach and Miller 2011).
"""

import numpy as np
from scipy import special   # scipy.stats takes longer to import than 500 runs to fit


def half_width(gradient, slopes, residuals, *clusters, level: float = 0.95) -> float:
    """Of the interval: the widest of that for independent points and, with two kinds of cluster (m,), of that for clusters.

    Student's t with m - k degrees of freedom, or one fewer than the rarer kind has clusters. nan where the parameters are not told.
    """
    m, k = slopes.shape
    with np.errstate(all="ignore"):
        try:
            solved = np.linalg.solve(slopes.T @ slopes, np.column_stack([gradient, slopes.T]))
        except np.linalg.LinAlgError:
            return np.nan
        leverage = np.einsum("ij,ji->i", slopes, solved[:, 1:])
        moved = slopes @ solved[:, 0] * residuals / np.maximum(1 - leverage, 1e-6)
    halves = [np.sqrt(np.sum(moved**2)) * special.stdtrit(m - k, (1 + level) / 2)]
    if clusters:
        counts, variances = zip(*(_clustered(moved, labels) for labels in clusters))
        variance = sum(variances) - np.sum(moved**2)
        halves.append(np.sqrt(max(variance, 0)) * special.stdtrit(max(min(counts) - 1, 1), (1 + level) / 2))
    return float(max(halves)) if np.isfinite(halves).all() else np.nan


def _clustered(moved: np.ndarray, labels) -> tuple[int, float]:
    """How many clusters, and the variance by them, for few made larger by G / (G - 1)."""
    names, member = np.unique(labels, return_inverse=True)
    count = len(names)
    return count, float(np.sum(np.bincount(member, moved) ** 2) * count / max(count - 1, 1))
