"""From Kaplan's exponent to Chinchilla's: N* ~ C^a under each step of procedure and accounting, with paired differences.

    python analysis/bridge.py language.parquet bridge.parquet [--out DIR]
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import resample_count

STEP_HELP = """NAME;PROTOCOL;COLUMN OF N[;COLUMN,COLUMN left out of C]: a step, in order (default: the six from Kaplan et al. to a
tuned run for each budget)"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bridge.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", metavar="FILE", help="Parquet tables with the protocols of all steps")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where figure and JSON go (default: NAME-bridge here)")
    parser.add_argument("--step", action="append", metavar="STEP", help=STEP_HELP)
    parser.add_argument("--min-tokens", type=float, default=0.0, metavar="D", help="leave out smaller budgets")
    parser.add_argument("--min-width", type=float, default=0.0, metavar="W", help="leave out narrower networks")
    parser.add_argument("--max-loss", type=float, metavar="L", help="from which a run counts as dead (default: none does)")
    parser.add_argument("--resamples", type=resample_count, default=1000, metavar="R", help="of the bootstrap (1000)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from analysis.figures.bridge import bridge_plate
    from analysis.procedures.bridge import COUNTS, KAPLAN_TO_CHINCHILLA, Step, bridged
    from analysis.procedures.bridge_text import bridge_json, bridge_text, read_steps
    from analysis.report.output import default_folder, prepared, write_plates, write_whole

    out = args.out or default_folder(args.tables[0], "bridge")
    try:
        steps = tuple(_step(text) for text in args.step) if args.step else KAPLAN_TO_CHINCHILLA
        counts = () if args.step else tuple(Step(f"N: {name}", steps[-1].protocol, column) for name, column in COUNTS)
        tables, counted = ({step: points.take((points.budget >= args.min_tokens) & (points.width >= args.min_width))
                            for step, points in read_steps(args.tables, some).items()} for some in (steps, counts))
        bridge = bridged(tables, counted, chance=args.max_loss or float("inf"), resamples=args.resamples)
        prepared(out)
        write_plates(out, [bridge_plate(bridge)])
        write_whole(out / "bridge.json", (json.dumps(bridge_json(bridge), indent=1, allow_nan=False) + "\n").encode())
    except (ValueError, OSError) as why:
        print(f"bridge.py: {why}", file=sys.stderr)
        return 2
    print(bridge_text(bridge))
    print()
    print(out)
    return 0


def _step(text: str):
    from analysis.procedures.bridge import Step

    parts = [part.strip() for part in text.split(";")]
    if len(parts) not in (3, 4) or not all(parts):
        raise ValueError(f"--step {text!r}: give NAME;PROTOCOL;COLUMN OF N, and perhaps ;COLUMNS left out of C, as in "
                         "'head counted;single-run;params;attention_flops'")
    return Step(*parts[:3], tuple(name.strip() for name in parts[3].split(",")) if len(parts) == 4 else ())


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
