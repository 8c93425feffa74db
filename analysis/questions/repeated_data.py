"""The data-constrained law: what data that are seen again, and parameters beyond what the data ask for, are still worth.

Muennighoff et al. 2023 (arXiv 2305.16264), equations 5 and 6:

    L = E + A/N'^alpha + B/D'^beta,
    D' = U (1 + R_D (1 - exp(-(D/U - 1)/R_D))),    U different examples among the D processed,
    N' = V (1 + R_N (1 - exp(-(N/V - 1)/R_N))),    V = min(N, the best size for U fresh examples).

R_D and R_N are R_D* and R_N* of the paper: repetitions after which another adds 1/e of what a fresh example would. At R_N infinite N' is N.
The best size for U is where alpha A/N^alpha = p beta B/U^beta, as on the frontier of the additive law.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import least_squares

from analysis.approaches.cost import LANGUAGE, CostLaw
from analysis.approaches.laws.additive import EXPONENTS
from analysis.approaches.laws.objective import Coordinates
from analysis.approaches.surface_fit import check_runs
from analysis.estimates import intervals
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt, TooFewPoints
from analysis.table.runs import Runs

AGAIN = 1.05            # D/U from which data were repeated; below, whole batches may have made it
FEWEST = 6              # runs that repeat their data
TUNING = 1.345          # Huber's delta in units of the scatter
REACH = (1e-2, 1e4)     # of R_D and R_N: at the ends a repetition is worth nothing, or as much as fresh data
STARTS = (0.5, 5.0, 50.0)
NAMES = ("E", "A", "B", "alpha", "beta", "R_D", "R_N")
CLEAR = 2.0             # AICc that R_N must gain to be quoted


@dataclass(frozen=True)
class RepeatedLaw:
    """The law's parameters; fields may be arrays."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    R_D: float
    R_N: float = np.inf

    def effective_data(self, D, U):
        """D'."""
        again = np.maximum(np.asarray(D, float) / U - 1, 0.0)
        return np.minimum(U, D) * (1 - self.R_D * np.expm1(-again / self.R_D))

    def best_size(self, U, cost: CostLaw):
        """For U fresh examples."""
        return np.exp((np.log(self.alpha * self.A) - np.log(cost.p * self.beta * self.B) + self.beta * np.log(U)) / self.alpha)

    def effective_size(self, N, U, cost: CostLaw):
        """N'."""
        if np.all(np.isinf(self.R_N)):
            return np.asarray(N, float)
        V = np.minimum(N, self.best_size(U, cost))
        return V * (1 - self.R_N * np.expm1(-(N / V - 1) / self.R_N))

    def loss(self, N, D, U, cost: CostLaw):
        return self.E + self.A / self.effective_size(N, U, cost) ** self.alpha + self.B / self.effective_data(D, U) ** self.beta


@dataclass(frozen=True, eq=False)
class RepeatedFit:
    """The fitted law, with intervals from a bootstrap by (N, D, U) cell."""

    law: RepeatedLaw
    cost: CostLaw
    estimates: dict[str, Estimate]   # by name, of NAMES that are fitted
    scatter: float                   # rms of log L about it
    fresh_scatter: float             # the same about the law that takes every example for a fresh one
    gain: float                      # AICc that R_N gains; it is fitted where that is more than CLEAR
    n: int
    repeated: int                    # runs that repeat their data
    most: float                      # epochs of the run that repeats most
    draws: np.ndarray = field(repr=False)   # (R, k)
    label: str = field(repr=False, default="")
    cells: int = 0
    level: float = 0.95

    def loss(self, N: float, D: float, U: float) -> Estimate:
        """Of N parameters on D examples, U of them different."""
        cloud = RepeatedLaw(*self.draws.T)
        return self._percentile(float(self.law.loss(N, D, U, self.cost)), cloud.loss(N, D, U, self.cost))

    @property
    def half(self) -> Estimate:
        """Epochs after which one more example of the old is worth half a fresh one: 1 + R_D log 2."""
        e = self.estimates["R_D"]
        return Estimate(*(1 + v * np.log(2) for v in (e.value, e.low, e.high)), e.se * np.log(2), e.method, e.n, e.level)

    def _percentile(self, value: float, draws) -> Estimate:
        return intervals.percentile(value, draws, label=self.label, count=self.cells, n=self.n, parameters=self.draws.shape[1],
                                    level=self.level)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        e = self.estimates["R_D"]
        if e.high < REACH[1] and e.low > REACH[0]:
            return ()
        return (Doubt("repeats_not_identified", f"what repeated data are worth is hardly told: R_D* = {e}; most epochs in the table: "
                      f"{self.most:.3g}"),)

    def summary(self) -> str:
        return f"R_D* = {self.estimates['R_D']}; rms of log L {self.scatter:.2%}, {self.fresh_scatter:.2%} if every example were fresh"


def repeated_data(runs: Runs, law: object = None, *, level: float = 0.95, rng=0) -> RepeatedFit | None:
    """Of a group's runs; None where the table says of no run that it saw its data more than once. law: a LawChoice, for the cost."""
    if runs.unique is None:
        return None
    told = np.isfinite(runs.unique) & (runs.unique > 0)
    if (runs.D[told] > AGAIN * runs.unique[told]).sum() < FEWEST:
        return None
    N, D, L, U = (v[told] for v in (runs.N, runs.D, runs.L, runs.unique))
    return fit_repeated(N, D, L, U, cost=LANGUAGE if law is None else law.cost, level=level, rng=rng)


