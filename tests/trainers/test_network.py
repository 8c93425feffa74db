"""N and C: counted on the real network, against the closed forms that the sweeps plan by."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from trainers.mnist.network import ConvNet, channels, count_params, fan_ins, flops_per_image
from trainers.mnist.presets import ONE_CHANNEL, half_octaves


def network(width, classes=10):
    return ConvNet(width, 0.0, classes, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", (10, 47))
@pytest.mark.parametrize("width", (0.25, 0.707, 1, 2.83))
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
    plans = [channels(width) for width in (ONE_CHANNEL, *half_octaves(-2, 12))]
    assert all(above > below for below, above in zip(plans, plans[1:]))
    assert all(plan == (plan[0], 2 * plan[0], 4 * plan[0]) for plan in plans), "other ratios were another shape"
    assert channels(1.0) == (4, 8, 16)


@pytest.mark.parametrize("width", (0.25, 1, 8))
def test_a_network_starts_knowing_nothing_with_rows_at_right_angles(width):
    net = network(width)
    assert not net(torch.randn(5, 1, 28, 28)).any(), "the loss is ln(classes) at the start"
    for layer, fan_in in zip(net.convolutions, fan_ins(width)):
        weight = layer.weight.detach().flatten(1)
        assert weight.pow(2).mean().item() == pytest.approx(2 / fan_in, rel=1e-4)
        product = weight @ weight.t() if len(weight) <= fan_in else weight.t() @ weight
        torch.testing.assert_close(product, product.diagonal().mean() * torch.eye(len(product)), rtol=0, atol=1e-4)
