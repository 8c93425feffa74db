"""Where descents of the additive law start: least squares of relative error on a grid of (alpha, beta).

Given alpha and beta the surface is linear in E, A, B, and the normal equations of every
resample at every grid node are one matrix product of resampling weights (M, n) by products
of basis functions.
"""

from dataclasses import dataclass

import numpy as np

from analysis.approaches.laws.objective import Coordinates

NODES = np.geomspace(0.02, 4.0, 32)  # of alpha and of beta: neighbours differ by a fifth
COARSE = NODES[::2]                  # of a resample, which descends from the optimum of all points, too
BEST = 12                            # nodes that a single fit descends from
CHUNK = 64                           # resamples whose grids fill the cache
NEAR = 1.5 * np.log(NODES[1] / NODES[0])   # of log alpha and log beta: a node no farther from a start lies in its basin


def best_and_cover(points: Coordinates, weight) -> np.ndarray:
    """Starts (S, 5): the best nodes of the grid under weight (n,), then a sparse cover of all of it."""
    values, linear = _grid(_Basis.of(points, NODES), weight[None, :]).of_one()
    return np.concatenate([_best(values, linear, BEST), _cover(values, linear)])


def best_of_each(points: Coordinates, weight, instead) -> np.ndarray:
    """The best of the coarse nodes (M, 5) under each row of weight (M, n); `instead` (5,) where none holds a surface, or next to it."""
    own, basis = np.empty((len(weight), 5)), _Basis.of(points, COARSE)
    for i in range(0, len(weight), CHUNK):
        grid = _grid(basis, weight[i:i + CHUNK])
        flat = grid.value.reshape(len(grid.value), -1)
        rows, node = np.arange(len(flat)), flat.argmin(1)
        own[i:i + CHUNK] = grid.theta(rows, node)
        beside = np.abs(np.log(own[i:i + CHUNK, 3:] / instead[3:])).max(1) < NEAR
        own[i:i + CHUNK][~np.isfinite(flat[rows, node]) | beside] = instead
    return own


@dataclass(frozen=True)
class _Basis:
    """Functions that a surface at a node is a sum of, and their products, over the relative error of L: arrays (n, G) or (n,)."""

    nodes: np.ndarray     # (G,) of alpha and of beta
    ones: np.ndarray      # (n, 3) of 1, L and L^2, over L^2
    x: np.ndarray         # (n, 3 G) of X, X^2 and X L, over L^2
    y: np.ndarray         # (n, 3 G) of Y, Y^2 and Y L, over L^2
    xy: np.ndarray        # (n, G G) of X Y, over L^2

    @classmethod
    def of(cls, points: Coordinates, nodes: np.ndarray) -> "_Basis":
        X, Y, L = np.exp(-np.outer(points.x, nodes)), np.exp(-np.outer(points.y, nodes)), points.loss[:, None]
        along = [np.concatenate([v, v * v, v * L], 1) / L**2 for v in (X, Y)]
        return cls(nodes, np.concatenate([1 / L**2, 1 / L, np.ones_like(L)], 1), *along,
                   ((X / L)[:, :, None] * (Y / L)[:, None, :]).reshape(len(L), -1))


@dataclass(frozen=True)
class _Grid:
    """The best surfaces at the nodes, (M, G, G)."""

    nodes: np.ndarray     # (G,)
    value: np.ndarray     # least squares of relative error
    E: np.ndarray
    A: np.ndarray
    B: np.ndarray

    def theta(self, rows, nodes) -> np.ndarray:
        """(m, 5) of those fits at those nodes (m,), numbered along the grid."""
        alpha, beta = np.divmod(nodes, len(self.nodes))
        with np.errstate(all="ignore"):
            E, u, v = self.E[rows, alpha, beta], np.log(self.A[rows, alpha, beta]), np.log(self.B[rows, alpha, beta])
        return np.stack([E, u, v, self.nodes[alpha], self.nodes[beta]], 1)

    def of_one(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (G, G) and theta (G, G, 5) of the first fit."""
        count = self.value[0].size
        return self.value[0], self.theta(np.zeros(count, int), np.arange(count)).reshape(*self.value[0].shape, 5)


def _grid(basis: _Basis, weight) -> _Grid:
    """Under each row of weight (M, n). E is set to 0 where least squares wants it negative; A or B <= 0 gets infinity."""
    G, M = len(basis.nodes), len(weight)
    s1, sL, sLL = (v[:, None, None] for v in (weight @ basis.ones).T)
    sX, sXX, sXL = (v[:, :, None] for v in (weight @ basis.x).reshape(M, 3, G).swapaxes(0, 1))
    sY, sYY, sYL = (v[:, None, :] for v in (weight @ basis.y).reshape(M, 3, G).swapaxes(0, 1))
    sXY = (weight @ basis.xy).reshape(M, G, G)
    with np.errstate(all="ignore"):
        A, B, value = _plane(sXX - sX**2 / s1, sYY - sY**2 / s1, sXY - sX * sY / s1,
                             sXL - sX * sL / s1, sYL - sY * sL / s1, sLL - sL**2 / s1)
        E = (sL - A * sX - B * sY) / s1
        floor = ~(E > 0)
        if floor.any():
            A0, B0, value0 = _plane(sXX, sYY, sXY, sXL, sYL, sLL)
            for given, instead in ((A, A0), (B, B0), (value, value0)):
                np.copyto(given, instead, where=floor)
            E[floor] = 0.0
        np.copyto(value, np.inf, where=~((A > 0) & (B > 0) & np.isfinite(value)))
    return _Grid(basis.nodes, value, E, A, B)


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
