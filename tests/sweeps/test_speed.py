"""The estimate of time learns a machine's two speeds from finished rows."""

import numpy as np
import pytest
from worlds.store_cases import result

from sweeps.jobs.job import CellJob, Shape
from sweeps.running.speed import CPU, learnt
from trainers.mnist.cell import Cell, Recipe


def test_it_recovers_the_speeds_that_made_the_seconds():
    rng = np.random.default_rng(0)
    rows = [result(0, steps=int(s), flops=float(f), train_seconds=float((s * 2e-3 + f / 3e10) * rng.lognormal(0, 0.02)))
            for s, f in zip(rng.integers(50, 2000, 40), 10 ** rng.uniform(8, 12, 40))]
    speed = learnt(CPU, rows)
    assert speed.step_s == pytest.approx(2e-3, rel=0.05) and speed.flops_per_s == pytest.approx(3e10, rel=0.05)


def test_a_handful_of_rows_teaches_nothing():
    assert learnt(CPU, [result(0)] * 7) == CPU


def test_a_jobs_cost_is_what_its_row_will_say():
    job = CellJob(Cell(width=1.0, fraction=0.25, dropout=0.0, seed=0), Recipe(lr=0.01, batch_size=16))
    cost = job.cost(Shape(train=60_000, val=10_000, classes=10))
    assert cost.steps == 937 and cost.evaluations == 1
