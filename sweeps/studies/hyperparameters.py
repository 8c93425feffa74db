"""CARBS on the MNIST CNN: tune eight hyperparameters while the network and its data grow."""

import argparse
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from sweeps.carbs.laws import ScalingLaws, scaling_laws
from sweeps.carbs.search import BudgetSpent, Carbs
from sweeps.carbs.space import Integer, Log, Logit, Space
from sweeps.jobs.job import CellJob, Job, Shape
from sweeps.running.conduct import conduct, provenance, shape_of
from sweeps.running.ray_tune import Outcome
from sweeps.store.rows import Failure
from sweeps.store.store import Store, StoreError
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import load_images
from trainers.mnist.network import BASE_CHANNELS, count_params
from trainers.mnist.results import Result
from trainers.mnist.train import steps_of

PROTOCOL = "carbs"
DEAREST_SHARE = 0.1  # of the budget that one run may cost, unless --max-cost says otherwise
FRONT_EVERY = 20     # runs between two prints of the front
USUAL_SHARE = 0.005  # of the budget that a run costs in the mean: 175 runs spent it in the published search
CHANCE = 0.95        # of ln(classes): a run that ends above learnt nothing

# Names are those of Cell and Recipe. The center is a small run that learns something: CARBS walks
# up from it. Bounds where the network or the data set ends, and where no rate trains anything.
SPACE = {
    "width": Log(1.0, low=1 / BASE_CHANNELS),
    "fraction": Log(1 / 16, low=1e-3, high=1.0),
    "lr": Log(0.01, low=1e-5, high=1.0),
    # Below 4 images a step takes as long as one of 4, though it costs fewer FLOPs.
    "batch_size": Integer(8, low=4, high=60),
    "weight_decay": Log(0.01, low=1e-6, high=10.0),
    "dropout": Logit(0.05),
    "beta1": Logit(0.9),
    "beta2": Logit(0.99),
    "warmup": Logit(0.1),
}


class CarbsSource:
    """Source: asks the search for runs until the budget is spent, and tells it what they gave."""

    def __init__(self, search: Carbs, *, shape: Shape, cost: str, store: Store, announce: Callable[[str], None] = print):
        """Tells the search all that `store` holds of an earlier sweep. Raises StoreError where it is not a CARBS table."""
        self._search, self._shape, self._cost, self._announce = search, shape, cost, announce
        self._asked: Counter[tuple] = Counter()  # a repeat needs a seed of its own, or it is the same run
        self._open: dict[CellJob, dict] = {}
        self._spent_out = False
        self._typical: CellJob | None = None
        if any(row.protocol != PROTOCOL for row in store.results.values()):
            raise StoreError("the table holds runs of another study, which a CARBS search can't go on from: "
                             "choose another --out")
        center = search.space.center()
        # Its own order is of no meaning; the center first, whose cost is the floor of interest where none is given.
        for row in sorted([*store.results.values(), *store.failures.values()],
                          key=lambda row: (any(getattr(row, name) != center[name] for name in center), row.width, row.lr, row.seed)):
            self._recall(row)

    @property
    def search(self) -> Carbs:
        return self._search

    def next(self) -> Job | None:
        if self._spent_out:
            return None
        try:
            config = self._search.ask()
        except BudgetSpent:
            self._spent_out = True
            return None
        job = self._job(config)
        self._open[job] = config
        self._typical = job
        return job

    def exhausted(self) -> bool:
        return self._spent_out or self._search.spent >= (self._search.budget or math.inf)

    def finished(self, job: Job, rows: Sequence[Result]) -> None:
        self._tell(self._open.pop(job), rows[0])
        if len(self._search.observations) % FRONT_EVERY == 0:
            self._announce(front_table(self._search))

    def failed(self, job: Job) -> None:
        self._tell_failed(self._open.pop(job))

    def _tell(self, config: dict, row: Result) -> None:
        # A network that knows nothing says nothing of how good its hyperparameters are, only that they
        # failed: as a plateau it would bend the model of all that did learn. The analysis' rule.
        loss = row.val_loss if row.val_loss < CHANCE * math.log(self._shape.classes) else math.nan
        self._search.tell(config, loss=loss, cost=row.flops if self._cost == "flops" else row.train_seconds)

    def _tell_failed(self, config: dict) -> None:
        """A diverged run has burnt what it was planned to cost; seconds nobody measured."""
        self._search.tell_failed(config, planned_flops(config, self._shape) if self._cost == "flops" else None)

    def remaining(self) -> list[Job]:
        """As many runs like the last as the rest of the budget would pay for; while those are small, of the size to come."""
        if self._typical is None or self._search.budget is None or self._cost != "flops":
            return []
        left = self._search.budget - self._search.spent - sum(job.cost(self._shape).flops for job in self._open)
        job = _grown(self._typical, USUAL_SHARE * self._search.budget, self._shape)
        return [job] * max(0, int(left / job.cost(self._shape).flops))

    def _job(self, config: dict) -> CellJob:
        key = tuple(sorted(config.items()))
        self._asked[key] += 1
        return cell_job(config, seed=self._asked[key] - 1)

    def _recall(self, row: Result | Failure) -> None:
        """Tell the search a run that an earlier sweep finished or gave up."""
        config = self._search.space.check({name: getattr(row, name) for name in self._search.space.dimensions})
        self._search.adopt(config)
        key = tuple(sorted(config.items()))
        self._asked[key] = max(self._asked[key], row.seed + 1)
        if isinstance(row, Failure):
            self._tell_failed(config)
        else:
            self._tell(config, row)


