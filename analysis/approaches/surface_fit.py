"""The loss surface that fits a table best: one global optimum, and what it says about itself."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.global_minimum import Descents, Optimum, descents, global_minimum
from analysis.approaches.laws.additive import ADDITIVE, EXPONENTS
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.newton import Restriction
from analysis.approaches.surface import Surface
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import NotIdentified, TooFewPoints

HUBER = Objective("log", 1e-3)  # Hoffmann et al. 2022, appendix D.2
LOG_SQUARES = Objective("log", np.inf)
RAW_SQUARES = Objective("raw", np.inf)
TUNING = 1.345   # of the residuals' scale: Huber 1981's delta, 95% as efficient as least squares under normal errors
SPAN = 0.1       # of log N and log D: a table that varies less has no exponents


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
        law = (f"(L - {s.E:.4g})/({s.top:.4g} - L)^{s.c:.4g} = {s.A:.4g}/N^{s.alpha:.4g} + {s.B:.4g}/D^{s.beta:.4g}" if s.saturates else
               f"L = {s.E:.4g} + {s.A:.4g}/N^{s.alpha:.4g} + {s.B:.4g}/D^{s.beta:.4g}" if s.g == 1 else
               f"L = {s.E:.4g} + ({s.A:.4g}/N^{s.alpha / s.g:.4g} + {s.B:.4g}/D^{s.beta / s.g:.4g})^{s.g:.4g}")
        bound = f"; at its bound: {', '.join(self.at_bound)}" if self.at_bound else ""
        return (f"{law}\n{self.objective}: {self.value:.6g} over {self.n} runs, found by {self.agreeing} of "
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
        if np.log(v.max() / v.min()) < SPAN:
            raise NotIdentified(f"{name} varies by {v.max() / v.min() - 1:.2%} only: no exponent can be told from that")
    if L.max() <= L.min() * (1 + 1e-9):
        raise NotIdentified(f"the loss is {L.min():.4g} in every run")
    cells = distinct(N, D).max() + 1
    if cells <= parameters:
        raise TooFewPoints(f"approach 3 has {parameters} parameters and needs more distinct (N, D) than that, got {cells}")
    x, y = np.log(N), np.log(D)
    if abs(np.corrcoef(x, y)[0, 1]) > 0.9999:
        raise NotIdentified("N and D move together in every run: their effects cannot be told apart")
    return N, D, L, weight


def fit_surface(N, D, L, *, objective: Objective | None = None, weight=None, hold=None, law=ADDITIVE, starts=None) -> SurfaceFit:
    """The global optimum alone, of the additive law by Hoffmann's objective or of another by `efficient`'s.

    hold={"E": 0.0} fixes a parameter (E, g), {"alpha=beta": True} and {"beta=g": True} tie two. starts: surfaces (S, k), in natural
    units, that the search descends from in place of the law's own grid: the minima of much the same runs.
    """
    hold = hold or {}
    N, D, L, weight = check_runs(N, D, L, weight, parameters=len(law.names) - len(hold))
    points = Coordinates.of(N, D, L, weight)
    restriction = held(hold, law, points) if hold else None
    after = descents(points, weight, law=law, restriction=restriction, starts=None if starts is None else law.internal(points, starts))
    if objective is None:
        objective = HUBER if law is ADDITIVE else efficient(after if not hold else descents(points, weight, law=law))
    found = global_minimum(points, weight, objective, law=law, restriction=restriction, after=after)
    fit = describe(points, found, objective, law)
    return replace(fit, at_bound=tuple(b for b in fit.at_bound if b.split(" = ")[0] not in hold))


def efficient(after: Descents) -> Objective:
    """Huber's loss of log L with delta at TUNING times the scatter about the generalised law, whose descents these are.

    The scatter is that of the largest law, so that every law nested in it is judged by one objective: nearly least
    squares, which seeds' noise asks for, and deaf to the few runs that went astray.
    """
    return Objective("log", TUNING * after.spread)


def held(hold: dict, law, points: Coordinates) -> Restriction:
    """The family of theta in which hold's parameters are fixed and its pairs tied."""
    place = {name: i for i, name in enumerate(law.names)}
    pairs = {name: name.split("=") for name in hold if "=" in name}
    tied = {name: tuple(place[part] for part in parts) for name, parts in pairs.items() if set(parts) <= set(place)}
    fixed = {name: place[name] for name in hold if name in ("E", "g") and name in place}
    if set(hold) - set(tied) - set(fixed):
        raise ValueError(f"hold takes E, alpha=beta and, of the generalised law, g and beta=g; got {', '.join(hold)}")
    origin, columns = np.zeros(len(place)), {i: np.eye(len(place))[i] for i in place.values()}
    for name, i in fixed.items():
        origin[i] = hold[name] / (points.scale if name == "E" else 1.0)
        del columns[i]
    for first, second in tied.values():
        columns[first] = columns[first] + columns.pop(second)
    return Restriction(origin, np.stack(list(columns.values()), 1))


def describe(points: Coordinates, found: Optimum, objective: Objective, law=ADDITIVE) -> SurfaceFit:
    """The optimum in natural units, with the bounds it rests on."""
    theta = found.solution.theta[0]
    bounds = ["E = 0"] * bool(theta[0] <= 0)
    bounds += [f"{name} = {value:g}" for name, value in zip(law.names[3:5], theta[3:5]) if value in EXPONENTS]
    bounds += [f"{name} = {value:g}" for name, value, *ends in list(zip(law.names, theta, law.low, law.high))[5:] if value in ends]
    return SurfaceFit(Surface(*map(float, law.external(points, theta))), objective, float(found.solution.value[0]),
                      len(points.x), bool(found.solution.converged[0]), tuple(bounds), found.starts, found.agreeing)
