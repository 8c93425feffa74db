"""The picture of how data flows through the lab: python analysis/figures/dataflow.py [OUT.png]

Stations stand on a plane of 100 x 63 units; a page shows it 800 pixels wide, 8 of them a unit.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Outline

from analysis.figures.theme import BLUE, GREEN, GREY, INK, ORANGE, PINK, themed

OUT = Path(__file__).resolve().parents[1] / "published" / "dataflow.png"
WIDTH, HEIGHT = 100.0, 63.0
INCHES = 8.0       # wide: 800 pixels at 100 dots an inch
DOTS = 200         # an inch in the file, for screens that show two dots for one
TITLE, TEXT, LABEL = 10.0, 7.6, 7.2   # points: at 800 pixels no letter is smaller than on the page around it

Point = tuple[float, float]


@dataclass(frozen=True)
class Station:
    """A box: its lower left corner, its size, and what stands in it."""

    x: float
    y: float
    width: float
    height: float
    title: str
    text: str
    colour: str

    def at(self, side: str, shift: float = 0.0) -> Point:
        """The middle of a side, moved along it."""
        middle, centre = self.x + self.width / 2, self.y + self.height / 2
        return {"left": (self.x, centre + shift), "right": (self.x + self.width, centre + shift),
                "top": (middle + shift, self.y + self.height), "bottom": (middle + shift, self.y)}[side]


@dataclass(frozen=True)
class Region:
    """Where stations run, or lie."""

    x: float
    y: float
    width: float
    height: float
    name: str
    name_y: float    # middle of the name
    colour: str


@dataclass(frozen=True)
class Way:
    """What travels from station to station, along corners."""

    corners: tuple[Point, ...]
    label: str
    label_at: Point
    align: str = "center"
    aside: bool = False      # not on the main way: dashed
    both: bool = False       # there and back


TASK = Station(1.5, 38.5, 17, 12, "Task", "your function, or\ncolumns, data,\ncost and training", BLUE)
GRID = Station(30, 38.5, 17, 12, "Grid or search", "what is asked for,\nless what the\ntable has", ORANGE)
TUNING = Station(30, 23, 17, 9.6, "Tuning", "an Optuna study\nfor each group", ORANGE)
DISPATCHER = Station(57, 38.5, 17, 12, "Dispatcher", "hands out runs,\ntries again,\nrecords failures", ORANGE)
WORKERS = Station(82, 38.5, 15, 12, "Ray workers", "train a run,\nsave its state,\nyield its rows", GREEN)
STORE = Station(57, 5, 17, 12, "Store", "journal, folded\ninto Parquet; no\ncrash tears it", GREY)
ANALYSIS = Station(30, 5, 17, 12, "Analysis", "laws, intervals,\nclaims tested,\nor a refusal", PINK)
REPORT = Station(1.5, 5, 17, 12, "Report", "text, HTML page,\nfit.json, figures", PINK)
STATIONS = (TASK, GRID, TUNING, DISPATCHER, STORE, ANALYSIS, REPORT)

REGIONS = (
    Region(27.5, 21.2, 47.9, 33.3, "the driver", 52.7, ORANGE),
    Region(80.4, 35.5, 19.4, 19, "any node", 52.7, GREEN),
    Region(-0.3, 0.6, 48.8, 18.4, "any machine, without Ray or torch", 2.6, PINK),
)

WAYS = (
    Way((TASK.at("right"), GRID.at("left")), "columns\nand roles", (23.6, 47.0)),
    Way((TUNING.at("top"), GRID.at("bottom")), "tuned values", (39.4, 35.3), align="left"),
    Way((GRID.at("right"), DISPATCHER.at("left")), "runs\nof cells", (52.0, 47.0)),
    Way((DISPATCHER.at("right", 2.5), WORKERS.at("left", 2.5)), "cells", (77.9, 48.4)),
    Way((WORKERS.at("left", -2.5), DISPATCHER.at("right", -2.5)), "rows", (77.9, 40.5)),
    Way((DISPATCHER.at("bottom", 4), STORE.at("top", 4)), "every finished\nrow, at once", (68.4, 33.0), align="right"),
    Way((STORE.at("left"), ANALYSIS.at("right")), "rows: role,\nunit, letter", (52.6, 13.7)),
    Way((ANALYSIS.at("left"), REPORT.at("right")), "estimates,\nrefusals", (24.2, 13.7)),
    Way((TASK.at("top"), (10.0, 59.5), (89.5, 59.5), WORKERS.at("top")), "code and data, once a node", (50.0, 61.1), aside=True),
    Way((STORE.at("top", -5), (60.5, 27.8), TUNING.at("right")), "what is\nfinished", (53.5, 30.6), aside=True),
    Way(((89.5, WORKERS.y - 1.4), (89.5, 11.0), STORE.at("right")), "saved states", (82.0, 13.0), aside=True, both=True),
)


def draw(ax: Axes) -> Axes:
    """Regions, the ways over them, and the stations."""
    ax.set(xlim=(-0.5, WIDTH + 0.5), ylim=(0, HEIGHT), aspect="equal")
    ax.set_axis_off()
    for region in REGIONS:
        _frame(ax, region.x, region.y, region.width, region.height, face=region.colour, strength=0.08)
        ax.text(region.x + 1.8, region.name_y, region.name, color=INK, fontsize=LABEL, style="italic", va="center")
    for way in WAYS:
        _way(ax, way)
    for step in (1.4, 0.7):   # more than one of them
        _frame(ax, WORKERS.x + step, WORKERS.y - step, WORKERS.width, WORKERS.height, face="white", edge=WORKERS.colour)
    for station in (*STATIONS, WORKERS):
        _station(ax, station)
    return ax


def _station(ax: Axes, station: Station) -> None:
    _frame(ax, station.x, station.y, station.width, station.height, face="white", edge=station.colour)
    middle, top = station.x + station.width / 2, station.y + station.height
    ax.text(middle, top - 2.7, station.title, ha="center", va="center", fontsize=TITLE, weight="bold", color=INK)
    ax.text(middle, top - 4.9, station.text, ha="center", va="top", fontsize=TEXT, color=INK, linespacing=1.25)


def _way(ax: Axes, way: Way) -> None:
    path = Outline(way.corners)
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="<|-|>" if way.both else "-|>", mutation_scale=9, color=GREY if way.aside else INK,
                                 lw=1.0 if way.aside else 1.4, ls=(0, (4, 2.2)) if way.aside else "-", fill=True, joinstyle="round"))
    ax.text(*way.label_at, way.label, ha=way.align, va="center", fontsize=LABEL, color=INK, linespacing=1.15)


def _frame(ax: Axes, x: float, y: float, width: float, height: float, *, face: str, edge: str = "none", strength: float = 1.0) -> None:
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1.1", facecolor=face, alpha=strength,
                                edgecolor=edge, lw=1.3))


def main(argv: list[str] | None = None) -> None:
    named = sys.argv[1:] if argv is None else argv
    out = Path(named[0]) if named else OUT
    with themed():
        figure = Figure(figsize=(INCHES, INCHES * HEIGHT / (WIDTH + 1)), dpi=DOTS)
        draw(figure.add_axes((0, 0, 1, 1)))
        figure.savefig(out, dpi=DOTS, metadata={"Software": None})
    print(out)


if __name__ == "__main__":
    main()
