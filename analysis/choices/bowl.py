"""The loss about its best settings, fitted to every run at once.

    log L_i = base_i + sum_h [kappa_h d_hi^2 + gamma_h d_hi^3] + sum_{h<l} rho_hl d_hi d_li + e_i,
    d_hi = log h_i - m_h,   m_h = mu_h + nu_h x_i + omega_h y_i,   kappa_h = exp(k_h + s_h x_i + t_h y_i),

x = log N and y = log D less their means, h the choices. The best setting is where all d are 0, whatever the cubic and mixed
terms, so that h* ~ N^nu D^omega. The base is a free level for each (N, D), where most runs share theirs with others, so that no
law of the loss is assumed; else a cubic in x and y. Both are linear, and are projected out of prediction and loss alike (Frisch
and Waugh 1933).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import least_squares

from analysis.estimates.refusal import NotIdentified, TooFewPoints

TUNING = 1.345        # Huber's delta in units of the scatter
SHARED = 0.5          # of the runs that share their (N, D) with another setting: else the base is smooth
DEGREE = 3            # of a smooth base
VARIES = 0.1          # of log N, or log D: less tells no exponent
TOGETHER = 0.98       # correlation of x and y beyond which only x is told
BENDS = 4             # values of a choice in half of the cells: enough to see that its bowl is skew
FEWEST_SLOPES = 8     # cells from which on the curvature may differ between them


@dataclass(frozen=True, eq=False)
class Trials:
    """Runs in which choices vary; arrays (n,)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray          # (n, H) logs of the choices
    log_L: np.ndarray
    cell: np.ndarray       # index of each run's (N, D), and whatever else sets runs apart

    def take(self, rows: np.ndarray) -> "Trials":
        return Trials(self.x[rows], self.y[rows], self.z[rows], self.log_L[rows], np.unique(self.cell[rows], return_inverse=True)[1])


@dataclass(frozen=True)
class Shape:
    """Which terms a fit has: names of its parameters' blocks, of one choice."""

    place: tuple[str, ...]     # of 1, x, y: the best setting's
    bend: tuple[str, ...]      # of 1, x, y: the curvature's
    skew: bool
    smooth: bool               # the base is a cubic, not a level a cell

    @property
    def each(self) -> int:
        """Parameters of a choice."""
        return len(self.place) + len(self.bend) + self.skew

    def parameters(self, choices: int) -> int:
        return self.each * choices + choices * (choices - 1) // 2


@dataclass(frozen=True, eq=False)
class Bowl:
    """Fitted: best settings in the centred logs."""

    shape: Shape
    place: np.ndarray      # (H, 3): mu, nu, omega; 0 where there is none
    curvature: np.ndarray  # (H,) kappa at x = y = 0
    theta: np.ndarray = field(repr=False)
    scatter: float         # robust standard deviation of the residuals
    used: np.ndarray = field(repr=False)   # (n,) bool: runs near enough to the best settings

    def best(self, x, y) -> np.ndarray:
        """log h* (..., H) at x, y."""
        one = np.ones_like(np.asarray(x, float))
        return np.stack([one, x * one, y * one], -1) @ self.place.T


def shape_of(trials: Trials) -> Shape:
    """Raises TooFewPoints, NotIdentified where no exponent can be told."""
    cells, first, count = np.unique(trials.cell, return_index=True, return_counts=True)
    smooth = count[count > 1].sum() < SHARED * len(trials.cell)
    x, y = (trials.x, trials.y) if smooth else (trials.x[first], trials.y[first])
    if len(x) < 3:
        raise TooFewPoints(f"a law of the best settings needs them at 3 (N, D) or more, got {len(x)}")
    place = ["1", *(name for name, v in (("x", x), ("y", y)) if np.ptp(v) > VARIES)]
    if "x" in place and "y" in place and abs(np.corrcoef(x, y)[0, 1]) > TOGETHER:
        place.remove("y")
    if len(place) == 1:
        raise NotIdentified("neither N nor D varies where settings were tried")
    bend = place if len(x) >= FEWEST_SLOPES else ["1"]
    values = [np.median([len(np.unique(trials.z[trials.cell == c, h])) for c in cells]) if not smooth else np.inf
              for h in range(trials.z.shape[1])]
    return Shape(tuple(place), tuple(bend), bool(min(values) >= BENDS), bool(smooth))


