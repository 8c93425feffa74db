"""How every figure looks: one place for colour, type and size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

matplotlib.use("Agg")   # files only: no display, no toolkit

COLUMN = 3.4            # inches: one column of a two-column paper
HEIGHT = 2.7

# Okabe and Ito 2008: told apart by every common kind of colour vision, and in grey.
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#222222", "#777777", "#DDDDDD"
APPROACH = {1: ORANGE, 2: GREEN, 3: BLUE, 4: SKY}   # 4: approach 3 by the additive law, where another speaks
MARKER = {1: "s", 2: "o", 3: "D", 4: "d"}
GROUPS = (BLUE, RED, GREEN, PINK, ORANGE, SKY)

# Cividis without its palest end, which vanishes on white paper.
SEQUENCE = ListedColormap(colormaps["cividis"](np.linspace(0.0, 0.88, 256)))

STYLE = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 6.5, "legend.frameon": False, "legend.handlelength": 1.6, "legend.borderaxespad": 0.3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2, "lines.markersize": 3.2, "mathtext.fontset": "dejavusans",
    "savefig.dpi": 250, "text.hinting": "none", "svg.fonttype": "path", "svg.hashsalt": "scaling-law-lab", "figure.facecolor": "white",
}


@contextmanager
def themed() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def sheet(columns: int = 1, rows: int = 1, *, width: float = COLUMN, height: float = HEIGHT) -> Figure:
    """An empty figure with rows x columns axes; no pyplot, so nothing global."""
    # 72 dots an inch are an SVG's: what is measured for the layout need not be measured again
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained", dpi=72)
    figure.subplots(rows, columns)
    return figure


def settle(figure: Figure) -> None:
    """Lays the figure out once and for all: it costs as much as drawing, and each kind of file would do it again."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)   # not "none", under which every file is drawn twice, once for the layout


def plain(text: object) -> str:
    """A name from the table, with what matplotlib would take for mathematics disarmed."""
    return str(text).replace("\\", "\\\\").replace("$", r"\$")


def heading(label: str) -> str:
    """A group's name over its panel: wrapped, and cut where it would crowd the panel out."""
    return "\n".join(plain(line) for line in wrap(label, 42, max_lines=3, placeholder=" ..."))


def log_axes(ax: Axes, x: str | None = None, y: str | None = None) -> Axes:
    """Logarithmic axes with the labels given; None leaves an axis linear."""
    for label, axis, scale in ((x, ax.xaxis, ax.set_xscale), (y, ax.yaxis, ax.set_yscale)):
        if label is not None:
            scale("log")
            axis.set_label_text(label)
            _number(axis, power)
    return ax


def tidy_log_ticks(ax: Axes) -> None:
    """Ticks that are neither too few nor too many: 1, 2, 5 as numbers below two decades, ticks between decades up to three."""
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() == "log":
            _tidy(axis, abs(np.log10(limits[1] / limits[0])))


def _tidy(axis: Axis, decades: float) -> None:
    if decades < 0.45:
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)))
    elif decades < 0.9:
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7)))
    elif decades < 1.8:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if not 1.8 <= decades <= 3:
        axis.set_minor_locator(NullLocator())
    _number(axis, short if decades < 1.8 else power)


def _number(axis: Axis, write: Callable[[float], str]) -> None:
    """Numbers at the major ticks. As text: matplotlib's own go through a parser of TeX and take half of a figure's time."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_formatter(NullFormatter())


SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def power(value: float) -> str:
    """A power of ten as such; other numbers as `short` writes them."""
    exponent = round(np.log10(value)) if value > 0 else 0
    if not np.isclose(value, 10.0**exponent, rtol=1e-9):
        return short(value)
    return "10" + str(exponent).translate(SUPERSCRIPT)


def short(value: float) -> str:
    """0.05, 2, 20,000 as written by hand; 1.5e5 beyond."""
    if 1e-3 <= value < 1e5:
        return f"{value:,.10g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def log_norm(values: Sequence[float]) -> LogNorm:
    """A scale of colours over the values, fit to be shared by panels."""
    low, high = float(np.min(values)), float(np.max(values))
    return LogNorm(low, high if high > low else low * 1.01)


def colour_bar(figure: Figure, norm: LogNorm, label: str) -> None:
    """One bar for all panels of the figure."""
    bar = figure.colorbar(ScalarMappable(norm, SEQUENCE), ax=figure.axes, pad=0.01, aspect=32)
    _tidy(bar.ax.yaxis, np.log10(norm.vmax / norm.vmin))
    bar.set_label(label)
    bar.outline.set_visible(False)
