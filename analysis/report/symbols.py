"""Formulas of plain text set as in a paper: powers raised, Greek as Greek, 1.2e+09 as a power of ten."""

import re

from markupsafe import Markup, escape

GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "eps": "ε"}
_POWER = re.compile(r"\^(?:\(([^()]*)\)|(-?(?:\d[\d.]*(?:e[+-]?\d+)?(?: \[[^\]]*\])?|[A-Za-z]+\b)))")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d(?:\.\d+)?)e([+-]?)0*(\d+)(?!\w)")
_GREEK = re.compile(rf"\b({'|'.join(GREEK)})(?=\b|_)")
_BASE = re.compile(r"\b([A-Zkc])(\*?)(?=<sup>)|\b([NDCL])(?=\*)")
_LAW = re.compile(r"\bE(?= [=+] |, | \d)|(?<=\+ )K(?= )")
_ALONE = re.compile(r"^([abgEpNDCL])(?=$|, | of )")   # a cell that names a quantity


def typeset(text: object) -> Markup:
    """The text, escaped, with its formulas as HTML. Words of a table that look like formulas are set as such too."""
    html = str(escape(str(text)))
    html = _SCIENTIFIC.sub(lambda m: f"{m[1]}×10<sup>{'−' if m[2] == '-' else ''}{m[3]}</sup>", html)
    html = _POWER.sub(lambda m: f"<sup>{m[1] or m[2]}</sup>", html)
    html = _BASE.sub(lambda m: f"<i>{m[1] or m[3]}</i>{m[2] or ''}", html)
    html = _GREEK.sub(lambda m: f"<i>{GREEK[m[1]]}</i>", html)
    html = _LAW.sub(lambda m: f"<i>{m[0]}</i>", html)
    return Markup(_ALONE.sub(r"<i>\1</i>", html))
