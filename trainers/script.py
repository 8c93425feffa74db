"""A user's file and what it imports beside it: found without running it, hashed, and carried to any node."""

import ast
import hashlib
import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from trainers.fingerprint import script_digest

OURS = ("trainers", "analysis", "sweeps")
HOME = Path(__file__).resolve().parents[1]   # the folder that holds them


class ScriptError(ValueError):
    """A file that can't be used; the one-line message says why and how to mend it."""


@dataclass(frozen=True)
class Script:
    """Python files below one folder, by the names under which they import one another."""

    root: str                    # folder that was at the head of sys.path where the user runs it
    module: str                  # dotted name of the user's file
    texts: dict[str, bytes]      # of it and of what it imports beside it, by path relative to root
    imports: tuple[str, ...]     # names of other packages that these files import anywhere

    @property
    def digest(self) -> str:
        """Of the code that is shipped, whatever becomes of the files meanwhile."""
        return script_digest(self.texts[file] for file in sorted(self.texts))

    def load(self) -> ModuleType:
        """The module: from its own folder where that holds the same files, else from a copy of them on this machine.

        Raises whatever the module raises while it loads.
        """
        ours = {_module_of(file): text for file, text in self.texts.items()}
        if any(_text_of(sys.modules.get(name)) not in (None, text) for name, text in ours.items()):
            for name in ours.keys() & sys.modules.keys():   # another sweep's files of the same names
                del sys.modules[name]
        root = self.root if self._lies_in(self.root) else self._unpacked()
        sys.path[:] = [root, *(entry for entry in sys.path if entry != root)]   # as Python does for a script
        return importlib.import_module(self.module)

    def _lies_in(self, root: str) -> bool:
        try:
            return all(Path(root, file).read_bytes() == text for file, text in self.texts.items())
        except OSError:
            return False

    def _unpacked(self) -> str:
        """A folder of this machine with the files; made whole or not at all, and used again by the next worker."""
        name = hashlib.sha256(repr(sorted(self.texts.items())).encode()).hexdigest()[:24]
        folder = Path(tempfile.gettempdir(), f"scaling-law-lab-{name}")
        if not self._lies_in(str(folder)):
            made = Path(tempfile.mkdtemp())
            for file, text in self.texts.items():
                (made / file).parent.mkdir(parents=True, exist_ok=True)
                (made / file).write_bytes(text)
            try:
                made.rename(folder)
            except OSError:   # another worker was faster, or somebody else's folder has the name
                if not self._lies_in(str(folder)):
                    return str(made)
                shutil.rmtree(made)
        return str(folder)


def _module_of(file: str) -> str:
    """parts.py -> parts, deep/__init__.py -> deep."""
    parts = Path(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _text_of(module: ModuleType | None) -> bytes | None:
    """Of the file that a loaded module comes from, as it is now; None for no module, or one without a file."""
    file = getattr(module, "__file__", None)
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return b""   # its file is gone: no one can say what it held


def script_of(path: Path) -> Script:
    """Of the Python file at path. Raises ScriptError where it is none, or where its name stands for another module."""
    path = path.resolve()
    if not path.is_file():
        raise ScriptError(f"{path} does not exist: give a Python file and a function in it, as in my_model.py:train")
    if path.suffix != ".py":
        raise ScriptError(f"{path.name} is no Python file: give one, as in my_model.py:train")
    root = path.parent
    while (root / "__init__.py").exists():
        root = root.parent
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    files, imports = _followed(root, path)
    for file in files:
        _refuse_shadow(file, root)
    return Script(root=str(root), module=module, imports=imports, texts={file: Path(root, file).read_bytes() for file in files})


def _refuse_shadow(file: str, root: Path) -> None:
    top = Path(file).parts[0].removesuffix(".py")
    if not top.isidentifier():
        raise ScriptError(f"{file} can't be imported: a module's name is made of letters, digits and underscores; rename the file")
    if top in OURS or top in sys.stdlib_module_names:
        owner = "of this lab" if top in OURS else "of Python's library"
        raise ScriptError(f"{file} has the name of a package {owner}, which would hide it or be hidden: rename the file")


def _followed(root: Path, first: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files below root that the first imports, directly or not; and the names of all else that they import."""
    found, elsewhere, waiting = {first}, set(), [first]
    while waiting:
        file = waiting.pop()
        for name in _imported(file, root):
            beside = _files_of(root, name)
            if not beside:
                elsewhere.add(name.partition(".")[0])
            new = beside - found
            found |= new
            waiting += sorted(new)
    return (tuple(sorted(str(file.relative_to(root)) for file in found)), tuple(sorted(elsewhere)))


def _imported(file: Path, root: Path) -> Iterator[str]:
    """Dotted names that the file imports anywhere. Raises ScriptError for a syntax error."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ScriptError(f"{file.name}{line}: {getattr(error, 'msg', error)}: Python can't read it") from None
    package = file.relative_to(root).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _files_of(root: Path, name: str) -> set[Path]:
    """Files below root that an import of this dotted name runs: packages on the way, and the module."""
    if root == HOME and name.partition(".")[0] in OURS:
        return set()   # the lab itself, beside which the user's file lies
    found, place = set(), root
    for part in name.split("."):
        module, package = place / f"{part}.py", place / part / "__init__.py"
        if package.is_file():
            found.add(package)
            place = place / part
        elif module.is_file():
            return found | {module}
        elif (place / part).is_dir() and any((place / part).glob("*.py")):   # a namespace package
            place = place / part
        else:
            break   # an attribute of what was found, or no file of ours
    return found
