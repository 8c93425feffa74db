"""Predict from a fit that analysis/fit.py kept: the best model, data and loss for given FLOPs, or the loss at given N and D.

    python analysis/predict.py results-fit/fit.json --flops 1e21 1e22
    python analysis/predict.py results-fit/fit.json --params 7e9 --samples 1e12
"""

import argparse
import json
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import positive


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("fit", type=Path, metavar="FIT", help="fit.json, or the folder that holds it")
    add("--flops", type=positive, nargs="+", default=[], metavar="C", help="budgets: N*, D* and L* of each")
    add("--params", type=positive, nargs="+", default=[], metavar="N", help="sizes, each with its --samples: the law's loss there")
    add("--samples", type=positive, nargs="+", default=[], metavar="D", help="training examples of each size, or one for all")
    add("--group", metavar="LABEL", help="of several groups, the one so labelled, as in 'dropout 0'")
    add("--json", action="store_true", help="machine-readable, every digit")
    args = parser.parse_args(argv)
    if len(args.samples) == 1:
        args.samples *= max(len(args.params), 1)
    if len(args.params) != len(args.samples):
        parser.error(f"{len(args.params)} sizes and {len(args.samples)} amounts of data: give one --samples for each of --params, "
                     "or one for all")
    if not args.flops and not args.params:
        parser.error("nothing to predict: give --flops C, or --params N and --samples D")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from analysis.report.foretold import foretold, foretold_json, foretold_text
    from analysis.report.keeping import NoFit, read_fit

    try:
        groups = read_fit(args.fit)
        chosen = tuple(g for g in groups if args.group in (None, g.label))
        if not chosen:
            raise NoFit(f"no group {args.group!r}: the fit has {', '.join(repr(g.label) for g in groups)}")
    except NoFit as why:
        print(f"predict.py: {why}", file=sys.stderr)
        return 2
    made = foretold(chosen, args.flops, tuple(zip(args.params, args.samples, strict=True)))
    print(json.dumps(foretold_json(made), indent=1) if args.json else foretold_text(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
