"""One table in every format and spelling that people keep tables in is one table; what can't be told is asked for."""

import gzip
import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.table.files import BadTable
from analysis.table.formats.sheet import Dialect
from analysis.table.runs import Table, read_table

SIZES, DATA = (1e7, 3e7, 1.25e8), (1e9, 3e9, 1.05e10)
FRAME = pd.DataFrame([{"params": n, "tokens": d, "flops": 6 * n * d, "val_loss": round(1.7 + 400 * n**-0.34 + 400 * d**-0.28, 4)}
                      for n in SIZES for d in DATA])
FIELDS = {"N": "params", "D": "tokens", "C": "flops", "L": "val_loss"}


def read(tmp_path: Path, content: str | bytes, name: str = "runs.txt", **options) -> Table:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table([str(tmp_path / name)], **options)


def agrees(table: Table, frame: pd.DataFrame = FRAME) -> None:
    runs = table.groups[0].runs
    order, wanted = np.lexsort((runs.D, runs.N)), frame.sort_values(["params", "tokens"])
    for part, column in FIELDS.items():
        np.testing.assert_allclose(getattr(runs, part)[order], wanted[column], rtol=1e-9)


def markdown(frame: pd.DataFrame, *, outer: bool = True) -> str:
    cells = [[repr(v) for v in row] for row in frame.itertuples(index=False, name=None)]
    rows = [list(frame.columns), ["---:"] * frame.shape[1], *cells]
    return "\n".join(("| " if outer else "") + " | ".join(row) + (" |" if outer else "") for row in rows) + "\n"


def split_frame(frame: pd.DataFrame) -> list[dict]:
    return [{"id": f"run-{i}", "config": {"params": {"value": row["params"], "desc": None}, "tokens": row["tokens"],
                                             "betas": [0.9, 0.95]}, "summary": {"val_loss": row["val_loss"], "flops": row["flops"],
                                                                          "_wandb": {"runtime": 7}}}
            for i, row in enumerate(frame.to_dict("records"))]


TEXTS = {
    "commas": FRAME.to_csv(index=False), "semicolons": FRAME.to_csv(index=False, sep=";"),
    "tabs": FRAME.to_csv(index=False, sep="\t"),
    "pipes": FRAME.to_csv(index=False, sep="|"), "spaces": FRAME.to_string(index=False), "markdown": markdown(FRAME),
    "markdown in prose": f"# Runs\n\nOurs, all of them:\n\n{markdown(FRAME)}\nMore below | or not.\n",
    "markdown without outer pipes": markdown(FRAME, outer=False), "europe": FRAME.to_csv(index=False, sep=";", decimal=","),
    "a nested configuration": FRAME.rename(columns={"params": "config.model.n_params", "tokens": "config.data.tokens"}).to_csv(index=False),
    "json records": FRAME.to_json(orient="records"), "json columns": FRAME.to_json(), "json split": FRAME.to_json(orient="split"),
    "json table": FRAME.to_json(orient="table"), "json index": FRAME.to_json(orient="index"),
    "json lines": FRAME.to_json(orient="records", lines=True),
    "json lists": json.dumps(FRAME.to_dict("list")), "json rows": json.dumps([list(FRAME.columns), *FRAME.to_numpy().tolist()]),
    "json under runs": json.dumps({"project": "p", "runs": FRAME.to_dict("records")}),
    "tracker's json": json.dumps(split_frame(FRAME)),
    "tracker's csv": FRAME.rename(columns={"params": "params.params", "tokens": "params.tokens", "val_loss": "metrics.val_loss",
                                           "flops": "metrics.flops"}).to_csv(index=False),
    "twice the same": pd.concat([FRAME, FRAME[["params"]]], axis=1).to_csv(index=False),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gzip"])
def test_every_format_says_the_same(tmp_path, kind, encoding):
    text = TEXTS[kind]
    agrees(read(tmp_path, gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding)))


def test_a_workbook_says_the_same(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="Excel is an extra")
    book = openpyxl.Workbook()
    book.active.append(["Runs of the autumn"])
    book.active.append([])
    for row in [list(FRAME.columns), *FRAME.to_numpy().tolist()]:
        book.active.append(row)
    book.create_sheet("notes").append(["nothing", "here"])
    book.save(tmp_path / "runs.xlsx")
    table = read_table([str(tmp_path / "runs.xlsx")])
    agrees(table)
    assert "first_sheet" in {d.code for d in table.doubts}


