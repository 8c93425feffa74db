"""Protocols side by side: losses on the way against losses at the end, and what that does to the exponents."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, PercentFormatter

from analysis.estimates.words import shown
from analysis.figures.sheets import Plate
from analysis.figures.theme import BLUE, GREEN, GREY, INK, ORANGE, PINK, RED, SKY, log_axes, sheet, themed, tidy_log_ticks
from analysis.procedures.fits import ONE_BATCH, REFERENCE, TRUNKS, ScheduleFit
from analysis.procedures.paired import Points

COLOUR = {REFERENCE: BLUE, ONE_BATCH: SKY, "wsd": GREEN, "constant": ORANGE, "single-run": RED,
          "untuned-one-rate": PINK, "untuned-rule": GREY}
MARKER = {REFERENCE: "o", ONE_BATCH: "o", "wsd": "D", "constant": "s", "single-run": "^",
          "untuned-one-rate": "v", "untuned-rule": "v"}
ON_THE_WAY = ("single-run", "constant")


def plates(study: ScheduleFit) -> Iterator[Plate]:
    """Every figure of a schedule study."""
    with themed():
        yield _intermediate(study)
        yield _excess(study)
        yield _exponents(study)


def plot_on_the_way(points: Points, width: float, ax: Axes) -> Axes:
    """Loss against images at one width: runs read on their way as lines, runs that ended there as marks."""
    for protocol in (p for p in COLOUR if p in points.protocol and (p in TRUNKS or p in (REFERENCE, ONE_BATCH))):
        mine = points.of(protocol)
        mine = mine.take(mine.width == width)
        D, where = np.unique(mine.D, return_inverse=True)
        L = np.exp(np.bincount(where, np.log(mine.L)) / np.bincount(where))
        on_the_way = protocol in ON_THE_WAY
        ax.plot(D, L, ls="-" if on_the_way else "none", marker=MARKER[protocol], color=COLOUR[protocol], label=protocol,
                mfc=COLOUR[protocol] if protocol == REFERENCE else "white", ms=3.5, lw=1.0)
    log_axes(ax, "training images $D$", "validation loss $L$ (nats)")
    tidy_log_ticks(ax)
    ax.set_title(f"$N$ = {points.take(points.width == width).N[0]:,.0f}", loc="left")
    return ax


def plot_excess(points: Points, ax: Axes) -> Axes:
    """Each protocol's loss over per-budget's at the same budget, averaged over widths and seeds."""
    reference = points.of(REFERENCE)
    budgets = np.unique(reference.budget)
    for protocol in (p for p in COLOUR if p in points.protocol and p != REFERENCE):
        ratio = np.log(points.of(protocol).L / reference.L)
        mean = [np.exp(ratio[reference.budget == f].mean()) - 1 for f in budgets]
        ax.plot(budgets, mean, "-", marker=MARKER[protocol], color=COLOUR[protocol], mfc="white", label=protocol, lw=1.0)
    ax.axhline(0, color=INK, lw=0.6)
    ax.set_xscale("log", base=2)
    ax.set_xticks(budgets, ["1" if f == 1 else f"1/{1 / f:g}" for f in budgets])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel("budget, share of the images")
    ax.set_ylabel(f"loss above {REFERENCE}'s")
    ax.legend()
    return ax


def plot_protocol_exponents(study: ScheduleFit, ax: Axes) -> Axes:
    """Exponent a of each protocol, approach 3 filled and approach 2 hollow, and the training that each costs."""
    base = next(fit.spent for fit in study.fits if fit.protocol == REFERENCE)
    for row, fit in enumerate(study.fits):
        for shift, e, filled in ((-0.13, fit.fit.a, True), (0.13, fit.isoflop_a, False)):
            if e is not None:
                ax.plot([e.low, e.high], [row + shift] * 2, color=COLOUR[fit.protocol], lw=1.6 if filled else 0.9)
                ax.plot(e.value, row + shift, MARKER[fit.protocol], color=COLOUR[fit.protocol],
                        mfc=COLOUR[fit.protocol] if filled else "white", ms=4)
    reference = study.fits[0].fit.a
    ax.axvspan(reference.low, reference.high, color=BLUE, alpha=0.1, lw=0)
    _rows(ax, [f"{fit.protocol}\n{fit.spent / base:.2g}x the FLOPs" for fit in study.fits])
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -0.2), min(high, 1.2))   # an interval of approach 2 may span all exponents there are
    ax.set_xlabel("exponent $a$ of $N^*(C) \\propto C^{\\,a}$")
    return ax


def plot_protocol_differences(study: ScheduleFit, ax: Axes) -> Axes:
    """a less per-budget's with its paired interval; the grey bar is what the study could not have seen."""
    for row, fit in enumerate(study.fits):
        d = study.difference("a", fit.protocol)
        if d is None:
            continue
        ax.plot([-d.detectable, d.detectable], [row, row], color=GREY, alpha=0.25, lw=7, solid_capstyle="butt")
        ax.plot([d.estimate.low, d.estimate.high], [row, row], color=COLOUR[fit.protocol], lw=1.6)
        ax.plot(d.estimate.value, row, MARKER[fit.protocol], color=COLOUR[fit.protocol],
                mfc="white" if 0 in d.estimate else COLOUR[fit.protocol], ms=4)
    ax.axvline(0, color=INK, lw=0.6)
    _rows(ax, [""] * len(study.fits))
    ax.set_xlabel(f"$a$ less that of {REFERENCE}")
    return ax


def _rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _intermediate(study: ScheduleFit) -> Plate:
    widths = np.unique(study.common.width)
    chosen = widths[sorted({len(widths) // 2, 3 * len(widths) // 4, len(widths) - 1})]   # below the middle, seeds scatter more than protocols
    figure = sheet(len(chosen), width=2.6)
    for ax, width in zip(figure.axes, chosen, strict=True):
        plot_on_the_way(study.common, width, ax)
    for ax in figure.axes[1:]:
        ax.set_ylabel("")
    figure.axes[-1].legend(loc="upper right")
    return Plate("on-the-way", "Losses on the way, and losses at the end",
                 "After Hoffmann et al. (2022), figure A1: lines are runs read on their way, marks are runs whose learning rate "
                 f"had decayed by then; between a line and {ONE_BATCH} lies what the schedule is worth, between that and "
                 f"{REFERENCE} what the batch size is.", figure)


def _excess(study: ScheduleFit) -> Plate:
    figure = sheet()
    plot_excess(study.common, figure.axes[0])
    return Plate("excess", "What each protocol costs in loss",
                 "Loss above that of a run with its budget's own schedule, batch size and tuned rate, geometric mean over "
                 "widths and seeds.", figure)


def _exponents(study: ScheduleFit) -> Plate:
    figure = sheet(2, width=3.2, height=0.42 * len(study.fits) + 0.5)
    plot_protocol_exponents(study, figure.axes[0])
    plot_protocol_differences(study, figure.axes[1])
    told = "; ".join(f"{fit.protocol} {shown(fit.fit.a)}" for fit in study.fits)
    return Plate("protocols", "The exponent a, protocol by protocol",
                 f"Left, a by approach 3 (filled: {told}) and approach 2 (hollow); right, paired differences to {REFERENCE}: "
                 "a filled mark differs significantly, and the grey bar is what this study could have missed.", figure)
