"""Dimensions from a command line: `lr=log:3e-3`, `dropout=logit:0.1`, `width=pow2:64:16:1024`.

    log:CENTER[:LOW[:HIGH]]      a positive number by decades; with kind int a whole one
    linear:CENTER[:LOW[:HIGH]]   as it is: a basic unit is half the range, or the center's size
    logit:CENTER[:LOW[:HIGH]]    a share between 0 and 1 by its odds
    pow2:CENTER[:LOW[:HIGH]]     a whole power of two
    list:A,B,C[:CENTER]          numbers by their order, words and yes or no as unordered options

Either bound may be left empty (`log:1e5::1e9`). The kind is that of the function's annotation.
"""

from sweeps.carbs.dimensions import Choice, Dimension, Integer, Linear, Listed, Log, Logit, PowerOfTwo

FORMS = ("log:CENTER[:LOW[:HIGH]], linear:CENTER[:LOW[:HIGH]], logit:CENTER[:LOW[:HIGH]], "
         "pow2:CENTER[:LOW[:HIGH]] or list:A,B,C[:CENTER]")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def dimension(text: str, kind: type = float) -> Dimension:
    """The dimension that `text` describes, of values of `kind` (int, float, str or bool).

    Raises ValueError in one line, beginning with the text, where it can't be read or makes no dimension.
    """
    if kind not in (int, float, str, bool):
        raise ValueError(f"{text!r}: can search int, float, str and bool, not {getattr(kind, '__name__', kind)}")
    word, colon, rest = text.strip().partition(":")
    if not colon or word not in ("log", "linear", "logit", "pow2", "list"):
        raise ValueError(f"{text!r}: expected {FORMS}")
    try:
        if word == "list":
            return _listed(rest, kind)
        if kind in (str, bool):
            raise ValueError(f"{word} is for numbers, and this is a {kind.__name__}: write list:A,B,C")
        return _scalar(word, rest, kind)
    except ValueError as refusal:
        raise ValueError(f"{text!r}: {refusal}") from None


def _value(part: str, kind: type) -> int | float | str | bool:
    part = part.strip()
    if kind is str:
        return part
    if kind is bool:
        if part.lower() not in _BOOLEANS:
            raise ValueError(f"{part!r} is neither true nor false")
        return _BOOLEANS[part.lower()]
    try:
        number = float(part)
        if kind is int and number == int(number):
            return int(part) if part.lstrip("+-").isdigit() else int(number)
    except (ValueError, OverflowError):
        raise ValueError(f"{part!r} is not a number") from None
    if kind is int:
        raise ValueError(f"{part} is not a whole number, and this hyperparameter is an int")
    return number


def _scalar(word: str, rest: str, kind: type) -> Dimension:
    parts = rest.split(":")
    if len(parts) > 3:
        raise ValueError(f"at most CENTER:LOW:HIGH after {word}, got {len(parts)} values")
    if not parts[0].strip():
        raise ValueError("needs a center, the value to start from")
    center, low, high = (_value(part, int if word == "pow2" else kind) if part.strip() else None
                         for part in parts + [""] * (3 - len(parts)))
    if word == "log":
        return Integer(center, low, high) if kind is int else Log(center, low, high)
    if word == "pow2":
        return PowerOfTwo(center, low, high)
    if word == "logit":
        if kind is int:
            raise ValueError("logit is for shares between 0 and 1, and this hyperparameter is an int")
        return Logit(center, low, high)
    scale = _linear_scale(center, low, high)
    return Integer(center, low, high, log=False, scale=max(scale, 1.0)) if kind is int else Linear(center, low, high, scale)


def _linear_scale(center: float, low: float | None, high: float | None) -> float:
    """A step that matters: half the range where it is known, else the center's own size."""
    if low is not None and high is not None and high > low:
        return (high - low) / 2.0
    return abs(float(center)) or 1.0


def _listed(rest: str, kind: type) -> Dimension:
    values, colon, center = rest.partition(":")
    options = tuple(_value(part, kind) for part in values.split(","))
    if "" in options:
        raise ValueError("an option of the list is empty")
    start = _value(center, kind) if colon else options[0]
    if start not in options:
        raise ValueError(f"center {center.strip()} is none of {values}")
    return Choice(options, start) if kind in (str, bool) else Listed(options, start)
