"""Kaplan's laws: loss against one variable at a time, and the critical batch size."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from analysis.critical_batch.critical import KAPLAN_B, KAPLAN_POWER, CriticalBatch
from analysis.estimates.words import shown
from analysis.figures.sheets import Plate
from analysis.figures.theme import (BLUE, COLUMN, GREY, INK, RED, SEQUENCE, colour_bar, heading, log_axes, log_norm, settle,
                                    sheet, themed, tidy_log_ticks)
from analysis.power_laws.direct import Direct
from analysis.power_laws.found import KaplanLaws, KaplanStudy
from analysis.power_laws.limits import LimitLaw
from analysis.power_laws.published import KAPLAN

LABEL = {"N": "parameters $N$", "D": "training examples $D$", "C": "training compute $C$ (FLOPs)"}
FIGURES = ("power_laws", "critical_batch")
MOST_GROUPS = 3   # rows of panels


def plates(study: KaplanStudy) -> Iterator[Plate]:
    """What the groups have results for."""
    told = [g for g in study.groups if g.limits or g.direct][:MOST_GROUPS]
    batches = [g for g in study.groups if g.batch][:MOST_GROUPS]
    with themed():
        if told:
            yield _power_laws(told)
        if batches:
            yield _critical(batches)


def plot_one_variable(variable: str, limit: LimitLaw | None, direct: Direct | None, ax: Axes) -> Axes:
    """Points read off the runs and the law through them, the joint law's limit, and Kaplan's exponent through their middle."""
    if direct is not None:
        x = np.geomspace(direct.laws.low, direct.laws.high, 60)
        law = direct.laws.supported
        ax.plot(direct.laws.x, direct.laws.L, "o", color=BLUE, ms=3.5, zorder=4)
        ax.plot(x, law(x), color=BLUE, lw=1.0, zorder=3, label=f"runs: {shown(law.exponent)}" + (
            f"\nabove {shown(law.floor)}" if law.floor else ""))
    if limit is not None:
        x = np.geomspace(limit.low, limit.high, 60)
        ax.plot(x, limit(x), color=INK, lw=1.3, zorder=2, label=f"joint law: {shown(limit.exponent)}\nabove {shown(limit.floor)}"
                + (f", below {limit.top:.3g}" if limit.c else ""))
    lines = ax.get_lines()
    x, y = (np.concatenate([line.get_data()[i] for line in lines]) for i in (0, 1))
    ends, slope = np.array([x.min(), x.max()]), KAPLAN[variable].exponent
    ax.plot(ends, np.exp(np.log(y).mean()) * (ends / np.exp(np.log(x).mean())) ** -slope, "--", color=GREY, lw=0.9, zorder=1,
            label=f"Kaplan et al.: {slope:g}")
    log_axes(ax, LABEL[variable], "loss $L$")
    tidy_log_ticks(ax)
    ax.legend(loc="best")
    return ax


def plot_steps_and_examples(batch: CriticalBatch, ax: Axes, *, norm) -> Axes:
    """Examples against steps to each loss, over S_min and E_min of each size: one hyperbola for all."""
    crossings = batch.crossings
    for level in batch.levels:
        j = int(np.argmin(np.abs(crossings.level - level.loss)))
        for size, least in zip(level.sizes, level.least_steps, strict=True):
            mine = (crossings.N == size) & np.isfinite(crossings.steps[:, j])
            S, E = crossings.steps[mine, j], crossings.examples[mine, j]
            ax.scatter(S / least, E / (least * level.batch.value), s=9, color=SEQUENCE(norm(level.loss)), lw=0, zorder=3)
    far = 1.5 * max(points.get_offsets().max() for points in ax.collections)
    s = np.geomspace(1 + 1 / far, far, 100)
    ax.plot(s, 1 + 1 / (s - 1), color=INK, lw=1.0, zorder=2, label="$(S/S_{min}-1)(E/E_{min}-1)=1$")
    log_axes(ax, "steps $S / S_{min}$", "examples $E / E_{min}$")
    ax.set_xlim(0.9, far)
    ax.set_ylim(0.9, far)
    tidy_log_ticks(ax)
    ax.legend(loc="upper right")
    return ax


def plot_critical_batch(batch: CriticalBatch, ax: Axes, *, norm) -> Axes:
    """B_crit at each loss with its interval, the law through all, and Kaplan's slope through its middle."""
    tried = batch.crossings.B
    ax.axhspan(tried.min(), tried.max(), color=GREY, alpha=0.12, lw=0, label="batch sizes tried")
    for level in batch.levels:
        low, high = max(level.batch.low, tried.min() / 30), min(level.batch.high, tried.max() * 30)
        ax.plot([level.loss] * 2, [low, high], color=SEQUENCE(norm(level.loss)), lw=1.1)
        if level.closed:
            ax.plot(level.loss, level.batch.value, "o", color=SEQUENCE(norm(level.loss)), ms=3.5)
    losses = np.array([level.loss for level in batch.levels])
    L = np.geomspace(losses.min(), losses.max(), 50)
    ax.plot(L, batch(L), color=RED, lw=1.3, label=f"$1/\\alpha_B$ = {shown(batch.power)}" if batch.power else "no law told")
    ax.plot(L, batch.middle.value * (batch.middle_loss / L) ** KAPLAN_POWER, "--", color=GREY, lw=0.9,
            label=f"Kaplan et al.: {KAPLAN_POWER:.2f}")
    log_axes(ax, "loss $L$", "critical batch (examples)")
    tidy_log_ticks(ax)
    ax.legend(loc="best")
    return ax


def _power_laws(groups: list[KaplanLaws]) -> Plate:
    figure = sheet(3, len(groups), width=0.85 * COLUMN)
    for row, g in enumerate(groups):
        for column, variable in enumerate("NDC"):
            ax = figure.axes[3 * row + column]
            limit, direct = g.limits and g.limits.of(variable), g.direct.get(variable)
            if limit is None and direct is None:
                ax.set_axis_off()
                continue
            plot_one_variable(variable, limit, direct, ax)
            ax.set_ylabel("loss $L$" if column == 0 else "")
        if len(groups) > 1:
            figure.axes[3 * row].set_title(heading(g.label), loc="left", fontweight="bold")
    settle(figure)
    return Plate("power_laws", "Loss against one variable at a time",
                 "Points are the runs on most data of each size, of the largest size at each amount of data, and on the lower "
                 "envelope of compute; blue is the law through them, black what the joint law says where nothing else limits the "
                 "loss, dashed Kaplan's exponent through the middle.", figure)


def _critical(groups: list[KaplanLaws]) -> Plate:
    figure = sheet(2, len(groups))
    norm = log_norm([level.loss for g in groups for level in g.batch.levels])
    for row, g in enumerate(groups):
        plot_steps_and_examples(g.batch, figure.axes[2 * row], norm=norm)
        plot_critical_batch(g.batch, figure.axes[2 * row + 1], norm=norm)
        if len(groups) > 1:
            figure.axes[2 * row].set_title(heading(g.label), loc="left", fontweight="bold")
    colour_bar(figure, norm, "loss $L$")
    settle(figure)
    return Plate("critical_batch", "The critical batch size",
                 "Left, examples against steps to each loss, each batch size a point, in units of the fewest of each; right, "
                 f"B_crit against the loss with its interval. Kaplan's law, dashed for its slope, is {KAPLAN_B:g} tokens / "
                 f"L^{KAPLAN_POWER:.2f}.", figure)
