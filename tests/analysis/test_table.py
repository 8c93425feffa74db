"""Reading anybody's table: columns by name, units, exclusions, groups."""

import gzip
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds.simulated_grids import published
from worlds.simulated_study import simulated_study

from analysis.approaches.parametric import fit_parametric
from analysis.table.files import BadTable
from analysis.table.formats.sheet import printable
from analysis.table.pooled import pooled_doubts
from analysis.table.runs import cells, read_table
from analysis.table.units import unit_doubts

LANGUAGE = "N,D,C,loss\n" + "\n".join(
    f"{n},{d},{6 * n * d},{2 + n ** -0.3 * 300 + d ** -0.3 * 500}" for n in (1e7, 3e7, 1e8) for d in (1e9, 3e9, 1e10)) + "\n"


def written(tmp_path: Path, content: str | bytes | pa.Table, name: str = "runs.csv") -> str:
    path = tmp_path / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def codes(table) -> set[str]:
    return {d.code for d in table.doubts}


def excluded(table) -> dict[str, int]:
    return {e.code: e.rows for e in table.excluded}


def test_our_own_table_is_split_by_dropout_and_keeps_every_row(tmp_path):
    study = simulated_study(widths=4, fractions=4, seeds=2)
    table = read_table([written(tmp_path, study, "results.parquet")])
    assert table.ours and not table.excluded
    assert [dict(g.key) for g in table.groups] == [{"dropout": 0.0}, {"dropout": 0.2}]
    first = table.groups[0].runs
    mask = study["dropout"].to_numpy() == 0.0
    for mine, column in (("N", "params"), ("D", "samples"), ("C", "flops"), ("L", "val_loss"), ("accuracy", "val_accuracy")):
        np.testing.assert_array_equal(getattr(first, mine), study[column].to_numpy()[mask])
    assert len(np.unique(first.cell)) == 16 and len(np.unique(first.seed)) == 2


def test_csv_gzip_and_parquet_of_one_table_are_one_table(tmp_path):
    study = simulated_study(widths=3, fractions=3, seeds=2)
    text = study.to_pandas().to_csv(index=False)
    tables = [read_table([written(tmp_path, c, n)]) for c, n in (
        (study, "a.parquet"), (text, "a.csv"), (gzip.compress(text.encode()), "a.csv.gz"),
        ("\ufeff# a comment\n\n" + text.replace(",", ";"), "b.csv"), (text.replace("\n", "\r\n"), "c.csv"))]
    for other in tables[1:]:
        assert [dict(g.key) for g in other.groups] == [dict(g.key) for g in tables[0].groups]
        for mine, theirs in zip(tables[0].groups, other.groups, strict=True):
            np.testing.assert_allclose(theirs.runs.L, mine.runs.L, rtol=1e-15)
            np.testing.assert_array_equal(theirs.runs.cell, mine.runs.cell)


def test_a_file_uri_is_read_as_the_path(tmp_path):
    path = written(tmp_path, LANGUAGE)
    assert len(read_table(["file://" + path]).groups[0].runs) == len(read_table([path]).groups[0].runs) == 9


def test_an_unknown_column_and_a_missing_later_one_do_not_unmake_our_table(tmp_path):
    study = simulated_study(widths=3, fractions=3, seeds=1).drop_columns(["precision"]).append_column(
        "carbs_hidden", pa.array([[1.0]] * 18))
    assert read_table([written(tmp_path, study, "results.parquet")]).ours


@pytest.mark.parametrize("header", [
    "N,D,C,loss", "n,t,flops,Loss", "Model Size,Tokens,Training FLOP,loss", "params,samples,flops,val_loss",
    "num_params,training_tokens,total_flops,validation loss", "PARAMETERS,D,compute,eval_loss"])
