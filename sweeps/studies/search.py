"""A task searched by CARBS: its hyperparameters tuned while the model and its data grow."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from analysis.table.exclusions import DIVERGED
from sweeps.carbs.laws import ScalingLaws, scaling_laws
from sweeps.carbs.search import BudgetSpent, CapUnreachable, Carbs
from sweeps.jobs.job import Job
from sweeps.running.conduct import Machines, conduct, provenance
from sweeps.running.ray_tune import Outcome
from sweeps.store.files import LocalPlace
from sweeps.store.store import Store, StoreError
from sweeps.studies.grid import last_lines
from sweeps.studies.search_plan import SearchPlan
from trainers.columns import identity_of, lettered, names

FRONT_EVERY = 20     # runs between two prints of the front
USUAL_SHARE = 0.005  # of the budget that a run costs in the mean: 175 runs spent it in the published search
REFUSED_IN_A_ROW = 1000   # configurations that the task refuses before the search gives up
BARREN = 20   # runs of a sweep that fail before it gives up, where none has ever finished: a failure may cost nothing that counts


def run_search(plan: SearchPlan, *, out: str, machines: Machines, dry_run: bool = False) -> int:
    """Search until the budget is spent; 0, or 1 where the sweep was stopped or runs failed."""
    print(f"CARBS on {plan.task.name}: {len(plan.space.dimensions)} hyperparameters ({', '.join(plan.space.dimensions)}), budget "
          f"{plan.budget:.3g} {plan.cost}, no run above {plan.max_cost:.3g}")
    if dry_run:
        return 0

    def source_of(store: Store, seconds: Callable[[Job], float]) -> SearchSource:
        # A resumed search draws other numbers than the one it goes on from.
        search = Carbs(plan.space, seed=plan.seed + 1000 * len(store.results), max_cost=plan.max_cost, budget=plan.budget,
                       min_cost=plan.planned(plan.space.center()))
        return SearchSource(plan, search, store)

    design = {"space": plan.space.to_json(), "budget": plan.budget, "cost": plan.cost, "max_cost": plan.max_cost}
    return conduct(plan.task, plan.data, out=out, machines=machines,
                   provenance=provenance(task=plan.task.name, study="search", search=design, settings=dict(plan.settings)),
                   source_of=source_of, closing=lambda store, source, outcome: closing(plan, store, source, outcome, out))


class SearchSource:
    """Source: asks the search for runs until the budget is spent, and tells it what they gave."""

    def __init__(self, plan: SearchPlan, search: Carbs, store: Store, *, announce: Callable[[str], None] = print):
        """Tells the search all that `store` holds of an earlier sweep. Raises StoreError where that is another study's."""
        self._plan, self.search, self._store, self._announce = plan, search, store, announce
        self._hopeless = DIVERGED * plan.task.hopeless(plan.data)
        self._asked: Counter[tuple] = Counter()  # a repeat needs a seed of its own, or it is the same run
        self._open: dict[Job, dict] = {}
        self._spent_out = False
        self._told = 0
        self._failed = 0   # in this sweep
        self._typical: dict | None = None
        center = search.space.center()
        # Its own order is of no meaning; the center first, whose cost is the floor of interest where none is given.
        for row in sorted([*store.results.values(), *store.failures.values()],
                          key=lambda row: (any(getattr(row, name) != center[name] for name in center), identity_of(row))):
            self._recall(row)

    def next(self) -> Job | None:
        for _ in range(REFUSED_IN_A_ROW):
            if self.exhausted():
                return None
            try:
                config = self.search.ask()
            except (BudgetSpent, CapUnreachable) as end:
                if not self._open:   # what is out may yet come in cheaper than was set aside for it
                    self._announce(f"the search ends: {end}")
                    self._spent_out = True
                return None
            cell = self._plan.cell(config, seed=self._next_seed(config))
            try:
                self._plan.task.check(cell, self._plan.data)
            except ValueError:   # what can't be trained has failed, at no cost
                self.search.tell_failed(config)
                continue
            if (held := self._store.results.get(identity_of(cell))) is not None:   # without a seed a repetition is the same run
                self._tell(config, held)
                continue
            job = Job((cell,))
            self._open[job], self._typical = config, config
            return job
        self._spent_out = True
        return None

    def exhausted(self) -> bool:
        enough = self._plan.runs is not None and self._told + len(self._open) >= self._plan.runs
        return enough or self._spent_out or self.search.spent >= self._plan.budget

    def finished(self, job: Job, rows: Sequence[object]) -> None:
        self._tell(self._open.pop(job), rows[0])
        if len(self.search.observations) % FRONT_EVERY == 0:
            self._announce(front_table(self.search))

    def failed(self, job: Job) -> None:
        self._tell_failed(self._open.pop(job))
        self._failed += 1
        if self._failed == BARREN and not any(o.finished for o in self.search.observations):
            self._announce(f"the search ends: {BARREN} runs have failed and none has ever finished")
            self._spent_out = True

    def remaining(self) -> list[Job]:
        """As many runs like the last as the rest of the budget would pay for; while those are small, of the size to come."""
        if self._typical is None or self._plan.planned(self._typical) is None:
            return []
        left = self._plan.budget - self.search.spent - sum(self._plan.planned(config) for config in self._open.values())
        usual = grown(self._plan, self._typical, USUAL_SHARE * self._plan.budget)
        return [Job((self._plan.cell(usual, seed=0),))] * max(0, int(left / self._plan.planned(usual)))

    def _next_seed(self, config: Mapping[str, object]) -> int:
        key = tuple(sorted(config.items()))
        self._asked[key] += 1
        return self._asked[key] - 1

    def _tell(self, config: dict, row: object) -> None:
        # A model that knows nothing says nothing of how good its hyperparameters are, only that they
        # failed: as a plateau it would bend the model of all that did learn. The analysis' rule.
        self._told += 1
        loss = getattr(row, lettered(type(row), "L"))
        self.search.tell(config, loss=loss if loss < self._hopeless else math.nan, cost=self._plan.cost_of(row))

    def _tell_failed(self, config: dict) -> None:
        """A diverged run has burnt what it was planned to cost; what nobody planned, nobody knows."""
        self._told += 1
        self.search.tell_failed(config, self._plan.planned(config))

    def _recall(self, row: object) -> None:
        """Tell the search a run that an earlier sweep finished or gave up."""
        for name, value in self._plan.settings.items():
            if getattr(row, name) != value:
                raise StoreError(f"the table holds runs with {name} {getattr(row, name)}, this search has {name} {value}, "
                                 "so it can't go on from it: choose another --out")
        try:
            config = self.search.space.check({name: getattr(row, name) for name in self.search.space.dimensions})
        except ValueError as error:
            raise StoreError(f"the table holds a run outside this search's space ({error}): choose another --out") from None
        self.search.adopt(config)
        repeats = names(self._plan.task.cell, "repeat")
        key = tuple(sorted(config.items()))
        self._asked[key] = max(self._asked[key], getattr(row, repeats[0]) + 1 if repeats else 1)
        if hasattr(row, "kind") and hasattr(row, "attempts"):
            self._tell_failed(config)
        else:
            self._tell(config, row)


