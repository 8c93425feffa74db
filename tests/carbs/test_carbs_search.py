"""Ask and tell: the search climbs, keeps its cap, survives what it is told and continues bit for bit."""

import copy
import json
import math

import numpy as np
import pytest

from sweeps.carbs.bench.problems import PROBLEMS, closed
from sweeps.carbs.search import BudgetSpent, CapUnreachable, Carbs
from sweeps.carbs.space import Choice, Integer, Linear, Log, Logit

SMALL = {"N": Log(1e4), "lr": Log(1e-3), "layers": Integer(2, 1, 16), "norm": Choice(("none", "batch", "layer"))}


def truth(config):
    """Loss and cost of SMALL: the best rate falls with size, batch norm helps."""
    rate = math.log10(config["lr"] / (3e-2 * config["N"] ** -0.2))
    loss = 1 + 100 / config["N"] ** 0.4 + 0.3 * rate ** 2 + 0.2 * (config["norm"] != "batch") + 0.5 / config["layers"]
    return loss, 6.0 * config["N"] * config["layers"]


def play(carbs, steps, observe=truth):
    asked = []
    for _ in range(steps):
        config = carbs.ask()
        loss, cost = observe(config)
        carbs.tell(config, loss=loss, cost=cost)
        asked.append(config)
    return asked


def bench(name, seed, evaluations, **changes):
    problem, noise = PROBLEMS[name], np.random.default_rng([seed, 1])
    carbs = Carbs(problem.space, seed=seed, **{"max_cost": problem.max_cost, "min_cost": problem.min_cost, **changes})
    runs = []
    while len(runs) < evaluations:
        try:
            config = carbs.ask()
        except BudgetSpent:
            break
        loss, cost = problem.observe(config, noise)
        carbs.tell(config, loss=loss, cost=cost)
        runs.append((config, loss, cost))
    return problem, carbs, runs


def test_a_search_from_a_bad_center_without_bounds_closes_the_front_under_its_cap():
    """The reference closes .884 in 100 runs, 20 of them over the cap; failures near the wall included."""
    problem, carbs, runs = bench("P4", 7, 50)
    assert closed(problem, runs) > 0.975
    assert max(cost for _, _, cost in runs) < 2 * problem.max_cost
    assert sum(cost > problem.max_cost for _, _, cost in runs) <= 0.05 * len(runs)
    assert not carbs.fallbacks


def test_a_center_near_the_cap_does_not_throw_the_first_runs_over_it():
    """Before there is a model nothing but the radius of the first runs keeps the cap."""
    costs = []
    for seed in range(8):
        carbs = Carbs(SMALL, seed=seed, max_cost=2.0 * truth(Carbs(SMALL).space.center())[1])
        play(carbs, 5)
        costs += [o.cost / carbs.max_cost for o in carbs.observations]
    assert max(costs) < 2 and np.mean(np.array(costs) > 1) <= 0.05


def test_a_budget_is_kept_and_spread_over_the_front():
    problem, carbs, runs = bench("P4n", 3, 300, budget=1.5 * PROBLEMS["P4n"].max_cost)
    assert carbs.spent <= carbs.budget
    costs = np.sort([cost for _, _, cost in runs])
    # What a rule of best gain per evaluation does is to spend it all on a handful of dear runs.
    assert len(runs) > 30 and costs[-1] > 0.05 * problem.max_cost
    assert closed(problem, runs) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name, target", [("P4", 0.985), ("P12", 0.950), ("P4n", 0.980)])
def test_the_fronts_of_the_benchmark_are_closed(name, target):
    scores, over = [], []
    for seed in range(5):
        problem, _, runs = bench(name, 100 + seed, 100)
        scores.append(closed(problem, runs))
        over += [cost / problem.max_cost for _, _, cost in runs]
    # A third of the remaining gap for five seeds' luck: the mean itself is the benchmark's to report.
    assert np.mean(scores) > target - (1 - target) / 3
    assert np.mean(np.array(over) > 1) <= 0.05 and max(over) < 2


@pytest.mark.parametrize("at", [1, 5, 14])
def test_a_saved_search_continues_bit_for_bit_with_runs_in_flight(at):
    """Defect 6: a restored reference search repeats itself, its random state unsaved."""
    carbs = Carbs(SMALL, seed=3, max_cost=1e7)
    play(carbs, at)
    flying = [carbs.ask() for _ in range(2)]
    carbs.enqueue({"N": 12345.0, "lr": 1e-3, "layers": 3, "norm": "layer"})
    again = Carbs.from_state_dict(json.loads(json.dumps(carbs.state_dict())))
    assert again.pending == carbs.pending == flying
    for search in (carbs, again):
        loss, cost = truth(flying[1])
        search.tell(flying[1], loss=loss, cost=cost)
    assert play(carbs, 4) == play(again, 4)
    assert json.dumps(carbs.state_dict()) == json.dumps(again.state_dict())


