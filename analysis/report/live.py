"""Figures that answer in the page: a study's numbers as JSON, and the script that draws them with Plotly.

Nothing is fetched: the library is packed into the page. Where it isn't installed, and in print, the same figures are pictures.
"""

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from analysis.approaches.isoflop import IsoflopFit
from analysis.estimates.words import shown
from analysis.fitted import GroupFit, Study
from analysis.table.runs import short_names

MOST_RUNS = 2_000      # of a group that a browser still draws at once
PLACES = 121           # of compute at which N*, D*, L* are told; the page goes straight, in logs, from one to the next
BEYOND = (0.1, 1e3)    # times the table's cheapest and dearest compute: how far the slider goes
DIGITS = 5             # of a number in the page


def plotly_source() -> bytes | None:
    """The library's script, or None where it isn't installed."""
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return path.read_bytes() if path.is_file() else None


def live_scripts(study: Study, library: bytes) -> str:
    """What goes at the end of the page."""
    packed = base64.b64encode(gzip.compress(library, 6, mtime=0)).decode("ascii")
    # no name of the table can end the script that it stands in
    numbers = json.dumps(_finite(live_document(study)), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    code = Path(__file__).with_name("live.js").read_text(encoding="utf-8")
    return (f'<script type="application/json" id="study">{numbers}</script>\n'
            f'<script type="text/plain" id="library">{packed}</script>\n<script>\n{code}</script>')


def live_document(study: Study) -> dict:
    """All that the page's figures draw."""
    names = short_names([g.group for g in study.groups])
    return {"groups": [_group(name, g) for name, g in zip(names, study.groups, strict=True)],
            "budgets": list(study.request.budgets)}


def _group(name: str, g: GroupFit) -> dict:
    runs = g.seen.take(np.arange(len(g.seen))[::math.ceil(len(g.seen) / MOST_RUNS)])
    laws = _laws(g)
    C = np.geomspace(runs.C.min() * BEYOND[0], runs.C.max() * BEYOND[1], PLACES)
    envelope = g.approaches.envelope
    return {
        "name": name, "count": len(g.group.runs), "runs": {k: getattr(runs, k) for k in ("N", "D", "C", "L", "seed")},
        "reach": [runs.C.min(), runs.C.max()],
        "laws": [{"name": law_name, "a": shown(law.a), "b": shown(law.b), "inside": [law.range.low, law.range.high],
                  "residual": np.log(runs.L / surface.loss(runs.N, runs.D)), "best": _band(law.frontier_band(C))}
                 for law_name, (law, surface) in laws.items()],
        "minima": None if g.approaches.isoflop is None else _minima(g.approaches.isoflop, C),
        "takeovers": None if envelope is None else {
            "a": shown(envelope.a), "b": shown(envelope.b), **{k: getattr(envelope.points, k) for k in "CNDL"}}}


def _laws(g: GroupFit) -> Mapping[str, tuple]:
    """Name -> the fit, and the surface that residuals are counted from; the quoted one first."""
    law = g.approaches.law
    if law is None:
        return {}
    fits = {"saturating law": law.saturating, "generalised law": law.generalised, "additive law": law.additive}
    return {f"{law.name}, quoted": (law, law.quoted.surface)} | {
        name: (fit, fit.surface) for name, fit in fits.items() if fit is not None}


def _band(band) -> dict:
    return {"C": band.C} | {k + end: getattr(band, k + end) for k in "NDL" for end in ("", "_low", "_high")}


def _minima(fit: IsoflopFit, C: np.ndarray) -> dict:
    """Approach 2: its points, its curves, and its lines with intervals (which say nothing of the loss)."""
    lines = {k: [of(c) for c in C] for k, of in (("N", fit.params), ("D", fit.samples))}
    return {
        "a": shown(fit.a), "b": shown(fit.b), **{k: [getattr(m, k) for m in fit.minima] for k in "CNDL"},
        "best": {"C": C} | {k + end: [getattr(e, field) for e in estimates] for k, estimates in lines.items()
                            for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))},
        "curves": [{"C": m.C, "N": m.points.N, "L": m.points.L, "line_N": m.line.N, "line_L": m.line.L} for m in fit.minima]}


def _finite(value):
    """Plain JSON: arrays as lists, numbers to DIGITS, null for what is no number."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Iterable):
        return [_finite(v) for v in value]
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None
