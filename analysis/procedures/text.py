"""A schedule study's way in from Parquet, and out as text and JSON."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import TooFewPoints
from analysis.procedures.fits import ONE_BATCH, REFERENCE, PairedDifference, ProtocolFit, ScheduleFit
from analysis.procedures.paired import OBJECTIVE, Points
from analysis.table.exclusions import CLASSES, DIVERGED

COLUMN = {"protocol": "protocol", "width": "width", "budget": "fraction", "seed": "seed", "N": "params", "D": "samples",
          "C": "flops", "L": "val_loss", "spent": "spent_flops"}


def read_points(path: str) -> tuple[Points, float]:
    """All rows, and the loss from which one counts as dead: that of the whole analysis, 0.95 ln(classes).

    Raises ValueError, one line, for anything that is no table of one data set with our columns.
    """
    try:
        table = pq.read_table(path, use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as why:
        raise ValueError(f"{path}: not a Parquet file that can be read ({(str(why).splitlines() or ['?'])[0][:160]})") from why
    missing = [name for name in (*COLUMN.values(), "dataset", "dropout") if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: give a table of sweeps/schedule_study.py")
    if not table.num_rows:
        raise TooFewPoints(f"{path} has no rows yet")
    for name in ("dataset", "dropout"):
        if len(values := table[name].unique()) != 1:
            raise ValueError(f"{path} mixes {len(values)} values of {name}: one study has one")
    dataset = table["dataset"][0].as_py()
    if dataset not in CLASSES:
        raise ValueError(f"{path}: unknown data set {dataset!r}, so the loss of chance is unknown")
    columns = {letter: table[name].to_numpy() for letter, name in COLUMN.items()}
    for letter in "NDCL":
        columns[letter] = columns[letter].astype(float)
    return Points(**columns | {"protocol": columns["protocol"].astype(str)}), DIVERGED * math.log(CLASSES[dataset])


def terminal_text(study: ScheduleFit) -> str:
    """Tables for a person."""
    runs = len(study.common.of(REFERENCE))
    lines = [f"{len(study.points):,} points; {runs} (width, budget, seed) live under every protocol and are fitted",
             f"by {study.law}",
             "", f"{'protocol':22s} {'a':22s} {'alpha':20s} {'beta':20s} {'E':22s} {'a, approach 2':22s} {'FLOPs':>8s} {'x':>5s} "
             f"{'scatter':>7s} dead"]
    base = next(fit.spent for fit in study.fits if fit.protocol == REFERENCE)
    for fit in study.fits:
        law = fit.fit
        lines.append(f"{fit.protocol:22s} {law.a!s:22s} {law.alpha!s:20s} {law.beta!s:20s} {law.E!s:22s} "
                     f"{fit.isoflop_a or 'not bracketed'!s:22s} {fit.spent:8.2g} {fit.spent / base:5.2f} {fit.scatter:7.1%} "
                     f"{fit.dead:4d}")
    lines += [f"{name}: no fit: {why}" for name, why in study.refused.items()]
    for reference in (REFERENCE, ONE_BATCH):
        some = [d for d in study.differences if d.reference == reference and d.quantity in ("a", "loss")]
        if some:
            lines += ["", f"less {reference}" + ("" if reference == REFERENCE else ": the schedule alone")]
            lines += [_difference_line(d) for d in some]
    return "\n".join(lines)


def _difference_line(d: PairedDifference) -> str:
    e = d.estimate
    if d.quantity == "loss":   # a log ratio, told in percent
        return (f"  loss   {d.protocol:22s} {math.expm1(e.value):+8.1%} [{math.expm1(e.low):+.1%}, {math.expm1(e.high):+.1%}]")
    verdict = "no difference shown" if 0 in e else "differs"
    return (f"  {d.quantity:6s} {d.protocol:22s} {e.value:+8.3f} [{e.low:+.3f}, {e.high:+.3f}], p = {d.p_value:.2g} "
            f"({d.p_holm:.2g} of all), {verdict}; {d.detectable:.3f} could have been seen")


def schedule_json(study: ScheduleFit) -> str:
    """Strict JSON, keys in a fixed order; what is not finite is null."""
    document = {
        "version": 1, "level": study.level, "objective": str(OBJECTIVE), "law": study.law,
        "points": len(study.points), "common": len(study.common.of(REFERENCE)),
        "protocols": [_protocol(fit) for fit in study.fits],
        "differences": [{"quantity": d.quantity, "protocol": d.protocol, "reference": d.reference,
                         "estimate": estimate_json(d.estimate), "p_value": finite(d.p_value), "p_holm": finite(d.p_holm),
                         "detectable_with_80_percent_power": finite(d.detectable)} for d in study.differences],
        "refused": dict(study.refused)}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _protocol(fit: ProtocolFit) -> dict:
    C = np.geomspace(fit.fit.C.min(), fit.fit.C.max(), 9)
    band = fit.fit.frontier_band(C)
    return {"protocol": fit.protocol, "points": fit.points, "dead": fit.dead, "spent_flops": fit.spent,
            **{name: estimate_json(fit.fit.interval(name)) for name in fit.fit.names},
            "scatter": fit.scatter, "a_huber_delta_1e-3": finite(fit.a_delta_small),
            "a_approach2": None if fit.isoflop_a is None else estimate_json(fit.isoflop_a),
            "frontier": {name: [finite(v) for v in column] for name, column in vars(band).items()},
            "warnings": [{"code": doubt.code, "text": doubt.text} for doubt in fit.fit.warnings]}


def estimate_json(e: Estimate) -> dict:
    return {name: finite(getattr(e, name)) for name in ("value", "low", "high", "se")} | {"method": e.method, "n": e.n}


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
