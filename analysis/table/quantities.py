"""N, D, C, L and accuracy of a file's rows in units of one, complete: each step says what it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from analysis.estimates.refusal import Doubt
from analysis.table.columns import base_of, scale_of
from analysis.table.files import BadTable
from analysis.table.formats.sheet import path_text, printable

# The most that a size or an amount of data can be, in ones; FLOPs for each that tell a unit applied from one that is not.
LARGEST = {"N": 1e13, "D": 1e15}
CHINCHILLA = 20.0     # D / N of a usual run, for telling units where there is no D
STEADY = 0.3          # of log C / (6 N D), as a share of the spread of log N or log D
SLACK = 0.1           # of log D: whole batches and dropped remainders
LEAST_BUDGET = 1e6    # FLOPs: below, a budget is a label


@dataclass(frozen=True)
class Quantities:
    """What the rows say of each part."""

    values: Mapping[str, np.ndarray]   # part -> (n,) float64, NaN where missing
    columns: Mapping[str, str]         # part -> the column it came from, or how it was made
    doubts: tuple[Doubt, ...] = ()

    def having(self, part: str, values: np.ndarray, *doubts: Doubt, column: str | None = None) -> "Quantities":
        """With another value of the part."""
        columns = self.columns if column is None else {**self.columns, part: column}
        return replace(self, values={**self.values, part: values}, columns=columns, doubts=(*self.doubts, *doubts))

    def doubted(self, code: str, text: str) -> "Quantities":
        return replace(self, doubts=(*self.doubts, Doubt(code, text)))


def completed(read: Quantities, source: str) -> Quantities:
    """In ones, N, D and C all there, accuracy as a share. Raises BadTable where a budget is a mere label."""
    whole = with_missing_part(with_passes(with_budget_checked(in_units(from_logarithms(read, source)), source)))
    return as_share(with_unique(whole)) if "accuracy" in whole.values else with_unique(whole)


def from_logarithms(q: Quantities, source: str) -> Quantities:
    """N, D and C in ones where a column holds their logarithms: its name says so, or C = 6 N D holds only so.

    Raises BadTable where numbers can only be logarithms, and nothing proves it.
    """
    bases = {part: base for part in ("N", "D", "C") if part in q.values and (base := base_of(q.columns[part])) is not None}
    bases = {part: base or _likely_base(part, q.values[part]) for part, base in bases.items()}
    silent = [part for part in ("N", "D", "C") if part in q.values and part not in bases and _like_logarithms(q.values[part])]
    if silent:
        known = {part: bases[part] ** v if part in bases else v for part, v in q.values.items() if part in ("N", "D", "C")}
        proven = _proven_bases(silent, known)
        if proven is None:
            _refuse_logarithm(silent[0], q, source)
        bases |= proven
    made = q
    for part, base in bases.items():
        with np.errstate(all="ignore"):
            said = {10.0: "10", 2.0: "2"}.get(base, "e")
            made = made.having(part, base ** q.values[part], Doubt(
                f"logarithm_{part}", f"{part} is {printable(q.columns[part])}: taken for a logarithm to base {said}"))
    return made


def _refuse_logarithm(part: str, q: Quantities, source: str) -> None:
    low, high = np.nanmin(q.values[part]), np.nanmax(q.values[part])
    raise BadTable(f"{path_text(source)}: {part} from {low:.3g} to {high:.3g} ({printable(q.columns[part])}) looks like a "
                   "logarithm, or has a unit: give it in ones, or name its column as in log10_params, ln_params or params (B)")


def _likely_base(part: str, values: np.ndarray) -> float:
    """10 where that makes a possible size, else e."""
    return 10.0 if np.nanmax(values, initial=-np.inf) <= np.log10(LARGEST.get(part, 1e30)) else np.e


def _like_logarithms(values: np.ndarray) -> bool:
    """Fractions that span less than a factor of 2.2, between the logarithms of the smallest and the largest sizes and FLOPs."""
    known = np.unique(values[np.isfinite(values)])
    return bool(len(known) >= 3 and 4.5 <= known[0] and known[-1] <= 70 and known[-1] < 2.2 * known[0]
                and np.mean(known != np.round(known)) > 0.5)


def _proven_bases(silent: Sequence[str], values: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    """The bases of those of the silent parts that are logarithms, where C = 6 N D shows it; None where it shows nothing.

    It must hold steadily, and within a factor of 30, for the columns as they stand, or for possible sizes within a
    factor of 2 under one choice of bases, and better than under any other.
    """
    if len(values) < 3:
        return None
    off_of = {}
    for bases in product((None, 10.0, np.e), repeat=len(silent)):
        with np.errstate(all="ignore"):
            logs = {part: np.log10(v) for part, v in values.items()}
            logs |= {part: values[part] * np.log10(base) for part, base in zip(silent, bases, strict=True) if base is not None}
            off = logs["C"] - logs["N"] - logs["D"] - np.log10(6)
        good = np.isfinite(off)
        possible = all((logs[part][good] <= np.log10(LARGEST[part])).all() for part in "ND")
        if good.any() and possible and np.std(off[good]) <= STEADY * max(np.std(logs[part][good]) for part in "ND"):
            off_of[bases] = abs(float(np.median(off[good])))
    if off_of.pop((None,) * len(silent), np.inf) < 1.5:
        return {}
    best = min(off_of, key=off_of.get, default=None)
    return None if best is None or off_of[best] > 0.3 else {p: b for p, b in zip(silent, best, strict=True) if b is not None}


def in_units(q: Quantities) -> Quantities:
    """N, D and C in ones where a column's name says thousands, millions or GFLOPs, and its numbers bear it out."""
    made = q
    for part in ("N", "D", "C"):
        scale = scale_of(q.columns[part], part) if part in q.values else 1.0
        if scale == 1:
            continue
        name = printable(q.columns[part])
        if _borne_out(part, scale, made.values):
            made = made.having(part, q.values[part] * scale, Doubt(f"scaled_{part}", f"{part} is {name}: taken times {scale:g}"))
        else:
            made = made.doubted(f"not_scaled_{part}",
                                f"{part} is {name}, but its numbers are too large for that unit: taken as ones")
    return made


