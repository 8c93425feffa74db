"""Numbers side by side: approaches and claims, groups and their differences, learning rates."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import shown
from analysis.figures.diagnosis import letter
from analysis.figures.theme import APPROACH, BLUE, GREY, GROUPS, INK, MARKER, PALE, heading, log_axes, plain, tidy_log_ticks
from analysis.questions.claims import Verdict
from analysis.questions.differences import Difference
from analysis.questions.learning_rate import LearningRateFit


def plot_learning_rate(fit: LearningRateFit, ax: Axes) -> Axes:
    """The tuned rate of each width, the fitted law, and the rule's slope through the same middle."""
    rates = fit.rates
    inside = rates.bracketed if rates.trials else np.ones(len(rates.width), bool)
    ax.plot(rates.width[inside], rates.lr[inside], "o", color=BLUE, label="tuned" + (", bracketed" if rates.trials else ""))
    if not inside.all():
        ax.plot(rates.width[~inside], rates.lr[~inside], "o", color=BLUE, mfc="white", label="tuned, at an end of the search")
    x = np.geomspace(rates.width.min(), rates.width.max(), 50)
    e = fit.exponent
    ax.plot(x, fit(x), color=BLUE, label=f"{plain(fit.against)}$^m$, $m$ = {shown(e)}")
    if fit.rule is not None:
        middle = np.exp(np.log(rates.width).mean())
        ax.plot(x, fit(middle) * (x / middle) ** fit.rule, color=GREY, ls="--",
                label=f"rule 1/$\\sqrt{{\\mathrm{{fan\\_in}}}}$, $m$ = {fit.rule:g}")
    log_axes(ax, "width multiplier" if fit.against == "width" else plain(fit.against),
             "learning rate of Adam" if fit.choice == "lr" else plain(fit.choice))
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.1, high * (high / low) ** 0.45)
    tidy_log_ticks(ax)
    ax.legend(loc="upper right")
    return ax


def plot_exponents(estimates: Sequence[tuple[int, str, Estimate | None]], claims: Sequence[Verdict], ax: Axes) -> Axes:
    """Exponent a by each (approach, name, estimate; None: refused), above the published values; the last one is shaded."""
    judged = [v for v in claims if v.claim.quantity == "a"]
    published = [v.claim for v in judged]
    made = [(row, approach, e) for row, (approach, _, e) in enumerate(estimates) if e is not None]
    for row, approach, e in made:
        ax.plot([e.low, e.high], [row, row], color=APPROACH[approach], lw=1.6)
        ax.plot(e.value, row, MARKER[approach], color=APPROACH[approach], ms=4.5)
    _, approach, best = made[-1]
    ax.axvspan(best.low, best.high, color=APPROACH[approach], alpha=0.12, lw=0)
    for row, claim in enumerate(published, start=len(estimates)):
        if claim.se:
            ax.plot([claim.value - 1.96 * claim.se, claim.value + 1.96 * claim.se], [row, row], color=GREY, lw=1)
        ax.plot(claim.value, row, "o", color=GREY, mfc="white", ms=4)
    ax.axhline(len(estimates) - 0.5, color=PALE, lw=0.8)
    for row in set(range(len(estimates))) - {row for row, _, _ in made}:
        ax.annotate("refused", (0.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=6, color=GREY)
    _rows(ax, [name for _, name, _ in estimates] + [f"{plain(v.claim.source)}: {v.verdict}" for v in judged])
    ax.set_xlabel("exponent $a$ of $N^*(C) \\propto C^{\\,a}$")
    return ax


def plot_group_exponents(groups: Sequence[tuple[str, dict[str, Estimate]]], ax: Axes) -> Axes:
    """Each exponent of approach 3 for every group, intervals as bars."""
    names = list(groups[0][1])
    for g, (label, estimates) in enumerate(groups):
        offset = (g - (len(groups) - 1) / 2) * 0.6 / max(len(groups), 2)
        for row, e in enumerate(estimates[name] for name in names):
            ax.plot([e.low, e.high], [row + offset] * 2, color=GROUPS[g % len(GROUPS)], lw=1.6)
            ax.plot(e.value, row + offset, "o", color=GROUPS[g % len(GROUPS)], ms=3.5, label=heading(label) if not row else None)
    _rows(ax, [letter(n) for n in names])
    ax.set_xlabel("exponent (approach 3)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(groups), 3))
    return ax


def plot_differences(differences: Sequence[Difference], ax: Axes) -> Axes:
    """Second group less first, each exponent, with its interval; zero is no effect."""
    shown = [d for d in differences if d.quantity in ("alpha", "beta", "a", "b", "gamma")]
    for row, d in enumerate(shown):
        clear = 0 not in d.estimate
        ax.plot([d.estimate.low, d.estimate.high], [row, row], color=INK, lw=1.6)
        ax.plot(d.estimate.value, row, "o", color=INK, mfc=INK if clear else "white", ms=4)
        ax.annotate(f"p = {d.p_value:.2g}", (1.0, row), xycoords=("axes fraction", "data"), ha="right",
                    va="center", fontsize=6, color=GREY)
    ax.axvline(0, color=GREY, lw=0.8, ls="--")
    _rows(ax, [letter(d.quantity) for d in shown])
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.25 * (high - low))   # room for the p-values
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel(heading(f"{shown[0].second} less {shown[0].first}") if shown else "difference")
    return ax


def _rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
