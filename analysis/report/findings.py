"""What a study found, in words: the same sentences on the terminal and in the report."""

import math

from analysis.choices.laws import ChoiceLaw
from analysis.estimates.estimate import Estimate
from analysis.estimates.words import p_text, shown
from analysis.fitted import GroupFit, Study
from analysis.questions.claims import Verdict
from analysis.questions.differences import Difference
from analysis.questions.law_choice import ADDITIVE, EITHER, GENERALISED, LawChoice
from analysis.questions.repeated_data import RepeatedFit

NAMES = {"a": "the exponent a of the best model size", "b": "the exponent b of the best amount of data",
         "alpha": "alpha, the loss exponent of N,", "beta": "beta, the loss exponent of D,",
         "gamma": "gamma, the loss exponent of compute,", "E": "the irreducible loss E"}

GRAVE = ("sensitive", "lack_of_fit")   # doubts about the law itself: no interval holds them, so the reader hears of them at once
MOST_SENTENCES = 4   # groups that a sentence each stays readable


def preferred(g: GroupFit) -> tuple[str, Estimate, Estimate] | None:
    """The approach to quote: the one that uses every run, else the one that uses most."""
    for name, fit in (("approach 3", g.approaches.law), ("approach 2", g.approaches.isoflop), ("approach 1", g.approaches.envelope)):
        if fit is not None:
            return name, fit.a, fit.b
    return None


def headlines(study: Study) -> tuple[str, ...]:
    """The findings that need no table beside them: the exponents, what differs, the learning rate."""
    said = [_exponents_finding(g) for g in study.groups] if len(study.groups) <= MOST_SENTENCES else [_range_finding(study)]
    said += [f"{g.group.label + ': a' if g.group.label else 'A'} doubt: {d.text}." for g in study.groups for d in g.pooled]
    said += [_difference_finding(d) for d in study.differences if d.quantity == "a"]
    if study.learning_rate is not None:
        fit = study.learning_rate
        tuned = "learning rate" if fit.choice == "lr" else fit.choice
        rule = "" if fit.rule is None else (f"; the rule says {fit.rule:g}, which "
                                            f"{'lies inside' if fit.rule in fit.exponent else 'lies outside'}")
        said.append(f"The tuned {tuned} goes as {fit.against}^{shown(fit.exponent)}{rule}.")
    said += [_choice_finding(g.group.label, law) for g in study.groups for law in (g.choices.laws if g.choices else ())]
    said += [_repeated_finding(g.group.label, g.repeated) for g in study.groups if g.repeated]
    return tuple(said)


def _repeated_finding(label: str, fit: RepeatedFit) -> str:
    return (f"{label + ': data' if label else 'Data'} seen again: R_D* = {shown(fit.estimates['R_D'])}, so that after "
            f"{shown(fit.half)} epochs one more example of the old is worth half a fresh one (the data-constrained law of Muennighoff et "
            f"al., {fit.repeated:,} of {fit.n:,} runs repeat their data; rms of log loss {fit.scatter:.1%}, {fit.fresh_scatter:.1%} if all "
            "were taken for fresh).")


def _choice_finding(label: str, law: ChoiceLaw) -> str:
    powers = " ".join(f"{of}^{shown(e)}" for of, e in (("N", law.of_N), ("D", law.of_D)) if e is not None)
    along = f", along the frontier as C^{shown(law.of_C)}" if law.of_C is not None else ""
    return f"{label + ': the' if label else 'The'} best {law.name} goes as {powers}{along}."


def _range_finding(study: Study) -> str:
    """Of many groups, the ends: the table has the rest."""
    quoted = sorted(((q[1], g.group.label) for g in study.groups if (q := preferred(g)) is not None),
                    key=lambda pair: pair[0].value)
    if not quoted:
        return f"In none of the {len(study.groups)} groups can the exponents of compute-optimal training be estimated."
    (low, where_low), (high, where_high) = quoted[0], quoted[-1]
    return (f"Over {len(quoted)} of {len(study.groups)} groups the exponent a of the best model size runs from {shown(low)} "
            f"({where_low}) to {shown(high)} ({where_high}).")


def findings(study: Study) -> tuple[str, ...]:
    """All of them, the headlines first."""
    return (*headlines(study), *(line[:1].upper() + line[1:] for g in study.groups for line in _group_findings(g)),
            *(_difference_finding(d) for d in study.differences if d.quantity == "gamma"))


