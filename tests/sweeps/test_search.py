"""A search by CARBS, without Ray: what a resumed one knows, and what it leaves for the analysis. Losses are a formula's."""

import math
from dataclasses import asdict, replace

import pytest

from analysis.carbs.found import is_tuned, read_tuned
from sweeps.carbs.laws import scaling_laws
from sweeps.carbs.search import Carbs
from sweeps.store.files import StoreError
from sweeps.store.rows import failure_type
from sweeps.store.store import open_store
from sweeps.studies.search import SearchSource, write_laws
from sweeps.studies.search_plan import plan_search
from trainers.columns import identity_of
from trainers.function import FunctionTask
from trainers.mnist.cell import Result
from trainers.mnist.network import channels, count_params
from trainers.mnist.task import TASK
from worlds.sweep_cases import few_images, report


class Counted:
    """Images by their number alone: nothing here looks at one."""

    def __init__(self, train=60_000, val=10_000):
        self.train_images, self.val_images, self.classes = range(train), range(val), 10
        self.knowing_nothing = math.log(10)


DATA = Counted()


def plan_of(budget=2e12, **more):
    return plan_search(TASK, DATA, {}, **{"settings": {}, "cost": "flops", "budget": budget} | more)


def row_of(job, val_loss=None):
    """As the trainer would return it, with the loss of a law whose best rate falls with the width."""
    [cell] = job.cells
    cost, params = TASK.cost([cell], DATA), count_params(cell.width)
    samples = cost.steps * cell.batch_size
    if val_loss is None:
        off = math.log10(cell.lr / (0.01 * cell.width ** -0.4))
        val_loss = 0.01 + 6.0 / params ** 0.5 + 120.0 / samples ** 0.75 + 0.05 * off ** 2
    return Result(**asdict(cell), channels=channels(cell.width)[0], params=params, samples=samples, steps=cost.steps, flops=cost.flops,
                  spent_flops=cost.flops, train_loss=val_loss, val_loss=min(val_loss, 2.0), val_accuracy=0.9, train_seconds=1.0,
                  device="cpu", dataset="mnist", fingerprint="f")


def source_on(store, plan=None):
    plan = plan or plan_of()
    search = Carbs(plan.space, seed=len(store.results), max_cost=plan.max_cost, budget=plan.budget,
                   min_cost=plan.planned(plan.space.center()))
    return SearchSource(plan, search, store, announce=lambda text: None)


def drive(source, store, runs, fail=()):
    for i in range(runs):
        job = source.next()
        if i in fail:
            store.fail(failure_type(TASK.cell)(**asdict(job.cells[0]), kind="diverged", error="nan", traceback="", host="h", attempts=1,
                                               time=1.0))
            source.failed(job)
        else:
            row = row_of(job)
            store.append(row)
            source.finished(job, [row])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "carbs.parquet"


def opened(out):
    return open_store(out, task=TASK, provenance={})


def test_a_killed_search_goes_on_with_its_front_its_bill_and_its_failures(out):
    with opened(out) as store:
        source = source_on(store)
        drive(source, store, 14, fail=(5, 9))
        source.next()           # in flight when the driver dies: leaves nothing
        front, spent = source.search.front(), source.search.spent
    with opened(out) as store:
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
    with opened(out) as store:
        plan = plan_of()
        center = plan.space.center()
        store.append(row_of(one_job(plan, center, seed=3)))     # 0 to 2 were in flight, and lost
        source = source_on(store, plan)
        source.search.enqueue(center)
        assert source.next().cells[0].seed == 4


@pytest.mark.parametrize("finished", [0, 1])
def test_a_search_stopped_before_it_has_a_model_says_so_and_writes_no_laws(out, finished):
    from sweeps.running.ray_tune import Outcome
    from sweeps.studies.search import closing
    with opened(out) as store:
        plan = plan_of()
        source = source_on(store, plan)
        drive(source, store, finished)
        said = closing(plan, store, source, Outcome(finished=finished, failed=0, interrupted=True), str(out))
    assert "no scaling laws: need at least 2 finished runs" in said and not out.with_suffix(".laws.json").exists()


def one_job(plan, config, *, seed):
    from sweeps.jobs.job import Job
    return Job((plan.cell(config, seed=seed),))


