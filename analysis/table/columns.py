"""Which column of a table plays which part: N, D, C, L and company, by role where the table says it, else by name."""

import difflib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.table.files import BadTable
from analysis.table.formats.sheet import path_text, printable
from analysis.table.roles import LETTERS, Description


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
         "trainingcompute", "computeflops", "computeflop", "totaltrainingflops", "totaltrainingcompute"),
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

# Of different examples, and of how often each was seen: where data were repeated, D says only how many were processed.
UNIQUE = ("uniquetokens", "uniquesamples", "uniquedata", "uniqueexamples", "uniquetrainingtokens",
          "numuniquetokens", "nuniquetokens")
# Of the run that a row is a checkpoint of.
RUNS = ("run", "runid", "runname", "runkey", "runhash", "experimentid", "expid", "trialid", "jobid", "modelid", "modelname")
# Of optimiser steps, and of examples a step: the critical batch size is told from them.
STEPS = ("steps", "nsteps", "numsteps", "trainsteps", "trainingsteps", "optimizersteps", "optimisersteps", "updates", "iterations",
         "iters", "step", "iteration")
BATCH = ("batchsize", "globalbatchsize", "batchsizetokens", "tokensperbatch", "globalbatch", "batch", "bs")
EPOCHS = ("epochs", "numepochs", "nepochs", "trainepochs", "trainingepochs", "datarepeats", "repetitions")

# Units that a column's name may carry: of FLOPs ahead of the word, of sizes behind it.
SI = {"k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9, "t": 1e12, "tera": 1e12, "p": 1e15, "peta": 1e15,
      "e": 1e18, "exa": 1e18, "z": 1e21, "zetta": 1e21}
COUNTS = {"k": 1e3, "thousand": 1e3, "thousands": 1e3, "m": 1e6, "million": 1e6, "millions": 1e6, "b": 1e9, "billion": 1e9,
          "billions": 1e9, "t": 1e12, "trillion": 1e12, "trillions": 1e12, "tsd": 1e3, "mio": 1e6, "mrd": 1e9}
# What trackers of experiments put before a setting's or a result's name.
TRACKERS = re.compile(r"((config|params|metrics|summary|summary_metrics|hparams|results?|data|model|args|run)[.])+", re.IGNORECASE)
LOGARITHM = re.compile(r"(?P<base>(?i:log[_ ]?10|log[_ ]?2|log|lg|ln))(?=[^A-Za-z0-9]|[A-Z])[^A-Za-z0-9]*")
LOGARITHM_BEHIND = re.compile(r"[^A-Za-z0-9]+(?P<base>(?i:log[_ ]?10|log[_ ]?2|log|lg|ln))[^A-Za-z0-9]*$")
PF_DAY = 1e15 * 86_400   # FLOPs in Kaplan's unit


def scale_of(name: str, part: str) -> float:
    """What the column's name says its numbers are multiples of: 1e9 for total_gflops or Params (B); 1 where it says nothing."""
    if part == "C":
        if any(re.fullmatch(r"[a-z]*p(?:eta)?f(?:lops?)?s?days?", word) for word in (plain(name), plain(_behind_slash(name)))):
            return PF_DAY
        found = re.fullmatch(rf"(?:total|compute|training|train)*({'|'.join(SI)})flops?", plain(_behind_slash(name)))
        return SI[found[1]] if found else 1.0
    found = _unit(name)
    return COUNTS.get(found[1], 1.0) if found and part in ("N", "D") else 1.0


def _unit(name: str) -> re.Match | None:
    """The last word of a name, as in Params (B) or tokens_b; of d_k the k is no unit."""
    found = re.search(r"[^a-z0-9]+([a-z]+)[^a-z0-9]*$", name.lower())
    return found if found and (len(plain(name[:found.start()])) > 1 or "(" in found[0]) else None


def plain(text: str) -> str:
    """Small letters and digits."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _behind_slash(name: str) -> str:
    return name.rpartition("/")[2]


def _whole(name: str, part: str) -> str:
    return plain(name)


def _logged(name: str, part: str) -> str:
    """Of config.n_params, what is behind a tracker's prefix."""
    found = TRACKERS.match(name)
    return plain(name[found.end():]) if found else ""


def _tracked(name: str, part: str) -> str:
    """Of throughput/total_tokens, what is behind the slash; tokens/params is a ratio, train/loss another quantity."""
    before, slash, last = name.rpartition("/")
    ratio = any(plain(before) in tier for other in PARTS.values() for tier in other.tiers)
    return "" if not slash or ratio else plain(last)


def _without_unit(name: str, part: str) -> str:
    """params of Params (B), flops of total_gflops; but plain tflops is more often a speed."""
    scale, last = scale_of(name, part), plain(_behind_slash(name))
    if scale == 1:
        return ""
    if part == "C":
        return "flops" if scale == PF_DAY or re.match("total|compute|training", last) else ""
    return plain(_behind_slash(name.lower()[:_unit(name).start()]))