def test_names_of_other_peoples_columns_are_recognised(tmp_path, header):
    table = read_table([written(tmp_path, LANGUAGE.replace("N,D,C,loss", header))])
    assert list(table.columns.values()) == header.split(",")
    np.testing.assert_allclose(table.groups[0].runs.C, 6 * table.groups[0].runs.N * table.groups[0].runs.D)


@pytest.mark.parametrize("drop, code", [("N", "derived_N"), ("D", "derived_D"), ("C", "derived_C")])
def test_the_one_of_N_D_C_that_is_missing_follows_from_6ND_and_is_said(tmp_path, drop, code):
    rows = [line.split(",") for line in LANGUAGE.splitlines()]
    at = rows[0].index(drop)
    text = "\n".join(",".join(cell for i, cell in enumerate(row) if i != at) for row in rows)
    table, whole = (read_table([written(tmp_path, t)]).groups[0].runs for t in (text, LANGUAGE))
    np.testing.assert_allclose(getattr(table, drop), getattr(whole, drop), rtol=1e-12)
    assert code in codes(read_table([written(tmp_path, text)]))


def test_held_out_loss_is_taken_before_training_loss(tmp_path):
    text = "N,D,train_loss,val_loss\n" + "\n".join(f"{n},{d},1.0,{n / d}" for n in (1, 2, 3) for d in (4, 5, 6))
    assert read_table([written(tmp_path, text)]).columns["L"] == "val_loss"
    only = text.replace(",val_loss", ",other")
    assert "training_loss" in codes(read_table([written(tmp_path, only)]))


def test_two_columns_for_one_part_are_refused_unless_they_agree_or_one_holds_text(tmp_path):
    def with_column(values) -> str:
        lines = LANGUAGE.splitlines()
        return "\n".join([lines[0] + ",params", *(f"{line},{v(line)}" for line, v in zip(lines[1:], [values] * 9, strict=True))])

    with pytest.raises(BadTable, match="--params"):
        read_table([written(tmp_path, with_column(lambda line: "5e6"))])
    for same in (lambda line: line.split(",")[0], lambda line: "standard"):
        assert read_table([written(tmp_path, with_column(same))]).columns["N"] == "N"
    assert read_table([written(tmp_path, with_column(lambda line: "5e6"))], flags={"N": "params"}).groups[0].runs.N[0] == 5e6


def test_rows_that_cannot_be_fitted_are_counted_by_reason(tmp_path):
    bad = ["nan,1e9,1e18,2.5", "1e7,inf,1e18,2.5", "1e7,1e9,0,2.5", "1e7,1e9,1e18,-1", "1e7,1e9,1e18,abc", "1e7,1e9,1e18,",
           "=1+1,1e9,1e18,2.5", "1e7,1e9", "1e80,1e9,1e18,2.5", "1e7,1e9,1e18,99"]
    table = read_table([written(tmp_path, LANGUAGE + "\n".join(bad) + "\n")], max_loss=50)
    assert excluded(table) == {"ragged_row": 1, "text_N": 1, "text_L": 1, "not_finite_N": 1, "not_finite_D": 1,
                               "not_finite_L": 1, "not_positive_C": 1, "not_positive_L": 1, "absurd_N": 1, "diverged": 1}
    assert len(table.groups[0].runs) == 9
    assert {"excluded_text_L", "excluded_diverged"} <= codes(table)


def test_dead_runs_of_mnist_are_left_out_and_those_of_other_tables_are_not(tmp_path):
    study = simulated_study(widths=3, fractions=3, seeds=1)
    loss = study["val_loss"].to_numpy().copy()
    loss[:2] = math.log(10), 0.96 * math.log(10)
    loss[2] = 0.9 * math.log(10)
    dead = study.set_column(study.schema.get_field_index("val_loss"), "val_loss", pa.array(loss))
    assert excluded(read_table([written(tmp_path, dead, "a.parquet")])) == {"diverged": 2}
    foreign = dead.select(["params", "samples", "flops", "val_loss", "seed", "dropout"])
    assert excluded(read_table([written(tmp_path, foreign, "b.parquet")])) == {}


