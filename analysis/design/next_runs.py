"""The next runs of a table: which cells, at what settings, and how wide the wanted interval is expected to be with them.

The cells come from the Fisher information (analysis.design.exchange). The width to expect does not: the planned runs are simulated, from
surfaces that the bootstrap drew and with the residuals that the table has (where errors go together, with errors that go on from the
table's: analysis.errors.continued; the information takes cells for independent), and table and simulated runs are fitted together by the very
path that fit.py takes, the choice of the law included.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface import Surface
from analysis.design.exchange import Choice, Setting, choose, expected
from analysis.design.information import Belief, Noise, belief, noise_of
from analysis.design.places import Places
from analysis.design.target import Target
from analysis.errors.continued import continued
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import distinct
from analysis.fitted import Request
from analysis.questions.both_laws import GroupLaw, fit_group
from analysis.questions.law_choice import LawChoice
from analysis.table.runs import Group, Runs, Table, cells

DRAWS = 24          # surfaces of each law that a plan must be good under
BELOW, ABOVE = 1, 3   # steps of an axis past the table's own values: dearer runs are what a law is for
REPEATS = 3         # of one cell, planned
RESAMPLES = 200     # of the bootstrap in a simulated outcome
OWN = 3             # outcomes of a plan for one of the table's own cells in its stead


@dataclass(frozen=True)
class Asked:
    """What is wanted of a plan."""

    target: Target
    budget: float                 # FLOPs of all new runs
    most_runs: int = 100
    outcomes: int = 9             # simulated, for the width to expect
    request: Request = Request()


@dataclass(frozen=True, eq=False)
class NewCell:
    """Runs to be made at one place."""

    settings: Mapping[str, object]   # axis or choice -> value
    seeds: tuple[int, ...]           # of its runs
    N: float
    D: float
    C: float                         # FLOPs of one run
    there: int                       # runs that the table has in this cell


@dataclass(frozen=True, eq=False)
class Plan:
    """The next runs, and what they are expected to leave of the interval."""

    target: Target
    now: Estimate
    cells: tuple[NewCell, ...]
    axes: tuple[str, ...]            # columns of the settings that are axes
    seed: str | None                 # column of the seeds
    spent: float                     # FLOPs
    budget: float
    widths: np.ndarray               # (outcomes,) of the interval in simulated outcomes; empty where none was asked for
    repeated: float                  # width that as much of the table's own grid once more is expected to leave; nan where none is paid for
    by_information: float            # width that the information alone foretells
    speaks: str                      # which law

    @property
    def runs(self) -> int:
        return sum(len(cell.seeds) for cell in self.cells)

    @property
    def width(self) -> float:
        """To expect."""
        return float(np.median(self.widths)) if len(self.widths) else self.by_information


def plan_next(table: Table, group: Group, places: Places, asked: Asked, *,
              tell: Callable[[str], None] = lambda step: None) -> Plan:
    """Raises ValueError, Refusal included, where no law can be fitted or nothing is paid for."""
    tell("fit")
    made_of = laws_of(group.runs, table, asked.request)
    law = made_of.law
    now = asked.target.estimate(law)
    if not np.isfinite(asked.target.width(now)):
        raise ValueError(f"{asked.target} has no interval yet ({now}): a plan shrinks one that is there")
    tell("cells")
    offered = learning(candidates(places), law)
    beliefs, noise = beliefs_of(law, asked.target, offered, asked.request.rng)
    setting = Setting(offered.C, offered.there, offered.outside, noise, asked.budget, asked.most_runs, REPEATS)
    chosen = choose(beliefs, setting)
    if not chosen.runs.sum():
        raise ValueError(f"no run within {asked.budget:.3g} FLOPs tells anything new of {asked.target}")
    again = same_grid(offered, setting)
    widths, repeated = _simulated_both(table, group, made_of, offered, (chosen.runs, again), asked, tell)
    width = asked.target.width(now)
    if np.isnan(repeated) and again.any():
        repeated = float(width * np.exp(expected(beliefs, setting, again) / 2))
    return Plan(asked.target, now, _cells(offered, chosen, places), places.declared, places.seed, chosen.spent, asked.budget,
                widths, repeated, float(width * np.exp(chosen.log_ratio / 2)), law.speaks)


def laws_of(runs: Runs, table: Table, request: Request) -> GroupLaw:
    """Raises ValueError where approach 3 is refused."""
    made = fit_group(runs, table, cluster=request.cluster, level=request.level, resamples=request.resamples, rng=request.rng)
    if made.law is None:
        raise ValueError(f"no law can be fitted to these {len(runs):,} runs ({made.why})")
    return made


@dataclass(frozen=True, eq=False)
class Offered:
    """Candidate cells, arrays (K,)."""

    places: Mapping[str, np.ndarray]   # axis -> value
    N: np.ndarray
    D: np.ndarray
    C: np.ndarray
    there: np.ndarray                  # runs that the table has
    outside: np.ndarray                # steps outside the table, all axes together

    def take(self, keep: np.ndarray) -> "Offered":
        return Offered({name: column[keep] for name, column in self.places.items()},
                       *(getattr(self, name)[keep] for name in ("N", "D", "C", "there", "outside")))


def candidates(places: Places) -> Offered:
    """Every combination of the axes' values, those in between, and a few steps beyond."""
    values = [axis.candidates(BELOW, ABOVE) for axis in places.axes]
    at = {axis.name: column.ravel() for axis, column in zip(places.axes, np.meshgrid(*values, indexing="ij"), strict=True)}
    N, D = places.N(at), places.D(at)
    outside = np.sum([axis.outside(at[axis.name]) for axis in places.axes], axis=0)
    count: dict[tuple, int] = {}
    for place in zip(*(places.rows[axis.name] for axis in places.axes), strict=True):
        count[place] = count.get(place, 0) + 1
    there = np.array([count.get(place, 0) for place in zip(*at.values(), strict=True)])
    return Offered(at, N, D, places.per_sample(at) * D, there, outside)


