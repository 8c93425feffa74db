"""What the analysis makes of a search's table and laws: read, drawn, set beside a grid, or refused in one line."""

import json
import math
from dataclasses import MISSING, asdict, fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import compare, fit
from analysis.carbs.equal_compute import EqualCompute, Smaller, at_equal_compute, smaller
from analysis.carbs.found import is_tuned, read_tuned
from analysis.estimates.estimate import Estimate
from analysis.table.files import BadTable
from analysis.table.runs import read_table
from trainers.columns import schema_of
from trainers.mnist.cell import Result

COSTS = [1e9 * 10 ** (k / 9) for k in range(19)]
EXPONENTS = {"params": ("Log", 0.5), "samples": ("Log", 0.45), "lr": ("Log", -0.1), "dropout": ("Logit", 0.2), "batch_size": ("Integer", 0.3)}


def document():
    """Laws as a search writes them: powers of the cost through 1 at 1e10."""
    def law(name, kind, slope):
        value = {c: (c / 1e10) ** slope for c in COSTS}
        value = {c: v / (1 + v) for c, v in value.items()} if kind == "Logit" else value
        return {"name": name, "kind": kind, "anchor": value[COSTS[9]],
                "exponent": {"value": slope, "low": slope - 0.1, "high": slope + 0.1, "se": 0.05, "method": "48 draws", "n": 40, "level": 0.95},
                "curve": [{"cost": c, "value": v, "low": 0.9 * v, "high": min(1.1 * v, 0.999) if kind == "Logit" else 1.1 * v} for c, v in value.items()]}

    loss = [{"cost": c, "value": (c / 1e9) ** -0.3, "low": 0.9 * (c / 1e9) ** -0.3, "high": 1.1 * (c / 1e9) ** -0.3} for c in COSTS]
    return {"cost": {"low": COSTS[0], "high": COSTS[-1], "reference": 1e10}, "runs": 40, "spent": 2e11,
            "laws": [law(name, *of) for name, of in EXPONENTS.items()], "loss": loss,
            "front": [{"config": {"lr": 0.01, "dropout": 0.1, "batch_size": 8}, "cost": p["cost"], "loss": p["value"],
                       "low": p["low"], "high": p["high"], "n": 1} for p in loss[::3]]}


def row(protocol="carbs", **changes):
    values = {"width": 1.0, "fraction": 0.1, "dropout": 0.05, "seed": 0, "lr": 0.01, "batch_size": 8, "protocol": protocol, "channels": 4,
              "params": 2000, "samples": 6000, "steps": 750, "flops": 1e10, "spent_flops": 1e10, "train_loss": 0.2, "val_loss": 0.2,
              "val_accuracy": 0.95, "train_seconds": 1.0, "device": "cpu", "dataset": "mnist", "fingerprint": "f"}
    return asdict(Result(**{**values, **changes}))


def written(path, rows, laws=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema_of(Result, "mnist")), path)
    if laws is not None:
        path.with_suffix(".laws.json").write_text(laws if isinstance(laws, str) else json.dumps(laws))
    return path


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = [row(flops=float(c), val_loss=float(1.2 * (c / 1e9) ** -0.3 * math.exp(rng.uniform(0, 0.5))), lr=float(0.01 * math.exp(rng.normal())))
            for c in rng.uniform(1e9, 1e11, 40)]
    return written(tmp_path / "carbs.parquet", rows, document())


def test_a_search_is_told_from_a_grid_and_from_a_mixture(tmp_path, table):
    assert is_tuned(str(table))
    assert not is_tuned(str(written(tmp_path / "grid.parquet", [row("per-budget")])))
    assert not is_tuned(str(written(tmp_path / "both.parquet", [row(), row("per-budget")])))
    assert not is_tuned(str(written(tmp_path / "none.parquet", [])))


def test_fit_reports_the_laws_that_the_search_found(table, tmp_path, capsys):
    """Approaches 1 to 3 on a search's runs would fit the path it took."""
    assert fit.main([str(table), "--out", str(tmp_path / "fit")]) == 0
    said, told = capsys.readouterr().out, json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert {law["name"]: (law["kind"], law["exponent"]["value"]) for law in told["laws"]} == EXPONENTS
    assert told["rows"] == 40 and "approach3" not in told
    for name in EXPONENTS:
        assert (tmp_path / "fit" / f"law_{name}.svg").stat().st_size > 2000
        assert name in said
    assert "params* ~ <i>C</i><sup>0.50 [0.40, 0.60]</sup>" in (tmp_path / "fit" / "report.html").read_text()


