"""From what a user names to a Task: one of the lab's own, a function in a file, or a Task in a file."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainers.function import FunctionError, FunctionTask
from trainers.script import Script, ScriptError, script_of
from trainers.task import Task

HOME = Path(__file__).resolve().parent
DEFAULT_NAMES = ("TASK", "train")   # looked for in a file whose user names nothing in it


def own_names() -> list[str]:
    """Of the lab's own tasks: the packages here with a task in them."""
    return sorted(file.parent.name for file in HOME.glob("*/task.py"))


def task_of(named: str | Callable | Task, *, axes: Sequence[str] = ()) -> Task:
    """The Task that a name stands for: `mnist`, `my_model.py:train`, `my_package.models:train`, or the thing itself.

    `axes`: of a function, the parameters that are on the grid. Raises ScriptError, FunctionError or
    ColumnError, one line, where there is none.
    """
    if isinstance(named, Task):
        return named
    if not isinstance(named, str):
        return FunctionTask(named, axes=axes)
    if named in own_names():
        return importlib.import_module(f"trainers.{named}.task").TASK
    file, colon, name = named.rpartition(":") if ":" in named else (named, "", "")
    script = script_of(_file_of(file, named))
    module = _loaded(script)
    found = _found_in(module, name, Path(file).name)
    if isinstance(found, type) and issubclass(found, Task):
        found = found()
    if isinstance(found, Task):
        found.shipped = (script, name or DEFAULT_NAMES[0])
        return found
    return FunctionTask(found, axes=axes)


def _file_of(text: str, named: str) -> Path:
    """The file that is named, or that a dotted name would import."""
    path = Path(text).expanduser()
    if path.suffix == ".py" or path.exists():
        return path
    if all(part.isidentifier() for part in text.split(".")) and ":" in named:
        here = Path(*text.split("."))
        for candidate in (here.with_suffix(".py"), here / "__init__.py"):
            if candidate.is_file():
                return candidate
        try:
            spec = importlib.util.find_spec(text)
        except ImportError:
            spec = None
        if spec and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin)
    near = difflib.get_close_matches(named, own_names(), 1)
    raise ScriptError(f"there is no task {named!r}{f' (did you mean {near[0]}?)' if near else ''}: give {', '.join(own_names())}, "
                      "or a function of yours, as in my_model.py:train")


def _loaded(script: Script) -> object:
    try:
        return script.load()
    except Exception as error:  # a user's module may raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        raise ScriptError(f"{script.module}.py can't be imported: {type(error).__name__}: {reason}") from error


def _found_in(module: object, name: str, file: str) -> object:
    if not name:
        for name in DEFAULT_NAMES:
            if hasattr(module, name):
                return getattr(module, name)
        raise ScriptError(f"{file} has neither {' nor '.join(DEFAULT_NAMES)}: say which function, as in {file}:my_function")
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            offered = [n for n, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__]
            raise ScriptError(f"{file} has no {name}{_offer(name, offered)}")
        found = getattr(found, part)
    if not callable(found) and not isinstance(found, Task):
        raise FunctionError(f"{file}:{name} is {type(found).__name__}, neither a function nor a Task")
    return found


def _offer(name: str, offered: Iterable[str]) -> str:
    offered = list(offered)
    if not offered:
        return ", and no function at all"
    near = difflib.get_close_matches(name, offered, 1)
    return f": did you mean {near[0]}?" if near else f": its functions are {', '.join(offered[:8])}"