def learning(offered: Offered, law: LawChoice) -> Offered:
    """The candidates at which no law that speaks foretells a loss, its scatter added, above the table's highest.

    Runs that learn nothing would be left out of the next fit, and a law says nothing of where they begin.
    """
    worst = np.max([fit.surface.loss(offered.N, offered.D) * np.exp(fit.scatter) for fit in _spoken(law)], axis=0)
    return offered.take(worst <= law.quoted.L.max())


def _spoken(law: LawChoice) -> list[ParametricFit]:
    return [law.quoted] + ([law.other] if law.other is not None else [])


def beliefs_of(law: LawChoice, target: Target, offered: Offered, rng: int) -> tuple[tuple[Belief, ...], Noise]:
    """Of each law that speaks, under draws of its bootstrap; the noise about the quoted one."""
    fits = _spoken(law)
    noise = noise_of(law.quoted.residuals, law.quoted.N, law.quoted.D, parameters=law.quoted.parameters)
    random, made = np.random.default_rng(rng), []
    for fit in fits:
        draws = np.sort(random.choice(len(fit.draws), min(DRAWS, len(fit.draws)), replace=False))
        one = belief(fit, target, (offered.N, offered.D), noise, draws)
        good = np.isfinite(one.variance) & (one.variance > 0) & np.isfinite(one.P).all((1, 2))
        if good.any():
            made.append(Belief(one.J[good], one.c[good], one.P[good]))
    if not made:
        raise ValueError(f"the runs so far say nothing of {target} that a plan could go by")
    return tuple(made), noise


def same_grid(offered: Offered, setting: Setting) -> np.ndarray:
    """The table's own cells once more (K,), the cheapest first, as many as the budget pays for."""
    order = [i for i in np.argsort(offered.C, kind="stable") if offered.there[i]]
    spent = np.cumsum(offered.C[order]) if order else np.empty(0)
    runs = np.zeros(len(offered.C), int)
    runs[[i for i, sum_ in zip(order, spent, strict=True) if sum_ <= setting.budget]] = 1
    return runs


def _cells(offered: Offered, chosen: Choice, places: Places) -> tuple[NewCell, ...]:
    """With settings and fresh seeds, the cheapest first."""
    index = [i for i in np.argsort(offered.C, kind="stable") if chosen.runs[i]]
    at = {name: column[index] for name, column in offered.places.items()}
    following, made = places.settings(at), []
    whole = {axis.name: axis.whole for axis in places.axes}
    for j, i in enumerate(index):
        settings = {name: int(column[j]) if whole[name] else float(column[j]) for name, column in at.items()}
        settings |= {name: value for name, value in places.fixed.items()}
        settings |= {name: values[j] for name, values in following.items()}
        seeds = tuple(range(places.next_seed, places.next_seed + int(chosen.runs[i])))
        made.append(NewCell(settings, seeds, float(offered.N[i]), float(offered.D[i]), float(offered.C[i]), int(offered.there[i])))
    return tuple(made)