def _borne_out(part: str, scale: float, values: Mapping[str, np.ndarray]) -> bool:
    """Sizes that stay possible; FLOPs that come nearer to 6 N D, or to those of a usual run where N or D is all there is."""
    with np.errstate(all="ignore"):
        if part != "C":
            return bool(np.nanmedian(values[part]) * scale <= LARGEST[part])
        N = values.get("N", values.get("D", np.nan) / CHINCHILLA)
        off = np.log10(values["C"] / (6 * N * values.get("D", N * CHINCHILLA)))
    off = off[np.isfinite(off)]
    return bool(len(off) and abs(np.median(off) + np.log10(scale)) < abs(np.median(off)))


def with_budget_checked(q: Quantities, source: str) -> Quantities:
    """Where the planned budget stands in for C: a number of FLOPs, or BadTable."""
    if "C" not in q.columns or q.columns["C"] != q.columns.get("budget"):
        return q
    name, middle = printable(q.columns["C"]), np.nanmedian(q.values["C"])
    if not middle >= LEAST_BUDGET:
        raise BadTable(f"{path_text(source)}: {name} is no number of FLOPs (its median is {middle:.3g}); "
                       "name training examples or FLOPs with --samples or --flops")
    return q.doubted("budget_as_C", f"no column of FLOPs: the budget {name} is taken for what the runs took")


def with_passes(q: Quantities) -> Quantities:
    """D from how many different examples were seen how often, where nothing else says it."""
    if not q.values.keys() >= {"unique", "epochs"} or q.values.keys() & {"D", "C"}:
        return q
    said = f"no column of training examples: D = {printable(q.columns['unique'])} times {printable(q.columns['epochs'])}"
    return q.having("D", q.values["unique"] * q.values["epochs"], Doubt("derived_D", said), column=said)


def with_unique(q: Quantities) -> Quantities:
    """How many different examples each row saw, where a column says it or the number of epochs; epochs go."""
    v = dict(q.values)
    if (epochs := v.pop("epochs", None)) is None:
        return q
    with np.errstate(all="ignore"):
        by_epochs = v["D"] / np.maximum(epochs, 1.0)
        odd = int(((epochs > 1) & (np.abs(np.log(by_epochs / v.get("unique", by_epochs))) > SLACK)).sum())
    made = replace(q, values={"unique": by_epochs, **v})
    return made.doubted("epochs_disagree", f"D is not {printable(q.columns['unique'])} times {printable(q.columns['epochs'])} in {odd:,} "
                        f"rows: {printable(q.columns['epochs'])} is not believed") if odd else made


def with_missing_part(q: Quantities) -> Quantities:
    """The one of N, D, C that the table lacks, by C = 6 N D, said out loud."""
    lacking = next((part for part in ("C", "D", "N") if part not in q.values), None)
    if lacking is None:
        return q
    said = {"C": "no column of FLOPs: C = 6 N D, which holds for dense language models",
            "D": "no column of training examples: D = C / (6 N)", "N": "no column of model size: N = C / (6 D)"}[lacking]
    v = q.values
    with np.errstate(all="ignore"):
        made = 6.0 * v["N"] * v["D"] if lacking == "C" else v["C"] / (6.0 * v["N" if lacking == "D" else "D"])
    return q.having(lacking, made, Doubt(f"derived_{lacking}", said), column=said)


def as_share(q: Quantities) -> Quantities:
    """Accuracy in [0, 1]; percent are told by their size, anything else is missing."""
    accuracy = q.values["accuracy"]
    finite = accuracy[np.isfinite(accuracy)]
    percent = len(finite) > 0 and 1.5 < finite.max() <= 100
    share = accuracy / 100 if percent else accuracy
    with np.errstate(invalid="ignore"):
        share = np.where((share >= 0) & (share <= 1), share, np.nan)
    said = Doubt("accuracy_percent", "accuracy was taken as percent and divided by 100")
    return q.having("accuracy", share, *((said,) if percent else ()))
