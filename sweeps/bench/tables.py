"""How the figures are shown: a table a section, its targets below."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """A figure beside what it should be."""

    what: str
    value: float
    bound: float
    unit: str
    at_least: bool   # or at most

    def line(self) -> str:
        reached = self.value >= self.bound if self.at_least else self.value <= self.bound
        return (f"{'reached' if reached else 'MISSED '}  {self.what}: {self.value:.3g} {self.unit} "
                f"({'at least' if self.at_least else 'at most'} {self.bound:g})")


@dataclass(frozen=True)
class Section:
    """What one benchmark found."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()


def show(section: Section, console: Console) -> None:
    table = Table(title=section.title, title_justify="left", title_style="bold")
    for number, column in enumerate(section.columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
    for target in section.targets:
        console.print(target.line(), markup=False)
    for note in section.notes:
        console.print(note, style="dim", markup=False)
    console.print()


def machine() -> str:
    """What the figures hold for, and how busy it was."""
    about = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in about.read_text().splitlines()
              if line.startswith("model name")] if about.exists() else []
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray"))
    return (f"{os.cpu_count()} cores, {models[0] if models else platform.processor()}; Python {platform.python_version()}, "
            f"{versions}; load average {os.getloadavg()[0]:.1f} at the start")
