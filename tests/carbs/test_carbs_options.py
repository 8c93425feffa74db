"""What else a user may ask of the core: ids, known runs, maximising, stopped runs, other spaces, importance."""

import json
import math

import matplotlib
import numpy as np
import pytest

from sweeps.carbs.importance import importance
from sweeps.carbs.plots import plot_front, plot_importance, plot_law
from sweeps.carbs.search import Carbs
from sweeps.carbs.space import Choice, Conditional, Integer, Linear, Listed, Log, Logit, PowerOfTwo, Space

matplotlib.use("Agg")
SPACE = {"N": Log(1e4), "lr": Log(1e-3), "junk": Linear(0.0)}


def truth(config):
    rate = math.log10(config["lr"] / (3e-2 * config["N"] ** -0.2))
    return 1 + 100 / config["N"] ** 0.4 + 0.3 * rate ** 2, 6.0 * config["N"]


def play(carbs, steps, sign=1.0):
    for _ in range(steps):
        config = carbs.ask()
        loss, cost = truth(config)
        carbs.tell(config, loss=sign * loss, cost=cost)
    return carbs


def test_runs_are_told_by_id_even_where_two_have_one_config():
    carbs = Carbs(SPACE)
    carbs.enqueue(carbs.space.center())
    carbs.enqueue(carbs.space.center())
    first, second = carbs.ask("a"), carbs.ask("b")
    assert first == second
    carbs.tell("b", loss=2.0, cost=1.0)
    with pytest.raises(ValueError, match="'b'"):
        carbs.tell("b", loss=2.0, cost=1.0)
    again = Carbs.from_state_dict(json.loads(json.dumps(carbs.state_dict())))
    again.tell("a", loss=3.0, cost=1.0)
    assert [o.loss for o in again.observations] == [2.0, 3.0]
    with pytest.raises(ValueError, match="id"):
        carbs.ask("a")


def test_known_runs_are_taken_in_at_once_or_not_at_all():
    asked, told = Carbs(SPACE, seed=1), Carbs(SPACE, seed=1)
    runs = [({"N": 10.0 ** n, "lr": 1e-3, "junk": 0.0}, *truth({"N": 10.0 ** n, "lr": 1e-3})) for n in (3, 4, 5)]
    told.recall([*runs, ({"N": 1e6, "lr": 1.0, "junk": 0.0}, None, None)])
    for config, loss, cost in runs:
        asked.adopt(config)
        asked.tell(config, loss=loss, cost=cost)
    assert told.observations[:3] == asked.observations and told.observations[3].failed
    with pytest.raises(ValueError, match="cost"):
        told.recall([*runs, (runs[0][0], 1.0, -1.0)])
    assert len(told.observations) == 4


def test_maximising_is_minimising_the_negative_and_the_front_rises():
    low, high = play(Carbs(SPACE, seed=2), 16), play(Carbs(SPACE, seed=2, maximise=True), 16, sign=-1.0)
    assert low.observations == high.observations
    for down, up in zip(low.front(), high.front(), strict=True):
        assert (up.loss, up.low, up.high) == (-down.loss, -down.high, -down.low) and up.config == down.config
    assert high.scaling_laws(draws=2).loss[0].value == -low.scaling_laws(draws=2).loss[0].value


def test_numpy_scalars_are_numbers_and_what_is_no_number_is_explained():
    carbs = Carbs(SPACE)
    config = {name: np.float64(value) for name, value in carbs.ask().items()}
    carbs.tell(config, loss=np.float32(2.5), cost=np.int64(7))
    assert json.loads(json.dumps(carbs.state_dict()))["observations"][0]["loss"] == 2.5
    config = carbs.ask()
    with pytest.raises(ValueError, match="tell_failed"):
        carbs.tell(config, loss=None, cost=1.0)
    assert carbs.pending == [config]


def test_a_search_made_of_numpy_scalars_is_saved_as_any_other():
    """json knows neither float32 nor int64: such a search ran, and failed at its first save."""
    made = [Carbs({"n": Log(number(1e4), low=number(1.0)), "k": Integer(whole(2), whole(1), whole(16)), "p": PowerOfTwo(whole(8)),
                   "q": Listed(of([1, 2, 4])), "c": Choice(of(["a", "b"]))},
                  seed=whole(3), max_cost=number(1e7), initial=whole(4))
            for number, whole, of in ((np.float32, np.int64, np.array), (float, int, list))]
    saved = [json.dumps(carbs.state_dict()) for carbs in made]
    assert saved[0] == saved[1]


