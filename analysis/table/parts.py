"""A file's columns with their parts resolved and N, D, C complete; several files stacked."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analysis.estimates.refusal import Doubt
from analysis.table.columns import OWN_EXTRAS, PARTS, candidates, chosen, listed, parts_by_name, scale_of
from analysis.table.files import BadTable, Sheet, printable, read_columns
from analysis.table.values import Labels, labels, numbers

TEXTUAL = ("lr_rule", "dataset", "fingerprint")   # of OWN_EXTRAS
MOST_ROWS, MOST_OTHERS, MOST_VALUES = 20_000, 64, 24   # of a table whose further columns are looked at, and of those
# The most that a size or an amount of data can be, in ones; FLOPs for each that tell a unit applied from one that is not.
LARGEST = {"N": 1e13, "D": 1e15}
CHINCHILLA = 20.0     # D / N of a usual run, for telling units where there is no D
LEAST_BUDGET = 1e6    # FLOPs: below, a budget is a label
NEARLY = 0.01   # two columns of one meaning that differ by less are one: planned tokens, and tokens in whole batches


@dataclass(frozen=True)
class Rows:
    """One file's columns, parts resolved, nothing left out yet."""

    values: dict[str, np.ndarray]       # N D C L accuracy budget and numeric extras; NaN where missing
    text: dict[str, np.ndarray]         # part -> mask of cells that hold text in place of a number
    labels: dict[str, Labels]           # seed, grouping columns and textual extras
    others: dict[str, Labels]           # columns of few values that play no part
    columns: dict[str, str]
    doubts: tuple[Doubt, ...]
    read: int
    ragged: int


def rows_of(sheet: Sheet, flags: Mapping[str, str], grouping: tuple[str, ...], ours: bool) -> Rows:
    """The columns of one file that play a part, group or are extras of our own. Raises BadTable."""
    by = {name: chosen(sheet.flat, name, "--by", sheet.source) for name in grouping}
    parts = parts_by_name(sheet.flat, flags, sheet.source)
    extras = [n for n in OWN_EXTRAS if n in sheet.flat] if ours else []
    in_parts = [column for columns in parts.values() for column in columns]
    block = read_columns(sheet, list(dict.fromkeys([*in_parts, *by.values(), *extras])))
    numeric = {n: _parsed(block.columns[n]) for n in dict.fromkeys([*in_parts, *extras]) if n not in TEXTUAL}
    nearly: list[Doubt] = []
    column_of = {part: name for part, columns in parts.items() if
                 (name := _resolve(part, columns, numeric, part in flags, sheet.source, nearly)) is not None}
    values = {part: numeric[name][0] for part, name in column_of.items() if part != "seed"}
    values, scaled = _in_units(values, column_of)
    values |= {name: numeric[name][0] for name in extras if name not in TEXTUAL}
    tagged = {**{n: n for n in extras if n in TEXTUAL}, **by,
              **({"seed": column_of["seed"]} if "seed" in column_of else {})}
    columns = {part: printable(name) for part, name in column_of.items()}
    derived, doubts = _derive(values)
    columns |= {d.code.removeprefix("derived_"): d.text for d in doubts}
    doubts += (*nearly, *scaled)
    if "C" in column_of and column_of["C"] == column_of.get("budget"):
        if not np.nanmedian(values["C"]) >= LEAST_BUDGET:
            raise BadTable(f"{printable(sheet.source)}: {columns['C']} is no number of FLOPs (its median is "
                           f"{np.nanmedian(values['C']):.3g}); name training examples or FLOPs with --samples or --flops")
        doubts += (Doubt("budget_as_C", f"no column of FLOPs: the budget {columns['C']} is taken for what the runs took"),)
    if "accuracy" in values:
        share, percent = _as_share(values["accuracy"])
        derived, doubts = derived | {"accuracy": share}, doubts + percent
    if "L" not in flags and column_of["L"] not in candidates(sheet.flat, PARTS["L"]) and not ours:
        doubts += (Doubt("guessed_L", f"the loss is {columns['L']}, the only column whose name ends in loss"),)
    if "train" in column_of["L"].lower():
        doubts += (Doubt("training_loss", f"the loss is {columns['L']}, on training data; the laws are about "
                         "held-out loss"),)
    values |= derived
    others = {} if ours or grouping else _others(sheet, {*in_parts, *by.values()}, block.rows)
    return Rows(values, {part: numeric[column_of[part]][1] for part in "NDCL" if part in column_of},
                {name: labels(block.columns[column]) for name, column in tagged.items()}, others, columns, doubts,
                block.rows, block.ragged)


