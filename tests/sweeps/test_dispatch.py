"""What becomes of a job, decided without Ray: a made-up Tune hands jobs out and loses them in any order."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.faulty_model import mend, spoil
from worlds.sweep_cases import Log, faulty_jobs, faulty_task, in_order, report

from sweeps.jobs.job import Job
from sweeps.jobs.source import JobList
from sweeps.running.dispatch import LOST_NODES, STILLBORN, Dispatcher, Patience, worth_another
from sweeps.running.exit import SweepError
from sweeps.store.store import open_store, read_store
from trainers.columns import identity_of
from trainers.mnist.cell import Cell
from trainers.mnist.task import TASK
from worlds.store_cases import result


@pytest.fixture
def task():
    return faulty_task()


@pytest.fixture
def store(tmp_path, task):
    with open_store(tmp_path / "r.parquet", task=task, provenance={}, fingerprint="f") as opened:
        yield opened


def dispatcher_of(task, store, jobs, *, saved=None, **patience):
    return Dispatcher(task, in_order(jobs), store, Log(), Patience(**patience), saved)


def failure(kind="raised"):
    return {"failure": {"kind": kind, "error": "E: no", "traceback": "Traceback", "host": "h"}}



ENDS = st.sampled_from(["row", "row", "raised", "diverged", "infinite", "killed", "lost", "round", "broken round", "silence"])


@settings(deadline=None, max_examples=60)
@given(ends=st.lists(st.tuples(ENDS, st.integers(0, 3)), max_size=60), slots=st.integers(1, 4))
def test_every_job_ends_once_as_a_row_or_as_a_failure_whatever_happens(tmp_path_factory, ends, slots):
    """Catches a job that is dropped, run for ever, or counted twice, in any order of faults."""
    path, task = tmp_path_factory.mktemp("dispatch") / "r.parquet", faulty_task()
    jobs = faulty_jobs(task, range(7))
    with open_store(path, task=task, provenance={}, fingerprint="f") as store:
        dispatcher = dispatcher_of(task, store, jobs)
        out, trial, script = {}, 0, iter(ends)
        while not dispatcher.over():
            while len(out) < slots and (job := dispatcher.hand_out(str(trial))) is not None:
                out[str(trial)] = job
                dispatcher.began(str(trial))
                trial += 1
            end, which = next(script, ("row", 0))
            name = list(out)[which % len(out)]
            if end in ("round", "broken round"):
                dispatcher.broke_off("OutOfMemoryError: no" if end == "broken round" else "")
                out.clear()
            elif end != "silence":
                job = out.pop(name)
                if end in ("row", "infinite"):
                    told = report(task, job)
                    told["rows"][0]["val_loss"] *= math.inf if end == "infinite" else 1
                    dispatcher.reported(name, told)
                    dispatcher.reported(name, told)   # Tune may repeat itself
                elif end == "killed":
                    dispatcher.died(name, "The worker died\n\tip: 10.0.0.7\nSIGSEGV")
                elif end == "lost":
                    dispatcher.died(name, "The actor died because its node has died. Node Id: 5")
                else:
                    dispatcher.reported(name, failure(end))
            assert trial < 1000, "jobs go round for ever"
        assert dispatcher.succeeded + dispatcher.failed == len(jobs)
        assert dispatcher.succeeded == len(store.results) and dispatcher.failed == len(store.failures)
    kept = read_store(path, task=faulty_task())
    assert not set(kept.results) & set(kept.failures)
    assert set(kept.results) | set(kept.failures) == {identity for job in jobs for identity in job.identities()}


class Told:
    """A source that hands out its jobs and notes what it is told of them."""

    def __init__(self, jobs):
        self.jobs, self.ends = list(jobs), []

    def next(self):
        return self.jobs.pop() if self.jobs else None

    def exhausted(self):
        return not self.jobs

    def finished(self, job, rows):
        assert [identity_of(row) for row in rows] == list(job.identities())
        self.ends.append((job, True))

    def failed(self, job):
        self.ends.append((job, False))

    def remaining(self):
        return self.jobs


def mnist_row(cell, **changes):
    return vars(result(0, **{**vars(cell), **changes}))


cells = st.lists(st.builds(Cell, seed=st.integers(0, 5), width=st.sampled_from([0.5, 1.0]), fraction=st.just(0.25),
                           dropout=st.sampled_from([0.0, 0.2])), unique=True, min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(cells, st.integers(1, 5), st.sampled_from(["results", "tuning"]), st.data())
def test_every_cell_of_a_pack_ends_exactly_once_whatever_happens_to_the_pack(tmp_path_factory, cells, most, table, data):
    """Catches a cell lost with its pack, one trained again though its row came, and a source told of parts it never made."""
    jobs = [Job(tuple(together), table) for together in TASK.runs(cells, most=most)]
    diverging = data.draw(st.sets(st.sampled_from(cells)))
    source, path = Told(jobs), tmp_path_factory.mktemp("packs") / "r.parquet"
    with open_store(path, task=TASK, provenance={}, fingerprint="f") as store:
        dispatcher, trial = Dispatcher(TASK, source, store, Log(), Patience(retries=1)), 0
        while not dispatcher.over():
            trial += 1
            job = dispatcher.hand_out(str(trial))
            dispatcher.began(str(trial))
            fate = data.draw(st.sampled_from(["all", "late", "some", "short", "killed", "node"]), label=f"{len(job.cells)} cells")
            rows = [mnist_row(cell, **({"val_loss": math.nan} if cell in diverging else {})) for cell in job.cells]
            if fate == "killed":
                dispatcher.died(str(trial), "The worker died")
            elif fate == "node":
                dispatcher.died(str(trial), "The actor died because its node has died.")
            else:
                dispatcher.reported(str(trial), {"rows": rows if fate in ("all", "late") else rows[:len(rows) // 2],
                                                 **(failure() if fate in ("late", "some") else {})})
            assert trial < 1000
        held = store.tuning if table == "tuning" else store.results
        assert set(held) | set(store.failures) == {identity_of(cell) for cell in cells}
        assert not set(held) & set(store.failures)
        assert dict(source.ends).keys() == set(jobs) and len(source.ends) == len(jobs)
        for job, well in source.ends:
            assert well == all(identity in held for identity in job.identities())


def test_a_diverged_run_is_a_failure_of_its_cell_and_to_tuning_an_answer(task, tmp_path, store):
    """NaN equals nothing, itself included: in the table it would be a row that differs from itself."""
    spoil(tmp_path, 0, "nan")
    spoil(tmp_path, 1, "infinite")
    for table in ("results", "tuning"):
        dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(3), table=table, folder=str(tmp_path)))
        for trial in "abc":
            job = dispatcher.hand_out(trial)
            dispatcher.reported(trial, report(task, job))
        assert dispatcher.over() and (dispatcher.failed == 0) == (table == "tuning")
        if table == "results":
            assert [row.number for row in store.results.values()] == [2]
            assert {failed.number: (failed.kind, failed.attempts) for failed in store.failures.values()} == {
                0: ("diverged", 1), 1: ("diverged", 1)}
            assert {again for _, _, again in dispatcher.watcher.failures} == {False}, "it would be the same again"
    assert {row.number: row.val_loss for row in store.tuning.values()} == {0: math.inf, 1: math.inf, 2: 1 / 9}


@pytest.mark.parametrize(("kinds", "again"), [
    (["raised"], True), (["raised", "killed"], True), (["raised", "killed", "timeout"], False),
    (["diverged"], False), (["killed", "diverged"], False), (["refused"], False),
    (["lost node"] * LOST_NODES + ["raised"] * 2, True), (["lost node"] * (LOST_NODES + 1), False),
    (["bystander"] * 50 + ["killed"], True),
])
def test_attempts_are_bounded_and_a_lost_node_costs_none(kinds, again):
    assert worth_another(kinds, 2) is again


def test_a_failed_job_leaves_its_error_its_host_and_its_attempts(task, store):
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, [0]), retries=1)
    for trial in "ab":
        dispatcher.hand_out(trial)
        dispatcher.died(trial, "The actor died\n\tpid: 3\n\tip: 10.0.0.7\nWorker exit type: SYSTEM_ERROR")
    [failed] = store.failures.values()
    assert (failed.kind, failed.host, failed.attempts) == ("killed", "10.0.0.7", 2)
    assert dispatcher.over() and dispatcher.failed == 1


def test_a_tuning_run_that_failed_leaves_its_reason_too(task, store):
    """Else a sweep would end with status 1 and nothing to read."""
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, [0], table="tuning"), retries=0)
    dispatcher.hand_out("a")
    dispatcher.reported("a", failure())
    assert len(store.failures) == 1 and dispatcher.over()


@pytest.mark.parametrize("fault", ["other_keys", "text", "nan_elsewhere", "unprintable"])
def test_a_job_whose_row_no_table_can_hold_is_a_failure_and_not_the_end_of_the_sweep(task, tmp_path, store, fault):
    spoil(tmp_path, 1, fault)
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(3), folder=str(tmp_path)))
    for trial in "abc":
        dispatcher.reported(trial, report(task, dispatcher.hand_out(trial)))
    assert (dispatcher.succeeded, dispatcher.failed) == (2, 1) and dispatcher.over()
    [failed] = store.failures.values()
    assert (failed.number, failed.kind, failed.attempts) == (1, "refused", 1) and "\n" not in failed.error


def test_numbers_beyond_64_bits_and_rows_of_other_cells_are_refused_too(tmp_path):
    with open_store(tmp_path / "r.parquet", task=TASK, provenance={}, fingerprint="f") as store:
        jobs = [Job((Cell(width=1.0, fraction=0.5, seed=seed),)) for seed in range(3)]
        source = Told(jobs)
        dispatcher = Dispatcher(TASK, source, store, Log(), Patience())
        for k, changes in enumerate(({}, {"params": 2**80}, {"seed": 9})):
            job = dispatcher.hand_out(str(k))
            dispatcher.reported(str(k), {"rows": [mnist_row(job.cells[0], **changes)]})
        assert (dispatcher.succeeded, dispatcher.failed) == (1, 2) and len(store.failures) == 2
        assert [well for _, well in source.ends] == [True, False, False]


def test_what_refuses_the_very_first_row_ends_the_sweep_with_its_reason(task, store):
    """A function that returns no loss fails each of 10,000 cells: one line at once, and not 10,000 failures at the end."""
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(3)))
    dispatcher.hand_out("a")
    with pytest.raises(SweepError, match="no loss"):
        dispatcher.reported("a", {"failure": {"kind": "refused", "error": "it returned no loss", "traceback": "", "host": "h"}})


def test_who_breaks_a_round_is_found_out_and_bystanders_are_spared(task, store):
    """Ray's out-of-memory kill ends the whole of Tune without a word on whose fault it was."""
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(3)))
    out, trial, rounds = {}, 0, 0
    while not dispatcher.over():
        while len(out) < 3 and (job := dispatcher.hand_out(str(trial))) is not None:
            out[str(trial)] = job
            dispatcher.began(str(trial))
            trial += 1
        if any(job.cells[0].number == 1 for job in out.values()):   # dies before the others are done
            dispatcher.broke_off("OutOfMemoryError: 1 took too much")
            out.clear()
            rounds += 1
        else:
            name, job = next(iter(out.items()))
            dispatcher.reported(name, report(task, job))
            out.pop(name)
        assert rounds < 20
    assert {row.number for row in store.results.values()} == {0, 2}
    assert [failed.number for failed in store.failures.values()] == [1]


