"""The options that every sweep has: where it runs, what it reads, where its rows go."""

import argparse


def add_where(parser: argparse.ArgumentParser, *, out: str) -> None:
    """Table and cluster."""
    add = parser.add_argument
    add("--out", default=out, help="Parquet to write or go on with: a path, s3://... or gs://...")
    add("--address", help="a Ray cluster: auto, or host:port; without it Ray starts on this machine")


def add_machines(parser: argparse.ArgumentParser) -> None:
    """Resources and logging: the fields of sweeps.running.conduct.Machines."""
    add = parser.add_argument
    add("--cpus", type=int, metavar="N", help="cores for a local Ray (default: all)")
    add("--cpus-per-trial", type=float, default=1.0, metavar="C")
    add("--gpus-per-trial", type=float, metavar="G", help="share of a GPU (default: 0, or 1 with --device cuda)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    add("--pack", type=int, default=1, metavar="N", help="cells that one run may train, where the task can (on a GPU, as one model)")
    add("--cell-timeout", type=float, metavar="S", help="seconds without a sign of life until a cell counts as hung")
    add("--save-every", type=float, default=60.0, metavar="S", help="seconds between the states that a long run saves (default 60)")
    add("--log-to", action="append", default=[], metavar="WHERE", help="also tensorboard, mlflow or wandb")
    add("--dry-run", action="store_true", help="print the plan and stop")


def add_mnist(parser: argparse.ArgumentParser) -> None:
    """What the studies of the MNIST CNN read, and in which arithmetic."""
    add = parser.add_argument
    add("--precision", default="float32", help="float32 (default), tf32 or bfloat16")
    add("--dataset", default="mnist", help="mnist (default), fashion-mnist, kmnist, emnist-balanced, ...")
    add("--data-root", metavar="DIR", help="where torchvision keeps the data set, or may put it")


def pairs(flag: str, texts: list[str]) -> dict[str, str]:
    """NAME=VALUE texts by name. Raises ValueError for another form, and for a name that comes twice."""
    made = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{flag} {text}: give a name and its value, as in {flag} lr=0.001")
        if name in made:
            raise ValueError(f"{flag} names {name} twice")
        made[name] = value
    return made


def own_options(parser: argparse.ArgumentParser, rest: list[str]) -> dict[str, str | tuple[str, ...]]:
    """The options that are the task's own: --data-root DIR or --data-root=DIR; of --data FILE FILE a tuple.

    Ends with status 2 for anything else.
    """
    made, left = {}, list(rest)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        values = [value] if equals else []
        while left and not equals and not left[0].startswith("--"):
            values.append(left.pop(0))
        if not flag.startswith("--") or not values:
            parser.error(f"unrecognized argument {flag}: options are --NAME VALUE")
        made[flag[2:].replace("-", "_")] = values[0] if len(values) == 1 else tuple(values)
    return made


def machines_of(args: argparse.Namespace):
    """The Machines that the options of add_where and add_machines ask for."""
    from sweeps.running.conduct import Machines  # after parsing: Ray takes seconds to import
    return Machines(**{name: getattr(args, name) for name in Machines.__dataclass_fields__})
