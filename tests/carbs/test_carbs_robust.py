"""Whatever a search is told, it goes on: the crash state, lies, extremes, duplicates, a thousand runs in flight."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.carbs.search import BudgetSpent, CapUnreachable, Carbs
from sweeps.carbs.space import Choice, Conditional, Integer, Linear, Listed, Log, Logit, PowerOfTwo

CRASH = Path(__file__).resolve().parents[3] / "shared" / "data" / "carbs" / "crash_state.json"

SPACES = [
    {"lr": Log(1e-3), "layers": Integer(2, 1, 16), "norm": Choice(("none", "batch"))},
    {"lr": Log(1e-3, 1e-5, 1.0), "p": Logit(0.1, 0.01, 0.9), "m": Linear(0.5, 0.0, 1.0, scale=0.5)},
    {"batch": PowerOfTwo(64, 8, 512), "rate": Listed((0.0, 0.1, 0.5)), "kind": Choice(("sgd", "adam")),
     "momentum": Conditional(Linear(0.9, 0.0, 0.99), on="kind", values=("sgd",))},
    {"x": Linear(0.0)},
    {"x": Linear(0.0, -1e300, 1e300, scale=1e300), "n": Integer(1, 1, 2, log=False)},
]
LOSSES = st.one_of(st.sampled_from([1.0, 1.0, 0.0, -1.0, 1e-300, 1e300, -1e300, math.nan, math.inf, -math.inf, 10**400, np.float32(0.5)]),
                   st.floats(allow_nan=True))
COSTS = st.one_of(st.sampled_from([1.0, 1.0, 1e-300, 1e300, 5e-324, 1.7e308, np.float64(2.0), 10**30]), st.floats(1e-3, 1e3))
LIES = st.sampled_from([0.0, -1.0, math.nan, math.inf, None, "1", True])
STEPS = st.lists(st.tuples(st.sampled_from(["tell", "tell", "tell", "tell", "fail", "stop", "report", "forget", "hold", "lie", "again",
                                            "save"]), LOSSES, COSTS, LIES), min_size=1, max_size=24)


def step(carbs, told, action, loss, cost, lie):
    """One action on the oldest run in flight; returns the search, which saving replaces."""
    config = carbs.pending[0] if carbs.pending else None
    try:
        if action == "again" and told:
            carbs.adopt(told[-1])
            carbs.tell(told[-1], loss=loss, cost=cost)
        elif action == "save":
            return Carbs.from_state_dict(json.loads(json.dumps(carbs.state_dict())))
        elif config is None or action == "hold":
            return carbs
        elif action == "tell":
            carbs.tell(config, loss=loss, cost=cost)
            told.append(config)
        elif action == "fail":
            carbs.tell_failed(config, cost=cost)
        elif action == "stop":
            carbs.tell_stopped(config, loss=loss, cost=cost)
        elif action == "report":
            assert carbs.report(config, loss=loss, cost=cost) in (True, False)
        elif action == "forget":
            carbs.forget(config)
        elif action == "lie":
            before = len(carbs.pending)
            with pytest.raises(ValueError):
                carbs.tell(config, loss=1.0, cost=lie)
            assert len(carbs.pending) == before
    except ValueError as refusal:
        # What is no float is refused by name, and the run stays in flight.
        assert "must be" in str(refusal) and action != "lie"
    return carbs


def play(seed, space, steps, bounds):
    carbs, told = Carbs(SPACES[space], seed=seed, initial=3, **bounds), []
    for action in steps:
        try:
            config = carbs.ask()
        except (BudgetSpent, CapUnreachable):
            break
        assert carbs.space.check(config) == config
        carbs = step(carbs, told, *action)
    if sum(o.finished for o in carbs.observations) >= 2:
        assert all(math.isfinite(p.loss) and p.cost > 0 for p in carbs.front())


CASES = dict(seed=st.integers(0, 3), space=st.integers(0, len(SPACES) - 1), steps=STEPS,
             bounds=st.sampled_from([{}, {"max_cost": 2.0}, {"budget": 50.0}, {"min_cost": 1e-3, "max_cost": 1e3}]))
QUIET = dict(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@given(**CASES)
@settings(max_examples=60, **QUIET)
def test_no_sequence_of_tells_ends_a_search(seed, space, steps, bounds):
    play(seed, space, steps, bounds)


@pytest.mark.slow
@given(**CASES)
@settings(max_examples=2000, **QUIET)
def test_no_sequence_of_tells_ends_a_search_in_2000_cases(seed, space, steps, bounds):
    play(seed, space, steps, bounds)


@pytest.mark.skipif(not CRASH.exists(), reason="the state lies in ../shared")
def test_the_state_from_which_every_ask_failed_goes_on():
    carbs = Carbs.from_state_dict(json.loads(CRASH.read_text()))
    assert len(carbs.front()) > 3
    for _ in range(8):
        carbs.tell(carbs.ask(), loss=1.5, cost=200.0)
    assert not carbs.fallbacks


def test_a_covariance_beyond_doubles_is_trained_away_from_and_still_conditioned_on():
    """L-BFGS may reach a trend of variance 1e10 beside a noise of 1e-6, which no Cholesky factor survives."""
    from sweeps.carbs import gp
    from sweeps.carbs.surrogate import loss_prior

    rng, d = np.random.default_rng(0), 8
    X, prior = rng.normal(size=(40, d)), loss_prior(8)
    theta = np.where(np.arange(len(prior.mean)) < 2 * d, prior.high, prior.mean)
    theta[-1] = prior.low[-1]
    y, ones = rng.normal(size=40), np.ones(40)
    trained = gp.train(np.vstack([X, X[:9]]), np.append(y, y[:9]), prior, theta, weights=np.ones(49), iterations=10)
    assert np.isfinite(trained).all()
    assert np.isfinite(gp.condition(theta, np.vstack([X, X]), np.append(y, y), np.append(ones, ones)).predict(X)[0]).all()


@pytest.mark.slow
def test_a_thousand_runs_in_flight_are_all_different():
    carbs = Carbs(SPACES[0], seed=1, max_cost=1e3)
    for i in range(12):
        config = carbs.ask()
        carbs.tell(config, loss=1.0 + abs(math.log10(config["lr"]) + 2), cost=float(config["layers"]))
    flying = [json.dumps(carbs.ask()) for _ in range(1000)]
    assert len(carbs.pending) == 1000 and len(set(flying)) > 900


def test_asks_never_told_do_not_stop_a_search():
    carbs = Carbs(SPACES[1], seed=1)
    for i in range(30):
        config = carbs.ask(f"run {i}")
        if i % 3 == 0:
            carbs.tell(f"run {i}", loss=float(abs(config["m"] - 0.3)), cost=1.0 + config["p"])
    assert len(carbs.pending) == 20 and len(carbs.observations) == 10