def test_workers_that_cannot_start_end_the_sweep_with_their_reason(task, store):
    """A GPU that torch doesn't see would otherwise cost three attempts for each of 10,000 cells."""
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(9)), retries=1)
    text = f"The actor died because of an error {STILLBORN}, ray::X()\n  File ...\nRuntimeError: torch sees no GPU"
    dispatcher.hand_out("a")
    dispatcher.died("a", text)
    dispatcher.hand_out("b")
    with pytest.raises(SweepError, match="torch sees no GPU"):
        dispatcher.died("b", text)


def test_a_stopped_sweep_hands_out_nothing_and_forgets_nothing_that_ran(task, store):
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(3)))
    job = dispatcher.hand_out("a")
    dispatcher.hand_out("b")
    dispatcher.began("a")
    dispatcher.stopping = True
    assert dispatcher.hand_out("c") is None and not dispatcher.over()
    dispatcher.never_began("b")
    dispatcher.reported("a", report(task, job))
    assert dispatcher.over() and len(store.results) == 1


def test_a_run_that_saved_and_left_is_neither_finished_nor_failed(task, store):
    """It goes on in the next sweep, from what it saved: counted as a failure it would end with status 1 for nothing."""
    saved = Kept()
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, range(2)), saved=saved)
    dispatcher.hand_out("a")
    dispatcher.stopping = True
    dispatcher.reported("a", {"job_seconds": 3.0, "host": "h", "rows": [], "stopped": True})
    assert dispatcher.over() and (dispatcher.succeeded, dispatcher.failed) == (0, 0)
    assert not store.failures and not saved.dropped


