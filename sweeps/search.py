"""Search with CARBS: tune everything while the model and its data grow, until a budget is spent.

    python sweeps/search.py my_model.py:train --search depth=log:4 lr=log:3e-3 tokens=log:1e5 \\
           --cost flops --budget 1e14 --out s.parquet
    python sweeps/search.py mnist --budget 2e12
    python sweeps/search.py procgen --game starpilot --budget 1e15

Dimensions: log:CENTER[:LOW[:HIGH]], linear:, logit: (a share), pow2:, list:A,B,C[:CENTER].
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # siblings from this checkout; shadow no library

from sweeps.running.arguments import add_machines, add_where, own_options, pairs
from sweeps.running.exit import exit_status, leave


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="search.py", usage="python sweeps/search.py TASK --budget C [--search NAME=DIM...] [options]",
                                     description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("task", help="a task by its name, or FILE.py:FUNCTION")
    add("--search", nargs="+", default=[], metavar="NAME=DIM", help="what to search, from where (default: the task's own)")
    add("--set", nargs="+", default=[], metavar="NAME=V", dest="choices", help="other settings, equal in all runs")
    add("--cost", default="flops", help="column that a run is charged by, or seconds (default flops)")
    add("--budget", type=float, required=True, metavar="C", help="what all runs together may cost")
    add("--max-cost", type=float, metavar="C", help="what one run may cost (default: a tenth of the budget)")
    add("--runs", type=int, metavar="N", help="stop after so many runs, whatever is left")
    add("--seed", type=int, default=0, dest="search_seed", help="of the search")
    add_where(parser, out="search.parquet")
    add_machines(parser)
    args, rest = parser.parse_known_args(argv)
    args.options = own_options(parser, rest)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)

    def search() -> int:
        from sweeps.lab import planned_search  # these take seconds: --help does without, and Ctrl-C is heard
        from sweeps.running.arguments import machines_of
        from sweeps.studies.search import run_search
        plan = planned_search(args.task, pairs("--search", args.search), budget=args.budget, cost=args.cost, max_cost=args.max_cost,
                              choices=pairs("--set", args.choices), runs=args.runs, seed=args.search_seed, options=args.options)
        return run_search(plan, out=args.out, machines=machines_of(args), dry_run=args.dry_run)

    return exit_status(search)


if __name__ == "__main__":
    leave(main())
