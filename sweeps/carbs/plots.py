"""Figures of any search: its front, the laws of its hyperparameters, and which of them matter."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from analysis.estimates.estimate import Estimate
from analysis.figures.theme import BLUE, INK, RED, log_axes, plain, tidy_log_ticks
from sweeps.carbs.laws import ScalingLaws
from sweeps.carbs.search import Carbs


def plot_front(carbs: Carbs, ax: Axes, *, cost: str = "cost of a run", loss: str = "loss") -> Axes:
    """All finished runs, and the front with its 95% intervals."""
    sign = -1.0 if carbs.maximise else 1.0
    runs = [o for o in carbs.observations if o.finished]
    points = carbs.front().points
    ax.scatter([o.cost for o in runs], [sign * o.loss for o in runs], s=5, color=BLUE, alpha=0.4, lw=0, label=f"{len(runs):,} runs")
    at, value, low, high = (np.array([getattr(p, name) for p in points]) for name in ("cost", "loss", "low", "high"))
    ax.fill_between(at, low, high, step="post", color=INK, alpha=0.15, lw=0)
    ax.step(at, value, where="post", color=INK, lw=1.2, label="front, with 95% interval")
    ax.set_xscale("log")
    ax.set_xlabel(cost)
    ax.set_ylabel(loss)
    worst, best = max(value), min(value)
    ax.set_ylim(min(low.min(), best), max(high.max(), worst) + 0.5 * max(worst - best, 1e-12))    # runs far off say nothing
    ax.legend(loc="best")
    return ax


def plot_law(laws: ScalingLaws, name: str, ax: Axes, *, cost: str = "cost of a run") -> Axes:
    """One hyperparameter's optimum against the cost, with its interval, and the runs of the front."""
    law, bend = laws[name], laws.bends[name]
    at, value, low, high = (np.array([getattr(p, word) for p in law.curve]) for word in ("cost", "value", "low", "high"))
    near = [(p.cost, p.config[name]) for p in laws.carbs.front() if name in p.config]
    if near:
        ax.scatter(*zip(*near, strict=True), s=14, facecolors="none", edgecolors=BLUE, lw=0.8, label="runs of the front")
    said = f"pinned at its {bend.pinned} bound" if bend.pinned else f"exponent {law.exponent}"
    ax.fill_between(at, low, high, color=RED, alpha=0.2, lw=0)
    ax.plot(at, value, color=RED, lw=1.4, label=said)
    if law.kind in ("Linear", "Listed", "Logit") or min(value.min(), low.min()) <= 0:
        ax.set_xscale("log")
        ax.set_xlabel(cost)
        if law.kind == "Logit":
            ax.set_yscale("logit")
    else:
        log_axes(ax, cost)
        tidy_log_ticks(ax)
    ax.set_ylabel(plain(name))
    ax.legend(loc="best")
    return ax


def plot_importance(shares: Mapping[str, Estimate], ax: Axes) -> Axes:
    """Total effects as bars, the largest on top."""
    names = list(shares)[::-1]
    value, low, high = (np.array([getattr(shares[name], word) for name in names]) for word in ("value", "low", "high"))
    ax.barh(range(len(names)), value, color=BLUE, alpha=0.6)
    ax.errorbar(value, range(len(names)), xerr=np.maximum([value - low, high - value], 0.0), fmt="none", color=INK, lw=1.0)
    ax.set_yticks(range(len(names)), [plain(name) for name in names])
    ax.set_xlabel("share of the loss's variance near the front (total effect)")
    return ax
