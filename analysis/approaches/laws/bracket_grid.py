"""Where descents of the generalised and of the saturating law start: least squares on a grid of all but A and B.

Given E and g, or c, some power of the loss is linear in A and B: (L - E)^(1/g), or (L - E) ((T - 1)/(T - L))^c. Errors of L are
relative, so those of it are weighted by the square of what one part of L moves.
"""

import itertools

import numpy as np

from analysis.approaches.laws.objective import Coordinates

BRACKETS = (0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.2, 3.3, 5.0, 8.0, 15.0, 40.0)
SATURATIONS = (0.01, 0.1, 0.3, 0.7, 1.5, 3.0, 6.0)
HEADROOMS = (0.01, 0.05, 0.25, 1.5)
FLOORS = (0.0, 0.3, 0.6, 0.8, 0.92, 0.98)    # E as a share of the lowest loss but the lowest hundredth
NODES = np.geomspace(0.04, 3.0, 16)          # of alpha and of beta
BEST = 3                                     # nodes of each g


def best_of_brackets(points: Coordinates, weight) -> np.ndarray:
    """Starts (S, 6): of every g the best nodes of different E under weight (n,)."""
    lowest = np.quantile(points.loss, 0.01)
    found = []
    for g in BRACKETS:
        found += _best([_bracket(points, weight, g, share * lowest) for share in FLOORS], BEST)
    return np.array(found).reshape(-1, 6)


def best_of_saturations(points: Coordinates, weight, highest: float) -> np.ndarray:
    """Starts (S, 7): of every c and headroom the best nodes of different E under weight (n,). highest: loss, in the points' units."""
    lowest, found = np.quantile(points.loss, 0.01), []
    for c, headroom in itertools.product(SATURATIONS, HEADROOMS):
        each, top = [], highest * (1 + headroom)
        room = top - points.loss
        for E in (share * lowest for share in FLOORS):
            above = points.loss > E
            reducible = np.where(above, points.loss - E, 1.0)
            moved = points.loss / reducible + c * points.loss / room     # dlog R / dlog L
            each.append(_linear(points, np.where(above, weight, 0.0), reducible * ((top - 1) / room) ** c, moved, 1.0, (E, c)))
        found += [np.append(theta, np.log(headroom)) for theta in _best(each, 1)]
    return np.array(found).reshape(-1, 7)


def _best(each: list, count: int) -> list[np.ndarray]:
    return [theta for _, theta in sorted((one for one in each if one is not None), key=lambda one: one[0])[:count]]


def _bracket(points: Coordinates, weight, g: float, E: float) -> tuple[float, np.ndarray] | None:
    above = points.loss > E
    reducible = np.where(above, points.loss - E, 1.0)
    made = _linear(points, np.where(above, weight, 0.0), reducible ** (1 / g), points.loss / (g * reducible), g, (E, g))
    if made is not None:
        made[1][1:3] = g * (made[1][1:3] + np.log(2))
    return made


def _linear(points: Coordinates, weight, target, moved, g: float, ends: tuple[float, float]) -> tuple[float, np.ndarray] | None:
    """Sum of squares of log L and theta (E, log A, log B, alpha, beta, last) of the best (alpha, beta), where target (n,) is
    A e^(-alpha x / g) + B e^(-beta y / g); None where no node has A > 0 and B > 0. moved (n,): dlog target / dlog L."""
    w = weight * np.square(1 / (moved * target))
    X, Y = (np.exp(-np.outer(v, NODES / g)) for v in (points.x, points.y))      # (n, nodes)
    XX, YY = ((w @ (v * v)) for v in (X, Y))
    XZ, YZ = ((w * target) @ v for v in (X, Y))
    XY = (w[:, None] * X).T @ Y
    with np.errstate(all="ignore"):
        determinant = XX[:, None] * YY[None, :] - XY**2
        A = (XZ[:, None] * YY[None, :] - YZ[None, :] * XY) / determinant
        B = (YZ[None, :] * XX[:, None] - XZ[:, None] * XY) / determinant
        value = w @ target**2 - A * XZ[:, None] - B * YZ[None, :]
        value = np.where((A > 0) & (B > 0) & np.isfinite(value), value, np.inf)
    i, j = np.unravel_index(value.argmin(), value.shape)
    if not np.isfinite(value[i, j]):
        return None
    return float(value[i, j]), np.array([ends[0], np.log(A[i, j]), np.log(B[i, j]), NODES[i], NODES[j], ends[1]])
