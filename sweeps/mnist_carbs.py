"""CARBS on the MNIST CNN: tune width, data, rate, batch and more while the network grows.

    python sweeps/mnist_carbs.py                                  a few minutes on this machine
    python sweeps/mnist_carbs.py --budget 1e14 --address auto     on the Ray cluster of this machine
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # siblings from this checkout; shadow no library

from sweeps.running.arguments import add_machines, add_mnist, add_where
from sweeps.running.exit import exit_status, leave


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mnist_carbs.py", usage="python sweeps/mnist_carbs.py --budget C [options]",
                                     description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--budget", type=float, default=2e12, metavar="C", help="what all runs together may cost (default 2e12 FLOPs)")
    add("--max-cost", type=float, metavar="C", help="what one run may cost (default: a tenth of the budget)")
    add("--cost", default="flops", choices=("flops", "seconds"), help="what a run costs (default flops)")
    add("--seed", type=int, default=0, help="of the search")
    add_where(parser, out="carbs.parquet")
    add_mnist(parser)
    add_machines(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)

    def sweep() -> int:
        from sweeps.studies.mnist import run_mnist_carbs  # takes seconds: --help does without, and Ctrl-C is heard
        return run_mnist_carbs(args)

    return exit_status(sweep)


if __name__ == "__main__":
    leave(main())
