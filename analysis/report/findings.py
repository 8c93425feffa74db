"""What a study found, in words: the same sentences on the terminal and in the report."""

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import p_text, shown
from analysis.fitted import GroupFit, Study
from analysis.questions.claims import Verdict
from analysis.questions.differences import Difference

NAMES = {"a": "the exponent a of the best model size", "b": "the exponent b of the best amount of data",
         "alpha": "alpha, the loss exponent of N,", "beta": "beta, the loss exponent of D,",
         "gamma": "gamma, the loss exponent of compute,", "E": "the irreducible loss E"}

GRAVE = ("law_outdone", "sensitive")   # doubts about the law itself: no interval holds them, so the reader hears of them at once
MOST_SENTENCES = 4   # groups that a sentence each stays readable


def preferred(g: GroupFit) -> tuple[str, Estimate, Estimate] | None:
    """The approach to quote: the one that uses every run, else the one that uses most."""
    for name, fit in (("approach 3", g.parametric), ("approach 2", g.isoflop), ("approach 1", g.envelope)):
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
    return tuple(said)


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
    return (f"{where} best model size grows as C^{shown(a)} and the best amount of data as C^{shown(b)} "
            f"({name}, {a.level:.0%} intervals, {len(g.group.runs):,} runs).")


def _group_findings(g: GroupFit) -> list[str]:
    where = f"{g.group.label}: " if g.group.label else ""
    said = [where + _claims_finding(g.claims)] if g.claims else []
    if g.agreement is not None:
        said.append(where + g.agreement.text.rstrip(".") + ".")
    if g.isoflop is not None:
        said.append(f"{where}the isoFLOP optimum is bracketed in {len(g.isoflop.minima)} budgets over "
                    f"{g.isoflop.decades:.1f} decades of compute"
                    + (f"; {len(g.isoflop.refused)} more say nothing." if g.isoflop.refused else "."))
    said += [f"{where}a doubt: {d.text}." for d in g.doubts if d.code in GRAVE]
    if g.accuracy is not None and g.accuracy.of_compute is not None:
        said.append(f"{where}the error rate at the best use of compute falls as C^-{shown(g.accuracy.of_compute.gamma)} "
                    f"towards {shown(g.accuracy.of_compute.E)}; the best run is {g.accuracy.best:.2%} right.")
    return said


def _claims_finding(claims: tuple[Verdict, ...]) -> str:
    about_a = [v for v in claims if v.claim.quantity == "a"]
    parts = []
    for verdict in ("consistent", "rejected", "undecided"):
        mine = [f"{v.claim.source} ({v.claim.value:g}, {p_text(v.p_value)})" for v in about_a if v.verdict == verdict]
        if mine:
            parts.append(f"{verdict} {'is' if len(mine) == 1 else 'are'} {', '.join(mine)}")
    return "of the published values of a, " + "; ".join(parts) + "."


def _difference_finding(d: Difference) -> str:
    verdict = "zero lies inside: no difference is shown" if 0 in d.estimate else "zero lies outside"
    return (f"From {d.first} to {d.second}, {NAMES[d.quantity]} changes by {shown(d.estimate)} "
            f"({p_text(d.p_value)}; {verdict}).")
