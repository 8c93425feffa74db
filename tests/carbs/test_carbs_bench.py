"""The benchmark's clock: runs side by side, told of as they end."""

import importlib.util

import numpy as np
import pytest
import scipy.stats

from sweeps.carbs.bench.__main__ import main
from sweeps.carbs.bench.figure import interval
from sweeps.carbs.bench.problems import PROBLEMS
from sweeps.carbs.bench.wall import LONGEST, finished


class Sizes:
    """Asks for runs of given shares of the dearest, and writes down what it is told."""

    def __init__(self, problem, shares):
        self.configs = [{"N": 1e5, "D": share * problem.max_cost / 6e5, "lr": 1e-3, "wd": 0.1} for share in shares]
        self.problem, self.log = problem, []

    def ask(self):
        self.log.append("ask")
        return self.configs.pop(0)

    def tell(self, config, loss, cost):
        self.log.append(round(6 * config["N"] * config["D"] / self.problem.max_cost, 2))


class Clock:
    """Every suggestion takes `step` seconds."""

    def __init__(self, step):
        self.calls, self.step = 0, step

    def __call__(self):
        self.calls += 1
        return self.step * (self.calls // 2)


def test_runs_end_by_their_cost_and_a_free_worker_is_given_the_next_at_once():
    problem = PROBLEMS["P4"]
    rival = Sizes(problem, [0.8, 0.2, 0.3, 0.9, 0.1, 0.1])
    runs, seconds = finished(problem, rival, np.random.default_rng(0), workers=2, hours=0.7, most=99, clock=Clock(0.0))
    # .2 ends at .2, .3 at .5; .9 would end at 1.4 and .8 at .8, both after the end.
    assert rival.log == ["ask", "ask", 0.2, "ask", 0.3, "ask"] and len(runs) == 2 and len(seconds) == 4


def test_slow_suggestions_cost_runs():
    problem = PROBLEMS["P4"]
    quick, slow = (finished(problem, Sizes(problem, [0.01] * 500), np.random.default_rng(0), workers=4, hours=0.2, most=500,
                            clock=Clock(step))[0] for step in (0.0, LONGEST / 100))
    # A suggestion is as long as a run, and one is made at a time: 20 in a fifth of an hour, where 4 workers could make 80.
    assert len(slow) <= 20 and len(quick) >= 70


@pytest.mark.skipif(importlib.util.find_spec("smac") is not None, reason="smac is installed")
def test_a_rival_that_is_not_installed_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["--methods", "smac", "--problems", "P4", "--seeds", "1", "--out", str(tmp_path / "x.json")]) == 2
    said = capsys.readouterr().err.strip()
    assert "pip install smac" in said and "\n" not in said


def test_a_benchmark_on_the_clock_prints_its_table_and_draws_its_figure(tmp_path, capsys):
    files = ["--out", str(tmp_path / "x.json"), "--figure", str(tmp_path / "closed.png")]
    assert not main(["--methods", "random,tpe-told", "--problems", "P4n", "--seeds", "2", "--hours", "0.2", *files])
    assert (tmp_path / "closed.png").stat().st_size > 5000
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("P4n")]
    assert [row[1] for row in rows] == ["random", "tpe-told"] and all(0 < float(row[4]) < 1 for row in rows)


def test_an_interval_over_seeds_is_that_of_student():
    values = [0.9, 0.92, 0.97]
    mean, reach = interval(values)
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
    np.testing.assert_allclose([mean - reach, mean + reach], [low, high])
