"""How the error rate behaves: against compute along its own frontier, and against the loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from analysis.approaches.parametric import ParametricFit, fit_parametric
from analysis.estimates.estimate import Estimate
from analysis.estimates.intervals import clusters, percentile, resample, tail
from analysis.estimates.refusal import Doubt, NotIdentified, Refusal, TooFewPoints

GAMMAS = 160          # grid points of gamma, log-spaced: neighbours 7% apart, refined by parabolas
GAMMA_SPAN = (0.02, 800.0)   # gamma x range of L: a straight line below, a step above
CHUNK = 256           # resamples at once: 256 x 5,000 runs are 10 MB


@dataclass(frozen=True)
class ErrorOfLoss:
    """error = eps - k exp(-gamma L) (Gadre et al. 2024, equation 5), beside error = c L^m."""

    eps: Estimate          # error rate of a model that knows nothing
    k: Estimate
    gamma: Estimate        # 1/nat
    exponent: Estimate     # m of the power law
    coefficient: float     # c of the power law
    scatter: float         # rms of log(error / fit), exponential law
    power_scatter: float   # the same of the power law
    n: int
    warnings: tuple[Doubt, ...] = ()

    def __call__(self, L):
        """Error rate by the exponential law."""
        return self.eps.value - self.k.value * np.exp(-self.gamma.value * np.asarray(L, float))

    def power(self, L):
        """Error rate by the power law."""
        return self.coefficient * np.asarray(L, float) ** self.exponent.value

    def summary(self) -> str:
        return "\n".join([
            f"error = eps - k exp(-gamma L)   eps {self.eps}, k {self.k}, gamma {self.gamma} "
            f"(scatter {self.scatter:.1%}, {self.n} runs)",
            f"error = c L^m                   m {self.exponent}, c {self.coefficient:.3g} "
            f"(scatter {self.power_scatter:.1%})"])


@dataclass(frozen=True)
class AccuracyFit:
    """What the table says of the error rate."""

    of_compute: ParametricFit | None   # the error rate's own surface; its gamma is the exponent of C
    of_loss: ErrorOfLoss | None
    refused: dict[str, str]            # law -> why it could not be estimated
    best: float                        # highest accuracy of any run
    perfect: int                       # runs without a single error, left out: their log is infinite
    n: int

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        found = [] if self.of_compute is None else [
            Doubt(f"error_{w.code}", f"error rate in place of loss: {w.text}") for w in self.of_compute.warnings]
        found += self.of_loss.warnings if self.of_loss is not None else ()
        if self.perfect:
            found.append(Doubt("perfect_runs", f"{self.perfect} runs made no error and are left out of its laws"))
        return tuple(found)

    def summary(self) -> str:
        lines = [f"best accuracy   {self.best:.2%}"]
        if self.of_compute is not None:
            lines.append(f"error*(C) - E_err ~ C^-gamma   gamma {self.of_compute.gamma}, E_err {self.of_compute.E}")
        if self.of_loss is not None:
            lines.append(self.of_loss.summary())
        return "\n".join(lines + [f"{law}: refused, {why}" for law, why in self.refused.items()])


def fit_accuracy(N, D, L, C, accuracy, *, fit_law: Callable = fit_parametric, weight=None, cell=None, level: float = 0.95,
                 resamples: int = 1000, rng=0) -> AccuracyFit:
    """Both laws of the error rate 1 - accuracy; rows without an accuracy, or without errors, are left out.

    fit_law: fit_parametric or fit_generalised, of the surface of the error rate.
    Raises TooFewPoints where no law can be fitted for want of runs that err.
    """
    accuracy = np.asarray(accuracy, float)
    perfect = accuracy >= 1
    use = np.isfinite(accuracy) & ~perfect
    if use.sum() < 5:
        raise TooFewPoints(f"need at least 5 runs with an error rate above 0, got {use.sum()}")
    N, D, L, C = (np.asarray(v, float)[use] for v in (N, D, L, C))
    error = 1 - accuracy[use]
    shared = dict(weight=None if weight is None else np.asarray(weight)[use],
                  cell=None if cell is None else np.asarray(cell)[use],
                  level=level, resamples=resamples, rng=rng)
    refused, of_compute, of_loss = {}, None, None
    try:
        of_compute = fit_law(N, D, error, C=C, **shared)
    except Refusal as why:
        refused["error against compute"] = str(why)
    try:
        of_loss = fit_error_of_loss(N, D, L, error, **shared)
    except Refusal as why:
        refused["error against loss"] = str(why)
    return AccuracyFit(of_compute, of_loss, refused, float(np.nanmax(accuracy)), int(perfect.sum()), len(error))


def fit_error_of_loss(N, D, L, error, *, weight=None, cell=None, level: float = 0.95, resamples: int = 1000,
                      rng=0) -> ErrorOfLoss:
    """Least squares of relative errors; eps and k in closed form on a grid of gamma, then refined.

    The noise of an error rate grows with it, so residuals are divided by the power law's
    prediction (not by the datum, which would favour runs that were lucky).
    N and D serve only to tell which runs share a cell, and are resampled together.
    Raises TooFewPoints below 5 runs or 6 cells, NotIdentified where the losses are all the same.
    """
    N, D, L, error = (np.asarray(v, float) for v in (N, D, L, error))
    if len(L) < 5:
        raise TooFewPoints(f"need at least 5 runs for error against loss, got {len(L)}")
    span = float(np.ptp(L))
    if not span > 1e-9 * L.max() or np.ptp(error) <= 0:
        raise NotIdentified("loss or error rate does not vary: no law of one against the other")
    weight = np.ones(len(L)) if weight is None else np.asarray(weight, float)
    # one order whatever the table's: sums of the same numbers are then the same to the last digit
    order = np.lexsort((weight, error, L, D, N))
    N, D, L, error, weight = (v[order] for v in (N, D, L, error, weight))
    cell = None if cell is None else np.asarray(cell)[order]
    line = _lines(np.log(L), np.log(error), weight[None])
    relative = 1 / (np.exp(line.offset[0]) * L ** line.slope[0]) ** 2
    grid = np.geomspace(*GAMMA_SPAN, GAMMAS) / span
    start = _exponentials(L, error, (weight * relative)[None], grid)
    point = _polished(L, error, weight * relative, start.gamma[0], grid)
    chosen = clusters("cell", N, D, cell=cell)
    slopes, draws = [], []
    weights = resample(chosen, resamples, rng) * weight
    for chunk in np.array_split(weights, max(1, len(weights) // CHUNK)):
        slopes.append(_lines(np.log(L), np.log(error), chunk).slope)
        fit = _exponentials(L, error, chunk * relative, grid)
        draws.append(np.stack([fit.eps, fit.k, fit.gamma]))

    def estimate(value: np.ndarray, drawn: np.ndarray, parameters: int) -> Estimate:
        return percentile(value[0], drawn, label=chosen.label, count=chosen.count, n=len(L),
                          parameters=parameters, level=level)

    eps, k, gamma = np.concatenate(draws, axis=1)
    # at the ends of the grid the law is a straight line or a step, and every gamma beyond says the same:
    # an interval that reaches them is open
    straight, steep = np.mean(gamma <= grid[1]), np.mean(gamma >= grid[-2])
    cut = tail(level, chosen.count, 3)
    ends = ({"low": 0.0, "se": np.inf} if straight > cut else {}) | ({"high": np.inf, "se": np.inf} if steep > cut else {})
    far = {"high": np.inf, "se": np.inf} if straight > cut else {}
    predicted = np.maximum(point.eps[0] - point.k[0] * np.exp(-point.gamma[0] * L), 1e-12)
    power = np.exp(line.offset[0]) * L ** line.slope[0]
    return ErrorOfLoss(
        replace(estimate(point.eps, eps, 3), **far), replace(estimate(point.k, k, 3), **far),
        replace(estimate(point.gamma, gamma, 3), **ends),
        estimate(line.slope, np.concatenate(slopes), 2), float(np.exp(line.offset[0])),
        _rms(np.log(error / predicted), weight), _rms(np.log(error / power), weight), len(L),
        _bound_doubts(point.gamma[0], straight + steep, grid))


def _bound_doubts(gamma: float, edge: float, grid: np.ndarray) -> tuple[Doubt, ...]:
    """edge: share of the resamples whose gamma is at an end of the grid."""
    if edge < 0.025 and grid[1] < gamma < grid[-2]:
        return ()
    return (Doubt("gamma_not_identified", f"error against loss: {edge:.0%} of the resamples show no curvature "
                  "(gamma at its bound); the power law or a straight line says as much"),)


def _rms(residual: np.ndarray, weight: np.ndarray) -> float:
    return float(np.sqrt(np.average(residual**2, weights=weight)))


@dataclass(frozen=True)
class _Lines:
    offset: np.ndarray   # (resamples,)
    slope: np.ndarray


def _lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> _Lines:
    """A regression line for each row of weights (resamples, n)."""
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    xx, xy = weights @ (x * x) / total - mean_x**2, weights @ (x * y) / total - mean_x * mean_y
    slope = xy / np.maximum(xx, 1e-300)
    return _Lines(mean_y - slope * mean_x, slope)


@dataclass(frozen=True)
class _Exponentials:
    eps: np.ndarray     # (resamples,)
    k: np.ndarray
    gamma: np.ndarray


def _exponentials(L: np.ndarray, error: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> _Exponentials:
    """The best gamma of the grid, refined by a parabola in log gamma, for each row of weights."""
    x = L - L.min()
    decay = np.exp(-grid[:, None] * x)                                   # (gammas, n)
    squares = _solved(error, weights, weights @ decay.T, weights @ (decay**2).T, weights @ (decay * error).T).squares
    gamma, step = grid[np.clip(squares.argmin(1), 1, len(grid) - 2)], np.log(grid[1] / grid[0])
    for reach in (step, step / 8, step / 64):
        left, middle, right = (_at(L, error, weights, gamma * np.exp(s)).squares for s in (-reach, 0.0, reach))
        bend = left - 2 * middle + right
        shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1), 0.0)
        gamma = np.clip(gamma * np.exp(reach * np.clip(shift, -1, 1)), grid[0], grid[-1])
    return _at(L, error, weights, gamma).fit


def _polished(L: np.ndarray, error: np.ndarray, weight: np.ndarray, gamma: float, grid: np.ndarray) -> _Exponentials:
    """The point estimate, to the accuracy of a scalar minimiser."""
    step = np.log(grid[1] / grid[0])
    u = minimize_scalar(lambda u: _at(L, error, weight[None], np.exp([u])).squares[0], method="bounded",
                        bounds=(max(np.log(gamma) - step, np.log(grid[0])), min(np.log(gamma) + step, np.log(grid[-1]))),
                        options={"xatol": 1e-9}).x
    return _at(L, error, weight[None], np.exp([u])).fit


@dataclass(frozen=True)
class _Evaluated:
    fit: _Exponentials
    squares: np.ndarray   # (resamples,)


def _at(L: np.ndarray, error: np.ndarray, weights: np.ndarray, gamma: np.ndarray) -> _Evaluated:
    """eps and k in closed form at one gamma for each row of weights."""
    decay = np.exp(-gamma[:, None] * (L - L.min()))                      # (resamples, n)
    moments = ((weights * m).sum(1)[:, None] for m in (decay, decay**2, decay * error))
    solved = _solved(error, weights, *moments)
    with np.errstate(over="ignore"):
        k = solved.drop[:, 0] * np.exp(gamma * L.min())
    return _Evaluated(_Exponentials(solved.eps[:, 0], k, gamma), solved.squares[:, 0])


@dataclass(frozen=True)
class _Solved:
    """error = eps - drop * decay, where decay = exp(-gamma (L - lowest L)) keeps exp in range."""

    eps: np.ndarray      # (resamples, gammas)
    drop: np.ndarray
    squares: np.ndarray  # weighted sum of squares left


def _solved(error: np.ndarray, weights: np.ndarray, e: np.ndarray, ee: np.ndarray, ey: np.ndarray) -> _Solved:
    """Normal equations from the weighted moments (resamples, gammas) of the decay."""
    total, y, yy = weights.sum(1)[:, None], (weights @ error)[:, None], (weights @ error**2)[:, None]
    spread = np.maximum(ee - e * e / total, 1e-300)
    slope = (ey - e * y / total) / spread
    return _Solved((y - slope * e) / total, -slope, np.maximum(yy - y * y / total - slope**2 * spread, 0.0))
