"""Other laws for the same table, judged by AICc and by what they foretell of dearer runs.

All are fitted to the cells' log L by least squares from the same starts, so that the comparison
is of laws, not of optimisers or outlier rules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.optimize import leastsq

from analysis.approaches.cost import LANGUAGE, CostLaw, fit_cost
from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import GENERALISED
from analysis.approaches.laws.objective import Coordinates
from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface_fit import LOG_SQUARES, fit_surface
from analysis.approaches.wild_bootstrap import reduce_to_cells
from analysis.estimates.refusal import Doubt, Refusal, TooFewPoints
from analysis.estimates.sandwich import half_width
from analysis.questions import rival_laws
from analysis.questions.rival_laws import LAWS, Law, Start

FOLDS = (0.5, 0.65, 0.8)  # rollout: fit the cheapest share of cells, foretell the next
STARTS = 4
FOLD_STARTS = 2           # of a fold, beside the optimum of all cells
BETTER = 1.1              # times a law's rollout error: more is worse foresight
CLEAR = 10.0              # difference in AICc beyond which the worse law has no support (Burnham and Anderson 2002, 2.6)
STEP = 1.5e-8             # of numerical slopes: the square root of the last digit
WIDE = 1e-3               # of an exponent's, which is read off a grid of sizes
ISO = 4001                # sizes at which a law is read along equal compute
TOLERANCES = dict(ftol=1e-8, xtol=1e-8, gtol=1e-8)
FLAT = 0.1                # of log N: an optimum nearer to an end of the sizes than this has not been bracketed


@dataclass(frozen=True)
class LawScore:
    """One law's fit and its foresight."""

    law: str
    parameters: dict[str, float]
    k: int                   # parameters, the noise's scale included
    rms: float               # of the cells' log L about the law
    aicc: float              # Gaussian log-likelihood of cells' log L
    delta_aicc: float        # above the best law's
    rollout_error: float     # root mean square of log L foretold less seen, over all folds
    rollout_n: int           # cells foretold
    a: float                 # slope of log N* on log C in the middle of the table; nan where no size is best there
    a_half: float            # half the width of its 95% interval; nan where it can't be told
    note: str
    errors: np.ndarray = field(repr=False, compare=False)   # (rollout_n,) log L foretold less seen, by compute
    log_loss: Callable = field(repr=False, compare=False)   # (N, D) -> log L by the fit

    def summary(self) -> str:
        return (f"{self.law:40s} k {self.k}   rms {self.rms:.3f}   AICc +{self.delta_aicc:<8.1f} rollout error "
                f"{self.rollout_error:.3f} ({self.rollout_n} cells)   a {self.a_text(3)}   {self.note}").rstrip()

    def a_text(self, digits: int) -> str:
        """a and its interval."""
        ends = f" [{self.a - self.a_half:.{digits}f}, {self.a + self.a_half:.{digits}f}]" if np.isfinite(self.a_half) else ""
        return f"{self.a:.{digits}f}{ends}"


