"""A CARBS search: its performance-cost front, and each hyperparameter's law of the cost."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from analysis.carbs.found import Tuned, TunedLaw
from analysis.estimates.words import shown
from analysis.figures.compute import RASTER
from analysis.figures.sheets import Plate
from analysis.figures.theme import BLUE, COLUMN, HEIGHT, INK, RED, log_axes, plain, settle, sheet, themed, tidy_log_ticks

ODDS, LINEAR = "Logit", "Linear"   # kinds of a law that no power of the cost is
WORSE = 30.0                       # times the front's loss: runs above say nothing and would flatten the figure
DECIBEL = 1.26                     # losses within a tenth of a decade are shown on a linear axis


def plates_of_search(found: Tuned) -> Iterator[Plate]:
    """The front, all laws on one sheet, and a figure for each."""
    with themed():
        figure = sheet(1, width=1.5 * COLUMN, height=1.3 * HEIGHT)
        plot_front(found, figure.axes[0])
        settle(figure)
        yield Plate("front", "The front of the search",
                    "Every run of the search; the steps are the runs that it believes no other beats at equal or lower cost"
                    + (", the line is the loss along the laws' optimum with its 95% interval." if found.loss else "."), figure)
        for law in found.laws:
            figure = sheet(1)
            plot_law(found, law, figure.axes[0])
            settle(figure)
            yield Plate(f"law_{law.name}", f"The best {law.name} at each cost",
                        "The optimum of the search's fitted model with its 95% interval; circles are the runs of the front, "
                        "dots all others.", figure)


def plot_front(found: Tuned, ax: Axes) -> Axes:
    """Loss against cost: runs, front, and the loss along the laws where there are any."""
    cost, loss = (np.array([getattr(p, name) for p in found.front]) for name in ("cost", "loss"))
    worst = max(WORSE * loss[-1], loss.max())   # losses may be 0 and below: a shortfall is
    kept = found.losses <= worst
    shown = np.concatenate([found.losses[kept], loss])
    ax.scatter(found.costs[kept], found.losses[kept], s=5, color=BLUE, alpha=0.4, lw=0, rasterized=len(found.costs) > RASTER,
               label=f"{len(found.costs):,} runs")
    ax.step(cost, loss, where="post", color=BLUE, lw=1.0, label="front")
    if found.loss:
        curve = _columns(found.loss)
        ax.fill_between(curve["cost"], curve["low"], curve["high"], color=INK, alpha=0.15, lw=0)
        ax.plot(curve["cost"], curve["value"], color=INK, lw=1.3, label="loss along the laws")
    log_axes(ax, _cost_label(found), found.loss_label if shown.min() > 0 and shown.max() > DECIBEL * shown.min() else None)
    ax.set_ylabel(found.loss_label)
    _cost_limits(found, ax)
    ax.legend(loc="upper right")
    return ax


def _cost_label(found: Tuned) -> str:
    return f"cost of a run ({'FLOPs' if found.cost_name == 'flops' else found.cost_name.replace('_', ' ')})"


def _cost_limits(found: Tuned, ax: Axes) -> None:
    ax.set_xlim(found.low / 4, max(found.high, found.costs.max(initial=found.high)) * 1.3)
    tidy_log_ticks(ax)


def plot_law(found: Tuned, law: TunedLaw, ax: Axes) -> Axes:
    """One quantity against the cost of a run."""
    if law.name in found.settings:
        ax.scatter(found.costs, found.settings[law.name], s=4, color=BLUE, alpha=0.25, lw=0, rasterized=len(found.costs) > RASTER)
        near = [(p.cost, p.config.get(law.name)) for p in found.front]
        if all(value is not None for _, value in near):
            ax.scatter(*zip(*near, strict=True), s=14, facecolors="none", edgecolors=BLUE, lw=0.8)
    curve = _columns(law.curve)
    ax.fill_between(curve["cost"], curve["low"], curve["high"], color=RED, alpha=0.2, lw=0)
    ax.plot(curve["cost"], curve["value"], color=RED, lw=1.4, label=f"exponent {shown(law.exponent)}")
    label = plain(law.name) + (" (exponent: of the odds)" if law.kind == ODDS else "")
    log_axes(ax, _cost_label(found), None if law.kind == LINEAR else label)
    if law.kind == ODDS:
        ax.set_yscale("logit")
    if law.kind == LINEAR:
        ax.set_ylabel(label)
    _cost_limits(found, ax)
    ax.legend(loc="best")
    return ax


def _columns(points) -> dict[str, np.ndarray]:
    return {name: np.array([getattr(p, name) for p in points]) for name in ("cost", "value", "low", "high")}
