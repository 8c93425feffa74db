"""Kaplan's laws of a table of runs: L(N), L(D), L(C), joint laws beside each other, the critical batch size.

    python analysis/kaplan.py runs.csv batches.csv --loss loss_c4 --batch-size bs --by dataset
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import COLUMNS, add_text, flags_of, resample_count

FURTHER = {"steps": "optimiser steps so far", "batch": "examples a step"}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python analysis/kaplan.py", description=__doc__, allow_abbrev=False,
                                     usage="%(prog)s FILE... [options]", formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                                         prog, max_help_position=20, width=100))
    parser.add_argument("files", nargs="+", metavar="FILE", help="tables of runs; several are stacked")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: NAME-kaplan here)")
    parser.add_argument("--by", action="append", metavar="COL", help="laws of each value of COL; repeatable; none: no groups")
    parser.add_argument("--best", action="store_true", help="of each (N, D) the best setting (done where most hold several)")
    parser.add_argument("--max-loss", type=float, metavar="L", help="leave out runs with a loss of L or more as diverged")
    parser.add_argument("--resamples", type=resample_count, default=1000, metavar="R", help="of the bootstrap (1000)")
    parser.add_argument("--no-figures", action="store_true", help="the numbers alone")
    columns = parser.add_argument_group("columns, where their names don't tell")
    for part in ("N", "D", "C", "L", "seed"):
        columns.add_argument(COLUMNS[part][0], dest=f"column_{part}", metavar="COL", help=COLUMNS[part][1])
    columns.add_argument("--batch-size", dest="column_batch", metavar="COL", help=FURTHER["batch"] + " (batch_size, ...)")
    columns.add_argument("--steps", dest="column_steps", metavar="COL", help=FURTHER["steps"] + "; without it D / batch size")
    add_text(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from analysis.power_laws.found import kaplan_study
    from analysis.power_laws.text import study_json, study_text, tables_text
    from analysis.report.output import default_folder, prepared, write_whole
    from analysis.report.terminal import Progress
    from analysis.table.formats.sheet import Dialect, printable

    out = args.out or default_folder(args.files[0], "kaplan")
    progress = Progress()
    try:
        study = kaplan_study(args.files, flags=flags_of(args), by=[] if args.by == ["none"] else args.by, best=args.best,
                             max_loss=args.max_loss, dialect=Dialect(args.delimiter, args.decimal), resamples=args.resamples,
                             tell=progress)
        numbers = json.dumps(study_json(study), indent=1, allow_nan=False) + "\n"
        paths = [write_whole(prepared(out) / "kaplan.json", numbers.encode())]
        paths = [*([] if args.no_figures else write_figures(study, out, tell=progress)), *paths]
    except (ValueError, OSError) as why:   # BadTable among them
        progress.close()
        said = f"cannot write to {printable(out)}: {why.strerror or why}" if isinstance(why, OSError) else why
        print(f"kaplan.py: {said}", file=sys.stderr)
        return 2
    progress.close()
    print(study_text(study), "", *(printable(path, 400) for path in paths), "", tables_text(study), sep="\n")
    return 0


def write_figures(study, out: Path, *, tell) -> list[Path]:
    """Each as SVG and PNG; returns the PNGs. Raises OSError."""
    from analysis.figures.power_laws import FIGURES, plates
    from analysis.report.output import KINDS, cleared, write_plates

    tell("figures")
    written = write_plates(out, plates(study))
    cleared(out, {f"{name}.{kind}" for name in FIGURES for kind in KINDS} - {path.name for path in written})
    return [path for path in written if path.suffix == ".png"]


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
