"""Tables whose performance is a return, not a loss: points of learning curves, told by role or name, read, split into groups.

A row is a point of a run: its size N, the frames E that it has seen and the FLOPs C that it has taken so far, and the mean
return there. A return may be any number: nothing here takes its logarithm or leaves out what is negative.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.intrinsic.curves import Points
from analysis.table.columns import PARTS, RUNS, Part, candidates, chosen, listed, named_as, plain
from analysis.table.files import BadTable, open_sheet
from analysis.table.formats.sheet import Dialect, Sheet, path_text, printable
from analysis.table.groups import coded, driven, key_text, parted, split
from analysis.table.parts import Rows, rows_of, stacked
from analysis.table.roles import RETURN, RUN, Description, common_description
from analysis.table.values import Labels, values_as_labels

FLAG = "--return"
# On levels or episodes apart from training comes first, as with losses.
RETURNS = Part(RETURN, FLAG, "mean return", (
    ("heldoutreturn", "testreturn", "evalreturn", "evaluationreturn", "valreturn", "heldoutreward", "testreward", "evalreward",
     "evalmeanreward", "evalmeanreturn"),
    ("return", "returns", "meanreturn", "averagereturn", "avgreturn", "episodereturn", "episodicreturn", "meanepisodereturn",
     "meanepisodicreturn", "episodereturnmean", "averageepisodereturn", "epretmean", "normalizedreturn", "normalisedreturn",
     "reward", "rewards", "meanreward", "averagereward", "avgreward", "episodereward", "episoderewardmean", "meanepisodereward",
     "averageepisodereward", "eprewmean", "eprewardmean"),
    ("trainreturn", "trainingreturn", "recentreturn", "trainreward", "trainingreward")))
FRAMES = Part("D", "--samples", "interactions with the environment", (
    ("frames", "e", "envsteps", "envframes", "environmentsteps", "environmentframes", "environmentinteractions", "interactions",
     "timesteps", "numtimesteps", "totaltimesteps", "totalframes", "numframes", "numenvstepssampled"),
    ("globalstep", "steps", "step")))
COMPUTE = f"name FLOPs with {PARTS['C'].flag}; for an agent they are no 6 N E: acting, learning and epochs count"


@dataclass(frozen=True)
class ReturnGroup:
    """The learning curves that one law is fitted to."""

    label: str
    points: Points


@dataclass(frozen=True)
class ReturnTable:
    """All groups of the files read."""

    sources: tuple[str, ...]
    rows: int                      # read, before anything was left out
    columns: Mapping[str, str]     # N, E, C, R -> where it came from, for people
    groups: tuple[ReturnGroup, ...]
    doubts: tuple[Doubt, ...]


def return_column(sources: Sequence[str], flags: Mapping[str, str], dialect: Dialect = Dialect()) -> str | None:
    """The column that holds the tables' return, where that is their performance; None where it is a loss.

    flags: part -> column named by the user, of which "return" decides; else a role, else names where no held-out loss is
    known. Raises BadTable where a return is named as the loss, or both may be meant.
    """
    sheet = open_sheet(sources[0], dialect)
    if RETURN in flags:
        return chosen(sheet.flat, flags[RETURN], FLAG, sheet.source)
    by_role, source = sheet.description.lettered(RETURN), path_text(sheet.source)
    if "L" in flags:
        if flags["L"] in by_role or plain(flags["L"]) in {word for tier in RETURNS.tiers for word in tier}:
            raise BadTable(f"{source}: {printable(flags['L'])} is a return, and a return is no loss: name it with {FLAG}")
        return None
    if by_role:
        return by_role[0]
    found = candidates(sheet.flat, RETURNS)
    if not found or sheet.description.lettered("L") or any(plain(name) in PARTS["L"].tiers[0] for name in sheet.flat):
        return None
    if losses := candidates(sheet.flat, PARTS["L"]):
        raise BadTable(f"{source}: has a loss ({listed(losses, 3)}) and a return ({listed(found, 3)}): say which with --loss or "
                       f"{FLAG}")
    if len(found) > 1:
        raise BadTable(f"{source}: which column is the mean return? {listed(found)}; name one with {FLAG}")
    return found[0]


def read_returns(sources: Sequence[str], column: str, *, flags: Mapping[str, str] | None = None, by: Sequence[str] | None = None,
                 dialect: Dialect = Dialect()) -> ReturnTable:
    """flags, by: as read_table has them. Raises BadTable where N, frames or FLOPs are missing, or runs can't be told apart."""
    sheets = [open_sheet(source, dialect) for source in sources]
    description = common_description([s.description for s in sheets], [s.flat for s in sheets])
    fixed = tuple(dict.fromkeys(by or ()))
    rows = stacked([_rows(sheet, column, flags or {}, fixed, description) for sheet in sheets])
    source = path_text(sources[0])
    keep, left_out = _usable(rows)
    if not keep.any():
        raise BadTable(f"{source}: no row can be used: {'; '.join(d.text for d in left_out) or 'no rows'}")
    N, E, C, R = (rows.values[part][keep] for part in "NDCL")
    extra = {name: values[keep] for name, values in rows.extra.items()}
    labels = {name: tag.take(keep) for name, tag in rows.labels.items()}
    columns = fixed
    if by is None and description.splits is None:
        columns = split(description, extra, labels, {"N": N, "D": E, "C": C}).columns
    parts = parted({name: labels[name] if name in labels else values_as_labels(extra[name]) for name in columns}, len(N),
                   explicit=by is not None)
    run = distinct(np.argmax([part.rows for part in parts], axis=0), N, *_run_codes(rows, keep, description, extra, labels, E))
    points = Points(N, E, C, R, run)
    further = [n for n, tag in rows.others.items() if len(tag.values) > 1 and named_as([n], RUNS) is None]
    kept = _one_a_place(points, source, listed(further, 4))
    groups = tuple(ReturnGroup(key_text(part.key), points.take(kept[part.rows[kept]])) for part in parts)
    named = {"N": "N", "D": "E", "C": "C", "L": "R"}
    return ReturnTable(tuple(sources), rows.read, {letter: rows.columns[part] for part, letter in named.items()}, groups,
                       (*_told(rows.doubts), *left_out))


