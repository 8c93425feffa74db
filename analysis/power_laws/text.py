"""Kaplan's laws on a terminal: the finding first, then tables, then doubts; and as JSON."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from textwrap import fill

import numpy as np

from analysis.critical_batch.critical import KAPLAN_B, KAPLAN_POWER, CriticalBatch
from analysis.critical_batch.least_steps import KAPLAN_STEPS, StepsLaw
from analysis.estimates.estimate import Estimate
from analysis.estimates.words import big, p_text, shown
from analysis.power_laws.direct import Direct
from analysis.power_laws.found import KaplanLaws, KaplanStudy
from analysis.power_laws.joint_forms import JointForms
from analysis.power_laws.published import KAPLAN, KAPLAN_JOINT, henighan_range
from analysis.report.lines import WIDTH, Lines

SCORES = ("k", "rms", "aicc", "rollout_error", "rollout_n", "a")
OFF_BY = 0.5    # of half an interval: a bias beyond it is said aloud


def sentence(g: KaplanLaws) -> str:
    """The finding of one group."""
    said = []
    if g.limits is not None:
        floor, first = g.limits.supports_floor, g.limits.laws[0]
        exponents = ", ".join(f"L({law.variable}) {shown(law.exponent if floor else law.apparent)}" for law in g.limits.laws)
        above = f"Above an irreducible loss of {shown(first.floor)}" if floor else (
            f"The runs ask for no irreducible loss ({p_text(g.limits.p_no_floor)});")
        plain = ", ".join(f"{shown(law.apparent)}" for law in g.limits.laws)
        said.append(f"{above} the loss falls with exponents {exponents}" if not first.c else
                    f"between an irreducible loss of {shown(first.floor)} and a top of {first.top:.3g} the loss falls with exponents "
                    f"{', '.join(f'L({law.variable}) {shown(law.exponent)}' for law in g.limits.laws)} of (L - L_inf)/(top - L)^c, c {first.c:.2g}, "
                    f"or, as powers without either, {plain}")
    elif g.direct:
        said.append("No joint law could be fitted; read off the runs, the loss falls with exponents " + ", ".join(
            f"L({v}) {shown(d.laws.supported.exponent)}" for v, d in g.direct.items()))
    else:
        said.append("The runs tell no law of one variable")
    if g.forms is not None:
        said.append(g.forms.sentence())
    if g.batch is not None:
        power = f", and goes as 1/L^({shown(g.batch.power)})" if g.batch.power else ""
        said.append(f"the critical batch is {big(g.batch.middle)} examples at a loss of {g.batch.middle_loss:.3g}{power}")
    return (text := "; ".join(said) + ".")[0].upper() + text[1:]


def study_text(study: KaplanStudy) -> str:
    """Every group's finding, then every group's tables."""
    named = len(study.groups) > 1
    findings = [_filled((f"{g.label}: " if named else "") + sentence(g)) for g in study.groups]
    return "\n".join(findings)


def tables_text(study: KaplanStudy) -> str:
    named = len(study.groups) > 1
    blocks = []
    for g in study.groups:
        title = f"{g.label}, {g.runs:,} runs" if named else f"{g.runs:,} runs"
        blocks += [_block(table, title) for table in _tables(g)]
    notes = list(dict.fromkeys([*(d.text for d in study.doubts), *((f"{g.label}: " if named else "") + text for g in study.groups
                                                                   for text in _notes(g))]))
    if notes:
        blocks.append("Notes\n" + "\n".join(fill(note, WIDTH, initial_indent="  ", subsequent_indent="    ") for note in notes))
    return "\n\n".join(blocks)


def _block(table: Lines, title: str) -> str:
    rows = [f"  {line}" for line in table.aligned(WIDTH - 2).splitlines()]
    return "\n".join([_filled(f"{table.title} ({title})"), *rows, *([_filled(table.note)] if table.note else [])])


def _filled(text: str) -> str:
    return fill(text, WIDTH, subsequent_indent="  ")


def _notes(g: KaplanLaws) -> Iterator[str]:
    for direct in g.direct.values():
        yield from _notes_of(direct)
    yield from (d.text for d in g.doubts)
    yield from (f"{name} refused: {why}" for name, why in g.refused.items())


def _notes_of(d: Direct) -> Iterator[str]:
    what = f"L({d.variable}) from the runs"
    if d.limited and d.variable != "C":
        other = "data" if d.variable == "N" else "size"
        yield (f"{what} is limited by {other}: by the joint law its points lie up to {math.expm1(d.excess):.1%} above unlimited "
               f"{other}, the runs scatter by {d.noise:.1%}; what that does to it stands under bias")
    elif d.left_out:
        yield f"{what}: {d.left_out} points that something else limits by more than the scatter, {d.noise:.1%}, are left out"
    e = d.laws.supported.exponent
    bias = d.bias and (d.bias.exponent if d.laws.supports_floor else d.bias.pure)
    if bias and not d.limited and abs(bias) > OFF_BY * (e.high - e.low) / 2:
        yield f"{what}: the reading alone moves the exponent by {bias:+.3f}"


def _tables(g: KaplanLaws) -> Iterator[Lines]:
    exponents, scales = [], []
    for variable in "NDC":
        if g.limits is not None:
            law = g.limits.of(variable)
            exponents.append((f"L({variable}), joint law", shown(law.floor), shown(law.exponent), shown(law.apparent),
                              f"{g.limits.p_no_floor:.2g}"))
            scales.append((exponents[-1][0], f"{law.low:.2g} to {law.high:.2g}", _scale(law.scale), "", ""))
        if variable in g.direct:
            row, further = _direct_rows(g.direct[variable])
            exponents.append(row)
            scales.append(further)
    if exponents:
        top = g.limits is not None and g.limits.laws[0].c > 0
        yield Lines("Loss against one variable: L = L_inf + (x0/x)^alpha" + (" (joint law: (L - L_inf)/(top - L)^c)" if top else "")
                    + ", and L = (xc/x)^alpha", (
            "", "L_inf", "alpha", "alpha, no L_inf", "p, no L_inf"), tuple(exponents), _beside())
        yield Lines("Over which x, and the scales", ("", "x", "x0", "xc, no L_inf", "bias of alpha"), tuple(scales), _floors(g))
    if g.forms is not None:
        yield _forms_table(g.forms)
    if g.batch is not None:
        yield _batch_table(g.batch, g.steps)


def _direct_rows(d: Direct) -> tuple[tuple[str, ...], tuple[str, ...]]:
    both, floored = d.laws, d.laws.floored
    name = f"  {both.n} {'points' if d.variable == 'C' else 'runs'}"
    floor_bias = f"{d.bias.exponent:+.2g}" if d.bias and np.isfinite(d.bias.exponent) else "-"
    bias = f"{floor_bias}; {d.bias.pure:+.2g}" if d.bias else ""
    p = "-" if floored is None else f"{both.p_pure:.2g}"
    return ((name, shown(floored and floored.floor), shown(floored and floored.exponent), shown(both.pure.exponent), p),
            (name, f"{both.low:.2g} to {both.high:.2g}", _scale(floored.scale) if floored else "-", _scale(both.pure.scale),
             bias))


def _beside() -> str:
    kaplan = ", ".join(f"L({v}) {law.exponent:g}" for v, law in KAPLAN.items())
    henighan = ", ".join("L({}) {:g} to {:g}".format(v, *henighan_range(v)) for v in "NC")
    return f"Published, no L_inf: {kaplan} (Kaplan); with it, {henighan} (Henighan, language to images)."


def _scale(e: Estimate) -> str:
    """A scale with its interval, two digits each."""
    return "{} [{}, {}]".format(*(f"{x:.2g}".replace("e+0", "e").replace("e+", "e") for x in (e.value, e.low, e.high)))


def _floors(g: KaplanLaws) -> str:
    said = ["Runs: of each size that on most data, of each amount of data the largest size, and the lower envelope of compute."]
    if any(d.bias for d in g.direct.values()):
        said.append("Bias: what the reading finds too much on the joint law's own losses, with L_inf; without.")
    if g.floors is not None:
        bias = f", of which the reading makes {g.floors.bias:+.3g}" if np.isfinite(g.floors.bias) else ""
        said.append(f"L_inf from N less L_inf from C, each off the runs: {shown(g.floors.difference)}{bias}: they "
                    f"{'agree' if g.floors.agree else 'differ, as the reading makes them' if g.floors.explained else 'differ'}.")
    elif g.direct:
        said.append("Whether L_inf from N and from C agree can't be told off the runs: one of them has too few points.")
    return " ".join(said)


def _forms_table(forms: JointForms) -> Lines:
    least = min(form.score.aicc for form in forms.forms)
    rows = tuple((form.name, str(form.score.k), f"{form.score.rms:.4f}", f"{form.score.aicc - least:.1f}",
                  f"{form.score.rollout_error:.4f}" if form.score.rollout_n else "-", shown(form.foresight),
                  f"{form.score.a:.3f}" if np.isfinite(form.score.a) else "-") for form in forms.forms)
    note = "Dearer runs are foretold from the cheaper half, two thirds and four fifths of the cells."
    if forms.kaplan is not None:
        k = forms.kaplan
        held = "" if not np.isfinite(forms.p_kaplan) else f" Equation 1.5 within the generalised law: {p_text(forms.p_kaplan)}."
        his = ", ".join(f"{v:g}" for v in KAPLAN_JOINT.values())
        note += (f" Kaplan's law fitted here: alpha_N {shown(k.alpha_N)}, alpha_D {shown(k.alpha_D)}, N_c {_scale(k.N_c)}, D_c "
                 f"{_scale(k.D_c)} (his: {his}).{held}")
    return Lines("Joint laws", ("", "k", "rms log L", "AICc +", "error on dearer runs", "over the additive's", "a"), rows, note)


def _batch_table(batch: CriticalBatch, least: StepsLaw | None) -> Lines:
    rows = tuple((f"{level.loss:.4g}", big(level.batch), "" if level.closed else "only a bound", str(len(level.sizes)),
                  str(level.n), f"{min(level.least_steps):.3g} to {max(level.least_steps):.3g}", f"{level.scatter:.1%}")
                 for level in batch.levels)
    if batch.power is None:
        note = "The losses lie too near for a law of the loss."
    else:
        note = (f"B_crit = B*/L^(1/alpha_B): 1/alpha_B {shown(batch.power)} (Kaplan: {KAPLAN_POWER:.2f}), alpha_B "
                f"{shown(batch.alpha_B)} ({1 / KAPLAN_POWER:.2g}), B* {_scale(batch.at_one)} examples at L = 1 "
                f"({KAPLAN_B:g} tokens).")
    note += f" At L = {batch.middle_loss:.3g}: {big(batch.middle)}; by Kaplan's law {batch.kaplan:.3g} tokens of his."
    if least is not None:
        note += (f" L(N, S_min) = E + A/N^alpha_N + (S_c/S_min)^alpha_S: alpha_N {shown(least.alpha_N)}, alpha_S "
                 f"{shown(least.alpha_S)} ({KAPLAN_STEPS}), E {shown(least.E)}.")
    return Lines("Critical batch size: (S/S_min - 1)(E/E_min - 1) = 1, B_crit = E_min/S_min", (
        "loss", "B_crit, examples", "", "sizes", "curves", "S_min", "scatter of S"), rows, note)


def study_json(study: KaplanStudy) -> dict:
    """Numbers that don't exist are null."""
    return {"version": 1, "level": study.level, "files": len(study.sources), "doubts": _plain(study.doubts),
            "published": {"kaplan": _plain(KAPLAN), "kaplan_joint": KAPLAN_JOINT,
                          "kaplan_batch": {"B_at_loss_1": KAPLAN_B, "one_over_alpha_B": KAPLAN_POWER},
                          "henighan_exponents": {v: henighan_range(v) for v in "NC"}},
            "groups": [_group(g) for g in study.groups]}


