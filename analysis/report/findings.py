"""What a study found, in words: the same sentences on the terminal and in the report."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.approaches.doubts import LOOSE
from analysis.approaches.laws.generalised import BRACKET
from analysis.choices.laws import ChoiceLaw
from analysis.estimates.estimate import Estimate
from analysis.estimates.words import number, p_text, shown
from analysis.fitted import GroupFit, Study
from analysis.questions.claims import Verdict
from analysis.questions.differences import Difference
from analysis.questions.law_choice import ADDITIVE, EITHER, GENERALISED, SATURATING, LawChoice
from analysis.questions.repeated_data import RepeatedFit
from analysis.questions.sensitivity import most_moved
from analysis.table.condense import Condensed
from analysis.table.runs import short_names

NAMES = {"a": "the exponent a of the best model size", "b": "the exponent b of the best amount of data",
         "alpha": "alpha, the loss exponent of N,", "beta": "beta, the loss exponent of D,",
         "gamma": "gamma, the loss exponent of compute,", "E": "the irreducible loss E"}

GRAVE = ("lack_of_fit",)   # doubts about the law itself: no interval holds them, so the reader hears of them at once
FEWEST = 6           # rows that tell with what the loss rises
MOST_SENTENCES = 4   # groups that a sentence each stays readable
UNTOLD = 0.8         # of b's interval: b lies between 0 and 1, and one as wide holds whatever anybody may claim


def preferred(g: GroupFit) -> tuple[str, Estimate, Estimate] | None:
    """The approach to quote: the one that uses every run, else the one that uses most; None where that tells no exponent."""
    found = _estimate(g)
    return found if found and found[2].high - found[2].low < UNTOLD and not _is_product(g.approaches.law) else None


def _is_product(law: LawChoice | None) -> bool:
    """Whether the law that speaks has become a product of powers, under which no size is best."""
    return law is not None and law.quoted.surface.g >= BRACKET[1] * (1 - 1e-9)


def _estimate(g: GroupFit) -> tuple[str, Estimate, Estimate] | None:
    """By the approach that uses every run, else by the one that uses most."""
    of = g.approaches
    return next(((name, fit.a, fit.b) for name, fit in (
        ("approach 3", of.law), ("approach 2", of.isoflop), ("approach 1", of.envelope)) if fit is not None), None)


def _rising(few: Condensed) -> str:
    """Of N and D, with what the loss rises, by least squares of logs and beyond twice the error; "" where with neither."""
    if len(few.L) < FEWEST:
        return ""
    X, z = np.column_stack([np.ones_like(few.L), np.log(few.N), np.log(few.D)]), np.log(few.L)
    slopes, *_ = np.linalg.lstsq(X, z, rcond=None)
    error = np.sqrt(np.diag(np.linalg.pinv(X.T @ X)) * np.sum((z - X @ slopes) ** 2) / (len(z) - 3))
    return " and with ".join(name for name, slope, se in zip("ND", slopes[1:], error[1:], strict=True) if slope > 2 * se)


@dataclass(frozen=True)
class Finding:
    """A sentence with its doubts, and how it was come by."""

    text: str      # without the full stop
    how: str       # approach, law, level of the intervals, runs; may be empty

    def __str__(self) -> str:
        return f"{self.text} ({self.how})." if self.how else f"{self.text}."


def opening(study: Study) -> tuple[Finding, ...]:
    """The exponents, the first thing to say: a sentence a group or, of many groups, the ends of the range."""
    if not study.estimated:
        why = next((why for g in study.groups for why in g.refused.values()), "")
        runs = sum(len(g.group.runs) for g in study.groups)
        these = f"these {runs:,} runs" if runs > 1 else "one run"
        return (Finding(f"The exponents of compute-optimal training cannot be estimated from {these}: {why}", ""),)
    if len(study.groups) > MOST_SENTENCES:
        return (_range_finding(study),)
    codes = {d.code for d in study.table.doubts}
    counted = f"N is {study.table.columns['N']}, one of several counts" if "several_counts" in codes else ""
    copied = ["no two repeats of an (N, D) differ, so that they count for more than they tell"] if "copies" in codes else []
    return tuple(_exponents_finding(g, counted, copied) for g in study.groups)


def headlines(study: Study) -> tuple[str, ...]:
    """The findings that need no table beside them: the exponents, what differs, the learning rate."""
    return (*map(str, opening(study)), *followups(study))


def followups(study: Study) -> tuple[str, ...]:
    """What comes after the opening and needs the whole study."""
    said = [f"{g.group.label + ': a' if g.group.label else 'A'} doubt: {d.text}." for g in study.groups for d in g.pooled]
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


def _range_finding(study: Study) -> Finding:
    """Of many groups, the ends: the table has the rest."""
    quoted = sorted(((q[1], g) for g in study.groups if (q := preferred(g)) is not None), key=lambda pair: pair[0].value)
    if not quoted:
        return Finding(f"The exponents of compute-optimal training cannot be told in any of the {len(study.groups)} groups", "")
    (low, least), (high, most) = quoted[0], quoted[-1]
    where_low, where_high = short_names([least.group, most.group])
    doubted = sum(1 for _, g in quoted if _doubts(g))
    return Finding(f"Over {len(quoted)} of {len(study.groups)} groups the exponent a of the best model size runs "
                   f"from {shown(low)} ({where_low}) to {shown(high)} ({where_high})"
                   + (f", but in {doubted} of them there are doubts" if doubted else ""), f"{low.level:.0%} intervals")


def findings(study: Study) -> tuple[str, ...]:
    """All of them, the headlines first."""
    return (*headlines(study), *(line[:1].upper() + line[1:] for g in study.groups for line in _group_findings(g)),
            *(_difference_finding(d) for d in study.differences if d.quantity == "gamma"))


def _exponents_finding(g: GroupFit, counted: str, doubts: list[str]) -> Finding:
    """counted: which of several columns N is; "" where there is one. doubts: of the table."""
    where = f"At {g.group.label}: the" if g.group.label else "The"
    quoted, runs = preferred(g), f"{len(g.group.runs):,} runs"
    if quoted is None:
        why = f", and the loss rises with {rising}" if (rising := _rising(g.few)) else ""
        if _is_product(g.approaches.law):
            return Finding(f"{where} exponents of compute-optimal training cannot be told from these {runs}: the loss goes as a product of "
                           f"powers of N and D, under which no size is best{why}", f"approach 3, {_speaking(g.approaches.law)}")
        if wide := _estimate(g):
            name, a, _ = wide
            return Finding(f"{where} exponents of compute-optimal training cannot be told from these {runs}: any a from "
                           f"{number(a.low, a)} to {number(a.high, a)} agrees with them{why}", f"N* ~ C^a; {name}, {a.level:.0%} interval")
        return Finding(f"{where} exponents of compute-optimal training cannot be estimated from these {runs}: "
                       f"{next(iter(g.refused.values()), 'nothing was asked')}{why}", "")
    name, a, b = quoted
    law = g.approaches.law
    how = [name if law is None else f"{name}, {_speaking(law)}", f"{a.level:.0%} intervals", *([counted] if counted else []), runs]
    if law is not None and law.quoted.correlated:
        how.insert(1, "errors that go together allowed for")
    if law is not None and law.speaks == GENERALISED and law.additive is not None:
        how.insert(1, f"the additive law, which does not hold here, would say {shown(law.additive.a)}")
    said = "".join(f", {'and' if i else 'but'} {doubt}" for i, doubt in enumerate([*doubts, *_doubts(g)]))
    return Finding(f"{where} best model size grows as C^{shown(a)} and the best amount of data as C^{shown(b)}{said}",
                   "; ".join(how))


def _doubts(g: GroupFit) -> list[str]:
    """What the reader must know before quoting the exponent."""
    again = len(g.group.runs.repeated)
    seen = [f"{again:,} of the runs saw their data more than once, which the law takes for fresh"] if again else []
    return _law_doubts(g.approaches.law) + seen + late_doubts(g)


def late_doubts(g: GroupFit) -> list[str]:
    """Those that take longer to find than the exponent: other approaches and other choices; none of what can't be told."""
    if preferred(g) is None:
        return []
    most = most_moved(g.answers.sensitivity)
    moved = [] if most is None else [f"another choice ({most.name}) would say {number(most.a, g.approaches.law.a)}"]
    return _disagreements(g) + moved