def grown(plan: SearchPlan, config: dict, cost: float) -> dict:
    """The config, moved along every basic coordinate that makes a run dearer, alike, until it costs about so much or can't.

    Itself where it costs as much. Only where costs are known beforehand.
    """
    start, own = plan.space.encode(config), plan.planned(config)

    def price(x: np.ndarray) -> float:
        try:
            return plan.planned(plan.space.decode(x))
        except ValueError:   # no run has that
            return math.nan

    dearer = np.array([price(start + step) > own for step in np.eye(len(start))], dtype=float)

    def at(units: float) -> float:
        return price(start + units * dearer)

    low, high = 0.0, 1.0
    while at(high) < cost and at(2 * high) > at(high):
        low, high = high, 2 * high
    for _ in range(20 if own < cost else 0):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle) < cost else (low, middle)
    return plan.space.decode(start + low * dearer) if own < cost else config


def known_front(search: Carbs) -> list:
    """The front's points; none where too few runs have finished for a model."""
    return list(search.front()) if sum(o.finished for o in search.observations) >= 2 else []


def front_table(search: Carbs) -> str:
    """The front, a line a point: what each budget bought, and how."""
    shown = list(search.space.dimensions)[:4]
    lines = [f"front after {len(search.observations)} runs, {search.spent:.3g} spent",
             "      cost    loss  95% interval    " + "".join(f"{name[:10]:>11}" for name in shown)]
    for p in known_front(search):
        values = "".join(f"{p.config[name]:11.4g}" if isinstance(p.config[name], (int, float)) else f"{p.config[name]:>11}" for name in shown)
        lines.append(f"  {p.cost:8.2e}  {p.loss:6.4f}  [{p.low:.4f}, {p.high:.4f}]{values}")
    return "\n".join(lines)