def test_an_archive_is_refused_and_a_bomb_is_not_unpacked(tmp_path):
    for member, size, said in (("readme.txt", 10, "zip archive"), ("xl/workbook.xml", 100 << 20, "MiB unpacked")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, b"0" * size)
        with pytest.raises(BadTable, match=said):
            read(tmp_path, buffer.getvalue())


def long(frame: pd.DataFrame, steps: int, key: str, run: str) -> pd.DataFrame:
    """A row a run, key and step; before its last step a run's loss is higher."""
    rows = []
    for i, row in enumerate(frame.to_dict("records")):
        for step in range(steps):
            for name, value in row.items():
                early = (steps - 1 - step) * (name == "val_loss")
                rows.append({run: f"r{i}", key: name, "value": value * (1 + early), "step": step})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("key, run", [("key", "run_uuid"), ("tag", "dir_name"), ("metric", "run_id"), ("Metric", "Run")])
def test_a_row_a_value_becomes_a_row_a_run_at_its_last_step(tmp_path, key, run):
    table = read(tmp_path, long(FRAME, 3, key, run).sample(frac=1, random_state=0).to_csv(index=False))
    agrees(table)
    assert "made_wide" in {d.code for d in table.doubts}
    path = tmp_path / "long.parquet"
    long(FRAME, 3, key, run).to_parquet(path)
    agrees(read_table([str(path)]))


def test_a_row_a_metric_keeps_the_sizes_beside_it(tmp_path):
    rows = [{"model": f"{n:.0e}", "params": n, "tokens": d, "metric": metric,
             "value": value * (k if metric == "train_loss" else 1)}
            for k, (n, d, _, value) in enumerate(FRAME.itertuples(index=False)) for metric in ("val_loss", "train_loss")]
    runs = read(tmp_path, pd.DataFrame(rows).to_csv(index=False)).groups[0].runs
    np.testing.assert_allclose(np.sort(runs.L), np.sort(FRAME.val_loss))
    assert len(np.unique(runs.cell)) == 9


def test_a_chart_of_curves_has_no_sizes_and_says_what_it_has(tmp_path):
    chart = pd.DataFrame({"Step": range(3)} | {f"run-{i} - val/loss{suffix}": [3, 2, None] for i in range(2)
                                               for suffix in ("", "__MIN", "__MAX")})
    with pytest.raises(BadTable, match=r"run, val/loss.*--params"):
        read(tmp_path, chart.to_csv(index=False))
    with pytest.raises(BadTable, match="a row a run"):
        read(tmp_path, "Wall time,Step,Value\n1.0,1,3\n2.0,2,2.5\n")


SPELLINGS = {
    "suffixes": lambda n: f"{n / 1e6:g}M", "words": lambda n: f"{n / 1e9:g} billion", "thousands": lambda n: f'"{n:,.0f}"',
    "spaces": lambda n: f"{n:,.0f}".replace(",", "\u202f"), "powers": lambda n: f"{n / 1e7:g} x 10^7",
    "units": lambda n: f"{n / 1e9:g}B tokens",
    "swiss": lambda n: f"{n:,.0f}".replace(",", "'"), "signs": lambda n: f"+{n:.0f}"}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_numbers_as_people_write_them(tmp_path, spelling):
    lines = [",".join([SPELLINGS[spelling](r.params), SPELLINGS[spelling](r.tokens), f"{r.flops:g} FLOPs", str(r.val_loss)])
             for r in FRAME.itertuples()]
    table = read(tmp_path, "\n".join(["params,tokens,flops,val_loss", *lines]))
    agrees(table)
    assert "spelled_C" in {d.code for d in table.doubts}


@settings(deadline=None, max_examples=40)
@given(st.floats(1.0, 1e15), st.sampled_from([0, 1, 2]))
def test_a_grouped_number_is_itself_on_both_sides_of_the_atlantic(tmp_path_factory, value, digits):
    english = f"{value:,.{digits}f}"
    european = english.translate(str.maketrans(",.", ".,"))
    folder = tmp_path_factory.mktemp("n")
    for text, dialect in ((english, Dialect(decimal=".")), (european, Dialect(decimal=","))):
        runs = read(folder, f"N;D;loss\n{text};7;2\n", dialect=dialect).groups[0].runs
        np.testing.assert_allclose(runs.N, [float(english.replace(",", ""))], rtol=1e-12)


