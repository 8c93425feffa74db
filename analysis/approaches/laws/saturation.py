"""Losses that level off at the top: (L - E) / (top - L)^c = R (Alabdulmohsin et al. 2022, M4), solved for L.

At c = 0 it is L = E + R. Else L grows with R from E to the top, the loss of a model that has learnt nothing, and whatever makes R
least makes L least.
"""

import numpy as np

MOST = 100       # steps of Newton's: from the start below they all go one way, and a handful do
EXACT = 1e-13    # of w


def level(log_R, E, c, top):
    """L of log R; all broadcast, E < top, and c above 0 everywhere or nowhere, where the top has no meaning."""
    return E + (gaps(log_R, E, c, top)[0] if np.any(np.asarray(c) > 0) else np.exp(log_R))


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
        less = np.exp(-np.abs(w))
        both, share = np.log1p(less), 1 / (1 + less)   # log(1 + e^-|w|), and the larger of the two shares of h
        up = w > 0
        above, below = both + np.maximum(w, 0), both + np.maximum(-w, 0)
        low, high = np.where(up, less, 1) * share, np.where(up, 1, less) * share   # e^-above, e^-below
        step = (c * above - below - goal) / (low + c * high)
        w = w - step
        # what a step leaves is less than half of its square; what is no number stays none
        if not (np.square(step) > EXACT * np.maximum(np.abs(w), 1)).any():
            break
    less = np.exp(-np.abs(w))
    share, up = h / (1 + less), w > 0
    return np.where(up, 1, less) * share, np.where(up, less, 1) * share


def elasticity(L, E, c, top):
    """dlog L / dlog R = 1 / (L (1/(L - E) + c/(top - L))); 1 - E/L at c = 0."""
    return 1 / (L * (1 / (L - E) + c / (top - L)))
