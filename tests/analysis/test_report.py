"""What a study says of itself: the same numbers on the terminal, the page and in the JSON; refusals by name."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from worlds.simulated_study import simulated_study

from analysis.estimates.estimate import Estimate
from analysis.estimates.words import shown
from analysis.figures import comparison, diagnosis
from analysis.figures.compute import below_every_run, plot_loss_against_compute
from analysis.figures.theme import log_axes, log_norm, plain, tidy_log_ticks
from analysis.fitted import Request, Study, headlined, study
from analysis.report.export import study_json
from analysis.report.findings import preferred
from analysis.report.page import Picture, report_html
from analysis.report.symbols import typeset
from analysis.report.terminal import LINES, brief_text, full_text, opening_text
from analysis.table.runs import read_table

HOSTILE = "<i>$\\frac{1}{0}$ {{ 7*7 }}</i>"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Study:
    """Two groups: a whole grid, and three runs too few for anything, under a hostile name."""
    grid = simulated_study(widths=6, fractions=6, seeds=1, dropouts=(0.0,))
    table = pa.concat_tables([grid, grid.slice(0, 3)]).append_column("who", pa.array(["grid"] * 36 + [HOSTILE] * 3))
    path = tmp_path_factory.mktemp("r") / "runs.parquet"
    pq.write_table(table, path)
    return study(read_table([str(path)], by=["who"]), Request((1e10,), resamples=100))


def test_what_cannot_be_estimated_is_refused_by_name_and_the_rest_is_given(mixed):
    groups = {g["key"]["who"]: g for g in json.loads(study_json(mixed))["groups"]}
    few, whole = (g for _, g in sorted(groups.items()))
    assert all(few[name].keys() == {"refused"} and few[name]["refused"] for name in ("approach1", "approach2", "approach3"))
    assert whole["approach3"]["a"]["low"] < whole["approach3"]["a"]["value"] < whole["approach3"]["a"]["high"]
    assert "refused" in full_text(mixed)


def test_terminal_page_and_json_carry_one_number(mixed):
    estimate = next(g for g in mixed.groups if g.approaches.law is not None).approaches.law.a
    page = report_html(mixed, (), command="fit.py")
    assert all(shown(estimate) in text for text in (opening_text(mixed), brief_text(mixed, room=LINES), full_text(mixed), page))
    value, low, high = map(float, re.findall(r"-?\d+\.\d+", shown(estimate)))
    np.testing.assert_allclose([value, low, high], [estimate.value, estimate.low, estimate.high],
                               atol=0.06 * (estimate.high - estimate.low))


@pytest.mark.parametrize("groups", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(7, marks=pytest.mark.slow)])
def test_what_is_printed_is_a_screen_of_lines_that_fit_it(groups, tmp_path):
    grids = [simulated_study(widths=5, fractions=5, seeds=1, dropouts=(0.0,), rng=g).append_column(
        "a_long_name_of_a_column", pa.array([f"value number {g}"] * 25)) for g in range(groups)]
    pq.write_table(pa.concat_tables(grids), tmp_path / "runs.parquet")
    table = read_table([str(tmp_path / "runs.parquet")], by=["a_long_name_of_a_column"])
    found = study(table, Request((1e10, 1e15, 1e20), resamples=60))
    first = opening_text(found).splitlines()
    rest = brief_text(found, room=LINES - len(first)).splitlines()
    assert len(first) + len(rest) <= LINES
    assert max(map(len, [*first, *rest, *full_text(found).splitlines()])) <= 100


def test_names_from_the_table_are_text_on_the_page(mixed):
    page = report_html(mixed, [Picture("loss", "t", HOSTILE, b"<svg/>", 3.4)], command=f"fit.py {HOSTILE}")
    assert HOSTILE not in page and "<i>$" not in page and "&lt;i&gt;" in page and ">49<" not in page

    class Balanced(HTMLParser):
        depth: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.depth.append(tag)

        def handle_endtag(self, tag):
            assert self.depth.pop() == tag

    parser = Balanced()
    parser.feed(page)
    assert not parser.depth


def test_a_hostile_name_is_drawn_as_it_is_spelled():
    figure = Figure()
    figure.subplots().set_title(plain(HOSTILE))
    figure.canvas.draw()   # mathtext would raise on a fraction by nothing


def test_plots_draw_on_the_axes_they_are_given_and_return_them(mixed):
    group = next(g for g in mixed.groups if g.approaches.law is not None)
    for draw in (lambda ax: plot_loss_against_compute(group.seen, group.approaches.law, ax, norm=log_norm(group.seen.N)),
                 lambda ax: diagnosis.plot_residuals(group.approaches.quoted, ax),
                 lambda ax: comparison.plot_exponents([(1, "approach 1", None), (3, "approach 3", group.approaches.law.a)], group.answers.claims, ax)):
        ax = Figure().subplots()
        assert draw(ax) is ax and len(ax.figure.axes) == 1


@pytest.mark.parametrize("low, high", [(8e3, 6e4), (0.04, 0.09), (1.2, 7.0), (30, 5e7), (2e-4, 8e-4)])
def test_no_two_ticks_of_an_axis_read_alike(low, high):
    # the bug: 15,000 and 20,000 both read 2e4
    ax = log_axes(Figure().subplots(), "x")
    ax.set_xlim(low, high)
    tidy_log_ticks(ax)
    ax.figure.canvas.draw()
    said = [t.get_text() for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert 2 <= len(said) == len(set(said)), said


@pytest.mark.parametrize("value, low, high, text", [
    (0.51392, 0.4801, 0.5561, "0.514 [0.480, 0.556]"), (1.5e8, 1e8, 2e8, "1.5e+08 [1e+08, 2e+08]"),
    (0.5, 0.5, 0.5, "0.5 [0.5, 0.5]"), (477.8, 300.0, 750.0, "478 [300, 750]"), (5.0, 1.0, np.inf, "5 [1, inf]"),
    (1.45e-15, -0.362, 0.362, "0.00 [-0.36, 0.36]"), (-0.0004, -0.5, 0.5, "0.0 [-0.5, 0.5]"),
    (0.00042, 0.0004, 0.00045, "0.00042 [0.0004, 0.00045]")])
def test_estimates_are_shown_to_the_digits_their_intervals_carry(value, low, high, text):
    assert shown(Estimate(value, low, high, 0.0)) == text


def test_where_the_frontier_lies_below_every_run_the_caption_says_so(mixed):
    group = next(g for g in mixed.groups if g.approaches.law is not None)
    law, C = group.approaches.law, group.seen.C
    on_it = law.frontier.loss(C)
    assert below_every_run(law, C, on_it * 1.2).share == 1.0
    assert below_every_run(law, C, on_it * 1.2).gap >= np.log(1.2)
    assert below_every_run(law, C, on_it * 0.9).share < 0.9


@pytest.mark.parametrize("text, html", [
    ("grows as C^0.49 [0.41, 0.56] and", "grows as <i>C</i><sup>0.49 [0.41, 0.56]</sup> and"),
    ("L* = E + K C^-gamma", "<i>L</i>* = <i>E</i> + <i>K</i> <i>C</i><sup>-<i>γ</i></sup>"), ("1.2e+09", "1.2×10<sup>9</sup>"),
    ("A/N^(alpha/g)", "A/<i>N</i><sup><i>α</i>/g</sup>"), ("a, approach 3", "<i>a</i>, approach 3"), ("a table", "a table"),
    ("<b>x^2</b>", "&lt;b&gt;x<sup>2</sup>&lt;/b&gt;"), ("run 0xe+12", "run 0xe+12")])
def test_formulas_are_set_as_in_a_paper(text, html):
    assert typeset(text) == html


NOISE = np.exp(0.005 * np.random.default_rng(0).standard_normal(25))


@pytest.mark.parametrize("loss, said", [
    (lambda N, D: (1.7 + 406 * (N / 1e17) ** 0.34 + 410 * D**-0.28) * NOISE, "the loss rises with N"),
    pytest.param(lambda N, D: (1.7 + 406 * N**-0.34 + 410 * (D / 1e20) ** 0.28) * NOISE, "the loss rises with D", marks=pytest.mark.slow),
    pytest.param(lambda N, D: 2.5 * NOISE, "any a from", marks=pytest.mark.slow),
    (lambda N, D: np.full(25, 2.5), "the loss is 2.5 in every run"), (lambda N, D: 60 * N**-0.1 * D**-0.07, "no size is best")])
def test_no_exponent_is_given_where_none_can_be_told(loss, said, tmp_path):
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    pq.write_table(pa.table({"params": N, "tokens": D, "loss": loss(N, D)}), tmp_path / "runs.parquet")
    found = headlined(read_table([str(tmp_path / "runs.parquet")]), Request(resamples=60))
    text = " ".join(opening_text(found).split())
    assert "cannot be" in text and said in text and "grows as" not in text
    assert preferred(found.groups[0]) is None


def test_data_seen_again_are_a_doubt_of_the_sentence_itself(tmp_path):
    N, U = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    loss = (1.7 + 406 * N**-0.34 + 410 * U**-0.28) * NOISE
    pq.write_table(pa.table({"params": N, "tokens": U * 2, "unique_tokens": U, "loss": loss}), tmp_path / "runs.parquet")
    text = " ".join(opening_text(headlined(read_table([str(tmp_path / "runs.parquet")]), Request(resamples=60))).split())
    assert "25 of the runs saw their data more than once" in text
