"""Which law speaks: the one whose exponents are quoted, tested against claims and drawn as the frontier.

The rule. The generalised law contains the additive one, so it is never the worse description; the additive law is
better only where a table cannot tell them apart. The generalised law speaks alone where all of the following hold:

- g = 1 is rejected by the likelihood-ratio test at the 1% level;
- AICc on the cells prefers it to the additive law by more than 10 (Burnham and Anderson 2002, section 2.6);
- it foretells dearer runs no worse, to a tenth, than the additive law does.

Where any fails both speak, both fitted by the generalised law's objective: the value is that of the law with the lower
AICc, the interval spans both laws' intervals (so that it covers whenever either does), and a claim is rejected only
where both laws reject it. Where a table has too few cells for the generalised law, the additive speaks and its form is
said to be untested.

The saturating law (losses that level off at the top) takes their place where it outdoes the one that would be quoted in AICc by
more than 10 and in foresight by a tenth; it is fitted in full only then.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.approaches.frontier import FrontierBand, FrontierLaw, OptimumEstimate, spanning_optimum
from analysis.approaches.parametric import ParametricFit
from analysis.estimates.estimate import Estimate, spanning
from analysis.estimates.refusal import Doubt
from analysis.questions import alternatives, rival_laws
from analysis.questions.alternatives import LawScore, score_of
from analysis.questions.lack_of_fit import LackOfFit
from analysis.questions.nested import ADDITIVE_CASE, NestedTest

REJECTED = 0.01

GENERALISED, EITHER, ADDITIVE, SATURATING = "generalised", "either", "additive", "saturating"   # who speaks


@dataclass(frozen=True, eq=False)
class LawChoice:
    """The laws' fits and which of them is quoted."""

    additive: ParametricFit | None        # as the literature fits it, by Hoffmann's objective
    plain: ParametricFit | None           # the additive law by the generalised law's objective
    generalised: ParametricFit | None
    speaks: str                           # GENERALISED, EITHER, ADDITIVE or SATURATING
    quoted: ParametricFit                 # whose values, frontier and predictions are given
    why: str                              # one sentence
    tests: tuple[NestedTest, ...]
    scores: tuple[LawScore, ...]
    misfit: LackOfFit | None              # of the quoted law; None where no run is repeated
    additive_misfit: LackOfFit | None
    saturating: ParametricFit | None = None   # where it outdoes them

    @property
    def other(self) -> ParametricFit | None:
        """The law whose interval the quoted one's is joined with; None where one law speaks alone."""
        if self.speaks != EITHER:
            return None
        return self.plain if self.quoted is self.generalised else self.generalised

    @property
    def quoted_name(self) -> str:
        """Of the quoted law among rival_laws.LAWS."""
        return (rival_laws.SATURATING if self.quoted is self.saturating else
                rival_laws.GENERALISED if self.quoted is self.generalised else rival_laws.ADDITIVE)

    @property
    def outdoes(self) -> LawScore | None:
        """The saturating law's score where it outdoes the quoted one's and has not been fitted yet."""
        return alternatives.outdoing(self.scores, rival_laws.SATURATING, self.quoted_name)

    def estimate(self, name: str) -> Estimate:
        """One of the quoted law's quantities, its interval joined with the other law's where both speak."""
        return spanning(getattr(self.quoted, name), None if self.other is None else getattr(self.other, name))

    def optimum(self, C: float) -> OptimumEstimate:
        """The quoted law's, its intervals joined."""
        return spanning_optimum(C, self.quoted, self.other)

    def frontier_band(self, C) -> FrontierBand:
        """The quoted law's, its bands joined."""
        one = self.quoted.frontier_band(C)
        if self.other is None:
            return one
        other = self.other.frontier_band(C)
        return replace(one, **{k + end: side(getattr(one, k + end), getattr(other, k + end))
                               for k in "NDL" for end, side in (("_low", np.minimum), ("_high", np.maximum))})

    @property
    def frontier(self) -> FrontierLaw:
        one = self.quoted.frontier
        return one if self.other is None else FrontierLaw(
            *(spanning(getattr(one, k), getattr(self.other.frontier, k)) for k in ("E", "K", "gamma")), one.c, one.top)

    C = property(lambda self: self.quoted.C)
    range = property(lambda self: self.quoted.range)
    cost = property(lambda self: self.quoted.cost)
    a = cached_property(lambda self: self.estimate("a"))
    b = cached_property(lambda self: self.estimate("b"))
    alpha = cached_property(lambda self: self.estimate("alpha"))
    beta = cached_property(lambda self: self.estimate("beta"))
    E = cached_property(lambda self: self.estimate("E"))
    gamma = cached_property(lambda self: self.estimate("gamma"))

    def name_of(self, fit: ParametricFit) -> str:
        """Of one of the fits."""
        return SATURATING if fit is self.saturating else GENERALISED if fit is self.generalised else ADDITIVE

    @property
    def name(self) -> str:
        """For a sentence."""
        return {GENERALISED: "generalised law", EITHER: "additive and generalised law", ADDITIVE: "additive law",
                SATURATING: "saturating law"}[self.speaks]

    @property
    def outdone(self) -> tuple[Doubt, ...]:
        return alternatives.doubts(self.scores, self.quoted_name)

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        undecided = [Doubt("law_undecided", self.why)] if self.speaks == EITHER else []
        untested = [Doubt("law_untested", self.why)] if self.speaks == ADDITIVE else []
        return (*undecided, *untested, *self.quoted.warnings, *(self.misfit.warnings if self.misfit else ()), *self.outdone)

    def summary(self) -> str:
        lines = [f"{self.name}: {self.why}", f"  a      {self.a}", f"  b      {self.b}"]
        lines += [f"  {test.summary()}" for test in self.tests]
        return "\n".join(lines + ([f"  {self.misfit.summary()}"] if self.misfit else []))


