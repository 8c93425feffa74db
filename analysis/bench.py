"""How fast approach 3 is, as ratios within one run: python analysis/bench.py

The usual way is scipy's L-BFGS-B with finite differences from several starting points. It
is timed on a few resamples and scaled up; the stacked solver does all of them. Seconds are of
CPU: ratios hold beside other work too. With --beside PYTHON, an interpreter that has the package
chinchilla (0.2.0), one fit of its own is timed there. With --fit ROWS fit.py is timed whole (Linux).
"""

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import os
import subprocess
import tempfile
from itertools import product
from time import process_time

import numpy as np
from scipy.optimize import minimize
from scipy.special import huber, logsumexp

from analysis.approaches.cost import LANGUAGE
from analysis.approaches.global_minimum import global_minima, global_minimum
from analysis.approaches.laws.objective import Coordinates
from analysis.approaches.parametric import fit_parametric
from analysis.approaches.surface import Surface
from analysis.approaches.surface_fit import HUBER
from analysis.estimates.intervals import clusters, resample
from analysis.table.condense import condense

TRUTH = Surface(1.82, 480.0, 2100.0, 0.35, 0.37)


def simulated(count: int, seed: int):
    """N, D, L of runs scattered as Hoffmann's are, 0.5% noise."""
    rng = np.random.default_rng(seed)
    N, D = np.exp(rng.uniform(18, 23.5, count)), np.exp(rng.uniform(20.5, 26.5, count))
    return N, D, TRUTH.loss(N, D) * np.exp(0.005 * rng.standard_normal(count))


def usual_way(N, D, L, weight, starts):
    """Lowest objective of L-BFGS-B with numerical gradients, as in the published notebooks."""
    x, y, z = np.log(N), np.log(D), np.log(L)

    def objective(t):
        predicted = logsumexp([t[0] - t[3] * x, t[1] - t[4] * y, np.full_like(x, t[2])], axis=0)
        return (weight * huber(HUBER.delta, predicted - z)).sum()

    return min(minimize(objective, s, method="L-BFGS-B").fun for s in starts)


CHINCHILLA = """
import sys, time
import numpy as np
from chinchilla import Chinchilla

cc = Chinchilla("project", log_level=50, param_grid=dict(E=[1.5, 2.0], a=[5.0, 10.0], b=[5.0, 10.0], alpha=[0.2, 0.5], beta=[0.2, 0.5]))
for N, D, L in np.loadtxt("runs.txt"):
    cc.database.append(N=N, D=D, C=6 * N * D, loss=L)
began = time.process_time()
cc.fit(parallel=False)
print(time.process_time() - began, cc.beta / (cc.alpha + cc.beta))
"""


def beside(python: str, N, D, L) -> tuple[float, float]:
    """CPU seconds of chinchilla's fit from 32 starts, and its a."""
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(Path(folder) / "runs.txt", np.stack([N, D, L], 1))
        said = subprocess.run([python, "-c", CHINCHILLA], cwd=folder, capture_output=True, text=True, check=True).stdout
    seconds, a = map(float, said.split()[-2:])
    return seconds, a


def fitted(rows: int, *flags: str) -> tuple[float, float]:
    """CPU seconds of fit.py on so many scattered runs in a CSV, start-up included: until its finding stands, and in all."""
    import resource   # Unix alone

    with tempfile.TemporaryDirectory() as folder:
        N, D, L = simulated(rows, seed=1)
        np.savetxt(Path(folder) / "runs.csv", np.stack([N, D, 6 * N * D, L], 1), fmt=["%.0f", "%.0f", "%.6g", "%.6f"], delimiter=",",
                   header="params,tokens,flops,loss", comments="")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with subprocess.Popen([sys.executable, Path(__file__).with_name("fit.py"), "runs.csv", *flags], cwd=folder, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}) as run:
            run.stdout.readline()
            ticks = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()[11:13]   # utime, stime
            run.stdout.read()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--usual", type=int, default=4, help="resamples that the usual way is timed on")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the long table; 0 leaves it out")
    parser.add_argument("--beside", metavar="PYTHON", help="an interpreter that has chinchilla")
    parser.add_argument("--fit", type=int, action="append", default=[], metavar="ROWS",
                        help="time fit.py on so many runs, and nothing else; may be repeated")
    args = parser.parse_args(argv)
    for rows in args.fit:
        finding, whole = fitted(rows)
        print(f"fit.py on {rows:,} scattered runs: finding {finding:.1f} s, everything {whole:.1f} s")
    if args.fit:
        return

    N, D, L = simulated(240, seed=0)
    ones = np.ones_like(L)
    weight = resample(clusters("run", N, D), args.resamples, 0)
    began = process_time()
    points = Coordinates.of(N, D, L, ones)
    pilot = global_minimum(points, ones, HUBER)
    ours = global_minima(points, weight, HUBER, pilot)
    seconds = process_time() - began

    few = [np.array(s, float) for s in product((0, 10, 20), (0, 10, 20), (0.5,), (0.2, 0.8), (0.2, 0.8))]
    began = process_time()
    usual = [usual_way(N, D, L, w, few) for w in weight[:args.usual]]
    each = (process_time() - began) / args.usual
    lower = np.mean(ours.value[:args.usual] <= np.array(usual) * (1 + 1e-9))
    print(f"{args.resamples} global fits of 240 points, stacked      {seconds:8.2f} s")
    print(f"the same by L-BFGS-B from {len(few)} starts (from {args.usual})   {each * args.resamples:8.0f} s"
          f"   {each * args.resamples / seconds:.0f} times as long")
    print(f"stacked objective at or below the usual one      {lower:8.0%}   of {args.usual} resamples; "
          f"median excess of the usual {np.median(np.array(usual) / ours.value[:args.usual] - 1):.1%}")
    if args.beside:
        began = process_time()
        mine = global_minimum(Coordinates.of(N, D, L, ones), ones, HUBER)
        one = process_time() - began
        theirs, a = beside(args.beside, N, D, L)
        own = Surface(*Coordinates.external(points, mine.solution.theta[0]))
        print(f"one fit of 240 points from {mine.starts} starts        {one:8.2f} s   a = {float(own.a(LANGUAGE)):.4f}\n"
              f"the same by chinchilla from 32                 {theirs:8.2f} s   {theirs / one:.0f} times as long   a = {a:.4f}")
    if args.rows:
        N, D, L = simulated(args.rows, seed=1)
        began = process_time()
        short = condense(N, D, L, 6 * N * D)
        fit = fit_parametric(short.N, short.D, short.L, C=short.C, weight=short.weight)
        print(f"{args.rows:,} rows, fit and intervals {process_time() - began:16.1f} s   a = {fit.a}\n  {short.note}")


if __name__ == "__main__":
    main()
