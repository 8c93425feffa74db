"""Options that several commands take: which column of a table is what, how its text is written, numbers in their ranges."""

import argparse
import math

COLUMNS = {"N": ("--params", "model size N (params, Model Size, n, ...)"), "D": ("--samples", "training examples D (samples, tokens, ...)"),
           "C": ("--flops", "training FLOPs C (flops, ...); without it C = 6 N D"),
           "L": ("--loss", "validation loss L (val_loss, loss, ...)"), "accuracy": ("--accuracy", "share of right answers"),
           "seed": ("--seed", "what tells repeats of a run apart"),
           "budget": ("--isoflop-budget", "the compute budget a run was planned for")}


def add_columns(parser: argparse.ArgumentParser) -> None:
    columns = parser.add_argument_group("columns, where their names don't tell")
    for part, (flag, meaning) in COLUMNS.items():
        columns.add_argument(flag, dest=f"column_{part}", metavar="COL", help=meaning)


def add_text(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("text, where it can't be told")
    text.add_argument("--delimiter", type=delimiter, metavar="CHAR", help="between columns: , ; | tab space")
    text.add_argument("--decimal", choices=(".", ","), help="between whole and fraction of a number")


def positive(text: str, unit: str = "") -> float:
    """A positive number."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number{unit}")
    return number


def flops(text: str) -> float:
    """A positive number of FLOPs."""
    return positive(text, " of FLOPs")


def resample_count(text: str) -> int:
    """Of a bootstrap."""
    count = int(text)
    if not 50 <= count <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 50 and 100000")
    return count


def flags_of(args: argparse.Namespace) -> dict[str, str]:
    """Part -> the column that the user names."""
    return {part: name for part in (*COLUMNS, "steps", "batch", "return") if (name := getattr(args, f"column_{part}", None)) is not None}


def delimiter(text: str) -> str:
    """One character; a tab and a space have names, for shells."""
    named = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}.get(text, text)
    if len(named) != 1 or not named.isascii() or named.isalnum() or named in "\r\n\"":
        raise argparse.ArgumentTypeError(f"{text!r} is not a delimiter: give one character, or tab, or space")
    return named
