"""Families of loss surfaces that people have proposed, in centred logs x = log N, y = log D."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from analysis.approaches.laws.saturating import HEADROOM
from analysis.approaches.laws.saturation import gaps, level

LOG2 = np.log(2.0)


@dataclass(frozen=True)
class Start:
    """Logs of the parameters of the best surfaces of the two main laws: where every law starts from."""

    additive: np.ndarray     # (5,) log E, log A, log B, log alpha, log beta
    generalised: np.ndarray  # (6,) log E, u, v, log alpha, log beta, log g: u, v as in analysis/approaches/laws/generalised.py


@dataclass(frozen=True)
class Law:
    """A family of loss surfaces."""

    name: str
    names: tuple[str, ...]
    log_loss: Callable = field(repr=False)  # (parameters (k,) or (k, R, 1), x, y, highest loss) -> log L (n,) or (R, n)
    starts: Callable = field(repr=False)    # (Start, normal deviates (6,)) -> parameters
    power: bool = True                      # N* is a power of C: the loss falls as a sum of powers of N and D does
    # (parameters (k,), x, y, highest loss) -> log L (n,) and its derivatives (k, n), of laws whose descents are long: of others the
    # derivatives are numerical
    sloping: Callable | None = field(default=None, repr=False)


def _log_sum(one, other):
    """log(e^one + e^other), a multiple faster than np.logaddexp."""
    return np.maximum(one, other) + np.log1p(np.exp(-np.abs(one - other)))


def _surface(t, x, y, highest):
    return np.log(np.exp(t[0]) + np.exp(t[1] - np.exp(t[3]) * x) + np.exp(t[2] - np.exp(t[4]) * y))


def _no_floor(t, x, y, highest):
    return _log_sum(t[0] - np.exp(t[2]) * x, t[1] - np.exp(t[3]) * y)


def _bracket(t, x, y):
    """log of the reducible part of the generalised law: u, v, log alpha, log beta, log g."""
    g = np.exp(t[4])
    return g * (_log_sum((t[0] - np.exp(t[2]) * x) / g, (t[1] - np.exp(t[3]) * y) / g) - LOG2)


def _generalised(t, x, y, highest):
    return _log_sum(t[0], _bracket(t[1:], x, y))


def _generalised_no_floor(t, x, y, highest):
    return _bracket(t, x, y)


def _floor_inside(t, x, y, highest):
    # Droppo and Elibol 2021, equation 2: L = (E + A/N^(alpha/g) + B/D^(beta/g))^g, here with E^g as the first parameter
    g = np.exp(t[5])
    return g * _log_sum(t[0] / g, _bracket(t[1:], x, y) / g)


def _interaction(t, x, y, highest):
    alpha, beta = np.exp(t[3]), np.exp(t[4])
    return np.log(np.exp(t[0]) + np.exp(t[1] - alpha * x) + np.exp(t[2] - beta * y) + np.exp(t[5] - alpha * x - beta * y))


def _product(t, x, y, highest):
    return t[0] - t[1] * x - t[2] * y


def _kaplan(t, x, y, highest):
    # Kaplan et al. 2020, equation 1.5: L = ((Nc/N)^(aN/aD) + Dc/D)^aD
    aN, aD = np.exp(t[2]), np.exp(t[3])
    return aD * _log_sum(t[0] - aN / aD * x, t[1] - y)


def _broken(t, x, y, highest):
    # Caballero et al. 2023, equation 1, one break, in D: its slope changes by c at d over a width f
    break_ = np.exp(t[7]) * _log_sum(0, (y - t[6]) / np.exp(t[7]))
    return np.log(np.exp(t[0]) + np.exp(t[1] - np.exp(t[3]) * x) + np.exp(t[2] - np.exp(t[4]) * y - t[5] * break_))


def _broken_sloping(t, x, y, highest):
    c, f = t[5], np.exp(t[7])
    z = (y - t[6]) / f
    bend, past = _log_sum(0, z), 1 / (1 + np.exp(-z))       # of the break, f bend; past: how far y is beyond it
    terms = np.exp(np.stack([np.full_like(x, t[0]), t[1] - np.exp(t[3]) * x, t[2] - np.exp(t[4]) * y - c * f * bend]))
    L = terms.sum(0)
    floor, size, data = terms / L
    return np.log(L), np.stack([floor, size, data, -np.exp(t[3]) * x * size, -np.exp(t[4]) * y * data,
                                -f * bend * data, c * past * data, -c * f * (bend - z * past) * data])


def top_at(highest, log_headroom):
    """Where losses level off."""
    return highest * (1 + np.exp(np.clip(log_headroom, *HEADROOM)))


def _saturating(t, x, y, highest):
    # Alabdulmohsin et al. 2022, M4: (L - E) / (top - L)^c = reducible part
    # t[6] is the log of how far the top lies above the highest loss, as a share of it
    reducible = _log_sum(t[1] - np.exp(t[3]) * x, t[2] - np.exp(t[4]) * y)
    return np.log(level(reducible, np.exp(t[0]), np.exp(t[5]), top_at(highest, t[6])))


def _saturating_sloping(t, x, y, highest):
    # of log(L - E) - c log(top - L) = rho, the log of the reducible part
    E, alpha, beta, c, top = *np.exp([t[0], *t[3:6]]), top_at(highest, t[6])
    U, V = t[1] - alpha * x, t[2] - beta * y
    rho = _log_sum(U, V)
    share = np.exp(U - rho)
    above, below = gaps(rho, E, c, top)
    L, whole = E + above, below + c * above
    of_rho, of_top = below * above / whole / L, c * above / whole / L
    moves = HEADROOM[0] < t[6] < HEADROOM[1]
    return np.log(L), np.stack([E * below / whole / L, of_rho * share, of_rho * (1 - share), -alpha * x * of_rho * share,
                                -beta * y * of_rho * (1 - share), c * np.log(below) * of_rho, moves * (top - highest) * of_top])


ADDITIVE = "E + A/N^alpha + B/D^beta"
GENERALISED = "E + (A/N^(alpha/g) + B/D^(beta/g))^g"
PRODUCT = "A N^-alpha D^-beta"
KAPLAN = "Kaplan's joint law"
SATURATING = "saturating (M4)"
NO_FLOOR = {"additive": "A/N^alpha + B/D^beta", "generalised": "(A/N^(alpha/g) + B/D^(beta/g))^g"}
_FIVE = ("log E", "log A", "log B", "log alpha", "log beta")

LAWS = (
    Law(ADDITIVE, _FIVE, _surface, lambda s, r: s.additive + r[:5]),
    Law(GENERALISED, (*_FIVE, "log g"), _generalised, lambda s, r: s.generalised + r),
    Law(NO_FLOOR["generalised"], (*_FIVE[1:], "log g"), _generalised_no_floor, lambda s, r: (s.generalised + r)[1:]),
    Law("E inside the bracket (Droppo and Elibol)", (*_FIVE, "log g"), _floor_inside, lambda s, r: s.generalised + r),
    Law("with G/(N^alpha D^beta)", (*_FIVE, "log G"), _interaction,
        lambda s, r: np.append(s.additive, s.additive[1:3].mean() - 1) + r, power=False),
    Law(NO_FLOOR["additive"], _FIVE[1:], _no_floor, lambda s, r: (s.additive + r[:5])[1:]),
    Law(PRODUCT, ("log A", "alpha", "beta"), _product,
        lambda s, r: np.array([np.logaddexp(*s.additive[1:3]), 0.3, 0.3]) + r[:3], power=False),
    Law(KAPLAN, ("log Nc", "log Dc", "log alpha_N", "log alpha_D"), _kaplan,
        lambda s, r: np.concatenate([s.additive[1:3] / np.exp(s.additive[4]), s.additive[3:]]) + r[:4]),
    Law("broken in D (BNSL)", (*_FIVE, "change", "log d", "log width"), _broken,
        lambda s, r: np.concatenate([s.additive + r[:5], [0.1 * r[0], r[1], 0.0]]), power=False,
        sloping=_broken_sloping),
    Law(SATURATING, (*_FIVE, "log c", "log headroom"), _saturating,
        lambda s, r: np.concatenate([s.additive + r[:5], [-0.5 + r[0], -3.0 + r[5]]]), sloping=_saturating_sloping),
)