def fit_bowl(trials: Trials, shape: Shape, reach: np.ndarray, *, start: Bowl | None = None) -> Bowl:
    """Huber's loss of log L. reach (H,): runs farther than this from the best setting, in logs, are left out, again and again.

    Raises NotIdentified where a choice has no best value, TooFewPoints where too few runs lie near.
    """
    bowl, used = start, np.ones(len(trials.log_L), bool)
    for _ in range(6):
        near = used if bowl is None else _near(trials, bowl, reach)
        if bowl is not None and (near == used).all() and bowl is not start:
            break
        used = near
        part = _useful(trials, used, shape)
        if not part.any():
            raise NotIdentified("the best settings of the laws fitted lie outside all that was tried")
        bowl = _fitted(trials.take(part), shape, start=bowl, used=used)
    return bowl


def _near(trials: Trials, bowl: Bowl, reach: np.ndarray) -> np.ndarray:
    return (np.abs(trials.z - bowl.best(trials.x, trials.y)) <= reach).all(1)


def _useful(trials: Trials, used: np.ndarray, shape: Shape) -> np.ndarray:
    """Of a level a cell, a run alone says nothing."""
    if shape.smooth:
        return used
    count = np.bincount(trials.cell[used], minlength=trials.cell.max() + 1)
    return used & (count[trials.cell] > 1)


def _fitted(trials: Trials, shape: Shape, *, start: Bowl | None, used: np.ndarray) -> Bowl:
    H = trials.z.shape[1]
    project = _projection(trials, shape)
    free = len(trials.log_L) - project.rank - shape.parameters(H)
    if free < 2:
        raise TooFewPoints(f"{len(trials.log_L)} runs near the best settings of {trials.cell.max() + 1} (N, D) are too few for "
                           f"{shape.parameters(H)} parameters")
    target = project(trials.log_L)
    theta = _start(trials, shape, project, target) if start is None else start.theta
    scale = max(1.4826 * np.median(np.abs(_residual(theta, trials, shape, project, target))), 1e-9)
    for _ in range(3):
        found = least_squares(_residual, theta, _slopes, loss="huber", f_scale=TUNING * scale, x_scale="jac", max_nfev=100,
                              args=(trials, shape, project, target))
        theta = found.x
        left = _residual(theta, trials, shape, project, target)
        before, scale = scale, max(1.4826 * np.median(np.abs(left)) * np.sqrt(len(left) / free), 1e-9)
        if abs(np.log(scale / before)) < 0.05:
            break
    place, k = _parts(theta, shape, H)
    return Bowl(shape, place, np.exp(k[:, 0]), theta, float(scale), used)


@dataclass(frozen=True, eq=False)
class _Projection:
    """Takes the base out of a column (n,) or columns (n, k)."""

    basis: np.ndarray | sparse.csr_array   # (n, r) orthonormal
    rank: int

    def __call__(self, v: np.ndarray) -> np.ndarray:
        return v - self.basis @ (self.basis.T @ v)


