"""Is it better? Runs of one recipe, or of several, beside a baseline's: at the same data and at the same compute.

    python analysis/recipes.py baseline.parquet tuned.parquet [more.parquet ...]
    python analysis/recipes.py baseline.csv mine.csv --column eval_return --by env

Each table is one recipe: one way to train, with two seeds or more. Runs are compared in each group, where both have been.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import add_text


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recipes.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("baseline", metavar="BASELINE", help="the table of the recipe that the others are compared with")
    add("others", nargs="+", metavar="FILE", help="a table for each other recipe")
    add("--column", metavar="COL", help="what is compared (default: the mean return, else the loss)")
    add("--by", action="append", metavar="COL", help="compare within each value of it (default: axes of text)")
    add("--params", metavar="COL", help="parameters")
    add("--samples", metavar="COL", help="data, or frames, so far")
    add("--flops", metavar="COL", help="compute so far")
    add("--seed", metavar="COL", help="tells runs apart")
    add("--out", type=Path, metavar="DIR", help="where recipes.json and the figure go (default: BASELINE-recipes here)")
    add("--no-figures", action="store_true")
    add_text(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    from analysis.intrinsic.recipes import beside
    from analysis.report.output import KINDS, default_folder, prepared, rendered, write_whole
    from analysis.report.recipes import read_recipes, recipes_json, recipes_text
    from analysis.table.formats.sheet import Dialect, path_text

    flags = {part: name for part, name in (("N", args.params), ("D", args.samples), ("C", args.flops), ("seed", args.seed)) if name}
    files, out = (args.baseline, *args.others), args.out or default_folder(args.baseline, "recipes")
    try:
        tables = read_recipes(files, args.column, flags=flags, by=args.by, dialect=Dialect(args.delimiter, args.decimal))
        found = beside(tables[0], tables[1:])
        if not found:
            raise ValueError(f"no group of {path_text(args.baseline)} is in another table: it has "
                             + ", ".join(group.label or "one" for group in tables[0].groups))
        paths = [write_whole(prepared(out) / "recipes.json", (json.dumps(recipes_json(found), indent=1, allow_nan=False) + "\n").encode())]
        if not args.no_figures:
            from analysis.figures.recipes import plates
            for plate in plates(tables, found, [Path(file).stem for file in files]):
                paths += [write_whole(out / f"{plate.name}.{kind}", rendered(plate, kind)) for kind in KINDS]
    except (ValueError, OSError) as why:   # BadTable among them
        print(f"recipes.py: {why}", file=sys.stderr)
        return 2
    print(recipes_text(found), "", *map(path_text, paths), sep="\n")
    return 0


if __name__ == "__main__":
    from analysis.leave import leave

    leave(main())
