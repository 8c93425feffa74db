"""Where descents of the additive law start: least squares of relative error on a grid of (alpha, beta).

Given alpha and beta the surface is linear in E, A, B, and the normal equations of every
resample at every grid node are one matrix product of resampling weights (M, n) by products
of basis functions.
"""

import numpy as np

from analysis.approaches.laws.objective import Coordinates

NODES = np.geomspace(0.02, 4.0, 32)  # of alpha and of beta: neighbours differ by a fifth
BEST = 12                            # nodes that a single fit descends from
CHUNK = 64                           # resamples whose grids fill the cache
NEAR = 1.5 * np.log(NODES[1] / NODES[0])   # of log alpha and log beta: a node no farther from a start lies in its basin


def best_and_cover(points: Coordinates, weight) -> np.ndarray:
    """Starts (S, 5): the best nodes of the grid under weight (n,), then a sparse cover of all of it."""
    values, linear = _grid(points, weight[None, :])
    return np.concatenate([_best(values[0], linear[0], BEST), _cover(values[0], linear[0])])


def best_of_each(points: Coordinates, weight, instead) -> np.ndarray:
    """The best node (M, 5) under each row of weight (M, n); `instead` (5,) where no node holds a surface, or the best is next to it."""
    own = np.empty((len(weight), 5))
    for i in range(0, len(weight), CHUNK):
        values, linear = _grid(points, weight[i:i + CHUNK])
        flat = values.reshape(len(values), -1)
        rows, node = np.arange(len(values)), flat.argmin(1)
        own[i:i + CHUNK] = linear.reshape(len(values), -1, 5)[rows, node]
        beside = np.abs(np.log(own[i:i + CHUNK, 3:] / instead[3:])).max(1) < NEAR
        own[i:i + CHUNK][~np.isfinite(flat[rows, node]) | beside] = instead
    return own


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
