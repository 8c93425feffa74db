"""The options that every sweep has: where it runs, what it reads, where its rows go."""

import argparse


def add_where(parser: argparse.ArgumentParser, *, out: str) -> None:
    """Table and cluster."""
    add = parser.add_argument
    add("--out", default=out, help="Parquet to write or go on with: a path, s3://... or gs://...")
    add("--address", help="a Ray cluster: auto, or host:port; without it Ray starts on this machine")


def add_how(parser: argparse.ArgumentParser) -> None:
    """Data, resources, logging."""
    add = parser.add_argument
    add("--precision", default="float32", help="float32 (default), tf32 or bfloat16")
    add("--dataset", default="mnist", help="mnist (default), fashion-mnist, kmnist, emnist-balanced, ...")
    add("--data-root", metavar="DIR", help="where torchvision keeps the data set, or may put it")
    add("--cpus", type=int, metavar="N", help="cores for a local Ray (default: all)")
    add("--cpus-per-trial", type=float, default=1.0, metavar="C")
    add("--gpus-per-trial", type=float, metavar="G", help="share of a GPU (default: 0, or 1 with --device cuda)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    add("--pack", type=int, default=1, metavar="N", help="on a GPU, train up to N cells of one shape (seeds, dropouts) as one model")
    add("--cell-timeout", type=float, metavar="S", help="seconds until a cell counts as hung (default: 30 x its estimate)")
    add("--log-to", action="append", default=[], metavar="WHERE", help="also tensorboard, mlflow or wandb")
    add("--dry-run", action="store_true", help="print the plan and stop")
