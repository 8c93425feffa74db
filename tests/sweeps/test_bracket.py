"""Tuning's arithmetic: it brackets, it converges, and it says when it has not."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.tuning.bracket import bracketed, capped, nearest_neighbours, next_value, settle

LOW, HIGH = 1e-4, 1.0
GROUP = (1.0, 0.125, 0.0)


def search(loss, start, trials):
    values, losses = [], []
    while len(values) < trials:
        values.append(next_value(values, losses, start=start, low=LOW, high=HIGH))
        losses.append(loss(values[-1]))
    return values, losses


@settings(max_examples=100, deadline=None)
@given(optimum=st.floats(5e-4, 0.2), start=st.floats(3e-3, 3e-2), curvature=st.floats(0.02, 0.5), skew=st.floats(-0.3, 0.3))
def test_a_search_brackets_and_finds_the_optimum_of_a_skewed_valley(optimum, start, curvature, skew):
    def loss(value):
        x = math.log(value / optimum)
        return 1 + curvature * x * x * (1 + skew * math.tanh(x))
    values, losses = search(loss, start, 9)
    assert bracketed(values, losses)
    assert abs(math.log(settle(GROUP, values, losses).value / optimum)) < math.log(1.35)


@settings(max_examples=50, deadline=None)
@given(start=st.floats(LOW, HIGH), rising=st.booleans())
def test_a_search_without_an_optimum_stays_in_bounds_and_says_so(start, rising):
    values, losses = search(lambda value: value if rising else -value, start, 12)
    assert all(LOW <= value <= HIGH for value in values)
    assert not settle(GROUP, values, losses).bracketed
    assert min(values) == pytest.approx(LOW) if rising else max(values) == pytest.approx(HIGH)


def test_a_cliff_of_capped_losses_beyond_the_optimum_still_brackets():
    values, losses = search(lambda value: 4.6 if value > 0.02 else 1 + math.log(value / 0.012) ** 2, 0.012, 7)
    assert bracketed(values, losses) and settle(GROUP, values, losses).value < 0.02


def test_the_same_history_proposes_the_same_value_in_whatever_order_it_ended():
    values, losses = [0.012, 0.036, 0.004], [0.5, 0.9, 0.6]
    assert (next_value(values, losses, start=1, low=LOW, high=HIGH)
            == next_value(values[::-1], losses[::-1], start=9, low=LOW, high=HIGH))


def test_neighbours_form_a_tree_from_the_middle_along_an_axis():
    groups = [(2.0 ** (k / 2), 0.125, "relu") for k in range(-4, 7)]
    parents = nearest_neighbours(groups)
    assert sum(parent is None for parent in parents.values()) == 1 and set(parents) == set(groups)
    order = list(parents)
    for child, parent in parents.items():
        if parent:
            assert order.index(parent) < order.index(child)
            assert abs(math.log2(child[0] / parent[0])) == pytest.approx(0.5)


places = st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from(["relu", "gelu"]), st.booleans())
groups = st.lists(places, min_size=1, max_size=12, unique=True)


@given(groups, st.randoms(use_true_random=False))
def test_neighbours_do_not_depend_on_the_order_nor_on_the_unit(groups, random):
    """Axes of any kind; a rerun in another order starts the same studies from the same neighbours."""
    parents = nearest_neighbours(groups)
    assert parents == nearest_neighbours(random.sample(groups, len(groups)))
    scaled = {child: parent for child, parent in nearest_neighbours([(1000 * g[0], *g[1:]) for g in groups]).items()}
    assert {(child[0] / 1000, *child[1:]): parent and (parent[0] / 1000, *parent[1:]) for child, parent in scaled.items()} == parents


def test_what_cannot_differ_by_a_logarithm_is_told_apart_all_the_same():
    """Zero, text and truth values have none: an exception here would end a sweep before it began."""
    assert nearest_neighbours([(0.0, "a"), (0.5, "a"), (0.5, "b")])[0.5, "b"] in {(0.5, "a"), (0.0, "a"), None}


@given(st.lists(st.floats(0, 10) | st.just(math.inf) | st.just(math.nan), min_size=1, max_size=9), st.sampled_from([2.0, math.inf]))
def test_capped_losses_are_finite_in_the_order_of_the_losses_and_keep_those_below_the_cap(losses, cap):
    """A diverged run must be the worst, and must not make a mean infinite: a parabola goes through it."""
    made = capped(losses, cap)
    assert all(math.isfinite(loss) for loss in made)
    finite = [(loss, own) for loss, own in zip(losses, made) if math.isfinite(loss)]
    assert all(own == min(loss, cap) for loss, own in finite)
    diverged = [own for loss, own in zip(losses, made) if not math.isfinite(loss)]
    assert all(own >= other for own in diverged for _, other in finite)
    if math.isinf(cap) and diverged and finite:
        assert min(diverged) > max(other for _, other in finite)
