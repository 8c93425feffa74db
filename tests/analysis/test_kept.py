"""A fit kept and read again: what it predicts is what the fit predicted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from worlds.simulated_grids import grid

from analysis.approaches.kept import KeptGroup, kept_law
from analysis.approaches.parametric import fit_generalised, fit_parametric
from analysis.report.keeping import NoFit, read_fit

ROOT = Path(__file__).resolve().parents[2]
PREDICT, FIT = ROOT / "analysis" / "predict.py", ROOT / "analysis" / "fit.py"


def run(script: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A table of two groups, of which the second follows another law, fitted from a shell and kept under a name."""
    folder = tmp_path_factory.mktemp("kept")
    rows = ["who,N,D,C,loss"]
    for who, world in (("one", grid(noise=0.02, rng=1, seeds=1)), ("two", grid(noise=0.02, g=2.0, alpha=0.5, rng=2, seeds=1))):
        rows += [f"{who},{n},{d},{c},{loss!r}" for n, d, c, loss in zip(world.N, world.D, world.C, map(float, world.L), strict=True)]
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    done = run(FIT, "t.csv", "--by", "who", "--resamples", "100", "--predict-flops", "1e9", "--predict-flops", "1e13",
               "--save", "kept.json", "--full", "--no-figures", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_prediction_is_what_the_fit_said(fitted):
    """Every digit of fit.json's own predictions, by both approaches, at a budget inside and at one far outside."""
    folder, _ = fitted
    said = json.loads((folder / "kept.json").read_text())
    done = run(PREDICT, "kept.json", "--flops", "1e9", "1e13", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    best = {(b["group"], b["by"], b["C"]): b for b in json.loads(done.stdout)["optima"]}
    for group in said["groups"]:
        label = f"who {group['key']['who']}"
        for prediction in group["predictions"]:
            one = best[label, "approach 3", prediction["flops"]]
            for name, letter in (("params", "N"), ("samples", "D"), ("loss", "L")):
                for end in ("value", "low", "high", "se"):
                    assert_allclose(one[letter][end], prediction[name][end], rtol=1e-12)
                assert one[letter]["method"] == prediction[name]["method"] and one["inside"] == prediction["inside"]
            if prediction["approach2"]:
                two = best[label, "approach 2", prediction["flops"]]
                assert_allclose(two["N"]["high"], prediction["approach2"]["params"]["high"], rtol=1e-12)


def test_what_is_printed_is_what_the_fit_printed(fitted):
    folder, done = fitted
    rows = [line.split() for line in run(PREDICT, "t-fit", "--flops", "1e9", "1e13", cwd=folder).stdout.splitlines()]
    predicted = [row for row in rows if row[:1] == ["who"] and row[4:5] == ["3"]]   # who one 1e+09 approach 3 N* [low, high] ...
    printed = done.stdout.split()
    assert len(predicted) == 4 and all(word in printed for row in predicted for word in row[5:11])


def test_the_kept_name_is_the_reports_own_file(fitted):
    folder, _ = fitted
    assert (folder / "kept.json").read_bytes() == (folder / "t-fit" / "fit.json").read_bytes()
    import hashlib
    made = json.loads((folder / "kept.json").read_text())["provenance"]
    assert made["sha256"]["t.csv"] == hashlib.sha256((folder / "t.csv").read_bytes()).hexdigest()


@pytest.mark.parametrize("fit", [fit_parametric, fit_generalised])
def test_a_kept_law_predicts_loss_and_optimum_as_the_fit_does(fit):
    world = grid(noise=0.03, rng=3)
    made = fit(world.N, world.D, world.L, C=world.C, cell=world.cell, resamples=60)
    kept = kept_law(made)
    assert kept.optimum(1e10) == made.optimum(1e10)
    assert kept.loss(1e4, 3e4) == made.loss(1e4, 3e4)


def test_where_two_laws_speak_the_interval_spans_both():
    world = grid(noise=0.05, rng=4, seeds=1)
    laws = [kept_law(fit(world.N, world.D, world.L, C=world.C, resamples=60)) for fit in (fit_parametric, fit_generalised)]
    both = KeptGroup({}, *laws, None)
    for C in (1e8, 1e12):
        one, joined = laws[0].optimum(C), both.optimum(C)
        for letter in "NDL":
            ends = [getattr(law.optimum(C), letter) for law in laws]
            got = getattr(joined, letter)
            assert got.value == getattr(one, letter).value
            assert (got.low, got.high) == (min(e.low for e in ends), max(e.high for e in ends))


def test_prediction_needs_none_of_the_libraries_that_take_long_to_load(fitted):
    """Time itself is not asserted: what takes it is."""
    code = ("import runpy, sys; sys.argv = sys.argv[1:]\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit: pass\n"
            "print('LOADED', *sorted(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code, str(PREDICT), "kept.json", "--flops", "1e9"], capture_output=True, text=True,
                          check=True, cwd=fitted[0])
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert not loaded & {"torch", "ray", "pandas", "matplotlib", "pyarrow", "scipy.stats", "scipy.optimize"}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"groups": [{"key": {}}]}', '{"groups": 3}', "not json", "[" * 100_000,
                                     '{"groups": [{"key": {}, "kept": {"law": null, "other": null, "path": null}}]}',
                                     '{"groups": [{"key": {}, "kept": {"law": {"surface": {}}, "other": null, "path": null}}]}'])
def test_what_is_no_fit_is_one_line_and_status_2(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(NoFit):
        read_fit(tmp_path / "bad.json")


@pytest.mark.parametrize("arguments", [("missing.json", "--flops", "1e9"), (".", "--flops", "1e9"), ("kept.json",),
                                       ("kept.json", "--flops", "-1"), ("kept.json", "--flops", "x"),
                                       ("kept.json", "--params", "1", "2", "--samples", "1", "2", "3"),
                                       ("kept.json", "--flops", "1e9", "--group", "nobody")])
def test_a_wrong_command_is_told_and_ends_with_status_2(fitted, arguments):
    done = run(PREDICT, *arguments, cwd=fitted[0])
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr and done.stderr.strip()


def test_damaged_draws_are_refused(fitted, tmp_path):
    document = json.loads((fitted[0] / "kept.json").read_text())
    document["groups"][0]["kept"]["law"]["draws"]["E"].pop()
    (tmp_path / "fit.json").write_text(json.dumps(document))
    with pytest.raises(NoFit, match="damaged"):
        read_fit(tmp_path)
    assert np.isfinite(read_fit(fitted[0] / "kept.json")[0].law.draws).all()
