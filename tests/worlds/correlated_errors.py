"""Tables whose errors go together, in the ways that referees ask about, beside the interval that a knower of the covariance would give."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.cost import LANGUAGE
from analysis.approaches.surface import Surface

LAW = Surface(1.8, 400.0, 2000.0, 0.35, 0.37)   # about Hoffmann's, with p = 1 and C = 6 N D
NOISE = 0.01


@dataclass(frozen=True)
class World:
    """A layout, and the covariance of the errors of log L there."""

    N: np.ndarray
    D: np.ndarray
    seed: np.ndarray | None
    covariance: np.ndarray
    law: Surface = LAW

    @property
    def C(self):
        return LANGUAGE.flops(self.N, self.D)

    @property
    def a(self) -> float:
        return float(self.law.a(LANGUAGE))

    def losses(self, rng) -> np.ndarray:
        root = np.linalg.cholesky(self.covariance + 1e-16 * np.eye(len(self.N)))
        return self.law.loss(self.N, self.D) * np.exp(root @ np.random.default_rng(rng).standard_normal(len(self.N)))

    @property
    def needed(self) -> float:
        """Half the width of the shortest 95% interval of a with known covariance: generalised least squares (Aitken 1936),
        slopes by differences, of the law with g free."""
        natural = np.array([self.law.E, np.log(self.law.A), np.log(self.law.B), self.law.alpha, self.law.beta, self.law.g])

        def both(t):
            surface = Surface(t[0], np.exp(t[1]), np.exp(t[2]), *t[3:])
            return np.append(np.log(surface.loss(self.N, self.D)), surface.a(LANGUAGE))

        moves = np.diag(1e-5 * np.maximum(np.abs(natural), 0.1))
        slopes = np.array([(both(natural + m) - both(natural - m)) / (2 * m.sum()) for m in moves])
        information = slopes[:, :-1] @ np.linalg.solve(self.covariance, slopes[:, :-1].T)
        return float(stats.norm.ppf(0.975) * np.sqrt(slopes[:, -1] @ np.linalg.solve(information, slopes[:, -1])))


def layout(sizes: int, amounts, seeds: int = 1):
    """Every size at every amount of data, seeds times: N, D and seed, by size, then data."""
    N, D, seed = np.meshgrid(np.geomspace(1e6, 1e9, sizes), amounts, np.arange(seeds), indexing="ij")
    return N.ravel(), D.ravel(), seed.ravel()


def alike(*columns) -> np.ndarray:
    """(n, n) of ones where rows agree in every column."""
    return np.all([c[:, None] == c for c in columns], axis=0).astype(float)


def intraclass(share: float, *, sizes: int = 10, noise: float = NOISE) -> World:
    """Runs of one size share a part of the variance."""
    N, D, _ = layout(sizes, np.geomspace(1e8, 1e11, 8))
    return World(N, D, None, noise**2 * (share * alike(N) + (1 - share) * np.eye(len(N))))


def sizes_off(*, sizes: int = 8, own: float = 0.003) -> World:
    """Every size is off by 1% in all its runs, which differ little beside."""
    N, D, _ = layout(sizes, np.geomspace(1e8, 1e11, 10))
    return World(N, D, None, 0.01**2 * alike(N) + own**2 * np.eye(len(N)))


def checkpoints(*, runs: int = 9, each: int = 25, fade: float = 0.9, evenly: bool = True) -> World:
    """Checkpoints of long runs, a size each: a first-order autoregression along each run."""
    amounts = 1e11 * np.arange(1, each + 1) / each if evenly else np.geomspace(1e9, 1e11, each)
    N, D, _ = layout(runs, amounts)
    step = np.tile(np.arange(each), runs)
    return World(N, D, None, NOISE**2 * alike(N) * fade ** np.abs(step[:, None] - step))


def shared_order(*, sizes: int = 8, seeds: int = 3, own: float = 0.01) -> World:
    """A seed's order of data is the same at every size, so that all sizes have its luck at an amount of data."""
    N, D, seed = layout(sizes, np.geomspace(1e8, 1e11, 8), seeds)
    return World(N, D, seed, NOISE**2 * alike(D, seed) + own**2 * np.eye(len(N)))


def independent(*, sizes: int = 10, seeds: int = 1, noise: float = NOISE) -> World:
    N, D, seed = layout(sizes, np.geomspace(1e8, 1e11, 8), seeds)
    return World(N, D, seed if seeds > 1 else None, noise**2 * np.eye(len(N)))


WORLDS = {
    "independent": independent(), "independent, 3 seeds": independent(sizes=8, seeds=3),
    "intraclass .1 by N": intraclass(0.1), "intraclass .2 by N": intraclass(0.2), "intraclass .4 by N": intraclass(0.4),
    "sizes off by 1%, own noise .3%": sizes_off(), "sizes off by 1%, own noise 1%": sizes_off(own=0.01),
    "25 checkpoints of 9 runs, even in D": checkpoints(), "the same, even in log D": checkpoints(evenly=False),
    "a seed's order of data shared": shared_order(),
}
