"""Other laws for the same table, judged by AICc and by what they foretell of dearer runs.

All are fitted to the cells' log L by least squares from the same starts, so that the comparison
is of laws, not of optimisers or outlier rules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import least_squares

from analysis.approaches.cost import LANGUAGE
from analysis.approaches.surface_fit import LOG_SQUARES, fit_surface
from analysis.approaches.wild_bootstrap import reduce_to_cells
from analysis.estimates.refusal import Doubt, Refusal, TooFewPoints

FOLDS = (0.5, 0.65, 0.8)  # rollout: fit the cheapest share of cells, foretell the next
STARTS = 4
CLEAR = 10.0              # difference in AICc beyond which the worse law has no support (Burnham and Anderson 2002, 2.6)
STEP = 1.5e-8             # of numerical slopes: the square root of the last digit


@dataclass(frozen=True)
class Law:
    """A family of loss surfaces in centred logs x = log N, y = log D."""

    name: str
    names: tuple[str, ...]
    log_loss: Callable = field(repr=False)  # (parameters (k,) or (k, R, 1), x, y, top) -> log L (n,) or (R, n)
    starts: Callable = field(repr=False)    # (surface in centred logs, random generator) -> parameters


@dataclass(frozen=True)
class LawScore:
    """One law's fit and its foresight."""

    law: str
    parameters: dict[str, float]
    k: int                   # parameters, the noise's scale included
    aicc: float              # Gaussian log-likelihood of cells' log L
    delta_aicc: float        # above the best law's
    rollout_error: float     # root mean square of log L foretold less seen, over all folds
    rollout_n: int           # cells foretold
    note: str

    def summary(self) -> str:
        return (f"{self.law:28s} k {self.k}   AICc +{self.delta_aicc:<8.1f} rollout error {self.rollout_error:.3f} "
                f"({self.rollout_n} cells)   {self.note}").rstrip()


def _surface(t, x, y, top):
    return np.log(np.exp(t[0]) + np.exp(t[1] - np.exp(t[3]) * x) + np.exp(t[2] - np.exp(t[4]) * y))


def _no_floor(t, x, y, top):
    return np.logaddexp(t[0] - np.exp(t[2]) * x, t[1] - np.exp(t[3]) * y)


def _product(t, x, y, top):
    return t[0] - t[1] * x - t[2] * y


def _kaplan(t, x, y, top):
    # Kaplan et al. 2020, equation 1.5: L = ((Nc/N)^(aN/aD) + Dc/D)^aD
    aN, aD = np.exp(t[2]), np.exp(t[3])
    return aD * np.logaddexp(t[0] - aN / aD * x, t[1] - y)


def _broken(t, x, y, top):
    # Caballero et al. 2023, equation 1, one break, in D: its slope changes by c at d over a width f
    break_ = np.exp(t[7]) * np.logaddexp(0, (y - t[6]) / np.exp(t[7]))
    return np.log(np.exp(t[0]) + np.exp(t[1] - np.exp(t[3]) * x) + np.exp(t[2] - np.exp(t[4]) * y - t[5] * break_))


def _saturating(t, x, y, top):
    # Alabdulmohsin et al. 2022, M4: (L - E) / (top - L)^c = reducible part; Newton in w, the logit of (L - E) / (top - E)
    reducible = np.logaddexp(t[1] - np.exp(t[3]) * x, t[2] - np.exp(t[4]) * y)
    E, c = np.exp(t[0]), np.exp(t[5])
    height = np.maximum(top - E, 1e-9)   # a floor above the top fits nothing
    w = reducible - (1 - c) * np.log(height)
    for _ in range(8):  # slopes lie between 1 and c: a few steps are exact
        below, above = np.logaddexp(0, -w), np.logaddexp(0, w)
        w = w - (c * above - below + (1 - c) * np.log(height) - reducible) / (np.exp(-above) + c * np.exp(-below))
    return np.log(E + height / (1 + np.exp(-w)))


LAWS = (
    Law("E + A/N^alpha + B/D^beta", ("log E", "log A", "log B", "log alpha", "log beta"), _surface,
        lambda s, r: s + r),
    Law("A/N^alpha + B/D^beta", ("log A", "log B", "log alpha", "log beta"), _no_floor, lambda s, r: (s + r)[1:]),
    Law("A N^-alpha D^-beta", ("log A", "alpha", "beta"), _product,
        lambda s, r: np.array([np.logaddexp(s[1], s[2]), 0.3, 0.3]) + r[:3]),
    Law("Kaplan's joint law", ("log Nc", "log Dc", "log alpha_N", "log alpha_D"), _kaplan,
        lambda s, r: np.array([s[1] / np.exp(s[4]), s[2] / np.exp(s[4]), s[3], s[4]]) + r[:4]),
    Law("broken in D (BNSL)", ("log E", "log A", "log B", "log alpha", "log beta", "change", "log d", "log width"), _broken,
        lambda s, r: np.concatenate([s + r, [0.1 * r[0], r[1], 0.0]])),
    Law("saturating (M4)", ("log E", "log A", "log B", "log alpha", "log beta", "log c"), _saturating,
        lambda s, r: np.concatenate([s + r, [-0.5 + r[0]]])),
)


