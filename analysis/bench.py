"""How fast approach 3 is, as ratios within one run: python analysis/bench.py

The usual way is scipy's L-BFGS-B with finite differences from several starting points. It
is timed on a few resamples and scaled up; the stacked solver does all of them. Seconds are of
CPU: ratios hold beside other work too.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from itertools import product
from time import process_time

import numpy as np
from scipy.optimize import minimize
from scipy.special import huber, logsumexp

from analysis.approaches.global_minimum import global_minima, global_minimum
from analysis.approaches.newton import Coordinates
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


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=4000)
    parser.add_argument("--usual", type=int, default=4, help="resamples that the usual way is timed on")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the long table; 0 leaves it out")
    args = parser.parse_args(argv)

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
    if args.rows:
        N, D, L = simulated(args.rows, seed=1)
        began = process_time()
        short = condense(N, D, L, 6 * N * D)
        fit = fit_parametric(short.N, short.D, short.L, C=short.C, weight=short.weight)
        print(f"{args.rows:,} rows, fit and intervals {process_time() - began:16.1f} s   a = {fit.a}\n  {short.note}")


if __name__ == "__main__":
    main()
