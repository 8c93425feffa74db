"""A second model over a box whose bounds are known: what it believes, what it suggests, and that it leads out of corners."""

import json
import math

import numpy as np
import pytest

from sweeps.carbs import gp
from sweeps.carbs.acquisition import anywhere
from sweeps.carbs.box import box_model, box_prior
from sweeps.carbs.search import Carbs
from sweeps.carbs.space import Choice, Integer, Linear, Log, Space
from sweeps.carbs.surrogate import Scaling

BOX = {"size": Log(1e3, 10.0, 1e5), "x": Linear(0.5, 0.0, 4.0), "y": Linear(0.5, 0.0, 4.0), "z": Linear(0.5, 0.0, 4.0)}


def run(space, loss, cost, *, seed, runs, noise=0.0, **more):
    rng = np.random.default_rng(seed)
    carbs = Carbs(space, seed=seed, **more)
    for _ in range(runs):
        config = carbs.ask()
        carbs.tell(config, loss=loss(config) + noise * rng.normal(), cost=cost(config))
    return carbs


def test_without_a_trend_it_is_a_constant_and_a_matern_kernel_and_far_away_it_knows_the_mean_alone():
    rng = np.random.default_rng(0)
    prior = box_prior(2)
    theta = np.concatenate([prior.low[:4], [0.1, 0.2, 0.3, -6.0]])
    X, Z = rng.normal(size=(5, 2)), rng.normal(size=(7, 2))
    r = np.sqrt(5 * (((X[:, None] - Z[None]) / np.exp(theta[4:6])) ** 2).sum(-1))
    assert gp.kernel(theta, X, Z) == pytest.approx(1 + math.exp(0.3) * (1 + r + r * r / 3) * np.exp(-r), rel=1e-4)
    y = np.array([1.0, -1.0, 2.0, -2.0, 0.5])
    mean, sd = gp.condition(theta, X, y, np.ones(5)).predict(np.array([[50.0, 50.0]]))
    assert sd[0] ** 2 == pytest.approx(math.exp(0.3) + 1 / (1 + 5 / math.exp(0.3)), rel=0.5) and abs(mean[0]) < 1


def test_it_agrees_with_the_runs_it_has_seen():
    carbs = run(BOX, lambda c: math.sin(2 * c["x"]) + 0.3 * c["y"], lambda c: c["size"], seed=0, runs=30, max_cost=1e5)
    now = carbs.beliefs()
    model = box_model(carbs.space, now)
    assert np.abs(model.predict(now.X)[0] - now.loss.warp(now.observed)).max() < 0.3
    far, near = model.predict(np.array([carbs.space.high]))[1][0], model.predict(now.X[:1])[1][0]
    assert far > 3 * near


def test_candidates_lie_evenly_over_the_box_and_take_one_option():
    space = Space({"x": Linear(0.5, 0.0, 4.0), "kind": Choice(("a", "b", "c")), "n": Integer(4, 1, 64)})
    X = anywhere(space, 3000, np.random.default_rng(1))
    configs = [space.decode(x) for x in X]
    assert [sum(c["kind"] == kind for c in configs) / 3000 for kind in "abc"] == pytest.approx([1 / 3] * 3, abs=0.05)
    assert np.quantile([c["x"] for c in configs], [0.25, 0.5, 0.75]) == pytest.approx([1, 2, 3], abs=0.15)
    assert np.median([math.log2(c["n"]) for c in configs]) == pytest.approx(3, abs=0.5)


def basin(c):
    """Downhill from the center to one corner; what is best lies in the opposite one."""
    h = np.array([c["x"], c["y"], c["z"]])
    return 2.0 / (1 + c["size"] / 1e4) + min(1.0 + 0.25 * h.mean(), 0.35 * float(((h - 3.2) ** 2).sum()))


@pytest.mark.slow
def test_a_slope_towards_the_wrong_corner_holds_no_search_for_good():
    best = [min(o.loss for o in run(BOX, basin, lambda c: c["size"], seed=seed, runs=80, noise=0.01, max_cost=1e5).observations)
            for seed in range(3)]
    assert sorted(best)[1] < 0.6 and best[0] < 0.6   # the corner downhill has 1.0 at least, whatever the size


def test_a_whole_number_that_no_first_run_moved_is_moved_in_time():
    """Its slope is unknown; read as a tenth of a step's, no step is ever surely within the cap."""
    space = BOX | {"layers": Integer(2, 1, 5, log=False)}
    carbs = run(space, lambda c: basin(c) + 0.2 * abs(c["layers"] - 3), lambda c: c["size"] * c["layers"], seed=0, runs=40, max_cost=2e5)
    assert len({o.config["layers"] for o in carbs.observations}) >= 3
    X = np.array([[0.0, 2.0], [1.0, 2.0], [0.5, 2.0]])
    assert Scaling.of(X).sd[1] == 1.0 and Scaling.of(X).sd[0] == pytest.approx(X[:, 0].std())


def test_a_saved_search_goes_on_with_the_same_suggestions_whichever_model_makes_them():
    space = BOX | {"kind": Choice(("a", "b"))}
    whole = run(space, basin, lambda c: c["size"], seed=2, runs=36, max_cost=1e5)
    part = run(space, basin, lambda c: c["size"], seed=2, runs=30, max_cost=1e5)
    part = Carbs.from_state_dict(json.loads(json.dumps(part.state_dict())))
    for _ in range(6):
        config = part.ask()
        part.tell(config, loss=basin(config), cost=config["size"])
    assert [o.config for o in part.observations] == [o.config for o in whole.observations]


def test_it_has_no_part_where_a_bound_is_missing(monkeypatch):
    from sweeps.carbs import plan
    asked = []
    monkeypatch.setattr(plan, "suggest_in_box", lambda *args: asked.append(args) or pytest.fail("asked"))
    run(BOX | {"x": Linear(0.5, 0.0)}, basin, lambda c: c["size"], seed=3, runs=40, max_cost=1e5)
    assert not asked
