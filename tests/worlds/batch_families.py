"""Families of runs at several batch sizes with a known critical batch size."""

import numpy as np

NOISE_OF_CURVE = 0.5   # of the noise of log L: share of its variance that a run carries along


def family(*, sizes=4, batches=6, at_one=2e7, power=1 / 0.21, least=2.5e3, budgets=8, noise=0.0, rates=(0.0,), rng=0):
    """N, batch, steps, D, L, rate: L = 1.4 + (1e4/N)^.2 + (300/S_min)^.6, S = S_min (1 + B_crit(L)/B), B_crit = at_one L^-power.

    rates: logs of each run's rate over the best, which costs 0.05 of log L times its square.
    """
    random = np.random.default_rng(rng)
    rows = []
    for N in 1e4 * 4.0 ** np.arange(sizes):
        floor = 1.4 + (1e4 / N) ** 0.2
        loss = floor + np.geomspace(3.0, 0.01, 4000)
        least_steps = 300 * (loss - floor) ** (-1 / 0.6)
        for B in least * 4.0 ** np.arange(batches):
            steps = least_steps * (1 + at_one * loss**-power / B)
            D = 1e6 * 2.0 ** np.arange(budgets)
            S = D / B
            inside = (S > steps[0]) & (S < steps[-1])
            for off in rates:
                run = random.standard_normal()
                wobble = noise * (np.sqrt(NOISE_OF_CURVE) * run + np.sqrt(1 - NOISE_OF_CURVE) * random.standard_normal(budgets))
                L = np.exp(np.interp(np.log(S), np.log(steps), np.log(loss)) + 0.05 * off**2 + wobble)
                rate = np.exp(off) * np.sqrt(B)
                rows += [(N, B, s, d, ell, rate) for s, d, ell, good in zip(S, D, L, inside, strict=True) if good]
    return tuple(np.array(column) for column in zip(*rows, strict=True))
