"""A file's columns with their parts resolved and N, D, C complete; several files stacked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.columns import OWN_EXTRAS, PARTS, chosen, listed, parts_by_name
from analysis.reading import BadTable, Sheet, printable, read_columns
from analysis.refusal import Doubt
from analysis.values import Labels, labels, numbers

TEXTUAL = ("lr_rule", "dataset", "fingerprint")   # of OWN_EXTRAS


@dataclass(frozen=True)
class Rows:
    """One file's columns, parts resolved, nothing left out yet."""

    values: dict[str, np.ndarray]       # N D C L accuracy budget and numeric extras; NaN where missing
    text: dict[str, np.ndarray]         # part -> mask of cells that hold text in place of a number
    labels: dict[str, Labels]           # seed, grouping columns and textual extras
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
    column_of = {part: name for part, columns in parts.items() if
                 (name := _resolve(part, columns, numeric, part in flags, sheet.source)) is not None}
    values = {part: numeric[name][0] for part, name in column_of.items() if part != "seed"}
    values |= {name: numeric[name][0] for name in extras if name not in TEXTUAL}
    tagged = {**{n: n for n in extras if n in TEXTUAL}, **by,
              **({"seed": column_of["seed"]} if "seed" in column_of else {})}
    columns = {part: printable(name) for part, name in column_of.items()}
    derived, doubts = _derive(values)
    columns |= {d.code.removeprefix("derived_"): d.text for d in doubts}
    if "accuracy" in values:
        share, percent = _as_share(values["accuracy"])
        derived, doubts = derived | {"accuracy": share}, doubts + percent
    if column_of["L"].lower().startswith(("train", "loss_train", "losstrain")):
        doubts += (Doubt("training_loss", f"the loss is {columns['L']}, on training data; the laws are about "
                         "held-out loss"),)
    return Rows(values | derived, {part: numeric[column_of[part]][1] for part in "NDCL" if part in column_of},
                {name: labels(block.columns[column]) for name, column in tagged.items()}, columns, doubts,
                block.rows, block.ragged)


def _parsed(column) -> tuple[np.ndarray, np.ndarray]:
    values, text = numbers(column)
    return values.to_numpy().astype(np.float64, copy=False), text.to_numpy().astype(bool, copy=False)


def _resolve(part: str, columns: tuple[str, ...], parsed: dict, explicit: bool, source: str) -> str | None:
    """The one column of several that plays the part: the only numeric one, or any of equals."""
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
    if any(not np.array_equal(first, parsed[n][0], equal_nan=True) for n in numeric[1:]):
        raise BadTable(f"{printable(source)}: which column is the {meaning}? {listed(numeric)} differ; "
                       f"name one with {flag}")
    return numeric[0]


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

    tags = {}
    for name in dict.fromkeys(n for f in files for n in f.labels):
        values = tuple(dict.fromkeys(v for f in files if name in f.labels for v in f.labels[name].values))
        place = {v: i for i, v in enumerate(values)}
        codes = [np.array([*(place[v] for v in f.labels[name].values), -1])[f.labels[name].code]
                 if name in f.labels else np.full(f.read, -1) for f in files]
        tags[name] = Labels(np.concatenate(codes), values)
    doubts = tuple(dict.fromkeys(d for f in files for d in f.doubts))
    columns = {part: " / ".join(dict.fromkeys(f.columns[part] for f in files if part in f.columns))
               for part in dict.fromkeys(p for f in files for p in f.columns)}
    return Rows(joined(lambda f: f.values, np.nan), joined(lambda f: f.text, False), tags, columns,
                 doubts, sum(f.read for f in files), sum(f.ragged for f in files))
