"""Tables that say what their columns are: read by role, split by what the rows show, tuned choices found."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from worlds.role_tables import BEST_EXPONENT, LAWS, RATE_EXPONENT, ROLES, function_table, function_trials, with_roles
from worlds.simulated_study import simulated_study

from analysis.estimates.refusal import NotIdentified
from analysis.questions.learning_rate import best_rates, fit_learning_rate
from analysis.table.roles import MNIST
from analysis.table.runs import Table, read_table
from analysis.table.tuning import given_rates, tuning_of

FIT = Path(__file__).resolve().parents[2] / "analysis" / "fit.py"


def read(tmp_path: Path, *tables: pa.Table, **options) -> Table:
    paths = [str(tmp_path / f"{i}.parquet") for i in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(table, path)
    return read_table(paths, **options)


def widened(values, name: str = "extra", role: str = "axis", **changed: pa.Array) -> pa.Table:
    """The function's table once for each value of a further column."""
    whole = pa.concat_tables([function_table()] * len(values))
    for column, array in changed.items():
        whole = whole.set_column(whole.schema.get_field_index(column), column, array)
    whole = whole.append_column(name, pa.array(np.repeat(values, len(function_table())).tolist()))
    return with_roles(whole, ROLES | {name: role}, LAWS)


def keys(table: Table) -> list[dict]:
    return [dict(g.key) for g in table.groups]


