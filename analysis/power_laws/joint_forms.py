"""Kaplan's joint law (equation 1.5), Hoffmann's additive one and the generalised: which describes a table better, which foretells
its dearest runs better, and Kaplan's four constants."""

from dataclasses import dataclass, field, replace

import numpy as np

from analysis.approaches.global_minimum import global_minimum, lowest
from analysis.approaches.laws.generalised import BRACKET, GENERALISED
from analysis.approaches.laws.objective import for_each
from analysis.approaches.parametric import ParametricFit
from analysis.approaches.surface_fit import held
from analysis.estimates.estimate import Estimate
from analysis.questions import rival_laws
from analysis.questions.alternatives import CLEAR, LawScore, score_of
from analysis.questions.law_choice import LawChoice

FORMS = {"Kaplan": rival_laws.KAPLAN, "additive": rival_laws.ADDITIVE, "generalised": rival_laws.GENERALISED, "saturating": rival_laws.SATURATING,
         "generalised, E = 0": rival_laws.NO_FLOOR["generalised"]}
RESAMPLES = 2000   # of the cells foretold
HOLD = {"E": 0.0, "beta=g": True}


@dataclass(frozen=True)
class KaplanJoint:
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D, by the objective that the generalised law has."""

    alpha_N: Estimate
    alpha_D: Estimate
    N_c: Estimate
    D_c: Estimate


@dataclass(frozen=True)
class Form:
    """One of FORMS beside the others."""

    name: str
    score: LawScore
    foresight: Estimate | None   # its rollout error over the additive law's; None of that itself, or without one


@dataclass(frozen=True)
class JointForms:
    """The forms, best AICc first, and Kaplan's constants."""

    forms: tuple[Form, ...]
    kaplan: KaplanJoint | None = field(repr=False)   # None where the generalised law was refused
    p_kaplan: float       # likelihood-ratio test of equation 1.5 in the generalised law; nan without one

    def of(self, name: str) -> Form:
        return next(form for form in self.forms if form.name == name)

    @property
    def between(self) -> float:
        """AICc that the additive law wins over Kaplan's: beyond CLEAR either way the other has no support."""
        return self.of("Kaplan").score.aicc - self.of("additive").score.aicc

    def sentence(self) -> str:
        gain, ahead = self.between, self.of("Kaplan").foresight
        better, worse = ("Kaplan's joint law", "Hoffmann's additive law")[:: -1 if gain > 0 else 1]
        said = f"{better} describes the runs better than {worse} (AICc by {abs(gain):.0f})" if abs(gain) > CLEAR else (
            f"AICc tells Kaplan's joint law and Hoffmann's additive law hardly apart (by {abs(gain):.1f})")
        if ahead is None:
            return said
        if 1 in ahead:
            return f"{said}, and neither foretells dearer runs clearly better (error ratio {ahead})"
        first = "Kaplan's" if ahead.high < 1 else "Hoffmann's"
        return f"{said}, and {first} foretells dearer runs better (error ratio, Kaplan's to Hoffmann's, {ahead})"


def joint_forms(law: LawChoice, *, p_kaplan: float = np.nan, level: float = 0.95, rng=0) -> JointForms | None:
    """None where the table has too few cells to compare laws."""
    if not law.scores:
        return None
    beside = score_of(law.scores, FORMS["additive"])
    made = [Form(name, score_of(law.scores, known_as), None if name == "additive" else _foresight(
        score_of(law.scores, known_as), beside, level, rng)) for name, known_as in FORMS.items()]
    kaplan = law.generalised and kaplan_joint(law.generalised)
    return JointForms(tuple(sorted(made, key=lambda form: form.score.aicc)), kaplan, p_kaplan)


def kaplan_joint(fit: ParametricFit) -> KaplanJoint:
    """On the table and on each of the generalised fit's resamples, percentile intervals."""
    restriction = held(HOLD, GENERALISED, fit.points)
    found = global_minimum(fit.points, fit.sample.weight, fit.point.objective, law=GENERALISED, restriction=restriction)
    drawn = fit.resampled.drawn
    cloud = lowest(fit.points, drawn.multiplicity * fit.sample.weight, for_each(len(drawn.multiplicity), found.minima), fit.point.objective,
                   spread=found.spread, law=GENERALISED, restriction=restriction, noise=drawn.noise)
    point, draws = (GENERALISED.external(fit.points, theta) for theta in (found.solution.theta, cloud.theta))

    def told(of) -> Estimate:
        with np.errstate(over="ignore"):
            return fit.percentile(float(of(point)[0]), of(draws))

    # E, A, B, alpha, beta, g: A = N_c^(alpha/g) and B = D_c^(beta/g) = D_c
    alpha_D = told(lambda t: t[:, 4])
    if alpha_D.low <= BRACKET[0] * (1 + 1e-9):   # the smallest that is looked for: every lower one says the same
        alpha_D = replace(alpha_D, low=0.0)
    return KaplanJoint(told(lambda t: t[:, 3]), alpha_D, told(lambda t: t[:, 1] ** (t[:, 5] / t[:, 3])),
                       told(lambda t: t[:, 2]))


def _foresight(score: LawScore, beside: LawScore, level: float, rng) -> Estimate | None:
    """Ratio of the rollout errors over the cells that both foretell, which are resampled in pairs."""
    n = min(len(score.errors), len(beside.errors))
    if n < 3:
        return None
    one, other = (np.square(s.errors[-n:]) for s in (score, beside))   # a law of more parameters foretells fewer: the last
    drawn = np.random.default_rng(rng).integers(n, size=(RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, draws = np.sqrt(one.sum() / other.sum()), np.sqrt(one[drawn].sum(1) / other[drawn].sum(1))
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(ratio), float(low), float(high), float(np.nanstd(draws)), "percentile bootstrap of the cells foretold",
                    n, level)