def _projection(trials: Trials, shape: Shape) -> _Projection:
    if not shape.smooth:
        cell, count = trials.cell, np.bincount(trials.cell)   # means of cells
        level = sparse.csr_array((1 / np.sqrt(count[cell]), (np.arange(len(cell)), cell)), shape=(len(cell), len(count)))
        return _Projection(level, len(count))
    powers = [trials.x**i * trials.y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    u, s, _ = np.linalg.svd(np.stack(powers, 1), full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]
    return _Projection(basis, basis.shape[1])


def _columns(trials: Trials, names: tuple[str, ...]) -> np.ndarray:
    """(n, len(names)) of 1, x, y."""
    return np.stack([{"1": np.ones_like(trials.x), "x": trials.x, "y": trials.y}[name] for name in names], 1)


def _parts(theta: np.ndarray, shape: Shape, H: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (H, 3) in 1, x, y, and curvatures' logs (H, len(bend))."""
    each = theta[:shape.each * H].reshape(H, shape.each)
    place = np.zeros((H, 3))
    place[:, ["1xy".index(name) for name in shape.place]] = each[:, :len(shape.place)]
    return place, each[:, len(shape.place):len(shape.place) + len(shape.bend)]


def _off(theta, trials: Trials, shape: Shape):
    """d (n, H), kappa (n, H), gamma (H,), rho (pairs,)."""
    H = trials.z.shape[1]
    each = theta[:shape.each * H].reshape(H, shape.each)
    P, B = _columns(trials, shape.place), _columns(trials, shape.bend)
    d = trials.z - P @ each[:, :len(shape.place)].T
    kappa = np.exp(np.clip(B @ each[:, len(shape.place):len(shape.place) + len(shape.bend)].T, -50, 50))
    return d, kappa, each[:, -1] if shape.skew else np.zeros(H), theta[shape.each * H:]


def _residual(theta, trials: Trials, shape: Shape, project, target) -> np.ndarray:
    d, kappa, gamma, rho = _off(theta, trials, shape)
    made = (kappa * d**2 + gamma * d**3).sum(1)
    for value, (h, other) in zip(rho, _pairs(d.shape[1]), strict=True):
        made = made + value * d[:, h] * d[:, other]
    return project(made) - target


def _slopes(theta, trials: Trials, shape: Shape, project, target) -> np.ndarray:
    """Derivatives of the residual (n, parameters)."""
    d, kappa, gamma, rho = _off(theta, trials, shape)
    P, B, H = _columns(trials, shape.place), _columns(trials, shape.bend), d.shape[1]
    of_d = 2 * kappa * d + 3 * gamma * d**2
    for value, (h, other) in zip(rho, _pairs(H), strict=True):
        of_d[:, h] += value * d[:, other]
        of_d[:, other] += value * d[:, h]
    blocks = []
    for h in range(H):
        blocks += [-of_d[:, h, None] * P, (kappa[:, h] * d[:, h] ** 2)[:, None] * B]
        blocks += [d[:, h, None] ** 3] if shape.skew else []
    blocks += [(d[:, h] * d[:, other])[:, None] for h, other in _pairs(H)]
    return project(np.concatenate(blocks, 1))


def _pairs(H: int) -> list[tuple[int, int]]:
    return [(h, other) for h in range(H) for other in range(h + 1, H)]


def _start(trials: Trials, shape: Shape, project, target) -> np.ndarray:
    """Least squares of the quadratic alone, which is linear: log L = base + sum_h kappa_h z_h^2 + z_h (1, x, y) beta_h + mixed terms."""
    H, P = trials.z.shape[1], _columns(trials, shape.place)
    centre = np.median(trials.z, axis=0)
    z = trials.z - centre
    columns = [part for h in range(H) for part in (z[:, h, None] ** 2, z[:, h, None] * P)]
    columns += [(z[:, h] * z[:, other])[:, None] for h, other in _pairs(H)]
    beta = np.linalg.lstsq(project(np.concatenate(columns, 1)), target, rcond=None)[0]
    width, theta = 1 + len(shape.place), []
    quadratic, linear = np.zeros((H, H)), np.zeros((H, len(shape.place)))
    for h in range(H):
        quadratic[h, h], linear[h] = 2 * beta[h * width], beta[h * width + 1:(h + 1) * width]
    for value, (h, other) in zip(beta[H * width:], _pairs(H), strict=True):
        quadratic[h, other] = quadratic[other, h] = value
    if np.linalg.eigvalsh(quadratic)[0] <= 0:
        raise NotIdentified("the loss has no lowest point in the settings tried: it falls towards an end of them")
    best = -np.linalg.solve(quadratic, linear)
    for h in range(H):
        place = best[h].copy()
        place[0] += centre[h]
        theta += [*place, np.log(quadratic[h, h] / 2), *np.zeros(len(shape.bend) - 1), *([0.0] if shape.skew else [])]
    return np.array([*theta, *beta[H * width:]])
