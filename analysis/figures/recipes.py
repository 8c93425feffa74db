"""Recipes beside a baseline: each group's runs along their compute."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.figures.sheets import Plate
from analysis.figures.theme import COLUMN, GROUPS, heading, log_axes, settle, sheet, themed, tidy_log_ticks
from analysis.intrinsic.recipes import COMPUTE, Beside, recipes_of
from analysis.intrinsic.returns import ReturnTable

MOST_GROUPS = 4   # panels


def plates(tables: Sequence[ReturnTable], found: Sequence[Beside], names: Sequence[str]) -> Iterator[Plate]:
    """tables: the baseline's first, each with its name."""
    groups = list(dict.fromkeys(one.group for one in found))[:MOST_GROUPS]
    with themed():
        figure = sheet(len(groups), width=COLUMN)
        for ax, group in zip(figure.axes, groups, strict=True):
            for table, name, colour in zip(tables, names, GROUPS, strict=False):
                for k, recipe in enumerate(recipes_of(table).get(group, [])):
                    for j, run in enumerate(np.unique(recipe.points.run)):
                        own = recipe.points.take(recipe.points.run == run)
                        order = np.argsort(own.C)
                        ax.plot(own.C[order], own.R[order], "-", marker=".", ms=2.5, lw=0.7, color=colour, alpha=0.8,
                                label=name if j == k == 0 else None)
            for x in {one.x for one in found if one.group == group and one.at == COMPUTE}:
                ax.axvline(x, color="0.75", lw=0.6, zorder=0)
            log_axes(ax, "compute $C$ (FLOPs)")
            ax.set_ylabel(tables[0].columns["R"].replace("_", " "))
            tidy_log_ticks(ax)
            if group:
                ax.set_title(heading(group), loc="left", fontweight="bold")
        figure.axes[0].legend(loc="best")
        settle(figure)
    yield Plate("recipes", "Recipes beside the baseline", "Each run along its compute, a colour a recipe; grey lines: where they are compared at "
                "equal compute.", figure)
