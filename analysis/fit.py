"""Fit scaling laws to a table of training runs: exponents with intervals, figures, a report."""

import argparse
import gc
import os
import shlex
import sys
import warnings
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis.table.arguments import add_columns, add_text, flags_of, flops, resample_count

# The rest is imported once the arguments are known to be good: --help answers at once.


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python analysis/fit.py", 
        description="Fit scaling laws to a table of training runs (Parquet, CSV, Markdown, JSON, Excel).",
        usage="%(prog)s FILE... [--out DIR] [--by COL] [--predict-flops C] [column flags]", allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=100))
    parser.add_argument("files", nargs="+", metavar="FILE", help="tables of runs; several are stacked")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: NAME-fit here)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the fit, for analysis/predict.py, here as well (it is DIR/fit.json)")
    parser.add_argument("--by", action="append", metavar="COL", help="fit each value of COL apart and compare them; "
                        "may be repeated (default for our own tables: dropout; none: no groups)")
    parser.add_argument("--predict-flops", action="append", type=flops, default=[], metavar="C",
                        help="best model size and data for C FLOPs; may be repeated")
    parser.add_argument("--max-loss", type=float, metavar="L", help="leave out runs with a loss of L or more as diverged "
                        "(default for our own tables: 0.95 ln(classes))")
    parser.add_argument("--best", action="store_true", help="of each (N, D), keep the runs at the best setting alone")
    parser.add_argument("--resamples", type=resample_count, default=1000, metavar="R", help="of the bootstrap (1000)")
    parser.add_argument("--cluster", choices=("cell", "two-stage", "run", "params", "seed"),
                        help="what the bootstrap draws: (N, D) cells, seeds within them, ... (default: cells, or the errors' covariance "
                        "where a test shows that errors go together)")
    parser.add_argument("--full", action="store_true", help="print every table and every doubt, not a screen of them")
    parser.add_argument("--quick", action="store_true", help="the exponents and predictions alone: no accuracy, claims, "
                        "profiles, sensitivity, differences, figures")
    parser.add_argument("--static", action="store_true", help="a report without script, 2 MB smaller")
    parser.add_argument("--no-figures", action="store_true", help="everything but figures")
    add_columns(parser)
    parser.add_argument("--return", dest="column_return", metavar="COL", help="mean return of an agent: rows are points of "
                        "learning curves, and the law is of the least compute that reaches a return")
    add_text(parser)
    return parser.parse_args(argv)


def fail(message: object) -> int:
    print(f"fit.py: {message}", file=sys.stderr)
    return 2


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if not sys.warnoptions:
        # Libraries' warnings name no row and no remedy; the study's own doubts do.
        warnings.simplefilter("ignore")
    from analysis.carbs.found import is_tuned
    from analysis.intrinsic.returns import return_column
    from analysis.report.output import default_folder, prepared
    from analysis.report.terminal import LINES, Progress, brief_text, full_text, opening_text, said
    from analysis.table.files import BadTable
    from analysis.table.formats.sheet import Dialect, path_text
    from analysis.table.runs import read_table

    progress = Progress()
    by = None if args.by is None else [] if args.by == ["none"] else args.by
    try:
        progress("reading")
        dialect = Dialect(args.delimiter, args.decimal)
        if len(args.files) == 1 and is_tuned(args.files[0], dialect):
            return report_search(args, command=shlex.join(["python", "analysis/fit.py", *(argv or sys.argv[1:])]), tell=progress)
        if (column := return_column(args.files, flags_of(args), dialect)) is not None:
            return report_returns(args, column, by=by, dialect=dialect, tell=progress,
                                  command=shlex.join(["python", "analysis/fit.py", *(argv or sys.argv[1:])]))
        table = read_table(args.files, flags=flags_of(args), by=by, max_loss=args.max_loss, dialect=dialect, best=args.best)
        out = args.out or default_folder(args.files[0])
        prepared(out)
    except BadTable as why:
        progress.close()
        return fail(why)
    except OSError as why:
        progress.close()
        return fail(f"cannot write to {path_text(out)}: {why.strerror or why}")

    from analysis.fitted import Request, completed, headlined

    fitted = headlined(table, Request(tuple(args.predict_flops), args.resamples, cluster=args.cluster), tell=progress)
    printed = said(opening_text(fitted), progress)
    if not args.quick:
        fitted = completed(fitted, trials=tuning_trials(args.files), tell=progress)
    try:
        paths = write(fitted, out, figures=not (args.quick or args.no_figures), static=args.static, tell=progress,
                      command=shlex.join(["python", "analysis/fit.py", *(argv or sys.argv[1:])]))
        paths += saved(paths[1], args.save)
    except OSError as why:
        progress.close()
        return fail(f"cannot write to {path_text(why.filename or out)}: {why.strerror or why}")
    said("\n" + (full_text(fitted) if args.full else brief_text(fitted, room=LINES - printed - len(paths) - 2)), progress)
    print("", *(path_text(path) for path in paths), sep="\n")
    return 0


def saved(numbers: Path, copy: Path | None) -> list[Path]:
    """The fit kept under another name, whole or not at all."""
    from analysis.report.output import write_whole

    return [] if copy is None else [write_whole(copy, numbers.read_bytes())]


