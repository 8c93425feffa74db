"""From a plan to its table: the part that every sweep shares, whatever it trains."""

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import ray.tune

from sweeps.jobs.job import Cost, Job, Shape
from sweeps.jobs.pack import Packed
from sweeps.jobs.source import Source
from sweeps.running.connect import connect
from sweeps.running.progress import Display, clock
from sweeps.running.ray_tune import Outcome, Trials, run_jobs
from sweeps.running.speed import CPU, GPU, learnt
from sweeps.store.rows import Identity, identity_of
from sweeps.store.store import Store, StoreError, open_store
from sweeps.tuning.bracket import Tuned
from trainers.fingerprint import fingerprint
from trainers.mnist.cell import Cell, Recipe
from trainers.mnist.images import Images

GPU_SHARE = 0.25    # of a GPU for each trial, where there are GPUs and nothing was said
PRECISIONS = ("float32", "tf32", "bfloat16")
# Where to log -> module and class of Tune's callback, the package that it needs, its arguments.
LOGGERS = {
    "tensorboard": ("ray.tune.logger", "TBXLoggerCallback", "tensorboardX", {}),
    "mlflow": ("ray.air.integrations.mlflow", "MLflowLoggerCallback", "mlflow", {"experiment_name": "scaling-law-lab"}),
    "wandb": ("ray.air.integrations.wandb", "WandbLoggerCallback", "wandb", {"project": "scaling-law-lab"}),
}
FEWEST_TIMEOUT_S, TIMEOUT_FACTOR = 300.0, 30.0  # a cell counts as hung after the larger of the two


def shape_of(images: Images) -> Shape:
    return Shape(train=len(images.train_images), val=len(images.val_images), classes=images.classes)


def conduct(args: argparse.Namespace, images: Images, *, provenance: dict,
            source_of: Callable[[Store, Callable[[Job], float]], Source],
            closing: Callable[[Store, Source, Outcome], str]) -> int:
    """Open the table, run what the source still wants, say how it ended; 0, or 1 where cells failed or it was stopped.

    Raises ValueError (StoreError, ConnectError) before anything is trained or written.
    """
    shape, callbacks = shape_of(images), loggers(args.log_to)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(args.out, provenance=provenance, fingerprint=fingerprint(images)))
        for notice in store.notices:
            print(notice)
        speed = learnt(GPU if args.device == "cuda" else CPU, store.results.values())

        def seconds(job: Job) -> float:
            return speed.seconds(job.cost(shape))

        source = source_of(store, seconds)
        if source.exhausted():
            outcome = Outcome(finished=0, failed=0, interrupted=False)
            print("every cell is in the table: nothing to train")
        else:
            outcome = _run(source, images, store, args, seconds, callbacks, stack)
        print(closing(store, source, outcome))
    return 1 if outcome.failed or outcome.interrupted else 0


def _run(source: Source, images: Images, store: Store, args: argparse.Namespace, seconds: Callable[[Job], float],
         callbacks: Sequence[ray.tune.Callback], stack: ExitStack) -> Outcome:
    """Connect, and run the source under a display."""
    if args.pack != 1:
        source = Packed(source, size=args.pack)
    gpus = args.gpus_per_trial if args.gpus_per_trial is not None else (1.0 if args.device == "cuda" else 0.0)
    cluster = stack.enter_context(connect(args.address, cpus=args.cpus, cpus_per_trial=args.cpus_per_trial, gpus_per_trial=gpus))
    if args.gpus_per_trial is None and args.device == "auto" and cluster.gpus:
        gpus = GPU_SHARE
    slots = cluster.slots(cpus=args.cpus_per_trial, gpus=gpus)
    display = Display(source, seconds=seconds, slots=slots)
    display.note(f"{len(source.remaining())} runs to go on {slots} slots: about {clock(display.remaining_seconds())}")
    trials = Trials(cpus=args.cpus_per_trial, gpus=gpus, device=args.device, callbacks=tuple(callbacks),
                    timeout_s=lambda job: args.cell_timeout or max(FEWEST_TIMEOUT_S, TIMEOUT_FACTOR * seconds(job)))
    with display:
        outcome = run_jobs(source, images=images, store=store, cluster=cluster, watcher=display, trials=trials)
    if args.address is None and outcome.wall_seconds:
        display.note(f"{slots} slots were busy {outcome.busy_seconds / slots / outcome.wall_seconds:.1%} of {clock(outcome.wall_seconds)}, "
                     "in training and validation")
    return outcome


def refuse_other_recipes(store: Store, wanted: Mapping[Job, bool]) -> None:
    """`wanted`: the jobs of a plan, and whether the rate of each is settled.

    Raises StoreError where the store holds one of their cells trained by another recipe.
    """
    plan = {_place(identity): (identity, settled) for job, settled in wanted.items() for identity in job.identities()}
    for row in store.results.values():
        have = identity_of(row)
        want, settled = plan.get(_place(have), (have, True))
        if settled and have == want:
            continue
        differs = next((name for name in Recipe.__dataclass_fields__ if name != "lr" and getattr(have, name) != getattr(want, name)), "lr")
        asked = getattr(want, differs) if settled or differs != "lr" else "a rate yet to be tuned"
        raise StoreError(f"the table holds the cell at width {have.width:g}, fraction {have.fraction:g} trained with "
                         f"{differs} {getattr(have, differs)}, this sweep asks for {asked}: choose another --out")


def _place(identity: Identity) -> tuple:
    """The cell and the protocol: what a table should hold under one recipe only."""
    return (*(getattr(identity, name) for name in Cell.__dataclass_fields__), identity.protocol)


def total_cost(jobs: Iterable[Job], shape: Shape) -> Cost:
    return reduce(Cost.__add__, (job.cost(shape) for job in jobs), Cost(0, 0.0, 0, 0.0))


def tuning_line(verdicts: Iterable[Tuned]) -> str:
    verdicts = list(verdicts)
    bracketed = sum(verdict.bracketed for verdict in verdicts)
    return f"learning rate bracketed in {bracketed} of {len(verdicts)} studies"


def loggers(names: Sequence[str]) -> tuple[ray.tune.Callback, ...]:
    """Tune's own callbacks for --log-to. Raises ValueError for a name or a package that isn't there."""
    made = []
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"--log-to {name}: choose {', '.join(LOGGERS)}")
        module, callback, package, options = LOGGERS[name]
        if find_spec(package) is None:
            raise ValueError(f"--log-to {name}: its package is missing: pip install {package}")
        made.append(getattr(import_module(module), callback)(**options))
    return tuple(made)


def provenance(**design: object) -> dict:
    """Versions, commit, command line and the study's design: into the file's metadata."""
    root = Path(__file__).resolve().parents[2]
    git = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
                         capture_output=True, text=True, check=False) if (root / ".git").exists() else None
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git.stdout.strip() if git and git.returncode == 0 else "unknown",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ray", "torch", "optuna", "numpy", "pyarrow")},
        **design,
    }
