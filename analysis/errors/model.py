"""Errors that go together: their covariance, tables drawn from it, the freedom of an estimate's standard error, and words."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analysis.errors.components import Components
from analysis.errors.innovation import ORDER
from analysis.errors.precision import Precision
from analysis.estimates.words import p_text

LEAST_FREEDOM = 2.0
CLEAR = 0.01   # p-value above which errors only seem to go together
STEP = 1e-3   # of the base's value, for its derivative


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """V = sigma^2 B + sum sigma_l^2 Z_l Z_l', as it was found about a law of slopes J (n, k)."""

    found: Components
    slopes: np.ndarray = field(repr=False)

    @cached_property
    def precision(self) -> Precision:
        """sigma^2 V^-1."""
        scaled = [np.sqrt(c.variance / self.found.variance) * (self.found.base.filter @ c.shared.indicator) for c in self.found.found]
        n = len(self.found.weight)
        return Precision.of(self.found.base.filter, np.concatenate(scaled, 1) if scaled else np.zeros((n, 0)))

    def kept(self, rows) -> "ErrorModel":
        """Of some of the runs (mask or indices)."""
        return ErrorModel(self.found.kept(rows), self.slopes[rows])

    def draws(self, count: int, rng) -> np.ndarray:
        """Errors (count, n) of log L, normal."""
        rng = np.random.default_rng(rng)
        n = len(self.found.weight)
        noise = np.sqrt(self.found.variance) * self.found.base.coloured(rng.standard_normal((n, count))).T
        for c in self.found.found:
            noise = noise + np.sqrt(c.variance) * rng.standard_normal((count, c.shared.levels))[:, c.shared.member]
        return noise

    @cached_property
    def _parts(self) -> list[np.ndarray]:
        """Derivatives (n, n) of V in sigma^2, in the base's value where it has one, and in every sigma_l^2."""
        base = self.found.base
        parts = [base.covariance()]
        if base.value > 0:
            step = STEP * min(base.value, 1 - base.value) if base.kind == ORDER else STEP * base.value
            ends = [self.found.rebuilt(base.value + s).covariance() for s in (-step, step)]
            parts.append(self.found.variance * (ends[1] - ends[0]) / (2 * step))
        return parts + [(c.shared.member[:, None] == c.shared.member).astype(float) for c in self.found.found]

    @cached_property
    def covariance(self) -> np.ndarray:
        """V (n, n)."""
        shared = self._parts[len(self._parts) - len(self.found.found):]
        return self.found.variance * self._parts[0] + sum((c.variance * part for c, part in zip(self.found.found, shared)),
                                                          np.zeros_like(self._parts[0]))

    @cached_property
    def _weighted(self) -> np.ndarray:
        """V^-1 J (n, k)."""
        return np.linalg.solve(self.covariance, self.slopes)

    @cached_property
    def _uncertainty(self) -> np.ndarray:
        """Covariance of the components: the inverse of REML's expected information, 1/2 tr(P V_i P V_j)."""
        P = np.linalg.inv(self.covariance) - self._weighted @ np.linalg.pinv(self.slopes.T @ self._weighted) @ self._weighted.T
        products = [P @ part for part in self._parts]
        return np.linalg.pinv(np.array([[0.5 * float(np.sum(one * other.T)) for other in products] for one in products]))

    def efficient(self, direction: np.ndarray) -> np.ndarray:
        """(n,) the weights on log L of the generalised least-squares estimate of direction . theta."""
        return self._weighted @ np.linalg.pinv(self.slopes.T @ self._weighted) @ direction

    def plain(self, direction: np.ndarray) -> np.ndarray:
        """(n,) the same of ordinary least squares."""
        return np.linalg.pinv(self.slopes).T @ direction

    def freedom(self, weights: np.ndarray) -> float:
        """Satterthwaite's (1946) degrees of freedom of the variance of an estimate with these weights (n,) on log L."""
        variance = float(weights @ self.covariance @ weights)
        slope = np.array([weights @ part @ weights for part in self._parts])
        return float(max(2 * variance**2 / max(float(slope @ self._uncertainty @ slope), 1e-300), LEAST_FREEDOM))

    @property
    def shares(self) -> dict[str, float]:
        """Of the variance of one run's error, by what it comes from."""
        own = self.found.variance * float(np.median(np.diag(self._parts[0])))
        whole = own + sum(c.variance for c in self.found.found)
        return {c.shared.name: c.variance / whole for c in self.found.found}


def sentence(found: Components) -> str:
    """What the tests say, for a reader."""
    structure = found.structure
    rows = (f"The rows are checkpoints of {int(structure.sequence.max()) + 1} runs ({structure.checkpoints}). " if structure.checkpoints
            else "")
    return rows + _said(found)


def _said(found: Components) -> str:
    if not found.tests:
        return "The table's layout allows no test of whether errors go together: runs count as independent"
    if not found.correlated:
        least = min(found.tests, key=lambda t: t.p_value)
        return (f"No correlation of errors was found between runs {_listed([t.words for t in found.tests])} (the smallest p-value of "
                f"{len(found.tests)} is {least.p_value:.2g}, {least.words}): cells count as independent")
    model = ErrorModel(found, np.zeros((len(found.weight), 1)))
    said = [f"runs {c.shared.words} share {share:.0%} of the variance ({p_text(c.p_value)})"
            for c, share in zip(found.found, model.shares.values(), strict=True)]
    if found.base.kind == ORDER:
        of_run = " of a run's checkpoints" if found.structure.checkpoints else ", by D, of one size and seed"
        said.append(f"neighbours{of_run} correlate by {found.base.value:.2g} ({p_text(found.order_p)})")
    weak = min([found.order_p, *(c.p_value for c in found.found)], key=lambda p: np.inf if np.isnan(p) else p) > CLEAR
    return (f"Errors {'seem to ' if weak else ''}go together: {_listed(said)}; the law is fitted, and its intervals are, with that "
            "covariance")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