def _others(sheet: Sheet, used: set[str], rows: int) -> dict[str, Labels]:
    """Columns without a part that may name experiments; what nobody asked for may be damaged or odd, and is then left alone."""
    names = [name for name in sheet.flat if name not in used and sheet.names.count(name) == 1]
    tags = {}
    if rows <= MOST_ROWS and len(names) <= MOST_OTHERS:
        with suppress(BadTable):
            block = read_columns(sheet, names)
            for name, column in block.columns.items():
                with suppress(pa.ArrowException, ValueError):
                    tags[name] = labels(column)
    return {name: tag for name, tag in tags.items() if len(tag.code) == rows and len(tag.values) <= MOST_VALUES}


def _parsed(column) -> tuple[np.ndarray, np.ndarray]:
    values, text = numbers(column)
    return values.to_numpy().astype(np.float64, copy=False), text.to_numpy().astype(bool, copy=False)


def _in_units(values: dict[str, np.ndarray], column_of: dict[str, str]) -> tuple[dict[str, np.ndarray], tuple[Doubt, ...]]:
    """N, D and C in ones where a column's name says thousands, millions or GFLOPs, and its numbers bear it out."""
    made, doubts = dict(values), []
    for part in ("N", "D", "C"):
        scale = scale_of(column_of[part], part) if part in column_of else 1.0
        if scale == 1:
            continue
        name = printable(column_of[part])
        if _borne_out(part, scale, made):
            made[part] = values[part] * scale
            doubts.append(Doubt(f"scaled_{part}", f"{part} is {name}: taken times {scale:g}"))
        else:
            doubts.append(Doubt(f"not_scaled_{part}", f"{part} is {name}, but its numbers are too large for that unit: taken as ones"))
    return made, tuple(doubts)


def _borne_out(part: str, scale: float, values: dict[str, np.ndarray]) -> bool:
    """Sizes that stay possible; FLOPs that come nearer to 6 N D, or to those of a usual run where N or D is all there is."""
    with np.errstate(all="ignore"):
        if part != "C":
            return bool(np.nanmedian(values[part]) * scale <= LARGEST[part])
        N = values.get("N", values.get("D", np.nan) / CHINCHILLA)
        off = np.log10(values["C"] / (6 * N * values.get("D", N * CHINCHILLA)))
    off = off[np.isfinite(off)]
    return bool(len(off) and abs(np.median(off) + np.log10(scale)) < abs(np.median(off)))


def _resolve(part: str, columns: tuple[str, ...], parsed: dict, explicit: bool, source: str, nearly: list[Doubt]) -> str | None:
    """The one column of several that plays the part: the only numeric one, or the first of several that say the same.

    What differs by less than NEARLY is noted in `nearly`.
    """
    flag, meaning = PARTS[part].flag, PARTS[part].meaning
    if part == "seed":
        return columns[0]
    numeric = [n for n in columns if np.isfinite(parsed[n][0]).any()]
    if not numeric:
        if explicit or part in ("N", "L"):
            rows = len(parsed[columns[0]][0])
            if rows:
                raise BadTable(f"{printable(source)}: column {printable(columns[0])!r} holds no number; "
                               f"name the {meaning} with {flag}")
        return columns[0] if part in ("N", "L", "D", "C") else None
    first = parsed[numeric[0]][0]
    apart = max((_apart(first, parsed[n][0]) for n in numeric[1:]), default=0.0)
    if apart >= (NEARLY if part in ("N", "D", "C", "budget") else 1e-12):
        raise BadTable(f"{printable(source)}: which column is the {meaning}? {listed(numeric)} differ; "
                       f"name one with {flag}")
    if apart:
        nearly.append(Doubt("columns_differ", f"{listed(numeric)} differ by {apart:.2g} at most: {printable(numeric[0])} "
                            f"is the {meaning}"))
    return numeric[0]


