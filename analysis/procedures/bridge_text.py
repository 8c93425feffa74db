"""A bridge's way in from Parquet, and out as text and JSON."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.estimates.refusal import TooFewPoints
from analysis.estimates.words import shown
from analysis.procedures.bridge import Bridge, Step, StepFit
from analysis.procedures.paired import Points
from analysis.procedures.text import estimate_json, finite

COLUMN = {"protocol": "protocol", "width": "width", "budget": "tokens", "seed": "seed", "D": "samples", "L": "val_loss",
          "spent": "spent_flops"}
# Porian et al. 2024, figure 1.
PUBLISHED = {"Kaplan's": .835, "head counted": .706, "warm-up by size": .602, "decay by budget": .571, "rate and batch tuned": .497}


def read_steps(paths: Sequence[str], steps: Sequence[Step]) -> dict[Step, Points]:
    """Each step's rows with its N and C, from tables that are stacked.

    Raises ValueError, one line, for anything that is no table of one data set with the steps' columns, TooFewPoints for a step
    without rows.
    """
    table = pa.concat_tables([_read(path) for path in paths], promote_options="permissive")
    wanted = [*COLUMN.values(), "flops", "dataset", *(name for step in steps for name in (step.params, *step.left_out))]
    if missing := sorted({name for name in wanted if name not in table.column_names}):
        raise ValueError(f"{', '.join(paths)}: no {', '.join(missing)}: give tables of `sweeps/grid.py language` with the "
                         "protocols of all steps")
    if len(names := table["dataset"].unique()) != 1:
        some = ", ".join(map(str, names.to_pylist()[:4]))
        raise ValueError(f"{', '.join(paths)}: {len(names)} data sets ({some}): a bridge has one")
    columns = {name: table[name].to_numpy() for name in dict.fromkeys(wanted) if name != "dataset"}
    return {step: _points(step, columns) for step in steps}


def _read(path: str) -> pa.Table:
    try:
        return pq.read_table(path, use_threads=False).replace_schema_metadata(None)
    except (pa.ArrowException, OSError, ValueError) as why:
        raise ValueError(f"{path}: not a Parquet file that can be read ({(str(why).splitlines() or ['?'])[0][:160]})") from None


def _points(step: Step, columns: Mapping[str, np.ndarray]) -> Points:
    mine = columns["protocol"] == step.protocol
    if not mine.any():
        have = ", ".join(sorted(set(columns["protocol"].tolist())))
        raise TooFewPoints(f"no rows of protocol {step.protocol} (step {step.name!r}): the tables have {have}")
    C = columns["flops"][mine].astype(float) - sum(columns[name][mine].astype(float) for name in step.left_out)
    named = {letter: columns[name][mine] for letter, name in COLUMN.items()}
    return Points(**{**named, "protocol": named["protocol"].astype(str), "N": columns[step.params][mine].astype(float), "C": C,
                     **{letter: named[letter].astype(float) for letter in ("D", "L")}})


def bridge_text(bridge: Bridge) -> str:
    """The finding in a sentence, then tables."""
    lines = [sentence(bridge), "", f"{bridge.runs} runs live at every step; approach 3 by {bridge.law}", "",
             f"{'a of':22s} {'approach 1':20s} {'approach 2':20s} {'approach 3':20s} {'scatter':>7s} Porian",
             *(_row(fit) for fit in bridge.steps)]
    if bridge.counts:
        lines += [f"{bridge.steps[-1].step.name}, by the count of N:", *(_row(fit) for fit in bridge.counts)]
    lines += ["", f"{'change of a':22s} {'approach 2':36s} approach 3"]
    lines += [_changes(bridge, step, before) for step, before in _pairs(bridge)]
    lines += [f"{fit.step.name}, approach {approach}: {why}" for fit in (*bridge.steps, *bridge.counts)
              for approach, why in fit.refused.items()]
    return "\n".join(lines)


def sentence(bridge: Bridge) -> str:
    """From where to where a goes, and what moves it."""
    approach = 2 if all(fit.isoflop for fit in bridge.steps) else 3
    told = [fit for fit in bridge.steps if fit.a[approach]]
    if len(told) < 2:
        return "No two steps have an exponent that can be told."
    whole = (told[0].step.name, told[-1].step.name)
    steps = [d for d in bridge.differences if d.approach == approach and (d.before, d.step) != whole]
    moved = [f"{d.step} ({d.estimate.value:+.2f})" for d in steps if d.p_holm < 1 - bridge.level]
    how = (f"what moves it, by paired differences after Holm: {', '.join(moved)}" if moved
           else "no single step moves it by more than chance")
    return (f"N* ~ C^a goes from a = {shown(told[0].a[approach])} ({told[0].step.name}) to {shown(told[-1].a[approach])} "
            f"({told[-1].step.name}), by approach {approach}; {how}.")


def _row(fit: StepFit) -> str:
    a = {approach: "refused" if e is None else shown(e) for approach, e in fit.a.items()}
    published = f"{PUBLISHED[fit.step.name]:.3f}" if fit.step.name in PUBLISHED else ""
    return f"{fit.step.name:22s} {a[1]:20s} {a[2]:20s} {a[3]:20s} {fit.scatter:7.1%} {published}".rstrip()


def _pairs(bridge: Bridge) -> list[tuple[str, str]]:
    """Names of what is compared, in order."""
    return list(dict.fromkeys((d.step, d.before) for d in bridge.differences))


def _changes(bridge: Bridge, step: str, before: str) -> str:
    told = {d.approach: f"{d.estimate.value:+.3f} [{d.estimate.low:+.3f}, {d.estimate.high:+.3f}] p {d.p_holm:.2g}"
            for d in bridge.differences if (d.step, d.before) == (step, before)}
    neighbours = [fit.step.name for fit in bridge.steps]
    name = step if neighbours.index(step) - neighbours.index(before) == 1 else "all steps together"
    return f"{name:22s} {told.get(2, 'refused'):36s} {told.get(3, 'refused')}"


def bridge_json(bridge: Bridge) -> dict:
    """All of it; what is not finite is None."""
    return {"version": 1, "level": bridge.level, "law": bridge.law, "runs": bridge.runs, "sentence": sentence(bridge),
            "steps": [_step(fit) for fit in bridge.steps], "counts": [_step(fit) for fit in bridge.counts],
            "differences": [{"step": d.step, "before": d.before, "approach": d.approach, "estimate": estimate_json(d.estimate),
                             "p_value": finite(d.p_value), "p_holm": finite(d.p_holm)} for d in bridge.differences]}


def _step(fit: StepFit) -> dict:
    return {"name": fit.step.name, "protocol": fit.step.protocol, "params": fit.step.params,
            "left_out_of_flops": list(fit.step.left_out), "published": PUBLISHED.get(fit.step.name),
            "a": {str(k): None if e is None else estimate_json(e) for k, e in fit.a.items()},
            "scatter": finite(fit.scatter), "refused": {str(k): why for k, why in fit.refused.items()}}
