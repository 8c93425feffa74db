"""A Task made of a plain function, which knows nothing of us.

    def train(depth: int, tokens: int, lr: float = 3e-4, seed: int = 0) -> dict:
        ...
        return {"params": n, "samples": tokens, "flops": 6 * n * tokens, "val_loss": loss}

Its parameters are what identifies a run: those on the grid are axes, one called seed is a repeat, all others are
choices. What it returns, number by number, are the measured columns; the first run settles which.
"""

import hashlib
import inspect
import random
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, make_dataclass
from functools import cached_property
from pathlib import Path

from trainers.columns import ARROW, Column, ColumnError, axis, choice, clock, columns, extended, identity_of, measured, repeat, typed
from trainers.fingerprint import fingerprint
from trainers.script import Script, script_of
from trainers.task import Attempt, Task

# What a column is called that is a letter of the law: the first name that the run returns, else the first among its settings.
LETTERS = {
    "N": ("params", "n_params", "num_params", "parameters"),
    "D": ("samples", "tokens", "examples"),
    "C": ("flops",),
    "L": ("val_loss", "loss"),
    "accuracy": ("val_accuracy", "accuracy"),
}
UNITS = {"N": "parameters", "D": "examples", "C": "FLOP", "L": "nat", "accuracy": "1"}
MEANINGS = {"N": "model size", "D": "training examples or tokens", "C": "of training", "L": "held-out loss", "accuracy": "share right"}
GPU_PACKAGES = {"torch", "jax", "tensorflow", "cupy", "lightning", "keras", "transformers"}   # a function that imports none needs no GPU
SEED, ATTEMPT = "seed", "attempt"   # parameters with a meaning: a repetition, and what a run that saves may ask of the sweep
OWN = {   # columns of ours behind those of the function
    "wall_seconds": (float, clock("s", "wall time of the run, as its worker saw it")),
    "device": (str, measured("", "cpu, or the GPU's name")),
    "fingerprint": (str, measured("", "of the function's code and of what it imports beside it")),
}


class FunctionError(ColumnError):
    """A function that can't be swept, or a value that no table can hold; the one-line message says how to mend it."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a user's function that identifies a run."""

    name: str
    kind: type          # float, int, str or bool
    default: object     # MISSING where every run must be told


class FunctionTask(Task):
    """A run calls the function once, for one cell."""

    def __init__(self, function: Callable, *, axes: Sequence[str] = ()):
        """`axes`: the parameters that are on the grid; the others are choices, and one called seed a repeat.

        Raises FunctionError where a parameter is no column, ScriptError where the function's file can't be used.
        """
        self.name = f"{Path(inspect.getfile(function)).stem if _file_of(function) else 'interactive'}:{function.__qualname__}"
        self._function = function
        self.script = _script(function)
        self._by_name = function.__module__ != "__main__" and "<" not in function.__qualname__ and self.script is not None
        self.saves = ATTEMPT in inspect.signature(function).parameters
        self.uses_gpu = self.script is None or bool(GPU_PACKAGES & set(self.script.imports))
        self.cell = _cell_type(parameters_of(function), axes)
        self.row = None

    @property
    def imports(self) -> tuple[str, ...]:
        """Packages that the function's files import."""
        return self.script.imports if self.script else ()

    def __getstate__(self) -> dict:
        """Workers import a function from its file; one that was typed in travels itself."""
        return vars(self) | {"row": None, "_function": (self._function.__qualname__ if self._by_name else self._function)}

    @cached_property
    def _called(self) -> Callable:
        """On a worker: the function."""
        if not isinstance(self._function, str):
            return self._function
        found = self.script.load()
        for name in self._function.split("."):
            found = getattr(found, name)
        return found

    def place(self, data: None, device: str) -> None:
        """Import the function, and the generators that it may draw from: a worker's first run is like its later ones."""
        for package in ("numpy", "torch"):
            if package in self.imports:
                __import__(package)
        self._called

    def train(self, cells: Sequence[object], data: None, attempt: Attempt) -> Iterator[object]:
        cell, = cells
        _seed_global_generators(identity_of(cell), attempt.device)
        returned = self._called(**asdict(cell), **({ATTEMPT: attempt} if self.saves else {}))
        yield attempt.row(cell, **plain(returned, cell))

    def fingerprint(self, data: None) -> str:
        if self.script:
            return fingerprint("", self.script.digest)
        return fingerprint("", hashlib.sha256(_code_of(self._function)).hexdigest())

    def row_type(self, values: Mapping[str, object]) -> type:
        """The cell's columns and these. The first call settles them; raises FunctionError for others later."""
        fixed = {*self.cell.__dataclass_fields__, *OWN}
        found = {name: str if isinstance(value, str) else float for name, value in values.items() if name not in fixed}
        if self.row is None:
            self.row = _row_type(self.cell, found)
        wanted = {c.name: c.kind for c in columns(self.row) if c.name not in fixed}
        if found != wanted:
            differ = min(name for name, _ in set(found.items()) ^ set(wanted.items()))
            raise FunctionError(f"the function returned {', '.join(sorted(found)) or 'nothing'}, and in the table it returned "
                                f"{', '.join(sorted(wanted))} (see {differ}): return the same keys, with values of the same kind, each time")
        return self.row