def test_a_run_that_learnt_nothing_is_a_failure_that_burnt_its_cost(out):
    with opened(out) as store:
        source = source_on(store)
        job = source.next()
        row = replace(row_of(job), val_loss=2.29)
        source.finished(job, [row])
        assert [(o.loss, o.cost) for o in source.search.observations] == [(None, row.flops)]


@pytest.mark.parametrize("change", [{"protocol": "per-budget"}, {"precision": "bfloat16"}, {"dropout": 0.0}])
def test_the_table_of_another_study_is_refused(out, change):
    """Runs of a grid, in other arithmetic, or outside the space would be told to a search that never asked for them."""
    with opened(out) as store:
        plan = plan_of(settings={"precision": "float32"})
        store.append(replace(row_of(one_job(plan, plan.space.center(), seed=0)), **change))
        with pytest.raises(StoreError, match="choose another --out"):
            source_on(store, plan)


def test_the_analysis_reads_the_laws_that_the_study_wrote(out):
    with opened(out) as store:
        plan = plan_of()
        source = source_on(store, plan)
        drive(source, store, 30)
        laws = scaling_laws(source.search, draws=4)
        write_laws(source.search, laws, "", out.with_suffix(".laws.json"), plan)
    assert is_tuned(str(out))
    found = read_tuned(str(out))
    assert found.observations == len(found.costs) == 30 and found.spent == pytest.approx(found.costs.sum())
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
    assert "--budget" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError) as refusal:
        plan_of(budget=2e10)
    advised = float(str(refusal.value).split("--budget of ")[1].split()[0])
    plan_of(budget=advised)


def test_what_is_left_is_counted_in_runs_of_the_size_to_come(out):
    """The first run costs a thirty-thousandth of the budget: as many of them would pass for the rest."""
    with opened(out) as store:
        source = source_on(store, plan_of(budget=1e14))
        source.next()
        left = source.remaining()
    flops = sum(TASK.cost(job.cells, DATA).flops for job in left)
    assert 50 <= len(left) <= 250 and 0.5e14 < flops < 1.5e14
    assert max(job.cells[0].fraction for job in left) <= 1


def bowl(depth: int, lr: float = 3e-3, width: int = 8) -> dict:
    """It has no seed, and its cost is known to nobody before it ran."""
    return {"flops": 1e6 * depth * width, "val_loss": 0.1 + 1 / depth + math.log(lr / (0.01 / depth)) ** 2}


SPACE = {"lr": "log:3e-3", "depth": "log:4"}


def search_of(task, store, **more):
    plan = plan_search(task, None, SPACE, **{"settings": {"width": 4}, "cost": "flops", "budget": 5e9} | more)
    return SearchSource(plan, Carbs(plan.space, seed=0, max_cost=plan.max_cost, budget=plan.budget), store, announce=lambda text: None)


def run_all(source, task, store, most):
    ran = []
    while len(ran) < most and (job := source.next()) is not None:
        [values] = report(task, job)["rows"]
        row = task.row_type(values)(**values)
        store.append(row)
        source.finished(job, [row])
        ran.append(job)
    return ran


def test_a_function_of_unknown_cost_is_searched_to_the_end_of_its_budget_and_no_run_twice(out):
    """Without a seed a repetition is the same run: it is told from the table, and never trained again."""
    task = FunctionTask(bowl)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store:
        source = search_of(task, store, budget=1e9)
        ran = run_all(source, task, store, 300)
        assert source.exhausted() and 5 < len(ran) < 300
        assert len({job.identities()[0] for job in ran}) == len(ran) == len(store.results)
        assert {job.cells[0].width for job in ran} == {4}
        spent = sum(row.flops for row in store.results.values())
        assert 0.8 * 1e9 < spent < 1e9 + source._plan.max_cost
        best = min(store.results.values(), key=lambda row: row.val_loss)
    assert best.depth > 8 and abs(math.log10(best.lr / (0.01 / best.depth))) < 0.5, "it has not learnt what the bowl looks like"
    again = FunctionTask(bowl)   # what it was told twice it paid for twice, so that a rerun may find some budget left
    with open_store(out, task=again, provenance={}, fingerprint="f") as store:
        more = run_all(source := search_of(again, store, budget=1e9), again, store, 300)
        assert source.exhausted() and not {job.identities()[0] for job in ran} & {job.identities()[0] for job in more}
        assert sum(row.flops for row in store.results.values()) < 1e9 + source._plan.max_cost


