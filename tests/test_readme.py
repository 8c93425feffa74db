"""The examples in the READMEs run: what a reader copies from one works, in the order in which it stands there.

An HTML comment above a fence says what becomes of it; a fence without one is not run.

    <!-- file: NAME -->       its text is the file NAME, in the folder of this README's examples; of the lab's own
                              packages, in a copy of the code, on which all later examples run
    <!-- run -->              commands, or a Python script, run there
    <!-- run; small: ARGS --> the same with ARGS behind each command: less of the same
    <!-- patch -->            a diff, applied to that copy
"""

import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from worlds.sweep_cases import Interrupted, attempt_at, real_cluster

import sweeps.lab
from trainers.task import Stopped
from trainers.lookup import task_of

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^<!-- (file|run|patch)(?::\s*(\S+))?(?:; small: (.*?))? -->\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = ("trainers", "analysis", "sweeps")
SWEEPS = ("sweeps.grid", "sweeps.search", "sweeps.mnist_grid", "sweeps.mnist_carbs", "sweeps.schedule_study")   # need a Ray


@dataclass(frozen=True)
class Example:
    """One marked fence."""

    action: str     # file, run or patch
    name: str       # of the file
    small: str      # further arguments
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [[*words, *shlex.split(self.small or "")] for line in lines if (words := shlex.split(line, comments=True))]


def examples(readme: str) -> list[Example]:
    return [Example(*(part or "" for part in found)) for found in FENCE.findall((ROOT / readme).read_text())]


def write_files(readme: str, folder: Path) -> None:
    for example in examples(readme):
        if example.action == "file":
            (folder / example.name).write_text(example.text)


class Reader:
    """Copies the examples of one README into a folder, and runs them there against a Ray that is up."""

    def __init__(self, folder: Path, address: str):
        self.folder, self.address, self.code = folder, address, ROOT

    def follow(self, example: Example) -> None:
        if example.action == "file":
            ours = example.name.partition("/")[0] in CODE
            ((self.copied_code() if ours else self.folder) / example.name).write_text(example.text)
        elif example.action == "patch":
            subprocess.run(["git", "apply", "-"], cwd=self.copied_code(), input=example.text, text=True, check=True,
                           env=os.environ | {"GIT_CEILING_DIRECTORIES": str(self.folder)})
        elif example.language == "python":
            (self.folder / "example.py").write_text(example.text)
            self.script(self.folder / "example.py")
        else:
            for words in example.commands():
                self.command(words)

    def copied_code(self) -> Path:
        if self.code == ROOT:
            self.code = self.folder / "code"
            for package in CODE:
                shutil.copytree(ROOT / package, self.code / package, ignore=shutil.ignore_patterns("__pycache__", "published"))
        return self.code

    def script(self, file: Path) -> None:
        if self.code == ROOT:
            runpy.run_path(str(file), run_name="__main__")
        else:
            self.python(str(file))

    def command(self, words: list[str]) -> None:
        """In this process, through the command's own main; on other code in one of its own, for this one has the modules."""
        assert words[0] == "python", f"not a command of the lab: {words}"
        module, rest = (words[2], words[3:]) if words[1] == "-m" else (words[1].removesuffix(".py").replace("/", "."), words[2:])
        if module in SWEEPS:
            rest = [*rest, "--address", self.address]
        if self.code == ROOT:
            assert importlib.import_module(module).main(rest) in (0, None), words
        else:
            self.python("-m", module, *rest)

    def python(self, *arguments: str) -> None:
        ended = subprocess.run([sys.executable, *arguments], cwd=self.folder, capture_output=True, text=True, check=False,
                               env=os.environ | {"PYTHONPATH": str(self.code)})
        assert ended.returncode == 0, f"{arguments}: {ended.stderr[-2000:]}"


@pytest.fixture(scope="module")
def address():
    """One Ray for all of them: a start costs seconds."""
    with real_cluster(num_cpus=2, object_store_memory=600 * 2**20) as cluster:
        yield cluster.address


