"""Signs that a table mixes units: thousands for units, percent for shares, bits for nats."""

import numpy as np

from analysis.estimates.refusal import Doubt
from analysis.table.contradictions import contradicting

GAP = 2.5       # decades without a run between two sizes; sweeps step by less
SCATTER = 300.0   # factor from the median of C / (N D): sizes of one architecture stray by 30 at most
# C / (6 N D): dense language models have 1, mixtures of experts by all their parameters 0.03, convolutions 10 to 200.
LEAST, MOST = 0.01, 1e4
STEADY = 0.1    # of log C / (6 N D): where it is the same in every row, a power of 1,000 is no architecture's
HIGH_LOSS = 12.0  # nats: ln of a 160,000-token vocabulary, the loss of knowing nothing


def unit_doubts(N: np.ndarray, D: np.ndarray, C: np.ndarray, L: np.ndarray) -> tuple[Doubt, ...]:
    """A doubt for each sign; none of them leaves a row out."""
    doubts = []
    for name, value in (("N", N), ("D", D)):
        logs = np.unique(np.log10(value))
        gap = int(np.argmax(np.diff(logs))) if len(logs) > 1 else -1
        if gap >= 0 and logs[gap + 1] - logs[gap] >= GAP:
            doubts.append(Doubt(f"mixed_units_{name}", f"{name} jumps from {10 ** logs[gap]:.3g} to "
                                f"{10 ** logs[gap + 1]:.3g}: are some rows in thousands or millions?"))
    ratio = np.log(C) - np.log(N) - np.log(D)
    stray = int((np.abs(ratio - np.median(ratio)) > np.log(SCATTER)).sum())
    if stray:
        doubts.append(Doubt("mixed_units_C", f"C / (N D) of {stray:,} rows strays from the others by more than "
                            f"a factor of {SCATTER:g}: do C, N and D have one unit each?"))
    if not stray and (far := int(contradicting(N, D, C)[0].sum())):
        doubts.append(Doubt("mixed_cost", f"C of {far:,} rows is far from the k N^p D of the others: are they of another "
                            "architecture?"))
    off = float(np.exp(np.median(ratio)) / 6)
    power = round(np.log10(off) / 3)
    if power and np.ptp(ratio) < STEADY and abs(np.log(off) - power * np.log(1000)) < STEADY:
        doubts.append(Doubt("unit_of_C", f"C is {1000.0 ** power:g} times 6 N D in every row: is it, or are N or D, in another "
                            "unit?"))
    elif not LEAST < off < MOST:
        doubts.append(Doubt("unit_of_C", f"C is {off:.2g} of 6 N D: "
                            + ("is C in GFLOPs or larger units?" if off < 1 else "are N or D in thousands or millions?")))
    doubts += [Doubt(f"below_one_{name}", f"the smallest {name} is {value.min():.3g}, and no count is below 1: in what unit is it?")
               for name, value in (("N", N), ("D", D)) if value.min() < 1]
    if N.max() < 1_000 and D.max() > 1_000 * N.max():
        doubts.append(Doubt("small_N", f"the largest N is {N.max():.3g}: is it in millions?"))
    if L.max() > HIGH_LOSS:
        doubts.append(Doubt("high_loss", f"the largest loss is {L.max():.3g}: nats are expected, "
                            "not perplexity, and diverged runs go by --max-loss"))
    return tuple(doubts)
