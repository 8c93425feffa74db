"""The published language study: its accounts add up, and fits of another make say what ours say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from analysis.approaches.isoflop import fit_isoflop
from analysis.procedures.bridge import KAPLAN_TO_CHINCHILLA

PUBLISHED = Path(__file__).resolve().parents[2] / "analysis" / "published"
WIDTHS_OF_THE_BRIDGE = 64


@pytest.fixture(scope="module")
def standard() -> pd.DataFrame:
    return pd.read_parquet(PUBLISHED / "language-standard.parquet")


@pytest.fixture(scope="module")
def bridge(standard) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(PUBLISHED / "language-bridge.parquet"), standard[standard.seed == 0]])


def test_the_accounts_of_every_row_add_up(bridge):
    """C is 6 N D and attention; the blocks alone are what is left without head and attention."""
    np.testing.assert_allclose(bridge.flops - bridge.attention_flops, 6.0 * bridge.params * bridge.samples, rtol=1e-12)
    np.testing.assert_allclose(bridge.flops - bridge.attention_flops - bridge.head_flops, 6.0 * bridge.params_blocks * bridge.samples,
                               rtol=1e-12)
    assert (bridge.params_total - bridge.params == bridge.params - bridge.params_blocks).all()   # embedding and head are of one size
    assert np.isfinite(bridge.val_loss).all() and (bridge.val_loss < np.log(256)).all()


def test_every_step_of_the_bridge_has_every_run(bridge):
    places = {protocol: set(zip(rows.width, rows.tokens, rows.seed, strict=True)) for protocol, rows in bridge.groupby("protocol")}
    few = set.intersection(*places.values())
    assert {step.protocol for step in KAPLAN_TO_CHINCHILLA} == set(places)
    assert len(few) == 7 * 7 and max(width for width, _, _ in few) == WIDTHS_OF_THE_BRIDGE


def kaplan_joint(rows: pd.DataFrame) -> dict[str, float]:
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D by least squares of log L, SciPy alone (Kaplan et al. 2020, equation 1.5)."""
    x, y, L = (np.log(rows[name].to_numpy(float)) for name in ("params", "samples", "val_loss"))

    def residual(p):
        alpha_N, alpha_D, n, d = p
        return alpha_D * np.logaddexp((n - x) * alpha_N / alpha_D, d - y) - L

    best = min((least_squares(residual, [alpha, beta, 13.0, 15.0]) for alpha in (0.1, 0.3) for beta in (0.1, 0.3)), key=lambda f: f.cost)
    return {**dict(zip(("alpha_N", "alpha_D", "n", "d"), best.x, strict=True)), "rms": float(np.sqrt(np.mean(best.fun**2)))}


def additive(rows: pd.DataFrame) -> float:
    """Root mean square of log L about E + A/N^alpha + B/D^beta, SciPy alone."""
    x, y, L = (np.log(rows[name].to_numpy(float)) for name in ("params", "samples", "val_loss"))

    def residual(p):
        return np.logaddexp(np.logaddexp(p[0], p[1] - p[2] * x), p[3] - p[4] * y) - L

    starts = [[e, a, alpha, b, beta] for e in (-2.0, 0.0) for a, alpha in ((3, 0.4), (5, 0.6)) for b, beta in ((4, 0.4), (7, 0.6))]
    return min(np.sqrt(np.mean(least_squares(residual, start).fun**2)) for start in starts)


def test_kaplan_s_joint_law_describes_the_study_and_hoffmann_s_does_not(standard):
    """README's finding, by code that shares nothing with the analysis."""
    fit = kaplan_joint(standard)
    assert fit["rms"] < 0.03 and additive(standard) > 1.5 * fit["rms"]
    assert fit["alpha_N"] == pytest.approx(0.16, abs=0.015) and fit["alpha_D"] == pytest.approx(0.21, abs=0.025)


def test_minima_by_plain_parabolas_give_the_exponent_that_approach_2_gives(standard):
    rows = standard.groupby(["width", "tokens"], as_index=False).agg({"params": "first", "samples": "first", "flops": "first",
                                                                     "val_loss": lambda L: np.exp(np.log(L).mean())})
    curves = {N: (np.log(g.flops), np.log(g.val_loss)) for N, g in rows.sort_values("flops").groupby("params")}
    minima = []
    for C in np.geomspace(4e10, 3e12, 9):
        points = [(np.log(N), np.interp(np.log(C), x, y)) for N, (x, y) in curves.items() if x.min() <= np.log(C) <= x.max()]
        n, L = np.array(points).T
        bend, slope, _ = np.polyfit(n, L, 2)
        minima.append((np.log(C), -slope / (2 * bend)))
    slope = np.polyfit(*np.array(minima).T, 1)[0]
    ours = fit_isoflop(standard.params, standard.samples, standard.val_loss, standard.flops).a
    assert slope == pytest.approx(ours.value, abs=0.06)