def _apart(first: np.ndarray, other: np.ndarray) -> float:
    """Largest relative difference; infinite where one has a number and the other has none."""
    if not np.array_equal(np.isfinite(first), np.isfinite(other)):
        return np.inf
    differ = np.isfinite(first) & (first != other)
    larger = np.maximum(np.abs(first[differ]), np.abs(other[differ]))
    return float(np.max(np.abs(first[differ] - other[differ]) / larger, initial=0.0))


def _derive(values: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[Doubt, ...]]:
    """The one of N, D, C that the table lacks, by C = 6 N D, said out loud."""
    with np.errstate(all="ignore"):
        if "C" not in values:
            return ({"C": 6.0 * values["N"] * values["D"]},
                    (Doubt("derived_C", "no column of FLOPs: C = 6 N D, which holds for dense language models"),))
        if "D" not in values:
            return ({"D": values["C"] / (6.0 * values["N"])},
                    (Doubt("derived_D", "no column of training examples: D = C / (6 N)"),))
        if "N" not in values:
            return ({"N": values["C"] / (6.0 * values["D"])},
                    (Doubt("derived_N", "no column of model size: N = C / (6 D)"),))
    return {}, ()


def _as_share(accuracy: np.ndarray) -> tuple[np.ndarray, tuple[Doubt, ...]]:
    """Accuracy in [0, 1]; percent are told by their size, anything else is missing."""
    finite = accuracy[np.isfinite(accuracy)]
    percent = len(finite) > 0 and 1.5 < finite.max() <= 100
    share = accuracy / 100 if percent else accuracy
    with np.errstate(invalid="ignore"):
        share = np.where((share >= 0) & (share <= 1), share, np.nan)
    return share, (Doubt("accuracy_percent", "accuracy was taken as percent and divided by 100"),) if percent else ()


def stacked(files: list[Rows]) -> Rows:
    """The rows of all files; what a file lacks is missing there."""
    if len(files) == 1:
        return files[0]

    def joined(pick, missing) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for f in files for name in pick(f))
        return {n: np.concatenate([pick(f).get(n, np.full(f.read, missing)) for f in files]) for n in names}

    def labelled(pick) -> dict[str, Labels]:
        tags = {}
        for name in dict.fromkeys(n for f in files for n in pick(f)):
            values = tuple(dict.fromkeys(v for f in files if name in pick(f) for v in pick(f)[name].values))
            place = {v: i for i, v in enumerate(values)}
            codes = [np.array([*(place[v] for v in pick(f)[name].values), -1])[pick(f)[name].code]
                     if name in pick(f) else np.full(f.read, -1) for f in files]
            tags[name] = Labels(np.concatenate(codes), values)
        return tags

    doubts = tuple(dict.fromkeys(d for f in files for d in f.doubts))
    columns = {part: " / ".join(dict.fromkeys(f.columns[part] for f in files if part in f.columns))
               for part in dict.fromkeys(p for f in files for p in f.columns)}
    everywhere = {name: tag for name, tag in labelled(lambda f: f.others).items() if all(name in f.others for f in files)}
    return Rows(joined(lambda f: f.values, np.nan), joined(lambda f: f.text, False), labelled(lambda f: f.labels), everywhere,
                columns, doubts, sum(f.read for f in files), sum(f.ragged for f in files))
