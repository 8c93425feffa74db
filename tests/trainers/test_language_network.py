"""The transformer: an independent network agrees, FLOPs are torch's, no score sees the future, by hand is by autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainers.language.by_hand import ByHand
from trainers.language.head import ROWS, head_loss
from trainers.language.network import Transformer
from trainers.language.shape import CONTEXT, Shape, depth_of

SHAPES = [Shape(8, 2, 32, 256), Shape(24, 2, 20, 256), Shape(13, 1, 9, 5), Shape(48, 3, 64, 256)]


def network(shape, *, seed=0, dtype=torch.float32):
    """With scores that are far from even, so that a wrong gradient shows."""
    made = Transformer(shape, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made.head.mul_(10)
    for weights in (made, *made.blocks):
        for name, value in vars(weights).items():
            if isinstance(value, torch.Tensor):
                object.__setattr__(weights, name, value.detach().to(dtype).requires_grad_(value.requires_grad))
    return made


def tokens(shape, sequences=3, *, seed=0):
    """Inputs (sequences, context) and targets (n,)."""
    drawn = torch.randint(0, shape.vocabulary, (sequences, shape.context + 1), generator=torch.Generator().manual_seed(seed))
    return drawn[:, :-1], drawn[:, 1:].flatten()


def textbook_scores(made: Transformer, inputs: torch.Tensor) -> torch.Tensor:
    """The same network token by token, as its papers define it: no mask, no batch, angles as rotations of the plane."""
    shape, (sequences, context) = made.shape, inputs.shape

    def norm(x):
        return (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)

    def turn(head, place):
        pairs = []
        for i in range(0, shape.head_width, 2):
            angle = place / 10_000 ** (i / shape.head_width)
            rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=head.dtype)
            pairs.append(rotation @ head[i:i + 2])
        return torch.cat(pairs)

    scores = torch.empty(sequences, context, shape.vocabulary, dtype=made.head.dtype)
    for s in range(sequences):
        stream = [made.embedding[token] for token in inputs[s]]
        for block in made.blocks:
            made_here = [(block.qkv @ norm(x)).view(3, shape.heads, shape.head_width) for x in stream]
            for t in reversed(range(context)):
                heads = []
                for h in range(shape.heads):
                    query = turn(made_here[t][0, h], t)
                    weights = torch.stack([query @ turn(made_here[u][1, h], u) for u in range(t + 1)]) / math.sqrt(shape.head_width)
                    heads.append(sum(w * made_here[u][2, h] for u, w in enumerate(torch.softmax(weights, 0))))
                stream[t] = stream[t] + block.projection @ torch.cat(heads)
                hidden = block.inner @ norm(stream[t])
                stream[t] = stream[t] + block.outer @ (hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))
        for t in range(context):
            scores[s, t] = made.head @ norm(stream[t])
    return scores


@pytest.mark.parametrize("shape", [Shape(6, 2, 7, 11), Shape(36, 1, 5, 11)])
def test_scores_are_the_textbooks(shape):
    """Catches a wrong mask, scale, head, order of pairs or norm."""
    made = network(shape, dtype=torch.float64)
    inputs, _ = tokens(shape, 2)
    with torch.no_grad():
        torch.testing.assert_close(made.scores(inputs), textbook_scores(made, inputs), rtol=1e-5, atol=1e-6)   # angles are float32


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_hand_are_autograds(shape):
    made = network(shape)
    inputs, targets = tokens(shape)
    loss = F.cross_entropy(made.scores(inputs).flatten(0, 1), targets)
    wanted = torch.autograd.grad(loss, made.parameters)
    by_hand = ByHand(made)
    found, gradients = by_hand.loss_and_gradients(inputs, targets)
    torch.testing.assert_close(found, loss.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(by_hand.scores(inputs), made.scores(inputs).detach(), rtol=1e-4, atol=1e-4)
    for one, other in zip(gradients, wanted, strict=True):
        assert one.is_contiguous(), "the fused optimiser takes a gradient's memory for its matrix"
        assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("count", [1, ROWS, ROWS + 3])
def test_the_heads_loss_in_chunks_is_cross_entropy(count):
    draw = torch.Generator().manual_seed(1)
    features, head = torch.randn(count, 7, generator=draw).requires_grad_(), torch.randn(19, 7, generator=draw).requires_grad_()
    targets = torch.randint(0, 19, (count,), generator=draw)
    loss = F.cross_entropy(features @ head.t(), targets)
    found = head_loss(features.detach(), head.detach(), targets)
    for one, other in zip(found, (loss.detach(), *torch.autograd.grad(loss, (features, head))), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_scores_that_are_no_numbers_make_a_loss_that_is_none():
    """Catches a clamp that hides a run which blew up."""
    features = torch.full((4, 3), math.inf)
    assert not math.isfinite(head_loss(features, torch.randn(5, 3), torch.zeros(4, dtype=torch.long))[0].item())


@pytest.mark.parametrize("shape", SHAPES)
def test_flops_are_those_that_torch_counts(shape):
    """With attention as plain products: torch's counter does not know the CPU's fused kernel, and counts what a GPU's repeats."""
    made = network(shape)
    inputs, targets = tokens(shape)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss = F.cross_entropy(made.scores(inputs).flatten(0, 1), targets)
        forward = counter.get_total_flops()
        torch.autograd.grad(loss, made.parameters)
    assert forward == targets.numel() * shape.forward_flops
    assert counter.get_total_flops() == targets.numel() * shape.flops


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_as_many_as_the_shape_says(shape):
    made = network(shape)
    assert sum(weight.numel() for weight in made.parameters) == shape.total_params
    assert sum(weight.numel() for block in made.blocks for weight in block) == shape.block_params
    assert shape.params == shape.block_params + made.head.numel()


@settings(deadline=None, max_examples=20)
@given(place=st.integers(0, 19), byte=st.integers(0, 255), by_hand=st.booleans())
def test_a_later_byte_changes_no_earlier_score(place, byte, by_hand):
    shape = SHAPES[1]
    made = network(shape)
    inputs, _ = tokens(shape)
    changed = inputs.clone()
    changed[:, place] = byte
    scores = ByHand(made).scores if by_hand else made.scores
    before, after = scores(inputs), scores(changed)
    assert torch.equal(before[:, :place], after[:, :place])
    assert byte in inputs[:, place].tolist() or not torch.equal(before[:, place], after[:, place])


@pytest.mark.parametrize("vocabulary", [5, 256])
def test_training_starts_from_even_odds(vocabulary):
    shape = Shape(16, 2, 32, vocabulary)
    inputs, targets = tokens(shape, 8)
    loss, _ = ByHand(Transformer(shape, torch.Generator().manual_seed(0))).loss_and_gradients(inputs, targets)
    assert loss.item() == pytest.approx(math.log(vocabulary), abs=0.02)


@settings(deadline=None)
@given(st.integers(1, 4096))
def test_the_rule_gives_every_width_a_network(width):
    """Catches heads that have no even width, which positions can't turn, and sizes that shrink as the width grows."""
    shape, wider = (Shape(w, depth_of(w), CONTEXT, 256) for w in (width, width + 1))
    assert shape.head_width % 2 == 0 and 0 <= shape.attention_width - width <= 2 * shape.heads
    assert wider.depth >= shape.depth >= 2