def _disagreements(g: GroupFit) -> list[str]:
    """Approaches that contradict the one that is quoted."""
    of, name = g.approaches, (preferred(g) or ("",))[0]
    if of.agreement is None:
        return []
    apart = {p.first if p.second == name else p.second: p.p_value for p in of.agreement.pairs
             if name in (p.first, p.second) and not p.agree}
    if of.envelope is not None and of.envelope.indistinct:   # what the grid's corners say contradicts nothing
        apart.pop("approach 1", None)
    found = {"approach 1": of.envelope, "approach 2": of.isoflop, "approach 3": of.law}
    a = {name: fit and fit.a for name, fit in found.items()} | {name: c.corrected for name, c in of.calibrations.items()}
    return [f"{other} disagrees ({shown(a[other])}, {p_text(p)})"
            for other, p in sorted(apart.items())]


def _speaking(law: LawChoice) -> str:
    """Whose a and b are given."""
    bracket = f" with g = {shown(law.generalised.g)}" if law.generalised is not None else ""
    if law.speaks != SATURATING:
        return f"{law.name}{bracket}"
    others = [f"the {name} would say {shown(fit.a)}" for name, fit in (
        (f"generalised one{bracket}", law.generalised), ("additive one", law.additive)) if fit is not None]
    return (f"{law.name} with c = {shown(law.saturating.c)}, which outdoes the others in AICc and in foretelling dearer runs: "
            + " and ".join(others))


def _law_doubts(law: LawChoice | None) -> list[str]:
    """What the reader must know before quoting the exponent."""
    if law is None:
        return []
    said = []
    if law.misfit is not None and law.misfit.large:
        said.append(f"the law leaves {law.misfit.ratio:.1f} times the noise of repeats, so that no exponent of it should be relied on")
    said += [f"the fit ends at {bound}" for bound in law.quoted.point.at_bound]
    if law.quoted.scatter > LOOSE:
        said.append(f"the runs stray from the law by {law.quoted.scatter:.0%}")
    if law.quoted is law.generalised and not math.isfinite(law.quoted.g.high):
        said.append("a product of powers, under which no size is best, describes the runs as well")
    if law.speaks == EITHER:
        said.append("the table does not decide between the two laws, whose intervals are joined")
    if law.speaks == ADDITIVE:
        said.append("whether the law is additive could not be tested")
    if law.outdone:
        best = law.scores[0]
        said.append(f"another law, {best.law}, describes the runs better" + (f" and would say {best.a_text(2)}" if math.isfinite(best.a) else
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