@given(st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_duplicates_count_once_wherever_they_stand(tmp_path_factory, copies, random):
    lines = LANGUAGE.splitlines()
    doubled = lines[1:] + [random.choice(lines[1:]) for _ in range(copies)]
    random.shuffle(doubled)
    table = read_table([written(tmp_path_factory.mktemp("d"), "\n".join([lines[0], *doubled]))])
    assert excluded(table) == {"duplicate": copies}
    assert len(table.groups[0].runs) == 9


def test_a_rounded_loss_that_two_rates_share_is_no_duplicate(tmp_path):
    """Of 27 runs at three rates, two of which give one loss to all its digits."""
    lines = [f"{line},{lr}" for line in LANGUAGE.splitlines()[1:] for lr in ("1e-4", "1e-3", "1e-2")]
    table = read_table([written(tmp_path, "\n".join([LANGUAGE.splitlines()[0] + ",lr", *lines, lines[0]]))])
    assert excluded(table) == {"duplicate": 1}
    assert len(table.groups[0].runs) == 27


def test_files_stack_and_the_same_file_twice_changes_nothing_but_the_count_of_duplicates(tmp_path):
    path = written(tmp_path, simulated_study(widths=3, fractions=3, seeds=2), "a.parquet")
    once, twice = read_table([path]), read_table([path, path])
    assert excluded(twice) == {"duplicate": once.rows}
    np.testing.assert_array_equal(twice.groups[1].runs.L, once.groups[1].runs.L)
    other = written(tmp_path, LANGUAGE.replace("N,D,C", "params,tokens,flops"), "b.csv")
    assert len(read_table([written(tmp_path, LANGUAGE, "c.csv"), other]).groups[0].runs) == 9


def test_groups_by_text_by_number_and_by_several_columns(tmp_path):
    lines = LANGUAGE.splitlines()
    text = "\n".join([lines[0] + ",data,lr", *(f"{l},{'ab'[i % 2]},{0.1 * (i % 3)}" for i, l in enumerate(lines[1:]))])
    path = written(tmp_path, text)
    assert [dict(g.key) for g in read_table([path], by=["data"]).groups] == [{"data": "a"}, {"data": "b"}]
    assert len(read_table([path], by=["data", "lr"]).groups) == 6
    assert len(read_table([path]).groups) == 1
    with pytest.raises(BadTable, match="dropuot"):
        read_table([path], by=["dropuot"])


def test_grouping_by_a_continuous_column_is_refused(tmp_path):
    text = "N,D,loss,x\n" + "\n".join(f"{n},{d},{1 / n + 1 / d},{n * d}" for n in range(1, 9) for d in range(11, 19))
    with pytest.raises(BadTable, match="groups"):
        read_table([written(tmp_path, text)], by=["x"])


def test_rows_that_repeat_a_cell_and_seed_with_other_losses_are_doubted(tmp_path):
    study = simulated_study(widths=3, fractions=3, seeds=2, dropouts=(0.0,))
    again = study.set_column(study.schema.get_field_index("val_loss"), "val_loss", pa.array(study["val_loss"].to_numpy() * 1.1))
    table = read_table([written(tmp_path, pa.concat_tables([study, again.cast(study.schema)]), "a.parquet")])
    assert "repeated_cell_seed" in codes(table)
    assert "repeated_cell_seed" not in codes(read_table([written(tmp_path, study, "b.parquet")]))


@pytest.mark.parametrize("content, said", [
    ("", "empty"), ("N,D,loss\n", "no rows"), ("N,D,loss", "no rows"), (b"PAR1 and no more", "Parquet"), (b"PK\x03\x04....", "Excel"),
    (b"\xff\xfeN\x00,\x00", "--loss"), (b"N,D,lo\xe9ss\n1,2,3\n", "UTF-8"), (b"\x00\x01\x02", "neither"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", "xlsx"), ("\n<!DOCTYPE html><html>", "web page"), ("version https://git-lfs.github.com/spec/v1\n", "git lfs"), ("a,b\n1,2\n", "--loss"),
    ("loss,b\n1,2\n", "--params"), ("loss,N\n1,2\n", "--samples"), ("N,N,D,loss\n1,2,3,4\n", "two columns"),
    ("N,D,loss\nx,y,z\n", "no number"), ("N,D,loss\n-1,2,3\n", "no row can be used")])
def test_what_is_no_table_is_refused_in_one_line_that_says_why(tmp_path, content, said):
    with pytest.raises(BadTable, match=said) as why:
        read_table([written(tmp_path, content)])
    assert "\n" not in str(why.value)


def test_folders_devices_and_missing_files_are_refused_without_reading_them(tmp_path):
    for path, said in ((str(tmp_path), "folder"), ("/dev/zero", "regular"), (str(tmp_path / "none.csv"), "no such file")):
        with pytest.raises(BadTable, match=said):
            read_table([path])


def test_a_refusal_names_the_whole_path(tmp_path):
    """Catches a path that is cut like any other text: the reader, and the command to copy, would miss the file."""
    path = str(tmp_path.joinpath(*["folder"] * 40, "none.csv"))
    with pytest.raises(BadTable) as why:
        read_table([path])
    assert path in str(why.value)


def test_percent_and_share_give_one_accuracy(tmp_path):
    lines = LANGUAGE.splitlines()
    share, percent = ("\n".join([lines[0] + ",acc", *(f"{l},{k * scale}" for k, l in enumerate(lines[1:], 1))])
                      for scale in (0.1, 10))
    a, b = (read_table([written(tmp_path, t)]) for t in (share, percent))
    np.testing.assert_allclose(a.groups[0].runs.accuracy, b.groups[0].runs.accuracy)
    assert "accuracy_percent" in codes(b) - codes(a)


def test_mixed_units_are_doubted_and_honest_tables_are_not():
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 8), np.geomspace(1e8, 1e10, 8)))
    L = np.full(64, 3.0)
    assert unit_doubts(N, D, 6 * N * D, L) == ()
    assert unit_doubts(N, D, 300 * N**0.6 * D, L) == ()
    millions = np.where(np.arange(64) < 20, N / 1e6, N)
    assert {"mixed_units_N", "mixed_units_C"} <= {d.code for d in unit_doubts(millions, D, 6 * N * D, L)}
    assert {d.code for d in unit_doubts(N / 1e7, D, 6 * N * D, L * 10)} == {"small_N", "high_loss", "unit_of_C"}
    assert {d.code for d in unit_doubts(N, D, 6e-9 * N * D, L)} == {"unit_of_C"}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=40))