def _grown(job: CellJob, flops: float, shape: Shape) -> CellJob:
    """The job, with more data and then more width until it costs about so many FLOPs; itself where it costs as much."""
    growth = flops / job.cost(shape).flops
    if growth <= 1:
        return job
    fraction = min(1.0, job.cell.fraction * growth)
    width = job.cell.width * math.sqrt(growth * job.cell.fraction / fraction)   # FLOPs go as its square, or nearly
    return replace(job, cell=replace(job.cell, fraction=fraction, width=width))


def cell_job(config: dict, *, seed: int) -> CellJob:
    cell = {f.name: config[f.name] for f in fields(Cell) if f.name in config}
    recipe = {f.name: config[f.name] for f in fields(Recipe) if f.name in config}
    return CellJob(Cell(**cell, seed=seed), Recipe(**recipe), protocol=PROTOCOL)


def planned_samples(config: dict, shape: Shape) -> int:
    return steps_of(config["fraction"], config["batch_size"], shape.train) * config["batch_size"]


def planned_flops(config: dict, shape: Shape) -> float:
    return cell_job(config, seed=0).cost(shape).flops


def run_carbs(args: argparse.Namespace) -> int:
    """Search until `args.budget` is spent. Raises ValueError, one line, for what can't be done."""
    if not 0 < args.budget < math.inf:
        raise ValueError(f"--budget {args.budget:g}: give the FLOPs (or seconds) that all runs together may cost, above 0")
    images = load_images(args.dataset, args.data_root)
    space, shape = Space(SPACE), shape_of(images)
    cap = args.max_cost or DEAREST_SHARE * args.budget
    first = planned_flops(space.center(), shape) if args.cost == "flops" else None
    if first is not None and cap <= first:
        raise ValueError(f"the search starts from a run of {first:.2g} FLOPs, and none may cost more than {cap:.2g}: give a "
                         f"--budget of {10 * first / DEAREST_SHARE:.1g} or more, or a larger --max-cost")
    print(f"CARBS on {images.name}: {len(SPACE)} hyperparameters ({', '.join(SPACE)}), budget {args.budget:.3g} "
          f"{args.cost}, no run above {cap:.3g}")
    if args.dry_run:
        return 0

    def source_of(store: Store, seconds: Callable[[Job], float]) -> CarbsSource:
        # A resumed search draws other numbers than the one it goes on from.
        search = Carbs(space, seed=args.seed + 1000 * len(store.results), max_cost=cap, budget=args.budget,
                       min_cost=first)
        return CarbsSource(search, shape=shape, cost=args.cost, store=store)

    return conduct(args, images, provenance=provenance(space=space.to_json(), budget=args.budget, cost=args.cost, max_cost=cap),
                   source_of=source_of, closing=lambda store, source, outcome: closing(source, outcome, args.out, shape))


def front_table(search: Carbs) -> str:
    """The front, a line a point: what each budget bought, and how."""
    names = ("width", "fraction", "lr", "batch_size")
    lines = [f"front after {len(search.observations)} runs, {search.spent:.3g} spent",
             "      cost    loss  95% interval    " + "".join(f"{name:>11}" for name in names)]
    lines += [f"  {p.cost:8.2e}  {p.loss:6.4f}  [{p.low:.4f}, {p.high:.4f}]" + "".join(f"{p.config[name]:11.4g}" for name in names)
              for p in search.front()]
    return "\n".join(lines)


def closing(source: CarbsSource, outcome: Outcome, out: str, shape: Shape) -> str:
    """The front, the laws where they can be had, and where everything lies."""
    lines = [front_table(source.search), f"{outcome.finished} runs in this sweep, {outcome.failed} failed"]
    try:
        laws = scaling_laws(source.search)
    except ValueError as refusal:
        lines.append(f"no scaling laws: {refusal}")
    else:
        lines.append(laws.summary())
        if "://" not in out:
            lines.append(f"wrote {write_laws(laws, Path(out).with_suffix('.laws.json'), shape)}")
    return "\n".join([*lines, f"wrote {out}; next: python analysis/fit.py {out}"])


def write_laws(laws: ScalingLaws, path: Path, shape: Shape) -> Path:
    """The laws as JSON beside the table, for the analysis, which can't ask the search."""
    known = [laws.derived("params", lambda config: count_params(config["width"], shape.classes)),
             laws.derived("samples", lambda config: planned_samples(config, shape)), *laws.laws.values()]
    text = json.dumps({
        "cost": {"low": laws.low, "high": laws.high, "reference": laws.reference},
        "runs": len(laws.carbs.observations), "spent": laws.carbs.spent,
        "laws": [asdict(law) for law in known],
        "loss": [asdict(point) for point in laws.loss],
        "front": [asdict(point) for point in laws.carbs.front()],
    }, indent=1)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)  # a temporary file is for its owner alone
    os.replace(file.name, path)
    return path
