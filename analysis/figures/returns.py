"""The scaling of an agent: returns against compute, intrinsic performance against frames and size."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from analysis.estimates.words import shown
from analysis.figures.sheets import Plate
from analysis.figures.theme import (COLUMN, GREY, INK, SEQUENCE, colour_bar, heading, log_axes, log_norm, settle, sheet, themed,
                                    tidy_log_ticks)
from analysis.intrinsic.found import AgentLaws, AgentStudy

FIGURES = ("returns",)
MOST_GROUPS = 4   # rows of panels
FINE = 120        # points of a line


def plates(study: AgentStudy) -> Iterator[Plate]:
    """One row of panels a group: of a group without a law the learning curves alone."""
    told = [g for g in study.groups if g.curves][:MOST_GROUPS]
    laws = any(g.law for g in told)
    with themed():
        figure = sheet(3 if laws else 1, len(told), width=(0.85 if laws else 1.2) * COLUMN)
        sizes = np.concatenate([g.curves.sizes for g in told])
        norm = log_norm(sizes)
        for row, g in enumerate(told):
            panels = figure.axes[row * 3:row * 3 + 3] if laws else figure.axes[row:row + 1]
            plot_returns(g, panels[0], norm=norm)
            for ax, plot in zip(panels[1:], (plot_frames, plot_size), strict=True) if laws else ():
                if g.law is None:
                    ax.set_axis_off()
                else:
                    plot(g, ax, norm=norm)
            if len(study.groups) > 1:
                panels[0].set_title(heading(g.label), loc="left", fontweight="bold")
        if len(np.unique(sizes)) > 1:
            colour_bar(figure, norm, "parameters $N$")
        settle(figure)
    lines, law = ("the law (lines)", " Middle and right, intrinsic performance (the least compute that is worth as much) against "
                  "frames, and of each size's last points against size; black: the best of all sizes.") if laws else ("rising curves", "")
    yield Plate("returns", "The scaling of an agent", "Left, mean returns of each size, averaged over runs and steps of frames "
                f"(points), with {lines}; black, the most that compute buys.{law}", figure)


def plot_returns(g: AgentLaws, ax: Axes, *, norm) -> Axes:
    """Mean returns of each size against compute, the law or rising curves, and what the best size has."""
    merged = g.curves.merged()
    for s, (log_C, rising) in enumerate(merged.rising()):
        good, colour = merged.weight[s] > 0, SEQUENCE(norm(np.exp(merged.log_N[s])))
        ax.plot(np.exp(log_C), merged.R[s][good], ".", color=colour, ms=2.2, zorder=3)
        line = rising if g.law is None else g.law.fitted.returns(g.law.fitted.log_I(merged.log_N[s], merged.log_E[s][good]))
        ax.plot(np.exp(log_C), line, color=colour, lw=0.9, zorder=2)
    if g.law is not None:
        t = np.linspace(np.nanmin(merged.log_C), np.nanmax(merged.log_C), FINE)
        link, constant = g.law.fitted.link, g.law.fitted.shape.constant
        t = t[(t - constant >= link.low) & (t - constant <= link.high)]
        ax.plot(np.exp(t), g.law.fitted.returns(t), color=INK, lw=1.3, zorder=4, label="best of all sizes")
    elif g.levels:
        least, R = zip(*((v.compute.value, v.R) for v in g.levels), strict=True)
        ax.plot(least, R, "o", color=INK, ms=3, zorder=4, label="least compute")
    log_axes(ax, "compute $C$ (FLOPs)")
    ax.set_ylabel("mean return")
    tidy_log_ticks(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    return ax


def plot_frames(g: AgentLaws, ax: Axes, *, norm) -> Axes:
    """I of every mean return, by the fitted function, against frames: lines are the law's, dashed what frames alone allow."""
    fitted, merged = g.law.fitted, g.curves.merged()
    for s in range(len(merged.log_N)):
        good, colour = merged.weight[s] > 0, SEQUENCE(norm(np.exp(merged.log_N[s])))
        E = merged.log_E[s][good]
        ax.plot(np.exp(E), np.exp(fitted.least_compute(merged.R[s][good])), ".", color=colour, ms=2.2, zorder=3)
        ax.plot(np.exp(E), np.exp(fitted.log_I(merged.log_N[s], E)), color=colour, lw=0.9, zorder=2)
    E = np.linspace(np.nanmin(merged.log_E), np.nanmax(merged.log_E), 2)
    ax.plot(np.exp(E), np.exp(g.law.E_power.value * (E - fitted.shape.scales[1])), "--", color=GREY, lw=0.9,
            label=f"$E^{{\\,1/b}}$: {shown(g.law.E_power)}")
    C = np.linspace(np.nanmin(merged.log_C), np.nanmax(merged.log_C), FINE)
    _inside(ax, fitted.shape.best_frames(C), C)
    log_axes(ax, "frames $E$", "intrinsic performance $I$ (FLOPs)")
    tidy_log_ticks(ax)
    ax.legend(loc="best")
    return ax


def plot_size(g: AgentLaws, ax: Axes, *, norm) -> Axes:
    """I of each size's last mean returns against its size: dashed what size alone allows."""
    fitted, merged = g.law.fitted, g.curves.merged()
    for s, log_N in enumerate(merged.log_N):
        last = np.flatnonzero(merged.weight[s] > 0)[-3:]
        colour = SEQUENCE(norm(np.exp(log_N)))
        I = np.exp(fitted.least_compute(merged.R[s][last]))
        ax.plot(np.full(len(last), np.exp(log_N)), I, "o", color=colour, ms=2.6, zorder=3)
    N = np.linspace(merged.log_N.min(), merged.log_N.max(), FINE)
    most = np.nanmax(merged.log_E)
    ax.plot(np.exp(N), np.exp(fitted.log_I(N, most)), color=GREY, lw=0.9, label="at the most frames run")
    ax.plot(np.exp(N), np.exp(g.law.N_power.value * (N - fitted.shape.scales[0])), "--", color=GREY, lw=0.9,
            label=f"$N^{{\\,1/a}}$: {shown(g.law.N_power)}")
    C = np.linspace(np.nanmin(merged.log_C), np.nanmax(merged.log_C), FINE)
    _inside(ax, fitted.shape.best_size(C), C, label=f"$N^*$, $a$ = {shown(g.law.a)}")
    log_axes(ax, "parameters $N$", "intrinsic performance $I$ (FLOPs)")
    tidy_log_ticks(ax)
    ax.legend(loc="best")
    return ax


def _inside(ax: Axes, x, y, *, label: str | None = None) -> None:
    """A line along the best, black, within what is drawn already."""
    low, high = (f([f(line.get_xdata()) for line in ax.get_lines() if len(line.get_xdata())]) for f in (np.min, np.max))
    use = (np.exp(x) >= low) & (np.exp(x) <= high)
    ax.plot(np.exp(x[use]), np.exp(y[use]), color=INK, lw=1.3, label=label, zorder=4)
