"""What becomes of a job, decided without Ray: a made-up Tune hands jobs out and loses them in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.sweep_cases import FaultyJob, Log, jobs_of

from sweeps.running.dispatch import LOST_NODES, STILLBORN, Desk, Patience, worth_another
from sweeps.running.exit import SweepError
from sweeps.store.rows import identity_of
from sweeps.store.store import open_store, read_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "r.parquet", provenance={}, fingerprint="f") as opened:
        yield opened


def desk_of(store, jobs, **patience):
    return Desk(jobs_of(jobs), store, Log(), Patience(**patience))


def rows(job):
    return {"rows": [vars(job.row())]}


def failure(kind="raised"):
    return {"failure": {"kind": kind, "error": "E: no", "traceback": "Traceback", "host": "h"}}


ENDS = st.sampled_from(["row", "row", "raised", "diverged", "killed", "lost", "round", "broken round", "silence"])


@settings(deadline=None, max_examples=60)
@given(ends=st.lists(st.tuples(ENDS, st.integers(0, 3)), max_size=60), slots=st.integers(1, 4))
def test_every_job_ends_once_as_a_row_or_as_a_failure_whatever_happens(tmp_path_factory, ends, slots):
    """Catches a job that is dropped, run for ever, or counted twice, in any order of faults."""
    path, number = tmp_path_factory.mktemp("desk") / "r.parquet", 7
    with open_store(path, provenance={}, fingerprint="f") as store:
        desk = desk_of(store, [FaultyJob(i) for i in range(number)])
        out, trial, script = {}, 0, iter(ends)
        while not desk.over():
            while len(out) < slots and (job := desk.hand_out(str(trial))) is not None:
                out[str(trial)] = job
                desk.began(str(trial))
                trial += 1
            end, which = next(script, ("row", 0))
            name = list(out)[which % len(out)]
            if end in ("round", "broken round"):
                desk.broke_off("OutOfMemoryError: no" if end == "broken round" else "")
                out.clear()
            elif end != "silence":
                job = out.pop(name)
                if end == "row":
                    desk.reported(name, rows(job))
                    desk.reported(name, rows(job))   # Tune may repeat itself
                elif end == "killed":
                    desk.died(name, "The worker died\n\tip: 10.0.0.7\nSIGSEGV")
                elif end == "lost":
                    desk.died(name, "The actor died because its node has died. Node Id: 5")
                else:
                    desk.reported(name, failure(end))
            assert trial < 1000, "jobs go round for ever"
        assert desk.succeeded + desk.failed == number
        assert desk.succeeded == len(store.results) and desk.failed == len(store.failures)
    kept = read_store(path)
    assert not set(kept.results) & set(kept.failures)
    assert set(kept.results) | set(kept.failures) == {FaultyJob(i).identities()[0] for i in range(number)}


@pytest.mark.parametrize(("kinds", "again"), [
    (["raised"], True), (["raised", "killed"], True), (["raised", "killed", "timeout"], False),
    (["diverged"], False), (["killed", "diverged"], False),
    (["lost node"] * LOST_NODES + ["raised"] * 2, True), (["lost node"] * (LOST_NODES + 1), False),
    (["bystander"] * 50 + ["killed"], True),
])
def test_attempts_are_bounded_and_a_lost_node_costs_none(kinds, again):
    assert worth_another(kinds, 2) is again


def test_a_failed_job_leaves_its_error_its_host_and_its_attempts(store):
    desk = desk_of(store, [FaultyJob(0)], retries=1)
    for trial in "ab":
        desk.hand_out(trial)
        desk.died(trial, "The actor died\n\tpid: 3\n\tip: 10.0.0.7\nWorker exit type: SYSTEM_ERROR")
    [failed] = store.failures.values()
    assert (failed.kind, failed.host, failed.attempts) == ("killed", "10.0.0.7", 2)
    assert desk.over() and desk.failed == 1


def test_a_tuning_run_that_failed_leaves_its_reason_too(store):
    """Else a sweep would end with status 1 and nothing to read."""
    desk = desk_of(store, [FaultyJob(0, table="tuning")], retries=0)
    desk.hand_out("a")
    desk.reported("a", failure())
    assert len(store.failures) == 1 and desk.over()


def test_a_job_whose_row_no_table_can_hold_is_a_failure_and_not_the_end_of_the_sweep(store):
    desk = desk_of(store, [FaultyJob(0), FaultyJob(1)], retries=0)
    for trial in "ab":
        job = desk.hand_out(trial)
        row = vars(job.row()) | ({"params": 2**80} if job.number == 0 else {})
        desk.reported(trial, {"rows": [row]})
    assert (desk.succeeded, desk.failed) == (1, 1) and "64 bits" in next(iter(store.failures.values())).error


def test_who_breaks_a_round_is_found_out_and_bystanders_are_spared(store):
    """Ray's out-of-memory kill ends the whole of Tune without a word on whose fault it was."""
    desk, out = desk_of(store, [FaultyJob(i) for i in range(3)]), {}
    trial, rounds = 0, 0
    while not desk.over():
        while len(out) < 3 and (job := desk.hand_out(str(trial))) is not None:
            out[str(trial)] = job
            desk.began(str(trial))
            trial += 1
        if any(job.number == 1 for job in out.values()):   # dies before the others are done
            desk.broke_off("OutOfMemoryError: 1 took too much")
            out.clear()
            rounds += 1
        else:
            desk.reported(*next((name, rows(job)) for name, job in out.items()))
            out.pop(next(iter(out)))
        assert rounds < 20
    assert {row.seed for row in store.results.values()} == {0, 2}
    assert [failed.seed for failed in store.failures.values()] == [1]


def test_workers_that_cannot_start_end_the_sweep_with_their_reason(store):
    """A GPU that torch doesn't see would otherwise cost three attempts for each of 10,000 cells."""
    desk = desk_of(store, [FaultyJob(i) for i in range(9)], retries=1)
    text = f"The actor died because of an error {STILLBORN}, ray::X()\n  File ...\nRuntimeError: torch sees no GPU"
    desk.hand_out("a")
    desk.died("a", text)
    desk.hand_out("b")
    with pytest.raises(SweepError, match="torch sees no GPU"):
        desk.died("b", text)


def test_a_stopped_sweep_hands_out_nothing_and_forgets_nothing_that_ran(store):
    desk = desk_of(store, [FaultyJob(i) for i in range(3)])
    job = desk.hand_out("a")
    desk.hand_out("b")
    desk.began("a")
    desk.stopping = True
    assert desk.hand_out("c") is None and not desk.over()
    desk.never_began("b")
    desk.reported("a", rows(job))
    assert desk.over() and len(store.results) == 1


def test_a_success_after_a_failure_clears_it(store):
    """A rerun tries the failed again; what then succeeds is no failure any more."""
    job = FaultyJob(0)
    desk = desk_of(store, [job], retries=0)
    desk.hand_out("a")
    desk.reported("a", failure())
    assert len(store.failures) == 1
    desk = desk_of(store, [job], retries=0)
    desk.hand_out("b")
    desk.reported("b", rows(job))
    assert not store.failures and [identity_of(row) for row in store.results.values()] == list(job.identities())
