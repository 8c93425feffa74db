"""The loss surface that fits a table best: one global optimum, and what it says about itself."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.global_minimum import Optimum, global_minimum
from analysis.approaches.newton import EXPONENTS, FREE, Coordinates, Objective, Restriction
from analysis.approaches.surface import Surface
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import NotIdentified, TooFewPoints

HUBER = Objective("log", 1e-3)  # Hoffmann et al. 2022, appendix D.2
LOG_SQUARES = Objective("log", np.inf)
RAW_SQUARES = Objective("raw", np.inf)


@dataclass(frozen=True)
class SurfaceFit:
    """The surface that minimises an objective, and whether it can be believed to be the lowest."""

    surface: Surface
    objective: Objective
    value: float               # sum over runs at the optimum
    n: int
    converged: bool
    at_bound: tuple[str, ...]  # "E = 0", "alpha = 6", ...
    starts: int                # descents made
    agreeing: int              # of them, ended at this optimum

    def summary(self) -> str:
        s = self.surface
        bound = f"; at its bound: {', '.join(self.at_bound)}" if self.at_bound else ""
        return (f"L = {s.E:.4g} + {s.A:.4g}/N^{s.alpha:.4g} + {s.B:.4g}/D^{s.beta:.4g}\n"
                f"{self.objective}: {self.value:.6g} over {self.n} runs, found by {self.agreeing} of "
                f"{self.starts} descents{bound}")


def check_runs(N, D, L, weight=None, *, parameters: int = 5) -> tuple[np.ndarray, ...]:
    """Float64 arrays N, D, L, weight; raises ValueError for what no law can hold, Refusal for too little of it."""
    N, D, L = (np.atleast_1d(np.asarray(v, float)) for v in (N, D, L))
    weight = np.ones_like(L) if weight is None else np.asarray(weight, float)
    if not len(N) == len(D) == len(L) == len(weight):
        raise ValueError(f"N, D, L and weight differ in length: {len(N)}, {len(D)}, {len(L)}, {len(weight)}")
    for name, v in (("N", N), ("D", D), ("L", L)):
        bad = ~(np.isfinite(v) & (v > 0))
        if bad.any():
            raise ValueError(f"{bad.sum()} of {len(v)} values of {name} are not positive finite numbers: drop those rows")
    for name, v in (("N", N), ("D", D)):
        if len(np.unique(v)) < 3:
            raise TooFewPoints(f"approach 3 needs at least 3 distinct {name}, got {len(np.unique(v))}")
    cells = distinct(N, D).max() + 1
    if cells <= parameters:
        raise TooFewPoints(f"approach 3 has {parameters} parameters and needs more distinct (N, D) than that, got {cells}")
    x, y = np.log(N), np.log(D)
    if abs(np.corrcoef(x, y)[0, 1]) > 0.9999:
        raise NotIdentified("N and D move together in every run: their effects cannot be told apart")
    return N, D, L, weight


def fit_surface(N, D, L, *, objective: Objective = HUBER, weight=None, hold=None) -> SurfaceFit:
    """The global optimum alone. hold={"E": 0.0} fixes E, hold={"alpha=beta": True} ties the exponents."""
    hold = hold or {}
    N, D, L, weight = check_runs(N, D, L, weight, parameters=5 - len(hold))
    points = Coordinates.of(N, D, L, weight)
    fit = describe(points, global_minimum(points, weight, objective, restriction=_restriction(hold, points)), objective)
    return replace(fit, at_bound=tuple(b for b in fit.at_bound if not ("E" in hold and b.startswith("E"))))


def _restriction(hold: dict, points: Coordinates) -> Restriction:
    if not hold:
        return FREE
    if set(hold) - {"E", "alpha=beta"}:
        raise ValueError(f"hold takes E and alpha=beta, got {', '.join(hold)}")
    columns = [np.eye(5)[i] for i in (1, 2)]
    columns += [np.array([0, 0, 0, 1.0, 1.0])] if hold.get("alpha=beta") else [np.eye(5)[i] for i in (3, 4)]
    if "E" not in hold:
        columns.append(np.eye(5)[0])
    return Restriction(np.eye(5)[0] * hold.get("E", 0.0) / points.scale, np.stack(columns, 1))


def describe(points: Coordinates, found: Optimum, objective: Objective) -> SurfaceFit:
    """The optimum in natural units, with the bounds it rests on."""
    theta = found.solution.theta[0]
    bounds = ["E = 0"] * bool(theta[0] <= 0)
    bounds += [f"{name} = {value:g}" for name, value in zip(("alpha", "beta"), theta[3:]) if value in EXPONENTS]
    return SurfaceFit(Surface(*map(float, points.external(theta))), objective, float(found.solution.value[0]),
                      len(points.x), bool(found.solution.converged[0]), tuple(bounds), found.starts, found.agreeing)