def closing(plan: SearchPlan, store: Store, source: SearchSource, outcome: Outcome, out: str) -> str:
    """The front, the laws where they can be had, and where everything lies."""
    lines = [f"{outcome.finished} runs in this sweep, {outcome.failed} failed"]
    if source.search.observations:
        lines.insert(0, front_table(source.search))
    try:
        laws, refused = scaling_laws(source.search), ""
    except ValueError as refusal:
        laws, refused = None, str(refusal)
    lines.append(laws.summary() if laws else f"no scaling laws: {refused}")
    if "://" not in out and known_front(source.search):
        lines.append(f"wrote {write_laws(source.search, laws, refused, Path(out).with_suffix('.laws.json'), plan)}")
    return "\n".join([*lines, *last_lines(store, outcome, out)])


def write_laws(search: Carbs, laws: ScalingLaws | None, refused: str, path: Path, plan: SearchPlan) -> Path:
    """The front and the laws as JSON beside the table, for the analysis, which can't ask the search; without laws, why."""
    document = {"runs": len(search.observations), "spent": search.spent, "front": [asdict(point) for point in known_front(search)]}
    document |= _laws(laws, plan) if laws else _without_laws(document["front"], refused, plan)
    LocalPlace(path).replace(str(path), json.dumps(document, indent=1).encode())
    return path


def _laws(laws: ScalingLaws, plan: SearchPlan) -> dict:
    def size(name: str) -> Callable[[dict], float]:
        return lambda config: plan.task.sizes(plan.cell(config, seed=0), plan.data)[name]

    row = plan.task.row
    sizes = plan.task.sizes(plan.cell(plan.space.center(), seed=0), plan.data)
    beforehand = [name for name in (lettered(row, "N"), lettered(row, "D")) if name in sizes] if row else []
    known = [*(laws.derived(name, size(name)) for name in beforehand), *laws.laws.values()]
    # A coordinate at its bound has no exponent of its own: an interval without ends is no number of JSON's.
    pinned = [law.name for law in known if not all(map(math.isfinite, (law.exponent.low, law.exponent.high)))]
    return {"cost": {"low": laws.low, "high": laws.high, "reference": laws.reference, "name": plan.cost},
            "laws": [asdict(law) for law in known if law.name not in pinned], "pinned": pinned,
            "bends": [name for name, bend in laws.bends.items() if bend.bends], "loss": [asdict(point) for point in laws.loss]}


def _without_laws(front: list[dict], refused: str, plan: SearchPlan) -> dict:
    costs = [point["cost"] for point in front]
    return {"cost": {"low": min(costs), "high": max(costs), "reference": max(costs), "name": plan.cost}, "laws": [], "loss": [], "refused": refused}