def test_rows_of_a_run_that_left_half_way_are_kept_and_the_rest_is_no_failure(task, store):
    cells = [task.cell(number=number) for number in range(4)]
    job = Job(tuple(cells))
    dispatcher = Dispatcher(task, JobList([job], seconds=lambda job: 0.0), store, Log(), Patience())
    dispatcher.hand_out("a")
    dispatcher.stopping = True
    rows = [row for cell in cells[:2] for row in report(task, Job((cell,)))["rows"]]
    dispatcher.reported("a", {"rows": rows, "stopped": True, "job_seconds": 1.0})
    assert [row.number for row in store.results.values()] == [0, 1] and not store.failures and dispatcher.failed == 0


class Kept:
    """What runs have saved; their last sign of life is `silent` seconds ago."""

    def __init__(self, silent=math.inf):
        self.dropped, self.silent = [], silent

    def drop(self, job):
        self.dropped.append(job)

    def last_sign(self, job):
        return self.silent


def test_what_a_run_saved_goes_once_its_row_is_safe_and_stays_while_it_may_go_on(task, tmp_path, store):
    saved, jobs = Kept(), faulty_jobs(task, range(3), folder=str(tmp_path))
    spoil(tmp_path, 1, "nan")
    dispatcher = dispatcher_of(task, store, jobs, saved=saved, retries=0)
    for trial in "ab":
        dispatcher.reported(trial, report(task, dispatcher.hand_out(trial)))
    assert saved.dropped == jobs[:2], "its row is safe, or it would be the same again"
    dispatcher.hand_out("c")
    dispatcher.died("c", "The worker died")
    assert dispatcher.over() and saved.dropped == jobs[:2], "of a run that was killed, what it saved is worth keeping"


