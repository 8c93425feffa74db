"""The learning rate that tuning found at each width, or another choice at each size, and the power law it follows."""

from dataclasses import dataclass

import numpy as np

from analysis.estimates.estimate import Estimate
from analysis.estimates.power_law import fit_power_law
from analysis.estimates.refusal import Doubt, NotIdentified, TooFewPoints

NEAR = np.log(4.0)   # trials within a factor of 4 of the best see a parabola; farther out it is a cliff
RULE = 0.01          # no tuner comes so near to a power of the width at every size: such rates were set by a rule, and rounded


@dataclass(frozen=True)
class TunedRates:
    """The best learning rate of each width (or of each value of another axis, or each N)."""

    width: np.ndarray      # (widths,)
    lr: np.ndarray         # (widths,), geometric mean over data budgets
    bracketed: np.ndarray  # (widths,) bool: a higher and a lower rate were tried and lost
    trials: int            # behind them; 0 where the table has one rate a width and no trials


@dataclass(frozen=True)
class LearningRateFit:
    """lr*(width) = coefficient width^exponent, beside the rule's exponent."""

    rates: TunedRates
    coefficient: float
    exponent: Estimate
    rule: float | None     # exponent that 1 / sqrt(fan_in) would show in this column; None where it says nothing of it
    warnings: tuple[Doubt, ...] = ()
    choice: str = "lr"     # the column that was tuned
    against: str = "width" # the column that its law is in

    def __call__(self, width):
        return self.coefficient * np.asarray(width, float) ** self.exponent.value

    def summary(self) -> str:
        rule = "" if self.rule is None else f"the rule 1/sqrt(fan_in) says {self.rule:g}; "
        return (f"{self.choice}* ~ {self.against}^{self.exponent}; {rule}"
                f"{self.rates.bracketed.sum()} of {len(self.rates.width)} values of {self.against} bracketed")


def best_rates(width, fraction, lr, loss) -> TunedRates:
    """The vertex of a parabola through the best trials of each (width, fraction), else the best trial.

    All arguments (n,). Raises TooFewPoints where there is no trial.
    """
    width, fraction, lr, loss = (np.asarray(v, float) for v in (width, fraction, lr, loss))
    if not len(width):
        raise TooFewPoints("no tuning trial")
    found: dict[float, list[tuple[float, bool]]] = {}
    for w, f in np.unique(np.stack([width, fraction], axis=1), axis=0):
        mine = (width == w) & (fraction == f)
        found.setdefault(w, []).append(_best(np.log(lr[mine]), np.log(loss[mine])))
    widths = np.array(sorted(found))
    return TunedRates(widths, np.exp([np.mean([u for u, _ in found[w]]) for w in widths]),
                      np.array([all(inside for _, inside in found[w]) for w in widths]), len(width))


def _best(log_lr: np.ndarray, log_loss: np.ndarray) -> tuple[float, bool]:
    """Log of the best rate, and whether rates on both sides of it lost."""
    best = log_lr[log_loss.argmin()]
    inside = bool(log_lr.min() < best < log_lr.max())
    near = np.abs(log_lr - best) <= NEAR
    if inside and len(np.unique(log_lr[near])) >= 5:
        bend, slope, _ = np.polyfit(log_lr[near] - best, log_loss[near], 2)
        if bend > 0 and abs(slope) / (2 * bend) <= NEAR / 2:
            best = best - slope / (2 * bend)
    return float(best), inside


def rates_of_study(width, lr) -> TunedRates:
    """The rate that each width ran at: what a tuner chose, without its trials.

    Raises NotIdentified where every run has one rate, or an exact power of the width: then nothing was tuned.
    """
    width, lr = np.asarray(width, float), np.asarray(lr, float)
    widths = np.unique(width)
    rates = np.exp([np.log(lr[width == w]).mean() for w in widths])
    if np.ptp(np.log(rates)) < 1e-9:
        raise NotIdentified(f"every size ran at lr {rates[0]:.3g}: nothing was tuned")
    if len(widths) > 3:
        slope, height = np.polyfit(np.log(widths), np.log(rates), 1)
        if np.abs(np.log(rates) - height - slope * np.log(widths)).max() < RULE:
            raise NotIdentified(f"lr follows width^{slope:.3g} exactly: a rule set it, nothing was tuned")
    return TunedRates(widths, rates, np.zeros(len(widths), bool), 0)


def fit_learning_rate(rates: TunedRates, *, lr_rule: str | None = "uniform", choice: str = "lr", against: str = "width",
                      level: float = 0.95) -> LearningRateFit:
    """Regression of log lr* on log width, or of another choice on another axis.

    lr_rule: of the trials, None where they have none. Under fan_in the column holds the rate before its division by
    sqrt(fan_in), so the rule predicts a constant. Raises TooFewPoints below 3 widths.
    """
    law = fit_power_law(rates.width, rates.lr, level=level)
    doubts = ()
    outside = int((~rates.bracketed).sum())
    if rates.trials and outside:
        tuned = "learning rate" if choice == "lr" else choice
        where = "widths" if against == "width" else f"values of {against}"
        doubts = (Doubt(f"{choice}_not_bracketed", f"the best {tuned} of {outside} of {len(rates.width)} {where} "
                        "lies at the end of the values tried"),)
    rule = None if lr_rule is None else 0.0 if lr_rule == "fan_in" else -0.5
    return LearningRateFit(rates, law.coefficient, law.exponent, rule, doubts, choice, against)
