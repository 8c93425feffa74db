"""Variance components of a law's residuals, by restricted maximum likelihood, found one by one.

log L = log F(theta) + e,  Var e = V = sigma^2 B + sum over groupings l of sigma_l^2 Z_l Z_l'.
Groupings are crossed: a run's size, its amount of data, its seed. B is one of analysis/errors/innovation.py. The law is
linear in theta over the range of its own error, with slopes J (n, k), and the likelihood is that of contrasts that J does not
touch (Patterson and Thompson 1971, Biometrika 58). A component is taken where twice the gain in log likelihood passes GAIN.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import optimize, special

from analysis.errors import innovation
from analysis.errors.innovation import CELL, GRIDS, NONE, ORDER, Innovation
from analysis.errors.structure import Shared, Structure

GAIN = 2.71        # the 5% point of half chi-square with 1 degree of freedom: a variance is tested on its boundary (Self and Liang 1987)
REACH = 12.0       # of the log of a component's variance in units of sigma^2
LEAST = 1e-4       # of a component's variance in those units: less is none
OUTLYING = 2.5     # times the residuals' scale, from which on a run counts for less


@dataclass(frozen=True)
class Component:
    """An error that the runs of a group share."""

    shared: Shared
    variance: float
    p_value: float    # that there is none, beside the components that were found before it


@dataclass(frozen=True)
class Test:
    """One structure alone against independent errors."""

    name: str
    words: str
    p_value: float


@dataclass(frozen=True)
class Components:
    """What was found."""

    structure: Structure
    weight: np.ndarray = field(repr=False)   # (n,) of each run: 1, less of one that went astray
    base: Innovation
    variance: float                          # sigma^2
    found: tuple[Component, ...]
    order_p: float                           # that neighbours in a sequence don't correlate; nan where base is of another kind
    tests: tuple[Test, ...]

    @property
    def correlated(self) -> bool:
        """Whether anything is shared beyond a cell."""
        return bool(self.found) or self.base.kind == ORDER

    def rebuilt(self, value: float) -> Innovation:
        """The base at another value."""
        return innovation_of(self.structure, self.base.kind, value, self.weight)

    def kept(self, rows) -> "Components":
        """Of some of the runs (mask or indices)."""
        structure, weight = self.structure.kept(rows), self.weight[rows]
        by_name = {one.name: one for one in structure.shared}
        return replace(self, structure=structure, weight=weight, base=innovation_of(structure, self.base.kind, self.base.value, weight),
                       found=tuple(replace(c, shared=by_name[c.shared.name]) for c in self.found))


def innovation_of(structure: Structure, kind: str, value: float, weight: np.ndarray) -> Innovation:
    if kind == CELL:
        return innovation.of_cells(structure.cell, value, weight)
    if kind == ORDER:
        return innovation.along(structure.sequence, structure.place, value, weight)
    return innovation.independent(weight)


def steady_weight(residuals: np.ndarray) -> np.ndarray:
    """(n,) The variance of a run that lies more than OUTLYING times the residuals' robust scale away is taken for larger,
    so that it lies just there."""
    size = np.abs(residuals)
    scale = max(1.4826 * float(np.median(size)), 1e-12)
    return np.square(np.minimum(1.0, OUTLYING * scale / np.maximum(size, 1e-300)))


@dataclass(frozen=True)
class _Contrasts:
    """A table after a base's filter, without what the law can follow: y (n,), every grouping's Z (n, q)."""

    y: np.ndarray
    Z: dict[str, np.ndarray]
    constant: float     # of -2 log likelihood: log |B| + log |J' B^-1 J|
    freedom: int        # n - rank of J

    @classmethod
    def of(cls, base: Innovation, residuals: np.ndarray, slopes: np.ndarray, shared: tuple[Shared, ...]) -> "_Contrasts":
        left, size, _ = np.linalg.svd(base.filter @ slopes, full_matrices=False)
        kept = size > 1e-9 * size[0]
        Q = left[:, kept]

        def without(X):
            return X - Q @ (Q.T @ X)

        return cls(without(base.filter @ residuals), {one.name: without(base.filter @ one.indicator) for one in shared},
                   base.log_determinant + 2 * float(np.log(size[kept]).sum()), len(residuals) - int(kept.sum()))


@dataclass(frozen=True)
class _Fit:
    """Components of one set of groupings at their best."""

    minus_twice: float             # log likelihood
    variance: float                # sigma^2
    ratios: tuple[float, ...]      # of each grouping's variance to it


def _restricted(at: _Contrasts, names: tuple[str, ...]) -> _Fit:
    """With Z = [Z_1 r_1, Z_2 r_2, ...], r_l^2 = sigma_l^2 / sigma^2, M = I + Z'Z:
    -2 log likelihood = freedom log sigma^2 + log |M| + constant,  sigma^2 = (y'y - y'Z M^-1 Z'y) / freedom."""
    if not names:
        variance = float(at.y @ at.y) / at.freedom
        return _Fit(at.freedom * np.log(variance) + at.constant, variance, ())
    Z = np.concatenate([at.Z[name] for name in names], 1)
    which = np.repeat(np.arange(len(names)), [at.Z[name].shape[1] for name in names])
    cross, pull, whole = Z.T @ Z, Z.T @ at.y, float(at.y @ at.y)

    def value(log_ratio):
        root = np.exp(log_ratio / 2)[which]
        lower = np.linalg.cholesky(np.eye(len(root)) + root[:, None] * cross * root)
        explained = np.linalg.solve(lower, root * pull)
        variance = max(whole - float(explained @ explained), 1e-300) / at.freedom
        return at.freedom * np.log(variance) + 2 * float(np.log(np.diag(lower)).sum()) + at.constant, variance

    best = optimize.minimize(lambda t: value(t)[0], np.full(len(names), -1.0), method="L-BFGS-B",
                             bounds=[(-REACH, REACH)] * len(names))
    return _Fit(float(best.fun), value(best.x)[1], tuple(float(r) for r in np.exp(best.x)))


@dataclass(frozen=True)
class _State:
    """Where the search stands."""

    kind: str
    value: float
    names: tuple[str, ...]
    fit: _Fit


def find_components(residuals, slopes, structure: Structure, weight=None) -> Components:
    """residuals (n,) of log L about a law whose log has slopes (n, k) at the fit; weight (n,) of the runs, 1 where not given.

    Starts from independent errors (of cells, where cells hold repeats) and takes the structure that gains most, until none
    gains GAIN.
    """
    residuals = np.asarray(residuals, float)
    weight = steady_weight(residuals) * (1.0 if weight is None else np.asarray(weight, float))
    known: dict[tuple[str, float], _Contrasts] = {}

    def state(kind: str, value: float, names: tuple[str, ...]) -> _State:
        if (kind, value) not in known:
            known[kind, value] = _Contrasts.of(innovation_of(structure, kind, value, weight), residuals, slopes, structure.shared)
        return _State(kind, value, names, _restricted(known[kind, value], names))

    start = _best(state, [(NONE, 0.0), *((CELL, v) for v in GRIDS[CELL] if structure.repeated)], ())
    here, entered, tests = start, {}, ()
    while True:
        nexts = _candidates(state, here, structure)
        if here is start:
            words = {one.name: one.words for one in structure.shared} | {ORDER: "next to each other in D"}
            tests = tuple(Test(name, words[name], _p(start, new)) for name, new in nexts.items())
        name, best = min(nexts.items(), key=lambda pair: pair[1].fit.minus_twice, default=("", here))
        if here.fit.minus_twice - best.fit.minus_twice <= GAIN:
            break
        entered[name], here = _p(here, best), best
    if here.kind == ORDER and here.names:
        here = _best(state, [(ORDER, v) for v in GRIDS[ORDER]], here.names)
    found = tuple(Component(next(one for one in structure.shared if one.name == name), ratio * here.fit.variance, entered[name])
                  for name, ratio in zip(here.names, here.fit.ratios, strict=True) if ratio > LEAST)
    return Components(structure, weight, innovation_of(structure, here.kind, here.value, weight), here.fit.variance, found,
                      entered.get(ORDER, np.nan), tests)


def _candidates(state: Callable[..., _State], here: _State, structure: Structure) -> dict[str, _State]:
    """One structure more."""
    nexts = {one.name: state(here.kind, here.value, (*here.names, one.name)) for one in structure.shared if one.name not in here.names}
    if structure.ordered and here.kind != ORDER:
        nexts[ORDER] = _best(state, [(ORDER, v) for v in GRIDS[ORDER]], here.names)
    return nexts


def _best(state: Callable[..., _State], bases, names: tuple[str, ...]) -> _State:
    return min((state(kind, value, names) for kind, value in bases), key=lambda s: s.fit.minus_twice)


def _p(fewer: _State, more: _State) -> float:
    gain = fewer.fit.minus_twice - more.fit.minus_twice
    return float(special.chdtrc(1, gain) / 2) if gain > 0 else 0.5
