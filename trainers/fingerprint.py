"""What code and what data made a row, in a few hexadecimal digits: rows of two fingerprints never share a table."""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

DIGITS = 12


def fingerprint(data_digest: str, code_digest: str) -> str:
    """Of digests of the data and of the code."""
    return hashlib.sha256(f"{data_digest} {code_digest}".encode()).hexdigest()[:DIGITS]


def data_digest(data: object) -> str:
    """Of arrays, text and numbers, in tuples, lists, dicts and dataclasses; of its `digest`, where the data has one.

    Of anything else only the type counts: give data of your own classes a `digest`.
    """
    if isinstance(told := getattr(data, "digest", None), str):
        return told
    digest = hashlib.sha256()
    _add(digest, data)
    return digest.hexdigest()


def _add(digest, data: object) -> None:
    """Each part by its type, its shape and its bytes, so that no two of them run into one another."""
    if hasattr(data, "detach") and hasattr(data, "numpy"):   # a torch tensor, without importing torch
        data = data.detach().cpu().numpy()
    digest.update(f"<{type(data).__name__}".encode())
    if hasattr(data, "tobytes") and hasattr(data, "dtype"):
        digest.update(f" {data.dtype} {data.shape} ".encode() + data.tobytes())
    elif isinstance(data, (bytes, bytearray)):
        digest.update(data)
    elif isinstance(data, (str, int, float, bool, type(None))):
        digest.update(repr(data).encode())
    elif is_dataclass(data) and not isinstance(data, type):
        for f in fields(data):
            _add(digest, getattr(data, f.name))
    elif isinstance(data, Mapping):
        for key, value in data.items():
            _add(digest, key)
            _add(digest, value)
    elif isinstance(data, (tuple, list)):
        for part in data:
            _add(digest, part)
    digest.update(b">")


def script_digest(texts: Iterable[bytes]) -> str:
    """Of a user's files as they are shipped: their syntax trees, in order. A comment, a docstring or white space changes nothing."""
    return _digest(texts, imports=True)


def code_digest(files: Iterable[Path]) -> str:
    """Of our own files, whose imports say where our modules lie: one may move without barring the tables that it made."""
    return _digest((file.read_bytes() for file in files), imports=False)


def _digest(texts: Iterable[bytes], *, imports: bool) -> str:
    digest = hashlib.sha256()
    for text in texts:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            for name in ("body", "orelse", "finalbody"):
                body = getattr(node, name, None)
                if isinstance(body, list):
                    setattr(node, name, [part for part in body if not (_is_text(part) or not imports and _is_import(part))])
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Import, ast.ImportFrom))


def _is_text(statement: ast.stmt) -> bool:
    """A text alone, as docstrings are: it computes nothing."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
