"""Laws of one variable and Kaplan's joint law: recovery of known truth, invariances, refusals, and (-m slow) coverage."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from worlds.batch_families import family
from worlds.coverage import told, within_92_and_98

from analysis.approaches.cost import LANGUAGE
from analysis.approaches.parametric import fit_generalised
from analysis.approaches.surface import Surface
from analysis.approaches.wild_bootstrap import reduce_to_cells
from analysis.estimates.refusal import Refusal
from analysis.kaplan import main
from analysis.power_laws.direct import fit_direct, floors_agree
from analysis.power_laws.floor_law import fit_both_laws
from analysis.power_laws.found import critical_batch_of
from analysis.power_laws.joint_forms import joint_forms, kaplan_joint
from analysis.power_laws.limits import limit_laws, unlimited
from analysis.questions.both_laws import fit_both
from analysis.table.condense import condense
from analysis.table.runs import read_table

X = 1e4 * 3.0 ** np.arange(8)
ADDITIVE = Surface(E=1.7, A=40.0, B=300.0, alpha=0.34, beta=0.30)
# equation 1.5 with alpha_N .16, alpha_D .2, N_c 1e13, D_c 5e13
KAPLAN = Surface(E=0.0, A=1e13 ** (0.16 / 0.2), B=5e13, alpha=0.16, beta=0.2, g=0.2)


def grid(surface, *, noise=0.0, least_D=1e8, sizes=8, budgets=7, step=3.0, rng=0):
    """N, D, L of sizes x budgets."""
    N, D = (v.ravel() for v in np.meshgrid(1e6 * step ** np.arange(sizes), least_D * step ** np.arange(budgets), indexing="ij"))
    return N, D, surface.loss(N, D) * np.exp(noise * np.random.default_rng(rng).standard_normal(len(N)))


def chosen(N, D, L, resamples=60):
    return fit_both(condense(N, D, L, 6 * N * D), LANGUAGE, {}, cluster="cell", level=0.95, resamples=resamples, rng=0)


def test_points_on_a_law_give_it_back_to_the_digit():
    floored = fit_both_laws(X, 2.0 + (50 / X) ** 0.24)
    assert floored.supports_floor
    law = floored.supported
    assert_allclose([law.floor.value, law.exponent.value, law.scale.value], [2.0, 0.24, 50.0], rtol=1e-8)
    pure = fit_both_laws(X, (8.8e13 / X) ** 0.076)
    assert not pure.supports_floor and pure.floored.floor.value == 0
    assert_allclose([pure.supported.exponent.value, pure.supported.scale.value], [0.076, 8.8e13], rtol=1e-8)
    assert floored.supported.local_exponent(50.0) == pytest.approx(0.24 / 3)


def test_units_and_order_change_nothing_else():
    L = (1.5 + (50 / X) ** 0.2) * np.exp(0.005 * np.random.default_rng(3).standard_normal(len(X)))
    order = np.random.default_rng(0).permutation(len(X))
    one, other = fit_both_laws(X, L), fit_both_laws(1e6 * X[order], L[order] / np.log(2))
    for a, b, unit in ((one.floored.exponent, other.floored.exponent, 1), (one.floored.floor, other.floored.floor, 1 / np.log(2)),
                       (one.pure.exponent, other.pure.exponent, 1)):
        assert_allclose([unit * a.value, unit * a.low, unit * a.high], [b.value, b.low, b.high], rtol=1e-5)
    # without a floor x_c^alpha is in the loss's unit too
    by_unit = 1e6 * np.log(2) ** (-1 / one.pure.exponent.value)
    assert other.pure.scale.value == pytest.approx(by_unit * one.pure.scale.value, rel=1e-6)
    assert one.p_pure == pytest.approx(other.p_pure, rel=1e-6) and one.gain == pytest.approx(other.gain, abs=1e-6)


def test_an_interval_is_every_value_that_least_squares_allows():
    """Each end, held, costs just what F(1, n - 3) allows: by an optimiser of its own."""
    from scipy.optimize import least_squares
    from scipy.stats import f

    L = (1.5 + (50 / X) ** 0.3) * np.exp(0.003 * np.random.default_rng(5).standard_normal(len(X)))
    law = fit_both_laws(X, L).floored

    def cost(held: dict) -> float:
        free = [name for name in ("floor", "log_scale", "exponent") if name not in held]

        def residual(t):
            p = {**dict(zip(free, t, strict=True)), **held}
            return np.log(p["floor"] + np.exp(p["exponent"] * (p["log_scale"] - np.log(X)))) - np.log(L)
        start = {"floor": 1.5, "log_scale": np.log(50), "exponent": 0.3}
        return min(2 * least_squares(residual, [start[name] * s for name in free], bounds=(1e-6, np.inf)).cost
                   for s in (0.7, 1.0, 1.3))

    limit = law.squares * (1 + f.ppf(0.95, 1, len(X) - 3) / (len(X) - 3))
    for name, e in (("floor", law.floor), ("exponent", law.exponent)):
        for end in (e.low, e.high):
            assert 0 < end < np.inf
            assert cost({name: end}) == pytest.approx(limit, rel=0.03), (name, end)


@pytest.mark.parametrize(("x", "L"), [(X[:2], [3.0, 2.0]), (X[:1] * np.ones(5), [3.0, 2.9, 2.8, 2.7, 2.6]), (X, 2 + X / X.max())])
def test_points_that_tell_no_law_are_refused(x, L):
    with pytest.raises(Refusal):
        fit_both_laws(x, L)


def test_three_points_have_no_floor_to_speak_of():
    both = fit_both_laws(X[:3], [3.0, 2.5, 2.2])
    assert both.floored is None and not both.supports_floor and both.pure.exponent.value > 0


@pytest.fixture(scope="module")
def laws():
    """Of tables that each form made, 42 cells."""
    return {name: chosen(*grid(surface, noise=3e-4, sizes=7, budgets=6), resamples=50)
            for name, surface in (("additive", ADDITIVE), ("Kaplan", KAPLAN))}


@pytest.mark.parametrize("surface", [ADDITIVE, replace(ADDITIVE, A=100.0, B=1e4, g=0.6)])
def test_limits_are_the_joint_laws_own_far_out(surface):
    for variable, far in (("N", dict(N=1e7, D=1e60)), ("D", dict(N=1e60, D=1e9))):
        assert unlimited(surface, LANGUAGE, variable, far[variable]) == pytest.approx(surface.loss(**far), rel=1e-9)
    assert unlimited(surface, LANGUAGE, "C", 1e18) == pytest.approx(surface.optimum(1e18, LANGUAGE).L, rel=1e-9)


def test_the_limits_of_a_fitted_law_are_those_of_the_law_that_made_the_runs(laws):
    found = limit_laws(laws["additive"])
    assert found.supports_floor and found.gain > 10
    gamma, K = float(ADDITIVE.gamma(LANGUAGE)), float(ADDITIVE.frontier_coefficient(LANGUAGE))
    truth = {"N": (0.34, 40 ** (1 / 0.34)), "D": (0.30, 300 ** (1 / 0.30)), "C": (gamma, K ** (1 / gamma))}
    for law in found.laws:
        exponent, scale = truth[law.variable]
        assert_allclose([law.floor.value, law.exponent.value], [1.7, exponent], rtol=0.02)
        assert law.scale.low < law.scale.value < law.scale.high and law.scale.value == pytest.approx(scale, rel=0.1)
        ends = unlimited(ADDITIVE, LANGUAGE, law.variable, np.array([law.low, law.high]))
        assert law.apparent.value == pytest.approx(np.log(ends[0] / ends[1]) / np.log(law.high / law.low), rel=0.02)
        assert law.apparent.value < law.exponent.value


def test_without_an_irreducible_loss_none_is_asked_for(laws):
    found = limit_laws(laws["Kaplan"])
    assert not found.supports_floor
    assert 0.16 == pytest.approx(found.of("N").apparent.value, abs=0.01)


def test_runs_on_plenty_of_data_give_the_laws_directly():
    N, D, L = grid(ADDITIVE, least_D=1e16, budgets=4)
    found = fit_direct("N", reduce_to_cells(N, D, L, 6 * N * D), surface=ADDITIVE, cost=LANGUAGE, noise=0.01)
    assert not found.limited and not found.left_out and abs(found.bias.exponent) < 0.01
    assert_allclose([found.laws.floored.exponent.value, found.laws.floored.floor.value], [0.34, 1.7], atol=0.01)


def test_runs_that_data_limit_are_left_out_or_their_bias_is_told():
    N, D, L = grid(ADDITIVE)
    cells = reduce_to_cells(N, D, L, 6 * N * D)
    all_limited = fit_direct("N", cells, surface=ADDITIVE, cost=LANGUAGE, noise=1e-4)
    assert all_limited.limited and not all_limited.left_out
    # without noise the reading finds the truth and its bias
    assert all_limited.laws.floored.exponent.value - all_limited.bias.exponent == pytest.approx(0.34, abs=1e-6)
    assert all_limited.laws.floored.floor.value - all_limited.bias.floor == pytest.approx(1.7, abs=1e-6)
    sizes = np.unique(N)
    excess = np.log(ADDITIVE.loss(sizes, D.max()) / unlimited(ADDITIVE, LANGUAGE, "N", sizes))
    some = fit_direct("N", cells, surface=ADDITIVE, cost=LANGUAGE, noise=float(np.sort(excess)[4]) + 1e-9)
    assert some.left_out == 3 and some.laws.n == 5 and not some.limited


def test_the_envelope_lies_near_the_frontier():
    N, D, L = grid(ADDITIVE, sizes=14, budgets=14, step=2.0)
    found = fit_direct("C", reduce_to_cells(N, D, L, 6 * N * D), surface=ADDITIVE, cost=LANGUAGE, noise=0.01)
    assert found.laws.n >= 7 and 0 <= found.excess < 0.01
    assert found.laws.floored.exponent.value == pytest.approx(float(ADDITIVE.gamma(LANGUAGE)), abs=0.01)
    assert found.laws.floored.floor.value - found.bias.floor == pytest.approx(1.7, abs=1e-6)


def test_one_size_that_is_best_everywhere_has_no_envelope():
    N, D, L = grid(replace(ADDITIVE, A=1e-6))
    with pytest.raises(Refusal):
        fit_direct("C", reduce_to_cells(N, D, L, 6 * N * D))


def test_floors_that_agree_and_that_differ():
    noise = np.exp(0.002 * np.random.default_rng(1).standard_normal((3, 14)))
    N, D, L = grid(ADDITIVE, sizes=14, budgets=14, step=2.0)
    cells = reduce_to_cells(N, D, L, 6 * N * D)
    direct = {v: fit_direct(v, cells, surface=ADDITIVE, cost=LANGUAGE, noise=0.5) for v in "NC"}
    x = 1e6 * 2.0 ** np.arange(14)
    laws = [fit_both_laws(x, (floor + (1e5 / x) ** 0.3) * wobble) for floor, wobble in zip((1.7, 1.7, 1.4), noise, strict=True)]
    of_N, same, other = (replace(direct["N"], laws=law, bias=None) for law in laws)
    assert floors_agree(of_N, replace(direct["C"], laws=same.laws, bias=None)).agree
    apart = floors_agree(of_N, replace(direct["C"], laws=other.laws, bias=None))
    assert not apart.agree and not apart.explained and 0.3 in apart.difference
    # what the readings alone make of one law counts as no difference
    biased = floors_agree(direct["N"], direct["C"])
    assert biased.difference.value == pytest.approx(biased.bias, abs=1e-6) and biased.explained


@pytest.mark.parametrize("better", ["Kaplan", "additive"])
def test_the_form_that_made_the_runs_describes_and_foretells_them_better(laws, better):
    found = joint_forms(laws[better])
    assert (found.between < -10) == (better == "Kaplan") and (found.between > 10) == (better == "additive")
    ahead = found.of("Kaplan").foresight
    assert ahead.high < 1 if better == "Kaplan" else ahead.low > 1
    assert found.sentence().startswith("Kaplan's" if better == "Kaplan" else "Hoffmann's")


def test_kaplans_constants_come_back():
    N, D, L = grid(KAPLAN, noise=1e-6)
    found = kaplan_joint(fit_generalised(N, D, L, cluster="cell", resamples=50))
    assert_allclose([found.alpha_N.value, found.alpha_D.value], [0.16, 0.2], rtol=1e-4)
    assert_allclose(np.log([found.N_c.value, found.D_c.value]), np.log([1e13, 5e13]), rtol=1e-4)


def command(*arguments: object) -> int:
    """In this process: a start costs more than what is tested."""
    try:
        return main([str(word) for word in arguments])
    except SystemExit as end:   # argparse's
        return int(end.code)


def batch_table(path: Path, columns=("params", "batch_size", "steps", "tokens", "val_loss", "lr"), **world) -> Path:
    rows = zip(*family(**world), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(f"{v:.8g}" for v in row) for row in rows)]))
    return path


@pytest.mark.slow
def test_the_command_finds_says_and_draws_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    batch_table(Path("t.csv"), noise=0.002, sizes=3, budgets=7)
    assert command("t.csv", "--resamples", "50") == 0
    assert {p.name for p in Path("t-kaplan").iterdir()} == {f"{name}.{kind}" for name in ("power_laws", "critical_batch")
                                                            for kind in ("svg", "png")} | {"kaplan.json"}
    group, = json.loads(Path("t-kaplan/kaplan.json").read_text(), parse_constant=pytest.fail)["groups"]
    batch = group["critical_batch"]
    assert batch["one_over_alpha_B"]["low"] < 1 / 0.21 < batch["one_over_alpha_B"]["high"]
    said = capsys.readouterr().out
    assert group["finding"].replace(" ", "") in said.replace("\n", "").replace(" ", "")
    assert max(map(len, said.splitlines())) <= 100
    assert [law["variable"] for law in group["limits"]["laws"]] == ["N", "D", "C"]


def test_columns_are_found_by_name_or_flag_and_without_any_it_is_said(tmp_path):
    batch_table(tmp_path / "odd.csv", columns=("params", "seqs", "updates_done", "tokens", "val_loss", "lr"))
    with pytest.raises(Refusal, match="--batch-size"):
        critical_batch_of(read_table([str(tmp_path / "odd.csv")]).groups[0].runs)
    named = {"batch": "seqs", "steps": "updates_done"}
    for flags in (named, {"batch": "seqs"}, {"steps": "updates_done"}):   # one of them alone: D = batch x steps
        found = critical_batch_of(read_table([str(tmp_path / "odd.csv")], flags=flags).groups[0].runs)
        assert found.power.value == pytest.approx(1 / 0.21, rel=0.02)
    batch_table(tmp_path / "plain.csv", columns=("params", "Batch Size", "train_steps", "tokens", "val_loss", "lr"))
    found = critical_batch_of(read_table([str(tmp_path / "plain.csv")]).groups[0].runs)
    assert found.power.value == pytest.approx(1 / 0.21, rel=0.02)


@pytest.mark.parametrize("arguments", [(), ("missing.csv",), ("t.csv", "--resamples", "1"), ("t.csv", "--batch-size", "none"),
                                       ("t.csv", "--loss", "tokens", "--max-loss", "1"), ("words.csv",)])
def test_a_wrong_command_is_told_in_a_line_and_ends_with_status_2(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    batch_table(tmp_path / "t.csv")
    (tmp_path / "words.csv").write_text("a,b\nx,y\n")
    assert command(*arguments) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.strip() and not Path("t-kaplan").exists()


def test_a_few_runs_are_refused_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("few.csv").write_text("params,tokens,val_loss\n1e6,1e8,3.0\n2e6,1e8,2.9\n")
    assert command("few.csv", "--resamples", "50") == 0
    assert capsys.readouterr().out.count("refused") >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("floor", "noise", "n"), [(2.0, 0.01, 8), (2.0, 0.003, 6), (0.5, 0.01, 12), (0.0, 0.01, 8)])
def test_intervals_cover(floor, noise, n):
    """300 tables: floor, exponent, scale; of a law without a floor the pure law's, and how often a floor is wrongly supported."""
    x, tries, hits = np.geomspace(1e4, 1e7, n), 300, {"floor": 0, "exponent": 0, "scale": 0, "floor supported": 0}
    for k in range(tries):
        both = fit_both_laws(x, (floor + (50 / x) ** 0.24) * np.exp(noise * np.random.default_rng(k).standard_normal(n)))
        law = both.floored if floor else both.pure
        hits["floor"] += law.floor is None or floor in law.floor
        hits["exponent"] += 0.24 in law.exponent
        hits["scale"] += 50 in law.scale
        hits["floor supported"] += both.supports_floor
    told((floor, noise, n), hits, tries)
    assert all(within_92_and_98(hits[name], tries) for name in ("exponent", "scale", *["floor"] * bool(floor)))
    assert floor or hits["floor supported"] <= 0.08 * tries


@pytest.mark.slow
def test_intervals_of_the_limits_and_of_kaplans_constants_cover():
    """60 tables of each law, 56 cells, 1% noise."""
    tries, hits = 60, dict.fromkeys(("floor", "N scale", "D scale", "C exponent", "alpha_N", "alpha_D", "N_c", "D_c"), 0)
    for k in range(tries):
        limits = limit_laws(chosen(*grid(ADDITIVE, noise=0.01, rng=k), resamples=200))
        hits["floor"] += ADDITIVE.E in limits.of("N").floor
        hits["N scale"] += 40 ** (1 / 0.34) in limits.of("N").scale
        hits["D scale"] += 300 ** (1 / 0.30) in limits.of("D").scale
        hits["C exponent"] += float(ADDITIVE.gamma(LANGUAGE)) in limits.of("C").exponent
        joint = kaplan_joint(fit_generalised(*grid(KAPLAN, noise=0.01, rng=k), cluster="cell", resamples=200))
        for name, truth in (("alpha_N", 0.16), ("alpha_D", 0.2), ("N_c", 1e13), ("D_c", 5e13)):
            hits[name] += truth in getattr(joint, name)
    told("limits, Kaplan's constants", hits, tries)
    assert min(hits.values()) >= 0.87 * tries
