"""PPO's parts against plain formulas written out anew."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainers.procgen.network import Network, torchs_layers
from trainers.procgen.ppo import MOST_REWARD, PRIOR_COUNT, RewardScale, Seen, advantages, losses, standardised
from trainers.procgen.shape import Shape


def test_advantages_are_the_discounted_sums_of_the_errors_to_the_end_of_each_episode():
    """Catches an estimate that looks past an episode's end, or is off by a step."""
    draw = np.random.default_rng(0)
    steps, n, gamma, lam = 12, 5, 0.9, 0.7
    rewards, values, last = draw.normal(size=(steps, n)), draw.normal(size=(steps, n)), draw.normal(size=n)
    ended = draw.random((steps, n)) < 0.25
    made = advantages(rewards, values, ended, last, gamma=gamma, lam=lam)
    for env in range(n):
        ahead = [*values[:, env], last[env]]
        for t in range(steps):
            total = 0.0
            for k in range(t, steps):
                error = rewards[k, env] + (0 if ended[k, env] else gamma * ahead[k + 1]) - values[k, env]
                total += (gamma * lam) ** (k - t) * error
                if ended[k, env]:
                    break
            assert made[t, env] == pytest.approx(total, abs=1e-12)


def test_with_lambda_1_an_advantage_is_the_return_less_the_value():
    rewards, values = np.array([[1.0], [2.0], [4.0]]), np.array([[0.5], [0.25], [0.125]])
    made = advantages(rewards, values, np.array([[False], [False], [True]]), np.array([100.0]), gamma=0.5, lam=1.0)
    assert_allclose(made[:, 0], [1 + 1 + 1 - 0.5, 2 + 2 - 0.25, 4 - 0.125])


def one_loss(score, value, action, log_chance, old, advantage, ret, *, clip, vf, ent):
    """Of one frame, in plain Python."""
    top = max(score)
    log_all = [s - top - math.log(sum(math.exp(x - top) for x in score)) for s in score]
    ratio = math.exp(log_all[action] - log_chance)
    policy = -min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)
    near = old + min(max(value - old, -clip), clip)
    value_loss = 0.5 * max((value - ret) ** 2, (near - ret) ** 2)
    entropy = -sum(math.exp(x) * x for x in log_all)
    return policy + vf * value_loss - ent * entropy, entropy, ratio - 1 - math.log(ratio), abs(ratio - 1) > clip


def test_losses_are_the_papers_frame_by_frame():
    """Frames on both sides of every clip."""
    draw = np.random.default_rng(1)
    n, actions, settings = 64, 5, {"clip": 0.2, "vf": 0.3, "ent": 0.07}
    scores, values, old, adv, ret = (draw.normal(size=(n, actions)), *draw.normal(size=(4, n)))
    taken, log_chances = draw.integers(actions, size=n), np.log(draw.uniform(0.1, 0.5, n))
    told = [one_loss(*frame, **settings) for frame in zip(scores, values, taken, log_chances, old, adv, ret)]
    seen = Seen(torch.tensor(taken), *(torch.tensor(part) for part in (log_chances, old, adv, ret)))
    made = losses(torch.tensor(scores), torch.tensor(values), seen, clip=0.2, value_coefficient=0.3, entropy_coefficient=0.07)
    sums = [part.item() for part in (made.total, made.entropy, made.change, made.clipped)]
    assert_allclose(sums, np.sum(told, axis=0), rtol=1e-12)
    assert 0 < made.clipped < n


def test_beyond_the_clip_nothing_pulls_further():
    """A ratio already too large with a good advantage has no gradient; one too small has."""
    for score, advantage, pulls in ((3.0, 1.0, False), (-3.0, 1.0, True), (3.0, -1.0, True), (-3.0, -1.0, False)):
        scores = torch.tensor([[score, 0.0]], requires_grad=True)
        zero = torch.zeros(1)
        seen = Seen(torch.tensor([0]), torch.tensor([0.5]).log(), zero, torch.tensor([advantage]), zero)
        losses(scores, zero, seen, clip=0.2, value_coefficient=0.5, entropy_coefficient=0.0).total.backward()
        assert (scores.grad.abs().max() > 0) == pulls


def test_rewards_are_divided_by_the_deviation_of_all_discounted_returns_so_far():
    """One array of every return ever seen, and numpy's own variance, in place of the running one."""
    draw = np.random.default_rng(2)
    steps, n, gamma = 50, 4, 0.9
    rewards, ended = draw.exponential(size=(steps, n)), draw.random((steps, n)) < 0.1
    scale = RewardScale(np.zeros(n))
    made = np.concatenate([scale.scaled(rewards[part], ended[part], gamma=gamma) for part in (slice(0, 20), slice(20, None))])
    returns, all_returns = np.zeros(n), []
    for t in range(steps):
        returns = gamma * returns + rewards[t]
        all_returns += returns.tolist()
        if t > 2:   # by then the prior's 1e-4 observations no longer matter
            assert_allclose(made[t], np.clip(rewards[t] / np.std(all_returns), -MOST_REWARD, MOST_REWARD), rtol=1e-4)
        returns[ended[t]] = 0.0
    assert scale.count == pytest.approx(steps * n + PRIOR_COUNT)


