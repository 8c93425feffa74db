"""Dimensions as text on a command line."""

import pytest

from sweeps.carbs.grammar import dimension
from sweeps.carbs.space import Choice, Integer, Linear, Listed, Log, Logit, PowerOfTwo, Space


@pytest.mark.parametrize("text, kind, expected", [
    ("log:3e-3", float, Log(3e-3)), ("log:4", int, Integer(4)), ("log:1e5::1e9", int, Integer(100_000, None, 10**9)),
    ("log:1e-3:1e-5:", float, Log(1e-3, low=1e-5)), ("linear:0.5:0:1", float, Linear(0.5, 0.0, 1.0, scale=0.5)),
    ("linear:200", float, Linear(200.0, scale=200.0)), ("linear:0", float, Linear(0.0)),
    ("linear:3:1:5", int, Integer(3, 1, 5, log=False, scale=2.0)), ("linear:3:2:3", int, Integer(3, 2, 3, log=False)),
    ("logit:0.1::0.9", float, Logit(0.1, high=0.9)), ("pow2:64:16:512", int, PowerOfTwo(64, 16, 512)),
    ("list:8,16,32", int, Listed((8, 16, 32))), ("list:0,0.1,0.3:0.1", float, Listed((0.0, 0.1, 0.3), 0.1)),
    ("list:adam, sgd:sgd", str, Choice(("adam", "sgd"), "sgd")), ("list:no,yes", bool, Choice((False, True))),
    ("log:9007199254740993", int, Integer(9007199254740993)),
])
def test_a_text_becomes_its_dimension(text, kind, expected):
    assert dimension(text, kind) == expected


@pytest.mark.parametrize("text, kind, word", [
    ("3e-3", float, "expected log:"), ("loog:3", float, "expected log:"), ("log:", float, "center"), ("log", float, "expected"),
    ("log:0", float, "positive"), ("log:a", float, "not a number"), ("log:1:2:3", float, "outside its bounds"), ("log:inf", int, "not a number"),
    ("log:1:2:3:4", float, "at most"), ("log:2.5", int, "whole"), ("log:x", str, "list:"), ("logit:1", int, "share"),
    ("logit:1.5", float, "between 0 and 1"), ("pow2:48", int, "1, 2, 4"), ("list:8", int, "two different"),
    ("list:1,2:3", int, "none of"), ("list:a,,b", str, "empty"), ("list:maybe,yes", bool, "neither"), ("log:1", list, "list"),
    ("linear:nan", float, "finite"),
])
def test_a_text_that_makes_no_dimension_is_refused_in_one_line_that_repeats_it(text, kind, word):
    with pytest.raises(ValueError, match=word) as refusal:
        dimension(text, kind)
    assert "\n" not in str(refusal.value) and repr(text) in str(refusal.value)


def test_powers_of_two_and_lists_snap_to_what_they_name_and_survive_json():
    space = Space({"heads": PowerOfTwo(8, 2, 64), "rate": Listed((0.3, 0.0, 0.1), 0.1), "batch": Listed((10, 100, 1000))})
    assert space.center() == {"heads": 8, "rate": 0.1, "batch": 10}
    seen = [space.decode(x) for x in space.snap([[0.1 * i - 1, 0.02 * i, 0.1 * i] for i in range(50)])]
    assert {c["heads"] for c in seen} == {2, 4, 8, 16, 32, 64}
    assert {c["rate"] for c in seen} == {0.0, 0.1, 0.3} and {c["batch"] for c in seen} == {10, 100, 1000}
    assert all(space.decode(space.encode(c)) == c == space.check(c) for c in seen)
    assert Space.from_json(space.to_json()).dimensions == space.dimensions
    with pytest.raises(ValueError, match="none of"):
        space.check({"heads": 8, "rate": 0.2, "batch": 10})
