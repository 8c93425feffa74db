"""Exports of trackers with a row a value, made wide: a row a run.

MLflow's metrics and parameters and TensorBoard's scalars come as (run, key, value), often at
every step; a chart of Weights & Biases as a column a run. Of each run the last value of each key
is kept, which is where its training ended.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt
from analysis.table.formats.sheet import MAX_COLUMNS

KEYS = ("key", "tag", "metric", "metric_name", "variable", "param", "parameter", "tags")
VALUES = ("value", "metric_value")
NOISE = ("timestamp", "wall_time", "wall time", "walltime", "time", "is_nan", "index", "")   # of a logged value, not of its run
MOST_COLUMNS = 12   # of a table with a row a value: what else it has says which run it is
STEPS = ("step", "_step", "global_step", "iteration", "epoch", "timestamp")
MOST_CELLS = 20_000_000
CURVE = re.compile(r"(?P<run>.+) - (?P<metric>[^ ].*?)(?P<range>__MIN|__MAX)?")   # of a chart's column
SCALARS = ("wall time", "step", "value")   # the header of one curve of one run, as TensorBoard saves it


@dataclass(frozen=True)
class Long:
    """The columns of a table with a row a value."""

    run: tuple[str, ...]   # which together tell the run
    key: str
    value: str
    step: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.run, self.key, self.value, *(() if self.step is None else (self.step,)))


def long_columns(names: Sequence[str]) -> Long | None:
    """None where the table has no row a value."""
    lower = {name.lower(): name for name in names}
    key, value = (next((lower[n] for n in known if n in lower), None) for known in (KEYS, VALUES))
    if key is None or value is None or len(names) > MOST_COLUMNS:
        return None
    step = next((lower[n] for n in STEPS if n in lower), None)
    run = tuple(n for n in names if n not in (key, value, step) and n.lower() not in (*NOISE, *STEPS))
    return Long(run, key, value, step) if run else None


def is_chart(names: Sequence[str]) -> bool:
    """Whether it is a chart of Weights & Biases: a column of steps, and one a run and metric."""
    rest = [n for n in names if n.lower() not in STEPS]
    return 0 < len(rest) < len(names) and all(len(n) < 500 and CURVE.fullmatch(n) for n in rest)


def one_curve(names: Sequence[str]) -> bool:
    return tuple(n.lower() for n in names) == SCALARS


def widened(table: pa.Table, columns: Long) -> tuple[pa.Table, Doubt]:
    """A row a run, a column a key: the value at the last step. Raises OSError where that is no table of sense."""
    coded = {name: _coded(table[name]) for name in (*columns.run, columns.key)}
    keys = coded[columns.key]
    names = keys.dictionary.to_pylist()
    which = distinct(*(coded[name].indices.to_numpy() for name in columns.run))
    _, first, run = np.unique(which, return_index=True, return_inverse=True)
    if len(names) > MAX_COLUMNS or len(names) * len(first) > MOST_CELLS:
        raise OSError(f"has {len(first):,} runs of {len(names):,} different keys; "
                      "write those you need to a table of their own")
    steps = np.zeros(len(table)) if columns.step is None else _as_numbers(table[columns.step])
    order = np.argsort(steps, kind="stable")   # ties: the later row, as it was logged
    last = np.full((len(first), len(names)), -1)
    last[run[order], keys.indices.to_numpy()[order]] = order
    cells = table[columns.value].combine_chunks()
    made = {name: table[name].take(pa.array(first)) for name in columns.run}
    made |= {name if name not in made else name + ".": cells.take(pa.array(np.maximum(rows, 0), mask=rows < 0))
             for name, rows in zip(names, last.T, strict=True)}
    said = Doubt("made_wide", f"{len(table):,} rows of one value each are {len(first):,} runs, each with the last value of "
                 f"{len(names):,} keys")
    return pa.table(made), said


def _coded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return pc.dictionary_encode(pc.fill_null(column.cast(pa.string()), "").combine_chunks())


def from_chart(table: pa.Table) -> tuple[pa.Table, Doubt]:
    """A row a run: each curve's last value; its lowest and highest within a step are left out."""
    found: dict[str, dict[str, object]] = {}
    for name in table.column_names:
        curve = CURVE.fullmatch(name)
        if curve and not curve["range"]:
            known = table[name].drop_null()
            known = known.filter(pc.not_equal(known.cast(pa.string()), ""))
            found.setdefault(curve["run"], {})[curve["metric"]] = known[-1].as_py() if len(known) else None
    metrics = list(dict.fromkeys(m for run in found.values() for m in run))
    columns = {m: pa.array([None if run.get(m) is None else str(run[m]) for run in found.values()], pa.string()) for m in metrics}
    said = Doubt("made_wide", f"a chart of {len(found):,} runs: the last value of each curve")
    return pa.table({"run": list(found), **columns}), said


def _as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    try:
        return pc.fill_null(column.cast(pa.float64()), -np.inf).to_numpy()
    except pa.ArrowInvalid:
        return np.zeros(len(column))
