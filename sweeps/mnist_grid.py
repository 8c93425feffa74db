"""The study: a small CNN on MNIST over width x training fraction x seed x dropout, a row a cell.

    python sweeps/mnist_grid.py                         the preset `quick` on this machine
    python sweeps/mnist_grid.py --preset standard --out study.parquet
    python sweeps/mnist_grid.py --address auto          on the Ray cluster that this machine belongs to
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # siblings from this checkout; shadow no library

from sweeps.running.arguments import add_machines, add_mnist, add_where
from sweeps.running.exit import exit_status, leave

PRESETS = ("smoke", "quick", "standard", "thorough", "full")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mnist_grid.py", usage="python sweeps/mnist_grid.py [--preset NAME] [options]",
                                     description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--preset", default="quick", metavar="NAME", help=f"{', '.join(PRESETS)} (default quick)")
    add_where(parser, out="results.parquet")
    add("--lr", default="tuned", help="tuned (default), rule (as widths before came to), or a number; times sqrt(batch / fan_in) in each layer")
    add("--tune-by", metavar="A,B", help="fields with a rate of their own, of width,fraction,dropout, instead of the preset's")
    for name in ("widths", "fractions", "dropouts"):
        add(f"--{name}", type=float, nargs="+", metavar="X", help="instead of the preset's")
    add("--seeds", type=int, metavar="N", help="how many, counted from 0, instead of the preset's")
    add("--batch-size", type=int, default=24, metavar="B", help="images a step on the whole data (default 24)")
    add("--batch-power", type=float, default=0.5, metavar="P", help="batch size ~ fraction^P (default 0.5; 0: constant)")
    add("--schedule", default="linear", help="linear (default), cosine or constant, over each cell's own length")
    add_mnist(parser)
    add_machines(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)

    def sweep() -> int:
        from sweeps.studies.mnist import run_mnist_grid  # takes seconds: --help does without, and Ctrl-C is heard
        return run_mnist_grid(args)

    return exit_status(sweep)


if __name__ == "__main__":
    leave(main())