def test_saving_does_not_disturb_and_asking_touches_no_global_state():
    before = copy.deepcopy(np.random.get_state()[1])
    quiet, watched = Carbs(SMALL, seed=1), Carbs(SMALL, seed=1)
    other = Carbs({"x": Linear(0.0), "y": Logit(0.2)}, seed=1)     # defect 1: a second instance, other dimension
    asked = []
    for i in range(12):
        watched.state_dict()
        watched.beliefs() if i > 2 else None
        asked += play(watched, 1)
        play(other, 1, lambda c: (c["x"] ** 2 + c["y"] + 1, 1.0 + abs(c["x"])))
    assert play(quiet, 12) == asked
    assert (np.random.get_state()[1] == before).all()
    assert not quiet.fallbacks and not other.fallbacks


def test_a_told_config_is_left_as_it_was():
    carbs = Carbs(SMALL)
    config = carbs.ask()
    copied = dict(config)
    carbs.tell(config, loss=1.0, cost=1.0)
    config["N"] = -1.0
    assert carbs.observations[0].config == copied


def test_telling_twice_or_what_was_never_asked_or_no_cost_is_refused_and_loses_nothing():
    carbs = Carbs(SMALL)
    config = carbs.ask()
    for cost in (math.nan, 0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="cost must be positive"):
            carbs.tell(config, loss=1.0, cost=cost)
    assert carbs.pending == [config]
    carbs.tell(config, loss=1.0, cost=1.0)
    with pytest.raises(ValueError, match="told already"):
        carbs.tell(config, loss=1.0, cost=1.0)
    with pytest.raises(ValueError, match="never asked"):
        carbs.tell({**config, "lr": 0.5}, loss=1.0, cost=1.0)
    with pytest.raises(ValueError, match="names"):
        carbs.enqueue({"lr": 0.5})
    assert len(carbs.observations) == 1


@pytest.mark.parametrize("words", [{"max_cost": 0.0}, {"budget": math.nan}, {"min_cost": 2.0, "max_cost": 1.0},
                                   {"max_cost": 2.0, "budget": 1.0}, {"initial": 1}, {"initial": 2.5}, {"seed": None}, {"seed": -1},
                                   {"budget": "1e9"}])
def test_impossible_settings_are_refused(words):
    with pytest.raises(ValueError):
        Carbs(SMALL, **words)


@pytest.mark.parametrize("observe", [
    lambda c: (1.0, 1.0), lambda c: (1.0, truth(c)[1]), lambda c: (truth(c)[0], 1e-300),
    lambda c: (truth(c)[0] * 1e30, truth(c)[1]), lambda c: (-truth(c)[0], 1e300),
    lambda c: (1e300 if c["lr"] > 2e-3 else truth(c)[0], truth(c)[1]),
], ids=["all alike", "equal losses", "tiny costs", "huge losses", "negative losses, huge costs", "one outlier after another"])
def test_no_observation_ends_a_search_or_makes_it_random(observe):
    """Defect 5: duplicates, a cost of 0 or an empty front silently turned the reference into random search."""
    carbs = Carbs(SMALL, seed=2)
    play(carbs, 16, observe)
    assert not carbs.fallbacks
    assert all(math.isfinite(p.loss) for p in carbs.front())


def test_the_same_config_over_and_over_is_no_trouble_and_counts_as_one_group():
    carbs = Carbs(SMALL, seed=2)
    play(carbs, 8)
    best = min(carbs.observations, key=lambda o: o.loss).config
    for i in range(6):
        carbs.adopt(best)
        carbs.tell(best, loss=truth(best)[0] + 0.01 * (-1) ** i, cost=truth(best)[1])
    play(carbs, 3)
    assert max(p.n for p in carbs.front()) == 7
    assert not carbs.fallbacks


def test_where_nothing_finishes_the_search_says_so_and_goes_on():
    carbs = Carbs(SMALL, seed=0)
    for _ in range(15):
        carbs.tell_failed(carbs.ask(), cost=2.0)
    assert carbs.spent == 30.0 and sum(carbs.fallbacks.values()) > 0
    asked = play(carbs, 12)         # and recovers once runs do finish
    assert len({json.dumps(c) for c in asked}) > 6


def test_losses_that_are_not_finite_are_failures_that_the_search_learns_to_avoid():
    def observe(config):
        loss, cost = truth(config)
        return (math.nan if config["lr"] > 2e-3 else loss), cost

    carbs = Carbs(SMALL, seed=4)
    late = play(carbs, 40, observe)[20:]
    assert carbs.spent == pytest.approx(sum(truth(o.config)[1] for o in carbs.observations))
    # The optimum at small N lies beyond the wall: a search that didn't model it would go there.
    assert sum(c["lr"] > 2e-3 for c in late) <= 6


