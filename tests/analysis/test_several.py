"""Several counts of N and several losses side by side: each is the law that made it, and losses follow each other as they were made to."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "analysis" / "side_by_side.py"), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def table(tmp_path) -> Path:
    """total = 2 thin^0.9, so that an exponent of total is that of thin over 0.9; pile = 1 + 0.5 (c4 - 1.7)^1.2; accuracy falls with c4."""
    random = np.random.default_rng(0)
    thin, D = (v.ravel() for v in np.meshgrid(1e6 * 3.0 ** np.arange(6), 1e8 * 3.0 ** np.arange(6), indexing="ij"))
    c4 = 1.7 + (40 / thin**0.34 + 300 / D**0.3) * np.exp(0.005 * random.standard_normal(len(D)))
    pile, right = 1 + 0.5 * (c4 - 1.7) ** 1.2, 1 - (0.9 - 1.2 * np.exp(-0.8 * c4))
    rows = zip(thin, 2 * thin**0.9, D, 6 * thin * D, c4, pile, right, strict=True)
    (tmp_path / "t.csv").write_text("\n".join(["thin,total,tokens,flops,c4,pile,right", *(",".join(f"{v:.8g}" for v in row) for row in rows)]))
    return tmp_path


def test_each_column_gives_its_own_law(table):
    done = run("t.csv", "--params", "thin", "total", "--loss", "c4", "pile", "--metric", "right", "--resamples", "60", "--json", "s.json", cwd=table)
    assert done.returncode == 0, done.stderr
    said = json.loads((table / "s.json").read_text(), parse_constant=pytest.fail)
    laws = {(one["params"], one["loss"]): one for one in said["laws"]}
    assert len(laws) == 4
    assert laws["thin", "c4"]["alpha"]["value"] == pytest.approx(0.34, abs=0.03)
    assert laws["total", "c4"]["alpha"]["value"] == pytest.approx(0.34 / 0.9, abs=0.04)
    assert laws["thin", "c4"]["E"]["low"] < 1.7 < laws["thin", "c4"]["E"]["high"]
    between, = said["losses"]
    assert (between["loss"], between["against"]) == ("pile", "c4") and between["exponent"]["value"] == pytest.approx(1.2, abs=0.15)
    assert {m["against"] for m in said["metrics"]} == {"c4", "pile"}
    assert next(m for m in said["metrics"] if m["against"] == "c4")["law"]["gamma"]["value"] == pytest.approx(0.8, rel=0.2)


@pytest.mark.parametrize("arguments", [("t.csv",), ("t.csv", "--params", "thin"), ("t.csv", "--params", "thin", "nothing"),
                                       ("missing.csv", "--loss", "c4", "pile"), ("t.csv", "--loss", "c4", "pile", "--resamples", "1")])
def test_a_wrong_command_is_told_and_ends_with_status_2(table, arguments):
    done = run(*arguments, cwd=table)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr and done.stderr.strip()
