"""The numbers of a study as rows of text, for the terminal and for the report."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import big, number, p_text, shown
from analysis.fitted import GroupFit, Study
from analysis.questions.claims import RIVAL, Verdict
from analysis.questions.sensitivity import Row
from analysis.report.best_settings import best_settings
from analysis.report.lines import Lines
from analysis.table.runs import short_names


def trained(study: Study) -> Lines:
    """What the table holds, whatever can be fitted to it."""
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        runs = g.group.runs
        best = int(np.argmin(runs.L))
        return [("runs", f"{len(runs):,}, of {len(np.unique(runs.cell)):,} different (N, D)"),
                ("model sizes N", _span(runs.N)), ("data D", _span(runs.D)), ("compute C (FLOPs)", _span(runs.C)),
                ("loss L", f"{runs.L.min():.4g} to {runs.L.max():.4g}, median {np.median(runs.L):.4g}"),
                ("lowest at", f"N = {runs.N[best]:.3g}, D = {runs.D[best]:.3g}, C = {runs.C[best]:.3g}")]

    return _by_group(study, "What was trained", ("", "in the table"), rows)


def _span(values: np.ndarray) -> str:
    count = len(np.unique(values))
    return f"{values.min():.3g}, one value" if count == 1 else f"{values.min():.3g} to {values.max():.3g}, {count:,} values"


def tables(study: Study) -> tuple[Lines, ...]:
    """Every table that has rows, in the order of the story."""
    first = exponents(study) if study.estimated else trained(study)
    made = (first, predictions(study), best_settings(study), claims(study), differences(study), accuracy(study),
            nested(study), local(study), minima(study), curves(study), alternatives(study), sensitivity(study))
    return tuple(t for t in made if t.rows)


EXPONENTS_NOTE = (
    "N* grows as C^a and D* as C^b. Approach 3 is the law that speaks; the additive law stands beside it, as the literature reports it. "
    "Bias: what approaches 1 and 2 find too much on tables simulated from that law. Scatter: rms of log loss about the law, and its "
    "cells' means in units of what repeats explain. Design ratio: the slope that approach 1 would find in the grid's own corners if the "
    "losses said nothing.")
CLAIMS_NOTE = (
    "Rejected: the claim is too far from this table at the 5% level, its own error allowed for, by likelihood ratio (L_N, L_D and L_C: by "
    "Wald's test), p-values by Holm's correction for all the claims. Consistent: not rejected, inside the interval, and the "
    f"interval is narrow enough that a value {RIVAL:g} away would have been. Undecided: not rejected, but neither would such a value "
    "be. L_N, L_D and L_C are the slopes of the loss against N, D and C alone with no irreducible loss, over the range sampled.")
NESTED_NOTE = (
    "Likelihood-ratio tests against L = E + (A/N^(alpha/g) + B/D^(beta/g))^g, scaled by the bootstrap. g = 1 is the additive law; E = 0 with "
    "beta = g is Kaplan et al. 2020, equation 1.5; at infinite g the law is a product, which no size is best under.")
LAWS_NOTE = (
    "Least squares on the cells' log loss. a: the slope of log N* in the middle of the table. E inside the bracket: Droppo and Elibol 2021. "
    "Kaplan's joint law: ((Nc/N)^(alpha_N/alpha_D) + Dc/D)^alpha_D (Kaplan et al. 2020, equation 1.5). Broken in D: the slope in D "
    "changes once (Caballero et al. 2023, equation 1). Saturating: (L - E)/(Lmax - L)^c is the reducible part (Alabdulmohsin et al. "
    "2022, M4). The scatter counts as a parameter. Held out: fitted to the cheaper runs, asked for the next dearer ones.")


def exponents(study: Study) -> Lines:
    """A column a group; with many groups, a row a group."""
    told = EXPONENTS if len(study.groups) <= 3 else {name: EXPONENTS[name] for name in BRIEF}
    rows = [(name, *(cell(g) for g in study.groups)) for name, cell in told.items()]
    if len(study.groups) <= 3:
        return Lines("Exponents", ("", *short_names([g.group for g in study.groups])), tuple(rows), EXPONENTS_NOTE)
    across = zip(short_names([g.group for g in study.groups]), *(row[1:] for row in rows), strict=True)
    return Lines("Exponents", ("group", *told), tuple(across), EXPONENTS_NOTE)


def _of_law(quantity: str) -> Callable[[GroupFit], str]:
    return lambda g: shown(getattr(g.approaches.law, quantity)) if g.approaches.law else "refused"


def _of_additive(g: GroupFit) -> str:
    return shown(g.approaches.additive.a) if g.approaches.additive else "refused"


def _of_generalised(quantity: str) -> Callable[[GroupFit], str]:
    return lambda g: (shown(getattr(g.approaches.law.generalised, quantity))
                      if g.approaches.law and g.approaches.law.generalised else "refused")


def _of_curves(which: int, quantity: str) -> Callable[[GroupFit], str]:
    def cell(g: GroupFit) -> str:
        fit = g.approaches.envelope if which == 1 else g.approaches.isoflop
        return "refused" if fit is None else shown(getattr(fit, quantity))
    return cell


def _corrected(name: str) -> Callable[[GroupFit], str]:
    def cell(g: GroupFit) -> str:
        found = g.approaches.calibrations.get(name)
        if found is None:
            return "-"
        return "unknown" if not math.isfinite(found.bias) else f"{found.bias:+.3f}: {shown(found.corrected)}"
    return cell


def _misfit(additive: bool) -> Callable[[GroupFit], str]:
    def cell(g: GroupFit) -> str:
        law = g.approaches.law
        fit = law and (law.additive if additive else law.quoted)
        if fit is None:
            return "-"
        misfit = law.additive_misfit if additive else law.misfit
        return f"{fit.scatter:.1%}" + (f", {misfit.ratio:.1f} x repeats" if misfit else "")
    return cell


def _design_ratio(g: GroupFit) -> str:
    envelope = g.approaches.envelope
    return "-" if envelope is None else f"{envelope.design_ratio:.2f}" + (" = approach 1: not a finding" if envelope.indistinct else "")


def _cost(g: GroupFit) -> str:
    if g.approaches.law is None:
        return "-"
    cost = g.approaches.law.cost
    if cost.p_estimate is None or cost.p_estimate.high - cost.p_estimate.low < 1e-6:   # the table's C is computed so
        return f"{cost.p:.6g} (C = {cost.k:.3g} N{'' if abs(cost.p - 1) < 1e-6 else f'^{cost.p:.3g}'} D)"
    return shown(cost.p_estimate)


EXPONENTS: dict[str, Callable[[GroupFit], str]] = {   # row -> a group's cell
    "runs": lambda g: f"{len(g.group.runs):,}",
    "law that speaks": lambda g: g.approaches.law.name if g.approaches.law else "-",
    "a, approach 3": _of_law("a"), "b, approach 3": _of_law("b"),
    "g, generalised law": _of_generalised("g"), "a, generalised law": _of_generalised("a"), "a, additive law": _of_additive,
    "a, approach 2": _of_curves(2, "a"), "  bias, approach 2: a without it": _corrected("approach 2"),
    "a, approach 1": _of_curves(1, "a"), "  bias, approach 1: a without it": _corrected("approach 1"),
    "alpha": _of_law("alpha"), "beta": _of_law("beta"), "E": _of_law("E"), "gamma of L*(C)": _of_law("gamma"),
    "scatter about approach 3": _misfit(False), "scatter about the additive law": _misfit(True),
    "p of C = k N^p D": _cost, "design ratio of the grid": _design_ratio,
}
BRIEF = ("runs", "law that speaks", "a, approach 3", "a, additive law", "a, approach 2", "a, approach 1", "E")   # of many groups


def _by_group(study: Study, title: str, header: tuple[str, ...], rows_of: Callable[[GroupFit], Iterable[tuple[str, ...]]],
              note: str = "") -> Lines:
    """The rows of every group, named where there are several."""
    several = len(study.groups) > 1
    names = short_names([g.group for g in study.groups])
    rows = tuple((*((name,) if several else ()), *row) for name, g in zip(names, study.groups, strict=True) for row in rows_of(g))
    return Lines(title, (*(("group",) if several else ()), *header), rows, note)


def predictions(study: Study) -> Lines:
    """By approach 3, and by approach 2, which says nothing of the loss."""
    def rows(g: GroupFit) -> Iterator[tuple[str, ...]]:
        for C in study.request.budgets:
            if (o := g.answers.optimum(C)) is not None:
                yield _prediction(C, "approach 3", o.N, o.D, shown(o.L), o.inside)
            if g.approaches.isoflop is not None:
                reached = [m.C for m in g.approaches.isoflop.minima]
                yield _prediction(C, "approach 2", g.approaches.isoflop.params(C), g.approaches.isoflop.samples(C), "-",
                                  min(reached) <= C <= max(reached))

    return _by_group(study, "The best use of compute", ("FLOPs", "by", "model size N*", "data D*", "D*/N*", "loss L*", ""), rows)


def _prediction(C: float, how: str, N: Estimate, D: Estimate, loss: str, inside: bool) -> tuple[str, ...]:
    return (f"{C:.3g}", how, big(N), big(D), f"{D.value / N.value:.3g}", loss, "inside the table" if inside else "extrapolated")


def minima(study: Study) -> Lines:
    """Of approach 2: what every budget says, or why it says nothing."""
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        fit = g.approaches.isoflop
        if fit is None:
            return []
        found = [(m.C, f"{m.N:.3g}", f"{m.D:.3g}", f"{m.D / m.N:.3g}", f"{m.L:.4g}", f"{m.N_se:.1%}", str(len(m.points.N)),
                  "" if m.curve == fit.curve else m.curve) for m in fit.minima]
        found += [(r.C, "-", "-", "-", "-", "-", str(len(r.points.N)), f"refused: {r.reason}") for r in fit.refused]
        return [(f"{C:.3g}", *rest) for C, *rest in sorted(found)]

    return _by_group(study, "Minima of the isoFLOP curves", ("FLOPs", "N*", "D*", "D*/N*", "loss", "sd of N*", "sizes", ""), rows,
                     "Approach 2's exponents are the slopes of log N* and log D* on log FLOPs.")


def curves(study: Study) -> Lines:
    """Of approach 2: how the exponents move with what is drawn through a budget."""
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        if g.approaches.isoflop is None:
            return []
        drawn = {f"chosen: {g.approaches.isoflop.curve}, within a factor of 10 of the lowest": g.approaches.isoflop, **g.approaches.curves}
        return [(kind, f"{len(fit.minima)} of {len(fit.minima) + len(fit.refused)}", shown(fit.a), shown(fit.b))
                for kind, fit in drawn.items()]

    return _by_group(study, "Approach 2 by other curves", ("curve through a budget", "budgets bracketed", "a", "b"), rows,
                     "Wide parabolas are biased where alpha and beta differ or the sizes lie off centre.")


def claims(study: Study) -> Lines:
    """A row a claim, our estimate and a verdict a group; of many groups, a row a claim and group."""
    judged = [g for g in study.groups if g.answers.claims]
    if len(judged) > 2:
        return _by_group(study, "Published claims", (*CLAIM_HEADER, "this table", "verdict"),
                         lambda g: [(*_claimed(v), *_judged(v)) for v in g.answers.claims], CLAIMS_NOTE)
    heads = ["this table", "verdict"] if len(judged) == 1 else [
        text for name in short_names([g.group for g in judged]) for text in (name, "verdict")] if judged else []
    rows = tuple((*_claimed(verdicts[0]), *(text for v in verdicts for text in _judged(v)))
                 for verdicts in zip(*(g.answers.claims for g in judged), strict=True))
    return Lines("Published claims", (*CLAIM_HEADER, *heads), rows, CLAIMS_NOTE)


CLAIM_HEADER = ("of", "says", "claim")


def _claimed(v: Verdict) -> tuple[str, ...]:
    return v.claim.quantity, f"{v.claim.value:g}", v.claim.source


def _judged(v: Verdict) -> tuple[str, ...]:
    return shown(v.estimate), f"{v.verdict} ({p_text(v.adjusted)})"


def differences(study: Study) -> Lines:
    return Lines("Differences between groups", ("second less first", "of", "difference", "p", "zero inside"), tuple(
        (f"{d.second} less {d.first}", d.quantity, shown(d.estimate), p_text(d.p_value).removeprefix("p ").removeprefix("= "),
         "yes" if 0 in d.estimate else "no") for d in study.differences))


def accuracy(study: Study) -> Lines:
    rows = []
    for g, name in zip(study.groups, short_names([g.group for g in study.groups]), strict=True):
        if g.answers.accuracy is None:
            continue
        f, compute, loss = g.answers.accuracy, g.answers.accuracy.of_compute, g.answers.accuracy.of_loss
        rows.append((name, f"{f.best:.2%}", shown(compute.gamma) if compute else "refused",
                     shown(compute.E) if compute else "-", shown(loss.gamma) if loss else "refused",
                     shown(loss.exponent) if loss else "-"))
    return Lines("Error rate", ("group", "best accuracy", "gamma of error*(C)", "its floor",
                                "gamma of eps - k exp(-gamma L)", "m of c L^m"), tuple(rows))


def nested(study: Study) -> Lines:
    """The special cases of the generalised law."""
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        tests = g.approaches.law.tests if g.approaches.law else ()
        return [(t.case, f"{t.F:.3g}", str(t.freedom), p_text(t.p_value),
                 number(t.a, g.approaches.law.a) if math.isfinite(t.a) else "no best size")
                for t in tests]

    return _by_group(study, "Special cases of the generalised law", ("case", "F", "freedom", "that it holds", "a under it"), rows,
                     NESTED_NOTE)


def local(study: Study) -> Lines:
    """Along the frontier: L* is no power of C where E > 0, so its exponent is told place by place."""
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        return [(f"{e.C:.3g}", shown(e.L_C), shown(e.L_N), shown(e.L_D), "inside the table" if e.inside else "N* or D* outside")
                for e in g.answers.local]

    return _by_group(study, "Local exponents along the frontier", ("FLOPs", "of L* in C", "of L in N", "of L in D", ""), rows,
                     "-dlog L*/dlog C = gamma (1 - E/L*), less where losses level off, and -dlog L/dlog N, -dlog L/dlog D at (N*, D*). N* and D* themselves are powers of "
                     "C whatever E and g.")


def alternatives(study: Study) -> Lines:
    def rows(g: GroupFit) -> list[tuple[str, ...]]:
        return [(s.law, str(s.k), f"{s.rms:.2%}", f"{s.delta_aicc:.1f}",
                 f"{s.rollout_error:.2%}" if s.rollout_error is not None and s.rollout_error == s.rollout_error else "-",
                 s.a_text(2) if math.isfinite(s.a) else "-", s.note) for s in (g.approaches.law.scores if g.approaches.law else ())]

    return _by_group(study, "Other laws", ("law", "parameters", "rms", "AICc above the best", "error on the dearest runs, held out",
                                           "a", "note"), rows, LAWS_NOTE)


def sensitivity(study: Study) -> Lines:
    return _by_group(study, "Sensitivity of approach 3", ("analysis", "runs", "a", "alpha", "beta", "E", "shift of a (se)", "note"),
                     lambda g: [(r.name, f"{r.n:,}", *_moved(r, g)) for r in g.answers.sensitivity])


def _moved(row: Row, g: GroupFit) -> tuple[str, ...]:
    if row.surface is None:
        return ("-", "-", "-", "-", "-", f"refused: {row.note}")
    pairs = ((row.a, g.approaches.law.a), (row.surface.alpha, g.approaches.law.alpha), (row.surface.beta, g.approaches.law.beta),
             (row.surface.E, g.approaches.law.E))
    return (*(number(x, e) for x, e in pairs), f"{row.shift:+.1f}", row.note)