@pytest.mark.parametrize("readme", [
    "README.md",
    "trainers/README.md",
    "cluster/README.md",
    pytest.param("sweeps/README.md", marks=pytest.mark.slow),
    pytest.param("analysis/README.md", marks=pytest.mark.slow),
    pytest.param("analysis/design/README.md", marks=pytest.mark.slow),
    pytest.param("analysis/procedures/README.md", marks=pytest.mark.slow),
    pytest.param("trainers/mnist/README.md", marks=pytest.mark.slow),
    pytest.param("trainers/language/README.md", marks=pytest.mark.slow),
])
def test_examples_run(readme, address, tmp_path, monkeypatch):
    """Catches a README that the code has left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sweeps.lab, "Machines", partial(sweeps.lab.Machines, address=address))   # what `sweep` would start
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "published").symlink_to(ROOT / "analysis" / "published")   # as from the root of the checkout
    reader = Reader(tmp_path, address)
    marked = examples(readme)
    assert marked, f"no example of {readme} is marked"
    for example in marked:
        reader.follow(example)
    for table in tmp_path.glob("*.parquet"):
        if not table.stem.endswith((".tuning", ".failures")):
            assert len(pd.read_parquet(table)) > 0


@pytest.mark.parametrize(("named", "cells"), [
    ("regression_saves.py", [{"width": 4, "samples": 250}]),
    ("regression_task.py", [{"width": 4, "samples": 250}, {"width": 4, "samples": 500}]),
])
def test_the_examples_that_save_go_on_to_the_same_rows(named, cells, tmp_path, monkeypatch):
    """Catches an example that forgets part of its state: its readers would copy that."""
    write_files("trainers/README.md", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    task = task_of(str(tmp_path / named), axes=("width", "samples"))
    cells = [task.cell(**settings) for settings in cells]
    data = task.place(task.load(), "cpu")

    def rows(attempt):
        return [row if isinstance(row, dict) else vars(row) for row in task.train(cells, data, attempt)]

    undisturbed = rows(attempt_at(task, cells))
    stopped = Interrupted(attempt_at(task, cells), after=2)
    with pytest.raises(Stopped):
        rows(stopped)
    resumed = rows(Interrupted(attempt_at(task, cells), stopped.state))
    assert [without_clock(row) for row in resumed] == [without_clock(row) for row in undisturbed]


def without_clock(row):
    return {name: value for name, value in row.items() if name != "wall_seconds"}


def test_the_task_example_gives_a_cell_the_row_that_it_has_in_company(tmp_path, monkeypatch):
    write_files("trainers/README.md", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    task = task_of(str(tmp_path / "regression_task.py"))
    data = task.load(examples=1000)
    cells = [task.cell(width=4, samples=samples) for samples in (250, 500, 1000)]
    [run] = task.runs(cells, most=1)
    together = [without_clock(vars(row)) for row in task.train(run, data, attempt_at(task, run))]
    alone = [without_clock(vars(row)) for cell in run for row in task.train([cell], data, attempt_at(task, [cell]))]
    assert together == alone


READMES = sorted(str(file.relative_to(ROOT)) for folder in (*CODE, "cluster") for file in (ROOT / folder).rglob("README.md"))
LINK, TEST = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)"), re.compile(r"\btests/[\w/]+(?:\.py)?")


def anchor(heading: str) -> str:
    """As code hosts make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("readme", READMES)
def test_what_a_readme_points_to_is_there(readme):
    """Catches a link, or a test that is named as evidence, which has moved."""
    file = ROOT / readme
    for path, name in LINK.findall(file.read_text()):
        target = (file.parent / path) if path else file
        assert target.exists(), f"{readme} links to {path}"
        if name:
            assert name in {anchor(line.lstrip("# ")) for line in target.read_text().splitlines() if line.startswith("#")}, name
    assert not [path for path in TEST.findall(file.read_text()) if not (ROOT / path).exists()]
