"""The minimum of loss against size along one compute budget, for a stack of copies at once."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.estimates.refusal import NoMinimum

CURVES = {"parabola": 2, "cubic": 3, "akima": None}  # degree of the polynomial in log N
REACH = np.log(10)  # points within this of the lowest are fitted: wide parabolas are biased (Czech 2026)
LEAST_SIZES = 3     # along a budget: fewer can't bracket a minimum
ROUNDING = 1e-12    # of log L
FINE = 400          # points at which an Akima curve is searched


@dataclass(frozen=True)
class Vertex:
    """The minimum along one budget and the curve it was read from."""

    N: float
    L: float
    line_N: np.ndarray
    line_L: np.ndarray


@dataclass(frozen=True)
class Vertices:
    """log N* and log L* (R,) of each copy, nan where it has no bracketed minimum, and why not (of the first row)."""

    log_N: np.ndarray
    log_L: np.ndarray
    reason: str
    line: np.ndarray  # log L (len(grid),) of the first row at `grid`
    grid: np.ndarray
    curve: str        # that was drawn


def vertices(x, Y, curve: str, reach: float = REACH) -> list[Vertices]:
    """Minima of each budget of Y (k, R, m), log L, over x (m,), log N, increasing; points within reach of the lowest are fitted.

    Through 3 sizes, or 4 where the curve is to have a degree of freedom to spare, a parabola stands in. A minimum is bracketed
    where the curve has it inside the sampled sizes and rises from it to both ends of what was fitted: where sizes differ by
    less than the noise, the lowest may well be the last.
    """
    if curve not in CURVES:
        raise ValueError(f"an isoFLOP curve is one of {', '.join(CURVES)}; got {curve!r}")
    k, R, m = Y.shape
    if m < LEAST_SIZES:
        empty = np.full(R, np.nan)
        return [Vertices(empty, empty, f"{m} sizes, and a minimum needs {LEAST_SIZES}", np.empty(0), np.empty(0), curve)] * k
    drawn = fitting(curve, m)
    degree, rows = CURVES[drawn], Y.reshape(k * R, m)
    place, depth, line, grid = _akima(x, rows, R) if degree is None else _polynomial(x, rows, degree, reach, R)
    depth = np.where(np.isfinite(place), depth, np.nan)
    why = ["" if np.isfinite(place[i]) else _reason(rows[i], drawn) for i in range(0, k * R, R)]
    return [Vertices(place[j * R:(j + 1) * R], depth[j * R:(j + 1) * R], why[j], line[j], grid[j], drawn) for j in range(k)]


def _reason(Y: np.ndarray, drawn: str) -> str:
    """Why losses (m,) tell no minimum."""
    side = {0: "smallest", len(Y) - 1: "largest"}.get(int(Y.argmin()))
    return f"the loss is lowest at the {side} size sampled" if side else f"the {drawn} has no minimum inside the sampled sizes"


def fitting(curve: str, sizes: int) -> str:
    """The curve that so many sizes allow."""
    degree = CURVES[curve]
    return curve if sizes >= (4 if degree is None else degree + 2) else "parabola"


def _polynomial(x, Y, degree: int, reach: float, every: int):
    """Least squares within reach of each row's lowest point, or its degree + 3 nearest; a line for every `every`-th row."""
    lowest = Y.argmin(1)
    away = np.abs(x[None, :] - x[lowest][:, None])
    near = np.sort(away, 1)[:, min(degree + 2, len(x) - 1)]
    used = away <= np.maximum(reach, near)[:, None] + 1e-9
    centre = x[lowest]
    V = ((x[None, :] - centre[:, None]) / REACH)[:, :, None] ** np.arange(degree + 1)
    normal = np.einsum("rm,rmi,rmj->rij", used.astype(float), V, V)
    c = np.linalg.solve(normal, np.einsum("rm,rmi,rm->ri", used.astype(float), V, Y)[:, :, None])[:, :, 0]
    c1, c2, c3 = c[:, 1], c[:, 2], c[:, 3] if degree == 3 else np.zeros(len(c))
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(c2 * c2 - 3 * c1 * c3)   # nan: the cubic has no minimum
        best = np.where(c2 > 0, -c1 / (c2 + root), (root - c2) / (3 * c3))
        best = np.where((c2 > 0) | (degree == 3), best, np.nan)
        depth = (c * best[:, None] ** np.arange(degree + 1)).sum(1)
    place = best * REACH + centre
    # a straight line's "minimum" is rounding, and lies no lower than its ends
    height = np.where(used, np.einsum("rmi,ri->rm", V, c), np.nan)
    first, last = used.argmax(1), len(x) - 1 - used[:, ::-1].argmax(1)
    rows = np.arange(len(Y))
    with np.errstate(invalid="ignore"):
        inside = (place > x[0]) & (place < x[-1]) & (depth < np.minimum(height[rows, first], height[rows, last]) - ROUNDING)
    grid = np.linspace(x[first[::every]], x[last[::every]], 60, axis=1)
    line = np.einsum("rgi,ri->rg", ((grid - centre[::every, None]) / REACH)[:, :, None] ** np.arange(degree + 1), c[::every])
    return np.where(inside, place, np.nan), depth, line, grid


def _akima(x, Y, every: int):
    """Likewise, through every point."""
    grid = np.linspace(x[0], x[-1], FINE)
    values = Akima1DInterpolator(x, Y.T)(grid)
    lowest = values.argmin(0)
    at = np.clip(lowest, 1, FINE - 2)
    columns = np.arange(len(Y))
    before, here, after = (values[at + i, columns] for i in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, (before - after) / np.where(bend > 0, 2 * bend, 1), 0.0)
    place = grid[at] + np.clip(shift, -1, 1) * (grid[1] - grid[0])
    line = values[:, ::every].T
    return np.where(lowest == at, place, np.nan), here, line, np.broadcast_to(grid, line.shape)


def isoflop_minimum(N, L, *, curve: str = "cubic") -> Vertex:
    """Vertex of the curve through log L against log N along one compute budget.

    Raises NoMinimum where the curve has no minimum inside the sampled N: such a budget says nothing about N*.
    """
    order = np.argsort(N)
    found = vertices(np.log(np.asarray(N, float)[order]), np.log(np.asarray(L, float)[order])[None, None, :], curve)[0]
    if found.reason:
        raise NoMinimum(found.reason)
    return Vertex(float(np.exp(found.log_N[0])), float(np.exp(found.log_L[0])), np.exp(found.grid), np.exp(found.line))
