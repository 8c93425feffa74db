"""python -m sweeps.carbs.bench.__main__: how much of a known front each method closes, and at what price.

Every finished run is kept in --out, so that an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path

# One thread, before numpy loads its own: seconds per suggestion are stated for one core.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np

from sweeps.carbs.bench.flying import GRAMMAR, Flight
from sweeps.carbs.bench.problems import HELD_OUT, PROBLEMS
from sweeps.carbs.bench.rivals import METHODS, Score, score, score_in_flight, score_on_the_clock
from sweeps.carbs.search import Carbs

# The dearest run, ten times over: what equal spending means in the notes' tables.
SPENDING = 10.0
ALL = {**PROBLEMS, **HELD_OUT}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="P4,P12,P4n", help=f"of {', '.join(ALL)} (default: %(default)s)")
    parser.add_argument("--methods", default="carbs,random", help=f"of {', '.join(METHODS)} (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each method on each problem")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--spend", action="store_true",
                        help=f"stop at a summed cost of {SPENDING:g} dearest runs (3 x --evaluations at most)")
    parser.add_argument("--hours", type=float, help="instead of --evaluations: equal wall time, simulated, where the dearest "
                        "run takes an hour (10 x --evaluations runs at most)")
    parser.add_argument("--workers", type=int, default=8, help="under --hours, runs side by side (default: %(default)s)")
    parser.add_argument("--flying", default="1", metavar="A,B,...", help=f"runs in flight, told of out of order. {GRAMMAR}")
    parser.add_argument("--asks", action="store_true", help="instead: CPU seconds of a suggestion after 100, 500 and 2,000 runs")
    parser.add_argument("--figure", type=Path, help="also draw what was closed, with 95%% intervals over seeds, into this file")
    parser.add_argument("--out", type=Path, default=Path("carbs_bench.json"),
                        help="finished runs (default: %(default)s)")
    args = parser.parse_args(argv)
    for name, known in (("problems", ALL), ("methods", METHODS)):
        asked = getattr(args, name).split(",")
        setattr(args, name, asked)
        if unknown := [x for x in asked if x not in known]:
            parser.error(f"--{name}: {', '.join(unknown)} unknown; choose from {', '.join(known)}")
    if args.seeds < 1 or args.evaluations < 10:
        parser.error("--seeds must be at least 1 and --evaluations at least 10")
    if args.hours is not None and (not 0 < args.hours < math.inf or args.spend):
        parser.error("--hours must be positive, and goes without --spend")
    args.flying = args.flying.split(",")
    try:
        for text in args.flying:
            Flight.of(text)
    except ValueError as error:
        parser.error(f"--flying: {error}")
    if args.flying != ["1"] and (args.spend or args.hours is not None):
        parser.error("--flying goes without --spend and --hours")
    if args.workers < 1:
        parser.error("--workers must be at least 1")
    return args


def run(args: argparse.Namespace, problem: str, method: str, seed: int, flying: str) -> Score:
    if flying != "1":
        return score_in_flight(ALL[problem], method, seed, flying=flying, evaluations=args.evaluations)
    if args.hours is not None:
        return score_on_the_clock(ALL[problem], method, seed, workers=args.workers, hours=args.hours, most=10 * args.evaluations)
    return score(ALL[problem], method, seed, budget=SPENDING * ALL[problem].max_cost if args.spend else None,
                 evaluations=args.evaluations * (3 if args.spend else 1))


def _how(args: argparse.Namespace, flying: str) -> str:
    """The part of a finished run's key that its problem, method and seed don't tell."""
    if args.hours is not None:
        return f"{args.hours:g} h x {args.workers}"
    return f"{args.evaluations}{' spend' if args.spend else ''}{'' if flying == '1' else f' x {flying}'}"


def load(path: Path) -> dict[str, Score]:
    if not path.exists():
        return {}
    try:
        return {key: Score(**row) for key, row in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise SystemExit(f"{path} is no benchmark file ({error}); move it away or choose another --out") from None


def save(path: Path, scores: dict[str, Score]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump({key: asdict(value) for key, value in scores.items()}, file, indent=0)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def mean_and_error(values: list[float]) -> str:
    """Mean and its standard error; NaN runs (no law to be had) are left out and counted."""
    x = np.array([v for v in values if math.isfinite(v)])
    if not len(x):
        return "-"
    lost = f" ({len(values) - len(x)} none)" if len(x) < len(values) else ""
    spread = f" +- {x.std(ddof=1) / math.sqrt(len(x)):.4f}" if len(x) > 1 else ""
    return f"{x.mean():.4f}{spread}{lost}"


def table(scores: list[Score]) -> str:
    """A row for each problem, method and number of runs in flight: means, standard errors and n."""
    head = f"{'problem':<12} {'method':<9} {'flying':>6} {'n':>2} {'runs':>5} {'front closed':<17} {'regret at 10x':<17} " \
           f"{'|N exp. error|':<17} {'N covered':<9} {'over cap':>8} {'worst':>6} {'s/ask':>7}"
    lines = [head, "-" * len(head)]
    for problem in dict.fromkeys(s.problem for s in scores):
        for method, flying in dict.fromkeys((s.method, s.flying) for s in scores if s.problem == problem):
            rows = [s for s in scores if (s.problem, s.method, s.flying) == (problem, method, flying)]
            size = next((name for name in ("N", "width") if name in rows[0].error), None)
            covered = [s.covered[size] for s in rows if size in s.covered]
            lines.append(
                f"{problem:<12} {method:<9} {flying:>6} {len(rows):>2} {np.mean([s.n for s in rows]):>5.0f} "
                f"{mean_and_error([s.closed for s in rows]):<17} {mean_and_error([s.regret for s in rows]):<17} "
                f"{mean_and_error([abs(s.error[size]) for s in rows if size in s.error]):<17} "
                f"{f'{sum(covered)}/{len(covered)}' if covered else '-':<9} "
                f"{np.mean([s.over for s in rows]):>8.3f} {max(s.worst for s in rows):>6.2f} "
                f"{np.mean([s.seconds for s in rows]):>7.3f}")
    return "\n".join(lines)


def draw(scores: list[Score], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from sweeps.carbs.bench.figure import plot_closed

    problems = list(dict.fromkeys(s.problem for s in scores))
    figure, axes = pyplot.subplots(1, len(problems), figsize=(4 * len(problems), 3), squeeze=False, layout="constrained")
    for ax, problem in zip(axes[0], problems):
        plot_closed([s for s in scores if s.problem == problem], ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def ask_seconds(runs: int, *, asks: int = 5) -> list[float]:
    """CPU seconds of suggestions in P12's 12 dimensions after `runs` told, a new run told before each."""
    problem, rng = ALL["P12"], np.random.default_rng(0)
    carbs = Carbs(problem.space, max_cost=problem.max_cost, min_cost=problem.min_cost)

    def tell(config: dict) -> None:
        loss, cost = problem.observe(config, rng)
        carbs.tell(config, loss=loss, cost=cost)

    for cost in np.geomspace(problem.min_cost, problem.max_cost, runs):
        config = carbs.space.decode(carbs.space.encode(problem.best(cost)) + rng.normal(0, 0.3, carbs.space.width))
        carbs.adopt(config)
        tell(config)
    seconds = []
    for _ in range(asks):
        began = time.process_time()
        config = carbs.ask()
        seconds.append(time.process_time() - began)
        tell(config)
    return seconds


def main(argv=None):
    args = parse_args(argv)
    if args.asks:
        print("CPU seconds of a suggestion in 12 dimensions, one thread (the first trains from scratch)")
        for runs in (100, 500, 2000):
            first, *rest = ask_seconds(runs)
            print(f"{runs:>6,} runs told: {np.mean(rest):.2f} +- {np.std(rest, ddof=1) / math.sqrt(len(rest)):.2f} (first {first:.2f})")
        return
    scores = load(args.out)
    wanted = []
    for problem, method, flying in product(args.problems, args.methods, args.flying):
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            key = f"{problem} {method} {seed} {_how(args, flying)}"
            wanted.append(key)
            if key in scores:
                continue
            try:
                scores[key] = run(args, problem, method, seed, flying)
            except ImportError as error:
                print(error, file=sys.stderr)
                return 2
            save(args.out, scores)
            print(f"{key}: closed {scores[key].closed:.4f}", file=sys.stderr, flush=True)
    print(table([scores[key] for key in wanted]))
    if args.figure is not None:
        draw([scores[key] for key in wanted], args.figure)
        print(f"figure in {args.figure}")
    print(f"runs kept in {args.out}")


if __name__ == "__main__":
    sys.exit(main())
