"""fit.py as a stranger runs it: from a shell, on good tables and on bad ones."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from worlds.simulated_grids import published
from worlds.simulated_study import ALPHA as TRUE_ALPHA
from worlds.simulated_study import BETA, COST_EXPONENT, simulated_study, simulated_trials

ROOT = Path(__file__).resolve().parents[2]
FIT = ROOT / "analysis" / "fit.py"
SURE = "N,D,C,loss\n" + "\n".join(f"{n},{d},{6 * n * d},{2 + 300 * n ** -0.3 + 500 * d ** -0.3}"
                                 for n in (1e7, 3e7, 1e8, 3e8) for d in (1e9, 3e9, 1e10, 3e10)) + "\n"


def fit(*arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(FIT), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """One run on a study of ours with its tuning trials beside it."""
    folder = tmp_path_factory.mktemp("study")
    pq.write_table(simulated_study(widths=6, fractions=6, seeds=2), folder / "results.parquet")
    pq.write_table(simulated_trials(widths=6), folder / "results.tuning.parquet")
    return fit("results.parquet", "--predict-flops", "1e10", "--resamples", "100", cwd=folder), folder / "results-fit"


LOADED = """
import runpy, sys; sys.argv = sys.argv[1:]
try: runpy.run_path(sys.argv[0], run_name='fit')['main']()
except SystemExit: pass
print('LOADED', *sorted({m.split('.')[0] for m in sys.modules}))
"""


def loaded(*arguments: object, cwd: Path) -> set[str]:
    """Modules that the command has loaded when it ends."""
    done = subprocess.run([sys.executable, "-c", LOADED, str(FIT), *map(str, arguments)], capture_output=True, text=True,
                          check=True, cwd=cwd)
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.fixture(scope="module")
def static(tmp_path_factory) -> tuple[set[str], Path]:
    """Modules and folder of a static run without noise, where figures of an earlier run and a stranger's files lie."""
    folder = tmp_path_factory.mktemp("static")
    (folder / "sure.csv").write_text(SURE)
    (folder / "out").mkdir()
    for name in ("learning_rate.png", "error.svg", "notes.png", "loss.txt"):
        (folder / "out" / name).write_text("old")
    return loaded("sure.csv", "--static", "--out", "out", "--resamples", "50", cwd=folder), folder / "out"


def test_a_study_ends_well_and_prints_where_its_files_are(finished):
    done, folder = finished
    assert done.returncode == 0 and not done.stderr
    printed = [Path(line).name for line in done.stdout.splitlines()[-2:]]
    assert printed == ["report.html", "fit.json"]
    assert len(done.stdout.splitlines()) <= 25
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_the_exponents_in_fit_json_are_those_of_the_surface_that_made_the_table(finished):
    document = json.loads((finished[1] / "fit.json").read_text(), parse_constant=pytest.fail)
    truth = BETA / (TRUE_ALPHA + COST_EXPONENT * BETA)
    group = document["groups"][0]
    assert group["key"] == {"dropout": 0.0} and group["n"] == 72
    a = group["approach3"]["a"]
    # Four standard errors: a wrong cost law (p = 1: 0.4545) is 0.045 away.
    assert abs(a["value"] - truth) < 4 * a["se"] < 0.2 and a["low"] < a["value"] < a["high"]
    assert group["approach3"]["cost"]["p"]["value"] == pytest.approx(COST_EXPONENT, rel=1e-6)
    assert abs(document["learning_rate"]["exponent"]["value"] + 0.5) < 0.1 and document["learning_rate"]["trials"] == 90


def test_fit_json_has_every_documented_key(finished):
    document = json.loads((finished[1] / "fit.json").read_text())
    assert document.keys() >= {"groups", "differences", "warnings"}
    for group in document["groups"]:
        assert group.keys() >= {"n", "approach1", "approach2", "approach3", "frontier", "accuracy", "claims", "sensitivity"}
        assert group["approach3"].keys() >= {"E", "A", "B", "alpha", "beta", "a", "b", "objective"}
        for name in ("E", "A", "B", "alpha", "beta", "a", "b"):
            assert group["approach3"][name].keys() >= {"value", "low", "high", "se"}
        for name in ("approach1", "approach2"):
            assert group[name].keys() >= {"a", "b"} or group[name].keys() == {"refused"}
        assert group["predictions"][0]["flops"] == 1e10
    assert {d["quantity"] for d in document["differences"]} >= {"a", "alpha", "beta"}
    assert all(w.keys() == {"code", "text", "group"} for w in document["warnings"])


def test_every_figure_is_a_picture_in_both_kinds(finished):
    svgs, pngs = (sorted(finished[1].glob(f"*.{kind}")) for kind in ("svg", "png"))
    assert [p.stem for p in svgs] == [p.stem for p in pngs]
    assert {p.stem for p in svgs} >= {"loss", "error", "optimum", "learning_rate", "differences", "surface", "residuals",
                                      "profiles", "clouds", "exponents"}
    assert all(ElementTree.parse(p).getroot().tag.endswith("svg") for p in svgs)
    assert all(p.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and p.stat().st_size > 5_000 for p in pngs)


