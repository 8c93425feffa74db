"""The minimum of loss against size along one compute budget, for a stack of copies at once."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.estimates.refusal import NoMinimum

CURVES = {"parabola": 2, "cubic": 3, "akima": None}  # degree of the polynomial in log N
REACH = np.log(10)  # points within this of the lowest are fitted: wide parabolas are biased (Czech 2026)
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
    """log N* and log L* (R,) of each copy, nan where it has no bracketed minimum, and why not (of the first)."""

    log_N: np.ndarray
    log_L: np.ndarray
    reason: str
    line: np.ndarray  # log L (len(grid),) of the first copy at `grid`
    grid: np.ndarray


def vertices(x, Y, curve: str, reach: float = REACH) -> Vertices:
    """Minimum of each row of Y (R, m), log L, over x (m,), log N, increasing; points within reach of the lowest are fitted."""
    if curve not in CURVES:
        raise ValueError(f"an isoFLOP curve is one of {', '.join(CURVES)}; got {curve!r}")
    degree = CURVES[curve]
    least = 4 if degree is None else degree + 2
    if len(x) < least:
        empty = np.full(len(Y), np.nan)
        return Vertices(empty, empty, f"{len(x)} sizes, and a {curve} needs {least}", np.empty(0), np.empty(0))
    lowest = Y.argmin(1)
    edge = (lowest == 0) | (lowest == len(x) - 1)
    place, depth, line, grid = (_akima(x, Y) if degree is None else _polynomial(x, Y, degree, lowest, reach))
    inside = (place > x[0]) & (place < x[-1])
    good = inside & ~edge
    if edge[0]:
        side = "smallest" if lowest[0] == 0 else "largest"
        reason = f"the loss is lowest at the {side} size sampled"
    elif not np.isfinite(place[0]):
        reason = f"the {curve} opens downwards"
    else:
        reason = "" if inside[0] else "the vertex lies outside the sampled sizes"
    return Vertices(np.where(good, place, np.nan), np.where(good, depth, np.nan), reason, line, grid)


def _polynomial(x, Y, degree, lowest, reach):
    """Least squares within reach of each row's lowest point, or its degree + 3 nearest points."""
    away = np.abs(x[None, :] - x[lowest][:, None])
    near = np.sort(away, 1)[:, min(degree + 2, len(x) - 1)]
    w = (away <= np.maximum(reach, near)[:, None] + 1e-9).astype(float)
    centre = x[lowest][:, None]
    t = (x[None, :] - centre) / REACH
    V = t[:, :, None] ** np.arange(degree + 1)
    normal = np.einsum("rm,rmi,rmj->rij", w, V, V)
    right = np.einsum("rm,rmi,rm->ri", w, V, Y)
    c = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    c1, c2, c3 = c[:, 1], c[:, 2], c[:, 3] if degree == 3 else np.zeros(len(c))
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(c2 * c2 - 3 * c1 * c3)   # nan: the cubic has no minimum
        best = np.where(c2 > 0, -c1 / (c2 + root), (root - c2) / (3 * c3))
        best = np.where((c2 > 0) | (degree == 3), best, np.nan)
    depth = (c * best[:, None] ** np.arange(degree + 1)).sum(1)
    fitted = x[w[0] > 0]
    grid = np.linspace(fitted[0], fitted[-1], 60)
    line = ((grid[:, None] - centre[0]) / REACH) ** np.arange(degree + 1) @ c[0]
    return best * REACH + centre[:, 0], depth, line, grid


def _akima(x, Y):
    grid = np.linspace(x[0], x[-1], FINE)
    values = Akima1DInterpolator(x, Y.T)(grid)
    at = np.clip(values.argmin(0), 1, FINE - 2)
    columns = np.arange(len(Y))
    before, here, after = (values[at + i, columns] for i in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, (before - after) / np.where(bend > 0, 2 * bend, 1), 0.0)
    return grid[at] + np.clip(shift, -1, 1) * (grid[1] - grid[0]), here, values[:, 0], grid


def isoflop_minimum(N, L, *, curve: str = "cubic") -> Vertex:
    """Vertex of the curve through log L against log N along one compute budget.

    Raises NoMinimum where the curve opens downwards, its vertex lies outside the sampled N
    or the lowest point is at their edge: such a budget says nothing about N*.
    """
    order = np.argsort(N)
    found = vertices(np.log(np.asarray(N, float)[order]), np.log(np.asarray(L, float)[order])[None, :], curve)
    if found.reason:
        raise NoMinimum(found.reason)
    return Vertex(float(np.exp(found.log_N[0])), float(np.exp(found.log_L[0])), np.exp(found.grid), np.exp(found.line))
