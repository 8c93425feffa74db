"""Benchmarks of a cell, a sweep, its start, packs, memory, the language model and Procgen: ratios within one run.

    python -m sweeps.bench                    all of it, about 25 minutes
    python -m sweeps.bench --quick            all of it at small sizes, about a minute
    python -m sweeps.bench cell --widths 1 8  one section
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from sweeps.running.exit import exit_status, leave

SECTIONS = ("cell", "sweep", "overhead", "growth", "start", "packs", "memory", "language", "procgen")
KINDS = ("empty", "spun", "trained")
SIZES = {  # thorough, quick
    "seconds": (1.0, 0.1), "repeats": (5, 3), "cells": (1000, 30), "tune_cells": (24, 4), "empty_cells": (500, 20),
    "sizes": ([100, 500, 1000, 5000], [50, 150]), "widths": ([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 2**3.5], [0.25, 2.0, 2**3.5]),
    "packs": ([1, 2, 5, 10], [1, 4]), "pack_widths": ([0.25, 0.5, 1.0, 2.0, 4.0], [0.25, 1.0]),
    "text_widths": ([8, 16, 32, 64, 96], [8, 32]), "text_bytes": (250_000, 16_384),
    "game_widths": ([0.25, 1.0], [0.125]), "game_envs": (64, 8), "game_steps": (32, 8),
    "memory_width": (2**3.5, 2.0),  # 2^3.5 is the widest that is meant for a CPU, in the preset `standard`
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sweeps.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    add("--quick", action="store_true", help="small sizes wherever none is given")
    add("--cpus", type=int, default=2, metavar="N", help="cores of the sweeps (default 2)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="of the packs")
    add("--batch-size", type=int, default=32, metavar="B", help="images a step (default 32)")
    add("--seconds", type=float, metavar="S", help="of each measurement of steps")
    add("--repeats", type=int, metavar="R", help="of which the median counts")
    add("--widths", type=float, nargs="+", metavar="W", help="of the cells, ascending")
    add("--cells", type=int, metavar="N", help="in a sweep")
    add("--cell-seconds", type=float, default=0.25, metavar="S", help="of each (default 0.25)")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of cells in a sweep (default: all)")
    add("--tune-cells", type=int, metavar="N", help="of them through tune.Tuner's defaults; 0 leaves that out")
    add("--empty-cells", type=int, metavar="N", help="of each runner whose overhead is compared")
    add("--sizes", type=int, nargs="+", metavar="N", help="cells, from small to large sweeps")
    add("--packs", type=int, nargs="+", metavar="K", help="cells a pack")
    add("--pack-widths", type=float, nargs="+", metavar="W")
    add("--text-widths", type=int, nargs="+", metavar="W", help="of the language model, ascending")
    add("--text-batch", type=int, default=512, metavar="B", help="bytes a step (default 512)")
    add("--text-bytes", type=int, metavar="N", help="that it and its peer are trained on for their losses; 0 leaves that out")
    add("--game", default="starpilot", help="of Procgen's (default starpilot)")
    add("--game-widths", type=float, nargs="+", metavar="W", help="of the agent's network, ascending")
    add("--game-envs", type=int, metavar="N", help="environments")
    add("--game-steps", type=int, metavar="N", help="of each in an update")
    add("--memory-width", type=float, metavar="W", help="the widest in the sweep whose memory is looked at")
    args = parser.parse_args(argv)
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: choose of {', '.join(SECTIONS)}")
    for name, (thorough, quick) in SIZES.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else thorough)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    return exit_status(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Print the sections asked for, each as soon as it is done."""
    from rich.console import Console

    from sweeps.bench import cells, language, orchestration, overhead, packs, processes, procgen
    from sweeps.bench.tables import machine, show
    from trainers.language.corpus import load_corpus
    from trainers.mnist.images import load_images
    from trainers.procgen.games import installed
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(machine(), markup=False)
    images = load_images()
    data_bytes = sum(array.nbytes for array in (images.train_images, images.train_labels, images.val_images, images.val_labels))
    made = {
        "cell": lambda: cells.section(args.widths, batch_size=args.batch_size, seconds=args.seconds, repeats=args.repeats, images=images),
        "sweep": lambda: orchestration.section(args.kinds, cells=args.cells, seconds=args.cell_seconds, tune_cells=args.tune_cells,
                                               cpus=args.cpus, images=images),
        "overhead": lambda: overhead.section(cells=args.empty_cells, repeats=args.repeats, cpus=args.cpus, images=images),
        "growth": lambda: orchestration.growth_section(args.sizes, cpus=args.cpus),
        "start": lambda: processes.start_section(cpus=args.cpus),
        "packs": lambda: packs.section(args.pack_widths, args.packs, batch_size=args.batch_size, seconds=args.seconds,
                                       repeats=args.repeats, images=images, device=args.device),
        "memory": lambda: processes.memory_section(cpus=args.cpus, width=args.memory_width, data_bytes=data_bytes),
        "language": lambda: language.section(args.text_widths, batch_tokens=args.text_batch, seconds=args.seconds, repeats=args.repeats,
                                             trained=args.text_bytes, corpus=load_corpus()),
        "procgen": lambda: procgen.section(args.game_widths, game=args.game, envs=args.game_envs, steps=args.game_steps,
                                           repeats=args.repeats, games=installed()),
    }
    for name in args.sections or SECTIONS:
        try:
            show(made[name](), console)
        except ValueError as refusal:   # an extra that is not installed ends no other section
            if args.sections:
                raise
            console.print(f"{name} is left out: {refusal}", markup=False)
    return 0


if __name__ == "__main__":
    leave(main())
