"""Losses that level off at the top: (L - E) / (top - L)^c = R (Alabdulmohsin et al. 2022, M4), solved for L.

At c = 0 it is L = E + R. Else L grows with R from E to the top, the loss of a model that has learnt nothing, and whatever makes R
least makes L least.
"""

import numpy as np

MOST = 100       # steps of Newton's: from the start below they all go one way, and a handful do
EXACT = 1e-13    # of w


def level(log_R, E, c, top):
    """L of log R; all broadcast, E < top."""
    return E + gaps(log_R, E, c, top)[0]


def gaps(log_R, E, c, top):
    """L - E and top - L of log R, each to its last digit however small.

    In w, the logit of (L - E) / (top - E), and with h = top - E, the equation is
        c log(1 + e^w) - log(1 + e^-w) + (1 - c) log h = log R,
    whose slope lies between 1 and c: it rises and bends one way only.
    """
    h = np.maximum(np.asarray(top - E, float), 1e-9)   # a floor above the top fits nothing
    goal = log_R - (1 - c) * np.log(h)
    w = goal
    for _ in range(MOST):
        below, above = np.logaddexp(0, -w), np.logaddexp(0, w)
        step = (c * above - below - goal) / (np.exp(-above) + c * np.exp(-below))
        w = w - step
        if not (np.abs(step) > EXACT * np.maximum(np.abs(w), 1)).any():   # what is no number stays none
            break
    return h * np.exp(-np.logaddexp(0, -w)), h * np.exp(-np.logaddexp(0, w))


def elasticity(L, E, c, top):
    """dlog L / dlog R = 1 / (L (1/(L - E) + c/(top - L))); 1 - E/L at c = 0."""
    return 1 / (L * (1 / (L - E) + c / (top - L)))
