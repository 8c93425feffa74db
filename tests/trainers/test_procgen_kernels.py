"""Machine code for narrow convolutions against torch's layers in double precision, part by part and as the whole network."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("llvmlite", reason="llvmlite is not installed: pip install -e '.[procgen]'")

from trainers.procgen.blocks import code, kernels, stages
from trainers.procgen.blocks.code import LANES
from trainers.procgen.blocks.stages import Block, Stages, Tiled
from trainers.procgen.network import Network, torchs_layers
from trainers.procgen.shape import Shape

pytestmark = [pytest.mark.usefixtures("one_thread"),
              pytest.mark.skipif(not code.usable(), reason="kernels are for x86 with AVX2")]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(values: torch.Tensor, border: float = 0.0) -> Block:
    """Of (LANES, channels, side, side)."""
    made = Block.of(values.shape[1], values.shape[2], border)
    made.fill(values.permute(1, 2, 3, 0))
    return made


def values(made: Block) -> torch.Tensor:
    return made.inside.permute(3, 0, 1, 2)


def borders(made: Block) -> set[float]:
    outside = torch.ones_like(made.values, dtype=torch.bool)
    outside[:, 1:-1, 1:-1] = False
    return set(made.values[outside].tolist())


@pytest.mark.parametrize("inputs, outputs, side", [(3, 4, 8), (1, 1, 4), (5, 7, 12), (8, 6, 4), (2, 11, 8)])
def test_a_convolution_is_torchs_whatever_is_done_on_the_way(inputs, outputs, side):
    """Catches a tap, a channel of the rest, or a border that is read or written wrongly; also in place of what is added."""
    x, kernel, bias = drawn(LANES, inputs, side, side), drawn(outputs, inputs, 3, 3, seed=1), drawn(outputs, seed=2)
    mask, addend = (drawn(LANES, outputs, side, side, seed=seed) for seed in (3, 4))
    there, tiled = block(x), Tiled.of(kernel, bias)
    plain, of_positive = (F.conv2d(part.double(), kernel.double(), bias.double(), padding=1) for part in (x, x.relu()))
    own = block(addend)
    for out, options, wanted in ((Block.of(outputs, side), {}, plain), (own, {"addend": own}, plain + addend),
                                 (Block.of(outputs, side), {"rectified": True, "rectify": True}, of_positive.relu()),
                                 (Block.of(outputs, side), {"mask": block(mask)}, plain * (mask > 0)),
                                 (Block.of(outputs, side), {"mask": block(mask), "addend": block(addend)},
                                  plain * (mask > 0) + addend)):
        tiled(there, out, **options)
        torch.testing.assert_close(values(out).double(), wanted, rtol=1e-5, atol=2e-5)
        assert borders(out) == {0.0}


@pytest.mark.parametrize("inputs, outputs", [(3, 4), (4, 3), (9, 10)])
def test_the_way_back_through_a_convolution_is_autograds(inputs, outputs):
    side, x = 8, drawn(LANES, inputs, 8, 8).double().requires_grad_()
    kernel, bias = (part.double().requires_grad_() for part in (drawn(outputs, inputs, 3, 3, seed=1), drawn(outputs, seed=2)))
    gradient, there, found = block(drawn(LANES, outputs, side, side, seed=3)), block(x.detach().float()), Block.of(inputs, side)
    F.conv2d(x.relu(), kernel, bias, padding=1).backward(values(gradient).double())
    Tiled.back(kernel.detach().float())(gradient, found, mask=there)
    torch.testing.assert_close(values(found).double(), x.grad, rtol=1e-5, atol=2e-5)
    sums = [torch.ones(outputs, inputs, 9, LANES), torch.ones(outputs, LANES)]   # it adds to what is there
    for first, tile, tiles in stages._tiles(outputs):
        run = kernels.weight_gradient(tile, rectified=True)
        run(there.at(), gradient.at(first), *(part[first].data_ptr() for part in sums), inputs, tiles, side, side)
    torch.testing.assert_close(sums[0].sum(-1).view(kernel.shape).double() - LANES, kernel.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sums[1].sum(-1).double() - LANES, bias.grad, rtol=1e-4, atol=1e-4)


def test_pooling_takes_the_first_of_equals_and_gives_the_slope_to_it_alone():
    """Whole numbers, so that most squares have equals; negative ones, so that a border of zeros would show. Slopes of whole
    numbers too: sums are exact."""
    x = torch.randint(-3, 0, (LANES, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float().requires_grad_()
    gradient = block(torch.randint(-9, 9, (LANES, 3, 4, 4), generator=torch.Generator().manual_seed(1)).float())
    wanted = F.max_pool2d(x, 3, 2, 1)
    wanted.backward(values(gradient))
    there, out, taken, back = block(x.detach(), stages.LOWEST), Block.of(3, 4), Block.of(3, 4, 0, torch.uint8), Block.of(3, 8)
    kernels.pooling()(there.at(), out.at(), taken.at(), 3, 4, 4)
    kernels.unpooling()(gradient.at(), taken.at(), back.at(), 3, 4, 4)
    assert torch.equal(values(out), wanted) and torch.equal(values(back), x.grad)
    assert borders(out) == borders(back) == {0.0}


@pytest.mark.parametrize("count", [1, LANES - 1, LANES])
def test_pictures_become_a_block_whose_rest_are_the_last_again(count):
    pictures = torch.randint(0, 256, (count, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = Block.of(3, 4)
    kernels.unpacking(3)(pictures.data_ptr(), made.at(), count, 4, 4)
    wanted = pictures[np.minimum(np.arange(LANES), count - 1)].permute(0, 3, 1, 2)
    assert torch.equal(values(made), wanted.float()) and borders(made) == {0.0}


def of(network: Network, pictures: torch.Tensor) -> list[torch.Tensor]:
    """Scores, values and gradients."""
    scores, found = network(pictures)
    gradients = torch.autograd.grad(scores.square().sum() + found.sum(), network.parameters)
    return [part.detach() for part in (scores, found, *gradients)]


@pytest.mark.parametrize("width, side, count", [(0.125, 32, 3), (0.25, 64, 2 * LANES), (0.35, 32, LANES + 1), (1.0, 32, 2)])
def test_the_network_is_as_near_to_double_precision_as_with_torchs_layers(width, side, count):
    """Catches a layer, a sum over blocks, or a picture of an unfilled block that is lost, doubled or in another's place."""
    shape, draw = Shape(width, 15, side), torch.Generator().manual_seed(0)
    network = Network(shape, draw)
    for bias in network.biases:
        bias.data.normal_(0, 0.1, generator=draw)
    pictures = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=draw)
    assert isinstance(network._stages, Stages)
    ours = of(network, pictures)
    network._stages = torchs_layers
    plain = of(network, pictures)
    for weights in network.parameters:
        weights.data = weights.data.double()
    for own, other, true in zip(ours, plain, of(network, pictures), strict=True):
        assert (own - true).abs().max() < max(3 * (other - true).abs().max(), 2e-5 * true.abs().max())


