"""A study as JSON: the stable, documented face of the analysis for other programs."""

import json
import math
import re
from collections.abc import Mapping

from analysis.approaches.calibration import Calibrated
from analysis.approaches.envelope import EnvelopeFit
from analysis.approaches.frontier import OptimumEstimate
from analysis.approaches.isoflop import IsoflopFit
from analysis.approaches.parametric import ParametricFit
from analysis.choices.laws import ChoiceLaws
from analysis.errors.innovation import ORDER
from analysis.errors.model import ErrorModel, sentence
from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import Doubt
from analysis.fitted import GroupFit, Study
from analysis.questions.accuracy import AccuracyFit
from analysis.questions.claims import Verdict
from analysis.questions.differences import Difference
from analysis.questions.lack_of_fit import LackOfFit
from analysis.questions.law_choice import LawChoice
from analysis.questions.learning_rate import LearningRateFit
from analysis.questions.repeated_data import RepeatedFit
from analysis.questions.sensitivity import Row
from analysis.report.keeping import kept_document

NUMBERS = re.compile(r"\[(?:\s+(?:-?[\d.e+-]+|null),?)+\s+\]")   # an array of numbers: no text holds a line break
VERSION = 1   # of the layout; fields are only ever added under one version


def study_json(study: Study, provenance: Mapping[str, object] | None = None) -> str:
    """The study as strict JSON: no NaN, no infinity (null in their place), keys in a fixed order."""
    text = json.dumps(_finite(study_document(study) | {"provenance": provenance}), indent=1, allow_nan=False, ensure_ascii=True) + "\n"
    return NUMBERS.sub(lambda found: " ".join(found[0].split()), text)   # a line an array, not a line a draw


def study_document(study: Study) -> dict:
    """The study as plain dicts and lists. A refused analysis is {"refused": reason}."""
    table = study.table
    return {
        "version": VERSION,
        "sources": list(table.sources),
        "rows": table.rows,
        "columns": dict(table.columns),
        "excluded": [{"code": e.code, "rows": e.rows, "text": e.text} for e in table.excluded],
        "level": study.request.level,
        "resamples": study.request.resamples,
        "groups": [_group(g, study.request.budgets) for g in study.groups],
        "differences": [_difference(d) for d in study.differences],
        "learning_rate": _or_refusal(study.learning_rate, _learning_rate, study.refused, "learning rate"),
        "choices": _or_refusal(study.trial_choices, _choices, study.refused, "best settings of tuning"),
        "refused": dict(study.refused),
        "warnings": [_doubt(d, None) for d in table.doubts] + [
            _doubt(d, g.group.key) for g in study.groups for d in g.doubts] + [
            _doubt(d, None) for d in (study.learning_rate.warnings if study.learning_rate else ())],
    }


def _finite(value):
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _estimate(e: Estimate) -> dict:
    return {"value": e.value, "low": e.low, "high": e.high, "se": e.se, "method": e.method, "n": e.n}


def _or_refusal(fit, shape, refused, name: str) -> dict | None:
    if fit is not None:
        return shape(fit)
    return {"refused": refused[name]} if name in refused else None


def _group(g: GroupFit, budgets: tuple[float, ...]) -> dict:
    return {
        "key": dict(g.group.key),
        "n": len(g.group.runs),
        "approach1": _or_refusal(g.approaches.envelope, _envelope, g.refused, "approach1"),
        "approach2": _or_refusal(g.approaches.isoflop, lambda fit: _isoflop(fit, g.approaches.curves), g.refused, "approach2"),
        # approach 3 as the literature has it; the exponents to quote are under "law"
        "approach3": _or_refusal(g.approaches.additive, _parametric, g.refused, "approach3"),
        "generalised": _or_refusal(g.approaches.law and g.approaches.law.generalised, _parametric, g.refused, "generalised law"),
        "saturating": g.approaches.law and g.approaches.law.saturating and _parametric(g.approaches.law.saturating),
        "law": _or_refusal(g.approaches.law, _law, g.refused, "approach3"),
        "calibrations": {name: _calibration(c) for name, c in g.approaches.calibrations.items()},
        "local_exponents": [{"flops": e.C, "inside": e.inside, "L_C": _estimate(e.L_C), "L_N": _estimate(e.L_N),
                             "L_D": _estimate(e.L_D)} for e in g.answers.local],
        "agreement": g.approaches.agreement.text if g.approaches.agreement else None,
        "levels": [{"flops": v.C, "params_ratio": _estimate(v.ratio), "samples_per_param_ratio": v.data_ratio, "p_value": v.p_value}
                   for v in (g.approaches.agreement.levels if g.approaches.agreement else ())],
        "frontier": _or_refusal(g.approaches.law, _frontier, g.refused, "approach3"),
        "accuracy": _or_refusal(g.answers.accuracy, _accuracy, g.refused, "accuracy"),
        "sensitivity": [_sensitivity(r) for r in g.answers.sensitivity],
        "claims": [_claim(v) for v in g.answers.claims],
        "alternatives": [
            {"law": s.law, "parameters": dict(s.parameters), "k": s.k, "aicc": s.aicc, "delta_aicc": s.delta_aicc, "rms": s.rms,
             "a": s.a, "a_half_width": s.a_half, "rollout_error": s.rollout_error, "rollout_n": s.rollout_n, "note": s.note}
            for s in (g.approaches.law.scores if g.approaches.law else ())],
        "predictions": [_prediction(C, g.answers.optimum(C), g.approaches.isoflop) for C in budgets
                        if g.answers.optima or g.approaches.isoflop],
        "choices": _or_refusal(g.choices, _choices, g.refused, "best settings"),
        "repeated_data": _or_refusal(g.repeated, _repeated, g.refused, "repeated data"),
        "kept": kept_document(g.approaches.law, g.approaches.isoflop and g.approaches.isoflop.path),
        "refused": dict(g.refused),
    }


