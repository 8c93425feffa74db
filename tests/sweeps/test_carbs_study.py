"""CARBS on the CNN, without Ray: what a resumed search knows, and what it leaves for the analysis. Losses are a formula's."""

import math
from dataclasses import asdict, replace

import pytest

from analysis.carbs.found import is_tuned, read_tuned
from sweeps.carbs.laws import scaling_laws
from sweeps.carbs.search import Carbs
from sweeps.carbs.space import Space
from sweeps.jobs.job import Shape
from sweeps.store.files import StoreError
from sweeps.store.rows import Failure
from sweeps.store.store import open_store
from sweeps.studies.hyperparameters import SPACE, CarbsSource, cell_job, planned_flops, planned_samples, write_laws
from trainers.mnist.network import channels, count_params
from trainers.mnist.results import Result

SHAPE = Shape(train=60_000, val=10_000, classes=10)


def row_of(job, val_loss=None):
    """As the trainer would return it, with the loss of a law whose best rate falls with the width."""
    cell, recipe = asdict(job.cell), asdict(job.recipe)
    params, samples = count_params(job.cell.width), planned_samples({**cell, **recipe}, SHAPE)
    if val_loss is None:
        off = math.log10(job.recipe.lr / (0.01 * job.cell.width ** -0.4))
        val_loss = 0.01 + 6.0 / params ** 0.5 + 120.0 / samples ** 0.75 + 0.05 * off ** 2
    flops = job.cost(SHAPE).flops
    return Result(**cell, **recipe, protocol=job.protocol, channels=channels(job.cell.width)[0], params=params, samples=samples,
                  steps=samples // job.recipe.batch_size, flops=flops, spent_flops=flops, train_loss=val_loss,
                  val_loss=min(val_loss, 2.0), val_accuracy=0.9, train_seconds=1.0, device="cpu", dataset="mnist", fingerprint="f")


def source_on(store, budget=2e12):
    space = Space(SPACE)
    search = Carbs(space, seed=len(store.results), max_cost=budget / 10, budget=budget, min_cost=planned_flops(space.center(), SHAPE))
    return CarbsSource(search, shape=SHAPE, cost="flops", store=store, announce=lambda text: None)


def drive(source, store, runs, fail=()):
    for i in range(runs):
        job = source.next()
        if i in fail:
            store.fail(Failure.of(job.cell, job.recipe, job.protocol, kind="diverged", error="nan", traceback="", host="h", attempts=1, time=1.0))
            source.failed(job)
        else:
            row = row_of(job)
            store.append(row)
            source.finished(job, [row])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "carbs.parquet"


def test_a_killed_search_goes_on_with_its_front_its_bill_and_its_failures(out):
    with open_store(out, provenance={}) as store:
        source = source_on(store)
        drive(source, store, 14, fail=(5, 9))
        source.next()           # in flight when the driver dies: leaves nothing
        front, spent = source.search.front(), source.search.spent
    with open_store(out, provenance={}) as store:
        again = source_on(store).search
        assert again.spent == pytest.approx(spent)      # failures burnt their share, too
        assert len(again.observations) == 14 and not again.pending
        assert sum(o.loss is None for o in again.observations) == 2
        assert {tuple(o.config.items()) for o in again.observations} == {tuple(o.config.items()) for o in source.search.observations}
        assert [p.config for p in again.front()] and again.floor == source.search.floor
        best = min(p.loss for p in front)
        assert abs(min(p.loss for p in again.front()) - best) < 0.2 * best
        assert source_on(store).next().identities()[0] not in {**store.results, **store.failures}


def test_a_repeat_after_a_resume_has_a_seed_that_no_run_has_had(out):
    """A repeat with an old seed is the same run bit for bit: its row would be thrown away, and asked for for ever."""
    with open_store(out, provenance={}) as store:
        center = Space(SPACE).center()
        store.append(row_of(cell_job(center, seed=3)))     # 0 to 2 were in flight, and lost
        source = source_on(store)
        source.search.enqueue(center)
        assert source.next().cell.seed == 4


def test_a_run_that_learnt_nothing_is_a_failure_that_burnt_its_cost(out):
    with open_store(out, provenance={}) as store:
        source = source_on(store)
        job = source.next()
        row = replace(row_of(job), val_loss=2.29)
        source.finished(job, [row])
        assert [(o.loss, o.cost) for o in source.search.observations] == [(None, row.flops)]


def test_the_table_of_another_study_is_refused(out):
    with open_store(out, provenance={}) as store:
        store.append(replace(row_of(cell_job(Space(SPACE).center(), seed=0)), protocol="per-budget"))
        with pytest.raises(StoreError, match="another study"):
            source_on(store)


def test_the_analysis_reads_the_laws_that_the_study_wrote(out):
    with open_store(out, provenance={}) as store:
        source = source_on(store)
        drive(source, store, 30)
        laws = scaling_laws(source.search, draws=4)
        write_laws(laws, out.with_suffix(".laws.json"), SHAPE)
    assert is_tuned(str(out))
    found = read_tuned(str(out))
    assert found.observations == len(found.flops) == 30 and found.spent == pytest.approx(found.flops.sum())
    for name, law in laws.laws.items():
        told = found.law(name)
        assert (told.exponent.value, told.exponent.low, told.exponent.high) == (law.exponent.value, law.exponent.low, law.exponent.high)
    # N follows from the width, D from the fraction: their laws do, too.
    size, width = found.law("params"), found.law("width")
    middle = size.curve[10]
    assert middle.value == pytest.approx(count_params(width.curve[10].value), rel=0.25)
    assert found.law("samples").exponent.value == pytest.approx(found.law("fraction").exponent.value, abs=0.02)


def test_a_budget_below_the_first_run_is_refused_with_one_that_would_do(tmp_path, capsys):
    from sweeps.mnist_carbs import main
    assert main(["--budget", "2e10", "--out", str(tmp_path / "c.parquet")]) == 2
    assert "give a --budget of 3e+11 or more" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_left_is_counted_in_runs_of_the_size_to_come(out):
    """The first run costs a thirty-thousandth of the budget: as many of them would pass for the rest."""
    with open_store(out, provenance={}) as store:
        source = source_on(store, budget=1e14)
        source.next()
        left = source.remaining()
    flops = sum(job.cost(SHAPE).flops for job in left)
    assert 50 <= len(left) <= 250 and 0.5e14 < flops < 1.5e14