def test_a_comma_that_may_be_either_is_asked_for_with_its_cell(tmp_path):
    text = "N;D;loss\n1,234;5,678;2,345\n2,468;7,890;2,222\n"
    with pytest.raises(BadTable, match=r"'1,234' in column 'N'.*--decimal"):
        read(tmp_path, text)
    assert read(tmp_path, text, dialect=Dialect(decimal=",")).groups[0].runs.L[0] == 2.345
    assert read(tmp_path, text, dialect=Dialect(decimal=".")).groups[0].runs.L[0] == 2345
    assert read(tmp_path, text.replace("2,222", "2,2")).groups[0].runs.N[0] == 1.234
    assert read(tmp_path, text.replace("2,345", "2.75").replace("2,222", "2.5")).groups[0].runs.N[0] == 1234


def test_a_german_export_says_which_columns_to_name_and_is_then_read_as_it_is_meant(tmp_path):
    def german(value: float, digits: int) -> str:
        return f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))

    lines = ["Parameter;Trainingsdaten (Mrd.);Rechenaufwand;Verlust"]
    lines += [";".join([german(run.params, 0), german(run.tokens / 1e9, 3), f"{run.flops:.10e}".replace(".", ","), german(run.val_loss, 4)])
              for run in FRAME.itertuples()]
    text = "\n".join(lines)
    asked = r"(?s)loss.*Rechenaufwand.*--params Parameter --samples 'Trainingsdaten \(Mrd.\)'.*--loss"
    with pytest.raises(BadTable, match=asked) as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)
    named = dict(N="Parameter", D="Trainingsdaten (Mrd.)", C="Rechenaufwand", L="Verlust")
    agrees(read(tmp_path, text, flags=named))


def test_a_delimiter_that_cannot_be_told_is_asked_for(tmp_path):
    text = "N;D,loss\n1e7;1e9,3\n2e7;2e9,2.9\n"
    with pytest.raises(BadTable, match="--delimiter"):
        read(tmp_path, text)
    colons = "N:D:loss\n1e7:1e9:3\n"
    assert read(tmp_path, colons, dialect=Dialect(delimiter=":")).groups[0].runs.D[0] == 1e9


def test_a_refusal_quotes_the_cell_that_it_cannot_read(tmp_path):
    with pytest.raises(BadTable, match="'large'"):
        read(tmp_path, "params,tokens,loss\nlarge,1e9,3\nsmall,1e9,4\n")
    table = read(tmp_path, "params,tokens,loss\n1e7,1e9,3\n12 apples,1e9,4\n")
    assert [(e.code, "'12 apples'" in e.text) for e in table.excluded] == [("text_N", True)]


@pytest.mark.parametrize("document, said", [
    ('{"params": ', "damaged JSON"), ("[" * 100_000, "JSON"), ('[{"params": 1}, 7, "x"]', "--loss"), ("[]", "tell|no rows"),
    ("{}", "tell|no rows"),
    ('{"a": 1}\n{"a": ', "line 2"), ('[{"params": ' + "9" * 5000 + "}]", "digits"),
    ('{"params": [1, 2], "tokens": [3], "loss": "x"}', "--"),
    ('[{"params": [1, 2], "tokens": {"a": {"b": 1}}, "loss": true}]', "--"), ('"text"', "--"),
    ('[{"N": 1e999, "D": 1e9, "loss": 2}]', "no row|no number"), ('[{"N": true, "D": 1e9, "loss": 2}]', "no number")])
def test_json_that_is_no_table_is_refused_in_one_line(tmp_path, document, said):
    with pytest.raises(BadTable, match=said) as why:
        read(tmp_path, document)
    assert str(why.value).isprintable()


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["N", "D", "loss", "value", "data", "key", "run"]), inner, max_size=4), max_leaves=20))
def test_any_json_is_read_or_refused(tmp_path_factory, document):
    try:
        read(tmp_path_factory.mktemp("j"), json.dumps(document))
    except BadTable as why:
        assert str(why).isprintable()


def test_time_goes_with_the_rows_and_not_with_their_square(tmp_path):
    """The bug: each piece of a long text brought all different values along, to be unified again."""
    spent = []
    for rows in (100_000, 400_000):
        random = np.random.default_rng(rows)
        columns = {"N": [f"{x:.4f}M" for x in random.uniform(1, 1e3, rows)], "D": random.uniform(1e9, 1e11, rows),
                   "loss": random.uniform(2, 4, rows)}
        path = tmp_path / f"{rows}.csv"
        pa.csv.write_csv(pa.table(columns), path)
        start = time.process_time()
        assert len(read_table([str(path)]).groups[0].runs) == rows
        spent.append(time.process_time() - start)
    assert spent[1] < 8 * spent[0]
