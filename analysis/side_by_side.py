"""Several counts of N, or several losses, side by side: the law of each, losses against each other, and against downstream metrics.

    python analysis/side_by_side.py runs.csv --params params_total params_non_embedding
    python analysis/side_by_side.py runs.csv --loss loss_c4 loss_pile --metric hellaswag_acc
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import add_text, resample_count


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="side_by_side.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("file", metavar="FILE")
    add("--params", nargs="+", default=[], metavar="COL", help="counts of the model's parameters")
    add("--loss", nargs="+", default=[], metavar="COL", help="losses")
    add("--metric", nargs="+", default=[], metavar="COL", help="shares of right answers, each against every loss")
    add("--samples", metavar="COL", help="training examples")
    add("--flops", metavar="COL", help="training FLOPs")
    add("--max-loss", type=float, metavar="L", help="as for analysis/fit.py")
    add("--resamples", type=resample_count, default=400, metavar="R", help="of the bootstrap (400)")
    add("--json", type=Path, metavar="FILE", help="every digit, here")
    add_text(parser)
    args = parser.parse_args(argv)
    if len(args.params) < 2 and len(args.loss) < 2 and not args.metric:
        parser.error("nothing side by side: give two columns or more to --params or --loss, or one to --metric")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from analysis.fitted import Request
    from analysis.questions.several import side_by_side
    from analysis.report.output import write_whole
    from analysis.report.several import several_json, several_text
    from analysis.report.terminal import Progress
    from analysis.table.formats.sheet import Dialect

    progress = Progress()
    flags = {letter: name for letter, name in (("D", args.samples), ("C", args.flops)) if name}
    try:
        made = side_by_side(args.file, params=args.params, losses=args.loss, metrics=args.metric, flags=flags, max_loss=args.max_loss,
                            dialect=Dialect(args.delimiter, args.decimal), request=Request(resamples=args.resamples), tell=progress)
        if args.json:
            write_whole(args.json, (json.dumps(several_json(made), indent=1, allow_nan=False) + "\n").encode())
    except (ValueError, OSError) as why:   # BadTable and refusals among them
        progress.close()
        print(f"side_by_side.py: {why}", file=sys.stderr)
        return 2
    progress.close()
    print(several_text(made))
    return 0


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