@settings(deadline=None)
def test_cells_are_the_distinct_pairs(pairs):
    N, D = (np.array([p[i] for p in pairs], float) for i in (0, 1))
    index = cells(N, D)
    assert len(set(index)) == len(set(pairs))
    assert len({(i, p) for i, p in zip(index, pairs, strict=True)}) == len(set(pairs))


@given(st.text(max_size=300))
@settings(deadline=None)
def test_printable_text_moves_no_cursor(text):
    shown = printable(text)
    assert shown.isprintable() and len(shown) <= 80


@pytest.mark.parametrize("path, flags, rows", [
    ("epoch/svg_extracted_data.csv", {}, 245), ("kyo_takano/df.csv", {}, 234), ("porian/isoflop_points.csv", {}, 1745),
    ("gadre/gadre_104_models.csv", {"L": "loss_c4_val"}, 104)])
def test_published_tables_are_read_whole(path, flags, rows):
    table = read_table([str(published(path))], flags=flags)
    assert sum(len(g.runs) for g in table.groups) == rows
    runs = table.groups[0].runs
    assert 0.2 < np.median(runs.C / (6 * runs.N * runs.D)) < 5


@pytest.mark.parametrize("header, scales", [
    ("parameter_count,throughput/total_tokens,throughput/total_gflops,eval/paloma/macro_loss", (1, 1, 1e9)),
    ("Params (M),tokens_b,Training compute (PF-days),final_loss", (1e6, 1e9, 8.64e19)),
    ("Model Size,Training Tokens,compute_zettaflops,my_val_loss", (1, 1, 1e21)),
])
def test_units_in_names_are_taken_at_their_word(tmp_path, header, scales):
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    C, L = 6 * N * D, 2 + 300 * N**-0.3
    columns = [v / s for v, s in zip((N, D, C), scales, strict=True)] + [L]
    text = header + "\n" + "\n".join(",".join(repr(float(x)) for x in row) for row in zip(*columns, strict=True))
    table = read_table([written(tmp_path, text)])
    runs = table.groups[0].runs
    for found, wanted in ((runs.N, N), (runs.D, D), (runs.C, C), (runs.L, L)):
        np.testing.assert_allclose(found, wanted)
    assert {c for c in codes(table) if c.startswith("scaled")} == {f"scaled_{p}" for p, s in zip("NDC", scales, strict=True) if s != 1}


