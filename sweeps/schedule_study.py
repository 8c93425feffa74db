"""The Chinchilla correction, measured: each data budget's own schedule against runs read on their way.

    python sweeps/schedule_study.py                       the preset `quick` on this machine
    python sweeps/schedule_study.py --preset standard --out schedules.parquet
    python sweeps/schedule_study.py --address auto        on the Ray cluster that this machine belongs to
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # siblings from this checkout; shadow no library

from sweeps.running.arguments import add_machines, add_mnist, add_where
from sweeps.running.exit import exit_status, leave

PRESETS = ("smoke", "quick", "standard", "full")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="schedule_study.py", usage="python sweeps/schedule_study.py [--preset NAME] [options]",
                                     description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", default="quick", metavar="NAME", help=f"{', '.join(PRESETS)} (default quick)")
    add_where(parser, out="schedules.parquet")
    add("--batch-size", type=int, default=24, metavar="B", help="images a step of the trunks and on the whole data (default 24)")
    add("--batch-power", type=float, default=0.5, metavar="P", help="per-budget batch size ~ fraction^P (default 0.5)")
    add_mnist(parser)
    add_machines(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)

    def sweep() -> int:
        from sweeps.studies.schedules import run_schedule_study  # takes seconds: --help does without, and Ctrl-C is heard
        return run_schedule_study(args)

    return exit_status(sweep)


if __name__ == "__main__":
    leave(main())
