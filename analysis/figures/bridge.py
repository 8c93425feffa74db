"""The exponent of N*(C) along a sequence of procedures."""

from matplotlib.axes import Axes

from analysis.figures.sheets import Plate
from analysis.figures.theme import APPROACH, GREY, INK, MARKER, sheet, themed
from analysis.procedures.bridge import Bridge, StepFit
from analysis.procedures.bridge_text import PUBLISHED, sentence

CLAIMS = (("Kaplan et al.", 0.73), ("Hoffmann et al.", 0.50))


def bridge_plate(bridge: Bridge) -> Plate:
    """Steps downwards, a to the right, beside what Porian et al. 2024 measured; below, the last step by each count of N."""
    with themed():
        fits = [*bridge.steps, *bridge.counts]
        figure = sheet(width=5.2, height=0.36 * len(fits) + 0.7)
        plot_bridge(fits, figure.axes[0], split=len(bridge.steps) - 0.5 if bridge.counts else None)
        return Plate("bridge", "From Kaplan to Chinchilla in our own runs", f"{sentence(bridge)} Whiskers are {bridge.level:.0%} intervals, "
                     "each by itself; steps share their runs, so that their differences are known better than these overlap.", figure)


def plot_bridge(fits: list[StepFit], ax: Axes, *, split: float | None = None) -> Axes:
    """One row a step; approach 2 and approach 3 one above the other."""
    for row, fit in enumerate(fits):
        for approach, shift in ((2, -0.14), (3, 0.14)):
            e = fit.a[approach]
            if e is None:
                continue
            ax.plot([e.low, e.high], [row + shift] * 2, color=APPROACH[approach], lw=1.3)
            ax.plot(e.value, row + shift, MARKER[approach], color=APPROACH[approach], ms=4,
                    label=f"approach {approach}" if row == 0 else None)
        if fit.step.name in PUBLISHED:
            ax.plot(PUBLISHED[fit.step.name], row, "x", color=GREY, ms=4, label="Porian et al." if row == 0 else None)
    for name, value in CLAIMS:
        ax.axvline(value, color=GREY, lw=0.6, ls=":")
        ax.annotate(name, (value, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.5, color=GREY)
    if split is not None:
        ax.axhline(split, color=INK, lw=0.4)
    ax.set_yticks(range(len(fits)), [fit.step.name for fit in fits])
    ax.set_ylim(len(fits) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -0.2), min(high, 1.4))
    ax.set_xlabel("exponent $a$ of $N^*(C) \\propto C^{\\,a}$")
    ax.legend(loc="lower right")
    return ax