def _envelope(fit: EnvelopeFit) -> dict:
    return {"a": _estimate(fit.a), "b": _estimate(fit.b), "design_ratio": fit.design_ratio, "naive": fit.naive,
            "indistinct": bool(fit.indistinct)}


def _isoflop(fit: IsoflopFit, curves: dict[str, IsoflopFit]) -> dict:
    return {"a": _estimate(fit.a), "b": _estimate(fit.b), "curve": fit.curve, "bracketed": len(fit.minima),
            "decades": fit.decades,
            "other_curves": [{"curve": kind, "a": _estimate(other.a), "b": _estimate(other.b), "bracketed": len(other.minima)}
                             for kind, other in curves.items()],
            "minima": [{"flops": m.C, "params": m.N, "samples": m.D, "loss": m.L, "log_params_se": m.N_se}
                       for m in fit.minima],
            "refused_budgets": [{"flops": r.C, "points": len(r.points.N), "reason": r.reason} for r in fit.refused]}


def _law(law: LawChoice) -> dict:
    """Which law speaks, why, and what it says: the exponents to quote."""
    reach = law.quoted.range
    return {"speaks": law.speaks, "why": law.why, "quoted": law.name_of(law.quoted),
            "range": {"low": reach.low, "high": reach.high, "decades": reach.decades}} | {
        name: _estimate(getattr(law, name)) for name in ("a", "b", "alpha", "beta", "E", "gamma")} | {
        "tests": [{"case": t.case, "F": t.F, "freedom": t.freedom, "p_value": t.p_value, "a": t.a} for t in law.tests],
        "lack_of_fit": _lack(law.misfit), "lack_of_fit_additive": _lack(law.additive_misfit),
        "errors": _errors(law.quoted.errors)}


def _errors(model: ErrorModel | None) -> dict | None:
    """What runs share of their errors; null where nothing was asked."""
    if model is None:
        return None
    found = model.found
    return {"correlated": found.correlated, "text": sentence(found), "checkpoints": found.structure.checkpoints or None,
            "shared": [{"by": c.shared.name, "share": model.shares[c.shared.name], "p_value": c.p_value} for c in found.found],
            "neighbours": {"correlation": found.base.value, "p_value": found.order_p} if found.base.kind == ORDER else None,
            "tests": [{"by": t.name, "p_value": t.p_value} for t in found.tests]}


def _lack(misfit: LackOfFit | None) -> dict | None:
    return None if misfit is None else dict(vars(misfit)) | {"large": misfit.large}


def _calibration(c: Calibrated) -> dict:
    return {"bias": c.bias, "spread": c.spread, "expected": c.expected, "corrected": _estimate(c.corrected), "refused": c.refused}


def _parametric(fit: ParametricFit) -> dict:
    return {name: _estimate(getattr(fit, name)) for name in fit.names} | {
        "percentile": {name: _estimate(fit.interval(name, "percentile")) for name in ("E", "alpha", "beta", "a", "b")},
        "objective": fit.point.value, "loss_function": str(fit.point.objective), "n": fit.n, "cells": fit.cells,
        "cluster": fit.resampling, "converged": bool(fit.point.converged), "at_bound": list(fit.point.at_bound),
        "E_identified": bool(fit.E_identified),
        "scatter": fit.scatter,
        "cost": {"k": fit.cost.k, "p": _estimate(fit.cost.p_estimate) if fit.cost.p_estimate else
                 {"value": fit.cost.p, "low": fit.cost.p, "high": fit.cost.p, "se": 0.0, "method": "given", "n": 0}}}