def test_units_that_the_numbers_belie_are_not_applied_and_a_speed_is_no_cost(tmp_path):
    flops = LANGUAGE.replace("N,D,C,", "N,D,total_gflops,", 1)   # 6 N D as it stands
    assert np.median(read_table([written(tmp_path, flops)]).groups[0].runs.C) == pytest.approx(6e17)
    speed = "\n".join(f"{line},{'tflops' if not i else 45.3}" for i, line in enumerate(LANGUAGE.strip().splitlines()))
    assert read_table([written(tmp_path, speed)]).columns["C"] == "C"
    giga = "\n".join(",".join([n, d, str(float(c) / 1e9) if i else c, l]) for i, (n, d, c, l) in
                     enumerate(line.split(",") for line in LANGUAGE.strip().splitlines()))
    assert "unit_of_C" in codes(read_table([written(tmp_path, giga)]))


def test_a_budget_stands_in_for_the_flops_that_are_missing(tmp_path):
    rows = [line.split(",") for line in LANGUAGE.strip().splitlines()[1:]]
    text = "compute_budget,parameters,final_loss\n" + "\n".join(f"{c},{n},{l}" for n, d, c, l in rows)
    table = read_table([written(tmp_path, text)])
    runs = table.groups[0].runs
    np.testing.assert_allclose(runs.D, [float(d) for n, d, c, l in rows])
    np.testing.assert_array_equal(runs.budget, runs.C)
    assert {"budget_as_C", "derived_D"} <= codes(table)


def test_columns_that_say_nearly_the_same_are_one(tmp_path):
    def with_tokens(factor):
        lines = LANGUAGE.strip().splitlines()
        return "\n".join([lines[0] + ",train_tokens", *(f"{l},{float(l.split(',')[1]) * factor}" for l in lines[1:])])

    table = read_table([written(tmp_path, with_tokens(1.0001))])
    assert table.columns["D"] == "D" and "columns_differ" in codes(table)
    with pytest.raises(BadTable, match="D, train_tokens differ"):
        read_table([written(tmp_path, with_tokens(1.05))])


def test_all_that_is_missing_is_said_at_once_with_what_may_be_meant(tmp_path):
    with pytest.raises(BadTable, match=r"nonparam, my tokens seen, x.*--params nonparam --samples 'my tokens seen' .*--flops.*--loss"):
        read_table([written(tmp_path, "nonparam,my tokens seen,x\n1,2,3\n")])
    with pytest.raises(BadTable, match="--loss"):
        read_table([written(tmp_path, '[{"N": 1}]')])


