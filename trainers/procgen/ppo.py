"""PPO's formulas (Schulman et al. 2017) as OpenAI's baselines compute them: advantages, losses, normalised rewards."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-8           # added to a deviation before something is divided by it (baselines' ppo2 and VecNormalize)
MOST_REWARD = 10.0    # a normalised reward is clipped at (VecNormalize's cliprew)
PRIOR_COUNT = 1e-4    # of the observations that the first variance, 1, stands for (baselines' RunningMeanStd)


def advantages(rewards: np.ndarray, values: np.ndarray, ended: np.ndarray, last: np.ndarray, *, gamma: float,
               lam: float) -> np.ndarray:
    """(steps, n): generalised advantage estimates (Schulman et al. 2016, eq. 16) of rewards and values (steps, n).

        A_t = d_t + gamma lam (1 - ended_t) A_t+1,    d_t = r_t + gamma (1 - ended_t) V_t+1 - V_t

    `ended` (steps, n): whether the step ended its episode. `last` (n,): value of what is seen behind the last step.
    """
    found, later, ahead = np.empty_like(values), np.zeros_like(last), last
    for step in reversed(range(len(rewards))):
        on = 1.0 - ended[step]
        later = rewards[step] + gamma * on * ahead - values[step] + gamma * lam * on * later
        found[step], ahead = later, values[step]
    return found


@dataclass(frozen=True)
class Seen:
    """What a minibatch learns from: what acting gave, and what came of it. (n,) each."""

    actions: Tensor      # int64
    log_chances: Tensor  # of these actions, when they were taken
    values: Tensor       # as estimated then
    advantages: Tensor   # normalised over the minibatch
    returns: Tensor      # advantages as they were, plus values: what a value should have been


@dataclass(frozen=True)
class Losses:
    """Sums over the frames, so that parts of a minibatch add up."""

    total: Tensor     # policy + value_coefficient value - entropy_coefficient entropy
    entropy: Tensor   # nats
    change: Tensor    # estimate of the divergence from the policy that acted, nats (J. Schulman's r - 1 - ln r)
    clipped: Tensor   # frames whose ratio of chances left the clip


def losses(scores: Tensor, values: Tensor, seen: Seen, *, clip: float, value_coefficient: float,
           entropy_coefficient: float) -> Losses:
    """Of scores (n, actions) and values (n,) as the network now has them (Schulman et al. 2017, eqs. 7 and 9).

    Policy: the larger of -A r and -A clip(r, 1 - clip, 1 + clip), r the ratio of chances. Value: half the larger of the
    squared errors of the value and of it clipped to within `clip` of the value when acting (baselines' ppo2).
    """
    log_chances = F.log_softmax(scores, dim=1)
    log_ratio = log_chances.gather(1, seen.actions[:, None])[:, 0] - seen.log_chances
    ratio = log_ratio.exp()
    policy = torch.maximum(-seen.advantages * ratio, -seen.advantages * ratio.clamp(1 - clip, 1 + clip)).sum()
    near = seen.values + (values - seen.values).clamp(-clip, clip)
    value = 0.5 * torch.maximum((values - seen.returns).square(), (near - seen.returns).square()).sum()
    entropy = -(log_chances.exp() * log_chances).sum()
    with torch.no_grad():
        change = (ratio - 1 - log_ratio).sum()
        clipped = ((ratio - 1).abs() > clip).sum()
    return Losses(policy + value_coefficient * value - entropy_coefficient * entropy, entropy.detach(), change, clipped)


def standardised(values: np.ndarray) -> np.ndarray:
    """Less their mean, by their deviation."""
    return (values - values.mean()) / (values.std() + TINY)


@dataclass
class RewardScale:
    """Divides rewards by the running deviation of discounted returns: baselines' VecNormalize, without its pictures' part.

    `returns` (n,): each environment's, discounted from behind, begun afresh at an episode's end.
    """

    returns: np.ndarray
    mean: float = 0.0
    variance: float = 1.0
    count: float = PRIOR_COUNT

    def scaled(self, rewards: np.ndarray, ended: np.ndarray, *, gamma: float) -> np.ndarray:
        """Of the next steps' rewards (steps, n); the scale moves on with each step."""
        made = np.empty_like(rewards)
        for step, reward in enumerate(rewards):
            self.returns = gamma * self.returns + reward
            self._learn(self.returns)
            made[step] = np.clip(reward / np.sqrt(self.variance + TINY), -MOST_REWARD, MOST_REWARD)
            self.returns = np.where(ended[step], 0.0, self.returns)
        return made

    def _learn(self, values: np.ndarray) -> None:
        """Mean and variance of all so far, joined with these values' (Chan et al. 1979)."""
        total, apart = self.count + len(values), values.mean() - self.mean
        self.variance = (self.variance * self.count + values.var() * len(values)
                         + apart**2 * self.count * len(values) / total) / total
        self.mean, self.count = self.mean + apart * len(values) / total, total