def test_the_report_of_a_users_function_gives_the_exponents_that_made_its_table(tmp_path):
    pq.write_table(function_table(), tmp_path / "r.parquet")
    pq.write_table(function_trials(), tmp_path / "r.tuning.parquet")
    done = subprocess.run([sys.executable, str(FIT), "r.parquet", "--resamples", "100"], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    document = json.loads((tmp_path / "r-fit" / "fit.json").read_text(), parse_constant=pytest.fail)
    a, rate = document["groups"][0]["approach3"]["a"], document["learning_rate"]
    assert abs(a["value"] - BEST_EXPONENT) < 4 * a["se"] < 0.1
    assert rate["exponent"]["low"] < RATE_EXPONENT < rate["exponent"]["high"] and rate["trials"] == 90
    assert document["columns"] == {"N": "params", "D": "tokens", "C": "flops", "L": "val_loss", "seed": "seed"}
    assert not any(w["code"].startswith(("derived", "guessed")) for w in document["warnings"])
    assert (tmp_path / "r-fit" / "learning_rate.svg").exists() and (tmp_path / "r-fit" / "loss.svg").exists()


def test_letters_come_from_roles_whatever_the_names_are_and_flags_win(tmp_path):
    names = {"params": "loss", "tokens": "N", "flops": "seed", "val_loss": "D", "seed": "val_loss"}   # as misleading as can be
    table = function_table()
    odd = with_roles(table.rename_columns([names.get(n, n) for n in table.column_names]),
                     {names.get(n, n): r for n, r in ROLES.items()}, {names.get(n, n): letter for n, letter in LAWS.items()})
    runs, plain = (read(tmp_path, t).groups[0].runs for t in (odd, table))
    for field in ("N", "D", "C", "L", "seed"):
        np.testing.assert_array_equal(getattr(runs, field), getattr(plain, field))
    other = read(tmp_path, table, flags={"L": "wall_seconds"})
    np.testing.assert_array_equal(other.groups[0].runs.L, table["wall_seconds"].to_numpy())


def test_what_was_measured_comes_before_what_was_planned(tmp_path):
    table = function_table()
    table = table.append_column("samples", pa.array(table["tokens"].to_numpy() * 0.9))
    runs = read(tmp_path, with_roles(table, ROLES | {"samples": "measured"}, LAWS | {"samples": "D"})).groups[0].runs
    np.testing.assert_allclose(runs.D, table["tokens"].to_numpy() * 0.9)


def test_letters_that_no_role_gives_are_found_by_name(tmp_path):
    bare = with_roles(function_table(), ROLES, {"val_loss": "L"})
    assert read(tmp_path, bare).columns == read(tmp_path, function_table()).columns


@pytest.mark.parametrize("values, role, groups", [
    ([0.0, 0.5], "axis", 2), (["adam", "sgd"], "axis", 2), (["adam", "sgd"], "choice", 2), ([True, False], "choice", 2),
    ([0.0, 0.5], "choice", 1), ([0.0], "axis", 1), (["adam"], "choice", 1), ([1, 2], "repeat", 1), ([1, 2], "measured", 1)])
def test_what_moves_no_size_splits_and_numbers_that_were_chosen_do_not(tmp_path, values, role, groups):
    table = read(tmp_path, widened(values, role=role))
    assert len(table.groups) == groups
    said = [str(v).lower() if isinstance(v, bool) else v for v in values]
    assert groups == 1 or sorted(k["extra"] for k in keys(table)) == sorted(said)


def test_axes_that_move_a_size_or_cannot_be_told_from_one_that_does_split_nothing(tmp_path):
    table = function_table()
    width = widened([1.0, 2.0], "width", params=pa.concat_arrays([pa.array(k * table["params"].to_numpy()) for k in (1, 2)]))
    assert keys(read(tmp_path, width)) == [{}]
    alongside = table.append_column("heads", pa.array(table["depth"].to_numpy() * 2.0))   # follows the depth
    assert keys(read(tmp_path, with_roles(alongside, ROLES | {"heads": "axis"}, LAWS))) == [{}]
    resolution = widened([1.0, 2.0], "res", flops=pa.concat_arrays([pa.array(k * table["flops"].to_numpy()) for k in (1, 2)]))
    assert keys(read(tmp_path, resolution)) == [{}]


def test_rounding_to_whole_batches_makes_no_axis_a_size(tmp_path):
    twice = pa.concat_tables([function_table()] * 2)
    jitter = twice["tokens"].to_numpy() * np.random.default_rng(0).uniform(0.98, 1.02, len(twice))
    sparsity = np.repeat([0.0, 0.9], len(twice) // 2)
    twice = twice.append_column("samples", pa.array(jitter)).append_column("sparsity", pa.array(sparsity))
    roles, laws = ROLES | {"samples": "measured", "sparsity": "axis"}, LAWS | {"samples": "D"}
    assert keys(read(tmp_path, with_roles(twice, roles, laws))) == [{"sparsity": 0.0}, {"sparsity": 0.9}]


def test_a_name_of_each_size_is_no_label_and_a_schedule_that_the_protocol_says_is_no_second_one(tmp_path):
    table = function_table()
    named = table.append_column("model", pa.array([f"lm-{d}" for d in table["depth"].to_pylist()]))
    assert keys(read(tmp_path, with_roles(named, ROLES | {"model": "axis"}, LAWS))) == [{}]
    both = widened(["wsd", "cosine", "constant"], "protocol")
    decay = ["linear" if p != "constant" else "none" for p in both["protocol"].to_pylist()]
    both = with_roles(both.append_column("decay", pa.array(decay)), ROLES | {"protocol": "axis", "decay": "choice"}, LAWS)
    assert keys(read(tmp_path, both)) == [{"protocol": p} for p in ("constant", "cosine", "wsd")]


def test_an_axis_of_too_many_values_is_pooled_and_said(tmp_path):
    table = read(tmp_path, widened(list(np.linspace(0.0, 0.5, 30))))
    assert keys(table) == [{}] and "not_split" in {d.code for d in table.doubts}


def test_by_replaces_the_split_that_is_ours(tmp_path):
    split = widened(["a", "b"])
    assert keys(read(tmp_path, split, by=[])) == [{}]
    assert keys(read(tmp_path, split, by=["depth"])) == [{"depth": 2.0**i} for i in range(6)]


def test_several_repeats_are_one_seed_and_files_of_one_task_stack(tmp_path):
    table = function_table(seeds=4)
    seed = table["seed"].to_numpy()
    two = table.set_column(3, "seed", pa.array(seed // 2)).append_column("order", pa.array(seed % 2))
    two = with_roles(two, ROLES | {"order": "repeat"}, LAWS)
    np.testing.assert_array_equal(read(tmp_path, two).groups[0].runs.seed, read(tmp_path, table).groups[0].runs.seed)
    halves = read(tmp_path, two.slice(0, 70), two.slice(70)).groups[0].runs
    np.testing.assert_array_equal(halves.L, table["val_loss"].to_numpy())
    assert len(np.unique(halves.seed)) == 4


def test_csv_of_our_table_is_read_by_name(tmp_path):
    pa.csv.write_csv(function_table(), tmp_path / "r.csv")
    runs, ours = read_table([str(tmp_path / "r.csv")]).groups[0].runs, read(tmp_path, function_table()).groups[0].runs
    for field in ("N", "D", "C", "L", "seed"):
        np.testing.assert_allclose(getattr(runs, field), getattr(ours, field), rtol=1e-15)


def test_mnist_reads_alike_with_roles_and_without(tmp_path):
    study = simulated_study(widths=4, fractions=4, seeds=2)
    bare = study.replace_schema_metadata(None).cast(pa.schema([f.remove_metadata() for f in study.schema]))
    roles = {name: column.role for name, column in MNIST.columns.items()}
    roles |= {"dropout": "axis", "protocol": "choice", "schedule": "choice"}
    said = with_roles(bare, roles, {name: column.law for name, column in MNIST.columns.items() if column.law}, task="mnist")
    one, other, mixed = read(tmp_path, bare), read(tmp_path, said), read(tmp_path, bare, said)
    assert one.ours and other.ours and keys(one) == keys(other) == keys(mixed) == [{"dropout": 0.0}, {"dropout": 0.2}]
    for mine, theirs in zip(one.groups, other.groups, strict=True):
        for field in ("N", "D", "C", "L", "accuracy", "seed", "cell"):
            np.testing.assert_array_equal(getattr(mine.runs, field), getattr(theirs.runs, field))
    assert {e.code for e in mixed.excluded} == {"duplicate"}


@pytest.mark.parametrize("metadata", [
    {b"role": b"\xff\xfe"}, {b"role": b"emperor"}, {b"role": b"axis" * 10_000}, {b"\xff": b"axis"},
    {b"role": b"axis", b"law": b"Z\x00"}, {b"role": b""}, {b"role": b"repeat", b"law": b"L"}])
def test_odd_metadata_is_no_reason_to_stop(tmp_path, metadata):
    table = function_table()
    fields = [f.with_metadata(metadata) if f.name in ("depth", "device") else f for f in table.schema]
    odd = pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata={b"task": b"\xff" * 100}))
    np.testing.assert_array_equal(read(tmp_path, odd).groups[0].runs.N, table["params"].to_numpy())


def test_the_law_of_the_tuned_choice_is_in_the_axis_that_it_was_tuned_by(tmp_path):
    found = tuning_of(read(tmp_path, function_trials(trials=25), by=[]))
    assert (found.choice, found.against) == ("lr", "depth")
    rates = best_rates(found.size, found.place, found.value, found.loss)
    fit = fit_learning_rate(rates, choice="lr", against="depth", lr_rule=None)
    assert RATE_EXPONENT in fit.exponent and fit.rule is None
    swapped = function_trials().rename_columns(["tokens", "depth", *function_trials().column_names[2:]])
    by_data = with_roles(swapped, ROLES, {"val_loss": "L"})
    assert tuning_of(read(tmp_path, by_data, by=[])).against == "tokens"


def test_two_axes_that_move_the_size_are_told_by_the_size_itself(tmp_path):
    trials = function_trials()
    width = np.tile([1.0, 2.0], len(trials) // 2)
    trials = trials.append_column("width", pa.array(width)).set_column(4, "params", pa.array(trials["params"].to_numpy() * width))
    found = tuning_of(read(tmp_path, with_roles(trials, ROLES | {"width": "axis"}, LAWS), by=[]))
    assert found.against == "params"
    np.testing.assert_array_equal(found.size, trials["params"].to_numpy())


def test_trials_of_one_rate_tuned_nothing_and_a_grid_of_tuned_rates_says_them(tmp_path):
    with pytest.raises(NotIdentified):
        tuning_of(read(tmp_path, function_table(), by=[]))
    given = given_rates(read(tmp_path, function_table()))
    assert (given.choice, given.against) == ("lr", "depth")
    same = function_table().set_column(2, "lr", pa.array(np.full(72, 3e-4)))
    assert given_rates(read(tmp_path, with_roles(same, ROLES, LAWS))) is None


def test_an_axis_that_cannot_be_judged_is_pointed_out_where_the_law_misses_by_it(tmp_path):
    """Each depth was trained at two of four sparsities, so that none is ever compared at one place."""
    table = function_table(depths=8, seeds=1)
    depth = np.log2(table["depth"].to_numpy()).astype(int)
    sparsity = np.array([0.0, 0.3, 0.6, 0.9])[(depth + 2 * (np.arange(len(table)) % 2)) % 4]
    loss = table["val_loss"].to_numpy() * (1 + sparsity)
    table = table.set_column(table.schema.get_field_index("val_loss"), "val_loss", pa.array(loss))
    read_ = read(tmp_path, with_roles(table.append_column("sparsity", pa.array(sparsity)), ROLES | {"sparsity": "axis"}, LAWS))
    assert keys(read_) == [{}] and set(read_.groups[0].runs.tags) == {"sparsity"}
