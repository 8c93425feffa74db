"""What a table says of its own columns: role, unit, meaning and letter, in the metadata of its Parquet fields.

    axis      where a run sits on a grid       measured  what came out
    choice    how it was trained               clock     seconds and dates
    repeat    a seed
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

ROLES = ("axis", "choice", "repeat", "measured", "clock")
LETTERS = ("N", "D", "C", "L", "accuracy")
RETURN = "return"   # the letter of a mean return, which is no loss: analysis/intrinsic/returns.py reads it
# Measured text that tells experiments apart, and text that tells versions of a trainer apart.
DATASET, FINGERPRINT = "dataset", "fingerprint"
RUN = "run of a row"   # what we call the column that says which run a row is a checkpoint of
MOST_SAID = 200   # characters of a unit or a meaning


@dataclass(frozen=True)
class Column:
    """One column, as its table describes it."""

    role: str             # of ROLES
    law: str = ""         # of LETTERS, or RETURN, where it is one
    text: bool = False    # labels (text, or yes and no), not numbers
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Description:
    """All that a table says of its columns; false where it says nothing."""

    task: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict)
    splits: tuple[str, ...] | None = None   # columns whose every value has a law of its own; None: judged by the data
    study: str = ""   # how its runs were chosen, where that was no grid: "search"
    hopeless: float = math.inf   # the loss of a model that knows nothing, where the task says it

    def __bool__(self) -> bool:
        return bool(self.columns)

    def named(self, *roles: str, text: bool | None = None) -> tuple[str, ...]:
        """Columns of these roles, in the table's order; of labels or of numbers alone where text is given."""
        return tuple(n for n, c in self.columns.items() if c.role in roles and text in (None, c.text))

    def lettered(self, letter: str) -> tuple[str, ...]:
        """Columns that are the law's letter: the measured ones, where something else was only planned."""
        found = [n for n, c in self.columns.items() if c.law == letter]
        return tuple(n for n in found if self.columns[n].role == "measured") or tuple(found)


# Tables of the network on MNIST that sweeps wrote until November 2026 have no roles, and CSV has no place for them.
# The further columns of those tables were always the same in one of them, or follow from these.
MNIST = Description("mnist", {
    "width": Column("axis"), "fraction": Column("axis"), "seed": Column("repeat"),
    "params": Column("measured", "N"), "samples": Column("measured", "D"), "flops": Column("measured", "C"),
    "val_loss": Column("measured", "L"), "val_accuracy": Column("measured", "accuracy"), "channels": Column("measured"),
    "lr": Column("choice"), "lr_rule": Column("choice", text=True), DATASET: Column("measured", text=True),
    FINGERPRINT: Column("measured", text=True)}, splits=("dropout", "protocol", "lr_rule", DATASET))
_MNIST_MARKS = {"width", "fraction", "dropout", "seed", *(name for name, c in MNIST.columns.items() if c.law)}


def described(schema: pa.Schema) -> Description:
    """What a Parquet file's metadata says. It may be anybody's: what is no role of ours says nothing."""
    columns = {}
    for f in schema:
        said = {_text(key): _text(value) for key, value in (f.metadata or {}).items()}
        if said.get("role") in ROLES and schema.names.count(f.name) == 1 and not pa.types.is_nested(f.type):
            law = said.get("law", "")
            columns[f.name] = Column(said["role"], law if law in (*LETTERS, RETURN) else "", _is_text(f.type), said.get("unit", ""),
                                     said.get("meaning", ""))
    if not columns:
        return Description()
    about = schema.metadata or {}
    return Description(_text(about.get(b"task", b"")), columns, study=_text(about.get(b"study", b"")),
                       hopeless=_positive(about.get(b"hopeless", b"")))


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace")[:MOST_SAID]


def _positive(said: bytes) -> float:
    """The number that is said, infinite where it is none above 0."""
    try:
        number = float(said)
    except ValueError:
        return math.inf
    return number if number > 0 else math.inf


def _is_text(kind: pa.DataType) -> bool:
    return not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_mnist(names: Sequence[str]) -> bool:
    """Whether these are the columns of the network on MNIST: further ones may be there, and some may be missing."""
    return set(names) >= _MNIST_MARKS


def common_description(said: Sequence[Description], names: Sequence[Sequence[str]]) -> Description:
    """Of tables that are stacked: what holds for all of them, empty where one is a stranger's or of another task."""
    if all(said) and len({d.task for d in said}) == 1:
        shared = set.intersection(*(set(d.columns) for d in said))
        return Description(said[0].task, {n: c for n, c in said[0].columns.items() if n in shared},
                           hopeless=said[0].hopeless if len({d.hopeless for d in said}) == 1 else math.inf)
    if all(is_mnist(n) for n in names):
        shared = set.intersection(*map(set, names))
        return Description(MNIST.task, {n: c for n, c in MNIST.columns.items() if n in shared},
                           tuple(n for n in MNIST.splits if n in shared))
    return Description()