@dataclass(frozen=True)
class _Points:
    """Cells in order of compute, centred: arrays (m,)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray      # log L
    highest: float     # loss of a run

    def head(self, count: int) -> "_Points":
        return _Points(self.x[:count], self.y[:count], self.z[:count], self.highest)


def compare_laws(N, D, L, *, C=None, cost: CostLaw | None = None, weight=None, cell=None, rng=0,
                 near: Sequence[ParametricFit | None] = ()) -> tuple[LawScore, ...]:
    """Every law of LAWS by AICc, best first, with its rollout error and its exponent of N*.

    Coordinates are centred: x = log N less its mean. An exponent's
    interval is that of analysis/estimates/sandwich.py, by cells, or by sizes and amounts of data, whichever is wider.
    near: fits of the main laws to the same runs, whose minima are where those of the cells are looked for.
    Raises TooFewPoints below 12 cells.
    """
    N, D, L = (np.asarray(v, float) for v in (N, D, L))
    cost = cost or (LANGUAGE if C is None else fit_cost(N, D, C))
    C = cost.flops(N, D) if C is None else np.asarray(C, float)
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell)
    m = len(cells.N)
    if m < 12:
        raise TooFewPoints(f"need at least 12 distinct (N, D) to compare laws of up to 8 parameters, got {m}")
    order = np.argsort(cells.C, kind="stable")
    x, y = (np.log(v[order]) - np.log(v).mean() for v in (cells.N, cells.D))
    points = _Points(x, y, cells.log_L[order], float(L.max()))
    seed = int(np.random.default_rng(rng).integers(2**31))
    folds = [(int(s * m), round(u * m)) for s, u in zip(FOLDS, (*FOLDS[1:], 1.0)) if round(u * m) > int(s * m)]
    middle = np.log(cells.N).mean(), np.log(cells.D).mean()
    start = _start(points, {fit.law: _places(fit, middle) for fit in near if fit is not None})
    scores = []
    for law in LAWS:
        starts = _starts(law, start, seed)
        t, error = _fit(law, starts, points)
        errors, note = _rollout(law, [t, *starts[:FOLD_STARTS]], folds, points)
        k = len(law.names) + 1
        scores.append(LawScore(
            law=law.name, parameters=dict(zip(law.names, map(float, t))), k=k, rms=float(np.sqrt(error / m)),
            aicc=_aicc(error, m, k), delta_aicc=0.0, rollout_n=len(errors),
            rollout_error=float(np.sqrt(np.mean(errors**2))) if len(errors) else np.nan,
            a=_exponent(law, t, points, cost.p), a_half=_half_width(law, t, points, cost.p), note=note, errors=errors,
            log_loss=partial(_at, law, t, middle, points.highest)))
    best = min(s.aicc for s in scores)
    ranked = (LawScore(**vars(s) | {"delta_aicc": s.aicc - best}) for s in scores)
    return tuple(sorted(ranked, key=lambda s: s.aicc))


def _at(law: Law, t, middle: tuple[float, float], highest: float, N, D):
    """log L (n,) of a fitted law."""
    return law.log_loss(t, np.log(N) - middle[0], np.log(D) - middle[1], highest)


def score_of(scores: tuple[LawScore, ...], law: str) -> LawScore | None:
    return next((s for s in scores if s.law == law), None)


def outdoing(scores: tuple[LawScore, ...], law: str, spoken: str) -> LawScore | None:
    """The score of a law that describes the table clearly better than the one spoken of and foretells dearer runs better by a tenth; else
    None."""
    best, ours = score_of(scores, law), score_of(scores, spoken)
    if best is None or ours is None or not np.isfinite(best.a):
        return None
    return best if ours.aicc - best.aicc > CLEAR and ours.rollout_error > max(1e-4, BETTER * best.rollout_error) else None


def doubts(scores: tuple[LawScore, ...], spoken: str = rival_laws.ADDITIVE) -> tuple[Doubt, ...]:
    """Whether another law describes the table so much better that the exponents of the one spoken of may be of the wrong law."""
    ours = score_of(scores, spoken)
    # what foretells to four digits is no wrong law, whatever the fifth says
    if ours is None or not CLEAR < ours.delta_aicc < np.inf or ours.rollout_error < 1e-4:
        return ()
    best = scores[0]
    under = f"a would be {best.a_text(2)} under it" if np.isfinite(best.a) else "it has no best size"
    return (Doubt("law_outdone", f"another law describes these runs better, {best.law}, by {ours.delta_aicc:.0f} in AICc "
                  f"({under}); dearer runs it foretells {'better' if best.rollout_error < ours.rollout_error else 'no better'}: log loss "
                  f"within {best.rollout_error:.3f}, this law within {ours.rollout_error:.3f}"),)


def _aicc(error, n, k) -> float:
    """Hurvich and Tsai 1989, Gaussian errors of log L."""
    penalty = 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf)
    return float(n * np.log(max(error, 1e-30) / n) + penalty)


def _places(fit: ParametricFit, middle: tuple[float, float]) -> np.ndarray:
    """Surfaces (S, k) where its search ended, of N and D in units of the middle."""
    surfaces = fit.law.external(fit.points, fit.optimum_found.places)
    g = surfaces[:, 5:].prod(1)
    surfaces[:, 1:3] *= np.exp(-surfaces[:, 3:5] / g[:, None] * middle)
    return surfaces


def _start(points: _Points, near: dict[object, np.ndarray]) -> Start:
    N, D, L = np.exp(points.x), np.exp(points.y), np.exp(points.z)
    low = points.z.min() - 1
    try:
        s = fit_surface(N, D, L, objective=LOG_SQUARES, starts=near.get(ADDITIVE)).surface
        additive = np.log(np.maximum([s.E, s.A, s.B, s.alpha, s.beta], 1e-3))
    except Refusal:
        additive = np.array([low, points.z.mean() - 1, points.z.mean() - 1, -1.0, -1.0])
    try:
        s = fit_surface(N, D, L, objective=LOG_SQUARES, law=GENERALISED, starts=near.get(GENERALISED)).surface
        E, u, v, alpha, beta, g = GENERALISED.internal(Coordinates(points.x, points.y, L, 0.0, 0.0, 1.0),
                                                       [s.E, s.A, s.B, s.alpha, s.beta, s.g])
        joint = np.array([np.log(max(E, 1e-3)), u, v, *np.log([alpha, beta, g])])
    except Refusal:
        joint = np.append(additive + np.log([1, 2, 2, 1, 1]), 0.0)
    return Start(additive, joint)


def _starts(law: Law, start: Start, seed: int) -> list[np.ndarray]:
    """Parameters to descend from: the main laws' optimum itself, then jittered."""
    rng = np.random.default_rng(seed)
    return [law.starts(start, rng.normal(0, 0.5 * min(i, 1), 6)) for i in range(STARTS)]


