"""The law by each of several columns that may be N, or L; losses against each other, and error rates against losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.estimates.power_law import PowerLaw, fit_power_law
from analysis.estimates.refusal import attempt
from analysis.fitted import Request
from analysis.questions.accuracy import ErrorOfLoss, fit_error_of_loss
from analysis.questions.both_laws import fit_group
from analysis.questions.law_choice import LawChoice
from analysis.table.formats.sheet import Dialect
from analysis.table.runs import Runs, read_table


@dataclass(frozen=True, eq=False)
class ByColumn:
    """The law by one choice of columns."""

    params: str               # column of N
    loss: str                 # column of L
    runs: Runs
    law: LawChoice | None     # None where refused
    why: str                  # it was


@dataclass(frozen=True)
class LossToLoss:
    """other - E_other = K (one - E_one)^kappa (Brandfonbrener et al. 2024, equation 3), E as each law has it."""

    one: str
    other: str
    law: PowerLaw | None      # K and kappa over cells' mean losses
    n: int                    # cells above both E
    why: str


@dataclass(frozen=True)
class MetricOfLoss:
    """Error rate against a loss (Gadre et al. 2024, equation 5), and its power law."""

    metric: str
    loss: str
    law: ErrorOfLoss | None
    why: str


@dataclass(frozen=True)
class SideBySide:
    """All that was asked."""

    laws: tuple[ByColumn, ...]
    losses: tuple[LossToLoss, ...]
    metrics: tuple[MetricOfLoss, ...]


def side_by_side(source: str, *, params: Sequence[str], losses: Sequence[str], metrics: Sequence[str] = (),
                 flags: Mapping[str, str] | None = None, max_loss: float | None = None, dialect: Dialect = Dialect(),
                 request: Request = Request(), tell: Callable[[str], None] = lambda step: None) -> SideBySide:
    """Every count of N with every loss, each read and cleaned by itself; all runs as one group.

    Raises BadTable for a column that is not there, ValueError where no law at all can be fitted.
    """
    def read(N: str | None, L: str | None, accuracy: str | None = None):
        given = {letter: name for letter, name in (("N", N), ("L", L), ("accuracy", accuracy)) if name}
        return read_table([source], flags={**(flags or {}), **given}, by=[], max_loss=max_loss, dialect=dialect)

    made = []
    for N in params or [None]:
        for L in losses or [None]:
            tell(f"{N or 'N'}, {L or 'loss'}")
            table = read(N, L)
            made.append(_by_column(table, N or table.columns["N"], L or table.columns["L"], request))
    if all(one.law is None for one in made):
        raise ValueError(f"no law can be fitted ({made[0].why})")
    first = [one for one in made if one.params == made[0].params]
    told = tuple(_metric(read(params[0] if params else None, L, name), name, request) for name in metrics for L in losses or [None])
    return SideBySide(tuple(made), tuple(_between(one, other) for one, other in combinations(first, 2)), told)


def _by_column(table, N: str, L: str, request: Request) -> ByColumn:
    runs = table.groups[0].runs
    made = fit_group(runs, table, cluster=request.cluster, level=request.level, resamples=request.resamples, rng=request.rng)
    return ByColumn(N, L, runs, made.law, made.why)


def _between(one: ByColumn, other: ByColumn) -> LossToLoss:
    """Over the (N, D) that both have, by the mean of log loss."""
    refused: dict[str, str] = {}
    if one.law is None or other.law is None:
        return LossToLoss(one.loss, other.loss, None, 0, one.why or other.why)
    means = [_means(side.runs) for side in (one, other)]
    shared = sorted(set(means[0]) & set(means[1]))
    above = [np.array([mean[cell] for cell in shared]) - side.law.E.value for mean, side in zip(means, (one, other), strict=True)]
    good = (above[0] > 0) & (above[1] > 0)
    law = attempt("loss to loss", refused, lambda: fit_power_law(above[0][good], above[1][good]))
    return LossToLoss(one.loss, other.loss, law, int(good.sum()), refused.get("loss to loss", ""))


def _means(runs: Runs) -> dict[tuple[float, float], float]:
    count = np.bincount(runs.cell)
    first = np.unique(runs.cell, return_index=True)[1]
    mean = np.exp(np.bincount(runs.cell, np.log(runs.L)) / count)
    return dict(zip(zip(runs.N[first].tolist(), runs.D[first].tolist(), strict=True), mean.tolist(), strict=True))


def _metric(table, metric: str, request: Request) -> MetricOfLoss:
    runs, refused = table.groups[0].runs, {}
    good = np.isfinite(runs.accuracy) & (runs.accuracy < 1)
    law = attempt("metric", refused, lambda: fit_error_of_loss(
        runs.N[good], runs.D[good], runs.L[good], 1 - runs.accuracy[good], cell=runs.cell[good], level=request.level,
        resamples=request.resamples, rng=request.rng))
    return MetricOfLoss(metric, table.columns["L"], law, refused.get("metric", ""))
