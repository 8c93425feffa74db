"""Repeats of one (N, D): a fit to cells is the fit to their runs; errors that go on into runs to come."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from worlds.correlated_errors import shared_order, sizes_off

from analysis.approaches.laws import objective as objectives
from analysis.approaches.laws.additive import ADDITIVE
from analysis.approaches.laws.generalised import GENERALISED
from analysis.approaches.laws.objective import Coordinates, Objective
from analysis.approaches.newton import minimise
from analysis.design.next_runs import laws_of
from analysis.errors.components import find_components
from analysis.errors.continued import continued
from analysis.errors.model import ErrorModel
from analysis.errors.structure import structure_of
from analysis.fitted import Request
from analysis.questions.several import side_by_side
from analysis.table.runs import read_table


def precision_of(world):
    found = find_components(np.log(world.losses(1) / world.law.loss(world.N, world.D)), np.ones((len(world.N), 1)),
                            structure_of(world.N, world.D, seed=world.seed))
    assert found.correlated
    return ErrorModel(found, np.ones((len(world.N), 1))).precision


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("kind", ["log L", "L", "Huber", "Huber on L", "tilted", "generalised squares"])
@pytest.mark.parametrize("law", [ADDITIVE, GENERALISED], ids=["additive", "generalised"])
def test_a_fit_to_cells_is_the_fit_to_their_runs(kind, law, noisy, monkeypatch):
    world, random = shared_order(sizes=5, seeds=3), np.random.default_rng(3)
    mixed = random.permutation(len(world.N))
    N, D, L = world.N[mixed], world.D[mixed], world.losses(1)[mixed]
    correlated = kind == "generalised squares"
    objective = {"log L": Objective("log", np.inf), "L": Objective("raw", np.inf), "Huber": Objective("log", 0.01),
                 "Huber on L": Objective("raw", 0.02), "tilted": Objective("log", np.inf, over=2.0)}.get(kind) or Objective(
                     "log", np.inf, precision=precision_of(type(world)(world.N[mixed], world.D[mixed], world.seed[mixed],
                                                                       world.covariance[np.ix_(mixed, mixed)])))
    weight = np.ones((4, len(N))) if correlated else random.integers(0, 3, (4, len(N))).astype(float)
    noise = 0.01 * random.standard_normal(weight.shape) if noisy else None
    found = {}
    for worth in (0.75, 0.0):   # of which the second evaluates the law once a run
        monkeypatch.setattr(objectives, "WORTH", worth)
        points = Coordinates.of(N, D, L, np.ones(len(N)))
        assert (points.repeats is None) == (worth == 0)
        natural = [world.law.E, world.law.A, world.law.B, world.law.alpha, world.law.beta, 1.0][:len(law.names)]
        start = np.tile(law.internal(points, natural), (4, 1))
        found[worth] = minimise(points, weight, start, objective, law=law, spread=0.01, noise=noise)
    assert found[0.0].converged.all() and found[0.75].converged.all()
    assert_allclose(found[0.75].value, found[0.0].value, rtol=1e-10)
    assert_allclose(found[0.75].theta, found[0.0].theta, atol=1e-4)


def test_generalised_squares_of_cells_leave_what_no_law_can_take_away():
    world = shared_order(sizes=4, seeds=3)
    P, member, random = precision_of(world), np.unique(world.N * 1e12 + world.D, return_inverse=True)[1], np.random.default_rng(0)
    y, f = random.standard_normal((1, len(member))), random.standard_normal((1, member.max() + 1))
    summed = P.summed(member)
    mean = y @ summed.means.T
    rest, gap = y - mean[:, member], f - mean
    whole = ((f[:, member] - y) * P.times(f[:, member] - y)).sum()
    assert whole == pytest.approx((gap * summed.precision.times(gap)).sum() + (rest * P.times(rest)).sum())
    assert P.summed(member) is summed


def test_a_size_that_is_off_stays_off_and_a_new_one_is_not():
    # one-way: the best foretelling of a member's next error is its mean, shrunk by m s^2 / (m s^2 + sigma^2)
    world = sizes_off()
    errors = np.log(world.losses(0) / world.law.loss(world.N, world.D))
    found = find_components(errors, np.ones((len(world.N), 1)), structure_of(world.N, world.D))
    assert [c.shared.name for c in found.found] == ["size"]
    N, D = np.append(world.N, [world.N[0], 2e12]), np.append(world.D, [3e8, 3e8])
    draws = np.array([continued(found, errors, N, D, None, rng) for rng in range(400)])
    mine, shared = world.N == world.N[0], found.found[0].variance
    precise = found.weight[mine] / found.variance
    expected = (precise @ errors[mine]) / (precise.sum() + 1 / shared)
    spread = np.sqrt(found.variance + 1 / (precise.sum() + 1 / shared))
    assert abs(draws[:, 0].mean() - expected) < 4 * spread / 20
    assert draws[:, 0].std() == pytest.approx(spread, rel=0.15)
    assert abs(draws[:, 1].mean()) < 4 * np.sqrt(shared + found.variance) / 20
    assert draws[:, 1].std() == pytest.approx(np.sqrt(shared + found.variance), rel=0.15)


def test_a_plan_and_several_columns_start_from_errors_that_go_together(tmp_path):
    # plan.py and side_by_side.py once fitted without seeds: errors that a seed carries were taken for independent
    world = shared_order(sizes=6, seeds=3)
    path = tmp_path / "t.csv"
    pd.DataFrame(dict(params=world.N, tokens=world.D, flops=world.C, loss=world.losses(1), other=world.losses(2),
                      seed=world.seed)).to_csv(path, index=False)
    table, request = read_table([str(path)]), Request(resamples=50)
    law = laws_of(table.groups[0].runs, table, request).law
    both = side_by_side(str(path), params=[], losses=["loss"], request=request).laws[0].law
    for one in (law, both):
        assert "seed_data" in [c.shared.name for c in one.generalised.errors.found.found]
        assert one.quoted.correlated
    assert (law.a.low, law.a.high) == (both.a.low, both.a.high)