def _simulated_both(table: Table, group: Group, made: GroupLaw, offered: Offered, runs: tuple[np.ndarray, np.ndarray],
                    asked: Asked, tell: Callable[[str], None]) -> tuple[np.ndarray, float]:
    """Widths of a plan's outcomes, and what the table's own cells once more would leave instead, nan where that was not simulated.

    runs: of each candidate (K,), of the plan and of the own cells. The latter are tried in the first outcomes alone, under the
    same surfaces and the same noise: their ratio to the plan's is known better than either. Medians, since an outcome in which
    another law takes over may be twice as wide.
    """
    plan = simulated_widths(table, group, made, offered, runs[0], asked, asked.outcomes, tell)
    own = simulated_widths(table, group, made, offered, runs[1], asked, -(-asked.outcomes // OWN) if runs[1].any() else 0,
                           lambda step: tell(f"own cells, {step}"))
    told = np.isfinite(plan)
    both = np.isfinite(own) & told[:len(own)]
    repeated = float(np.median(plan[told]) * np.median(own[both] / plan[:len(own)][both])) if both.any() else np.nan
    return plan[told], repeated


def simulated_widths(table: Table, group: Group, made: GroupLaw, offered: Offered, planned: np.ndarray, asked: Asked,
                     outcomes: int, tell: Callable[[str], None]) -> np.ndarray:
    """Widths (outcomes,) of the interval with `planned` runs (K,) of each candidate simulated; nan where no law fits."""
    request = Request(resamples=min(RESAMPLES, asked.request.resamples), level=asked.request.level, cluster=asked.request.cluster)
    index, widths = np.repeat(np.arange(len(offered.N)), planned), np.full(outcomes, np.nan)
    for k in range(outcomes):
        tell(f"outcome {k + 1} of {outcomes}")
        N, D, C, outside = (getattr(offered, name)[index] for name in ("N", "D", "C", "outside"))
        L = simulated_runs(made, N, D, outside, rng=np.random.default_rng([asked.request.rng, k]))
        runs = joined(group.runs, N, D, C, L)
        try:
            widths[k] = asked.target.width(asked.target.estimate(laws_of(runs, table, request).law))
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            continue
    return widths


def simulated_runs(made: GroupLaw, N, D, outside, *, rng) -> np.ndarray:
    """Losses (n,) at N, D by a law that speaks and one draw of its bootstrap, with departures of cells and of runs as the table
    has them, or, where errors go together, with what the table's own errors make likely.

    Draws of the bootstrap are wide enough as they are: whole cells are drawn, corners among them.
    """
    fits, few = _spoken(made.law), made.few
    fit = fits[rng.integers(len(fits))]
    surface = Surface(*fit.draws[rng.integers(len(fit.draws))])
    if fit.correlated:
        so_far = np.log(few.L / surface.loss(few.N, few.D))
        seed = None if few.seed is None else np.append(few.seed, few.seed.max() + 1 + _repeat(N, D))
        return surface.loss(N, D) * np.exp(continued(fit.errors.found, so_far, np.append(few.N, N), np.append(few.D, D), seed, rng))
    return surface.loss(N, D) * np.exp(_departures(fit, surface, N, D, outside, rng))


def _departures(fit: ParametricFit, surface: Surface, N, D, outside, rng) -> np.ndarray:
    """Of log L at N, D (n,) about the surface: the table's residuals, scaled to what the deviations of `noise_of` may be.

    Where repeats tell a cell's own departure from noise, that of a cell that the table has goes on: its mean, shrunk.
    """
    noise = noise_of(fit.residuals, fit.N, fit.D, parameters=fit.parameters, rng=rng)
    member = distinct(fit.N, fit.D)
    mean = np.bincount(member, fit.residuals) / np.bincount(member)
    within = (fit.residuals - mean[member])[np.bincount(member)[member] > 1]
    cell = distinct(np.append(fit.N, N), np.append(fit.D, D))
    there, cell, count = cell[:len(fit.N)], cell[len(fit.N):], cell.max() + 1
    runs = np.bincount(there, minlength=count)
    seen = np.bincount(there, np.log(fit.L / surface.loss(fit.N, fit.D)), minlength=count) / np.maximum(runs, 1)
    known = runs * noise.shared**2 / (runs * noise.shared**2 + noise.each**2) if noise.each else np.zeros(count)
    shared = known * seen + np.sqrt(1 - known) * _like(mean, noise.shared, count, rng)
    return shared[cell] * noise.growth(outside) + _like(within, noise.each, len(cell), rng)


def _like(residuals, sd: float, count: int, rng) -> np.ndarray:
    """Draws (count,) of the residuals, scaled to that standard deviation."""
    size = np.sqrt(np.mean(np.square(residuals))) if len(residuals) else 0.0
    return rng.choice(residuals, count) * (sd / size) if size > 0 and sd > 0 else np.zeros(count)


def _repeat(N, D) -> np.ndarray:
    """(n,) how many runs of the same (N, D) come before each: the planned runs' seeds, counted from the first new one."""
    cell = distinct(N, D)
    return np.array([np.count_nonzero(cell[:i] == cell[i]) for i in range(len(cell))], int)


def joined(runs: Runs, N, D, C, L) -> Runs:
    """The table's runs and further ones, of seeds of their own."""
    parts = {name: np.concatenate([getattr(runs, name), more]) for name, more in (("N", N), ("D", D), ("C", C), ("L", L))}
    run = None if runs.run is None else np.append(runs.run, runs.run.max() + 1 + np.arange(len(N)))
    return Runs(**parts, accuracy=None, seed=np.append(runs.seed, runs.seed.max() + 1 + _repeat(N, D)), run=run,
                cell=cells(parts["N"], parts["D"]), budget=None)
