"""Recipes beside a baseline: read, in words and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from analysis.estimates.words import p_text, shown
from analysis.intrinsic.recipes import COMPUTE, Beside
from analysis.intrinsic.returns import ReturnTable, read_returns, return_column
from analysis.report.lines import WIDTH, Lines
from analysis.table.columns import PARTS, candidates, chosen
from analysis.table.files import BadTable, open_sheet, read_columns
from analysis.table.formats.sheet import Dialect, Sheet, path_text, printable
from analysis.table.values import labels

VERSION = 1   # of recipes.json; fields are only ever added under one version
LEVEL = 0.05  # of Holm's p, below which a difference is called one


def read_recipes(sources: Sequence[str], column: str | None, *, flags: Mapping[str, str], by: Sequence[str] | None,
                 dialect: Dialect = Dialect()) -> list[ReturnTable]:
    """A table each recipe, the baseline's first; `column` is by default the mean return, else the loss; `by` the axes of text in which
    the tables' rows differ. Raises BadTable, also where a table holds several recipes."""
    sheets = [open_sheet(source, dialect) for source in sources]
    texts = [sheet.description.named("axis", text=True) for sheet in sheets]
    for sheet, own in zip(sheets, texts, strict=True):
        _one_recipe(sheet, own)
    shared = [name for name in texts[0] if all(name in own for own in texts)]
    values = {name: {v for sheet in sheets for v in labels(read_columns(sheet, [name]).columns[name]).values} for name in shared}
    within = by if by is not None else [name for name, found in values.items() if len(found) > 1]
    return [read_returns([source], _column(sheet, column, flags, dialect), flags=flags, by=within, dialect=dialect)
            for source, sheet in zip(sources, sheets, strict=True)]


def _column(sheet: Sheet, column: str | None, flags: Mapping[str, str], dialect: Dialect) -> str:
    if column is not None:
        return chosen(sheet.flat, column, "--column", sheet.source)
    losses = (*sheet.description.lettered("L"), *candidates(sheet.flat, PARTS["L"]))
    if (found := return_column([sheet.source], flags, dialect) or next(iter(losses), None)) is None:
        raise BadTable(f"{path_text(sheet.source)}: which column is to be compared? Name it with --column")
    return found


def _one_recipe(sheet: Sheet, texts: Sequence[str]) -> None:
    """Raises BadTable where runs of one size and group differ in a choice: a mean over them is no recipe's."""
    sizes, choices = sheet.description.lettered("N")[:1], sheet.description.named("choice")
    if not sizes or not choices:
        return
    block = read_columns(sheet, [*sizes, *texts, *choices])
    place = np.unique(np.stack([labels(block.columns[name]).code for name in (*sizes, *texts)]), axis=1, return_inverse=True)[1].ravel()
    for name in choices:
        code = labels(block.columns[name]).code
        if len(np.unique(np.stack([place, code]), axis=1).T) > place.max() + 1:
            raise BadTable(f"{path_text(sheet.source)}: runs of one size differ in {printable(name)}: give a table for each recipe")


def recipes_text(found: Sequence[Beside]) -> str:
    """For a terminal: a sentence for each recipe at each place, then the means."""
    said = []
    for name in dict.fromkeys(_name(one) for one in found):
        own = [one for one in found if _name(one) == name]
        for at in dict.fromkeys(one.at for one in own):
            said.append(fill(_sentence(name, at, [one for one in own if one.at == at]), WIDTH, subsequent_indent="  "))
    rows = tuple((one.group or "all runs", _name(one), f"{'C' if one.at == COMPUTE else 'D'} {one.x:.3g}",
                  *(f"{mean:.4g} ({n})" if n else "" for mean, n in zip(one.means, one.runs, strict=True)),
                  *((shown(one.difference), p_text(one.p_value).removeprefix("p = ")) if one.difference else ("-", ""))) for one in found)
    table = Lines("", ("", "recipe", "at equal", "baseline", "recipe's", "difference", "p"), rows)
    sizes = {(one.baseline.N, one.recipe.N) for one in found}
    note = "Means over runs; 95% intervals by Welch's t; p by Holm for all that are compared. N: " + "; ".join(
        f"{recipe:,.0f} beside {base:,.0f}" if recipe != base else f"{base:,.0f} on both sides" for base, recipe in sorted(sizes)) + "."
    return "\n".join([*said, "", str(table), fill(note, WIDTH)])


def _sentence(name: str, at: str, own: Sequence[Beside]) -> str:
    told = [one for one in own if one.difference is not None]
    where = f"At equal {'compute' if at == COMPUTE else 'data'}"
    if not told:
        return f"{where} nothing can be said of {name}: {own[0].why}."
    higher, lower = ([one for one in told if one.p_value < LEVEL and sign * one.difference.value > 0] for sign in (1, -1))
    rest = [one for one in told if one not in (*higher, *lower)]
    perhaps, none = ([one for one in rest if (0.0 in one.difference) is inside] for inside in (False, True))   # before Holm's correction
    kinds = (("is higher", higher), ("is lower", lower), ("perhaps differs", perhaps), ("shows no difference", none))
    parts = [f"{said} in {_listed(some)}" for said, some in kinds if some]
    return f"{where} {name} " + ", ".join(parts) + "."


def _listed(some: Sequence[Beside]) -> str:
    return ", ".join(f"{one.group or 'all runs'} ({shown(one.difference)})" for one in some)


def _name(one: Beside) -> str:
    return printable(Path(one.recipe.source).stem)


def recipes_json(found: Sequence[Beside]) -> dict:
    def estimate(one: Beside) -> dict | None:
        e = one.difference
        return e and {"value": e.value, "low": e.low, "high": e.high, "se": e.se, "method": e.method, "n": e.n, "level": e.level}

    return {"version": VERSION, "kind": "recipes", "baseline": found[0].baseline.source, "compared": [
        {"group": one.group, "recipe": one.recipe.source, "at": one.at, "x": one.x, "N": [one.baseline.N, one.recipe.N], "runs": list(one.runs),
         "means": [m if np.isfinite(m) else None for m in one.means], "difference": estimate(one),
         "p_holm": one.p_value if np.isfinite(one.p_value) else None, "refused": one.why or None} for one in found]}
