"""The global optimum of the loss surface's fit: a grid over (alpha, beta), then Newton.

Given alpha and beta the surface is linear in E, A, B, and the normal equations of every
resample at every grid node are one matrix product of resampling weights (M, n) by products
of basis functions. The best nodes start the Newton iterations.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.newton import FREE, Coordinates, Objective, Restriction, Solution, minimise
from analysis.estimates.refusal import NotIdentified

NODES = np.geomspace(0.02, 4.0, 32)  # of alpha and of beta: neighbours differ by a fifth
STARTS = 12                          # best nodes that a single fit descends from
CHUNK = 64                           # resamples whose grids fill the cache


@dataclass(frozen=True)
class Optimum:
    """The lowest of many local minima, and how many descents found it."""

    solution: Solution   # of one fit: arrays of length 1
    starts: int
    agreeing: int        # starts that ended within 1e-6 of the lowest value
    spread: float        # robust standard deviation of the residuals' logs


def global_minimum(points: Coordinates, weight, objective: Objective, *,
                   restriction: Restriction = FREE) -> Optimum:
    """Descents from the best nodes of the grid and from a sparse cover of all of it."""
    values, linear = _grid(points, weight[None, :])
    starts = np.concatenate([_best(values[0], linear[0], STARTS), _cover(values[0], linear[0])])
    if not len(starts):
        raise NotIdentified("no surface with A > 0 and B > 0 describes the table: "
                            "the loss does not fall with N or does not fall with D")
    rough = minimise(points, weight, starts, Objective("log", 0.1), restriction=restriction, spread=0.1)
    spread = _spread(points, rough.theta[np.argmin(rough.value)], weight)
    theta, sharing = _merge(rough)
    found = minimise(points, weight, theta, objective, restriction=restriction, spread=spread)
    order = np.argmin(found.value)
    lowest = Solution(found.theta[[order]], found.value[[order]], found.converged[[order]])
    agreeing = int(sharing[found.value <= lowest.value[0] * (1 + 1e-6) + 1e-300].sum())
    return Optimum(lowest, len(starts), agreeing, spread)


def _merge(rough: Solution):
    """Distinct ends of descents (k, 5) and how many descents share each: the rest of the way is the same for them."""
    _, first, sharing = np.unique(np.round(np.column_stack([rough.value / rough.value.min(), rough.theta]), 5), axis=0,
                                  return_index=True, return_counts=True)
    return rough.theta[first], sharing


def global_minima(points: Coordinates, weight, objective: Objective, pilot: Optimum) -> Solution:
    """Global optimum under each row of weights (M, n), given the fit of all points.

    Each descends from its own best node and from the pilot; nodes are compared with
    outlying points weighted down as the pilot found them.
    """
    theta = pilot.solution.theta[0]
    residual = np.abs(_residual(points, theta))
    trust = np.minimum(1.0, 1.5 * pilot.spread / np.maximum(residual, 1e-12))
    own = np.empty((len(weight), 5))
    for i in range(0, len(weight), CHUNK):
        values, linear = _grid(points, weight[i:i + CHUNK] * trust)
        flat = values.reshape(len(values), -1)
        node = flat.argmin(1)
        own[i:i + CHUNK] = linear.reshape(len(values), -1, 5)[np.arange(len(values)), node]
        barren = ~np.isfinite(flat[np.arange(len(values)), node])
        own[i:i + CHUNK][barren] = theta
    starts = np.stack([np.broadcast_to(theta, own.shape), own], 1)
    return lowest(points, weight, starts, objective, spread=pilot.spread)


def lowest(points: Coordinates, weight, starts, objective: Objective, *, spread: float,
           restriction: Restriction = FREE) -> Solution:
    """The lowest minimum that each fit's starts (M, S, 5) lead to, under weights (M, n) or (n,).

    Starts that meet under the broad loss would go the rest of the way together: one of them goes.
    """
    if starts.shape[1] == 1:
        return minimise(points, weight, starts[:, 0], objective, restriction=restriction, spread=spread)
    unit = points.scale if objective.space == "raw" else 1.0
    broad = replace(objective, delta=max(objective.delta, 2 * spread * unit))
    ends = [minimise(points, weight, start, broad, restriction=restriction, spread=spread).theta
            for start in np.moveaxis(starts, 1, 0)]
    found = minimise(points, weight, ends[0], objective, restriction=restriction, spread=spread)
    for i, end in enumerate(ends[1:], start=1):
        near = np.min([np.abs(end - other).max(1) for other in ends[:i]], axis=0)
        apart = np.flatnonzero(near > 1e-5)
        if not len(apart):
            continue
        theirs = weight if weight.ndim == 1 else weight[apart]
        other = minimise(points, theirs, end[apart], objective, restriction=restriction.of(apart), spread=spread)
        better = other.value < found.value[apart]
        for into, new in zip((found.theta, found.value, found.converged), (other.theta, other.value, other.converged)):
            into[apart[better]] = new[better]
    return found


def _residual(points: Coordinates, theta):
    E, u, v, alpha, beta = theta
    return np.log((E + np.exp(u - alpha * points.x) + np.exp(v - beta * points.y)) / points.loss)


def _spread(points, theta, weight) -> float:
    """1.4826 times the weighted median absolute residual."""
    residual = np.abs(_residual(points, theta))
    order = np.argsort(residual)
    share = np.cumsum(weight[order])
    return float(max(1.4826 * residual[order][np.searchsorted(share, share[-1] / 2)], 1e-9))


def _grid(points: Coordinates, weight):
    """Least squares of relative error at every node: values (M, G, G), theta (M, G, G, 5).

    E is set to 0 where least squares wants it negative; nodes with A or B <= 0 get infinity.
    """
    X, Y, L = np.exp(-np.outer(points.x, NODES)), np.exp(-np.outer(points.y, NODES)), points.loss
    w = weight / L**2
    G, M = len(NODES), len(w)
    s1, sL, sLL = (v[:, None, None] for v in (w.sum(1), w @ L, w @ L**2))
    sX, sXX, sXL = ((w @ v)[:, :, None] for v in (X, X * X, X * L[:, None]))
    sY, sYY, sYL = ((w @ v)[:, None, :] for v in (Y, Y * Y, Y * L[:, None]))
    sXY = (w @ (X[:, :, None] * Y[:, None, :]).reshape(len(L), -1)).reshape(M, G, G)
    with np.errstate(all="ignore"):
        A, B, value = _plane(sXX - sX**2 / s1, sYY - sY**2 / s1, sXY - sX * sY / s1,
                             sXL - sX * sL / s1, sYL - sY * sL / s1, sLL - sL**2 / s1)
        E = (sL - A * sX - B * sY) / s1
        A0, B0, value0 = _plane(sXX, sYY, sXY, sXL, sYL, sLL)
        floor = ~(E > 0)
        A, B, E, value = (np.where(floor, f, v) for f, v in ((A0, A), (B0, B), (0.0, E), (value0, value)))
        value = np.where((A > 0) & (B > 0) & np.isfinite(value), value, np.inf)
        theta = np.empty((M, G, G, 5))
        theta[..., 0], theta[..., 1], theta[..., 2] = E, np.log(A), np.log(B)
    theta[..., 3], theta[..., 4] = NODES[:, None], NODES[None, :]
    return value, theta


def _plane(xx, yy, xy, xz, yz, zz):
    """Two-variable least squares from its moments: slopes and residual sum."""
    determinant = xx * yy - xy * xy
    A = (xz * yy - yz * xy) / determinant
    B = (yz * xx - xz * xy) / determinant
    return A, B, zz - A * xz - B * yz


def _best(values, theta, count):
    """Starts (<= count, 5) at the lowest nodes that are local minima of the grid, then the lowest others."""
    padded = np.pad(values, 1, constant_values=np.inf)
    around = np.min([padded[1 + i:padded.shape[0] - 1 + i, 1 + j:padded.shape[1] - 1 + j]
                     for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)], axis=0)
    rank = np.where(values <= around, values, np.inf)
    chosen = [i for i in np.argsort(rank, axis=None)[:count // 2] if np.isfinite(rank.flat[i])]
    chosen += [i for i in np.argsort(values, axis=None) if i not in chosen][:count - len(chosen)]
    chosen = [i for i in chosen if np.isfinite(values.flat[i])]
    return theta.reshape(-1, 5)[chosen]


def _cover(values, theta):
    """Every fourth node of the grid, where it holds a surface."""
    sparse, usable = theta[2::4, 2::4].reshape(-1, 5), np.isfinite(values[2::4, 2::4]).ravel()
    return sparse[usable]