def test_a_space_that_mostly_fails_is_searched_from_within():
    """Trusted wherever it reached, the model ran from corner to corner: 85 of 100 runs failed here, and as many on the CNN."""
    problem, carbs, runs = bench("narrow", 1, 50)
    assert sum(math.isnan(loss) for _, loss, _ in runs) < 25
    assert closed(problem, runs) > 0.85


@pytest.mark.parametrize("name", ["deceptive", "away"])
def test_a_plateau_or_a_slope_towards_a_corner_holds_the_search_for_a_while_only(name):
    """It stayed where its first runs were for all of 100 (.18 of the front closed on an imitated learning curve)."""
    problem, carbs, runs = bench(name, 1, 70)
    assert closed(problem, runs) > 0.7
    assert sum(cost > problem.max_cost for _, _, cost in runs) <= 0.05 * len(runs)


def test_64_runs_in_flight_do_not_fall_into_one_point():
    carbs = Carbs(SMALL, seed=5, max_cost=1e8)
    first = [carbs.ask() for _ in range(24)]
    assert len({json.dumps(c) for c in first}) == 24
    for config in first:
        loss, cost = truth(config)
        carbs.tell(config, loss=loss, cost=cost)
    flying = [carbs.ask() for _ in range(64)]
    assert len(carbs.pending) == 64
    X = np.array([carbs.space.encode(c) for c in flying])
    distance = np.sqrt(((X[:, None] - X[None]) ** 2).sum(-1)) + 9 * np.eye(64)
    assert np.median(distance.min(1)) > 1e-3
    assert np.log10([truth(c)[1] for c in flying]).std() > 0.3      # spread along the front
    for config in flying:
        loss, cost = truth(config)
        carbs.tell(config, loss=loss, cost=cost)
    assert not carbs.pending and max(o.cost for o in carbs.observations) <= 1e8


def test_a_spent_budget_and_an_unreachable_cap_are_said_so():
    carbs = Carbs({"x": Log(1.0, low=0.5, high=2.0)}, budget=30.0, seed=0)
    with pytest.raises(BudgetSpent, match="left of 30|spent"):
        play(carbs, 100, lambda c: (1 / c["x"], c["x"]))
    assert carbs.spent <= 30.0
    capped = Carbs({"x": Log(1.0, low=0.5, high=2.0)}, max_cost=0.01, seed=0)
    with pytest.raises(CapUnreachable, match="cheapest"):
        play(capped, 40, lambda c: (1 / c["x"], c["x"]))
    assert len(capped.observations) < 40 and capped.fallbacks      # counted while it looked for a way


def test_the_front_is_monotone_smooths_noise_and_has_intervals():
    problem, carbs, _ = bench("P4n", 2, 40)
    points = carbs.front().points
    assert len(points) > 8
    assert all(p.cost < q.cost and p.loss > q.loss for p, q in zip(points, points[1:]))
    assert all(p.low < p.loss < p.high for p in points)
    raw = {json.dumps(o.config): o.loss for o in carbs.observations}
    noise = [abs(raw[json.dumps(p.config)] - problem.true_loss(p.config)) for p in points]
    belief = [abs(p.loss - problem.true_loss(p.config)) for p in points]
    assert np.mean(belief) < np.mean(noise)
    with pytest.raises(ValueError, match="no run"):
        carbs.front().loss_at(points[0].cost / 2)


def test_an_enqueued_config_comes_first():
    carbs = Carbs(SMALL)
    wish = {"N": 777.0, "lr": 1e-2, "layers": 2, "norm": "layer"}
    carbs.enqueue(wish)
    assert carbs.ask() == wish


def test_a_thousand_observations_are_searched_by_a_subset():
    """The reference took 99 s a suggestion at 500. No clock here: the sizes that set the time."""
    rng = np.random.default_rng(0)
    carbs = Carbs(SMALL, seed=0)
    for _ in range(1000):
        config = carbs.space.decode(carbs.space.encode(carbs.space.center()) + rng.normal(0, 0.5, carbs.space.width))
        carbs.adopt(config)
        loss, cost = truth(config)
        carbs.tell(config, loss=loss, cost=cost)
    carbs.ask()
    now = carbs.beliefs()
    assert len(now.loss.process.y) <= 640 and len(now.cost.process.y) <= 256
    # The best runs are in the subset: the front would be lost without them.
    best = max(range(1000), key=lambda i: -carbs.observations[i].loss)
    assert (np.abs(now.loss.scaling(now.X[[best]]) - now.loss.process.X).max(1) < 1e-9).any()
