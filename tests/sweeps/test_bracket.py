"""Tuning's arithmetic: it brackets, it converges, and it says when it has not."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeps.jobs.grid import BatchRule, Grid, half_octaves, halvings
from sweeps.tuning.bracket import HIGHEST, LOWEST, Group, bracketed, nearest_neighbours, next_rate, settle

GROUP = Group(width=1.0, fraction=0.125, dropout=0.0)


def search(loss, start, trials):
    rates, losses = [], []
    while len(rates) < trials:
        rates.append(next_rate(rates, losses, start=start))
        losses.append(loss(rates[-1]))
    return rates, losses


@settings(max_examples=100, deadline=None)
@given(optimum=st.floats(5e-4, 0.2), start=st.floats(3e-3, 3e-2), curvature=st.floats(0.02, 0.5), skew=st.floats(-0.3, 0.3))
def test_a_search_brackets_and_finds_the_optimum_of_a_skewed_valley(optimum, start, curvature, skew):
    def loss(rate):
        x = math.log(rate / optimum)
        return 1 + curvature * x * x * (1 + skew * math.tanh(x))
    rates, losses = search(loss, start, 9)
    assert bracketed(rates, losses)
    assert abs(math.log(settle(GROUP, rates, losses).lr / optimum)) < math.log(1.35)


@settings(max_examples=50, deadline=None)
@given(start=st.floats(LOWEST, HIGHEST), rising=st.booleans())
def test_a_search_without_an_optimum_stays_in_bounds_and_says_so(start, rising):
    rates, losses = search(lambda rate: rate if rising else -rate, start, 12)
    assert all(LOWEST <= rate <= HIGHEST for rate in rates)
    assert not settle(GROUP, rates, losses).bracketed
    assert min(rates) == pytest.approx(LOWEST) if rising else max(rates) == pytest.approx(HIGHEST)


def test_a_cliff_of_capped_losses_beyond_the_optimum_still_brackets():
    rates, losses = search(lambda rate: 4.6 if rate > 0.02 else 1 + math.log(rate / 0.012) ** 2, 0.012, 7)
    assert bracketed(rates, losses) and settle(GROUP, rates, losses).lr < 0.02


def test_the_same_history_proposes_the_same_rate_in_whatever_order_it_ended():
    rates, losses = [0.012, 0.036, 0.004], [0.5, 0.9, 0.6]
    assert next_rate(rates, losses, start=1) == next_rate(rates[::-1], losses[::-1], start=9)


def test_neighbours_form_a_tree_from_the_middle_along_width():
    groups = [Group(width=w, fraction=0.125, dropout=0.0) for w in half_octaves(-4, 6)]
    parents = nearest_neighbours(groups)
    assert sum(parent is None for parent in parents.values()) == 1 and set(parents) == set(groups)
    order = list(parents)
    for child, parent in parents.items():
        if parent:
            assert order.index(parent) < order.index(child)
            assert abs(math.log2(child.width / parent.width)) == pytest.approx(0.5)


def test_a_grid_refuses_what_no_run_can_have():
    for bad in ({"widths": (0.0,)}, {"fractions": (1.5,)}, {"fractions": (0.0,)}, {"dropouts": (1.0,)}, {"seeds": (-1,)},
                {"widths": ()}, {"widths": (math.inf,)}):
        with pytest.raises(ValueError):
            Grid(**{"widths": (1.0,), "fractions": (0.5,), "seeds": (0,), "dropouts": (0.0,), **bad})


@given(st.integers(0, 12))
def test_steps_shrink_as_the_square_root_of_the_data(k):
    batch, n = BatchRule(full=32), 2.0**-k * 60_000
    assume(batch(2.0**-k) >= 2)  # below, rounding rules
    assert n / batch(2.0**-k) == pytest.approx(1875 * 2 ** (-k / 2), rel=0.25)


def test_a_repeated_value_makes_no_second_cell():
    assert len(Grid((1.0, 1.0), halvings(0, 2), (0, 1), (0.0,)).cells()) == 6