def test_a_sudden_reward_is_clipped():
    scale = RewardScale(np.zeros(2))
    scale.scaled(np.full((100, 2), 0.01), np.zeros((100, 2), bool), gamma=0.0)
    assert (scale.scaled(np.array([[1e6, -1e6]]), np.zeros((1, 2), bool), gamma=0.0) <= MOST_REWARD).all()


def test_standardised_has_mean_0_and_deviation_1_and_survives_equal_values():
    made = standardised(np.random.default_rng(3).normal(5, 3, 100))
    assert_allclose([made.mean(), made.std()], [0, 1], atol=1e-7)
    assert np.array_equal(standardised(np.full(3, 0.5)), np.zeros(3))


class Plain(torch.nn.Module):
    """The IMPALA CNN as one would write it down, channels first."""

    def __init__(self, shape: Shape):
        super().__init__()
        a, b, c = shape.channels
        sizes = [size for stage in ((3, a), (a, b), (b, c)) for size in (stage, *[(stage[1],) * 2] * 4)]
        self.convs = torch.nn.ModuleList([torch.nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in sizes])
        self.dense, self.policy = torch.nn.Linear(shape.features, shape.units), torch.nn.Linear(shape.units, shape.actions)
        self.value = torch.nn.Linear(shape.units, 1)

    def forward(self, pictures):
        x = pictures.float().permute(0, 3, 1, 2).contiguous() / 255
        for stage in range(3):
            first, *inner = self.convs[5 * stage:5 * stage + 5]
            x = F.max_pool2d(first(x), kernel_size=3, stride=2, padding=1)
            for one, two in (inner[:2], inner[2:]):
                x = x + two(F.relu(one(F.relu(x))))
        h = F.relu(self.dense(F.relu(x).flatten(1)))
        return self.policy(h), self.value(h)[:, 0]


@pytest.mark.parametrize("width, side", [(0.25, 32), (0.5, 8), (0.125, 9)])
def test_the_network_is_the_plain_one_and_its_sizes_are_counted(width, side):
    """N, values and gradients; FLOPs of acting and of learning as torch counts them, exactly."""
    shape = Shape(width, 15, side)
    network, plain = Network(shape, torch.Generator().manual_seed(0)), Plain(shape)
    biases = torch.Generator().manual_seed(2)   # not all are as far from a tie of two maxima, which rounding would break either way
    network._stages = torchs_layers   # torch's layers; our kernels are compared with these in test_procgen_kernels.py
    with torch.no_grad():
        layers = [*plain.convs, plain.dense, plain.policy, plain.value]
        for layer, kernel, bias in zip(layers, network.kernels, network.biases, strict=True):
            layer.weight.copy_(kernel)
            bias.normal_(0, 0.1, generator=biases)
            layer.bias.copy_(bias)
    assert shape.params == sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in network.parameters)
    pictures = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = []
    for make in (network, plain):
        scores, values = make(pictures)
        (scores.square().sum() + values.sum()).backward()
        found.append((scores.detach(), values.detach()))
    for ours, theirs in zip(*found):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for layer, kernel, bias in zip(layers, network.kernels, network.biases):
        assert_allclose(kernel.grad, layer.weight.grad, rtol=1e-3, atol=1e-4 * float(layer.weight.grad.abs().max()))
        assert_allclose(bias.grad, layer.bias.grad, rtol=1e-3, atol=1e-4 * float(layer.bias.grad.abs().max()))
    with FlopCounterMode(display=False) as acting, torch.no_grad():
        network(pictures)
    with FlopCounterMode(display=False) as learning:
        scores, values = network(pictures)
        (scores.sum() + values.sum()).backward()
    assert acting.get_total_flops() == 3 * shape.act_flops and learning.get_total_flops() == 3 * shape.learn_flops


def test_width_1_is_the_published_network():
    """626,256 parameters: 16, 32, 32 channels and 256 units on 64 x 64 pictures, summed by hand."""
    by_hand = (448 + 4 * 2320) + (4640 + 4 * 9248) + (9248 + 4 * 9248) + (2048 * 256 + 256) + (256 * 15 + 15) + 257
    assert Shape(1.0, 15, 64).params == by_hand and Shape(1.0, 15, 64).channels == (16, 32, 32)


def test_training_starts_from_even_odds():
    scores, _ = Network(Shape(0.5, 15, 16), torch.Generator().manual_seed(0))(torch.full((2, 16, 16, 3), 128, dtype=torch.uint8))
    assert scores.abs().max() < 0.1
