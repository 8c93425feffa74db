"""The way of narrow networks: gradients by hand are those that autograd finds for the plain network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from trainers.mnist import narrow
from trainers.mnist.cell import Cell
from trainers.mnist.images import load_images
from trainers.mnist.network import ConvNet
from trainers.mnist.train import Run, put_on


@settings(deadline=None, max_examples=25)
@given(width=st.sampled_from((0.25, 0.5, 0.707, 1.0)), images=st.sampled_from((1, 2, 3, 7, 32)), classes=st.sampled_from((2, 10, 47)),
       dropout=st.booleans(), seed=st.integers(0, 9))
def test_scores_and_gradients_are_the_plain_networks(width, images, classes, dropout, seed):
    """Catches any slip in the mathematics by hand: float64, so that it shows above rounding."""
    generator = torch.Generator().manual_seed(seed)
    network = ConvNet(width, 0.0, classes, generator).double()
    torch.nn.init.normal_(network.classifier.weight, generator=generator)   # from zero no gradient would reach what is below
    pixels = torch.randn(images, 1, 28, 28, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (images,), generator=generator)
    keep = torch.rand(images, network.classifier.in_features, generator=generator, dtype=torch.float64) if dropout else None
    found = []
    for scores in (network(pixels, keep), narrow.scores(network, pixels, keep)):
        found.append((scores, *torch.autograd.grad(F.cross_entropy(scores, labels), list(network.parameters()))))
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_a_narrow_run_ends_where_the_plain_network_does(monkeypatch):
    """Catches weights whose layout in memory the optimiser misreads, and a validation that skips images."""
    images, ends = put_on(load_images(), "cpu", "f"), []
    for most in (0, narrow.MOST_CHANNELS):
        monkeypatch.setattr(narrow, "MOST_CHANNELS", most)
        run = Run(Cell(width=0.5, fraction=1.0, dropout=0.2, seed=0, lr=0.01, batch_size=16), images)
        run.advance([0.5] * 30)
        ends.append(run.evaluate())
    assert ends[0] != ends[1] and ends[0].loss == pytest.approx(ends[1].loss, rel=1e-3)


def test_neither_a_gpu_nor_bfloat16_nor_a_wide_network_goes_that_way():
    cpu = torch.device("cpu")
    assert narrow.pays(0.25, "float32", cpu)
    assert not any((narrow.pays(1.0, "float32", cpu), narrow.pays(0.25, "bfloat16", cpu), narrow.pays(0.25, "float32", torch.device("cuda"))))
