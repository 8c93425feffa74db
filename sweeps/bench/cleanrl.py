"""The usual script on Procgen, to compare with: CleanRL's ppo_procgen.py, its network, storage and loop, written out.

After S. Huang et al., CleanRL (cleanrl/ppo_procgen.py, MIT): pictures kept as floats, minibatches of 2,048 through torch.nn
at once, torch.distributions for the policy, wrappers that normalise and clip rewards; acting, stepping and learning one
after the other. Written anew; logging is left out, and the environments are whoever's it is given.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions.categorical import Categorical

from trainers.procgen.games import Environments
from trainers.procgen.ppo import RewardScale

LEARNING_RATE, EPSILON = 5e-4, 1e-5
GAMMA, LAMBDA, CLIP = 0.999, 0.95, 0.2
ENTROPY, VALUE, MOST_GRADIENT = 0.01, 0.5, 0.5


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(nn.functional.relu(self.first(nn.functional.relu(x))))


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.one, self.two = Residual(outputs), Residual(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(nn.functional.max_pool2d(self.conv(x), kernel_size=3, stride=2, padding=1)))


class Agent(nn.Module):
    def __init__(self, channels: tuple[int, ...], units: int, features: int, actions: int):
        super().__init__()
        stages = [Stage(inputs, outputs) for inputs, outputs in zip((3, *channels), channels)]
        self.network = nn.Sequential(*stages, nn.Flatten(), nn.ReLU(), nn.Linear(features, units), nn.ReLU())
        self.actor, self.critic = _head(units, actions, 0.01), _head(units, 1, 1.0)

    def value(self, x: Tensor) -> Tensor:
        return self.critic(self.network(x.permute((0, 3, 1, 2)) / 255.0))

    def action_and_value(self, x: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden = self.network(x.permute((0, 3, 1, 2)) / 255.0)
        chances = Categorical(logits=self.actor(hidden))
        action = chances.sample() if action is None else action
        return action, chances.log_prob(action), chances.entropy(), self.critic(hidden)


class UsualProcgenScript:
    """One in progress."""

    def __init__(self, agent: Agent, environments: Environments, *, steps: int, minibatches: int, epochs: int):
        self.agent, self.environments, self.steps, self.minibatches, self.epochs = agent, environments, steps, minibatches, epochs
        self.optimiser = torch.optim.Adam(agent.parameters(), lr=LEARNING_RATE, eps=EPSILON)
        self.seen, self.ended = torch.Tensor(environments.pictures), torch.zeros(len(environments.pictures))
        count = len(self.seen)
        self.pictures = torch.zeros((steps, *self.seen.shape))
        self.actions, self.log_chances, self.rewards, self.ends, self.values = (torch.zeros((steps, count)) for _ in range(5))
        self.scale = RewardScale(np.zeros(count))

    def advance(self, updates: int) -> float:
        """So many updates; the last loss."""
        for _ in range(updates):
            self._play()
            advantages = self._advantages()
            loss = self._learn(advantages, advantages + self.values)
        return loss

    def _play(self) -> None:
        for step in range(self.steps):
            self.pictures[step], self.ends[step] = self.seen, self.ended
            with torch.no_grad():
                action, log_chance, _, value = self.agent.action_and_value(self.seen)
                self.values[step] = value.flatten()
            self.actions[step], self.log_chances[step] = action, log_chance
            self.environments.send(action.cpu().numpy())
            outcome = self.environments.receive()
            scaled, = self.scale.scaled(outcome.rewards[None].astype(np.float64), outcome.ended[None], gamma=GAMMA)
            self.rewards[step] = torch.tensor(scaled).view(-1)
            self.seen, self.ended = torch.Tensor(outcome.pictures), torch.Tensor(outcome.ended)

    @torch.no_grad()
    def _advantages(self) -> Tensor:
        found, later = torch.zeros_like(self.rewards), 0.0
        on, ahead = 1.0 - self.ended, self.agent.value(self.seen).reshape(1, -1)
        for step in reversed(range(self.steps)):
            error = self.rewards[step] + GAMMA * ahead * on - self.values[step]
            found[step] = later = error + GAMMA * LAMBDA * on * later
            on, ahead = 1.0 - self.ends[step], self.values[step]
        return found

    def _learn(self, advantages: Tensor, returns: Tensor) -> float:
        pictures = self.pictures.reshape((-1, *self.pictures.shape[2:]))
        actions, log_chances, values, advantages, returns = (
            part.reshape(-1) for part in (self.actions, self.log_chances, self.values, advantages, returns))
        order = np.arange(len(pictures))
        for _ in range(self.epochs):
            np.random.shuffle(order)
            for some in np.split(order, self.minibatches):
                _, now, entropy, value = self.agent.action_and_value(pictures[some], actions.long()[some])
                log_ratio = now - log_chances[some]
                ratio = log_ratio.exp()
                good = (advantages[some] - advantages[some].mean()) / (advantages[some].std() + 1e-8)
                policy = torch.max(-good * ratio, -good * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)).mean()
                value = value.view(-1)
                near = values[some] + torch.clamp(value - values[some], -CLIP, CLIP)
                error = 0.5 * torch.max((value - returns[some]) ** 2, (near - returns[some]) ** 2).mean()
                loss = policy - ENTROPY * entropy.mean() + VALUE * error
                self.optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), MOST_GRADIENT)
                self.optimiser.step()
        return loss.item()


def _head(inputs: int, outputs: int, scale: float) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, scale)
    nn.init.zeros_(made.bias)
    return made
