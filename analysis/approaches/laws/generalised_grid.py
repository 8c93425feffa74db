"""Where descents of the generalised law start: least squares on a grid of (E, g, alpha/g, beta/g).

Given these four, (L - E)^(1/g) is linear in A and B. Errors of L are relative, so those of its power
are weighted by (1 - E/L)^2 g^2 (L - E)^(-2/g).
"""

import numpy as np

from analysis.approaches.laws.objective import Coordinates

BRACKETS = (0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.2, 3.3, 5.0, 8.0, 15.0, 40.0)
FLOORS = (0.0, 0.3, 0.6, 0.8, 0.92, 0.98)    # E as a share of the lowest loss but the lowest hundredth
NODES = np.geomspace(0.04, 3.0, 16)          # of alpha and of beta
BEST = 3                                     # nodes of each g


def best_of_brackets(points: Coordinates, weight) -> np.ndarray:
    """Starts (S, 6): of every g the best nodes of different E under weight (n,)."""
    lowest = np.quantile(points.loss, 0.01)
    found = []
    for g in BRACKETS:
        each = [_node(points, weight, g, share * lowest) for share in FLOORS]
        found += [theta for _, theta in sorted((one for one in each if one is not None), key=lambda one: one[0])[:BEST]]
    return np.array(found).reshape(-1, 6)


def _node(points: Coordinates, weight, g: float, E: float) -> tuple[float, np.ndarray] | None:
    """Sum of squares of log L and theta of the best (alpha, beta); None where no node has A > 0 and B > 0."""
    above = points.loss > E
    reducible = np.where(above, points.loss - E, 1.0)
    target = reducible ** (1 / g)
    w = np.where(above, weight * np.square(g * reducible / points.loss / target), 0.0)
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
    u, v = (g * np.log(2 * part[i, j]) for part in (A, B))
    return float(value[i, j]), np.array([E, u, v, NODES[i], NODES[j], g])