class _Residuals:
    """Of log L about a law. MINPACK asks for slopes where it has just asked for residuals: that place is remembered."""

    def __init__(self, law: Law, points: _Points):
        self.law, self.points, self.place = law, points, None

    def __call__(self, t) -> np.ndarray:
        """(m,)"""
        if self.place is None or not np.array_equal(t, self.place):
            self.place = t.copy()
            if self.law.sloping is None:
                self.left = self._left(self.law.log_loss(t, *self._at))
            else:
                log_loss, slopes = self.law.sloping(t, *self._at)
                self.left, self.closed = self._left(log_loss), np.where(np.isfinite(slopes), slopes, 0.0).T
        return self.left

    def slopes(self, t) -> np.ndarray:
        """(m, k)"""
        left = self(t)
        return self.closed if self.law.sloping else _slopes(lambda t: self._left(self.law.log_loss(t, *self._at)), t, left)

    @property
    def _at(self):
        return self.points.x, self.points.y, self.points.highest

    def _left(self, log_loss) -> np.ndarray:
        left = log_loss - self.points.z
        return left if np.isfinite(left).all() else np.nan_to_num(left, nan=1e3, posinf=1e3, neginf=-1e3)


def _fit(law: Law, starts, points: _Points):
    """Parameters and sum of squares of log L at the lowest of several local minima."""
    residuals = _Residuals(law, points)
    best, lowest = np.full(len(law.names), np.nan), np.inf
    with np.errstate(all="ignore"):
        for at in starts:
            # MINPACK itself: what least_squares lays around it takes as long as a law's arithmetic
            found, _, told, _, _ = leastsq(residuals, at, Dfun=residuals.slopes, full_output=True, diag=np.ones(len(at)), maxfev=200,
                                           **TOLERANCES)
            error = float(np.dot(told["fvec"], told["fvec"]))
            if error < lowest:
                best, lowest = found, error
    return best, lowest


def _slopes(function, t, here) -> np.ndarray:
    """Numerical derivatives (m, k) of what `function` makes of t (k,), all parameters' steps in one evaluation; here (m,): its value."""
    step = STEP * np.maximum(np.abs(t), 1)
    return ((function((t + np.diag(step)).T[:, :, None]) - here) / step[:, None]).T


def _half_width(law: Law, t, points: _Points, p: float) -> float:
    """Of the interval of a; nan where a law has no best size, or one at the end of the table's."""
    if not np.isfinite(t).all():
        return np.nan
    with np.errstate(all="ignore"):
        seen = law.log_loss(t, points.x, points.y, points.highest)
        slopes = _slopes(lambda t: law.log_loss(t, points.x, points.y, points.highest), t, seen)
        step = WIDE * np.maximum(np.abs(t), 1)
        ends = [[_exponent(law, t + sign * d, points, p) for sign in (-1, 1)] for d in np.diag(step)]
        told = np.abs(slopes).max(0) > 1e-9     # a floor at nothing, say, is no parameter
        gradient = (np.diff(ends, axis=1)[:, 0] / (2 * step))[told]
        residuals = points.z - seen
    if not (np.isfinite(gradient).all() and np.isfinite(slopes).all()) or len(residuals) <= told.sum() + 1:
        return np.nan
    return half_width(gradient, slopes[:, told], residuals, points.x, points.y)


def _rollout(law: Law, starts, folds, points: _Points):
    """Errors of log L on the cells next dearer than each fold's, a note.

    A fold descends from where all cells' fit ended and from starts of that fit: the law is the same, its optimum near.
    """
    errors = []
    for known, ahead in folds:
        if known < len(law.names) + 3:
            continue
        p, _ = _fit(law, starts, points.head(known))
        with np.errstate(all="ignore"):
            errors.append(law.log_loss(p, points.x[known:ahead], points.y[known:ahead], points.highest) - points.z[known:ahead])
    if not errors:
        return np.empty(0), "too few cells to foretell"
    return np.concatenate(errors), ""


def _exponent(law: Law, t, points: _Points, p: float) -> float:
    """Slope of log N* between compute half a unit of log C below and above the table's middle, along C = k N^p D."""
    x = np.linspace(points.x.min(), points.x.max(), ISO)
    middle = np.mean(p * points.x + points.y)
    places = []
    for shift in (-0.5, 0.5):
        with np.errstate(all="ignore"):
            height = law.log_loss(t, x, middle + shift - p * x, points.highest)
        if not np.isfinite(height).all():
            return np.nan
        i = int(height.argmin())
        if min(x[i] - x[0], x[-1] - x[i]) < FLAT:
            return np.nan
        before, here, after = height[i - 1:i + 2]
        places.append(x[i] + 0.5 * (x[1] - x[0]) * (before - after) / (before - 2 * here + after))
    return float(places[1] - places[0])