def compare_laws(N, D, L, *, C=None, weight=None, cell=None, rng=0) -> tuple[LawScore, ...]:
    """Every law of LAWS by AICc, best first, with its rollout error. Coordinates are centred: x = log N less its mean.

    M4's upper level is 5% above the highest loss of the table. Raises TooFewPoints below 12 cells.
    """
    N, D, L = (np.asarray(v, float) for v in (N, D, L))
    C = LANGUAGE.flops(N, D) if C is None else np.asarray(C, float)
    cells = reduce_to_cells(N, D, L, C, weight=weight, cell=cell)
    m = len(cells.N)
    if m < 12:
        raise TooFewPoints(f"need at least 12 distinct (N, D) to compare laws of up to 8 parameters, got {m}")
    x, y = (np.log(v) - np.log(v).mean() for v in (cells.N, cells.D))
    order = np.argsort(cells.C, kind="stable")
    x, y, z = x[order], y[order], cells.log_L[order]
    top = 1.05 * np.exp(z.max())
    seed = int(np.random.default_rng(rng).integers(2**31))
    folds = [(_centre(x[:known], y[:known], z[:known]), known, ahead)
             for known, ahead in ((int(s * m), round(u * m)) for s, u in zip(FOLDS, (*FOLDS[1:], 1.0))) if ahead > known]
    centre = _centre(x, y, z)
    fitted = [(law, *_fit(law, centre, x, y, z, top, seed)) for law in LAWS]
    scores = [(law, t, _aicc(error, m, len(law.names) + 1), *_rollout(law, folds, x, y, z, top, seed))
              for law, t, error in fitted]
    best = min(s[2] for s in scores)
    ranked = (LawScore(law.name, dict(zip(law.names, map(float, t))), len(law.names) + 1, aicc, aicc - best, error, n, note)
              for law, t, aicc, error, n, note in scores)
    return tuple(sorted(ranked, key=lambda s: s.aicc))


def doubts(scores: tuple[LawScore, ...]) -> tuple[Doubt, ...]:
    """Whether another law describes the table so much better that approach 3's exponents may be of the wrong law."""
    ours = next((s for s in scores if s.law == LAWS[0].name), None)
    # what foretells to four digits is no wrong law, whatever the fifth says
    if ours is None or not CLEAR < ours.delta_aicc < np.inf or ours.rollout_error < 1e-4:
        return ()
    best = scores[0]
    return (Doubt("law_outdone", f"another law describes these runs better, {best.law}, by {ours.delta_aicc:.0f} in AICc; "
                  f"dearer runs it foretells {'better' if best.rollout_error < ours.rollout_error else 'no better'}: log loss "
                  f"within {best.rollout_error:.3f}, approach 3's law within {ours.rollout_error:.3f}"),)


def _aicc(error, n, k) -> float:
    """Hurvich and Tsai 1989, Gaussian errors of log L."""
    penalty = 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf)
    return float(n * np.log(max(error, 1e-30) / n) + penalty)


def _centre(x, y, z) -> np.ndarray:
    """Logs of the best surface's parameters: where every law starts from."""
    try:
        point = fit_surface(np.exp(x), np.exp(y), np.exp(z), objective=LOG_SQUARES).surface
    except Refusal:
        return np.array([z.min() - 1, z.mean() - 1, z.mean() - 1, -1.0, -1.0])
    return np.log(np.maximum([point.E, point.A, point.B, point.alpha, point.beta], 1e-3))


def _fit(law: Law, centre, x, y, z, top, seed):
    """Parameters and sum of squares of log L at the lowest of several local minima."""
    def residual(t):
        return np.nan_to_num(law.log_loss(t, x, y, top) - z, nan=1e3, posinf=1e3, neginf=-1e3)

    def slopes(t):
        # all parameters' steps in one evaluation of the law
        step = STEP * np.maximum(np.abs(t), 1)
        return ((residual((t + np.diag(step)).T[:, :, None]) - residual(t)) / step[:, None]).T

    rng, best = np.random.default_rng(seed), None
    for i in range(STARTS):
        start = law.starts(centre, rng.normal(0, 0.5 * min(i, 1), 5))
        with np.errstate(all="ignore"):
            try:
                found = least_squares(residual, start, jac=slopes, method="lm", max_nfev=200)
            except ValueError:  # a start from which the residuals overflow
                continue
        if best is None or found.cost < best.cost:
            best = found
    if best is None:
        return np.full(len(law.names), np.nan), np.inf
    return best.x, 2 * best.cost


def _rollout(law: Law, folds, x, y, z, top, seed):
    """Root mean square error on the cells next dearer than each fold's, their number, a note."""
    errors = []
    for centre, known, ahead in folds:
        if known < len(law.names) + 3:
            continue
        p, _ = _fit(law, centre, x[:known], y[:known], z[:known], top, seed)
        with np.errstate(all="ignore"):
            errors.append(law.log_loss(p, x[known:ahead], y[known:ahead], top) - z[known:ahead])
    if not errors:
        return np.nan, 0, "too few cells to foretell"
    errors = np.concatenate(errors)
    return float(np.sqrt(np.mean(errors**2))), len(errors), ""
