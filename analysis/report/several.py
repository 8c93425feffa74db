"""Laws side by side, as text and as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from analysis.estimates.words import shown
from analysis.questions.several import SideBySide

QUANTITIES = ("a", "b", "alpha", "beta", "E", "gamma")


def several_text(made: SideBySide) -> str:
    """Aligned tables: laws, losses against losses, error rates against losses."""
    rows = [("N", "loss", "runs", "law", *QUANTITIES[:2], *QUANTITIES[2:5], "scatter")]
    rows += [(one.params, one.loss, f"{len(one.runs):,}", *(("refused: " + one.why, *[""] * 6) if one.law is None else (
        one.law.speaks, *(shown(one.law.estimate(q)) for q in QUANTITIES[:5]), f"{one.law.quoted.scatter:.1%}"))) for one in made.laws]
    blocks = ["\n".join(_aligned(rows))]
    if made.losses:
        rows = [("loss", "against", "cells", "exponent", "factor"), *(
            (x.other, x.one, str(x.n), *((shown(x.law.exponent), f"{x.law.coefficient:.3g}") if x.law else ("refused: " + x.why, "")))
            for x in made.losses)]
        blocks.append("Loss against loss, each above its own E\n" + "\n".join(_aligned(rows)))
    if made.metrics:
        rows = [("1 - metric", "against", "runs", "eps", "gamma", "scatter", "power", "its scatter"), *(
            (m.metric, m.loss, *((str(m.law.n), shown(m.law.eps), shown(m.law.gamma), f"{m.law.scatter:.1%}", shown(m.law.exponent),
                                  f"{m.law.power_scatter:.1%}") if m.law else ("", "refused: " + m.why, *[""] * 4))) for m in made.metrics)]
        blocks.append("Error against loss: eps - k exp(-gamma L), and c L^power\n" + "\n".join(_aligned(rows)))
    return "\n\n".join(blocks)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def several_json(made: SideBySide) -> dict:
    """Numbers that don't exist are null."""
    return _finite({
        "laws": [{"params": one.params, "loss": one.loss, "n": len(one.runs), "refused": one.why or None, **(
            {} if one.law is None else {"speaks": one.law.speaks, "scatter": one.law.quoted.scatter,
                                        **{q: asdict(one.law.estimate(q)) for q in QUANTITIES}})} for one in made.laws],
        "losses": [{"loss": x.other, "against": x.one, "n": x.n, "refused": x.why or None, "exponent": x.law and asdict(x.law.exponent),
                    "coefficient": x.law and x.law.coefficient} for x in made.losses],
        "metrics": [{"metric": m.metric, "against": m.loss, "refused": m.why or None, "law": m.law and {
            "eps": asdict(m.law.eps), "k": asdict(m.law.k), "gamma": asdict(m.law.gamma), "scatter": m.law.scatter, "n": m.law.n,
            "exponent": asdict(m.law.exponent), "coefficient": m.law.coefficient, "power_scatter": m.law.power_scatter}}
            for m in made.metrics]})


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
