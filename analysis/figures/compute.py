"""What compute buys: loss, error rate and the optimal size and data against FLOPs."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from analysis.approaches.envelope import EnvelopeFit
from analysis.approaches.isoflop import IsoflopFit
from analysis.estimates.words import shown
from analysis.figures.theme import APPROACH, BLUE, GREY, INK, MARKER, SEQUENCE, log_axes, short, tidy_log_ticks
from analysis.questions.accuracy import ErrorOfLoss
from analysis.questions.claims import Verdict
from analysis.table.runs import Runs

MOST_LINES = 24      # sizes that a line each keeps legible; more are drawn as points
MOST_CURVES = 6      # isoFLOP curves drawn, evenly spread over the budgets: each is then told from its neighbours
NEAR = 6.0           # times a budget's lowest loss: points above it were not fitted, and would flatten the curves
FRONTIER = {False: r"${0} = E + K\,C^{{-\gamma}}$", True: r"$({0} - E)/(\mathrm{{top}} - {0})^c = K\,C^{{-\gamma}}$"}   # whether c > 0
RASTER = 1_500       # points beyond which an SVG carries them as an image


def plot_loss_against_compute(runs: Runs, fit, ax: Axes, *, norm: LogNorm) -> Axes:
    """A line per model size coloured by norm, and the compute-efficient frontier with its band."""
    _plot_against_compute(runs, runs.L, ax, norm)
    if fit is not None:
        _plot_frontier(fit, ax, "L^*")
    log_axes(ax, "training compute $C$ (FLOPs)", "validation loss $L$")
    return _finish(ax, runs.L)


def plot_error_against_compute(runs: Runs, fit, ax: Axes, *, norm: LogNorm) -> Axes:
    """The same of the error rate; fit is of the error rate in place of the loss."""
    error = 1 - runs.accuracy
    use = np.isfinite(error) & (error > 0)
    _plot_against_compute(runs.take(use), error[use], ax, norm)
    if fit is not None:
        _plot_frontier(fit, ax, r"\mathrm{error}^*")
    log_axes(ax, "training compute $C$ (FLOPs)", "validation error rate")
    return _finish(ax, error[use])


def _finish(ax: Axes, y: np.ndarray) -> Axes:
    ax.set_ylim(y.min() / 1.25, y.max() * 1.15)
    tidy_log_ticks(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right")
    return ax


def _plot_against_compute(runs: Runs, y: np.ndarray, ax: Axes, norm: LogNorm) -> None:
    sizes = np.unique(runs.N)
    if len(sizes) <= MOST_LINES:
        for size in sizes:
            mine = runs.N == size
            C, where = np.unique(runs.C[mine], return_inverse=True)
            mean = np.exp(np.bincount(where, np.log(y[mine])) / np.bincount(where))
            ax.plot(C, mean, "-", color=SEQUENCE(norm(size)), lw=0.8, alpha=0.9, zorder=2)
    ax.scatter(runs.C, y, s=4, c=runs.N, cmap=SEQUENCE, norm=norm, linewidths=0, alpha=0.8, zorder=3,
               rasterized=len(y) > RASTER)


def _plot_frontier(fit, ax: Axes, name: str) -> None:
    """Solid where the best N and D lie inside those trained, dotted beyond."""
    C = np.geomspace(fit.C.min(), fit.C.max(), 80)
    band, law, reach = fit.frontier_band(C), fit.frontier, fit.range
    ax.fill_between(C, band.L_low, band.L_high, color=INK, alpha=0.15, lw=0, zorder=4)
    ax.plot(C, band.L, color=INK, lw=1.2, ls=(0, (1, 1)), zorder=5,
            label=None if reach.decades > 0 else "extrapolated throughout")
    inside = np.geomspace(reach.low, reach.high, 80) if reach.decades > 0 else C[:0]
    ax.plot(inside, law.loss(inside), color=INK, lw=1.4, zorder=5,
            label=f"{FRONTIER[law.c > 0].format(name)}\n$\\gamma$ = {shown(law.gamma)}\n$E$ = {shown(law.E)}")


@dataclass(frozen=True)
class Below:
    """Where the frontier lies under every run of as much compute or less."""

    share: float   # of the log of the table's compute
    gap: float     # of log L, in the middle of those places


def below_every_run(fit, C: np.ndarray, L: np.ndarray) -> Below:
    """Of a frontier beside runs (n,): no run has just the best size, so that the line may lie lower than all of them."""
    order = np.argsort(C)
    at = np.geomspace(C.min(), C.max(), 200)
    lowest = np.minimum.accumulate(L[order])[np.searchsorted(C[order], at * (1 + 1e-12), side="right") - 1]
    gap = np.log(lowest / fit.frontier_band(at).L)
    under = gap > 0
    return Below(float(under.mean()), float(np.median(gap[under])) if under.any() else 0.0)


def plot_error_against_loss(runs: Runs, fit: ErrorOfLoss, ax: Axes) -> Axes:
    """Every run, the exponential law of Gadre et al. and the power law."""
    error = 1 - runs.accuracy
    use = np.isfinite(error) & (error > 0)
    L = np.geomspace(runs.L[use].min(), runs.L[use].max(), 200)
    ax.scatter(runs.L[use], error[use], s=4, color=GREY, alpha=0.6, lw=0, rasterized=use.sum() > RASTER)
    ax.plot(L, np.maximum(fit(L), 1e-9), color=BLUE,
            label=f"$\\epsilon - k\\,e^{{-\\gamma L}}$, $\\gamma$ = {shown(fit.gamma)}")
    ax.plot(L, fit.power(L), color=APPROACH[1], ls=(0, (1, 1)),
            label=f"$c\\,L^m$, $m$ = {shown(fit.exponent)}")
    log_axes(ax, "validation loss $L$", "validation error rate")
    ax.set_ylim(error[use].min() / 1.4, error[use].max() * 1.4)
    tidy_log_ticks(ax)
    ax.legend(loc="upper left")
    return ax


def plot_optimal_params(envelope: EnvelopeFit | None, isoflop: IsoflopFit | None, fit,
                        claims: tuple[Verdict, ...], ax: Axes) -> Axes:
    """N*(C) by every approach, and published exponents through the middle of approach 3."""
    return _plot_optimal("N", "a", envelope, isoflop, fit, claims, ax)


def plot_optimal_samples(envelope: EnvelopeFit | None, isoflop: IsoflopFit | None, fit,
                         claims: tuple[Verdict, ...], ax: Axes) -> Axes:
    """D*(C) likewise."""
    return _plot_optimal("D", "b", envelope, isoflop, fit, claims, ax)


def _plot_optimal(letter: str, exponent: str, envelope, isoflop, fit, claims, ax: Axes) -> Axes:
    if envelope is not None:
        points = envelope.points
        ax.plot(points.C, getattr(points, letter), MARKER[1], color=APPROACH[1], mfc="none", mew=0.9, zorder=4,
                label=f"approach 1  ${exponent}$ = {shown(getattr(envelope, exponent))}"
                      + (" (the grid's)" if envelope.indistinct else ""))
    if isoflop is not None:
        at, y, se = (np.array([getattr(m, k) for m in isoflop.minima]) for k in ("C", letter, "N_se"))
        reach = np.clip(1.96 * np.where(np.isfinite(se), se, 0), 0, 5)
        ax.errorbar(at, y, yerr=[y - y * np.exp(-reach), y * np.exp(reach) - y], fmt=MARKER[2], color=APPROACH[2],
                    elinewidth=0.7, mfc="white", mew=0.9, zorder=5,
                    label=f"approach 2  ${exponent}$ = {shown(getattr(isoflop, exponent))}")
    if fit is not None:
        C = np.geomspace(fit.C.min(), fit.C.max(), 60)
        band = fit.frontier_band(C)
        best, low, high = (getattr(band, letter + end) for end in ("", "_low", "_high"))
        ax.fill_between(C, low, high, color=APPROACH[3], alpha=0.2, lw=0)
        ax.plot(C, best, color=APPROACH[3], label=f"approach 3  ${exponent}$ = {shown(getattr(fit, exponent))}")
        _plot_claims(_published(exponent, claims, fit.cost.p), C, best, ax)
    unit = "parameters" if letter == "N" else "training examples"
    log_axes(ax, "training compute $C$ (FLOPs)", f"optimal {unit} ${letter}^*$")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.4)   # head room for the legend
    tidy_log_ticks(ax)
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: (not labels[i].startswith("approach"), labels[i]))
    ax.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left")
    return ax


def _published(exponent: str, claims: tuple[Verdict, ...], p: float) -> dict[float, str]:
    """Value -> first source. Where C is proportional to N D, a published a is a published b of 1 - a."""
    about_a = {round(v.claim.value, 2): v.claim.source.split(",")[0] for v in reversed(claims) if v.claim.quantity == "a"}
    if exponent == "a":
        return about_a
    return {round(1 - a, 2): source for a, source in about_a.items()} if abs(p - 1) < 0.01 else {}


def _plot_claims(named: dict[float, str], C: np.ndarray, best: np.ndarray, ax: Axes) -> None:
    """Published exponents as dashed lines through the middle of our own."""
    ends, middle = sorted(named), len(C) // 2
    # The extremes and the middle suffice: lines in between cannot be told apart in print.
    for value, dash in zip(dict.fromkeys((ends[0], ends[len(ends) // 2], ends[-1])) if ends else (),
                           ((0, (5, 2)), (0, (3, 1.5)), (0, (1.5, 1.5))), strict=False):
        ax.plot(C, best[middle] * (C / C[middle]) ** value, color=GREY, ls=dash, lw=0.9, zorder=1,
                label=f"{value:g}  {named[value]}")


def plot_isoflops(fit: IsoflopFit, ax: Axes, *, norm: LogNorm) -> Axes:
    """Loss against size along equal compute, the curve of each budget labelled with it; the dashed path joins all minima."""
    pick = np.unique(np.linspace(0, len(fit.minima) - 1, min(MOST_CURVES, len(fit.minima))).round().astype(int))
    for m in (fit.minima[i] for i in pick):
        colour = SEQUENCE(norm(m.C))
        near = m.points.L <= NEAR * m.L
        ax.plot(m.points.N[near], m.points.L[near], "o", color=colour, ms=2.6, alpha=0.6, mew=0)
        ax.plot(m.line.N, m.line.L, "-", color=colour, lw=1.3)
        ax.plot(m.N, m.L, "*", color=colour, ms=9, mec="white", mew=0.6, zorder=5)
        ax.annotate(short(float(f"{m.C:.1e}")), (m.line.N[-1], m.line.L[-1]), (3, 0), textcoords="offset points",
                    va="center", fontsize=6, color=colour, annotation_clip=False)
    ax.plot([m.N for m in fit.minima], [m.L for m in fit.minima], color=INK, lw=0.9, ls="--", zorder=4,
            label=f"best size $N^* \\propto C^{{\\,a}}$, $a$ = {shown(fit.a)}")
    log_axes(ax, "parameters $N$", "validation loss $L$")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.12)   # room for the budgets' labels, and for the legend
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.12)
    tidy_log_ticks(ax)
    ax.legend(loc="upper right")
    return ax
