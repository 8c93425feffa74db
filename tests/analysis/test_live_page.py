"""The report in a real browser: figures that answer, and "I have C FLOPs" as the fit says it."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds.simulated_study import simulated_study

from analysis.figures.sheets import plates
from analysis.fitted import Request, study
from analysis.report.live import live_scripts, plotly_source
from analysis.report.output import rendered
from analysis.report.page import Picture, report_html
from analysis.table.runs import read_table

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
HOSTILE = "</script><img src=x onerror=document.title='run'>"

# Asks the page what a reader would, once it is drawn, and leaves the answers in it.
PROBE = """<script>
(async () => {
  const errors = []; window.addEventListener("error", e => errors.push(e.message));
  while (document.documentElement.dataset.ready !== "yes") await new Promise(done => setTimeout(done, 20));
  const text = selector => document.querySelector(selector).innerText, loss = document.querySelector('.plot[data-figure="loss"]');
  const ask = (id, value, kind) => { 
    const at = document.getElementById(id); at.value = value; at.dispatchEvent(new Event(kind)); };
  const answer = k => text(`[data-answer="${k}"]`) + " " + text(`[data-interval="${k}"]`);
  const answers = () => Object.fromEntries(["N", "D", "L"].map(k => [k, answer(k)]));
  const found = { drawn: [...document.querySelectorAll(".plot:not([hidden])")].map(p => p.dataset.figure),
                  overflow: document.documentElement.scrollWidth > window.innerWidth };
  ask("flops", "1e10", "input"); found.typed = answers(); found.where = text("#where");
  ask("flops", "1e15", "input"); found.beyond = text("#where");
  ask("slide", "500", "input"); found.slid = document.getElementById("flops").value;
  ask("by", "2", "change"); ask("flops", "1e10", "input"); found.other = answers();
  Plotly.Fx.hover(loss, [{ curveNumber: 0, pointNumber: 3 }]); found.hovered = loss.querySelector(".hoverlayer").textContent;
  await Plotly.restyle(loss, { visible: "legendonly" }, [0]); ask("by", "0", "change"); found.hidden = loss.data[0].visible;
  found.title = document.title; found.errors = errors; found.width = window.innerWidth;
  found.fetched = performance.getEntriesByType("resource").length;
  const pre = parent.document.createElement("pre"); pre.id = "found"; pre.textContent = JSON.stringify(found);
  parent.document.body.append(pre);
})();
</script>"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if plotly_source() is None:
        pytest.skip("plotly is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    folder = tmp_path_factory.mktemp("page")
    grids = [simulated_study(widths=7, fractions=6, seeds=1, dropouts=(0.0,), rng=i).append_column("who", pa.array([name] * 42))
             for i, name in enumerate(("plain", HOSTILE))]
    pq.write_table(pa.concat_tables(grids), folder / "runs.parquet")
    found = study(read_table([str(folder / "runs.parquet")], by=["who"]), Request(resamples=80))
    pictures = [Picture(p.name, p.title, p.caption, rendered(p, "svg"), p.figure.get_figwidth()) for p in plates(found, lost=[])]
    page = folder / "report.html"
    page.write_text(report_html(found, pictures, command="fit.py", live=live_scripts(found, plotly_source())))
    return found, page


def seen_in_browser(page: Path, *, width: int) -> dict:
    """What the probe found, in a frame of that width."""
    probed = page.with_name("probed.html")   # a window may be no narrower than 500 pixels, a frame may
    content = escape(page.read_text().replace("</body>", PROBE + "</body>"))
    frame = f'<iframe width="{width}" height="900" srcdoc="{content}"></iframe>'
    probed.write_text(f'<!doctype html><meta charset="utf-8"><body>{frame}</body>')
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--virtual-time-budget=20000",
             "--dump-dom")
    done = subprocess.run([CHROMIUM, *flags, f"--user-data-dir={page.parent / 'profile'}", probed.as_uri()], capture_output=True,
                          text=True, timeout=500)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(unescape(found[1]))


@pytest.fixture(scope="module")
def wide(made):
    return seen_in_browser(made[1], width=1200)


def numbers(text: str) -> list[float]:
    return [float(m.replace("×10", "e").replace(",", "")) for m in re.findall(r"\d[\d,]*\.?\d*(?:×10-?\d+)?", text)]


def test_the_page_draws_its_figures_and_fetches_nothing(wide):
    assert set(wide["drawn"]) >= {"loss", "optimum", "residuals"}
    assert not wide["errors"] and not wide["fetched"] and not wide["overflow"]


@pytest.mark.parametrize("asked, which", [("typed", "law"), ("other", "additive")])
def test_what_compute_buys_is_what_the_fit_says(made, wide, asked, which):
    first = made[0].groups[0].approaches   # the group that the page opens with
    o = (first.law if which == "law" else first.additive).optimum(1e10)
    for letter, estimate in zip("NDL", (o.N, o.D, o.L), strict=True):
        assert numbers(wide[asked][letter]) == pytest.approx([estimate.value, estimate.low, estimate.high], rel=6e-3)


def test_beyond_the_table_it_says_so_and_the_slider_moves_in_logs(made, wide):
    assert "inside" in wide["where"] and "extrapolated" in wide["beyond"]
    C = made[0].groups[0].seen.C
    assert float(wide["slid"]) == pytest.approx((C.min() * 0.1 * C.max() * 1e3) ** 0.5, rel=0.02)


def test_a_run_tells_its_cell_loss_and_residual_and_a_hidden_group_stays_hidden(made, wide):
    runs = made[0].groups[0].seen
    assert all(word in wide["hovered"] for word in ("loss", "residual", "seed"))
    assert f"{runs.L[3]:.3g}" in wide["hovered"] and wide["hidden"] == "legendonly"


def test_names_of_the_table_run_no_script(made, wide):
    assert wide["title"] != "run" and HOSTILE not in made[1].read_text()


def test_on_a_phone_nothing_reaches_beyond_the_screen(made):
    found = seen_in_browser(made[1], width=390)
    assert found["width"] == 390 and not found["overflow"] and not found["errors"]
