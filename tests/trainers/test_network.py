"""N and C: counted on the real network, against the closed forms that the sweeps plan by."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainers.mnist.network import ConvNet, channels, count_params, flops_per_image
from trainers.mnist.presets import half_octaves


def network(width, classes=10):
    return ConvNet(width, 0.0, classes, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", (10, 47))
@pytest.mark.parametrize("width", (0.25, 0.354, 1, 2.83))
def test_params_and_flops_are_those_of_the_network(width, classes):
    net, images = network(width, classes), 3
    assert count_params(width, classes) == sum(p.numel() for p in net.parameters())
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(torch.randn(images, 1, 28, 28)), torch.zeros(images, dtype=torch.long)).backward()
    assert flops_per_image(width, classes) * images == counter.get_total_flops()


def test_a_width_step_about_doubles_the_flops_of_an_image():
    wide = [flops_per_image(width) for width in half_octaves(4, 12)]
    assert all(1.8 < above / below < 2.1 for below, above in zip(wide, wide[1:]))


def test_every_hidden_width_scales_and_none_repeats_down_to_the_narrowest_preset():
    plans = [channels(width) for width in half_octaves(-4, 12)]
    assert all(all(b >= a for a, b in zip(below, above)) and above != below for below, above in zip(plans, plans[1:]))
    assert plans[4] == (4, 8, 16)
