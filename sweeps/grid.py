"""Sweep a grid: of one of the lab's tasks, or of your own training function.

    python sweeps/grid.py my_model.py:train --grid depth=2,4,8 tokens=1e5,2e5,4e5 --seeds 3 \\
           --tune lr=1e-4:1e-1 --by depth --out r.parquet
    python sweeps/grid.py mnist --preset quick
    python sweeps/grid.py mnist --cells plan.csv            cells that analysis/plan.py chose, a row each

A task's own options (mnist: --dataset, --data-root) go behind its name as well, and one value of a setting may: --game starpilot.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # siblings from this checkout; shadow no library

from sweeps.running.arguments import add_machines, add_where, own_options, pairs
from sweeps.running.exit import exit_status, leave


OF_A_GRID = ("preset", "grid", "seeds", "tune", "by", "at", "trials", "tune_seeds")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="grid.py", usage="python sweeps/grid.py TASK (--preset NAME | --grid AXIS=V,V... | --cells FILE) [options]",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("task", help="a task by its name, or FILE.py:FUNCTION")
    add("--preset", metavar="NAME", help="a grid that comes with the task")
    add("--grid", nargs="+", default=[], metavar="AXIS=V,V,...", help="values, or LOW:HIGH:COUNT evenly in the logarithm")
    add("--cells", metavar="FILE", help="a CSV with a cell a row, in place of --preset and --grid")
    add("--set", nargs="+", default=[], metavar="NAME=V", dest="choices", help="other settings, equal in all cells")
    add("--seeds", type=int, metavar="N", help="how many, counted from 0 (default 1, or the preset's)")
    add("--tune", metavar="NAME=LOW:HIGH", help="a setting found by Optuna studies, say lr=1e-4:1e-1")
    add("--by", metavar="AXIS,AXIS", help="axes with a tuned value each (default: one value for all)")
    add("--at", nargs="+", default=[], metavar="AXIS=V", help="where the other axes stay while tuning (default: their middle)")
    add("--trials", type=int, metavar="N", help="values tried in each study (default 7)")
    add("--tune-seeds", type=int, metavar="N", help="runs averaged for each value (default 2)")
    add_where(parser, out="results.parquet")
    add_machines(parser)
    args, rest = parser.parse_known_args(argv)
    if args.cells and (given := [f"--{name.replace('_', '-')}" for name in OF_A_GRID if getattr(args, name)]):
        parser.error(f"--cells gives every cell: leave {', '.join(given)} out")
    args.options = own_options(parser, rest)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)

    def sweep() -> int:
        from sweeps.jobs.grid import parsed_axis, parsed_range  # these take seconds: --help does without, and Ctrl-C is heard
        from sweeps.lab import planned_cells, planned_grid
        from sweeps.running.arguments import machines_of
        from sweeps.studies.grid import run_grid
        if args.cells:
            return run_grid(planned_cells(args.task, args.cells, choices=pairs("--set", args.choices), options=args.options),
                            out=args.out, machines=machines_of(args), dry_run=args.dry_run)
        plan = planned_grid(
            args.task, dict(map(parsed_axis, args.grid)), preset=args.preset, seeds=args.seeds, choices=pairs("--set", args.choices),
            tune=dict([parsed_range(args.tune)]) if args.tune else None, by=args.by.split(",") if args.by else None,
            trials=args.trials, tune_seeds=args.tune_seeds, at=pairs("--at", args.at), options=args.options)
        return run_grid(plan, out=args.out, machines=machines_of(args), dry_run=args.dry_run)

    return exit_status(sweep)


if __name__ == "__main__":
    leave(main())