def fit_repeated(N, D, L, unique, *, cost: CostLaw = LANGUAGE, resamples: int = 200, level: float = 0.95, rng=0) -> RepeatedFit:
    """All parameters at once by Huber's loss of log L, on runs with and without repetition. unique: U (n,).

    Raises TooFewPoints where fewer than FEWEST runs repeat their data, and what check_runs raises.
    """
    N, D, L, weight = check_runs(N, D, L, parameters=7)
    U = np.minimum(np.asarray(unique, float), D)
    if not (np.isfinite(U) & (U > 0)).all():
        raise ValueError("numbers of different examples are positive and finite: leave the other rows out")
    again = AGAIN * U < D
    if again.sum() < FEWEST:
        raise TooFewPoints(f"{again.sum()} runs saw their data more than once, need {FEWEST}")
    problem = _Problem(Coordinates.of(N, D, L, weight), N, D, U, cost)
    fresh = _Problem(problem.points, N, D, D, cost)
    plain, full = (problem.solved(weight, free) for free in (6, 7))
    as_fresh = fresh.solved(weight, 5)
    gain = _aicc(problem.residual(plain), 6) - _aicc(problem.residual(full), 7)
    free, chosen = (7, full) if gain > CLEAR else (6, plain)
    clusters = intervals.clusters("cell", N, D, cell=intervals.distinct(N, D, U))
    counts = intervals.resample(clusters, resamples, rng)
    draws = np.array([problem.external(problem.descent(w, chosen, free))[:free] for w in counts])
    law = RepeatedLaw(*problem.external(chosen))
    estimates = {name: _told(intervals.percentile(float(getattr(law, name)), column, label=clusters.label, count=clusters.count, n=len(L),
                                                  parameters=free, level=level), name)
                 for name, column in zip(NAMES[:free], draws.T)}
    return RepeatedFit(law, cost, estimates, _rms(problem.residual(chosen)), _rms(fresh.residual(as_fresh)), float(gain), len(L),
                       int(again.sum()), float((D / U).max()), draws, clusters.label, clusters.count, level)


def _told(e: Estimate, name: str) -> Estimate:
    """Of a scale that ends at its reach: what lies beyond is no different."""
    if name not in ("R_D", "R_N"):
        return e
    low, high = 0.0 if e.low <= REACH[0] * 1.01 else e.low, np.inf if e.high >= REACH[1] * 0.99 else e.high
    return Estimate(e.value, low, high, e.se, e.method, e.n, e.level)


@dataclass(frozen=True, eq=False)
class _Problem:
    """theta = (E, u, v, alpha, beta, log R_D, log R_N) in centred, scaled coordinates; of fewer, the first."""

    points: Coordinates
    N: np.ndarray
    D: np.ndarray
    U: np.ndarray
    cost: CostLaw

    def external(self, theta) -> np.ndarray:
        """E, A, B, alpha, beta, R_D, R_N: R_D where there is none is immaterial, R_N infinite."""
        natural = self.points.external(theta[:5])
        return np.array([*natural, np.exp(theta[5]) if len(theta) > 5 else 1.0, np.exp(theta[6]) if len(theta) > 6 else np.inf])

    def residual(self, theta) -> np.ndarray:
        """log of the law less log L (n,)."""
        with np.errstate(all="ignore"):
            made = np.log(RepeatedLaw(*self.external(theta)).loss(self.N, self.D, self.U, self.cost) / self.points.scale)
        return np.nan_to_num(made - np.log(self.points.loss), nan=1e3, posinf=1e3, neginf=-1e3)

    def solved(self, weight, free: int) -> np.ndarray:
        """The lowest of several descents, by least squares first, then by Huber's loss at the scatter that is left."""
        z = np.log(self.points.loss)
        starts = [[share * np.exp(z.min()), *[np.log(0.5 * (1 - share))] * 2, 0.35, 0.35, np.log(R), np.log(R)][:free]
                  for share in (0.2, 0.7) for R in (STARTS if free > 5 else STARTS[:1])]
        return min((self.descent(weight, np.array(start), free) for start in starts), key=lambda t: self._cost(t, weight))

    def descent(self, weight, start, free: int) -> np.ndarray:
        low = np.array([0.0, -np.inf, -np.inf, EXPONENTS[0], EXPONENTS[0], *np.log([REACH[0]] * 2)])[:free]
        high = np.array([np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1], *np.log([REACH[1]] * 2)])[:free]
        root, theta = np.sqrt(weight), np.clip(start[:free], low + 1e-9, high - 1e-9)
        for loss in ("linear", "huber"):
            scale = max(1.4826 * np.median(np.abs(self.residual(theta)[weight > 0])), 1e-9)
            found = least_squares(lambda t: root * self.residual(t), theta, bounds=(low, high), loss=loss, f_scale=TUNING * scale,
                                  x_scale="jac", max_nfev=200)
            theta = np.clip(found.x, low + 1e-9, high - 1e-9)
        return found.x

    def _cost(self, theta, weight) -> float:
        return float(weight @ np.minimum(np.abs(self.residual(theta)), 1e3) ** 2)


def _rms(residual: np.ndarray) -> float:
    return float(np.sqrt(np.mean(residual**2)))


def _aicc(residual: np.ndarray, k: int) -> float:
    """Hurvich and Tsai 1989, Gaussian errors of log L, their scale counted."""
    n, k = len(residual), k + 1
    return float(n * np.log(max(np.mean(residual**2), 1e-30)) + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf))
