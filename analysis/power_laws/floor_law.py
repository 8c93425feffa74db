"""One variable's law through a handful of points: L = (x_c/x)^alpha (Kaplan et al. 2020, equations 1.1 to 1.3), or
L = L_inf + (x_0/x)^alpha (Henighan et al. 2020, equation 1.1), and all the values of either that the points allow.

    log L_i = s + log(r + (1 - r) e^(-alpha u_i)) + e_i,    u_i = log(x_i / x_m),  x_m the geometric mean of x,

where r, between 0 and 1, is the floor's share of the loss at x_m, and r = 0 is the power law without a floor. s is least
squares in closed form at each (alpha, r), so that a grid of the two holds the whole sum of squares, global minimum and all.
The interval of any quantity is its range over the parameters whose sum of squares is not too large for F(1, n - k): the
profile of the likelihood under normal errors, without an expansion that three to ten points would not bear.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special
from scipy.optimize import least_squares

from analysis.estimates.estimate import Estimate
from analysis.estimates.refusal import NotIdentified, TooFewPoints

EXPONENTS = (1e-3, 6.0)    # of alpha: flatter is no power, steeper is a step
PLACES = 41                # of a grid of either
ZOOMS = 4                  # of a grid, to what the points allow
BISECTIONS = 10            # of an end of alpha: a thousandth of the last grid's step
SHARES = (1e-4, 1 - 1e-9)  # of r beside 0
LEAST_PURE, LEAST_FLOOR = 3, 5   # points: one, and two, degrees of freedom
SPAN = 0.1                 # of log x: a table that varies less has no exponent
REJECTED = 0.05
METHOD = "profile of least squares on log L"


@dataclass(frozen=True)
class OneLaw:
    """L = floor + (scale/x)^exponent."""

    floor: Estimate | None    # None of a pure power law
    scale: Estimate           # x_c or x_0, in the units of x
    exponent: Estimate
    rms: float                # of log L about the law
    aicc: float               # Hurvich and Tsai 1989, normal errors of log L
    squares: float = field(repr=False)   # of log L, summed

    def __call__(self, x):
        reducible = (self.scale.value / np.asarray(x, float)) ** self.exponent.value
        return reducible if self.floor is None else self.floor.value + reducible

    def local_exponent(self, x):
        """-dlog L/dlog x: what a power law without a floor would show at x."""
        return self.exponent.value * (1 - (0.0 if self.floor is None else self.floor.value) / self(x))


@dataclass(frozen=True)
class BothLaws:
    """The law without a floor and with one, and which of them the points support."""

    pure: OneLaw
    floored: OneLaw | None    # None where points are too few for it
    p_pure: float             # F test that there is no floor: conservative, for 0 is the end of what a floor can be; nan untested
    x: np.ndarray = field(repr=False)   # (n,) the points
    L: np.ndarray = field(repr=False)

    low = property(lambda self: float(self.x.min()))
    high = property(lambda self: float(self.x.max()))
    n = property(lambda self: len(self.x))

    @property
    def gain(self) -> float:
        """AICc that the floor wins."""
        return np.nan if self.floored is None else self.pure.aicc - self.floored.aicc

    @property
    def supports_floor(self) -> bool:
        """The power law without a floor is rejected, and AICc agrees."""
        return bool(self.p_pure < REJECTED and self.gain > 0)

    @property
    def supported(self) -> OneLaw:
        return self.floored if self.supports_floor else self.pure


def fit_both_laws(x, L, *, level: float = 0.95) -> BothLaws:
    """Least squares on log L of points (n,). Raises TooFewPoints below 3, NotIdentified where x varies by less than a tenth, or L
    does not fall."""
    x, L = np.asarray(x, float), np.asarray(L, float)
    if not (np.isfinite(x) & np.isfinite(L) & (x > 0) & (L > 0)).all():
        raise ValueError("a power law's points are positive finite numbers: drop the others")
    if len(x) < LEAST_PURE:
        raise TooFewPoints(f"need at least {LEAST_PURE} points for a power law, got {len(x)}")
    if np.ptp(np.log(x)) < SPAN:
        raise NotIdentified(f"x varies by {x.max() / x.min() - 1:.1%} only: no exponent can be told from that")
    if np.polyfit(np.log(x), np.log(L), 1)[0] >= 0:
        raise NotIdentified("the loss does not fall along these points")
    order = np.argsort(x, kind="stable")
    x, L = x[order], L[order]
    pure = _law(x, L, floor=False, level=level)
    if len(x) < LEAST_FLOOR:
        return BothLaws(pure, None, np.nan, x, L)
    floored = _law(x, L, floor=True, level=level)
    freedom = len(x) - 3
    F = (pure.squares - floored.squares) / max(floored.squares / freedom, 1e-300)
    return BothLaws(pure, floored, float(special.fdtrc(1, freedom, max(F, 0.0))), x, L)


def _law(x, L, *, floor: bool, level: float) -> OneLaw:
    middle, z, n, k = np.log(x).mean(), np.log(L), len(x), 3 if floor else 2
    curve = _Curve(np.log(x) - middle, z)
    alpha, share = _lowest(curve, floor)
    best = curve.at(alpha, share)
    lowest = float(best.squares[0, 0])
    # 1e-26: rounding, where the points lie on a law to the last digit
    limit = lowest * (1 + special.fdtri(1, n - k, level) / (n - k)) + 1e-26 * n
    places = _allowed(curve, float(alpha[0]), floor, limit)
    aicc = n * np.log(max(lowest, 1e-30) / n) + 2 * (k + 1) + (2 * (k + 1) * (k + 2) / (n - k - 2) if n > k + 2 else np.inf)
    student = float(special.stdtrit(n - k, (1 + level) / 2))

    def estimate(of: Callable) -> Estimate:
        """of: alpha, r, s -> a quantity that grows with s."""
        value = float(of(alpha, share[0], best.offset[0])[0])
        low = min(float(of(places.alpha, places.share, places.offset - places.slack).min()), value)
        high = max(float(of(places.alpha, places.share, places.offset + places.slack).max()), value)
        return Estimate(value, low, high, (high - low) / (2 * student), METHOD, n, level)

    def scale(alpha, share, offset):
        with np.errstate(over="ignore"):
            return np.exp(middle + (offset + np.log1p(-share)) / alpha)

    exponent = estimate(lambda alpha, share, offset: alpha)
    if exponent.high >= EXPONENTS[1] * (1 - 1e-9):
        exponent = replace(exponent, high=np.inf, se=np.inf)
    if exponent.low <= EXPONENTS[0] * (1 + 1e-9):
        exponent = replace(exponent, low=0.0)
    return OneLaw(estimate(lambda alpha, share, offset: share * np.exp(offset)) if floor else None, estimate(scale), exponent,
                  float(np.sqrt(lowest / n)), float(aicc), lowest)


@dataclass(frozen=True)
class _Places:
    """The best s at some alpha (a,) and r (a, b), and the sum of squares there; arrays (a, b)."""

    offset: np.ndarray
    squares: np.ndarray


@dataclass(frozen=True)
class _Curve:
    """Points (n,) of log x less its mean, and of log L."""

    u: np.ndarray
    z: np.ndarray

    def at(self, alpha, share) -> _Places:
        """At alpha (a,) and r (a, b), or (b,) for all alpha."""
        share = np.broadcast_to(share, (len(alpha), np.shape(share)[-1]))[..., None]
        left = self.z - np.log(share + (1 - share) * np.exp(-alpha[:, None, None] * self.u))   # (a, b, n)
        offset = left.mean(-1)
        return _Places(offset, np.square(left - offset[..., None]).sum(-1))

    def best_shares(self, alpha) -> np.ndarray:
        """r (a,) of the least squares at each alpha (a,): a grid of r, drawn closer about its lowest place, and r = 0."""
        low, high = (np.full(len(alpha), end) for end in special.logit(SHARES))
        for _ in range(ZOOMS):
            grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, PLACES)
            lowest = self.at(alpha, special.expit(grid)).squares.argmin(1)
            step = (high - low) / (PLACES - 1)
            centre = grid[np.arange(len(alpha)), lowest]
            low, high = np.maximum(centre - step, grid[:, 0]), np.minimum(centre + step, grid[:, -1])
        both = np.stack([np.zeros(len(alpha)), special.expit(centre)], 1)
        return both[np.arange(len(alpha)), self.at(alpha, both).squares.argmin(1)]


def _lowest(curve: _Curve, floor: bool) -> tuple[np.ndarray, np.ndarray]:
    """alpha (1,) and r (1, 1) of the least squares: a grid of alpha, r the best at each, drawn closer and then descended from.

    Without a floor, and where a floor gains nothing, the regression line.
    """
    bare = np.clip([-(curve.u @ curve.z) / (curve.u @ curve.u)], *EXPONENTS), np.zeros((1, 1))
    if not floor:
        return bare
    alpha = np.geomspace(*EXPONENTS, PLACES)
    share = curve.best_shares(alpha)
    i = int(curve.at(alpha, share[:, None]).squares.argmin())

    def residual(theta):
        left = curve.z - np.log(theta[1] + (1 - theta[1]) * np.exp(-theta[0] * curve.u))
        return left - left.mean()

    with np.errstate(all="ignore"):
        ended = least_squares(residual, [alpha[i], np.clip(share[i], *SHARES)], xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac",
                              bounds=([EXPONENTS[0], 0.0], [EXPONENTS[1], SHARES[1]])).x
    found = [(ended[:1], ended[1:, None]), (alpha[[i]], share[[i], None])]
    best = min(found, key=lambda one: curve.at(*one).squares[0, 0])
    return bare if curve.at(*bare).squares <= curve.at(*best).squares * (1 + 1e-9) else best


@dataclass(frozen=True)
class _Allowed:
    """Places (m,) where the sum of squares is below the limit for the best s, and by how much s may stray from it there."""

    alpha: np.ndarray
    share: np.ndarray
    offset: np.ndarray
    slack: np.ndarray


def _allowed(curve: _Curve, centre: float, floor: bool, limit: float) -> _Allowed:
    """alpha outward from the best at `centre`, and at each alpha all r that are allowed: a valley in (alpha, r) may be far
    narrower than any grid of the two."""
    def rows(alpha):
        share = curve.best_shares(alpha) if floor else np.zeros(len(alpha))
        return share, curve.at(alpha, share[:, None]).squares[:, 0] <= limit

    low, high = np.log(EXPONENTS)
    for _ in range(ZOOMS):
        alpha = np.exp(np.unique(np.append(np.linspace(low, high, PLACES), np.log(centre))))
        share, inside = rows(alpha)
        inside |= alpha == alpha[np.abs(alpha - centre).argmin()]
        held = np.flatnonzero(inside)
        low, high = np.log(alpha[max(held[0] - 1, 0)]), np.log(alpha[min(held[-1] + 1, len(alpha) - 1)])
    within = np.log(alpha[held[[0, -1]]])
    beyond = np.array([low, high])
    for _ in range(BISECTIONS):
        middle = (within + beyond) / 2
        good = rows(np.exp(middle))[1]
        within, beyond = np.where(good, middle, within), np.where(good, beyond, middle)
    alpha = np.append(alpha[inside], np.exp(within))
    share = np.append(share[inside], rows(np.exp(within))[0])
    if floor:
        ends = [_edge(curve, alpha, share, way, limit) for way in (-1, 1)]
        shares = ends[0][:, None] + (ends[1] - ends[0])[:, None] * np.linspace(0, 1, PLACES)
    else:
        shares = share[:, None]
    made = curve.at(alpha, shares)
    good = made.squares <= np.maximum(limit, made.squares.min() * (1 + 1e-12))
    every = np.broadcast_to(alpha[:, None], shares.shape)
    slack = np.sqrt(np.maximum(limit - made.squares[good], 0) / len(curve.u))
    return _Allowed(every[good], shares[good], made.offset[good], slack)


def _edge(curve: _Curve, alpha, share, way: int, limit: float) -> np.ndarray:
    """r (a,) up to which, from the best, the sum of squares stays within the limit: by bisection."""
    inside = share
    outside = np.zeros(len(alpha)) if way < 0 else np.full(len(alpha), SHARES[1])
    reached = curve.at(alpha, outside[:, None]).squares[:, 0] <= limit
    for _ in range(50):
        middle = (inside + outside) / 2
        good = curve.at(alpha, middle[:, None]).squares[:, 0] <= limit
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return np.where(reached, 0.0 if way < 0 else SHARES[1], inside)
