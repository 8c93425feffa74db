"""From a plan to its table: the part that every sweep shares, whatever it trains."""

import math
import platform
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import ray.tune

from sweeps.jobs.source import Source
from sweeps.running.checkpoints import EVERY_S, SavedStates
from sweeps.running.connect import connect
from sweeps.running.progress import Display, clock
from sweeps.running.ray_tune import Outcome, Trials, run_jobs
from sweeps.running.speed import Seconds
from sweeps.store.store import Store, StoreError, open_store
from trainers.columns import identity_of, names, place_of
from trainers.task import Task

GPU_SHARE = 0.25    # of a GPU for each trial, where there are GPUs and nothing was said
# Where to log -> module and class of Tune's callback, the package that it needs, its arguments.
LOGGERS = {
    "tensorboard": ("ray.tune.logger", "TBXLoggerCallback", "tensorboardX", {}),
    "mlflow": ("ray.air.integrations.mlflow", "MLflowLoggerCallback", "mlflow", {"experiment_name": "scaling-law-lab"}),
    "wandb": ("ray.air.integrations.wandb", "WandbLoggerCallback", "wandb", {"project": "scaling-law-lab"}),
}
FEWEST_TIMEOUT_S, TIMEOUT_FACTOR = 300.0, 30.0  # a run counts as hung after the larger of the two without a sign of life
UNKNOWN_TIMEOUT_S = 3600.0                      # where nobody knows how long runs take


@dataclass(frozen=True)
class Machines:
    """Where a sweep runs, and what each of its trials gets."""

    address: str | None = None            # a Ray cluster: auto, or host:port; None: this machine
    cpus: int | None = None               # cores of a local Ray; None: all
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None   # None: none, or all of one with device cuda, or a share where there are GPUs
    device: str = "auto"                  # auto, cpu or cuda
    pack: int = 1                         # cells that one run may train
    cell_timeout: float | None = None     # seconds without a sign of life until a run counts as hung
    save_every: float = EVERY_S           # seconds between two states that a run saves
    log_to: Sequence[str] = ()            # of LOGGERS


def conduct(task: Task, data: object, *, out: str, machines: Machines, provenance: dict,
            source_of: Callable[[Store, Seconds], Source], closing: Callable[[Store, Source, Outcome], str]) -> int:
    """Open the table, run what the source still wants, say how it ended; 0, or 1 where cells failed or it was stopped.

    Raises ValueError (StoreError, ConnectError) before anything is trained or written.
    """
    if machines.pack < 1:
        raise ValueError(f"--pack {machines.pack}: give at least 1 cell")
    callbacks = loggers(machines.log_to)
    with ExitStack() as stack:
        hopeless = task.hopeless(data)
        if math.isfinite(hopeless):
            provenance = provenance | {"hopeless": hopeless}
        store = stack.enter_context(open_store(out, task=task, provenance=provenance, fingerprint=task.fingerprint(data)))
        for notice in store.notices:
            print(notice)
        device = "cuda" if machines.device == "cuda" else "cpu"
        seconds = Seconds(task, data, device=device, rows=store.results.values())
        source = source_of(store, seconds)
        if source.exhausted():
            outcome = Outcome(finished=0, failed=0, interrupted=False)
            print("every cell is in the table: nothing to train")
        else:
            outcome = _run(task, data, source, store, machines, seconds, callbacks, stack, out)
        print(closing(store, source, outcome))
    return 1 if outcome.failed or outcome.interrupted else 0


def _run(task: Task, data: object, source: Source, store: Store, machines: Machines, seconds: Seconds,
         callbacks: Sequence[ray.tune.Callback], stack: ExitStack, out: str) -> Outcome:
    """Connect, and run the source under a display."""
    gpus = machines.gpus_per_trial if machines.gpus_per_trial is not None else (1.0 if machines.device == "cuda" else 0.0)
    cluster = stack.enter_context(connect(machines.address, cpus=machines.cpus, cpus_per_trial=machines.cpus_per_trial,
                                          gpus_per_trial=gpus))
    if machines.gpus_per_trial is None and machines.device == "auto" and cluster.gpus and task.uses_gpu:
        gpus = GPU_SHARE
    slots = cluster.slots(cpus=machines.cpus_per_trial, gpus=gpus)
    saved = SavedStates(out, fingerprint=store.fingerprint, every_s=machines.save_every) if task.saves else None
    display = Display(source, seconds=seconds, slots=slots)
    to_go = len(source.remaining())
    about = f": about {clock(display.remaining_seconds())}" if seconds.known and to_go else ""   # a search has yet to choose
    display.note(f"{to_go or 'some'} runs to go on {slots} slot{'s' if slots != 1 else ''}{about}")
    trials = Trials(cpus=machines.cpus_per_trial, gpus=gpus, device=machines.device, callbacks=tuple(callbacks),
                    timeout_s=lambda job: machines.cell_timeout or _timeout(seconds, job))
    with display:
        outcome = run_jobs(source, task=task, data=data, store=store, cluster=cluster, watcher=display, trials=trials, saved=saved)
    if saved:
        saved.close()
    if machines.address is None and outcome.wall_seconds:
        display.note(f"{slots} slots were busy {outcome.busy_seconds / slots / outcome.wall_seconds:.1%} of {clock(outcome.wall_seconds)}")
    return outcome


def _timeout(seconds: Seconds, job: object) -> float:
    if not seconds.known:
        return UNKNOWN_TIMEOUT_S
    return max(FEWEST_TIMEOUT_S if seconds.in_closed_form else UNKNOWN_TIMEOUT_S, TIMEOUT_FACTOR * seconds(job))


def refuse_other_choices(task: Task, store: Store, wanted: Mapping[object, bool], tuned: str | None = None) -> None:
    """`wanted`: the cells of a plan, and whether the choice `tuned` is settled for each.

    Raises StoreError where the store holds one of their places trained with other choices.
    """
    plan = defaultdict(list)   # a choice that is on the grid puts several cells at a place
    for cell, settled in wanted.items():
        plan[place_of(cell)].append((cell, settled))
    choices = names(task.cell, "choice")
    for row in store.results.values():
        wants = plan.get(place_of(row), [])
        if not wants or any(settled and identity_of(row) == identity_of(want) for want, settled in wants):
            continue
        want, settled = wants[0]
        differing = [name for name in choices if getattr(row, name) != getattr(want, name)]
        # Before the tuned choice is settled it differs by chance: any other tells more.
        name = next((other for other in differing if settled or other != tuned), tuned)
        asked = getattr(want, name) if settled or name != tuned else "a value yet to be tuned"
        at = ", ".join(f"{axis} {getattr(row, axis)}" for axis in names(task.cell, "axis"))
        raise StoreError(f"the table holds the cell at {at} trained with {name} {getattr(row, name)}, "
                         f"this sweep asks for {asked}: choose another --out")


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
