"""The command as a user starts it: how soon its first cell is done, and what its processes hold."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sweeps.bench.tables import Section, Target

ROOT = Path(__file__).resolve().parents[2]
HELP_TARGET_S, FIRST_TARGET_S, MEMORY_TARGET_GB = 0.15, 12.0, 3.0  # issues 13 and 8
COMMANDS = ("sweeps/grid.py", "sweeps/search.py", "sweeps/merge.py", "sweeps/mnist_grid.py", "sweeps/mnist_carbs.py",
            "sweeps/schedule_study.py", "analysis/fit.py")
HELP_REPEATS = 5
LOOK_EVERY_S = 0.1

# The least that any sweep on Ray does before its first step.
BARE = """
import ray
ray.init(address="local", num_cpus={cpus}, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
@ray.remote
def first():
    import torch
    return float(torch.ones(1))
print(ray.get(first.remote()))
"""


@dataclass(frozen=True)
class Memory:
    """Of a process and all below it, bytes."""

    proportional: int   # PSS: what several processes share is counted once
    shared: int         # of it, in shared memory: Ray's object store
    processes: int


def private_bytes(pid: int) -> int:
    """RSS now, less what is shared: libraries' code, Ray's object store. Raises OSError where there is no /proc (Linux)."""
    _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def memory_below(pid: int) -> Memory:
    """Of the process and its descendants; one that ends meanwhile counts nothing."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()  # a command's name may hold spaces
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    waiting, proportional, shared, processes = [pid], 0, 0, 0
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        proportional += sizes.get("Pss", 0)
        shared += sizes.get("Pss_Shmem", 0)
        processes += 1
    return Memory(proportional, shared, processes)


def start_section(*, cpus: int) -> Section:
    helps = {command: _help(command) for command in COMMANDS}
    bare = _wall([sys.executable, "-c", BARE.format(cpus=cpus)])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "first.parquet"
        first = _until(_sweep(out, cpus), lambda pid: _size(Path(f"{out}.journal")) > 0)
        imported = _imports([str(ROOT / "analysis" / "fit.py"), str(out), "--out", str(Path(folder) / "report")])
    rows = [(f"{command} --help", f"{own:.2f}", f"{empty:.3f} (an empty Python; {own / empty:.1f}x)") for command, (own, empty) in helps.items()]
    rows.append(("mnist_grid.py to the first finished cell's row", f"{first:.1f}", f"{bare:.1f} (Ray, and torch in one worker)"))
    heavy = sorted(imported & {"torch", "ray"})
    rows.append(("fit.py imports of torch and ray", ", ".join(heavy) or "neither", "neither"))
    return Section(
        title="3  Start-up", columns=("what", "s", "limit"), rows=tuple(rows),
        targets=(Target("--help, the slowest", max(own for own, _ in helps.values()), HELP_TARGET_S, "s", False),
                 Target("command to first row", first, FIRST_TARGET_S, "s", False),
                 Target("of torch and ray, imported by fit.py", len(heavy), 0, "", False)),
        notes=(f"--help: medians of {HELP_REPEATS}, by turns with an empty Python",
               "the first row comes a whole cell after the first step: an upper bound"))


def memory_section(*, cpus: int, width: float, data_bytes: int) -> Section:
    peaks: list[Memory] = []

    def look(pid: int) -> bool:
        peaks.append(memory_below(pid))
        return False

    with tempfile.TemporaryDirectory() as folder:
        _until([*_sweep(Path(folder) / "memory.parquet", cpus), "--widths", "0.25", str(width)], look)
    peak = max(peaks, key=lambda memory: memory.proportional)
    shared = max(memory.shared for memory in peaks)
    return Section(
        title=f"5  Memory of a sweep on {cpus} cores, widths to {width:.3g}",
        columns=("what", "MB", "limit"),
        rows=((f"peak of all {peak.processes} processes together", f"{peak.proportional / 1e6:,.0f}", f"{1e3 * MEMORY_TARGET_GB:,.0f}"),
              ("shared memory (Ray's object store)", f"{shared / 1e6:,.0f}", f"{data_bytes / 1e6:,.0f} (the data set, once)")),
        targets=(Target("peak", peak.proportional / 1e9, MEMORY_TARGET_GB, "GB", False),
                 Target("copies of the data set in shared memory", shared / data_bytes, 1.1, "", False)),
        notes=(f"proportional set size, so that shared pages count once; {len(peaks)} looks",))


def _sweep(out: Path, cpus: int) -> list[str]:
    return [sys.executable, str(ROOT / "sweeps" / "mnist_grid.py"), "--preset", "smoke", "--lr", "0.01",
            "--cpus", str(cpus), "--out", str(out)]


def _until(command: list[str], seen: Callable[[int], bool]) -> float:
    """Seconds until `seen` of the process; the command is left to end by itself.

    Raises RuntimeError, with what it said, where it fails.
    """
    began = time.perf_counter()
    after = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            if not after and seen(process.pid):
                after = time.perf_counter() - began
            time.sleep(LOOK_EVERY_S)
        said = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return after or time.perf_counter() - began


def _wall(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def _help(command: str) -> tuple[float, float]:
    """Seconds of its --help, and of a Python that does nothing."""
    pairs = [(_wall([sys.executable, str(ROOT / command), "--help"]), _wall([sys.executable, "-c", "pass"])) for _ in range(HELP_REPEATS)]
    own, empty = map(median, zip(*pairs))
    return own, empty


def _imports(arguments: list[str]) -> set[str]:
    """Top-level packages that a script imports; it may refuse its input, after importing what it needs."""
    told = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=False).stderr
    return {line.rsplit("|", 1)[1].strip().partition(".")[0] for line in told.splitlines() if line.startswith("import time:")}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