def choose_law(additive: ParametricFit | None, generalised: ParametricFit | None, *, plain: ParametricFit | None = None,
               tests: tuple[NestedTest, ...] = (), scores: tuple[LawScore, ...] = (),
               misfits: tuple[LackOfFit | None, LackOfFit | None] = (None, None),
               untested: str = "") -> LawChoice:
    """By the module's rule. plain: the additive law by the generalised law's objective, `additive` itself where it is not given;
    misfits: of the additive and of the generalised law; untested: why the latter has no fit.

    Raises ValueError where neither law could be fitted.
    """
    if additive is None and generalised is None:
        raise ValueError("neither law could be fitted")
    plain = plain or additive
    if generalised is None:
        return LawChoice(additive, plain, None, ADDITIVE, additive, f"g is untested: {untested}", tests, scores, misfits[0],
                         misfits[0])
    if additive is None:
        return LawChoice(None, None, generalised, GENERALISED, generalised, "the additive law could not be fitted", tests, scores,
                         misfits[1], None)
    alone, joint = (score_of(scores, name) for name in (rival_laws.ADDITIVE, rival_laws.GENERALISED))
    gain = alone.aicc - joint.aicc if alone and joint else np.nan
    foresight = joint.rollout_error / max(alone.rollout_error, 1e-300) if alone and joint else np.nan
    p = next((test.p_value for test in tests if test.case == ADDITIVE_CASE), np.nan)
    by_aicc = f", AICc is {abs(gain):.0f} {'better' if gain > 0 else 'worse'} with g" if np.isfinite(gain) else ""
    said = f"g = {generalised.g}, g = 1 has p = {p:.2g}{by_aicc}"
    if p < REJECTED and gain > alternatives.CLEAR and not foresight > alternatives.BETTER:
        return LawChoice(additive, plain, generalised, GENERALISED, generalised, f"the additive law does not hold ({said})",
                         tests, scores, misfits[1], misfits[0])
    use_joint = gain > 0 if np.isfinite(gain) else p < REJECTED
    fails = "" if not foresight > alternatives.BETTER else f", dearer runs are foretold {foresight:.1f} times as badly"
    return LawChoice(additive, plain, generalised, EITHER, generalised if use_joint else plain,
                     f"the table does not settle whether the law is additive ({said}{fails})", tests, scores,
                     misfits[1] if use_joint else misfits[0], misfits[0])


def saturated(law: LawChoice, fit: ParametricFit, misfit: LackOfFit | None) -> LawChoice:
    """The choice where the saturating law's fit outdoes the others'."""
    ours, theirs = (score_of(law.scores, name) for name in (rival_laws.SATURATING, law.quoted_name))
    why = (f"losses level off towards {fit.surface.top:.4g}, c = {fit.c}: AICc is {theirs.aicc - ours.aicc:.0f} better than the {law.name}'s, and "
           f"log losses of dearer runs are foretold within {ours.rollout_error:.3f}, by the latter within {theirs.rollout_error:.3f}")
    return replace(law, speaks=SATURATING, quoted=fit, saturating=fit, why=why, misfit=misfit)
