"""What a CARBS search found: its runs, and the laws that it wrote beside them in NAME.laws.json.

A search has no grid of (N, D): its runs differ in everything at once and crowd about its front, so
that approaches 1 to 3 would fit the search's path. The laws are the search's own: the optimum of
its fitted model at each cost, with posterior intervals (sweeps/carbs/laws.py).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from analysis.carbs.law import LawPoint, TunedLaw
from analysis.estimates.estimate import Estimate
from analysis.table.files import BadTable, open_sheet, read_columns
from analysis.table.formats.sheet import Dialect, Sheet, path_text, printable
from analysis.table.roles import Description, is_mnist
from analysis.table.values import labels, numbers

SEARCH, PROTOCOL = "search", "carbs"   # what a search's table says of itself; before November 2026, by its protocol
MOST_BYTES = 16 << 20     # of NAME.laws.json: hundreds of times what a search writes


@dataclass(frozen=True)
class FrontPoint:
    """A run on the front, and what the search believes of its loss."""

    config: Mapping[str, float]
    cost: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Tuned:
    """A search: its laws and its runs."""

    source: str
    laws: tuple[TunedLaw, ...]          # none where they are refused
    loss: tuple[LawPoint, ...]          # along the optimum
    front: tuple[FrontPoint, ...]
    low: float                          # the range of costs that the laws were fitted over; without laws, of the front
    high: float
    reference: float                    # cost that the anchors hold at
    spent: float                        # by all runs together, failed ones included
    observations: int                   # runs, failed ones included
    costs: np.ndarray                   # (n,) of the finished runs, in units of cost_name
    losses: np.ndarray                  # (n,)
    settings: Mapping[str, np.ndarray]  # (n,) of each quantity that has a law
    cost_name: str = "flops"            # the column that runs are charged by, or seconds
    loss_name: str = "val_loss"         # the column that is lowered
    loss_label: str = "validation loss $L$ (nats)"   # of an axis
    pinned: tuple[str, ...] = ()        # settings whose optimum lies at a bound: no exponent
    bends: tuple[str, ...] = ()         # settings whose exponent changes along the front, by a test at 5%
    refused: str = ""                   # why there is no law

    def law(self, name: str) -> TunedLaw:
        """Raises KeyError."""
        return next((law for law in self.laws if law.name == name), None) or {}[name]


def is_tuned(source: str, dialect: Dialect = Dialect()) -> bool:
    """Whether the file is a table of ours whose every row is of a CARBS search. Raises BadTable."""
    sheet = open_sheet(source, dialect)
    if sheet.description.study == SEARCH:
        return read_columns(sheet, sheet.description.lettered("L")).rows > 0
    if not is_mnist(sheet.flat) or "protocol" not in sheet.flat:
        return False
    block = read_columns(sheet, ["protocol"])
    return block.rows > 0 and set(labels(block.columns["protocol"]).values) == {PROTOCOL}


def laws_path(source: str) -> Path:
    return Path(source).with_suffix(".laws.json")


def read_tuned(source: str) -> Tuned:
    """The table and the laws beside it. Raises BadTable where either cannot be used."""
    path = laws_path(source)
    document = _document(path, source)
    try:
        laws = tuple(_law(item) for item in document["laws"])
        loss, front = tuple(_point(item) for item in document["loss"]), tuple(_front(item) for item in document["front"])
        low, high, reference = (_positive(document["cost"][name]) for name in ("low", "high", "reference"))
        spent, observations = _positive(document["spent"]), int(document["runs"])
        cost = str(document["cost"].get("name", "flops"))
        pinned, bends = (tuple(map(str, document.get(name, ()))) for name in ("pinned", "bends"))
        refused = str(document.get("refused", ""))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadTable(f"{path_text(path)}: not the laws of a CARBS search ({printable(error)}): run "
                       f"the search with --out {path_text(source)} once more, which writes them anew") from None
    if not front or not low <= high or not refused and (not laws or len(loss) < 2 or low == high):
        raise BadTable(f"{path_text(path)}: holds no law")
    sheet = open_sheet(source)
    charged, lowered = _cost_column(sheet, cost), _loss_column(sheet)
    names = [law.name for law in laws if law.name in sheet.flat]
    block = read_columns(sheet, list(dict.fromkeys([charged, lowered, *names])))
    values = {name: numbers(column).values for name, column in block.columns.items()}
    good = np.isfinite(values[charged]) & np.isfinite(values[lowered]) & (values[charged] > 0)
    return Tuned(source, laws, loss, front, low, high, reference, spent, observations, values[charged][good], values[lowered][good],
                 {name: values[name][good] for name in names}, cost, lowered, _loss_label(sheet.description, lowered), pinned, bends,
                 printable(refused, 200))


def _cost_column(sheet: Sheet, cost: str) -> str:
    """Seconds may stand in a column of another name, as the sweep takes them from it."""
    known = sheet.description.columns
    clocks = [name for name in sheet.description.named("clock", text=False) if known[name].unit == "s"]
    name = clocks[0] if cost == "seconds" and cost not in sheet.flat and clocks else cost
    if name not in sheet.flat:
        raise BadTable(f"{path_text(sheet.source)}: has no {printable(cost)}, by which the search beside it charged its runs")
    return name


def _loss_column(sheet: Sheet) -> str:
    name = next(iter(sheet.description.lettered("L")), "val_loss")
    if name not in sheet.flat:
        raise BadTable(f"{path_text(sheet.source)}: has no column of losses")
    return name


def _loss_label(description: Description, name: str) -> str:
    """Of an axis: a cross-entropy is L in nats, as everywhere; anything else by its own name."""
    unit = description.columns[name].unit if name in description.columns else "nat"
    if unit.startswith("nat"):
        return "validation loss $L$ (nats)"
    return name.replace("_", " ") + (f" ({unit})" if unit not in ("", "1") else "")


def _document(path: Path, source: str) -> dict:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadTable(f"{path_text(path)}: {path.stat().st_size:,} bytes are not the laws of a search")
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise BadTable(f"{path_text(source)}: a CARBS search, whose laws {printable(path.name)} are not beside it: run "
                       f"the search with --out {path_text(source)} once more, which writes them") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadTable(f"{path_text(path)}: {printable(error)}") from None


def _law(item: Mapping) -> TunedLaw:
    said = item["exponent"]
    exponent = Estimate(*(_finite(said[name]) for name in ("value", "low", "high", "se")), str(said["method"]),
                        int(said["n"]), _finite(said["level"]))
    return TunedLaw(str(item["name"]), str(item["kind"]), exponent, _finite(item["anchor"]),
                    tuple(_point(point) for point in item["curve"]))


def _point(item: Mapping) -> LawPoint:
    return LawPoint(_positive(item["cost"]), *(_finite(item[f.name]) for f in fields(LawPoint)[1:]))


def _front(item: Mapping) -> FrontPoint:
    config = {str(name): float(value) for name, value in item["config"].items() if isinstance(value, (int, float))}
    return FrontPoint(config, _positive(item["cost"]), *(_finite(item[name]) for name in ("loss", "low", "high")))


def _finite(value: object) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


def _positive(value: object) -> float:
    if not (number := _finite(value)) > 0:
        raise ValueError(f"{value} is not positive")
    return number