def base_of(name: str) -> float | None:
    """The base of the logarithm that a column's name says it holds: 10, 2 or e, 0 for "log" alone; None where it says none."""
    found = LOGARITHM.match(name) or LOGARITHM_BEHIND.search(name)
    if found is None:
        return None
    return {"10": 10.0, "lg": 10.0, "2": 2.0, "ln": math.e}.get(found["base"].lower().removeprefix("log").strip("_ "), 0.0)


def _of_logarithm(name: str, part: str) -> str:
    """params of log10_params or ln(params); of a loss and a share the logarithm is another quantity."""
    if part not in ("N", "D", "C") or base_of(name) is None:
        return ""
    return plain(LOGARITHM_BEHIND.sub("", LOGARITHM.sub("", name)))


def candidates(names: Sequence[str], part: Part) -> tuple[str, ...]:
    """Columns that may play the part: all of the surest tier that has any, by their whole names before anything less."""
    names = tuple(dict.fromkeys(names))
    for known_as in (_whole, _logged, _tracked, _without_unit, _of_logarithm):
        words = {name: known_as(name, part.name) for name in names}
        for tier in part.tiers:
            found = tuple(name for name in names if words[name] in tier)
            if found:
                return found
    return ()


def named_as(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The first column of one of these plain names."""
    return next((name for word in known for name in names if word in (plain(name), _logged(name, ""))), None)


def lone_loss(names: Sequence[str]) -> tuple[str, ...]:
    """The only column whose name ends in loss."""
    like = tuple(dict.fromkeys(name for name in names if plain(name).endswith("loss")))
    return like if len(like) == 1 else ()


def chosen(names: Sequence[str], column: str, flag: str, source: str) -> str:
    """The column that a flag names. Raises BadTable where the table has none of that name."""
    if column in names:
        return column
    folded = [n for n in names if n.lower() == column.lower()]
    if len(folded) == 1:
        return folded[0]
    near = difflib.get_close_matches(column, [n[:80] for n in names], 1)
    hint = f"; did you mean {printable(near[0])!r}?" if near else f" (it has {listed(names)})"
    raise BadTable(f"{path_text(source)}: no column {printable(column)!r} for {flag}{hint}")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names of columns for a message, a dozen at most."""
    shown = ", ".join(printable(n, 30) for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def parts_of(names: Sequence[str], description: Description, flags: Mapping[str, str], source: str) -> dict[str, tuple[str, ...]]:
    """Part -> columns that may play it: the user's, else those the table says it of, else by name.

    Several where the names alone do not decide; every repeat counts as a seed. flags: part ->
    column named by the user. Raises BadTable where a column named by the user is missing, or
    no column can play L or N, or fewer than two of N, D, C are there.
    """
    found = {part.name: candidates(names, part) for part in PARTS.values()}
    found["L"] = found["L"] or lone_loss(names)
    said = {letter: description.lettered(letter) for letter in LETTERS} | {"seed": description.named("repeat")}
    found |= {part: columns for part, columns in said.items() if columns}
    found |= {part: (chosen(names, column, PARTS[part].flag, source),) for part, column in flags.items()}
    # A column plays one part: where a user gives it one, the others lose it.
    taken = {found[part][0] for part in flags}
    found = {part: found[part] if part in flags else tuple(n for n in columns if n not in taken)
             for part, columns in found.items()}
    if not found["C"] and not (found["N"] and found["D"]):
        found["C"] = found["budget"]   # what a run was planned for is what it took, but for rounding
    if missing := _missing(found, names):
        flags = " ".join(flag for flag, _ in missing)
        raise BadTable(f"{path_text(source)}: columns' names do not tell {', '.join(what for _, what in missing)}; the table has "
                       f"{listed(names)}: say which by {flags}")
    return {part: columns for part, columns in found.items() if columns}


def _missing(found: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> list[tuple[str, str]]:
    """What no fit can do without: the flag that names it, with a column that may be meant, and what it is."""
    missing = [] if found["N"] or found["C"] and found["D"] else [(f"--params {_like(names, 'param')}", "model size")]
    if not found["D"] and not found["C"] and not (named_as(names, UNIQUE) and named_as(names, EPOCHS)):
        like = _like(names, "token", "sample", "daten")
        missing.append((f"--samples {like} (or --flops COLUMN)", "training examples (or FLOPs)"))
    return missing + ([] if found["L"] else [(f"--loss {_like(names, 'loss')}", "loss")])


def _like(names: Sequence[str], *stems: str) -> str:
    """The columns that a user may have meant, as a shell takes them, or COLUMN."""
    like = [n for n in dict.fromkeys(names) if any(stem in n.lower() for stem in stems)]
    return " or ".join(shlex.quote(printable(n, 30)) for n in like[:3]) or "COLUMN"


def counts_of_parameters(names: Sequence[str]) -> list[str]:
    """Columns that may count parameters, by their names."""
    known = {word for tier in PARTS["N"].tiers for word in tier} - {"size"}
    words = {name: _logged(name, "N") or plain(name) for name in dict.fromkeys(names)}
    return [name for name, word in words.items() if word in known or re.search(r"(?<!per)(?<!h)param(eter)?s", word)]
