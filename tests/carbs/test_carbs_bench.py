"""The benchmark's clock: runs side by side, told of as they end."""

import importlib.util

import numpy as np
import pytest
import scipy.stats

from sweeps.carbs.bench.__main__ import main
from sweeps.carbs.bench.figure import interval
from sweeps.carbs.bench.flying import Flight, flown
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
    assert [row[1] for row in rows] == ["random", "tpe-told"] and all(0 < float(row[5]) < 1 for row in rows)


def test_an_interval_over_seeds_is_that_of_student():
    values = [0.9, 0.92, 0.97]
    mean, reach = interval(values)
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
    np.testing.assert_allclose([mean - reach, mean + reach], [low, high])


class Counting:
    """Asks for the same run over and over, each config an object of its own, and writes down what it is told."""

    def __init__(self, problem):
        self.center, self.log, self.asked = problem.center(), [], 0

    def ask(self):
        self.asked += 1
        self.log.append("ask")
        return {**self.center, "wd": 0.1 + 1e-6 * self.asked}

    def tell(self, config, loss, cost):
        self.log.append(round((config["wd"] - 0.1) / 1e-6))


@pytest.mark.parametrize("text, known", [("1", lambda i: i), ("8", lambda i: max(i - 7, 0)), ("6+1", lambda i: i * (i >= 6))])
def test_an_ask_knows_as_many_runs_as_have_been_told(text, known):
    """Runs told before the next was asked for would make 64 in flight as good as one."""
    problem = PROBLEMS["P4"]
    made = flown(problem, lambda: Counting(problem), 0, Flight.of(text), evaluations=20)
    log = made.rival.log
    asks = [i for i, entry in enumerate(log) if entry == "ask"]
    assert [i - k for k, i in enumerate(asks)] == [known(k) for k in range(20)] and len(made.runs) == 20
    told = [entry for entry in log if entry != "ask"]
    assert sorted(told) == list(range(1, 21)) and (told != sorted(told)) == (text != "1")       # out of order


def test_runs_apart_are_never_told_to_the_search_that_goes_on():
    problem, made = PROBLEMS["P4"], []

    def rival():
        made.append(Counting(problem))
        return made[-1]

    found = flown(problem, rival, 0, Flight.of("6/1"), evaluations=20)
    assert [search.asked for search in made] == [6, 14] and found.rival is made[1] and len(found.runs) == 20


def test_a_number_of_runs_in_flight_that_is_none_is_refused_before_anything_runs(tmp_path, capsys):
    for text in ("0", "8+", "+1", "0+1", "8*1", "-3", "eight"):
        with pytest.raises(SystemExit) as stop:
            main(["--flying", f"8,{text}", "--out", str(tmp_path / "x.json")])
        assert stop.value.code == 2 and "--flying" in capsys.readouterr().err


def test_a_benchmark_in_flight_has_a_row_for_each_number_and_makes_each_run_once(tmp_path, capsys):
    args = ["--methods", "random", "--problems", "P4n", "--seeds", "2", "--evaluations", "20", "--out", str(tmp_path / "x.json")]
    assert not main([*args, "--flying", "1,8,8+1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("P4n")]
    assert [row[2] for row in rows] == ["1", "8", "8+1"]
    main([*args, "--flying", "8"])
    assert "closed" not in capsys.readouterr().err