@pytest.mark.parametrize("pooled", [True, False])
def test_experiments_pooled_by_mistake_are_pointed_out_and_mere_labels_are_not(tmp_path, pooled):
    random = np.random.default_rng(3)
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    N, D = np.tile(N, 3), np.tile(D, 3)
    who = np.repeat(["web", "code", "math"], 36)
    L = (1.7 + 400 * N**-0.34 + 400 * D**-0.28) * np.exp(0.01 * random.standard_normal(108))
    L = L * np.where(pooled, np.repeat([1.0, 0.8, 1.3], 36), 1.0)
    layers = np.arange(6)[np.searchsorted(np.unique(N), N)] // 2   # a number that the size determines
    table = read_table([written(tmp_path, pa.table({"N": N, "D": D, "loss": L, "corpus": who, "layers": layers}))])
    group = table.groups[0]
    assert set(group.runs.tags) == {"corpus"}
    doubts = pooled_doubts(fit_parametric(N, D, L, resamples=50).residuals, group.runs.tags)
    assert [d.code for d in doubts] == ["pooled"] * pooled and all("--by corpus" in d.text for d in doubts)


def test_labels_without_meaning_are_seldom_pointed_out():
    random = np.random.default_rng(0)
    found = sum(bool(pooled_doubts(random.standard_normal(60), {f"c{i}": random.integers(0, 4, 60) for i in range(10)}))
                for _ in range(100))
    assert found <= 2   # a thousand columns at p < 1e-4


@pytest.mark.parametrize("header, values, wanted", [
    ("N,flops,d_k,loss", "{n},{c},64,{l}", {"N": "N", "C": "flops", "L": "loss"}),
    ("N,D,loss,D/N", "{n},{d},{l},{r}", {"N": "N", "D": "D", "L": "loss"}),
    ("params,tokens,loss,tokens/params", "{n},{d},{l},{r}", {"N": "params", "D": "tokens", "L": "loss"}),
    ("N,D,loss,train/loss", "{n},{d},{l},9", {"N": "N", "D": "D", "L": "loss"}),
    ("N,D,loss,params_m,tokens_b", "{n},{d},{l},1,2", {"N": "N", "D": "D", "L": "loss"}),
    ("N,D,flops,loss,total_gflops", "{n},{d},{c},{l},7", {"N": "N", "D": "D", "C": "flops", "L": "loss"}),
])
def test_whole_names_come_before_paths_units_and_ratios(tmp_path, header, values, wanted):
    rows = [values.format(n=n, d=d, c=6 * n * d, l=2 + n**-0.3 * 300, r=d / n) for n in (1e7, 3e7, 1e8) for d in (1e9, 3e9, 1e10)]
    table = read_table([written(tmp_path, "\n".join([header, *rows]))])
    assert {part: column for part, column in table.columns.items() if not column.startswith("no column")} == wanted
    assert not [c for c in codes(table) if "scaled" in c]


def test_a_zero_in_both_columns_makes_them_no_more_alike(tmp_path):
    with pytest.raises(BadTable, match="params, n_params differ"):
        read_table([written(tmp_path, "params,n_params,tokens,loss\n0,0,1e9,3\n1e6,3e6,1e9,3\n")])
    with pytest.raises(BadTable, match="val_loss, test_loss differ"):   # 0.5% is no rounding of a loss
        read_table([written(tmp_path, "N,D,val_loss,test_loss\n1e6,1e9,3,3.015\n")])


def test_units_hold_for_the_largest_data_and_are_refused_for_what_has_them_already(tmp_path):
    thousands = read_table([written(tmp_path, "N,tokens (K),loss\n1e8,3e6,3\n2e8,6e6,2.9\n3e8,2e6,2.8\n")])
    np.testing.assert_allclose(thousands.groups[0].runs.D, [3e9, 6e9, 2e9])
    ones = read_table([written(tmp_path, "N,tokens_b,loss\n1e8,3e9,3\n2e8,6e9,2.9\n")])
    np.testing.assert_allclose(ones.groups[0].runs.D, [3e9, 6e9])
    assert "not_scaled_D" in codes(ones)
    alone = read_table([written(tmp_path, "N,total_gflops,loss\n1e8,1.2e18,3\n2e8,4.8e18,2.9\n")])
    np.testing.assert_allclose(alone.groups[0].runs.C, [1.2e18, 4.8e18])


