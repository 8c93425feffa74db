"""How a command ends: its status, whatever comes in between."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sweeps.running.exit import SweepError, exit_status

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("raised, status, said", [
    (None, 0, ""), (ValueError("no such width"), 2, "error: no such width\n"), (SweepError("Ray is gone"), 2, "error: Ray is gone\n"),
    (KeyboardInterrupt(), 130, "stopped; every finished cell is kept, and the same command goes on from here\n")])
def test_a_refusal_is_one_line_and_a_status(raised, status, said, capsys):
    def command() -> int:
        if raised:
            raise raised
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert exit_status(command) == status
    assert capsys.readouterr().err == said
    assert signal.getsignal(signal.SIGTERM) is before


def ended(script: str, tmp_path: Path, *, number: int) -> tuple[int, str]:
    """Status and words of a script that is sent the signal once it has left the file `ready`."""
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)   # a job in the background would ignore it
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "ready")], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=heard)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(60), process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_runs_stops_it_in_one_line(tmp_path, number):
    script = ("import sys, time, pathlib\nfrom sweeps.running.exit import exit_status, leave\n"
              "def command():\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(50)\n    return 0\nleave(exit_status(command))")
    status, said = ended(script, tmp_path, number=number)
    assert status == 130 and said.startswith("stopped;") and said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_shuts_down_changes_nothing(tmp_path, number):
    script = ("import atexit, sys, time, pathlib\nfrom sweeps.running.exit import exit_status, leave\n"
              "def slow():\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(1)\natexit.register(slow)\nleave(exit_status(lambda: 1))")
    assert ended(script, tmp_path, number=number) == (1, "")
