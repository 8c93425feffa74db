"""Kaplan's laws of a table, a group at a time: L(N), L(D), L(C), the joint forms, the critical batch size; refusals by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.approaches.wild_bootstrap import reduce_to_cells
from analysis.critical_batch.critical import CriticalBatch, fit_critical_batch
from analysis.critical_batch.least_steps import StepsLaw, fit_least_steps
from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt, NotIdentified, attempt
from analysis.power_laws.direct import Direct, FloorAgreement, fit_direct, floors_agree
from analysis.power_laws.joint_forms import JointForms, joint_forms
from analysis.power_laws.limits import Limits, limit_laws
from analysis.questions.both_laws import fit_group
from analysis.questions.law_choice import LawChoice
from analysis.questions.nested import KAPLAN_CASE, nested_tests
from analysis.table.columns import named_as
from analysis.table.formats.sheet import Dialect
from analysis.table.runs import Runs, Table, read_table

RATES = ("lr", "learningrate", "peaklr", "maxlr", "peaklearningrate")


@dataclass(frozen=True, eq=False)
class KaplanLaws:
    """One group's; where something is None, or a variable is missing from `direct`, `refused` says why."""

    label: str
    runs: int                       # that the laws of the loss are fitted to
    law: LawChoice | None
    limits: Limits | None           # of the joint law that speaks
    direct: Mapping[str, Direct]    # N, D, C -> read off the runs
    floors: FloorAgreement | None
    forms: JointForms | None
    batch: CriticalBatch | None
    steps: StepsLaw | None          # L(N, S_min), where there is a critical batch size
    doubts: tuple[Doubt, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class KaplanStudy:
    """A table's groups."""

    sources: tuple[str, ...]
    groups: tuple[KaplanLaws, ...]
    doubts: tuple[Doubt, ...]
    level: float


def kaplan_study(sources: Sequence[str], *, flags: Mapping[str, str] | None = None, by: Sequence[str] | None = None,
                 max_loss: float | None = None, dialect: Dialect = Dialect(), best: bool = False, level: float = 0.95,
                 resamples: int = 1000, rng: int = 0, tell: Callable[[str], None] = lambda step: None) -> KaplanStudy:
    """Reads the files as analysis/fit.py does. Where most (N, D) hold several settings, or `best` says so, the laws of the loss
    are about each one's best; the critical batch size is about every run. Raises BadTable."""
    tell("reading")
    how = dict(flags=flags, by=by, max_loss=max_loss, dialect=dialect)
    every = read_table(sources, **how, best=False)
    table = read_table(sources, **how, best=True) if best or any(d.code == "several_settings" for d in every.doubts) else every
    groups = tuple(kaplan_laws(group.runs, table, label=group.label, every=whole.runs, level=level, resamples=resamples, rng=rng, tell=tell)
                   for group, whole in zip(table.groups, every.groups, strict=True))
    return KaplanStudy(table.sources, groups, table.doubts, level)


def kaplan_laws(runs: Runs, table: Table, *, label: str = "", every: Runs | None = None, level: float = 0.95, resamples: int = 1000,
                rng: int = 0, tell: Callable[[str], None] = lambda step: None) -> KaplanLaws:
    """every: runs at all settings, for the critical batch size, where the laws of the loss are about the best of them."""
    name = f"{label}: " if label else ""
    tell(name + "joint law")
    found = fit_group(runs, table, level=level, resamples=resamples, rng=rng)
    few, law, refused = found.few, found.law, found.refused
    tell(name + "one variable at a time")
    limits = law and attempt("limits of the joint law", refused, lambda: limit_laws(law))
    known = {} if law is None else dict(surface=law.quoted.surface, cost=law.quoted.cost, noise=law.quoted.scatter)
    cells = reduce_to_cells(few.N, few.D, few.L, few.C, weight=few.weight, cell=few.cell)
    direct = {variable: found for variable in "NDC" if (found := attempt(
        f"L({variable}) from the runs", refused, lambda variable=variable: fit_direct(variable, cells, level=level, **known)))}
    floors = floors_agree(direct["N"], direct["C"]) if {"N", "C"} <= set(direct) else None
    tell(name + "joint forms, critical batch size")
    p = np.nan
    if law is not None and law.generalised is not None:
        tests = attempt("test of equation 1.5", refused, lambda: nested_tests(law.generalised, [KAPLAN_CASE]))
        p = tests[0].p_value if tests else np.nan
    forms = law and attempt("joint forms", refused, lambda: joint_forms(law, p_kaplan=p, level=level, rng=rng))
    batch = attempt("critical batch size", refused, lambda: critical_batch_of(runs if every is None else every, level=level))
    least = batch and attempt("L(N, S_min)", refused, lambda: fit_least_steps(batch, level=level, resamples=resamples, rng=rng))
    doubts = (*(law.warnings if law else ()), *(batch.warnings if batch else ()))
    return KaplanLaws(label, len(runs), law, limits, direct, floors, forms, batch, least, doubts, refused)


def critical_batch_of(runs: Runs, *, level: float = 0.95) -> CriticalBatch:
    """By the table's columns of batch size and steps; of one of them alone, with D = batch x steps. Raises NotIdentified where it
    has neither, TooFewPoints and NotIdentified as fit_critical_batch does."""
    if runs.batch is None and runs.steps is None:
        raise NotIdentified("no column tells the batch size or the steps (name one with --batch-size or --steps)")
    steps = runs.D / runs.batch if runs.steps is None else runs.steps
    batch = np.exp(np.round(np.log(runs.D / steps), 2)) if runs.batch is None else runs.batch
    good = np.isfinite(steps) & (steps > 0) & np.isfinite(batch) & (batch > 0)
    if not good.any():
        raise NotIdentified("no run tells its batch size and steps")
    numbers = {name: v[good] for name, v in runs.extra.items() if v.dtype.kind in "fi"}
    setting = distinct(*(np.nan_to_num(v, nan=-1.0) for v in numbers.values())) if numbers else None
    rate = numbers.get(named_as(list(numbers), RATES) or "")
    return fit_critical_batch(runs.N[good], batch[good], steps[good], runs.D[good], runs.L[good], setting=setting, rate=rate,
                              level=level)
