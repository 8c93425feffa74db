"""A CARBS search beside a grid: which knows the exponents better for its FLOPs, and which has the lower loss.

    python analysis/compare.py carbs.parquet results.parquet
"""

import argparse
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python analysis/compare.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", help="table of a CARBS search, its laws beside it")
    parser.add_argument("grid", help="table of a grid of widths and fractions")
    parser.add_argument("--resamples", type=int, default=200, metavar="R", help="of each fit's bootstrap (200)")
    args = parser.parse_args(argv)
    if not 50 <= args.resamples <= 100_000:
        parser.error("--resamples must be between 50 and 100000")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")   # the fits' own doubts are in fit.py's report
    from analysis.carbs.equal_compute import at_equal_compute
    from analysis.carbs.found import read_tuned
    from analysis.report.searches import comparison_text
    from analysis.table.files import BadTable
    from analysis.table.runs import read_table

    try:
        found, grid = read_tuned(args.search), read_table([args.grid])
        for group in grid.groups:
            print(comparison_text(at_equal_compute(found, grid, group, resamples=args.resamples)), end="\n\n", flush=True)
    except (BadTable, KeyError) as why:
        print(f"compare.py: {why if isinstance(why, BadTable) else f'the search has no law of {why}'}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