def test_a_stopped_run_is_neither_a_failure_nor_as_bad_as_it_was_when_stopped():
    """Read as finished, runs stopped early would bend the model towards whatever is cheap to stop."""
    stopped, as_finished = play(Carbs(SPACE, seed=3), 14), play(Carbs(SPACE, seed=3), 14)
    config = stopped.space.check(stopped.front().points[-1].config)
    x = stopped.space.encode(config)[None]
    loss, cost = truth(config)
    for carbs, tell in ((stopped, stopped.tell_stopped), (as_finished, as_finished.tell)):
        for _ in range(4):
            carbs.adopt(config)
            tell(config, loss=loss + 2.0, cost=0.1 * cost)
    after = {name: carbs.beliefs().loss.interval(x).loss[0] for name, carbs in (("stopped", stopped), ("finished", as_finished))}
    assert abs(after["stopped"] - loss) < 0.05 < after["finished"] - loss
    assert stopped.spent == as_finished.spent and not any(o.failed for o in stopped.observations)
    assert len(stopped.beliefs().X) == 14       # what a whole run costs is not learnt from a part of one


def test_a_run_that_cannot_reach_the_front_is_told_to_stop_and_one_that_can_is_not():
    carbs = play(Carbs(SPACE, seed=4), 24)
    good = carbs.front().points[-1].config
    bad = {**good, "lr": good["lr"] / 1000}

    def run(config):
        carbs.adopt(config, "run")
        loss, cost = truth(config)
        for share in np.linspace(0.1, 1.0, 10):
            # A curve that falls as a power of the cost to its end.
            if not carbs.report("run", loss=loss * share ** -0.05, cost=cost * share):
                carbs.tell_stopped("run", loss=loss * share ** -0.05, cost=cost * share)
                return share
        carbs.tell("run", loss=loss, cost=cost)
        return 1.0

    assert run(good) == 1.0 and run(bad) < 0.8
    assert carbs.observations[-1].stopped and carbs.observations[-1].least <= carbs.observations[-1].loss


def test_a_search_goes_on_in_another_space():
    carbs = play(Carbs({**SPACE, "lr": Log(1e-3, 1e-4, 1e-2)}, seed=5, max_cost=1e6), 12)
    carbs.ask("flying")
    wider = {"N": Log(1e4), "lr": Log(1e-3, 1e-6, 1.0), "wd": Log(0.1), "norm": Choice(("none", "batch"))}
    again = Carbs.from_state_dict(json.loads(json.dumps(carbs.state_dict())), space=wider, max_cost=1e8)
    assert [o.loss for o in again.observations] == [o.loss for o in carbs.observations]
    assert all(o.config["wd"] == 0.1 and "junk" not in o.config for o in again.observations)
    again.tell("flying", loss=2.0, cost=1e5)
    play(again, 6)
    assert again.max_cost == 1e8 and not again.fallbacks
    narrower = Carbs.from_state_dict(carbs.state_dict(), space={"N": Log(1e4, 9e3, 2e4), "lr": Log(1e-3)})
    config = narrower.ask()
    assert 9e3 <= config["N"] <= 2e4 and len(narrower.observations) == 12


def test_conditions_are_part_of_the_space():
    space = Space({"kind": Choice(("sgd", "adam")), "momentum": Conditional(Linear(0.9, 0.0, 0.99), "kind", ("sgd",)),
                   "beta2": Conditional(Logit(0.999), "kind", "adam")})
    assert space.center() == {"kind": "sgd", "momentum": 0.9}
    assert space.decode(space.encode({"kind": "adam", "beta2": 0.99})) == {"kind": "adam", "beta2": pytest.approx(0.99)}
    assert Space.from_json(json.loads(json.dumps(space.to_json()))).to_json() == space.to_json()
    for config in ({"kind": "adam", "momentum": 0.9, "beta2": 0.9}, {"kind": "sgd"}):
        with pytest.raises(ValueError, match="names"):
            space.check(config)
    with pytest.raises(ValueError, match="before it"):
        Space({"m": Conditional(Linear(0.9), "kind", ("sgd",)), "kind": Choice(("sgd", "adam"))})
    with pytest.raises(ValueError, match="none of"):
        Space({"kind": Choice(("sgd", "adam")), "m": Conditional(Linear(0.9), "kind", ("lion",))})


def test_what_the_loss_does_not_depend_on_is_of_no_importance():
    carbs = play(Carbs(SPACE, seed=6), 40)
    shares = importance(carbs, draws=8)
    assert list(shares)[-1] == "junk" and shares["junk"].high < min(0.05, shares["N"].low, shares["lr"].low)


def test_any_search_can_be_drawn():
    from matplotlib.figure import Figure

    carbs = play(Carbs({**SPACE, "layers": Integer(2, 1, 2, log=False), "p": Logit(0.1)}, seed=7, maximise=True), 20, sign=-1.0)
    laws, figure = carbs.scaling_laws(draws=2), Figure()
    axes = figure.subplots(2, 4).ravel()
    assert plot_front(carbs, axes[0]) is axes[0]
    plot_importance(importance(carbs, draws=2), axes[1])
    for name, ax in zip(laws.laws, axes[2:]):
        plot_law(laws, name, ax)
    figure.canvas.draw()
    assert all(ax.get_xlabel() and len(ax.get_children()) > 8 for ax in axes[:7])
