"""Configs to basic coordinates and back, and what a space refuses."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.carbs.space import Choice, Integer, Linear, Log, Logit, Space

SPACE = {"lr": Log(1e-3, low=1e-6, high=1.0, scale=0.5), "dropout": Logit(0.1), "shift": Linear(0.0, -2.0, 3.0, scale=0.5),
         "width": Integer(64, 8, 4096), "layers": Integer(2, 0, 12, log=False), "norm": Choice(("none", "batch", None))}


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1 - 1e-6), st.floats(-2.0, 3.0), st.integers(8, 4096),
       st.integers(0, 12), st.sampled_from(SPACE["norm"].options))
def test_a_config_survives_the_way_there_and_back(lr, dropout, shift, width, layers, norm):
    config = {"lr": lr, "dropout": dropout, "shift": shift, "width": width, "layers": layers, "norm": norm}
    back = Space(SPACE).decode(Space(SPACE).encode(config))
    assert (back["width"], back["layers"], back["norm"]) == (width, layers, norm)
    for name in ("lr", "dropout", "shift"):
        assert math.isclose(back[name], config[name], rel_tol=1e-9, abs_tol=1e-12)


@given(st.lists(st.floats(-400, 400), min_size=8, max_size=8))
def test_every_point_snaps_to_a_config_inside_the_bounds_and_stays_there(x):
    space = Space(SPACE)
    once = space.snap(np.array([x]))
    config = space.check(space.decode(once[0]))     # check refuses whatever lies outside
    assert isinstance(config["width"], int) and isinstance(config["layers"], int)
    # rtol of a log and a power in doubles, at the far end of Logit's range
    np.testing.assert_allclose(space.snap(once), once, rtol=1e-2, atol=1e-6)


def test_a_decade_is_one_basic_unit_whatever_the_magnitude():
    log, logit = Log(1.0), Logit(0.5)
    assert math.isclose(log.encode(3e-4)[0] - log.encode(3e-5)[0], 1.0)
    assert math.isclose(logit.encode(10 / 11)[0], 1.0)      # odds of 10


def test_a_space_survives_json_even_with_none_among_the_options():
    space = Space(SPACE)
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again.dimensions == space.dimensions


@pytest.mark.parametrize("make, word", [
    (lambda: Log(0.0), "positive"), (lambda: Log(-1.0), "positive"), (lambda: Log(1.0, low=0.0), "positive"),
    (lambda: Log(1.0, low=2.0), "outside its bounds"), (lambda: Log(1.0, low=3.0, high=2.0), "below high"),
    (lambda: Log(math.nan), "finite"), (lambda: Log("1e-3"), "finite number"), (lambda: Log(True), "finite number"),
    (lambda: Logit(1.0), "between 0 and 1"), (lambda: Logit(0.5, high=1.0), "between 0 and 1"),
    (lambda: Linear(0.0, scale=0.0), "scale"), (lambda: Linear(5.0, high=4.0), "outside its bounds"),
    (lambda: Integer(2.5), "whole"), (lambda: Integer(0), "at least 1"), (lambda: Choice(("a",)), "two different"),
    (lambda: Choice(("a", "a")), "two different"), (lambda: Choice(("a", "b"), center="c"), "none of"),
    (lambda: Space({}), "at least one"), (lambda: Space({"lr": 1e-3}), "lr"),
])
def test_a_bad_dimension_is_refused_in_one_clear_line(make, word):
    with pytest.raises(ValueError, match=word) as refusal:
        make()
    assert "\n" not in str(refusal.value)


def test_a_config_with_a_wrong_name_or_a_value_outside_is_refused():
    space = Space({"lr": Log(1e-3, high=1.0)})
    for config in ({"LR": 1e-3}, {"lr": 2.0}, {"lr": -1.0}, {"lr": math.nan}, {"lr": 1e-3, "wd": 0.0}):
        with pytest.raises(ValueError):
            space.check(config)
