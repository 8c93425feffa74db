"""Which column of a table plays which part: N, D, C, L and company, by name."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from analysis.reading import BadTable, printable
from trainers.cell import Cell


@dataclass(frozen=True)
class Part:
    """A part a column may play in a fit."""

    name: str                            # as Runs calls it
    flag: str                            # that names its column outright
    meaning: str
    tiers: tuple[tuple[str, ...], ...]   # known names, surest first; lower case, letters and digits only


PARTS = {part.name: part for part in (
    Part("N", "--params", "model size", (
        ("n", "params", "parameters", "nparams", "numparams", "numparameters", "nparameters",
         "modelsize", "modelparams", "modelparameters", "parametercount"),
        ("paramcount", "nonembeddingparams", "nnoembed", "size"))),
    Part("D", "--samples", "training examples or tokens", (
        ("d", "samples", "tokens", "trainingtokens", "traintokens", "numtokens", "ntokens",
         "nsamples", "numsamples", "trainingsamples", "tokensseen"),
        ("examples", "seenexamples", "trainingexamples", "images", "datasetsize", "datasize", "t"))),
    Part("C", "--flops", "training FLOPs", (
        ("c", "flops", "flop", "trainingflop", "trainingflops", "trainflops", "totalflops",
         "trainingcompute", "computeflops", "computeflop"),
        ("compute",))),
    # A loss on held-out data is the law's; one on the training data is taken only where alone.
    Part("L", "--loss", "validation loss", (
        ("valloss", "validationloss", "lossval", "testloss", "evalloss", "heldoutloss"),
        ("l", "loss", "finalloss", "crossentropy", "nll"),
        ("trainloss", "trainingloss", "losstrain"))),
    Part("accuracy", "--accuracy", "accuracy", (
        ("valaccuracy", "validationaccuracy", "valacc", "testaccuracy", "testacc", "evalaccuracy"),
        ("accuracy", "acc", "top1", "top1accuracy"))),
    Part("seed", "--seed", "seed", (("seed", "randomseed", "rngseed", "replicate"),)),
    Part("budget", "--isoflop-budget", "isoFLOP budget", (
        ("isoflopbudget", "budget", "flopbudget", "flopsbudget", "flopsbudgets", "isoflop", "computebudget"),)),
)}

OWN_PARTS = {"N": "params", "D": "samples", "C": "flops", "L": "val_loss",
             "accuracy": "val_accuracy", "seed": "seed"}
# What a figure or a rule of ours wants beside the parts. Columns that we do not know are
# left alone: a table of tuning trials has hyperparameters of its own.
OWN_EXTRAS = ("width", "channels", "fraction", "lr", "lr_rule", "dataset", "fingerprint")
# Results of another dropout, protocol, learning-rate rule or data set are another law's.
OWN_GROUPS = ("dropout", "protocol", "lr_rule", "dataset")


def is_ours(names: Sequence[str]) -> bool:
    """Whether the rows are trainers.results': a cell of the grid with its N, D, C and L.

    Further columns of that schema may be missing, or be unknown here: it grows.
    """
    return {f.name for f in fields(Cell)} | set(OWN_PARTS.values()) <= set(names)


def candidates(names: Sequence[str], part: Part) -> tuple[str, ...]:
    """Columns that may play the part: all of the surest tier that has any."""
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    for tier in part.tiers:
        found = tuple(dict.fromkeys(n for n, p in zip(names, plain, strict=True) if p in tier))
        if found:
            return found
    return ()


def chosen(names: Sequence[str], column: str, flag: str, source: str) -> str:
    """The column that a flag names. Raises BadTable where the table has none of that name."""
    if column in names:
        return column
    folded = [n for n in names if n.lower() == column.lower()]
    if len(folded) == 1:
        return folded[0]
    near = difflib.get_close_matches(column, [n[:80] for n in names], 1)
    hint = f"; did you mean {printable(near[0])!r}?" if near else f" (it has {listed(names)})"
    raise BadTable(f"{printable(source)}: no column {printable(column)!r} for {flag}{hint}")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names of columns for a message, a dozen at most."""
    shown = ", ".join(printable(n, 30) for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def parts_by_name(names: Sequence[str], flags: Mapping[str, str], source: str) -> dict[str, tuple[str, ...]]:
    """Part -> columns that may play it; several where the names alone do not decide.

    flags: part -> column named by the user. Raises BadTable where a column named by the
    user is missing, or no column can play L or N, or fewer than two of N, D, C are there.
    """
    found = {part.name: candidates(names, part) for part in PARTS.values()}
    if is_ours(names):
        found |= {part: (column,) for part, column in OWN_PARTS.items()}
    found |= {part: (chosen(names, column, PARTS[part].flag, source),) for part, column in flags.items()}
    # A column plays one part: where a user gives it one, the others lose it.
    taken = {found[part][0] for part in flags}
    found = {part: found[part] if part in flags else tuple(n for n in columns if n not in taken)
             for part, columns in found.items()}
    if not found["L"]:
        like = [n for n in names if "loss" in n.lower()]
        raise BadTable(f"{printable(source)}: no column for the loss; name one with --loss "
                       f"(it has {listed(like or names)})")
    if not found["N"] and not (found["C"] and found["D"]):
        raise BadTable(f"{printable(source)}: no column for the model size; name one with --params "
                       f"(it has {listed(names)})")
    if not found["D"] and not found["C"]:
        raise BadTable(f"{printable(source)}: neither training examples nor FLOPs; name a column with "
                       f"--samples or --flops (it has {listed(names)})")
    return {part: columns for part, columns in found.items() if columns}