def parameters_of(function: Callable) -> tuple[Parameter, ...]:
    """Those that identify a run. What has a default and can be no column is left at that default.

    Raises FunctionError for one that a run needs and that has no usable annotation.
    """
    if not callable(function) or inspect.isclass(function):
        raise FunctionError(f"{function!r} is no function: give one that trains a model and returns a dict")
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:  # an annotation may be any expression
        raise FunctionError(f"the annotations of {function.__name__} can't be read ({error}): write int, float, str or bool") from None
    made = []
    for p in inspect.signature(function).parameters.values():
        if p.name == ATTEMPT or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        kind = hints.get(p.name, type(p.default))
        if kind not in ARROW or p.kind is p.POSITIONAL_ONLY:
            if p.default is p.empty:
                shown = "has no annotation" if p.name not in hints else f"is annotated {getattr(kind, '__name__', kind)}"
                raise FunctionError(f"{function.__name__}: its parameter {p.name} {shown}: write {p.name}: int (or float, str, bool)")
            continue
        default = MISSING if p.default is p.empty else typed(p.name, kind, p.default)
        made.append(Parameter(p.name, kind, default))
    if taken := sorted({p.name for p in made} & set(OWN)):
        raise FunctionError(f"{function.__name__}: {taken[0]} is a column of the lab's own: give that parameter another name")
    return tuple(made)


def plain(returned: object, cell: object) -> dict[str, float | str]:
    """What a function returned, as the values of measured columns.

    Raises FunctionError for anything but numbers and text by name, for no loss, and for a name that is a setting's.
    """
    if not isinstance(returned, Mapping):
        raise FunctionError(f"the function returned {type(returned).__name__}: return a dict of numbers, with val_loss or loss")
    values = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not name:
            raise FunctionError(f"the function returned a key {name!r}: keys are names of columns")
        if name in OWN:
            raise FunctionError(f"the function returned {name}, which is a column of the lab's own: give it another name")
        value = _scalar(name, value)
        if name in cell.__dataclass_fields__:
            if value != getattr(cell, name):
                raise FunctionError(f"the function returned {name} {value}, which is a setting of the run "
                                    f"({getattr(cell, name)}): give what was measured another name")
            continue
        if isinstance(value, str) and any(name in known for known in LETTERS.values()):
            raise FunctionError(f"the function returned {name} as text ({value!r}): return a number")
        values[name] = value
    if not any(name in values for name in LETTERS["L"]):
        raise FunctionError(f"the function returned no loss (it returned {', '.join(values) or 'nothing'}): "
                            "name the held-out loss val_loss or loss")
    return values


def _scalar(name: str, value: object) -> float | str:
    """A number or text. NumPy's and torch's own scalars are numbers, arrays of one element, too."""
    if isinstance(value, str):
        return str(value)
    shape = getattr(value, "shape", ())
    if len(tuple(shape)) or not hasattr(value, "item") and not isinstance(value, (int, float)):
        of = f"an array of shape {tuple(shape)}" if len(tuple(shape)) else type(value).__name__
        raise FunctionError(f"the function returned {name} as {of}: return one number")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (OverflowError, TypeError, ValueError) as error:
        raise FunctionError(f"the function returned {name}, which is no number that a table can hold ({error})") from None


def _cell_type(parameters: Sequence[Parameter], axes: Sequence[str]) -> type:
    def declared(p: Parameter) -> Field:
        unit = "" if p.kind is str else "1"
        if p.name == SEED and p.name not in axes:
            return repeat(unit, "of the run", default=p.default)
        return (axis if p.name in axes else choice)(unit, "of the function", default=p.default)

    return make_dataclass("Cell", [(p.name, p.kind, declared(p)) for p in parameters], frozen=True, order=True, kw_only=True)


def _row_type(cell: type, found: Mapping[str, type]) -> type:
    """The cell with what a run returned, and the letters of the law where the names tell."""
    settings = {c.name: c for c in columns(cell)}
    letter_of = {}
    for letter, known in LETTERS.items():
        name = next((n for n in known if n in found), next((n for n in known if n in settings and letter in "NDC"), None))
        if name:
            letter_of[name] = letter

    def described(name: str, kind: type) -> tuple[type, Field]:
        letter = letter_of.get(name, "")
        return kind, measured(UNITS.get(letter, "1" if kind is float else ""), MEANINGS.get(letter, "returned by the function"), law=letter)

    lettered = {name: (c.kind, _again(c, letter_of[name])) for name, c in settings.items() if name in letter_of}
    return extended(cell, {**lettered, **{name: described(name, kind) for name, kind in found.items()}, **OWN})


def _again(c: Column, letter: str) -> Field:
    """A setting that is a letter of the law as well."""
    return (axis if c.role == "axis" else choice)(UNITS[letter], MEANINGS[letter], default=c.default, law=letter)


def _file_of(function: Callable) -> Path | None:
    try:
        file = Path(inspect.getfile(function))
    except TypeError:
        return None
    return file if file.is_file() and file.suffix == ".py" else None


def _script(function: Callable) -> Script | None:
    """The function's file and what it imports beside it; None for one that was typed in."""
    file = _file_of(function)
    return script_of(file) if file else None


def _code_of(function: Callable) -> bytes:
    """What tells a function without a file from another: its text where that is known, else its bytecode."""
    try:
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        code = function.__code__
        return code.co_code + repr((code.co_consts, code.co_names)).encode()


def _seed_global_generators(identity: tuple, device: str) -> None:
    """A cell's row is the cell's alone, also where its function draws from generators that it didn't seed."""
    number = int.from_bytes(hashlib.sha256(repr(tuple(identity)).encode()).digest()[:4], "big")
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        # torch.manual_seed notes down a stack trace for every kind of device that isn't there: of an empty cell, most of the time.
        (torch.manual_seed if device == "cuda" else torch.default_generator.manual_seed)(number)
