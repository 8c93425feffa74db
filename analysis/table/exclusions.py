"""Which rows are fitted: what is left out is counted under the rule that left it out."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.table.contradictions import MOST, contradicting, sums_of_others
from analysis.table.parts import Rows
from analysis.table.settings import NAMED

# Chance loss is ln(classes). A dead network ends within a percent of it, and
# cells that barely began to learn, up to 5% below, tell of their start more than of a law.
CLASSES = {"mnist": 10, "fashion-mnist": 10, "kmnist": 10, "qmnist": 10, "emnist-digits": 10,
           "emnist-mnist": 10, "emnist-letters": 26, "emnist-balanced": 47, "emnist-bymerge": 47,
           "emnist-byclass": 62}
DIVERGED = 0.95
MOST_NAMED = 3   # rows that a line names


@dataclass(frozen=True)
class Exclusion:
    """Rows left out, and the rule that left them out."""

    code: str   # machine-readable and stable
    rows: int
    text: str


def diverged_from(dataset: object) -> float:
    """Loss from which a run on the data set of that name counts as diverged; infinite where it is unknown."""
    return DIVERGED * math.log(CLASSES[dataset]) if dataset in CLASSES else math.inf


def chance_limits(rows: Rows) -> np.ndarray:
    """(rows,) loss at which a run of its data set counts as diverged; infinite where unknown."""
    if "dataset" not in rows.labels:
        return np.full(rows.read, math.inf)
    data = rows.labels["dataset"]
    by_value = [diverged_from(v) for v in data.values]
    return np.array([*by_value, math.inf])[data.code]


def cleaned(rows: Rows, limit: np.ndarray) -> tuple[np.ndarray, tuple[Exclusion, ...]]:
    """Mask of the rows to fit, and what was left out by which rule; a row falls to the first."""
    keep = np.ones(rows.read, bool)
    excluded = [Exclusion("ragged_row", rows.ragged, "rows with another number of fields than the header")]

    def leave_out(bad: np.ndarray, code: str, text: str) -> None:
        nonlocal keep
        excluded.append(Exclusion(code, int((bad & keep).sum()), text))
        keep = keep & ~bad

    for part, mask in rows.text.items():
        cell = f" ({rows.quoted[part]!r})" if rows.quoted.get(part) else ""
        leave_out(mask, "text_" + part, f"rows with text for {part}{cell}")
    for part in ("N", "D", "C", "L"):
        value = rows.values[part]
        leave_out(~np.isfinite(value), "not_finite_" + part, f"rows with a missing or infinite {part}")
        leave_out(~(value > 0), "not_positive_" + part, f"rows with {part} <= 0")
        # Their logs are finite, but products and powers of them need not be.
        leave_out(~((value > 1e-30) & (value < 1e60)), "absurd_" + part, f"rows with {part} outside 1e-30..1e60")
    low = limit[np.isfinite(limit)]
    rule = f"diverged runs (loss >= {low.min():.3g})" if len(low) else "diverged runs"
    leave_out(rows.values["L"] >= limit, "diverged", rule)
    leave_out(_duplicates(rows, keep), "duplicate", "exact duplicates of another row")
    N, D, C = (rows.values[part] for part in "NDC")
    leave_out(_among(keep, sums_of_others(N[keep], D[keep])), "totals", "rows that are the sums of all others")
    if not any(d.code.startswith("derived_") for d in rows.doubts):
        far, said = contradicting(N[keep], D[keep], C[keep])
        if far.sum() <= MOST * len(far):
            leave_out(_among(keep, far), "contradicting_C", "rows whose C is far from the k N^p D of the others"
                      + _named(N[keep][far], D[keep][far], C[keep][far], said[far]))
    return keep, tuple(e for e in excluded if e.rows)


def _among(keep: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mask over all rows of those among the kept ones."""
    whole = np.zeros(len(keep), bool)
    whole[np.flatnonzero(keep)[rows]] = True
    return whole


def _named(N: np.ndarray, D: np.ndarray, C: np.ndarray, said: np.ndarray) -> str:
    """The first of some rows, each by what it is and what C the others say."""
    rows = [f"N {n:.3g}, D {d:.3g}: C {c:.3g}, by the others {s:.3g}" for n, d, c, s in zip(N, D, C, said, strict=True)]
    return f" ({'; '.join(rows[:MOST_NAMED])}{'; ...' if len(rows) > MOST_NAMED else ''})" if rows else ""


def _duplicates(rows: Rows, keep: np.ndarray) -> np.ndarray:
    """Mask of rows that repeat an earlier one in every column that we read; of other columns, settings tell rows apart: at two
    rates a loss of three digits may well be the same."""
    tags = [*rows.labels.values(), *([rows.seed] if rows.seed is not None else []),
            *(tag for name, tag in rows.others.items() if NAMED.search(name))]
    columns = [*rows.values.values(), *rows.extra.values(), *(tag.code for tag in tags)]
    index = np.flatnonzero(keep)
    # Sorting by a hash of the row puts equal rows side by side at the price of one sort.
    order = index[np.argsort(_hashes([column[index] for column in columns]), kind="stable")]
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        ahead, behind = column[order[1:]], column[order[:-1]]
        same &= (ahead == behind) | ((ahead != ahead) & (behind != behind))
    repeated = np.zeros(rows.read, bool)
    repeated[order[1:][same]] = True
    return repeated


def _hashes(columns: list[np.ndarray]) -> np.ndarray:
    """(n,) uint64, equal for equal rows and hardly ever otherwise (multiply and xorshift, as in splitmix64)."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = np.where(column == column, column + 0.0, np.nan).view(np.uint64)
        total = (total ^ bits) * np.uint64(0xBF58476D1CE4E5B9)
        total ^= total >> np.uint64(29)
    return total