def report_search(args: argparse.Namespace, *, command: str, tell) -> int:
    """A CARBS search's laws: its own kind of study. Raises BadTable."""
    from analysis.carbs.found import read_tuned
    from analysis.figures.tuned import plates_of_search
    from analysis.report.output import default_folder, prepared, write_whole
    from analysis.report.searches import search_html, search_json, search_text
    from analysis.table.formats.sheet import path_text

    found, out = read_tuned(args.files[0]), args.out or default_folder(args.files[0])
    try:
        numbers = write_whole(prepared(out) / "fit.json", search_json(found).encode())
        pictures, _ = write_figures(() if args.quick or args.no_figures else plates_of_search(found), out, tell=tell)
        page = write_whole(out / "report.html", search_html(found, pictures, command=command).encode())
    except OSError as why:
        return fail(f"cannot write to {path_text(out)}: {why.strerror or why}")
    finally:
        tell.close()
    print(search_text(found), "", *(path_text(path) for path in (page, numbers, out)), sep="\n")
    return 0


def report_returns(args: argparse.Namespace, column: str, *, by: list[str] | None, dialect, command: str, tell) -> int:
    """An agent's learning curves: its own kind of study. Raises BadTable."""
    from analysis.figures.returns import FIGURES, plates
    from analysis.intrinsic.found import agent_study
    from analysis.intrinsic.text import study_html, study_json, study_text
    from analysis.report.keeping import provenance
    from analysis.report.output import KINDS, cleared, default_folder, prepared, write_whole
    from analysis.table.files import BadTable
    from analysis.table.formats.sheet import path_text

    losses = {"--max-loss": args.max_loss, "--best": args.best, "--cluster": args.cluster, "--save": args.save,
              "--accuracy": args.column_accuracy, "--isoflop-budget": args.column_budget}
    if wrong := [flag for flag, given in losses.items() if given]:
        raise BadTable(f"{wrong[0]} is for losses, and {column} is a return")
    study = agent_study(args.files, column, flags=flags_of(args), by=by, dialect=dialect, budgets=args.predict_flops, tell=tell)
    out = args.out or default_folder(args.files[0])
    try:
        numbers = write_whole(prepared(out) / "fit.json", study_json(study, provenance(study.table.sources, command)).encode())
        pictures, written = write_figures(() if args.quick or args.no_figures else plates(study), out, tell=tell)
        cleared(out, {f"{name}.{kind}" for name in FIGURES for kind in KINDS} - written)
        page = write_whole(out / "report.html", study_html(study, pictures, command=command).encode())
    except OSError as why:
        return fail(f"cannot write to {path_text(out)}: {why.strerror or why}")
    finally:
        tell.close()
    print(study_text(study, full=args.full), "", *(path_text(path) for path in (page, numbers)), sep="\n")
    return 0


def write_figures(plates, out: Path, *, tell) -> tuple[list, set[str]]:
    """Every figure, as it is drawn, as files of each kind; returns the report's pictures and the files' names."""
    from analysis.report.output import KINDS, rendered, write_whole
    from analysis.report.page import Picture

    pictures, written = [], set()
    for plate in plates:
        tell(f"figure {plate.name}")
        drawn = {kind: rendered(plate, kind) for kind in KINDS}
        written |= {write_whole(out / f"{plate.name}.{kind}", content).name for kind, content in drawn.items()}
        pictures.append(Picture(plate.name, plate.title, plate.caption, drawn["svg"], plate.figure.get_figwidth()))
    return pictures, written


def tuning_trials(files: list[str]):
    """The tuning trials kept beside a table of ours, or None. A bad one is no reason to stop."""
    from analysis.table.files import BadTable
    from analysis.table.runs import read_table

    beside = Path(files[0]).with_suffix(".tuning.parquet")
    if len(files) > 1 or not beside.is_file():
        return None
    try:
        trials = read_table([str(beside)], by=[])
    except BadTable as why:
        print(f"fit.py: tuning trials left out: {why}", file=sys.stderr)
        return None
    return trials if trials.ours else None


def write(fitted, out: Path, *, figures: bool, static: bool, command: str, tell) -> list[Path]:
    """All files of a study into the folder; returns what a reader opens first."""
    from analysis.report.export import study_json
    from analysis.report.keeping import provenance
    from analysis.report.live import live_scripts, plotly_source
    from analysis.report.output import write_whole
    from analysis.report.page import report_html

    # The numbers first: whatever befalls the pictures, they are on disk.
    numbers = write_whole(out / "fit.json", study_json(fitted, provenance(fitted.table.sources, command)).encode())
    pictures = write_plates(fitted if figures else None, out, tell=tell)
    tell("report")
    library = plotly_source() if pictures and not static else None
    live = "" if library is None else live_scripts(fitted, library)
    page = write_whole(out / "report.html", report_html(fitted, pictures, command=command, live=live).encode())
    return [page, numbers]


def write_plates(fitted, out: Path, *, tell) -> list:
    """A study's figures, none of None; those of an earlier run that this one does not draw go."""
    from analysis.figures.sheets import FIGURES, plates
    from analysis.report.output import KINDS, cleared
    from analysis.table.formats.sheet import printable

    lost: list[str] = []
    pictures, written = write_figures(plates(fitted, lost=lost) if fitted else (), out, tell=tell)
    cleared(out, {f"{name}.{kind}" for name in FIGURES for kind in KINDS} - written)
    for name in lost:
        tell.close()
        print(f"fit.py: figure not drawn: {printable(name, 200)}", file=sys.stderr)
    return pictures


if __name__ == "__main__":
    gc.set_threshold(200_000, 50, 1_000)  # collecting figures' garbage in small pieces took a seventh of the time
    from analysis.leave import leave
    from analysis.without import hollow, without

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # products are small: a second thread waits more than it multiplies
    without("pandas")  # which pyarrow imports to turn a column into an array: a twelfth of the time to the finding, and nothing uses it
    hollow("numpy.f2py", "numpy.testing")  # which SciPy imports by a star: a tenth of a second, and nothing uses them
    leave(main())
