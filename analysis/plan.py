"""Which runs to make next: the cells that shrink the interval that you want most for their FLOPs, and the width to expect.

    python analysis/plan.py results.parquet --budget 1e13
    python analysis/plan.py results.parquet --budget 1e13 --for "N*@1e15" --group "dropout 0"
    python sweeps/grid.py mnist --cells plan.csv --out results.parquet
"""

import argparse
import math
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import add_columns, add_text, flags_of, flops

# The rest is imported once the arguments are known to be good: --help answers at once.


def count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 10000")
    return number


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="plan.py", usage="python analysis/plan.py FILE --budget C [--for WHAT] [options]",
                                     description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("file", metavar="FILE", help="the table so far")
    add("--budget", type=flops, required=True, metavar="C", help="FLOPs of all new runs together")
    add("--for", default="a", dest="target", metavar="WHAT", help="a (default), b, gamma, alpha, beta, N*@C, D*@C or L@C with C in FLOPs")
    add("--out", type=Path, default=Path("plan.csv"), metavar="FILE", help="where the cells go (default plan.csv)")
    add("--runs", type=count, default=100, metavar="N", help="at most (default 100)")
    add("--within", nargs="+", default=[], metavar="AXIS=LOW:HIGH", help="values that new cells may have")
    add("--outcomes", type=count, default=9, metavar="M", help="simulated, for the width to expect (9; 0: by the information alone)")
    add("--group", metavar="LABEL", help="of several groups, the one so labelled, as in 'dropout 0' (default: the first)")
    add("--by", action="append", metavar="COL", help="as for analysis/fit.py")
    add("--resamples", type=count, default=1000, metavar="R", help="of the bootstrap behind the interval now (1000)")
    add("--max-loss", type=float, metavar="L", help="as for analysis/fit.py")
    add_columns(parser)
    add_text(parser)
    args = parser.parse_args(argv)
    if args.resamples < 50 or args.runs < 1:
        parser.error("give --resamples 50 or more, --runs 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from analysis.design.next_runs import Asked, plan_next
    from analysis.design.places import places_of
    from analysis.design.target import parsed_target
    from analysis.design.text import plan_csv, plan_text
    from analysis.fitted import Request
    from analysis.report.output import write_whole
    from analysis.report.terminal import Progress
    from analysis.table.formats.sheet import Dialect, path_text
    from analysis.table.runs import group_of, read_table

    progress = Progress()
    try:
        progress("reading")
        target = parsed_target(args.target)
        by = None if args.by is None else [] if args.by == ["none"] else args.by
        table = read_table([args.file], flags=flags_of(args), by=by, max_loss=args.max_loss, dialect=Dialect(args.delimiter, args.decimal))
        group = group_of(table, args.group)
        places = places_of(table, group, dict(map(bounds, args.within)))
        asked = Asked(target, args.budget, args.runs, args.outcomes, Request(resamples=args.resamples))
        plan = plan_next(table, group, places, asked, tell=progress)
        write_whole(args.out, plan_csv(plan).encode())
    except ValueError as why:   # BadTable and refusals among them
        progress.close()
        print(f"plan.py: {why}", file=sys.stderr)
        return 2
    except OSError as why:
        progress.close()
        print(f"plan.py: cannot write {path_text(args.out)}: {why.strerror or why}", file=sys.stderr)
        return 2
    progress.close()
    if group.label:
        print(group.label)
    task = (table.description.task or "TASK").replace(":", ".py:", 1)   # a function is known by its file's name
    print(plan_text(plan, command=f"python sweeps/grid.py {task} --cells {args.out} --out {args.file}"))
    return 0


def bounds(text: str) -> tuple[str, tuple[float, float]]:
    """AXIS=LOW:HIGH. Raises ValueError, one line, for anything else."""
    name, _, ends = text.partition("=")
    try:
        low, high = map(float, ends.split(":"))
    except ValueError:
        low = high = math.nan
    if not name or not 0 <= low < high:
        raise ValueError(f"--within {text}: give an axis and the values between which new cells may lie, as in --within width=0.25:16")
    return name, (low, high)


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