def test_runs_are_as_many_as_were_asked_for_and_seconds_are_a_cost_of_every_task(out):
    task = FunctionTask(bowl)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store:
        source = search_of(task, store, cost="seconds", budget=1e9, runs=7)
        assert len(run_all(source, task, store, 300)) == 7
        assert [o.cost for o in source.search.observations] == [row.wall_seconds for row in store.results.values()]


def test_what_the_task_refuses_is_never_run(out):
    """A batch larger than the data: the search hears that it failed, and no worker does."""
    class Fussy(FunctionTask):
        def check(self, cell, data):
            if cell.depth > 5:
                raise ValueError("too deep")

    task = Fussy(bowl)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store:
        ran = run_all(search_of(task, store, runs=20), task, store, 20)
    assert ran and max(job.cells[0].depth for job in ran) <= 5


@pytest.mark.parametrize(("more", "names"), [
    ({"dimensions": {"momentum": "log:0.9"}}, "momentum"), ({"settings": {"momentum": 0.9}}, "momentum"),
    ({"dimensions": {"lr": "log:3e-3"}}, "depth"), ({"budget": -1.0}, "--budget"), ({"dimensions": {}}, "--search"),
    ({"settings": {"width": 2.5}}, "width"), ({"settings": {"lr": 1e-3}}, "lr is both"), ({"runs": 0}, "--runs"),
    ({"seed": -1}, "--seed"),
    ({"max_cost": 2e9}, "--budget of"), ({"max_cost": 0.0}, "--max-cost 0"), ({"max_cost": math.nan}, "--max-cost nan"),
])
def test_what_cannot_be_searched_is_one_line_that_names_it(more, names):
    with pytest.raises(ValueError, match=names) as refusal:
        plan_search(FunctionTask(bowl), None, **{"dimensions": SPACE, "settings": {}, "cost": "flops", "budget": 1e9} | more)
    assert "\n" not in str(refusal.value)


def test_a_cost_that_no_run_measures_is_told(out):
    task = FunctionTask(bowl)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store, pytest.raises(ValueError, match="--cost energy"):
        run_all(search_of(task, store, cost="energy"), task, store, 1)


def test_a_cost_that_a_known_task_does_not_measure_is_told_before_anything_is_trained():
    with pytest.raises(ValueError, match="--cost energy"):
        plan_of(cost="energy")


@pytest.mark.parametrize("burnt", [0, -5.0, "many"])
def test_a_run_without_a_cost_is_one_line_that_names_the_column_and_a_way_on(out, burnt):
    """It was `cost must be positive`, of no column, and the same on every rerun."""
    def odd(depth: int, lr: float = 3e-3) -> dict:
        return {"energy": burnt, "val_loss": 1 / depth}

    task = FunctionTask(odd)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store:
        for _ in range(2):      # the row is in the table when it is refused, and read again
            with pytest.raises(ValueError, match="--cost energy: a run measured energy") as refusal:
                run_all(search_of(task, store, cost="energy", settings={}), task, store, 1)
            assert "\n" not in str(refusal.value)
        assert len(run_all(search_of(task, store, cost="seconds", settings={}, runs=4), task, store, 9)) == 3


def test_where_every_run_fails_the_search_ends(out):
    """What a run that raises has burnt nobody knows, so that no budget was ever spent."""
    task = FunctionTask(bowl)
    with open_store(out, task=task, provenance={}, fingerprint="f") as store:
        source, asked = search_of(task, store), 0
        while asked < 200 and (job := source.next()) is not None:
            source.failed(job)
            asked += 1
        assert asked == 20 and source.exhausted()


def test_a_setting_takes_its_dimension_out_of_the_tasks_own_search():
    plan = plan_of(settings={"lr": 0.01})
    assert "lr" not in plan.space.dimensions and len(plan.space.dimensions) == len(TASK.search) - 1
    assert plan.cell(plan.space.center(), seed=0).lr == 0.01


def test_seeds_are_drawn_by_the_search_and_refused_from_outside():
    with pytest.raises(ValueError, match="seed"):
        plan_search(TASK, few_images(), {"seed": "log:1", "width": "log:1"}, settings={}, cost="flops", budget=1e15)


def test_a_cell_of_the_search_is_the_row_that_is_found_again():
    plan = plan_of()
    assert identity_of(plan.cell(plan.space.center(), seed=2)) == identity_of(row_of(one_job(plan, plan.space.center(), seed=2)))
