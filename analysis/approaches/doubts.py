"""What a reader must know beside the numbers of a fitted law."""

import numpy as np

from analysis.approaches.laws.additive import EXPONENTS
from analysis.approaches.laws.generalised import BRACKET, GENERALISED
from analysis.approaches.laws.saturating import BRACKET as OF_C
from analysis.approaches.laws.saturating import Saturating
from analysis.errors.model import sentence
from analysis.estimates.refusal import Doubt

LOOSE, EXACT = 0.1, 1e-6   # rms of the residuals of log L: more is said, and so is less


def doubts_about(fit) -> tuple[Doubt, ...]:
    doubts = [Doubt("at_bound", f"the fit ends at {bound}") for bound in fit.point.at_bound]
    if not fit.point.converged:
        doubts.append(Doubt("not_converged", "the optimiser ran out of iterations"))
    if not fit.E_identified:
        doubts.append(Doubt("E_not_identified", "the irreducible loss E cannot be told from 0 on this table"))
    pegged = np.isin(fit.draws[:, 3:5], EXPONENTS).any(1).mean()
    if pegged > 0.01:
        doubts.append(Doubt("draws_at_bound", f"{pegged:.0%} of the resamples end at a bound of alpha or beta"))
    if fit.law is GENERALISED and (loose := np.isin(fit.draws[:, 5], BRACKET).mean()) > 0.01:
        doubts.append(Doubt("g_not_identified", f"{loose:.0%} of the resamples end at a bound of g: the maximum of two terms, "
                            "or their product, describes them as well"))
    if isinstance(fit.law, Saturating) and (loose := np.mean(fit.draws[:, 6] <= OF_C[0])) > 0.01:
        doubts.append(Doubt("c_not_identified", f"{loose:.0%} of the resamples end at c = 0: without a top the law describes them as well"))
    if fit.scatter > LOOSE:
        doubts.append(Doubt("large_scatter", f"the runs stray from the law by {fit.scatter:.0%} (rms of log L)"))
    if fit.scatter < EXACT:
        doubts.append(Doubt("no_noise", "the runs lie on the law to the last digits, as simulated ones do: what the intervals "
                            "show is rounding"))
    if fit.correlated:
        doubts.append(Doubt("correlated_errors", sentence(fit.errors.found)))
    if fit.point.agreeing == 1:
        doubts.append(Doubt("lonely_optimum", f"only 1 of {fit.point.starts} descents found the optimum"))
    return tuple(doubts)
