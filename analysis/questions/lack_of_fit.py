"""Does a law leave more than the noise of repeats? The lack-of-fit test against pure error."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.estimates.intervals import distinct
from analysis.estimates.refusal import Doubt, NotIdentified, TooFewPoints

REPEATS = 8       # degrees of freedom of the pure error below which it is known too badly
SAME = 1e-9       # of log L: repeats that differ by less do not differ
LARGE = 2.0       # times the replicates' noise: more stands in the sentence that gives the exponent
P = 0.05


@dataclass(frozen=True)
class LackOfFit:
    """Scatter of the cells' means about a law beside that of repeats within cells."""

    ratio: float      # of the misfit's standard deviation, degrees of freedom allowed for, to the pure error's
    p_value: float    # that the law holds
    misfit: float     # rms of the cells' mean log L about the law
    noise: float      # standard deviation of a cell's mean log L by its repeats
    cells: int
    repeats: int      # degrees of freedom of the pure error

    @property
    def large(self) -> bool:
        """Whether no number of this law should be quoted without saying so."""
        return self.ratio > LARGE and self.p_value < P

    @property
    def warnings(self) -> tuple[Doubt, ...]:
        if self.p_value >= P:
            return ()
        return (Doubt("lack_of_fit", f"the cells' means stray from the law by {self.misfit:.1%}, {self.ratio:.1f} times what repeats "
                      f"explain ({self.noise:.1%}; lack-of-fit test, p = {self.p_value:.2g})"),)

    def summary(self) -> str:
        return (f"lack of fit     {self.ratio:.2f} times the replicates' noise, p = {self.p_value:.2g} "
                f"({self.cells} cells, {self.repeats} degrees of freedom of repeats)")


def lack_of_fit(residuals, N, D, *, parameters: int, cell=None) -> LackOfFit:
    """F test of the residuals of log L (n,): mean square of cells' means about the law over mean square within cells.

    Noise may differ between cells: degrees of freedom are Satterthwaite's (1946). Raises TooFewPoints where cells
    are hardly ever repeated, NotIdentified where repeats never differ.
    """
    residuals = np.asarray(residuals, float)
    member = distinct(N, D) if cell is None else distinct(cell)
    count = np.bincount(member)
    mean = np.bincount(member, residuals) / count
    within = np.bincount(member, np.square(residuals - mean[member]))
    cells, free = len(count), count - 1
    if free.sum() < REPEATS:
        raise TooFewPoints(f"runs repeated in the same (N, D) are needed to know the noise: {free.sum()} repeats, need {REPEATS}")
    if cells <= parameters:
        raise TooFewPoints(f"more than {parameters} cells are needed, got {cells}")
    repeated = free > 0
    variance = within[repeated] / free[repeated]
    # s^4 overstates sigma^4 by (f + 2)/f
    fourth = np.square(variance) * free[repeated] / (free[repeated] + 2)
    pure = within.sum() / free.sum()
    if pure <= SAME**2:
        raise NotIdentified("no two repeats of an (N, D) differ, which tells nothing of the noise: they are copies, or there is none")
    left = cells - parameters
    misfit = float((count * mean**2).sum() / left)
    ratio = misfit / max(pure, 1e-300)
    unequal = float(np.average(variance) ** 2 / max(np.average(fourth), 1e-300))
    p = special.fdtrc(max(left * min(unequal, 1.0), 1.0),
                      max((free[repeated] * variance).sum() ** 2 / max((free[repeated] * fourth).sum(), 1e-300), 1.0), ratio)
    return LackOfFit(float(np.sqrt(ratio)), float(p), float(np.sqrt(np.mean(mean**2))),
                     float(np.sqrt(pure * np.mean(1 / count))), cells, int(free.sum()))
