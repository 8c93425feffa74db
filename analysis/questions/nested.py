"""Which special case of the generalised law a table allows: likelihood-ratio tests.

The laws are L = E + (A/N^(alpha/g) + B/D^(beta/g))^g with g = 1 (Hoffmann et al. 2022, equation 2), with E = 0, with
E = 0 and beta = g (Kaplan et al. 2020, equation 1.5), and its limit at infinite g, the product A N^-alpha D^-beta.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from analysis.approaches import profile
from analysis.approaches.global_minimum import Descents, global_minimum
from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import BRACKET, GENERALISED
from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import describe, held

CASES = {   # restriction -> what is held, how many degrees of freedom that takes
    "g = 1 (additive)": ({"g": 1.0}, 1),
    "E = 0": ({"E": 0.0}, 1),
    "E = 0, beta = g (Kaplan's joint law)": ({"E": 0.0, "beta=g": True}, 2),
    # at infinite g the ratio of the two terms means nothing any more: one parameter less again
    "g = infinity (product)": ({"g": BRACKET[1]}, 2),
}
ADDITIVE_CASE, _, KAPLAN_CASE, _ = CASES


@dataclass(frozen=True)
class NestedTest:
    """A special case against the generalised law."""

    case: str
    surface: Surface   # the best that the case allows
    a: float           # its exponent of N*(C); nan of a product, which has no best size
    F: float           # rise of the objective, in units of what the noise makes it rise for each degree of freedom
    freedom: int
    p_value: float     # that the case holds

    def summary(self) -> str:
        return f"{self.case:38s} a {self.a:.3f}   F({self.freedom}) = {self.F:.3g}   p = {self.p_value:.2g}"


def nested_tests(fit: ParametricFit, cases: Iterable[str] = tuple(CASES), *,
                 additive: ParametricFit | None = None) -> tuple[NestedTest, ...]:
    """Each of the cases against a fit of the generalised law, by the fit's own objective.

    2 log LR is scaled by its mean under resampling, as the profiles are, and compared with F(freedom, cells - 6). Where
    E = 0 lies on the boundary of what E can be the test is conservative (Self and Liang 1987). additive: that law's fit to the same
    runs, whose descents are those of its case.
    """
    if fit.law is not GENERALISED:
        raise ValueError("special cases are tested against a fit of the generalised law")
    known = {} if additive is None else {ADDITIVE_CASE: _descents_of(additive)}
    return tuple(_tested(fit, case, *CASES[case], after=known.get(case)) for case in cases)


def _descents_of(additive: ParametricFit) -> Descents:
    """As descents of the generalised law with g = 1."""
    of, points = additive.optimum_found.after, additive.points
    natural = np.column_stack([ADDITIVE.external(points, of.theta), np.ones(len(of.theta))])
    return replace(of, theta=GENERALISED.internal(points, natural))


def _tested(fit: ParametricFit, case: str, hold: dict, freedom: int, *, after: Descents | None) -> NestedTest:
    found = global_minimum(fit.points, fit.sample.weight, fit.point.objective, law=GENERALISED,
                           restriction=held(hold, GENERALISED, fit.points), after=after)
    rise = max(float(found.solution.value[0]) - fit.point.value, 0.0)
    name = next(iter(hold))
    unit = profile.unit_of(fit, name) if freedom == 1 else profile.joint_unit(fit)
    F = rise / max(unit * freedom, 1e-300)
    surface = describe(fit.points, found, fit.point.objective, GENERALISED).surface
    a = np.nan if "product" in case else float(surface.a(fit.cost))
    return NestedTest(case, surface, a, F, freedom, float(special.fdtrc(freedom, fit.freedom, F)))
