"""What the analysis says when it cannot estimate, and what it says beside a doubtful estimate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class Refusal(ValueError):
    """The data do not determine what was asked; the message says why in one line."""


class TooFewPoints(Refusal):
    """Fewer points, sizes or budgets than the law has parameters."""


class NotIdentified(Refusal):
    """Points enough, but they vary in too few directions to tell the parameters apart."""


class NoMinimum(Refusal):
    """An isoFLOP curve, or a table of them, whose minimum the sampled sizes don't bracket."""


class NoFrontier(Refusal):
    """The curves of neighbouring sizes don't cross inside the table."""


@dataclass(frozen=True)
class Doubt:
    """A doubt about a result that was returned all the same."""

    code: str   # machine-readable and stable, e.g. E_not_identified
    text: str   # one line for people


def attempt(name: str, refused: dict[str, str], compute: Callable):
    """The result, or None with the reason noted: what can't be estimated never stops the rest."""
    try:
        return compute()
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as why:
        refused[name] = str(why) or type(why).__name__
        return None
