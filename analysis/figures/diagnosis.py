"""Whether the fitted surface can be believed: contours, residuals, profiles, bootstrap clouds."""

import numpy as np
from matplotlib.axes import Axes

from analysis.approaches.parametric import ParametricFit
from analysis.approaches.profile import Profile
from analysis.figures.theme import BLUE, GREY, INK, RED, SEQUENCE, log_axes, short, tidy_log_ticks

RASTER = 1_500
LETTER = {"alpha": r"$\alpha$", "beta": r"$\beta$", "gamma": r"$\gamma$"}


def letter(name: str) -> str:
    """A quantity as mathematics."""
    return LETTER.get(name, f"${name}$")


def plot_surface(fit: ParametricFit, ax: Axes) -> Axes:
    """Contours of the fitted loss over (N, D), the runs on it, and the path of best (N, D)."""
    N, D = (np.geomspace(v.min() / 1.3, v.max() * 1.3, 60) for v in (fit.N, fit.D))
    loss = fit.surface.loss(N[None, :], D[:, None])
    levels = np.geomspace(loss.min() * 1.05, loss.max() * 0.95, 9)
    lines = ax.contour(N, D, loss, levels=levels, cmap=SEQUENCE, linewidths=0.8)
    ax.scatter(fit.N, fit.D, s=5, color=INK, lw=0, alpha=0.5, rasterized=len(fit.N) > RASTER)
    C = np.geomspace(fit.C.min(), fit.C.max(), 60)
    best = fit.surface.optimum(C, fit.cost)
    ax.plot(best.N, best.D, color=RED, lw=1.4, label="compute-optimal path")
    log_axes(ax, "parameters $N$", "training examples $D$")
    ax.set_xlim(N[0], N[-1])
    ax.set_ylim(D[0], D[-1])
    ax.clabel(lines, fmt=short_loss, fontsize=6, inline_spacing=2)
    tidy_log_ticks(ax)
    ax.legend(loc="upper left", facecolor="white", framealpha=0.85, frameon=True, edgecolor="none")
    return ax


def short_loss(value: float) -> str:
    """Two significant digits: contours need no more."""
    return f"{value:.2g}" if value < 10 else short(value)


def plot_residuals(fit: ParametricFit, ax: Axes) -> Axes:
    """log L less the fit's against compute, coloured by size: a trend is a law that does not hold."""
    residual = 100 * fit.residuals
    ax.scatter(fit.C, residual, s=6, c=np.log(fit.N), cmap=SEQUENCE, lw=0, alpha=0.8, rasterized=len(residual) > RASTER)
    rms = 100 * fit.scatter
    ax.axhline(0, color=INK, lw=0.8)
    for side in (-rms, rms):
        ax.axhline(side, color=GREY, lw=0.7, ls=":")
    reach = max(np.quantile(np.abs(residual), 0.995) * 1.15, 2 * rms)
    ax.set_ylim(-reach, reach)
    log_axes(ax, "training compute $C$ (FLOPs)")
    ax.set_ylabel("residual of log $L$ (%)")
    beyond = int((np.abs(residual) > reach).sum())
    ax.set_title(f"rms {rms:.2g}%" + (f", {beyond} beyond the axis" if beyond else ""), loc="right", color=GREY)
    tidy_log_ticks(ax)
    return ax


def plot_profile(profile: Profile, ax: Axes) -> Axes:
    """Rise of the objective as one parameter is held: the interval lies below the dashed line."""
    e = profile.estimate
    show = profile.statistic <= 4 * profile.threshold
    ax.axvspan(e.low, e.high, color=BLUE, alpha=0.15, lw=0)
    ax.plot(profile.value[show], profile.statistic[show], color=BLUE)
    ax.axvline(e.value, color=INK, lw=0.8)
    ax.axhline(profile.threshold, color=GREY, lw=0.8, ls="--")
    ax.set_ylim(0, 3 * profile.threshold)
    if profile.name in ("A", "B", "g"):
        log_axes(ax, letter(profile.name))
        tidy_log_ticks(ax)
    else:
        ax.set_xlabel(letter(profile.name))
        ax.locator_params(axis="x", nbins=3)
        ax.xaxis.set_major_formatter("{x:g}")   # 0.005 and not 0.0050: six panels stand side by side
    return ax


def plot_exponent_cloud(fit: ParametricFit, ax: Axes) -> Axes:
    """Bootstrap draws of (alpha, beta), with the lines on which a is 0.5 and 0.73."""
    alpha, beta = fit.draws[:, 3], fit.draws[:, 4]
    ax.scatter(alpha, beta, s=3, color=BLUE, alpha=0.3, lw=0, rasterized=len(alpha) > RASTER)
    ax.plot(fit.surface.alpha, fit.surface.beta, "D", color=INK, ms=4)
    (x0, x1), (y0, y1) = (_reach(v, p) for v, p in ((alpha, fit.surface.alpha), (beta, fit.surface.beta)))
    x = np.linspace(x0, x1, 2)
    for a, dash in ((0.5, "--"), (0.73, ":")):
        # a = beta / (alpha + p beta) is a ray through the origin.
        y = a * x / (1 - fit.cost.p * a)
        if y[0] < y1 and y[1] > y0:
            ax.plot(x, y, color=GREY, lw=0.9, ls=dash, label=f"$a$ = {a:g}")
            ax.legend(loc="best")
    ax.set_xlim(x0, x1)
    ax.set_ylim(y0, y1)
    ax.set_xlabel(r"$\alpha$")
    ax.set_ylabel(r"$\beta$")
    return ax


def plot_floor_cloud(fit: ParametricFit, ax: Axes) -> Axes:
    """Bootstrap draws of (E, a): how far the exponent hangs on the irreducible loss."""
    value, a = fit.quantity("a")
    E = fit.draws[:, 0]
    ax.scatter(E, a, s=3, color=BLUE, alpha=0.3, lw=0, rasterized=len(a) > RASTER)
    ax.plot(fit.surface.E, value, "D", color=INK, ms=4)
    ax.set_xlim(*_reach(E, fit.surface.E))
    ax.set_ylim(*_reach(a, value))
    ax.set_xlabel("irreducible loss $E$")
    ax.set_ylabel("exponent $a$ of $N^*(C)$")
    ax.locator_params(axis="x", nbins=5)
    return ax


def _reach(draws: np.ndarray, point: float) -> tuple[float, float]:
    """Limits that hold 99% of the draws and the point, with a margin."""
    low, high = np.quantile(draws, [0.005, 0.995])
    low, high = min(low, point), max(high, point)
    margin = 0.08 * (high - low) or 0.05 * abs(point) or 1e-3
    return low - margin, high + margin
