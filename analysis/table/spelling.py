"""Numbers as people write them: 2.5M, 1,234,567, 1.234,5, 6.9 x 10^9, 7B tokens, 85 %.

Only text that names no plain number is looked at: what a program wrote is never reinterpreted,
unless the file's decimal sign is a comma.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

SPACES = "[\u00a0\u2007\u2009\u202f]"   # fixed and thin
MINUS = "[\u2212\u2012\u2013]"            # typographic
MARKS = "['\u2019_ ]"                      # between thousands
GROUPED = rf"^[+-]?\d{{1,3}}({MARKS}\d{{3}})+([.,]\d+)?\b"
SUFFIXES = {
    "": 1.0, "k": 1e3, "thousand": 1e3, "tsd": 1e3, "m": 1e6, "mio": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "g": 1e9,
    "billion": 1e9, "mrd": 1e9,
    "t": 1e12, "tn": 1e12, "trillion": 1e12, "%": 0.01, "pf-days": 86_400e15, "pf-day": 86_400e15, "pflop/s-days": 86_400e15,
    "petaflop/s-days": 86_400e15, "petaflops-days": 86_400e15, "pflops-days": 86_400e15}
FLOPS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24,
         "kilo": 1e3, "mega": 1e6, "giga": 1e9, "tera": 1e12, "peta": 1e15, "exa": 1e18, "zetta": 1e21, "yotta": 1e24}
UNITS = "tokens?|params?|parameters?|images?|samples?|examples?|nats?"   # said behind a number, and no multiple of it
FORM = (r"^(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(?:(?:x|\*|×|·)\s*10\s*(?:\^|\*\*)\s*(?P<power>[+-]?\d{1,3}))?"
        rf"\s*(?:(?P<flops>[a-z]*)flops?|(?P<suffix>[a-z/%-]*?)\.?\s*(?:{UNITS})?)$")
# Of a decimal comma, of a decimal point, and of a comma that may be either.
COMMA = r"^[+-]?(0|\d{4,}|\d{1,3}(\.\d{3})+),\d+\D*$|^[+-]?\d+,(\d{1,2}|\d{4,})([eE][+-]?\d+)?\D*$|^[+-]?\d{1,3}(\.\d{3}){2,}\D*$"
POINT = (r"^[+-]?(0|\d{4,}|\d{1,3}(,\d{3})+)?\.\d+([eE].*)?\D*$"
         r"|^[+-]?\d+\.(\d{1,2}|\d{4,})([eE].*)?\D*$|^[+-]?\d{1,3}(,\d{3}){2,}\D*$")
EITHER = r"^[+-]?[1-9]\d{0,2},\d{3}\D*$"


def may_have_comma(text: pa.ChunkedArray) -> bool:
    """Whether some cell has a comma, or points, between digits as thousands or fractions have them."""
    return any(pc.any(_matching(_trimmed(text), form)).as_py() for form in (COMMA, EITHER))


def decimal_of(texts: Sequence[pa.ChunkedArray]) -> tuple[str, str]:
    """The decimal sign of columns of text, and a cell that leaves it open ("" where it is sure).

    A comma where some cell has it as a decimal sign and none has a point so.
    """
    texts = [_trimmed(text) for text in texts]
    comma, point = (any(pc.any(_matching(t, form)).as_py() for t in texts) for form in (COMMA, POINT))
    if comma != point:
        return ("," if comma else "."), ""
    open_cells = [] if comma else [found[0].as_py() for t in texts if len(found := t.filter(_matching(t, EITHER)))]
    return ".", open_cells[0] if open_cells else ""


def spelled(text: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """The number that each text names, null where it names none."""
    plain = pc.utf8_lower(_replaced(_replaced(_trimmed(text), MINUS, "-"), SPACES, " "))
    plain = pc.if_else(_matching(plain, GROUPED), _replaced(plain, MARKS, ""), plain)
    if decimal == ",":
        grouped = _matching(plain, r"^[+-]?\d{1,3}(\.\d{3})+(,\d+)?\D*$")
        plain = _replaced(pc.if_else(grouped, _replaced(plain, r"\.", ""), plain), ",", ".")
    else:
        grouped = _matching(plain, r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?(e[+-]?\d+)?\D*$")
        plain = pc.if_else(grouped, _replaced(plain, ",", ""), plain)
    parts = pc.extract_regex(plain, FORM)
    number, power, suffix, flops = (pc.struct_field(parts, name) for name in ("number", "power", "suffix", "flops"))
    scaled = pc.multiply(_cast(number), pc.power(10.0, _cast(pc.if_else(pc.equal(power, ""), "0", power))))
    return pc.multiply(pc.multiply(scaled, _factors(suffix, SUFFIXES)), _factors(flops, FLOPS))


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _matching(text: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.match_substring_regex(text, form), False)


def _replaced(text: pa.ChunkedArray, form: str, by: str) -> pa.ChunkedArray:
    return pc.replace_substring_regex(text, form, by)


def _cast(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return text.cast(pa.float64())


def _factors(words: pa.ChunkedArray, known: dict[str, float]) -> pa.ChunkedArray:
    """What a word behind the number multiplies it by; null for an unknown one."""
    factors = pa.array([*known.values(), None], pa.float64())
    return factors.take(pc.fill_null(pc.index_in(words, pa.array(list(known))), len(known)))
