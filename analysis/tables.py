"""The numbers of a study as rows of text, for the terminal and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.estimate import Estimate
from analysis.findings import number, p_text, shown
from analysis.sensitivity import Row
from analysis.study import GroupFit, Study


@dataclass(frozen=True)
class Lines:
    """A table of text: the first column names the rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """Aligned for a terminal."""
        cells = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()
                         for row in cells)


def tables(study: Study) -> tuple[Lines, ...]:
    """Every table that has rows, in the order of the story."""
    made = (exponents(study), predictions(study), claims(study), differences(study), accuracy(study),
            alternatives(study), sensitivity(study))
    return tuple(t for t in made if t.rows)


def _names(groups: Sequence[GroupFit]) -> tuple[str, ...]:
    return tuple(g.group.label or "all runs" for g in groups)


def exponents(study: Study) -> Lines:
    """A column a group; with many groups, a row a group."""
    rows = [("runs", [f"{len(g.group.runs):,}" for g in study.groups])]
    for quantity in ("a", "b"):
        for name, attribute in (("approach 1", "envelope"), ("approach 2", "isoflop"), ("approach 3", "parametric")):
            rows.append((f"{quantity}, {name}", [_cell(g, attribute, quantity) for g in study.groups]))
    for quantity, meaning in (("alpha", "alpha"), ("beta", "beta"), ("E", "E (nats)"), ("gamma", "gamma of L*(C)")):
        rows.append((meaning, [_cell(g, "parametric", quantity) for g in study.groups]))
    rows.append(("scatter about approach 3", [f"{g.parametric.scatter:.1%}" if g.parametric else "-" for g in study.groups]))
    rows.append(("p of C = k N^p D", [_cost(g) for g in study.groups]))
    rows.append(("design ratio of the grid", [
        f"{g.envelope.design_ratio:.2f}" + (" = approach 1: not a finding" if g.envelope.indistinct else "")
        if g.envelope else "-" for g in study.groups]))
    if len(study.groups) <= 3:
        return Lines("Exponents", ("", *_names(study.groups)), tuple((n, *cells) for n, cells in rows))
    kept = [(n, cells) for n, cells in rows if n in ("runs", "a, approach 1", "a, approach 2", "a, approach 3", "E (nats)")]
    return Lines("Exponents", ("group", *(n for n, _ in kept)),
                 tuple((name, *(cells[i] for _, cells in kept)) for i, name in enumerate(_names(study.groups))))


def _cell(g: GroupFit, attribute: str, quantity: str) -> str:
    fit = getattr(g, attribute)
    return shown(getattr(fit, quantity)) if fit is not None else "refused"


def _cost(g: GroupFit) -> str:
    if g.parametric is None:
        return "-"
    cost = g.parametric.cost
    return shown(cost.p_estimate) if cost.p_estimate is not None else f"{cost.p:g} (C = {cost.k:g} N D)"


def predictions(study: Study) -> Lines:
    rows = [(*((g.group.label,) if len(study.groups) > 1 else ()), f"{o.C:.3g}", _big(o.N), _big(o.D), shown(o.L),
             "inside the table" if o.inside else "extrapolated")
            for g in study.groups for o in g.optima]
    return Lines("The best use of compute", (*(("group",) if len(study.groups) > 1 else ()), "FLOPs", "model size N*",
                                             "training examples D*", "loss L*", ""), tuple(rows))


def _big(e: Estimate) -> str:
    return f"{e.value:.3g} [{e.low:.3g}, {e.high:.3g}]"


def claims(study: Study) -> Lines:
    """A row a claim, a verdict a group."""
    judged = [g for g in study.groups if g.claims]
    if not judged:
        return Lines("Published claims", (), ())
    rows = []
    for verdicts in zip(*(g.claims for g in judged), strict=True):
        claim = verdicts[0].claim
        rows.append((claim.quantity, f"{claim.value:g}", claim.source, *(
            f"{v.verdict} ({p_text(v.p_value)})" for v in verdicts)))
    return Lines("Published claims", ("of", "says", "claim", *_names(judged)), tuple(rows))


def differences(study: Study) -> Lines:
    return Lines("Differences between groups", ("second less first", "of", "difference", "p", "zero inside"), tuple(
        (f"{d.second} less {d.first}", d.quantity, shown(d.estimate), p_text(d.p_value).removeprefix("p ").removeprefix("= "),
         "yes" if 0 in d.estimate else "no") for d in study.differences))


def accuracy(study: Study) -> Lines:
    rows = []
    for g, name in zip(study.groups, _names(study.groups), strict=True):
        if g.accuracy is None:
            continue
        f, compute, loss = g.accuracy, g.accuracy.of_compute, g.accuracy.of_loss
        rows.append((name, f"{f.best:.2%}", shown(compute.gamma) if compute else "refused",
                     shown(compute.E) if compute else "-", shown(loss.gamma) if loss else "refused",
                     shown(loss.exponent) if loss else "-"))
    return Lines("Error rate", ("group", "best accuracy", "gamma of error*(C)", "its floor",
                                "gamma of eps - k exp(-gamma L)", "m of c L^m"), tuple(rows))


def alternatives(study: Study) -> Lines:
    several = len(study.groups) > 1
    rows = [(*((g.group.label,) if several else ()), s.law, str(s.k), f"{s.delta_aicc:.1f}",
             f"{s.rollout_error:.2%}" if s.rollout_error is not None and s.rollout_error == s.rollout_error else "-",
             s.note) for g in study.groups for s in g.laws]
    return Lines("Other laws", (*(("group",) if several else ()), "law", "parameters", "AICc above the best",
                                "error on the dearest runs, held out", "note"), tuple(rows))


def sensitivity(study: Study) -> Lines:
    several = len(study.groups) > 1
    rows = [(*((g.group.label,) if several else ()), r.name, f"{r.n:,}", *_moved(r, g)) for g in study.groups
            for r in g.sensitivity]
    return Lines("Sensitivity of approach 3", (*(("group",) if several else ()), "analysis", "runs", "a", "alpha", "beta",
                                               "E", "shift of a (se)", "note"), tuple(rows))


def _moved(row: Row, g: GroupFit) -> tuple[str, ...]:
    if row.surface is None:
        return ("-", "-", "-", "-", "-", f"refused: {row.note}")
    pairs = ((row.a, g.parametric.a), (row.surface.alpha, g.parametric.alpha), (row.surface.beta, g.parametric.beta),
             (row.surface.E, g.parametric.E))
    return (*(number(x, e) for x, e in pairs), f"{row.shift:+.1f}", row.note)