@pytest.mark.parametrize(("silent", "kind"), [(math.inf, "killed"), (1e6, "killed"), (0.0, "killed")])
def test_a_death_long_before_the_limit_is_no_timeout(task, store, silent, kind):
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, [0]), saved=Kept(silent), retries=0, timeout_s=lambda job: 3600.0)
    dispatcher.hand_out("a")
    dispatcher.began("a")
    dispatcher.died("a", "The worker died")
    assert [failed.kind for failed in store.failures.values()] == [kind]


@pytest.mark.parametrize(("silent", "kind"), [(math.inf, "timeout"), (1e6, "timeout"), (0.0, "killed")])
def test_the_limit_counts_from_the_last_sign_of_life(task, store, silent, kind):
    """A run of hours that saved a second ago did not hang: it was killed."""
    dispatcher = dispatcher_of(task, store, faulty_jobs(task, [0]), saved=Kept(silent), retries=0, timeout_s=lambda job: 1e-9)
    dispatcher.hand_out("a")
    dispatcher.began("a")
    dispatcher.died("a", "The worker died")
    assert [failed.kind for failed in store.failures.values()] == [kind]


def test_a_success_after_a_failure_clears_it(task, tmp_path, store):
    """A rerun tries the failed again; what then succeeds is no failure any more."""
    [job] = jobs = faulty_jobs(task, [0], folder=str(tmp_path))
    dispatcher = dispatcher_of(task, store, jobs, retries=0)
    dispatcher.hand_out("a")
    dispatcher.reported("a", failure())
    assert len(store.failures) == 1
    mend(tmp_path)
    dispatcher = dispatcher_of(task, store, jobs, retries=0)
    dispatcher.hand_out("b")
    dispatcher.reported("b", report(task, job))
    assert not store.failures and [identity_of(row) for row in store.results.values()] == list(job.identities())


@pytest.mark.parametrize(("column", "kept"), [("val_accuracy", True), ("train_loss", True), ("params", False), ("samples", False)])
def test_a_side_result_may_be_nan_and_a_size_may_not(column, kept, tmp_path):
    """The law is fitted on N and D; a metric that a run could not compute says nothing against its loss."""
    cell = Cell(width=1.0, fraction=0.5)
    spoilt = mnist_row(cell, **{column: math.nan})
    with open_store(tmp_path / "r.parquet", task=TASK, provenance={}) as store:
        dispatcher = Dispatcher(TASK, JobList([Job((cell,))], seconds=lambda job: 0.0), store, Log(), Patience())
        dispatcher.hand_out("a")
        if kept:
            dispatcher.reported("a", {"rows": [spoilt]})
            assert math.isnan(getattr(next(iter(store.results.values())), column))
        else:
            with pytest.raises(SweepError):
                dispatcher.reported("a", {"rows": [spoilt]})
            assert not store.results and next(iter(store.failures.values())).kind == "refused"