def _frontier(fit: LawChoice) -> dict:
    law = fit.frontier
    levels_off = {"c": law.c, "top": law.top} if law.c else {}
    return {name: _estimate(getattr(law, name)) for name in ("E", "K", "gamma")} | levels_off


def _accuracy(fit: AccuracyFit) -> dict:
    compute, loss = fit.of_compute, fit.of_loss
    return {
        "n": fit.n, "best": fit.best,
        "against_compute": _or_refusal(compute, lambda f: {
            "E": _estimate(f.frontier.E), "K": _estimate(f.frontier.K), "gamma": _estimate(f.frontier.gamma)},
            fit.refused, "error against compute"),
        "against_loss": _or_refusal(loss, lambda f: {
            "eps": _estimate(f.eps), "k": _estimate(f.k), "gamma": _estimate(f.gamma), "scatter": f.scatter,
            "exponent": _estimate(f.exponent), "coefficient": f.coefficient, "power_scatter": f.power_scatter},
            fit.refused, "error against loss")}


def _sensitivity(row: Row) -> dict:
    if row.surface is None:
        return {"name": row.name, "n": row.n, "refused": row.note}
    s = row.surface
    return {"name": row.name, "n": row.n, "a": row.a, "b": row.b, "alpha": s.alpha, "beta": s.beta, "E": s.E,
            "shift": row.shift, "note": row.note}


def _claim(v: Verdict) -> dict:
    return {"source": v.claim.source, "quantity": v.claim.quantity, "claimed": v.claim.value, "claimed_se": v.claim.se or None,
            "note": v.claim.note, "estimate": _estimate(v.estimate), "p_value": v.p_value, "p_holm": v.adjusted, "test": v.test,
            "verdict": v.verdict}


def _difference(d: Difference) -> dict:
    return {"quantity": d.quantity, "first": d.first, "second": d.second, "difference": _estimate(d.estimate),
            "p_value": d.p_value, "paired": bool(d.paired), "zero_inside": 0 in d.estimate}


def _prediction(C: float, o: OptimumEstimate | None, isoflop: IsoflopFit | None) -> dict:
    """By approach 3, null where it was refused, and by approach 2."""
    by_surface = dict.fromkeys(("params", "samples", "loss", "inside")) if o is None else {
        "params": _estimate(o.N), "samples": _estimate(o.D), "loss": _estimate(o.L), "inside": bool(o.inside)}
    by_minima = None if isoflop is None else {"params": _estimate(isoflop.params(C)), "samples": _estimate(isoflop.samples(C))}
    return {"flops": C, **by_surface, "approach2": by_minima}


def _repeated(fit: RepeatedFit) -> dict:
    return {name: _estimate(e) for name, e in fit.estimates.items()} | {
        "half_worth_epochs": _estimate(fit.half), "scatter": fit.scatter, "scatter_if_fresh": fit.fresh_scatter, "n": fit.n,
        "repeated": fit.repeated, "most_epochs": fit.most}


def _choices(fit: ChoiceLaws) -> dict:
    return {"N": fit.N, "D": fit.D, "runs": fit.runs, "left_out": fit.left_out, "cells": fit.cells, "scatter": fit.scatter,
            "base": "cubic in log N and log D" if fit.smooth else "a level for each (N, D)",
            "laws": [{"choice": law.name, **{name: e and _estimate(e) for name, e in (
                ("N_exponent", law.of_N), ("D_exponent", law.of_D), ("C_exponent", law.of_C), ("best", law.middle))},
                "curvature": law.curvature, "bracketed": law.bracketed} for law in fit.laws]}


def _learning_rate(fit: LearningRateFit) -> dict:
    rates = fit.rates
    return {"exponent": _estimate(fit.exponent), "coefficient": fit.coefficient, "rule": fit.rule,
            "trials": rates.trials, "choice": fit.choice, "against": fit.against,
            "widths": [{"width": w, "lr": lr, "bracketed": bool(b)}
                       for w, lr, b in zip(rates.width, rates.lr, rates.bracketed, strict=True)]}


def _doubt(d: Doubt, key) -> dict:
    return {"code": d.code, "text": d.text, "group": None if key is None else dict(key)}
