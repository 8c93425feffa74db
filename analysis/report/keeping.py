"""A fit kept in fit.json, and read again: laws, draws of the bootstrap, cost law, ranges.

Of each group under "kept": {"law", "other", "path"}. A law is {"surface", "cost", "draws", "cost_draws", "N", "D", "C", "n", "cells",
"label", "cut", "level"}; draws are columns by name, every digit kept, so that what is predicted later is what fit.py printed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from analysis.approaches.cost import CostLaw
from analysis.approaches.kept import KeptGroup, KeptLaw, kept_law
from analysis.approaches.optimal_path import OptimalPath
from analysis.approaches.surface import Surface

PARAMETERS = ("E", "A", "B", "alpha", "beta", "g", "c", "top")   # the last of some laws only
COST = ("k", "p")
ERRORS = ("N", "D", "a", "b")      # of an isoFLOP path: heights, slopes
PACKAGES = ("scaling-law-lab", "numpy", "scipy")
MOST_BYTES = 500_000_000           # of a file: a fit with 100,000 draws and a dozen groups


class NoFit(ValueError):
    """A file that holds no fit to predict from; the one-line message says why."""


def provenance(sources: Sequence[str], command: str) -> dict:
    """By which command, from which bytes and with which libraries a fit was made."""
    return {"command": command, "sha256": {source: _digest(Path(source)) for source in sources if Path(source).is_file()},
            "versions": {name: _version(name) for name in PACKAGES}}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str | None:
    """None where it runs from a checkout that was not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def kept_document(law, path: OptimalPath | None) -> dict:
    """Of one group: its LawChoice, or None, and approach 2's path, or None."""
    return {"law": law and _law(kept_law(law.quoted)), "other": law and law.other and _law(kept_law(law.other)),
            "path": path and _path(path)}


def _law(law: KeptLaw) -> dict:
    s, names = law.surface, PARAMETERS[:law.draws.shape[1]]
    return {"surface": {name: float(getattr(s, name)) for name in names},
            "cost": {"k": law.cost.k, "p": law.cost.p},
            "draws": _columns(names, law.draws), "cost_draws": _columns(COST, law.cost_draws),
            **{letter: getattr(law, letter).tolist() for letter in "NDC"},
            "n": law.n, "cells": law.cells, "label": law.label, "cut": law.cut, "level": law.level}


def _path(path: OptimalPath) -> dict:
    return {"N_line": list(path.N_line), "D_line": list(path.D_line), "errors": _columns(ERRORS, path.errors), "middle": path.middle,
            "cut": path.cut, "reached": list(path.reached), "method": path.method, "n": path.n, "level": path.level}


def _columns(names, draws: np.ndarray) -> dict:
    return {name: column.tolist() for name, column in zip(names, draws.T, strict=True)}


def read_fit(path: Path) -> tuple[KeptGroup, ...]:
    """Every group of a fit.json, or of the folder that holds it. Raises NoFit."""
    path = path / "fit.json" if path.is_dir() else path
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NoFit(f"{path}: larger than {MOST_BYTES:,} bytes: no fit.json of ours")
        document = json.loads(path.read_text())
    except OSError as why:
        raise NoFit(f"{path}: {why.strerror or why}") from None
    except (ValueError, RecursionError):
        raise NoFit(f"{path}: no JSON: give the fit.json that analysis/fit.py wrote") from None
    if not isinstance(document, dict) or not isinstance(document.get("groups"), list):
        raise NoFit(f"{path}: no fit of analysis/fit.py (it has no groups)")
    if document.get("kind") == "returns":
        raise NoFit(f"{path}: a fit of returns keeps nothing to predict from: give --predict-flops to analysis/fit.py")
    try:
        groups = tuple(_group_of(said) for said in document["groups"])
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise NoFit(f"{path}: what was kept to predict from is missing or damaged ({why}): run analysis/fit.py again") from None
    if not any(g.law or g.path for g in groups):
        raise NoFit(f"{path}: no law was estimated, so there is nothing to predict from")
    return groups


def _group_of(said: Mapping) -> KeptGroup:
    kept = said["kept"]
    return KeptGroup(dict(said["key"]), kept["law"] and _law_of(kept["law"]), kept["other"] and _law_of(kept["other"]),
                     kept["path"] and _path_of(kept["path"]))


def _law_of(said: Mapping) -> KeptLaw:
    return KeptLaw(Surface(**{name: float(said["surface"][name]) for name in PARAMETERS[:len(said["draws"])]}), CostLaw(*(float(said["cost"][c]) for c in COST)),
                   _stack(said["draws"]), _stack(said["cost_draws"]), *(np.array(said[letter], float) for letter in "NDC"),
                   int(said["n"]), int(said["cells"]), str(said["label"]), float(said["cut"]), float(said["level"]))


def _path_of(said: Mapping) -> OptimalPath:
    return OptimalPath(tuple(map(float, said["N_line"])), tuple(map(float, said["D_line"])), _stack(said["errors"]), float(said["middle"]),
                       float(said["cut"]), tuple(map(float, said["reached"])), str(said["method"]), int(said["n"]), float(said["level"]))


def _stack(columns: Mapping) -> np.ndarray:
    """(R, k); a draw that was no number comes back as none."""
    made = np.array(list(columns.values()), float).T
    if made.ndim != 2 or not made.size:
        raise ValueError("draws of unequal length, or none")
    return made