def test_the_report_stands_alone(finished):
    page = (finished[1] / "report.html").read_text()
    assert "src=\"http" not in page and "href=\"http" not in page and "url(http" not in page and "<script src" not in page
    assert page.count("data:image/svg+xml;base64,") == len(list(finished[1].glob("*.svg")))


def test_a_static_report_has_no_script(static):
    page = (static[1] / "report.html").read_text()
    assert "data:image/svg+xml" in page and "<script" not in page and "href=" not in page and "url(" not in page


def test_figures_of_an_earlier_run_are_cleared_and_strangers_files_are_not(static):
    left = {p.name for p in static[1].iterdir()}
    assert not left & {"learning_rate.png", "error.svg"} and left >= {"notes.png", "loss.txt", "loss.png"}
    assert (static[1] / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_help_and_reading_need_neither_torch_nor_ray_and_help_not_even_numpy(tmp_path, static):
    assert not loaded("--help", cwd=tmp_path) & {"torch", "ray", "numpy", "scipy", "pandas", "matplotlib", "pyarrow"}
    assert "matplotlib" in static[0] and not static[0] & {"torch", "ray"}


@pytest.mark.parametrize("content, arguments, said", [
    (None, (), "no such file"),
    ("N,D,loss\n", (), "no rows"),
    (SURE, ("--loss", "lss"), "did you mean 'loss'"),
    (SURE, ("--predict-flops", "-3"), "positive"),
    (SURE, ("--out", "table.csv"), "cannot write"),
])
def test_bad_input_gives_one_line_and_status_2_and_leaves_no_file(tmp_path, content, arguments, said):
    if content is not None:
        (tmp_path / "table.csv").write_text(content)
    before = (tmp_path / "table.csv").read_bytes() if content is not None else None
    done = fit("table.csv", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert before is None or (tmp_path / "table.csv").read_bytes() == before
    assert not list(tmp_path.rglob("*.json")) + list(tmp_path.rglob("*.html"))


def test_a_table_too_small_to_fit_is_told_of_all_the_same(tmp_path):
    pq.write_table(simulated_study(widths=2, fractions=2, seeds=1), tmp_path / "smoke.parquet")
    done = fit("smoke.parquet", "--predict-flops", "1e12", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr and len(done.stdout.splitlines()) <= 25
    document = json.loads((tmp_path / "smoke-fit" / "fit.json").read_text())
    assert all(g["law"].keys() == {"refused"} and g["n"] == 4 for g in document["groups"])
    page = (tmp_path / "smoke-fit" / "report.html").read_text()
    lowest = min(pq.read_table(tmp_path / "smoke.parquet")["val_loss"].to_pylist())
    assert all(reason in page for reason in document["groups"][0]["refused"].values()) and f"{lowest:.4g}" in page
    assert (tmp_path / "smoke-fit" / "loss.svg").exists()


def test_quick_gives_the_same_exponents_and_neither_figures_nor_what_takes_time(finished):
    folder = finished[1].parent
    done = fit("results.parquet", "--resamples", "100", "--quick", "--out", "quick", cwd=folder)
    assert done.returncode == 0 and {p.name for p in (folder / "quick").iterdir()} == {"fit.json", "report.html"}
    quick, whole = (json.loads((at / "fit.json").read_text())["groups"] for at in (folder / "quick", finished[1]))
    assert [g["law"]["a"] for g in quick] == [g["law"]["a"] for g in whole] and not quick[0]["sensitivity"]


def test_a_text_whose_signs_cannot_be_told_is_read_by_flags(tmp_path):
    rows = [line.split(",") for line in SURE.strip().splitlines()]
    text = "\n".join(":".join(cell.replace(".", ",") for cell in row) for row in rows)
    (tmp_path / "odd.txt").write_text(text)
    done = fit("odd.txt", "--delimiter", ":", "--decimal", ",", "--resamples", "50", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    a = json.loads((tmp_path / "odd-fit" / "fit.json").read_text())["groups"][0]["approach3"]["a"]["value"]
    assert a == pytest.approx(0.5, abs=1e-3)
    assert fit("odd.txt", "--delimiter", "ab", cwd=tmp_path).returncode == 2


PUBLISHED = {
    "kyo_takano/df.csv": "", "epoch/svg_extracted_data.csv": "", "gadre/gadre_104_models.csv": "--loss loss_c4_val --by dataset",
    "porian/isoflop_points.csv": "--by dataset --by hparams --by warmup --by decay --by param_count"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables_are_read_to_the_end(name, tmp_path):
    done = fit(published(name), *PUBLISHED[name].split(), "--resamples", "50", "--static", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr and (tmp_path / "out" / "report.html").exists()
    assert json.loads((tmp_path / "out" / "fit.json").read_text())["groups"]