def _group(g: KaplanLaws) -> dict:
    batch = g.batch
    return {"group": g.label, "runs": g.runs, "finding": sentence(g), "law": g.law and {"speaks": g.law.speaks, "why": g.law.why},
            "limits": _plain(g.limits), "supports_floor": g.limits and g.limits.supports_floor,
            "direct": {v: {**_plain(d), "limited": d.limited, "supports_floor": d.laws.supports_floor,
                           "aicc_gain": _plain(d.laws.gain)} for v, d in g.direct.items()},
            "floors": g.floors and {**_plain(g.floors), "agree": g.floors.agree, "explained": g.floors.explained},
            "joint_forms": g.forms and {
                "forms": [{"form": f.name, "over_additive": _plain(f.foresight),
                           **{name: _plain(getattr(f.score, name)) for name in SCORES}} for f in g.forms.forms],
                "kaplan": _plain(g.forms.kaplan), "p_kaplan": _plain(g.forms.p_kaplan)},
            "critical_batch": batch and {"levels": _plain(batch.levels), "one_over_alpha_B": _plain(batch.power),
                                         "alpha_B": _plain(batch.alpha_B), "B_at_loss_1": _plain(batch.at_one),
                                         "middle": _plain(batch.middle), "middle_loss": batch.middle_loss,
                                         "kaplan_there": batch.kaplan},
            "least_steps": g.steps and {name: _plain(getattr(g.steps, name)) for name in ("alpha_N", "alpha_S", "S_c", "E")},
            "doubts": _plain(g.doubts), "refused": dict(g.refused)}


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