def test_the_same_bits_again_whatever_the_threads_and_whatever_went_before():
    """Catches a buffer that remembers the pictures before, and sums in the order in which threads end."""
    draw, network = torch.Generator().manual_seed(0), Network(Shape(0.25, 15, 32), torch.Generator().manual_seed(1))
    pictures = torch.randint(0, 256, (3 * LANES + 5, 32, 32, 3), dtype=torch.uint8, generator=draw)
    wanted = of(network, pictures)
    with torch.no_grad():
        network(pictures.flip(0))
    of(network, 255 - pictures)
    torch.set_num_threads(3)
    features = [network._stages(pictures, network.kernels[:-3], network.biases[:-3]) for _ in range(2)]
    kept = network._stages.forward(pictures, network.kernels[:-3], network.biases[:-3])[1]
    gradients = drawn(len(pictures), *network._stages.shape_of_features)
    by_three = network._stages.backward(kept, gradients, network.kernels[:-3])
    torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(wanted, of(network, pictures), strict=True))
    assert all(torch.equal(network._stages(pictures, network.kernels[:-3], network.biases[:-3]), other) for other in features)
    kept = network._stages.forward(pictures, network.kernels[:-3], network.biases[:-3])[1]
    by_one = network._stages.backward(kept, gradients, network.kernels[:-3])
    assert all(torch.equal(one, other) for ours, others in zip(by_three, by_one) for one, other in zip(ours, others, strict=True))


def test_two_ways_forward_at_once_keep_apart_and_a_way_back_is_gone_once():
    network = Network(Shape(0.125, 15, 32), torch.Generator().manual_seed(0))
    one, two = (torch.full((3, 32, 32, 3), shade, dtype=torch.uint8) for shade in (50, 200))
    alone = torch.autograd.grad(network(one)[1].sum(), network.kernels[0])[0]
    first, second = network(one)[1].sum(), network(two)[1].sum()
    torch.autograd.grad(second, network.kernels[0])
    assert torch.equal(torch.autograd.grad(first, network.kernels[0], retain_graph=True)[0], alone)
    with pytest.raises(RuntimeError, match="spent"):
        torch.autograd.grad(first, network.kernels[0])


def test_weights_that_are_no_numbers_show_in_the_scores():
    """Catches a maximum or a rectifier that hides them: a run would go on."""
    for number in (0, 1, 14):
        network = Network(Shape(0.125, 15, 32), torch.Generator().manual_seed(0))
        network.kernels[number].data.fill_(torch.nan)
        scores, found = network(torch.full((2, 32, 32, 3), 100, dtype=torch.uint8))
        assert scores.isnan().all() and found.isnan().all()


def test_torchs_layers_stay_where_the_kernels_can_not_be(monkeypatch):
    """A GPU is not here to be asked: `fits` says no before one is touched."""
    def stages_of(side):
        return Network(Shape(0.25, 15, side), torch.Generator().manual_seed(0))._stages

    assert isinstance(stages_of(32), Stages) and not stages.fits(Shape(0.25, 15, 32), torch.device("cuda"))
    assert stages_of(36) is torchs_layers and not stages.fits(Shape(4.0, 15, 32), torch.device("cpu"))
    monkeypatch.setattr(code, "FEATURES", {})
    assert stages_of(32) is torchs_layers
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, stages.__name__, None)   # as without llvmlite
    assert stages_of(32) is torchs_layers
