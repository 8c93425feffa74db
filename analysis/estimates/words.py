"""Numbers in words: the same digits on the terminal, in the report and in the captions of figures."""

import math

import numpy as np

from analysis.estimates.estimate import Estimate


def shown(e: Estimate | None) -> str:
    """0.482 [0.471, 0.495]: as many digits as the interval can carry."""
    if e is None:
        return "-"
    return f"{number(e.value, e)} [{number(e.low, e)}, {number(e.high, e)}]"


def number(x: float, e: Estimate) -> str:
    """x to two digits of its estimate's interval."""
    if not math.isfinite(x):
        return "-" if math.isnan(x) else f"{x:g}"
    width = e.high - e.low
    if abs(e.value) >= 1e4 or 0 < max(abs(e.value), width) < 1e-3 or not (math.isfinite(width) and width > 0):
        return f"{x:.3g}"
    digits = int(np.clip(math.ceil(-math.log10(width)) + 1, 0, 4))
    return f"{round(x, digits) + 0.0:.{digits}f}"   # no minus before nothing


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def big(e: Estimate) -> str:
    """A size or an amount with its interval, three digits each."""
    return f"{e.value:.3g} [{e.low:.3g}, {e.high:.3g}]"
