"""Exponents protocol by protocol, from the table of sweeps/schedule_study.py.

    python analysis/fit_schedules.py schedules.parquet [--out DIR]
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="protocols.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", metavar="FILE", help="Parquet of a schedule study")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: NAME-fit beside FILE)")
    parser.add_argument("--min-fraction", type=float, default=0.0, metavar="F", help="leave out smaller budgets: a trunk read in "
                        "its first steps follows no law yet")
    parser.add_argument("--min-width", type=float, default=0.0, metavar="W", help="leave out narrower networks, whose seeds "
                        "may end far apart")
    parser.add_argument("--resamples", type=int, default=1000, metavar="R", help="of the bootstrap (1000)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from analysis.figures.schedules import plates
    from analysis.report.output import default_folder, prepared, write_plates, write_whole
    from analysis.procedures.fits import fit_schedules
    from analysis.procedures.text import read_points, schedule_json, terminal_text

    out = args.out or default_folder(args.table)
    try:
        if not 50 <= args.resamples <= 100_000:
            raise ValueError(f"--resamples {args.resamples}: give 50 to 100000")
        points, chance = read_points(args.table)
        wanted = (points.budget >= args.min_fraction) & (points.width >= args.min_width)
        study = fit_schedules(points.take(wanted), chance=chance, resamples=args.resamples)
        prepared(out)
        write_plates(out, plates(study))
        written = write_whole(out / "protocols.json", schedule_json(study).encode())
    except (ValueError, OSError) as why:
        print(f"protocols.py: {why}", file=sys.stderr)
        return 2
    print(terminal_text(study))
    print()
    print(written)
    print(out)
    return 0


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
