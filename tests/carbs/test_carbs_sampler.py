"""CARBS under Optuna: a study's trials are what the search asked for and learns from, on any worker."""

import math

import optuna
import pytest

from sweeps.carbs.sampler import CarbsSampler
from sweeps.carbs.search import BudgetSpent, Carbs
from sweeps.carbs.space import Choice, Conditional, Integer, Linear, Listed, Log, Logit, PowerOfTwo

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"N": Log(1e4), "lr": Log(1e-3, low=1e-6, high=1.0), "layers": Integer(2, 1, 16), "p": Logit(0.1), "shift": Linear(0.0),
         "norm": Choice(("none", "batch"))}


def objective(trial, sign=1.0):
    N, lr = trial.suggest_float("N", 1, 1e12, log=True), trial.suggest_float("lr", 1e-6, 1.0, log=True)
    layers, p = trial.suggest_int("layers", 1, 16, log=True), trial.suggest_float("p", 0.0, 1.0)
    shift, norm = trial.suggest_float("shift", -1e3, 1e3), trial.suggest_categorical("norm", ["none", "batch"])
    trial.set_user_attr("cost", 6 * N * layers)
    if lr > 3e-2:
        raise optuna.TrialPruned
    rate = math.log10(lr / (3e-2 * N ** -0.2))
    return sign * (1 + 100 / N ** 0.4 + 0.3 * rate ** 2 + 0.1 * p + 0.01 * shift ** 2 + 0.1 * (norm == "none"))


def test_a_study_runs_what_the_search_asks_for_and_tells_it_all():
    sampler, alone = CarbsSampler(SPACE, seed=3, max_cost=1e7), Carbs(SPACE, seed=3, max_cost=1e7)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=14)
    for trial in study.trials:
        config = alone.ask()
        assert trial.params == config
        if trial.state is optuna.trial.TrialState.COMPLETE:
            alone.tell(config, loss=trial.value, cost=trial.user_attrs["cost"])
        else:
            alone.tell_failed(config, cost=trial.user_attrs["cost"])
    assert sampler.carbs.observations == alone.observations and not sampler.carbs.pending


def test_maximising_is_minimising_the_negative():
    low, high = CarbsSampler(SPACE, seed=1), CarbsSampler(SPACE, seed=1)
    optuna.create_study(sampler=low).optimize(objective, n_trials=8)
    optuna.create_study(sampler=high, direction="maximize").optimize(lambda trial: objective(trial, -1.0), n_trials=8)
    assert low.carbs.observations == high.carbs.observations


def test_a_study_goes_on_from_its_storage_and_from_other_workers_trials():
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="s", sampler=CarbsSampler(SPACE, seed=1))
    study.optimize(objective, n_trials=6)
    other = CarbsSampler(SPACE, seed=2)
    optuna.load_study(storage=storage, study_name="s", sampler=other).optimize(objective, n_trials=2)
    study.optimize(objective, n_trials=1)
    assert len(other.carbs.observations) == 8                       # 6 found there, 2 of its own
    assert len(study.sampler.carbs.observations) == 9
    assert len({str(sorted(t.params.items())) for t in study.trials}) >= 8   # the second didn't begin anew at the center


def test_what_cannot_be_is_refused_by_name():
    study = optuna.create_study(sampler=CarbsSampler({"x": Log(1.0)}))
    with pytest.raises(ValueError, match="'y' is not in its space"):
        study.optimize(lambda trial: trial.suggest_float("y", 0, 1), n_trials=1)
    with pytest.raises(ValueError, match="bounds"):
        study.optimize(lambda trial: trial.suggest_float("x", 10.0, 20.0, log=True), n_trials=1)
    with pytest.raises(ValueError, match="set_user_attr"):
        study.optimize(lambda trial: trial.suggest_float("x", 1e-300, 1e300, log=True), n_trials=1)
    with pytest.raises(ValueError, match="one objective"):
        optuna.create_study(directions=["minimize"] * 2, sampler=CarbsSampler({"x": Log(1.0)})).ask().suggest_float("x", 0.1, 10)


def test_a_spent_budget_ends_the_study():
    study = optuna.create_study(sampler=CarbsSampler({"x": Log(1.0, low=0.5, high=2.0)}, budget=20.0))

    def costs_x(trial):
        x = trial.suggest_float("x", 0.5, 2.0, log=True)
        trial.set_user_attr("cost", x)
        return 1 / x

    study.optimize(costs_x, n_trials=200)
    assert 3 < len(study.trials) < 200 and study.trials[-1].state is optuna.trial.TrialState.PRUNED
    assert study.sampler.carbs.spent <= 20.0 and not study.sampler.carbs.pending
    with pytest.raises(BudgetSpent):
        study.ask().suggest_float("x", 0.5, 2.0, log=True)


def test_steps_round_what_was_asked_for_and_what_ran_is_what_is_learnt():
    sampler = CarbsSampler({"width": Integer(64, 8, 512), "batch": PowerOfTwo(32, 8, 256), "rate": Listed((0.0, 0.1, 0.3))}, seed=1)

    def objective(trial):
        width = trial.suggest_int("width", 8, 512, step=8)
        batch, rate = trial.suggest_categorical("batch", [8, 16, 32, 64, 128, 256]), trial.suggest_float("rate", 0.0, 0.3)
        trial.set_user_attr("cost", float(width))
        return abs(width - 200) / 200 + abs(math.log2(batch) - 6) + rate

    optuna.create_study(sampler=sampler).optimize(objective, n_trials=16)
    told = sampler.carbs.observations
    assert len(told) == 16 and not sampler.carbs.pending
    assert all(o.config["width"] % 8 == 0 and o.config["rate"] in (0.0, 0.1, 0.3) for o in told)


def test_a_hyperparameter_under_a_condition_is_suggested_only_where_it_holds():
    space = {"kind": Choice(("sgd", "adam")), "momentum": Conditional(Linear(0.9, 0.0, 0.99), on="kind", values=("sgd",))}
    sampler = CarbsSampler(space, seed=2)

    def objective(trial):
        trial.set_user_attr("cost", 1.0)
        if trial.suggest_categorical("kind", ["sgd", "adam"]) == "sgd":
            return 1.0 + abs(trial.suggest_float("momentum", 0.0, 0.99) - 0.5)
        return 1.2

    optuna.create_study(sampler=sampler).optimize(objective, n_trials=14)
    assert {"momentum" in o.config for o in sampler.carbs.observations} == {True, False}
    assert all(("momentum" in o.config) == (o.config["kind"] == "sgd") for o in sampler.carbs.observations)


def test_a_pruned_trial_is_a_run_stopped_early_and_no_failure():
    sampler = CarbsSampler({"x": Log(1.0, 0.1, 10.0)}, seed=1)
    study = optuna.create_study(sampler=sampler)

    def objective(trial):
        x = trial.suggest_float("x", 0.1, 10.0, log=True)
        for epoch in range(4):
            trial.report(x + 1.0 / (epoch + 1), epoch)
            trial.set_user_attr("cost", epoch + 1.0)
            if x > 2.0 and epoch == 1:
                raise optuna.TrialPruned
        return x + 0.25

    study.optimize(objective, n_trials=20)
    pruned = [o for o in sampler.carbs.observations if o.stopped]
    assert pruned and all(o.cost == 2.0 and o.loss == o.config["x"] + 0.5 for o in pruned)
    assert not any(o.failed for o in sampler.carbs.observations)
    assert min(o.loss for o in sampler.carbs.observations) < 0.6     # it learnt which way is down
