"""The cells to train: greedily by what each tells for its FLOPs, then by exchange.

The criterion is the mean, over surfaces that the runs so far allow and over the laws that speak, of the logarithm of the wanted quantity's
variance: a plan that is good under one surface alone is no plan (Chaloner and Verdinelli 1995, section 2.3: Bayesian c-optimality).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.design.information import Belief, Noise

THRIFT = (0.0, 0.25, 0.5, 0.75, 1.0)   # powers of a cell's FLOPs that its gain is divided by, each tried
PASSES = 4                             # of exchanges


@dataclass(frozen=True, eq=False)
class Choice:
    """How often each candidate is run, and what that is expected to leave."""

    runs: np.ndarray       # (K,) of each candidate, planned
    log_ratio: float       # mean of log variance after, less before
    spent: float           # FLOPs


@dataclass(frozen=True, eq=False)
class Setting:
    """What is chosen from, and within what."""

    flops: np.ndarray      # (K,) of one run
    there: np.ndarray      # (K,) runs that the table has in the candidate's cell
    outside: np.ndarray    # (K,) steps outside the table
    noise: Noise
    budget: float          # FLOPs of all
    most_runs: int         # of all
    most_repeats: int      # of one candidate, planned


def choose(beliefs: Sequence[Belief], setting: Setting) -> Choice:
    """The best of several greedy plans, improved by exchange. Raises ValueError where the budget pays for no candidate."""
    if not (setting.flops <= setting.budget).any():
        raise ValueError(f"{setting.budget:.3g} FLOPs pay for none of the candidate cells: the cheapest takes {setting.flops.min():.3g}")
    plans = [_State.empty(beliefs, setting).filled(thrift) for thrift in THRIFT]
    best = min((_exchanged(plan) for plan in plans), key=lambda plan: plan.criterion)
    return Choice(best.runs, best.criterion, float(best.runs @ setting.flops))


def expected(beliefs: Sequence[Belief], setting: Setting, runs: np.ndarray) -> float:
    """Mean log ratio of the variance after a given plan (K,) to that before."""
    state = _State.empty(beliefs, setting)
    for i in np.flatnonzero(runs):
        for _ in range(int(runs[i])):
            state = state.with_run(int(i))
    return state.criterion


@dataclass(frozen=True, eq=False)
class _State:
    beliefs: tuple[Belief, ...]   # with what is planned
    start: float                  # mean log variance before
    runs: np.ndarray
    setting: Setting

    @classmethod
    def empty(cls, beliefs: Sequence[Belief], setting: Setting) -> "_State":
        return cls(tuple(beliefs), _level(beliefs), np.zeros(len(setting.flops), int), setting)

    @property
    def criterion(self) -> float:
        return _level(self.beliefs) - self.start

    @property
    def left(self) -> float:
        return self.setting.budget - float(self.runs @ self.setting.flops)

    def filled(self, thrift: float) -> "_State":
        """Runs added, each the one that tells most by its FLOPs to the power, until none is paid for or tells anything."""
        state = self
        while state.runs.sum() < self.setting.most_runs:
            gain = state._gains()
            if not (gain < 0).any():
                return state
            state = state.with_run(int((gain / self.setting.flops**thrift).argmin()))
        return state

    def _gains(self) -> np.ndarray:
        """Change of the criterion (K,) by one run more at each candidate; 0 where there may be none."""
        s = self.setting
        now = s.there + self.runs
        extra = s.noise.weight(now + 1, s.outside) - s.noise.weight(now, s.outside)
        gain = np.mean([belief.gains(extra).mean(0) for belief in self.beliefs], axis=0)
        # rounding: a budget that is spent to the last FLOP
        return np.where((s.flops <= self.left * (1 + 1e-12)) & (self.runs < s.most_repeats), gain, 0.0)

    def with_run(self, i: int) -> "_State":
        return self._changed(i, 1)

    def without_run(self, i: int) -> "_State":
        return self._changed(i, -1)

    def _changed(self, i: int, by: int) -> "_State":
        s, now = self.setting, self.setting.there[i] + self.runs[i]
        extra = float(s.noise.weight(now + by, s.outside[i]) - s.noise.weight(now, s.outside[i]))
        runs = self.runs.copy()
        runs[i] += by
        return _State(tuple(b.after(i, extra) for b in self.beliefs), self.start, runs, s)


def _level(beliefs: Sequence[Belief]) -> float:
    return float(np.mean([np.log(b.variance).mean() for b in beliefs]))


def _exchanged(state: _State) -> _State:
    """Each planned run taken back and its FLOPs spent anew, as long as that lowers the criterion."""
    for _ in range(PASSES):
        before = state.criterion
        for i in np.flatnonzero(state.runs):
            if not state.runs[i]:
                continue
            other = min((state.without_run(int(i)).filled(thrift) for thrift in (0.0, 0.5)), key=lambda plan: plan.criterion)
            if other.criterion < state.criterion - 1e-9:
                state = other
        if state.criterion > before - 1e-4:
            break
    return state
