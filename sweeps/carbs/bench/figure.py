"""The benchmark as a figure: a row for each method, a panel for each problem."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from analysis.figures.theme import BLUE, INK
from sweeps.carbs.bench.rivals import Score


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half-width of its interval by Student's t over seeds; NaN from one seed."""
    n = len(values)
    reach = float(student.ppf(0.5 + level / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return float(np.mean(values)), reach


def plot_closed(scores: Sequence[Score], ax):
    """Of one problem: the front closed, each seed a point, means with 95% intervals over seeds; returns `ax`."""
    def label(s: Score) -> str:
        return s.method if s.flying == "1" else f"{s.method}, {s.flying} in flight"

    methods = list(dict.fromkeys(map(label, scores)))
    for row, method in enumerate(reversed(methods)):
        values = [s.closed for s in scores if label(s) == method]
        mean, reach = interval(values)
        ax.plot(values, [row] * len(values), "o", ms=3, alpha=0.4, color=BLUE)
        ax.errorbar(mean, row, xerr=None if math.isnan(reach) else reach, fmt="|", color=INK, ms=10, capsize=3)
    ax.set_yticks(range(len(methods)), list(reversed(methods)))
    ax.set_xlabel("share of the front closed")
    ax.set_title(scores[0].problem)
    return ax
