"""Is one recipe better than another? What runs of each have at the same data and at the same compute, seed by seed.

A table is a recipe: one way to train, at one size or several. Its runs are read where they are compared, between two of their
points linearly in the logarithm. The difference of two recipes' means has Welch's interval (t of unequal variances) over runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from analysis.estimates.estimate import Estimate
from analysis.intrinsic.curves import Points
from analysis.intrinsic.returns import ReturnTable
from analysis.questions.claims import holm

DATA, COMPUTE = "data", "compute"   # what is the same on both sides
EXACT = 1 + 1e-6                    # rounding of a count, not another place


@dataclass(frozen=True)
class Recipe:
    """One table's runs of one size."""

    source: str
    N: float
    points: Points

    def read(self, at: str, x: float) -> np.ndarray:
        """(runs,) what each run has at x frames or FLOPs, NaN where it hasn't been there."""
        values = []
        for run in np.unique(self.points.run):
            own = self.points.take(self.points.run == run)
            along = own.E if at == DATA else own.C
            order = np.argsort(along)
            inside = along.min() / EXACT <= x <= along.max() * EXACT
            values.append(np.interp(np.log(x), np.log(along[order]), own.R[order]) if inside else np.nan)
        return np.array(values)

    def last(self, at: str) -> float:
        """The most data or compute that every run of it reached."""
        along = self.points.E if at == DATA else self.points.C
        return min(along[self.points.run == run].max() for run in np.unique(self.points.run))


@dataclass(frozen=True)
class Beside:
    """A recipe beside the baseline, in one group, at one place; without an estimate `why` says what is missing."""

    group: str
    at: str                     # DATA or COMPUTE
    x: float                    # frames or FLOPs
    baseline: Recipe
    recipe: Recipe
    runs: tuple[int, int]       # of the baseline, of the recipe
    means: tuple[float, float]
    difference: Estimate | None   # recipe less baseline
    p_value: float              # of no difference, by Holm for all that were compared
    why: str = ""


def recipes_of(table: ReturnTable) -> dict[str, list[Recipe]]:
    """Group -> the table's recipes, by size."""
    return {group.label: [Recipe(table.sources[0], float(N), group.points.take(group.points.N == N)) for N in np.unique(group.points.N)]
            for group in table.groups}


def beside(baseline: ReturnTable, others: Sequence[ReturnTable], *, level: float = 0.95) -> tuple[Beside, ...]:
    """Every recipe of the other tables beside the baseline's, in each group that both have, at equal data and at equal compute.

    The place is the last that all runs of both have reached. Of a baseline of several sizes the one with the nearest last compute
    is taken at equal compute, and with the nearest size at equal data. p-values are corrected for all comparisons (Holm).
    """
    known, found = recipes_of(baseline), []
    for table in others:
        for group, recipes in recipes_of(table).items():
            for recipe in recipes:
                for at in (DATA, COMPUTE) if group in known else ():
                    found.append(_at(group, at, _nearest(known[group], recipe, at), recipe, level))
    told = [one for one in found if one.difference is not None]
    p = dict(zip(map(id, told), holm(np.array([one.p_value for one in told])), strict=True)) if told else {}
    return tuple(replace(one, p_value=float(p[id(one)])) if id(one) in p else one for one in found)


def _nearest(known: Sequence[Recipe], recipe: Recipe, at: str) -> Recipe:
    def off(other: Recipe) -> float:
        return abs(np.log(other.N / recipe.N)) if at == DATA else abs(np.log(other.last(COMPUTE) / recipe.last(COMPUTE)))

    return min(known, key=off)


def _at(group: str, at: str, baseline: Recipe, recipe: Recipe, level: float) -> Beside:
    x = min(baseline.last(at), recipe.last(at))
    a, b = baseline.read(at, x), recipe.read(at, x)
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    means = tuple(float(v.mean()) if len(v) else float("nan") for v in (a, b))
    made = Beside(group, at, x, baseline, recipe, (len(a), len(b)), means, None, float("nan"))
    if min(len(a), len(b)) < 2:
        few = baseline if len(a) < 2 else recipe
        have = "no run of {} has" if not min(len(a), len(b)) else "one run of {} has"
        return replace(made, why=f"{have.format(Path(few.source).stem)} been there, and an interval takes 2 on each side")
    if a.std() == b.std() == 0:
        return replace(made, why="all runs of either recipe have one and the same value: no spread, no interval")
    test = stats.ttest_ind(b, a, equal_var=False)
    low, high = test.confidence_interval(level)
    se = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    estimate = Estimate(means[1] - means[0], float(low), float(high), se, f"Welch's t, {test.df:.1f} degrees of freedom", len(a) + len(b), level)
    return replace(made, difference=estimate, p_value=float(test.pvalue))
