"""A cell's row is the cell's alone: whatever ran before, beside it, or where."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.sweep_cases import Log, PlacedMnist, assert_same_rows, digits, nodes_seen, real_cluster, trained

from sweeps.jobs.job import Job
from sweeps.jobs.source import JobList
from sweeps.running.connect import connect
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.rows import differing
from sweeps.store.store import open_store, read_store
from trainers.columns import identity_of
from trainers.mnist.cell import Cell
from trainers.mnist.task import TASK
from trainers.mnist.train import Run, steps_of, train

CELLS = [Cell(width=width, fraction=fraction, dropout=dropout, seed=seed, lr=0.01, batch_size=16)
         for width in (0.25, 0.5) for fraction in (0.25, 0.125) for dropout in (0.0, 0.2) for seed in (0, 1)]


@pytest.fixture(scope="module")
def arrays():
    return digits()


@pytest.fixture(scope="module")
def images(arrays):
    return TASK.place(arrays, "cpu")


@pytest.fixture(scope="module")
def rows(arrays):
    """Of the undisturbed: each cell alone, in the grid's order."""
    return trained(TASK, CELLS, arrays)


DISTURBANCES = {
    "nothing": lambda images: None,
    "torch's generator moved on": lambda images: torch.rand(7),
    "torch seeded": lambda images: torch.manual_seed(1),
    "numpy and random seeded": lambda images: (np.random.seed(3), random.seed(3)),
    "a run that diverged": lambda images: train(replace(CELLS[0], lr=1e30), images),
    "a wider run with dropout": lambda images: train(replace(CELLS[0], width=1.0, dropout=0.5, seed=9, batch_size=8), images),
    "a run broken off half-way": lambda images: Run(CELLS[3], images).advance([1.0] * 5),
    "no gradients": lambda images: torch.zeros(3, requires_grad=True).sum().backward(),
}


@settings(deadline=None, max_examples=12)
@given(order=st.permutations(CELLS), disturbed=st.lists(st.sampled_from(list(DISTURBANCES)), min_size=3, max_size=3))
def test_a_row_does_not_depend_on_what_ran_before_it(images, rows, order, disturbed):
    """Catches any use of a global random state, and state left in a module between cells."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for cell, name in zip(order, disturbed):
            DISTURBANCES[name](images)
            row = train(cell, images)
            assert not differing(row, rows[identity_of(row)]), f"{cell} after {name}"
    finally:
        torch.set_num_threads(threads)


def test_a_row_does_not_depend_on_concurrency_reused_actors_nodes_or_resumption(tmp_path, arrays, rows):
    """One table by four trials at a time on two nodes, one by a single slot in the other order and in two sittings."""
    def table(name, address, seconds, *parts, cpus, nodes=1):
        notes = tmp_path / name
        notes.mkdir()
        for part in parts:
            with connect(address) as cluster, \
                    open_store(tmp_path / f"{name}.parquet", task=TASK, provenance={}, fingerprint=TASK.fingerprint(arrays)) as store:
                missing = [Job((cell,)) for cell in part if identity_of(cell) not in store.results]
                outcome = run_jobs(JobList(missing, seconds=seconds), task=PlacedMnist(notes, nodes=nodes), data=arrays, store=store,
                                   cluster=cluster, watcher=Log(), trials=Trials(cpus=cpus))
                assert outcome.finished == len(missing) and not outcome.failed
        return read_store(tmp_path / f"{name}.parquet", task=TASK).results

    with real_cluster(num_cpus=1) as cluster:
        one = table("alone", cluster.address, lambda job: job.cells[0].seed, CELLS[:5], CELLS, cpus=1)
        cluster.add_node(num_cpus=1)
        many = table("crowd", cluster.address, lambda job: -job.cells[0].seed, CELLS, cpus=0.5, nodes=2)
    assert_same_rows(one, rows)
    assert_same_rows(many, rows)
    assert len(nodes_seen(tmp_path / "crowd")) == 2, "the case is void on one node"
    # A process that ran several cells: actors were reused, so that is covered, too.
    assert len({path.name.split("+")[2] for path in (tmp_path / "alone").iterdir()}) < len(CELLS)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), small=st.integers(1, 7), large=st.integers(0, 6), width=st.sampled_from([0.25, 0.5]))
def test_a_smaller_fraction_holds_a_part_of_a_larger_ones_images(images, seed, small, large, width):
    """The subset at 1/4 lies within that at 1/2, for every seed and whatever the width: curves over D are nested."""
    small, large = max(small, large + 1), large

    def subset(fraction, width):
        run = Run(Cell(width=width, fraction=fraction, seed=seed, batch_size=2), images)
        taken = 2 * steps_of(fraction, 2, len(images.train_images))
        return run.order[:taken].tolist()

    less, more = subset(2.0**-small, width), subset(2.0**-large, 0.25)
    assert len(set(less)) == len(less) and set(less) < set(more)
    assert more[:len(less)] == less, "also in the same order"


def test_seeds_give_other_subsets_and_other_weights(images):
    """A seed that changed nothing would make the spread over seeds a lie."""
    one, other = (Run(replace(CELLS[0], seed=seed), images) for seed in (0, 1))
    assert not torch.equal(one.order, other.order)
    for mine, others in zip(one.network.convolutions, other.network.convolutions):
        assert not torch.equal(mine.weight, others.weight)
