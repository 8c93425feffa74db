"""The MNIST studies from the options of mnist_grid.py and mnist_carbs.py: presets with another batch size, and so on."""

import argparse
from dataclasses import replace

from sweeps.jobs.grid import cell_of, grid_of
from sweeps.running.arguments import machines_of
from sweeps.studies.grid import GridPlan, plan_grid, run_grid
from sweeps.studies.search import run_search
from sweeps.studies.search_plan import plan_search
from trainers.mnist.images import Images
from trainers.mnist.presets import PRESETS, BatchRule
from trainers.mnist.task import TASK
from trainers.task import Preset, Tuning



def run_mnist_grid(args: argparse.Namespace) -> int:
    """Raises ValueError, one line, for whatever no sweep can do."""
    images = TASK.load(dataset=args.dataset, data_root=args.data_root)
    return run_grid(mnist_plan(args, images), out=args.out, machines=machines_of(args), dry_run=args.dry_run)


def run_mnist_carbs(args: argparse.Namespace) -> int:
    """Raises ValueError, one line, for what can't be done."""
    images = TASK.load(dataset=args.dataset, data_root=args.data_root)
    plan = plan_search(TASK, images, {}, settings={"precision": args.precision}, cost=args.cost, budget=args.budget,
                       max_cost=args.max_cost, seed=args.seed)
    return run_search(plan, out=args.out, machines=machines_of(args), dry_run=args.dry_run)


def mnist_plan(args: argparse.Namespace, images: Images) -> GridPlan:
    """Raises ValueError for whatever no sweep can do."""
    if args.preset not in PRESETS:
        raise ValueError(f"unknown preset {args.preset!r}: choose one of {', '.join(PRESETS)}")
    preset, batch = PRESETS[args.preset], BatchRule(full=args.batch_size, power=args.batch_power)
    axes = {**preset.axes, **{name: tuple(given) for name, given in (("width", args.widths), ("fraction", args.fractions),
                                                                     ("dropout", args.dropouts)) if given is not None}}
    lr = _given_rate(args.lr)
    choices = {"schedule": args.schedule, "precision": args.precision, **({"lr": lr} if lr is not None else {})}
    grid = grid_of(TASK, axes, preset.seeds if args.seeds is None else args.seeds, choices)

    def make_cell(axes: dict, *, seed: int, **more: object) -> object:
        return cell_of(TASK, axes, seed=seed, **{"batch_size": batch(axes["fraction"]), **grid.choices, **more})

    tuning = _tuning(args, preset, min(grid.axes["dropout"])) if args.lr == "tuned" else None
    return plan_grid(TASK, images, grid, tuning=tuning, name=args.preset, make_cell=make_cell)


def _tuning(args: argparse.Namespace, preset: Preset, dropout: float) -> Tuning:
    by = tuple(args.tune_by.split(",")) if args.tune_by else preset.tuning.by
    if set(by) - {"width", "fraction", "dropout"} or "width" not in by:
        raise ValueError(f"--tune-by {args.tune_by}: give width, and of fraction and dropout what is to have rates of its own")
    return replace(preset.tuning, by=by, at={} if "dropout" in by else {"dropout": dropout})


def _given_rate(text: str) -> float | None:
    """None where it is to be tuned, or follows from the width."""
    if text in ("tuned", "rule"):
        return None
    try:
        lr = float(text)
    except ValueError:
        raise ValueError(f"--lr {text}: give tuned, rule, or a number above 0") from None
    if not 0 < lr < float("inf"):
        raise ValueError(f"--lr {text}: a learning rate lies above 0")
    return lr