def agents(path, cost, laws):
    """A search of an agent's hyperparameters: its loss is a shortfall that may be below 0, its runs are charged by `cost`."""
    from trainers.procgen.cell import Result as Agent
    rng = np.random.default_rng(2)
    numbers = {f.name: f.default if f.default is not MISSING else "" if f.type is str else f.type(1) for f in fields(Agent)}
    rows = [{**numbers, "frames": 1000 * k, "flops": float(k * 1e9), "train_seconds": 2.0 * k, "shortfall": 0.5 - k / 20 + 0.02 * rng.normal(),
             "lr": 0.01} for k in range(1, 21)]
    costs = [{"flops": 1e9, "seconds": 2.0}[cost] * k for k in (5, 20)]
    said = document() | {"cost": {"low": costs[0], "high": costs[1], "reference": costs[1], "name": cost}, "pinned": ["clip"], "bends": ["lr"],
                         "front": [{"config": {"lr": 0.01}, "cost": c, "loss": v, "low": v - 0.02, "high": v + 0.02} for c, v in zip(costs, (0.25, -0.5))]}
    if not laws:
        said |= {"laws": [], "loss": [], "pinned": [], "refused": "2 runs on the front: a law takes 3"}
    schema = schema_of(Agent, "procgen")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.with_metadata({**schema.metadata, b"study": b"search"})), path)
    path.with_suffix(".laws.json").write_text(json.dumps(said))
    return path


@pytest.mark.parametrize("cost", ["flops", "seconds"])
@pytest.mark.parametrize("laws", [True, False], ids=["laws", "none"])
def test_a_search_of_any_task_is_reported_with_its_own_loss_and_cost(tmp_path, capsys, cost, laws):
    path = agents(tmp_path / "agents.parquet", cost, laws)
    found = read_tuned(str(path))
    assert found.loss_name == "shortfall" and len(found.costs) == 20 and found.losses.min() < 0
    assert found.costs[3] == {"flops": 4e9, "seconds": 8.0}[cost]
    assert fit.main([str(path), "--out", str(tmp_path / "fit")]) == 0
    said, told = capsys.readouterr().out, json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert "shortfall of -0.5 [-0.52, -0.48]" in said and {"flops": "2e+10 FLOPs", "seconds": "40 seconds"}[cost] in said
    assert told["cost"]["name"] == cost and (tmp_path / "fit" / "front.svg").stat().st_size > 2000
    if laws:
        assert "clip" in said and "lies at its bound" in said and "(bends)" in said
    else:
        assert said.startswith("CARBS found no laws: 2 runs on the front: a law takes 3.") and told["laws"] == []


def test_a_search_whose_cost_is_no_column_is_refused(tmp_path, capsys):
    path = agents(tmp_path / "agents.parquet", "flops", True)
    laws = path.with_suffix(".laws.json")
    laws.write_text(laws.read_text().replace('"name": "flops"', '"name": "joules"'))
    assert fit.main([str(path), "--out", str(tmp_path / "fit")]) == 2
    assert "has no joules" in capsys.readouterr().err


def broken():
    """What may lie where the laws should."""
    yield "empty", ""
    yield "cut", json.dumps(document())[:-200]
    yield "list", "[]"
    yield "deep", "[" * 100_000
    yield "other", '{"laws": []}'
    for path, value in ((("cost", "low"), -1), (("spent",), None), (("laws", 0, "exponent", "value"), math.nan), (("laws", 0, "curve", 3, "cost"), 0),
                        (("loss", 0), 3), (("front", 0, "config"), []), (("laws", 1, "anchor"), "x"), (("cost", "high"), 1.0), (("laws",), {})):
        changed = document()
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        yield "-".join(map(str, path)), json.dumps(changed)


