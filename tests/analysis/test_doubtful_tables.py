"""Tables that mean something else than they say: totals, logarithms, wrong FLOPs, several settings, data seen twice."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from worlds.simulated_grids import grid, published

from analysis.approaches.cost import fit_cost
from analysis.estimates.refusal import NotIdentified
from analysis.questions.lack_of_fit import lack_of_fit
from analysis.table.contradictions import contradicting, sums_of_others
from analysis.table.files import BadTable
from analysis.table.runs import Table, read_table

FIT = Path(__file__).resolve().parents[2] / "analysis" / "fit.py"


def frame(p: float = 1.0, *, noise: float = 0.0, rng: int = 0) -> pd.DataFrame:
    """54 runs of C = 6 N^p D on a known surface."""
    random = np.random.default_rng(rng)
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1.1e7, 1.3e9, 9), np.geomspace(1e9, 1.2e11, 6)))
    L = (1.7 + 400 * N**-0.34 + 400 * D**-0.28) * np.exp(noise * random.standard_normal(54))
    return pd.DataFrame({"N": N, "D": D, "C": 6 * N**p * D, "loss": L})


def read(tmp_path: Path, table: pd.DataFrame, **options) -> Table:
    table.to_csv(tmp_path / "t.csv", index=False)
    return read_table([str(tmp_path / "t.csv")], **options)


def codes(table: Table) -> set[str]:
    return {d.code for d in table.doubts}


def excluded(table: Table) -> dict[str, int]:
    return {e.code: e.rows for e in table.excluded}


@pytest.mark.parametrize("p", [1.0, 0.8])
@pytest.mark.parametrize("loss", [4.0, 120.0])
def test_a_row_of_totals_moves_neither_p_nor_the_law(tmp_path, p, loss):
    whole = frame(p)
    totals = pd.concat([whole, whole.sum().to_frame().T.assign(loss=loss)])
    table = read(tmp_path, totals)
    assert excluded(table) == {"totals": 1}
    runs = table.groups[0].runs
    assert fit_cost(runs.N, runs.D, runs.C).p == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("p", [1.0, 0.8])
@pytest.mark.parametrize("row", [0, 20, 53])
@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0, 1e3])
def test_flops_that_contradict_the_others_are_named_and_left_out(tmp_path, p, row, factor):
    whole = frame(p)
    whole.loc[row, "C"] *= factor
    table = read(tmp_path, whole)
    assert excluded(table) == {"contradicting_C": 1}
    assert f"C {whole.C[row]:.3g}" in table.excluded[0].text and f"N {whole.N[row]:.3g}" in table.excluded[0].text


def test_a_cost_that_bends_or_scatters_is_no_contradiction(tmp_path):
    whole, random = frame(), np.random.default_rng(1)
    bent = whole.assign(C=6 * (whole.N + 5e7) * whole.D)                                   # embeddings are not counted
    loose = whole.assign(C=whole.C * np.exp(0.7 * random.standard_normal(54)))             # architectures differ
    experts = whole.assign(C=whole.C * np.where(np.arange(54) % 2, 0.1, 1.0))              # half of them sparse
    assert not excluded(read(tmp_path, bent)) and not excluded(read(tmp_path, loose)) and not excluded(read(tmp_path, experts))


@pytest.mark.parametrize("name, flags", [("kyo_takano/df.csv", {}), ("porian/isoflop_points.csv", {}),
                                         ("gadre/gadre_104_models.csv", {"L": "loss_c4_val"})])
def test_no_row_of_a_published_table_is_taken_for_a_slip(name, flags):
    assert not excluded(read_table([str(published(name))], flags=flags))


def test_simulated_grids_lose_no_row():
    for rng in range(20):
        g = grid(noise=0.05, rng=rng, p=0.85)
        assert not contradicting(g.N, g.D, g.C)[0].any() and not sums_of_others(g.N, g.D).any()


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e3, 1e6])
def test_a_constant_factor_of_thousands_is_caught_and_a_convolutions_is_not(tmp_path, factor):
    assert "unit_of_C" in codes(read(tmp_path, frame().assign(C=lambda t: t.C * factor)))
    assert "unit_of_C" not in codes(read(tmp_path, frame()))
    assert "unit_of_C" not in codes(read(tmp_path, frame(0.8).assign(C=lambda t: t.C * 1_000)))


@pytest.mark.parametrize("name", ["total_training_Gflops", "training_gflops", "compute_gflops", "total_gflops"])
def test_flops_in_giga_are_taken_at_their_word(tmp_path, name):
    table = read(tmp_path, frame().assign(C=lambda t: t.C / 1e9).rename(columns={"C": name}))
    np.testing.assert_allclose(table.groups[0].runs.C, frame().C)


LOGS = {"10": np.log10, "2": np.log2, "e": np.log}


@pytest.mark.parametrize("names", [{"N": "log10_params", "D": "log10(tokens)"}, {"N": "ln_params", "D": "ln_tokens"},
                                   {"N": "log_params"}, {"N": "lg N"},
                                   {"D": "log2 tokens"}, {"N": "params_log10"}, {"C": "log10 FLOPs"}])
def test_logarithms_are_undone_where_the_name_says_so(tmp_path, names):
    table = frame()
    for part, name in names.items():
        base = "e" if name.startswith("ln") else "2" if "2" in name else "10"
        table[part] = LOGS[base](table[part])
    runs = read(tmp_path, table.rename(columns=names)).groups[0].runs
    for part in "NDC":
        np.testing.assert_allclose(getattr(runs, part), frame()[part], rtol=1e-9)


@pytest.mark.parametrize("parts", ["N", "D", "C", "ND", "NDC"])
@pytest.mark.parametrize("base", ["10", "e"])
@pytest.mark.parametrize("p", [1.0, 0.9])
def test_logarithms_that_nothing_names_are_found_by_the_flops_or_refused_but_never_fitted(tmp_path, parts, base, p):
    table = frame(p)
    for part in parts:
        table[part] = LOGS[base](table[part])
    try:
        read_ = read(tmp_path, table)
    except BadTable as why:
        assert "logarithm" in str(why)
        return
    for part in "NDC":
        np.testing.assert_allclose(getattr(read_.groups[0].runs, part), frame(p)[part], rtol=1e-9)
    assert {f"logarithm_{part}" for part in parts} <= codes(read_)


def test_logarithms_without_flops_are_refused_with_the_way_out(tmp_path):
    table = frame().drop(columns="C").assign(N=lambda t: np.log10(t.N), D=lambda t: np.log10(t.D))
    with pytest.raises(BadTable, match="log10_params"):
        read(tmp_path, table)
    runs = read(tmp_path, table.rename(columns={"N": "log10 N", "D": "log10 D"})).groups[0].runs
    np.testing.assert_allclose(runs.N, frame().N)


def swept(rates: int = 5, seeds: int = 1) -> pd.DataFrame:
    """Every cell at several rates, the best of which lies on the law; rates differ by cell."""
    base = frame(noise=0.0)
    rows = []
    for number, row in enumerate(base.to_dict("records")):
        for step in range(rates):
            off = (step - number % rates) * 0.7
            for seed in range(seeds):
                loss = row["loss"] * np.exp(0.05 * off**2 + 0.002 * off**3 + 1e-4 * seed)
                rows.append(row | {"lr": 1e-3 * 2.0**step, "seed": seed, "loss": loss})
    return pd.DataFrame(rows)


def test_several_settings_of_each_cell_are_pointed_out_and_the_best_kept_on_demand(tmp_path):
    table = read(tmp_path, swept(seeds=2))
    assert "several_settings" in codes(table) and len(table.groups[0].runs) == 54 * 5 * 2
    best = read(tmp_path, swept(seeds=2), best=True)
    runs = best.groups[0].runs
    assert excluded(best) == {"not_best": 54 * 4 * 2} and len(runs) == 54 * 2 and "best_of_cell" in codes(best)
    np.testing.assert_allclose(np.sort(runs.L[runs.seed == 0]), np.sort(frame().loss), rtol=1e-12)


def test_seeds_and_measured_columns_are_no_settings(tmp_path):
    table = pd.concat([frame(noise=0.01, rng=s).assign(seed=s) for s in range(3)])
    table["wall"] = np.random.default_rng(0).uniform(1, 2, len(table))
    table["layers"] = np.digitize(table.N, np.geomspace(1e7, 1e9, 5))
    assert "several_settings" not in codes(read(tmp_path, table))


def test_best_without_a_column_of_settings_keeps_the_lowest_of_each_cell(tmp_path):
    runs = read(tmp_path, swept().drop(columns=["lr", "seed"]), best=True).groups[0].runs
    np.testing.assert_allclose(np.sort(runs.L), np.sort(frame().loss))


def test_best_on_the_command_line(tmp_path):
    swept().to_csv(tmp_path / "s.csv", index=False)
    done = subprocess.run([sys.executable, str(FIT), "s.csv", "--best", "--resamples", "50", "--quick"], capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    a = json.loads((tmp_path / "s-fit" / "fit.json").read_text())["groups"][0]["approach3"]["a"]["value"]
    assert a == pytest.approx(0.28 / 0.62, abs=1e-3)


@pytest.mark.parametrize("column, values", [("epochs", lambda t: np.where(t.D > 1e10, 4.0, 1.0)),
                                            ("unique_tokens", lambda t: np.where(t.D > 1e10, t.D / 4, t.D))])
def test_data_seen_more_than_once_are_pointed_out_and_counted(tmp_path, column, values):
    table = read(tmp_path, frame().assign(**{column: values}))
    runs = table.groups[0].runs
    np.testing.assert_allclose(runs.unique, np.where(runs.D > 1e10, runs.D / 4, runs.D))
    [doubt] = [d for d in table.doubts if d.code == "repeated_data"]
    assert str(int((runs.D > 1e10).sum())) in doubt.text
    assert "repeated_data" not in codes(read(tmp_path, frame().assign(epochs=1.0)))


def test_of_several_counts_of_n_the_table_says_which_is_meant_unless_the_user_does(tmp_path):
    whole = frame().rename(columns={"N": "non_embedding_params"}).assign(total_params=lambda t: t.non_embedding_params * 1.5)
    doubt = next(d for d in read(tmp_path, whole).doubts if d.code == "several_counts")
    assert "N is non_embedding_params" in doubt.text and "total_params" in doubt.text
    assert "several_counts" not in codes(read(tmp_path, whole, flags={"N": "total_params"}))
    settings = frame().assign(hparams=3, tokens_per_param=20.0, param_count="kaplan")
    assert "several_counts" not in codes(read(tmp_path, settings))


def test_examples_are_those_that_are_unique_times_their_epochs_where_nothing_else_says_it(tmp_path):
    whole = frame().drop(columns="C").rename(columns={"D": "unique_tokens"}).assign(epochs=4)
    table = read(tmp_path, whole)
    runs = table.groups[0].runs
    assert runs.D == pytest.approx(4 * runs.unique) and {"derived_D", "repeated_data"} <= codes(table)


def test_epochs_that_contradict_the_examples_are_not_believed(tmp_path):
    whole = frame().drop(columns="C").assign(unique_tokens=lambda t: t.D / 4, epochs=4)
    assert "epochs_disagree" not in codes(read(tmp_path, whole))
    whole.loc[:9, "epochs"] = 8
    table = read(tmp_path, whole)
    assert "10 rows" in next(d.text for d in table.doubts if d.code == "epochs_disagree")
    assert table.groups[0].runs.repeated == pytest.approx(4)


def test_a_count_below_one_is_doubted(tmp_path):
    assert "below_one_D" in codes(read(tmp_path, frame().drop(columns="C").assign(D=lambda t: t.D / 1e10)))


def test_copies_of_runs_are_no_repeats(tmp_path):
    whole = frame(noise=0.01)
    copied = pd.concat([whole.assign(seed=seed) for seed in range(3)])
    table = read(tmp_path, copied)
    runs = table.groups[0].runs
    assert "copies" in codes(table) and "copies" not in codes(read(tmp_path, whole))
    with pytest.raises(NotIdentified, match="copies"):
        lack_of_fit(np.random.default_rng(0).normal(size=54)[runs.cell], runs.N, runs.D, parameters=6)
    copied.iloc[0, list(copied.columns).index("loss")] *= 1.01
    assert "copies" not in codes(read(tmp_path, copied))