def _rows(sheet: Sheet, column: str, flags: Mapping[str, str], by: Sequence[str], description: Description) -> Rows:
    """Raises BadTable."""
    parts = {part: name for part, name in flags.items() if part in ("N", "D", "C", "seed")} | {"L": column}
    if "D" not in parts and not sheet.description.lettered("D") and (frames := candidates(sheet.flat, FRAMES)):
        parts["D"] = frames[0]
    asked = {"N": ("size", f"name the model size with {PARTS['N'].flag}"),
             "D": ("frames (interactions with the environment)", f"name them with {FRAMES.flag}"), "C": ("compute", COMPUTE)}
    for part, (what, remedy) in asked.items():
        if not (part in parts or sheet.description.lettered(part) or candidates(sheet.flat, PARTS[part])):
            raise BadTable(f"{path_text(sheet.source)}: no column tells the {what} of a point: {remedy} "
                           f"(the table has {listed(sheet.flat)})")
    return rows_of(sheet, parts, by, description)


def _usable(rows: Rows) -> tuple[np.ndarray, tuple[Doubt, ...]]:
    """Mask of the rows, and what was left out: a return may be negative or 0, a size may not."""
    keep, said = np.ones(rows.read, bool), []
    for part, name in (("N", "N"), ("D", "frames"), ("C", "FLOPs"), ("L", "return")):
        value = rows.values[part]
        bad = ~np.isfinite(value) if part == "L" else ~(np.isfinite(value) & (value > 0))
        if count := int((bad & keep).sum()):
            said.append(Doubt(f"excluded_{part}", f"left out {count:,} of {rows.read:,} rows: no {name}"))
        keep &= ~bad
    return keep, tuple(said)


def _run_codes(rows: Rows, keep: np.ndarray, description: Description, extra: Mapping[str, np.ndarray],
               labels: Mapping[str, Labels], E: np.ndarray) -> list[np.ndarray]:
    """Codes (n,) that tell runs apart: of a stranger's table its column of runs and its seed; of ours all that a run was told but
    the axes that make it longer."""
    seeds = [] if rows.seed is None else [rows.seed.code[keep]]
    if not description:
        return [*seeds, *([labels[RUN].code] if RUN in labels else [])]
    axes = {name: extra[name] for name in description.named("axis", text=False) if name in extra}
    text = {name: labels[name] for name in description.named("axis", "choice", text=True) if name in labels}
    codes = coded(axes, text)
    longer = [name for name in axes if description.columns[name].law == "D" or driven(name, codes, {"D": E})]
    choices = [extra[name] for name in description.named("choice", text=False) if name in extra]
    return [*seeds, *(np.unique(choice, return_inverse=True)[1] for choice in choices),
            *(code for name, code in codes.items() if name not in longer)]


def _one_a_place(points: Points, source: str, further: str) -> np.ndarray:
    """Rows without those that repeat another. Raises BadTable where a run has two returns at the same frames."""
    place = distinct(points.run, points.E)
    first = np.unique(distinct(place, points.R), return_index=True)[1]
    if len(first) > place.max() + 1:
        count = np.bincount(place[first])
        i = int(first[count[place[first]] > 1][0])
        hint = f" (it has {further})" if further else ""
        raise BadTable(f"{source}: several returns of one run at N {points.N[i]:.4g}, {points.E[i]:.4g} frames: name what tells "
                       f"repeats apart with --seed, kinds of run with --by{hint}")
    return np.sort(first)


def _told(doubts: Sequence[Doubt]) -> tuple[Doubt, ...]:
    """Without what is said of losses."""
    return tuple(d for d in doubts if d.code not in ("training_loss", "guessed_L"))
