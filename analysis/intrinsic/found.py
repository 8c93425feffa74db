"""What a table of returns tells, a group at a time: learning curves, intrinsic performance, its law; refusals by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import jackknife
from analysis.estimates.refusal import Doubt, attempt
from analysis.intrinsic.curves import SKIP, Curves, curves_of
from analysis.intrinsic.frontier import Level, read_frontier
from analysis.intrinsic.law import PARAMETERS, IntrinsicLaw, fit_intrinsic
from analysis.intrinsic.returns import ReturnGroup, ReturnTable, read_returns
from analysis.table.files import BadTable
from analysis.table.formats.sheet import Dialect, path_text

LAW, CURVES, LEVELS = "law of intrinsic performance", "learning curves", "least compute"   # what may be refused
MISFIT = 2.0   # times what repeats explain, beyond which the law is said to miss


@dataclass(frozen=True)
class Bought:
    """What a budget buys by the law."""

    flops: float
    N: Estimate
    E: Estimate
    R: Estimate | None   # None outside the compute whose returns the table has


@dataclass(frozen=True, eq=False)
class AgentLaws:
    """One group's; where something is None or empty, `refused` says why."""

    label: str
    curves: Curves | None
    law: IntrinsicLaw | None
    levels: tuple[Level, ...]
    bought: tuple[Bought, ...]
    doubts: tuple[Doubt, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class AgentStudy:
    """A table's groups."""

    table: ReturnTable
    groups: tuple[AgentLaws, ...]
    level: float


def agent_study(sources: Sequence[str], column: str, *, flags: Mapping[str, str] | None = None, by: Sequence[str] | None = None,
                dialect: Dialect = Dialect(), budgets: Sequence[float] = (), level: float = 0.95,
                tell: Callable[[str], None] = lambda step: None) -> AgentStudy:
    """column: of the mean returns. Raises BadTable, also where no group's returns move."""
    table = read_returns(sources, column, flags=flags, by=by, dialect=dialect)
    groups = []
    for group in table.groups:
        tell(f"{group.label}: law" if group.label else "law of intrinsic performance")
        groups.append(agent_laws(group, budgets=budgets, level=level))
    if all(g.curves is None for g in groups):
        raise BadTable(f"{path_text(sources[0])}: {groups[0].refused[CURVES]}")
    return AgentStudy(table, tuple(groups), level)


def agent_laws(group: ReturnGroup, *, budgets: Sequence[float] = (), level: float = 0.95, skip: float = SKIP) -> AgentLaws:
    refused: dict[str, str] = {}
    curves = attempt(CURVES, refused, lambda: curves_of(group.points, skip=skip))
    if curves is None:
        return AgentLaws(group.label, None, None, (), (), (), refused)
    law = attempt(LAW, refused, lambda: fit_intrinsic(curves, level=level))
    levels = attempt(LEVELS, refused, lambda: read_frontier(curves, level=level)) or ()
    bought = tuple(buy(law, flops) for flops in budgets) if law else ()
    return AgentLaws(group.label, curves, law, levels, bought, (*(law.doubts if law else ()), *_doubts(curves, law)), refused)


def buy(law: IntrinsicLaw, flops: float) -> Bought:
    """The best size, its frames and its return for C FLOPs: N* ~ C^a, E* ~ C^b, R = f(C)."""
    log_C, best = np.log(flops), law.fitted.shape
    N = law.interval(lambda fit: float(np.exp(fit.shape.best_size(log_C))))
    E = law.interval(lambda fit: float(np.exp(fit.shape.best_frames(log_C))))
    inside = law.fitted.link.low <= log_C - best.constant <= law.fitted.link.high
    R = jackknife(float(law.fitted.returns(log_C)), [float(fit.returns(log_C)) for fit in law.left_out], label="by whole run",
                  freedom=max(law.runs - PARAMETERS, 1), n=law.runs, level=law.level) if inside else None
    return Bought(flops, N, E, R)


def least_by_law(law: IntrinsicLaw, R: float) -> Estimate | None:
    """FLOPs by which the best of all sizes reaches a return; None where not every fit has it, whichever run is left out."""
    if not all(np.isfinite(fit.least_compute(R)) for fit in (law.fitted, *law.left_out)):
        return None
    return law.interval(lambda fit: float(np.exp(fit.least_compute(R))))


def _doubts(curves: Curves, law: IntrinsicLaw | None) -> tuple[Doubt, ...]:
    found = []
    if curves.runs == 1:
        found.append(Doubt("one_run", "one run: nothing tells how far another would be off, so nothing has an interval"))
    elif law is not None and np.isnan(law.repeats):
        found.append(Doubt("no_repeats", "no size was run twice: whether the law misses the curves by more than chance can't "
                           "be told"))
    if law is not None and law.misfit > MISFIT:
        found.append(Doubt("lack_of_fit", f"the law misses the sizes' mean returns by {law.misfit:.1f} times what repeats "
                           "explain"))
    return tuple(found)