@pytest.mark.parametrize("laws", [text for _, text in broken()], ids=[name for name, _ in broken()])
def test_laws_that_are_none_are_refused_in_one_line(tmp_path, capsys, laws):
    path = written(tmp_path / "carbs.parquet", [row()], laws)
    assert fit.main([str(path), "--out", str(tmp_path / "fit")]) == 2
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0 and "laws.json" in err
    assert not (tmp_path / "fit").exists()


def test_a_search_without_its_laws_is_refused_with_the_way_to_have_them(tmp_path, capsys):
    path = written(tmp_path / "carbs.parquet", [row()])
    assert fit.main([str(path), "--out", str(tmp_path / "fit")]) == 2
    assert "laws" in (said := capsys.readouterr().err) and f"--out {path}" in said
    with pytest.raises(BadTable):
        read_tuned(str(path))


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A grid whose a is 0.4 / 0.7: L = 0.05 + 20 / N^0.3 + 30 / D^0.4 at C = 6 N D."""
    rng, rows = np.random.default_rng(1), []
    for N in np.geomspace(300, 1e5, 8).round():
        for D in np.geomspace(500, 6e4, 7).round():
            for seed in range(2):
                loss = (0.05 + 20 / N ** 0.3 + 30 / D ** 0.4) / 6 * math.exp(rng.normal(0, 0.01))
                rows.append(row("per-budget", width=float(N), fraction=float(D), seed=seed, dropout=0.0, params=int(N), samples=int(D),
                                flops=6.0 * N * D, val_loss=loss))
    return written(tmp_path_factory.mktemp("grid") / "grid.parquet", rows)


def test_a_smaller_grid_is_its_cheapest_cells_with_all_their_seeds(grid):
    runs = read_table([str(grid)]).groups[0].runs
    few = smaller(runs, 0.1 * runs.C.sum())
    assert 0 < len(few) < len(runs) and few.C.sum() <= 0.1 * runs.C.sum()
    assert (np.bincount(few.cell) == 2).all()
    left = np.setdiff1d(runs.C, few.C)
    assert few.C.max() <= left.min()
    assert len(smaller(runs, runs.C.sum())) == len(runs)


def test_a_search_is_set_beside_grids_up_to_the_whole(table, grid):
    found, cells = read_tuned(str(table)), read_table([str(grid)])
    group = cells.groups[0]
    compared = at_equal_compute(found, cells, group, resamples=60)
    spent = [g.spent for g in compared.grids]
    assert spent == sorted(spent) and spent[0] <= found.spent and spent[-1] == pytest.approx(group.runs.C.sum())
    assert abs(compared.grids[-1].a.value - 0.4 / 0.7) < 0.05
    # By hand, for the dearest run of the front: the grid's cheapest cell as good.
    cost, ratio = compared.cheaper[-1]
    loss = next(p.loss for p in found.front if p.cost == cost)
    mean = np.bincount(group.runs.cell, group.runs.L) / np.bincount(group.runs.cell)
    assert ratio == pytest.approx(min(c for c, m in zip(group.runs.C, mean[group.runs.cell]) if m <= loss) / cost)


def test_as_narrow_is_the_smallest_grid_from_which_on_all_are():
    """One lucky narrow interval of a small grid is no knowledge: larger ones must keep it."""
    def of(spent, width):
        a = None if width is None else Estimate(0.5, 0.5 - width / 2, 0.5 + width / 2, width / 4)
        return Smaller(spent, 10, a, a, "")

    mine = Estimate(0.5, 0.4, 0.6, 0.05)
    for widths, expected in (((0.1, 0.3, 0.2, 0.1), 3.0), ((0.1, 0.1), 1.0), ((0.1, 0.3), None), ((None, 0.1), 2.0), ((0.1, None), None)):
        compared = EqualCompute("", 1.0, mine, mine, tuple(of(k + 1.0, w) for k, w in enumerate(widths)), ())
        assert (compared.as_narrow.spent if compared.as_narrow else None) == expected


def test_compare_prints_both_and_refuses_a_grid_in_place_of_a_search(table, grid, capsys):
    assert compare.main([str(table), str(grid), "--resamples", "50"]) == 0
    assert "CARBS" in (out := capsys.readouterr().out) and "times" in out
    assert compare.main([str(grid), str(grid)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