def _exponents_finding(g: GroupFit) -> str:
    where = f"At {g.group.label}: the" if g.group.label else "The"
    quoted = preferred(g)
    if quoted is None:
        return f"{where} exponents of compute-optimal training cannot be estimated from these {len(g.group.runs):,} runs."
    name, a, b = quoted
    law = g.approaches.law
    how = [name if law is None else f"{name}, {law.name}{_bracket(law)}", f"{a.level:.0%} intervals", f"{len(g.group.runs):,} runs"]
    if law is not None and law.quoted.correlated:
        how.insert(1, "errors that go together allowed for")
    if law is not None and law.speaks == GENERALISED and law.additive is not None:
        how.insert(1, f"the additive law, which does not hold here, would say {shown(law.additive.a)}")
    return (f"{where} best model size grows as C^{shown(a)} and the best amount of data as C^{shown(b)} ({'; '.join(how)})"
            f"{''.join(f', but {doubt}' if i == 0 else f', and {doubt}' for i, doubt in enumerate(_law_doubts(law)))}.")


def _bracket(law: LawChoice) -> str:
    return f" with g = {shown(law.generalised.g)}" if law.generalised is not None else ""


def _law_doubts(law: LawChoice | None) -> list[str]:
    """What the reader must know before quoting the exponent."""
    if law is None:
        return []
    said = []
    if law.misfit is not None and law.misfit.large:
        said.append(f"the law leaves {law.misfit.ratio:.1f} times the noise of repeats, so that no exponent of it should be relied on")
    if law.speaks == EITHER:
        said.append("the table does not decide between the two laws, whose intervals are joined")
    if law.speaks == ADDITIVE:
        said.append("whether the law is additive could not be tested")
    if law.outdone:
        best = law.scores[0]
        said.append(f"another law, {best.law}, describes the runs better" + (f" and would say {best.a:.2f}" if math.isfinite(best.a) else
                                                               " and has no best size"))
    return said


def _group_findings(g: GroupFit) -> list[str]:
    where = f"{g.group.label}: " if g.group.label else ""
    said = [where + _claims_finding(g.answers.claims)] if g.answers.claims else []
    said += [f"{where}{g.errors}."] if g.errors else []
    if g.approaches.law is not None:
        reach = g.approaches.quoted.range
        said.append(f"{where}N* and D* lie inside the sampled sizes and data from {reach.low:.2g} to {reach.high:.2g} FLOPs "
                    f"({reach.decades:.1f} decades): beyond, the exponents are extrapolated." if reach.decades > 0 else
                    f"{where}the best N and D lie outside the sampled at every compute: the exponents are extrapolated throughout.")
    said += [f"{where}{name} is biased by {c.bias:+.3f} on this grid under the law that fits: {shown(c.found)} becomes {shown(c.corrected)}."
             for name, c in g.approaches.calibrations.items() if math.isfinite(c.bias)]
    if g.approaches.agreement is not None:
        said.append(where + g.approaches.agreement.text.rstrip(".") + ".")
    if g.approaches.isoflop is not None:
        said.append(f"{where}the isoFLOP optimum is bracketed in {len(g.approaches.isoflop.minima)} budgets over "
                    f"{g.approaches.isoflop.decades:.1f} decades of compute"
                    + (f"; {len(g.approaches.isoflop.refused)} more say nothing." if g.approaches.isoflop.refused else "."))
    said += [f"{where}a doubt: {d.text}." for d in g.doubts if d.code in GRAVE]
    if g.answers.accuracy is not None and g.answers.accuracy.of_compute is not None:
        said.append(f"{where}the error rate at the best use of compute falls as C^-{shown(g.answers.accuracy.of_compute.gamma)} "
                    f"towards {shown(g.answers.accuracy.of_compute.E)}; the best run is {g.answers.accuracy.best:.2%} right.")
    return said


def _claims_finding(claims: tuple[Verdict, ...]) -> str:
    about_a = [v for v in claims if v.claim.quantity == "a"]
    parts = []
    for verdict in ("consistent", "rejected", "undecided"):
        mine = [f"{v.claim.source} ({v.claim.value:g}, {p_text(v.adjusted)})" for v in about_a if v.verdict == verdict]
        if mine:
            parts.append(f"{verdict} {'is' if len(mine) == 1 else 'are'} {', '.join(mine)}")
    return (f"of the published values of a, {'; '.join(parts)} ({claims[0].test if not about_a else about_a[0].test}; p-values by Holm's "
            f"correction for {len(claims)} claims).")


def _difference_finding(d: Difference) -> str:
    verdict = "zero lies inside: no difference is shown" if 0 in d.estimate else "zero lies outside"
    return (f"From {d.first} to {d.second}, {NAMES[d.quantity]} changes by {shown(d.estimate)} "
            f"({p_text(d.p_value)}; {verdict}).")
