"""CARBS under Ray Tune: trials by id, failures, exact restore, and a real Tuner."""

import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")
from ray import cloudpickle, tune  # noqa: E402
from ray.tune.search import ConcurrencyLimiter, Searcher  # noqa: E402

from sweeps.carbs.searcher import CarbsSearch  # noqa: E402
from sweeps.carbs.space import Integer, Log  # noqa: E402

SPACE = {"N": Log(1e4), "lr": Log(1e-3), "layers": Integer(2, 1, 16)}


def outcome(config):
    rate = math.log10(config["lr"] / (3e-2 * config["N"] ** -0.2))
    return {"loss": 1 + 100 / config["N"] ** 0.4 + 0.3 * rate ** 2, "flops": 6.0 * config["N"] * config["layers"]}


def searcher(**words):
    return CarbsSearch(SPACE, **{"metric": "loss", "mode": "min", "cost": "flops", "seed": 1, **words})


def finish(search, trial):
    search.on_trial_complete(trial, {**outcome(search._open[trial]), "config": search._open[trial]})


def test_a_restored_searcher_continues_bit_for_bit_with_trials_in_flight(tmp_path):
    first = searcher(max_cost=1e7)
    for i in range(9):
        first.suggest(f"t{i}")
        if i % 3:
            finish(first, f"t{i}")
    first.on_trial_result("t0", {"loss": 3.0, "flops": 5.0})
    first.save(tmp_path / "state.pkl")
    second = searcher(max_cost=1e7, seed=99)
    second.restore(tmp_path / "state.pkl")
    for search in (first, second):
        search.on_trial_complete("t0", error=True)      # with the cost that was reported before the save
        finish(search, "t3")
    assert [first.suggest(f"n{i}") for i in range(3)] == [second.suggest(f"n{i}") for i in range(3)]
    assert json.dumps(first.get_state()) == json.dumps(second.get_state())
    assert [p.name for p in tmp_path.iterdir()] == ["state.pkl"]    # no temporary file left


def test_errors_and_nan_are_failures_that_burnt_their_cost():
    search = searcher()
    for i in range(4):
        search.suggest(f"t{i}")
    search.on_trial_result("t0", {"loss": 2.0, "flops": 7.0})
    search.on_trial_complete("t0", error=True)
    search.on_trial_complete("t1", {"loss": math.nan, "flops": 11.0})
    search.on_trial_complete("t2", error=True)                          # died before any report
    search.on_trial_complete("t3")                                      # stopped before any report
    told = search.carbs.observations
    assert [(o.loss, o.cost) for o in told] == [(None, 7.0), (None, 11.0), (None, None)]
    assert search.carbs.spent == 18.0 and not search.carbs.pending


def test_a_cost_that_is_none_is_counted_as_a_failure_and_said():
    search = searcher()
    for i, cost in enumerate((0.0, math.nan, -1.0)):
        search.suggest(f"t{i}")
        search.on_trial_complete(f"t{i}", {"loss": 1.0, "flops": cost})
    assert [(o.loss, o.cost) for o in search.carbs.observations] == [(None, None)] * 3
    assert sum(search.carbs.fallbacks.values()) == 3


def test_maximising_is_minimising_the_negative():
    search = searcher(mode="max", metric="accuracy")
    search.suggest("t0")
    search.on_trial_complete("t0", {"accuracy": 0.9, "flops": 1.0})
    assert search.carbs.observations[0].loss == -0.9


def test_points_to_evaluate_come_first_and_bad_settings_are_refused():
    wish = {"N": 5e3, "lr": 1e-2, "layers": 3}
    assert searcher(points_to_evaluate=[wish]).suggest("t0") == wish
    for words in ({"mode": "least"}, {"cost": ""}, {"points_to_evaluate": [{"lr": 1.0}]}):
        with pytest.raises(ValueError):
            searcher(**words)
    search = searcher()
    search.suggest("t0")
    with pytest.raises(ValueError, match="'flops'"):
        search.on_trial_result("t0", {"loss": 1.0, "seconds": 2.0})
    with pytest.raises(ValueError, match="no metric"):
        searcher(metric=None, mode=None).suggest("t0")


def test_a_trial_begun_after_the_last_save_is_learnt_from_its_own_report():
    search = searcher()
    config = {"N": 5e3, "lr": 1e-2, "layers": 3}
    search.on_trial_complete("lost", {**outcome(config), "config": {**config, "data": "mnist"}})
    assert search.carbs.observations[0].config == config


def test_a_trial_that_is_told_of_twice_counts_once():
    """Of Tune's own checks for searchers (ray/tune/tests/test_searchers.py: reports after a trial's end)."""
    search = searcher()
    config = search.suggest("t0")
    last = {**outcome(config), "config": config}
    search.on_trial_result("t0", last)
    search.on_trial_complete("t0", last)
    search.on_trial_result("t0", last)
    again = searcher()
    again.set_state(json.loads(json.dumps(search.get_state())))
    for one in (search, again):
        one.on_trial_complete("t0", last)
        assert len(one.carbs.observations) == 1 and not one.carbs.pending and not one._burnt


