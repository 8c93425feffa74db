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
         "nsamples", "numsamples", "trainingsamples", "tokensseen", "totaltokens"),
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

# Units that a column's name may carry: of FLOPs ahead of the word, of sizes behind it.
SI = {"k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9, "t": 1e12, "tera": 1e12, "p": 1e15, "peta": 1e15,
      "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21}
COUNTS = {"k": 1e3, "thousand": 1e3, "thousands": 1e3, "m": 1e6, "million": 1e6, "millions": 1e6, "b": 1e9, "billion": 1e9,
          "billions": 1e9, "t": 1e12, "trillion": 1e12, "trillions": 1e12}
PF_DAY = 1e15 * 86_400   # FLOPs in Kaplan's unit

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


def scale_of(name: str, part: str) -> float:
    """What the column's name says its numbers are multiples of: 1e9 for total_gflops or Params (B); 1 where it says nothing."""
    if part == "C":
        word = _words(name)[1]
        if re.fullmatch(r"[a-z]*p(?:eta)?f(?:lops?)?s?days?", word):
            return PF_DAY
        found = re.fullmatch(rf"(?:total|training|train|compute)?({'|'.join(SI)})flops?", word)
        return SI[found[1]] if found else 1.0
    found = re.search(r"[^a-z0-9]+([a-z]+)[^a-z0-9]*$", name.lower())
    return COUNTS.get(found[1], 1.0) if found and part in ("N", "D") else 1.0


def _words(name: str) -> tuple[str, str]:
    """The name, and what follows its last slash, in small letters and digits: trackers write eval/loss."""
    return tuple(re.sub(r"[^a-z0-9]", "", text) for text in (name.lower(), name.lower().rpartition("/")[2]))


def _known_as(name: str, part: str) -> set[str]:
    """The words that a column may be known by, with the unit that its name carries taken off."""
    words, scale = set(_words(name)), scale_of(name, part)
    if part == "C" and (scale == PF_DAY or scale > 1 and re.match("total|train|compute", _words(name)[1])):
        return words | {"flops"}   # but plain tflops is more often a speed
    if part in ("N", "D") and scale > 1:
        return words | set(_words(re.sub(r"[^a-z0-9]+[a-z]+[^a-z0-9]*$", "", name.lower())))
    return words


def candidates(names: Sequence[str], part: Part) -> tuple[str, ...]:
    """Columns that may play the part: all of the surest tier that has any; for L, else the only one with loss in its name."""
    known = {name: _known_as(name, part.name) for name in names}
    for tier in part.tiers:
        found = tuple(name for name, words in known.items() if words & set(tier))
        if found:
            return found
    if part.name == "L":
        like = tuple(n for n in known if "loss" in n.lower() and not _words(n)[1].endswith(("se", "std", "stderr", "err", "diff")))
        return like if len(like) == 1 else ()
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
    if not found["C"] and not (found["N"] and found["D"]):
        found["C"] = found["budget"]   # what a run was planned for is what it took, but for rounding
    missing = [] if found["L"] else ["--loss for the loss" + _like(names, "loss")]
    if not found["N"] and not (found["C"] and found["D"]):
        missing.append("--params for the model size" + _like(names, "param"))
    if not found["D"] and not found["C"]:
        missing.append("--samples or --flops for training examples or FLOPs" + _like(names, "token", "sample", "flop", "compute"))
    if missing:
        raise BadTable(f"{printable(source)}: these columns can't be told by name: {'; '.join(missing)} "
                       f"(the table has {listed(names)})")
    return {part: columns for part, columns in found.items() if columns}


def _like(names: Sequence[str], *stems: str) -> str:
    """The columns that a user may have meant."""
    like = [n for n in names if any(stem in n.lower() for stem in stems)]
    return f" ({listed(like, 4)}?)" if like else ""
