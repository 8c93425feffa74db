"""Estimates of time learn a machine's two speeds from finished rows, or a function's own law from its runs."""

from dataclasses import replace

import numpy as np
import pytest
from worlds.store_cases import result
from worlds.sweep_cases import few_images

from sweeps.jobs.job import Job
from sweeps.running.speed import FEWEST_ROWS, Seconds, learnt
from trainers.cost import Cost
from trainers.function import FunctionTask
from trainers.mnist.cell import Cell
from trainers.mnist.task import CPU, TASK


def test_it_recovers_the_speeds_that_made_the_seconds():
    rng = np.random.default_rng(0)
    costs = [Cost(flops=float(f), steps=int(s)) for s, f in zip(rng.integers(50, 2000, 40), 10 ** rng.uniform(8, 12, 40))]
    speed = learnt(CPU, [(cost, (cost.steps * 2e-3 + cost.flops / 3e10) * rng.lognormal(0, 0.02)) for cost in costs])
    assert speed.step_s == pytest.approx(2e-3, rel=0.05) and speed.flops_per_s == pytest.approx(3e10, rel=0.05)
    assert replace(speed, step_s=CPU.step_s, flops_per_s=CPU.flops_per_s) == CPU, "of validation these seconds tell nothing"


def test_a_handful_of_rows_and_rows_that_contradict_a_machine_teach_nothing():
    """Two rows fit any two speeds; a negative speed fits no machine."""
    cost = Cost(flops=1e9, steps=10)
    assert learnt(CPU, [(cost, 1.0)] * (FEWEST_ROWS - 1)) == CPU
    shrinking = [(Cost(flops=1e9 * k, steps=10), 10.0 / k) for k in range(1, 20)]
    assert learnt(CPU, shrinking) == CPU


def rows_of_a_slow_machine(images, **changes):
    """Twenty rows, each a hundred times as long as the guess has it."""
    rows = []
    for i in range(20):
        row = result(i, width=(0.5, 1.0)[i % 2], fraction=1.0, batch_size=4 * 2 ** (i % 3), **changes)
        cost = TASK.cost([row], images)
        rows.append(replace(row, train_seconds=100 * (cost.steps * CPU.step_s + cost.flops / CPU.flops_per_s)))
    return rows


def test_a_tables_rows_teach_at_once_but_not_those_of_another_device():
    """A laptop's estimate must not believe what a GPU did."""
    images, job = few_images(), Job((Cell(width=1.0, fraction=1.0, batch_size=8),))
    guess = Seconds(TASK, images, device="cpu")(job)
    assert Seconds(TASK, images, device="cpu", rows=rows_of_a_slow_machine(images, device="NVIDIA H100"))(job) == guess
    assert Seconds(TASK, images, device="cpu", rows=rows_of_a_slow_machine(images))(job) > 3 * guess
    gpu = Seconds(TASK, images, device="cuda")(job)
    assert Seconds(TASK, images, device="cuda", rows=rows_of_a_slow_machine(images))(job) == gpu
    assert Seconds(TASK, images, device="cuda", rows=rows_of_a_slow_machine(images, device="NVIDIA H100"))(job) > 2 * gpu


def nothing(depth: int, tokens: float, optimiser: str = "adam", zero: float = 0.0, seed: int = 0) -> dict:
    return {"loss": 1.0}


def job_of(task, depth, tokens, **more):
    return Job((task.cell(depth=depth, tokens=tokens, **more),))


@pytest.fixture
def task():
    return FunctionTask(nothing, axes=["depth", "tokens"])


def test_a_power_law_of_the_settings_is_learnt_from_runs(task):
    """The cost of a user's function is known to nobody: recovery of the law that made the seconds."""
    rng, seconds = np.random.default_rng(1), Seconds(task, None, device="cpu")

    def truth(depth, tokens):
        return 1e-6 * depth**1.4 * tokens**0.9

    for depth in (1, 2, 4, 8):
        for tokens in (1e4, 1e5, 1e6):
            assert seconds.lessons == 0 or seconds.known
            seconds.learn(job_of(task, depth, tokens), truth(depth, tokens) * rng.lognormal(0, 0.05))
    assert not seconds.in_closed_form and seconds.lessons >= 3
    for depth, tokens in ((16, 1e6), (3, 3e5), (1, 1e7)):   # of these the first and the last are extrapolated
        assert seconds(job_of(task, depth, tokens)) == pytest.approx(truth(depth, tokens), rel=0.5)


def test_before_any_run_a_larger_one_is_put_first_and_no_time_is_claimed(task):
    """The longest first also where nothing is known: at the end no core waits for a run that came late."""
    seconds = Seconds(task, None, device="cpu")
    assert not seconds.known
    assert seconds(job_of(task, 8, 1e6)) > seconds(job_of(task, 8, 1e5)) > seconds(job_of(task, 2, 1e5))


def test_what_no_clock_can_say_breaks_no_estimate(task):
    """A run of no measurable time, an axis at zero, one run alone."""
    seconds = Seconds(task, None, device="cpu")
    seconds.learn(job_of(task, 2, 0.0), 0.0)
    assert 0 < seconds(job_of(task, 2, 1e300)) < float("inf")
