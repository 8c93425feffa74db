"""What code and what data made a row, in a few hexadecimal digits: rows of two fingerprints never share a table."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

DIGITS = 12


def fingerprint(data_digest: str, code_digest: str) -> str:
    """Of digests of the data and of the code."""
    return hashlib.sha256(f"{data_digest} {code_digest}".encode()).hexdigest()[:DIGITS]


def code_digest(files: Iterable[Path]) -> str:
    """Of the files' syntax trees, in order.

    A comment, a docstring, white space or an import's place changes nothing: a module may move.
    """
    digest = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            for name in ("body", "orelse", "finalbody"):
                body = getattr(node, name, None)
                if isinstance(body, list):
                    setattr(node, name, [part for part in body if not _silent(part)])
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def _silent(statement: ast.stmt) -> bool:
    """A statement that computes nothing: an import, or a text alone, as docstrings are."""
    return isinstance(statement, (ast.Import, ast.ImportFrom)) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str))