def test_a_lone_loss_is_said_and_a_label_is_no_budget(tmp_path):
    assert "guessed_L" in codes(read_table([written(tmp_path, "N,D,macro_loss\n1e8,1e9,3\n")]))
    assert "training_loss" in codes(read_table([written(tmp_path, "N,D,c4_train_loss\n1e8,1e9,3\n")]))
    with pytest.raises(BadTable, match="--loss"):
        read_table([written(tmp_path, "N,D,loss_scale,bpb\n1e8,1e9,128,1\n")])
    with pytest.raises(BadTable, match="no number of FLOPs"):
        read_table([written(tmp_path, "N,budget,loss\n1e8,1,3\n2e8,2,3\n")])


def test_columns_nobody_asked_for_do_no_harm(tmp_path):
    hashes = pa.table({"N": [1e8, 2e8], "D": [1e9, 1e9], "loss": [3.0, 2.9], "hash": pa.array([b"\xff\xfe\x00\x01"] * 2, pa.binary(4)),
                       "when": pa.array([0, 1], pa.timestamp("s", "No/Where"))})
    assert len(read_table([written(tmp_path, hashes, "h.parquet")]).groups[0].runs) == 2


def test_files_of_different_experiments_are_told_apart_when_stacked(tmp_path):
    def file(name, factor):
        rows = [f"{n},{d},{factor * (1.7 + 400 * n**-0.34 + 400 * d**-0.28)},{name}" for n in np.geomspace(1e7, 1e9, 6)
                for d in np.geomspace(1e9, 1e11, 6)]
        return written(tmp_path, "\n".join([f"N,D,loss,corpus{'' if name == 'web' else '_'}", *rows]), name + ".csv")

    runs = read_table([file("web", 1.0), file("code", 1.3)]).groups[0].runs
    assert set(runs.tags) == {"/"}
    [doubt] = pooled_doubts(fit_parametric(runs.N, runs.D, runs.L, resamples=50).residuals, runs.tags)
    assert "2 files" in doubt.text and "fit each alone" in doubt.text


def test_names_of_models_are_no_experiments(tmp_path):
    rows = [f"{n},{d},{2 + n**-0.3 * 300},lm-{n:.0e}" for n in np.geomspace(1e7, 1e9, 6) for d in np.geomspace(1e9, 1e11, 6)]
    assert not read_table([written(tmp_path, "\n".join(["N,D,loss,model", *rows]))]).groups[0].runs.tags


def test_runs_near_the_loss_of_knowing_nothing_are_left_out_where_the_table_says_what_that_is(tmp_path):
    """Catches a dead run of a task that the analysis has never heard of bending its law."""
    fields = [("width", pa.int64(), "axis", ""), ("n", pa.float64(), "measured", "N"), ("d", pa.float64(), "measured", "D"),
              ("loss", pa.float64(), "measured", "L")]
    schema = pa.schema([pa.field(name, kind, metadata={"role": role, "law": law}) for name, kind, role, law in fields],
                       metadata={"task": "mine", "hopeless": "5.0"})
    table = pa.table([[1, 2, 3, 4], [10.0, 20.0, 30.0, 40.0], [100.0] * 4, [1.0, 2.0, 4.7, 4.8]], schema=schema)
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_table([str(tmp_path / "t.parquet")])
    assert read.groups[0].runs.L.tolist() == [1.0, 2.0, 4.7]
    assert {e.code: e.rows for e in read.excluded if e.rows} == {"diverged": 1}
    assert len(read_table([str(tmp_path / "t.parquet")], max_loss=100.0).groups[0].runs.L) == 4