def test_a_spent_budget_waits_for_trials_in_flight_and_then_finishes():
    """Runs in flight are money set aside: a searcher that forgot them would spend the budget thrice."""
    search, waited = searcher(budget=2e6), 0
    for i in range(300):
        answer = search.suggest(f"t{i}")
        if answer == Searcher.FINISHED:
            break
        # The first alone, as it is all that is known of the cost; then three at a time.
        waited += answer is None
        if answer is None or len(search._open) == 3 or i == 0:
            finish(search, next(iter(search._open)))
    assert answer == Searcher.FINISHED and not search._open and waited
    assert search.carbs.spent <= 2e6


def test_a_trial_that_asha_stopped_is_a_run_stopped_early():
    """Tune tells of a stopped trial's last report by its end alone, of a finished one's twice."""
    search = searcher(max_t=9)
    for trial, last in (("whole", 9), ("own end", 3), ("stopped", 3)):
        config = search.suggest(trial)
        for time in range(1, last + (trial != "stopped")):
            report = {**outcome(config), "flops": float(time), "training_iteration": time, "config": config}
            search.on_trial_result(trial, report)
        search.on_trial_complete(trial, {**report, "flops": float(last), "training_iteration": last})
    assert [o.stopped for o in search.carbs.observations] == [False, False, True]


def test_metric_and_mode_come_from_tune_config_where_tune_hands_them_on():
    search = CarbsSearch(SPACE, cost="flops", seed=1)
    with pytest.raises(ValueError, match="param_space"):
        search.suggest("t0")
    assert search.set_search_properties("accuracy", "max", {"data": "mnist"}) is False
    config = search.suggest("t0")
    search.on_trial_complete("t0", {"accuracy": 0.9, "flops": 2.0, "config": config})
    assert search.carbs.observations[0].loss == -0.9


@pytest.fixture(scope="module")
def tune_dir():
    path = tempfile.mkdtemp(prefix="cb", dir="/tmp")
    # Workers can't import a test module: its functions travel by value.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(address="local", include_dashboard=False, _temp_dir=path, num_cpus=2, log_to_driver=False)
    yield Path(path) / "out"
    ray.shutdown()
    shutil.rmtree(path, ignore_errors=True)


def train(config):
    if config["lr"] > 3e-2:
        raise RuntimeError("diverged")
    tune.report(outcome(config))


def tuner(path, name, samples, trainable=train):
    search = CarbsSearch(SPACE, metric="loss", mode="min", cost="flops", seed=1, max_cost=1e7)
    # Actors are reused: a worker takes longer to start than a trial to run.
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        run_config=tune.RunConfig(name=name, storage_path=str(path), verbose=0),
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=samples, reuse_actors=True,
                                    search_alg=ConcurrencyLimiter(search, max_concurrent=2)))


def ill(config):
    """Infinity, its negative and NaN in three of four runs."""
    bad = (math.inf, -math.inf, math.nan)
    which = int(config["N"]) % 4
    tune.report({**outcome(config), **({"loss": bad[which]} if which < 3 else {})})


@pytest.mark.slow
def test_a_real_tuner_takes_reports_that_are_no_numbers(tune_dir):
    """Of Tune's own checks for searchers (ray/tune/tests/test_searchers.py: InvalidValuesTest)."""
    run = tuner(tune_dir, "ill", 12, trainable=ill)
    results = run.fit()
    told = run._local_tuner._tune_config.search_alg.searcher.carbs.observations
    assert len(results) == len(told) == 12 and not results.num_errors
    assert {int(o.config["N"]) % 4 == 3 for o in told if o.loss is not None} <= {True}
    assert sum(o.loss is None for o in told) == sum(int(o.config["N"]) % 4 < 3 for o in told) > 0


@pytest.mark.slow
def test_a_real_tuner_runs_it_and_restores_it(tune_dir):
    run = tuner(tune_dir, "carbs", 14)
    results = run.fit()
    assert len(results) == 14
    search = run._local_tuner._tune_config.search_alg.searcher
    told = search.carbs.observations
    # Every trial told once, the failed ones as failures, and none is still thought to be running.
    assert len(told) == 14 and not search.carbs.pending
    assert sum(o.loss is None for o in told) == results.num_errors
    finished = sorted(r.metrics["loss"] for r in results if r.error is None)
    assert sorted(o.loss for o in told if o.loss is not None) == finished
    assert all(o.cost <= 1e7 for o in told if o.cost)

    again = CarbsSearch(SPACE, metric="loss", mode="min", cost="flops")
    again.restore_from_dir(str(tune_dir / "carbs"))
    assert {json.dumps(o.config) for o in again.carbs.observations} <= {json.dumps(o.config) for o in told}
    restored = tune.Tuner.restore(str(tune_dir / "carbs"), trainable=tune.with_resources(train, {"cpu": 1}),
                                  resume_errored=True)
    assert len(restored.fit()) == 14
