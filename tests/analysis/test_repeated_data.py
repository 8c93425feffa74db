"""The data-constrained law: recovery of the paper's own surface, limits in closed form, and (-m slow) coverage."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from worlds.coverage import told, within_92_and_98

from analysis.approaches.cost import LANGUAGE, CostLaw
from analysis.approaches.surface import Surface
from analysis.estimates.refusal import TooFewPoints
from analysis.questions.repeated_data import RepeatedLaw, fit_repeated

ROOT = Path(__file__).resolve().parents[2]
PAPER = dict(E=1.87, A=521.0, B=1488.0, alpha=0.353, beta=0.353, R_D=15.387756)   # Muennighoff et al. 2023, section 5; R_N* 5.309743


def runs(*, R_N=np.inf, noise=0.0, cost=LANGUAGE, rng=0):
    N, U, epochs = (v.ravel() for v in np.meshgrid(1e7 * 3.0 ** np.arange(6), 1e8 * 4.0 ** np.arange(5), [1, 4, 16, 64], indexing="ij"))
    D = U * epochs
    return N, D, RepeatedLaw(**PAPER, R_N=R_N).loss(N, D, U, cost) * np.exp(noise * np.random.default_rng(rng).standard_normal(len(N))), U


@pytest.mark.parametrize("R_N, cost", [(np.inf, LANGUAGE), (5.309743, LANGUAGE), (5.309743, CostLaw(20.0, 0.9))])
def test_the_law_that_made_the_runs_is_found(R_N, cost):
    found = fit_repeated(*runs(R_N=R_N, cost=cost), cost=cost, resamples=8)
    for name, value in PAPER.items():
        assert getattr(found.law, name) == pytest.approx(value, rel=1e-3)
    assert found.law.R_N == (np.inf if np.isinf(R_N) else pytest.approx(R_N, rel=1e-3))
    assert found.repeated == 90 and found.most == 64 and found.scatter < 1e-5 < found.fresh_scatter


def test_limits_of_the_law_are_those_of_the_additive_one():
    """One epoch: as it is; R_D* infinite: every example is fresh; R_D* near 0: repeats add nothing."""
    N, D, U = np.array([1e7, 1e9]), np.array([1e10, 1e11]), np.array([1e9, 2e9])
    additive = Surface(*(PAPER[name] for name in ("E", "A", "B", "alpha", "beta")))
    for law, data in ((RepeatedLaw(**PAPER | {"R_D": 1e9}), D), (RepeatedLaw(**PAPER | {"R_D": 1e-9}), U)):
        assert_allclose(law.loss(N, D, U, LANGUAGE), additive.loss(N, data), rtol=1e-6)
    assert_allclose(RepeatedLaw(**PAPER, R_N=5.3).loss(N, D, D, CostLaw(6.0, 1.0)), RepeatedLaw(**PAPER, R_N=5.3).loss(N, D, 1.0 * D, LANGUAGE))
    assert_allclose(RepeatedLaw(**PAPER).loss(N, U, U, LANGUAGE), additive.loss(N, U), rtol=1e-12)


def test_the_best_size_for_fresh_data_lies_on_the_additive_laws_frontier():
    law, cost = RepeatedLaw(**PAPER), CostLaw(8.0, 0.9)
    best = Surface(*(PAPER[name] for name in ("E", "A", "B", "alpha", "beta"))).optimum(1e20, cost)
    assert law.best_size(best.D, cost) == pytest.approx(float(best.N), rel=1e-9)


def test_four_epochs_are_nearly_as_good_as_fresh_data_and_forty_are_not():
    """The paper's own reading of its law (section 1): up to 4 epochs cost next to nothing."""
    law = RepeatedLaw(**PAPER)
    assert law.effective_data(4.0, 1.0) > 0.9 * 4 and law.effective_data(40.0, 1.0) < 0.5 * 40


def test_runs_that_hardly_repeat_are_refused():
    N, D, L, U = runs(noise=0.01)
    with pytest.raises(TooFewPoints):
        fit_repeated(N, D, L, D)


def test_fit_finds_them_by_name(tmp_path):
    N, D, L, U = runs(noise=0.01)
    (tmp_path / "t.csv").write_text("\n".join(["params,tokens,unique_tokens,loss", *(
        f"{n:.0f},{d:.0f},{u:.0f},{loss:.6f}" for n, d, u, loss in zip(N, D, U, L, strict=True))]))
    done = subprocess.run([sys.executable, str(ROOT / "analysis" / "fit.py"), "t.csv", "--resamples", "50", "--no-figures"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "t-fit" / "fit.json").read_text())["groups"][0]["repeated_data"]
    assert said["R_D"]["low"] < PAPER["R_D"] < said["R_D"]["high"] and said["scatter"] < said["scatter_if_fresh"]


@pytest.mark.slow
def test_intervals_cover():
    tries, hits = 100, dict.fromkeys(("alpha", "beta", "R_D"), 0)
    for k in range(tries):
        found = fit_repeated(*runs(noise=0.02, rng=k), resamples=150, rng=k)
        for name in hits:
            hits[name] += PAPER[name] in found.estimates[name]
    told("data-constrained law, 120 runs, 2%", hits, tries)
    assert all(within_92_and_98(h, tries) for h in hits.values())
