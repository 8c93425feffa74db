"""How far the conclusions move with choices that nobody can justify to the last digit.

On Hoffmann's points the loss function and the outlier rule move a by 1.5 to 5 of its
bootstrap standard errors: the reader should see that beside the interval.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.laws.objective import Objective
from analysis.approaches.parametric import ParametricFit, fit_parametric
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import HUBER, LOG_SQUARES, RAW_SQUARES, fit_surface
from analysis.estimates.refusal import Doubt, Refusal

DELTAS = (1e-1, 1e-2, 1e-4, 1e-6)  # of Huber's loss on log L; 1e-6 is least absolute deviations
CUTS = (0.1, 0.25, 0.5)            # share of the runs, cheapest first, left out
OUTLYING = 4.0                     # robust standard deviations
# the last of the generalised law alone
RESTRICTIONS = {"E = 0": {"E": 0.0}, "alpha = beta": {"alpha=beta": True}, "g = 1": {"g": 1.0}}
FAR, LEAST = 3.0, 0.01             # standard errors, and absolute: a shift of a that the reader must hear of


@dataclass(frozen=True)
class Row:
    """The fit under one other choice."""

    name: str
    n: int                   # runs used
    surface: Surface | None  # None where the choice leaves too little to fit
    a: float
    b: float
    shift: float             # of a, in standard errors of the chosen fit's a
    note: str                # at a bound, or why there is no fit

    def summary(self) -> str:
        if self.surface is None:
            return f"{self.name:34s} refused: {self.note}"
        s = self.surface
        return (f"{self.name:34s} a {self.a:.3f} ({self.shift:+.1f} se)   alpha {s.alpha:.3f}   beta {s.beta:.3f}   "
                f"E {s.E:.4g}   n {self.n}   {self.note}").rstrip()


def sensitivity(N, D, L, *, C=None, cost=None, weight=None, fit: ParametricFit | None = None,
                objective: Objective = HUBER, resamples: int = 200, rng=0) -> tuple[Row, ...]:
    """The point fit under every other loss function, outlier rule, cut of cheap runs and restriction.

    `fit` is the chosen fit, whose law is fitted and whose standard error of a is the ruler; without it an additive one is made.
    """
    N, D, L = (np.asarray(v, float) for v in (N, D, L))
    weight = np.ones_like(L) if weight is None else np.asarray(weight, float)
    fit = fit or fit_parametric(N, D, L, C=C, cost=cost, weight=weight, objective=objective, resamples=resamples, rng=rng)
    chosen, everything = fit.point.objective, np.ones(len(L), bool)
    rivals = [LOG_SQUARES, *(Objective("log", d) for d in DELTAS), HUBER, RAW_SQUARES]
    variants = [(str(o), everything, o, None) for o in rivals if o != chosen]
    variants += [(name, keep, chosen, None) for name, keep in _selections(fit)]
    variants += [(name, everything, chosen, hold) for name, hold in RESTRICTIONS.items()
                 if "g" in fit.law.names or "g" not in hold]
    a, draws = fit.quantity("a")
    se = float(np.std(draws, ddof=1))
    rows = [Row(f"chosen: {chosen}", len(L), fit.surface, a, fit.quantity("b")[0], 0.0, _note(fit.point))]
    return tuple(rows + [_row(_Choice(name, keep, o, hold), (N, D, L, weight), fit, se) for name, keep, o, hold in variants])


def most_moved(rows: tuple[Row, ...]) -> Row | None:
    """Of the choices that keep the law, the one that moves a farthest; None within FAR standard errors or LEAST."""
    kept = [r for r in rows if r.surface is not None and r.name not in RESTRICTIONS]
    most = max(kept, key=lambda r: abs(r.shift), default=None)
    return None if most is None or abs(most.shift) <= FAR or abs(most.a - rows[0].a) <= LEAST else most


def doubts(rows: tuple[Row, ...]) -> tuple[Doubt, ...]:
    """Whether a reader must hear of another choice."""
    most = most_moved(rows)
    if most is None:
        return ()
    return (Doubt("sensitive", f"a moves from {rows[0].a:.2f} to {most.a:.2f} ({most.shift:+.1f} standard errors) under "
                  f"another choice ({most.name}): no interval shows that"),)


def _selections(fit: ParametricFit):
    """Names and masks (n,) of the runs that other outlier rules would keep."""
    residual = fit.residuals
    spread = 1.4826 * np.median(np.abs(residual))
    yield f"without residuals beyond {OUTLYING:g} sd", np.abs(residual) <= OUTLYING * spread
    yield "without the highest 2% of losses", fit.L <= np.quantile(fit.L, 0.98)
    order, cut = np.sort(fit.C), set()
    for share in CUTS:   # budgets whole: where many runs took the same FLOPs, more than the share
        keep = fit.C > order[max(1, round(share * len(order))) - 1]
        left_out = 1 - keep.mean()
        if left_out < 1 and left_out not in cut:
            cut.add(left_out)
            yield f"without the cheapest {left_out:.0%}", keep
    keep = fit.C < order[-max(1, round(0.25 * len(order)))]
    if keep.any():
        yield f"without the dearest {1 - keep.mean():.0%}", keep
    sizes, budgets = np.unique(fit.N), np.unique(fit.D)
    yield "without the smallest size", fit.N > sizes[0]
    if len(sizes) > 4:
        yield "without the two smallest sizes", fit.N > sizes[1]
    yield "without the largest size", fit.N < sizes[-1]
    if 4 < len(budgets) <= len(fit.D) / 2:   # a grid's; elsewhere each is a run or two
        yield "without the smallest budget of data", fit.D > budgets[0]
        yield "without the largest budget of data", fit.D < budgets[-1]


@dataclass(frozen=True)
class _Choice:
    """What might have been done instead."""

    name: str
    keep: np.ndarray      # (n,) bool: runs used
    objective: Objective
    hold: dict | None     # as fit_surface takes it


def _row(choice: _Choice, table, fit: ParametricFit, se: float) -> Row:
    N, D, L, weight = (v[choice.keep] for v in table)
    used = int(choice.keep.sum())
    try:
        # the covariance of the runs used, where the objective has one
        objective = choice.objective if choice.objective.precision is None else replace(
            choice.objective, precision=fit.errors.kept(choice.keep).precision)
        point = fit_surface(N, D, L, weight=weight, objective=objective, hold=choice.hold, law=fit.law,
                            starts=fit.law.external(fit.points, fit.optimum_found.places))
    except Refusal as why:
        return Row(choice.name, used, None, np.nan, np.nan, np.nan, str(why))
    value = float(point.surface.a(fit.cost))
    return Row(choice.name, used, point.surface, value, float(point.surface.b(fit.cost)),
               (value - fit.quantity("a")[0]) / max(se, 1e-300), _note(point))


def _note(point) -> str:
    return "" if not point.at_bound else "at a bound: " + ", ".join(point.at_bound)
