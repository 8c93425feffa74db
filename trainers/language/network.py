"""The network: pre-norm blocks of causal attention with rotary positions and a GELU layer, and a head of its own.

    z = E[x];  for each block:  z += A(norm z) P,  z += gelu(norm(z) F) G;  scores = norm(z) H

No biases, and norms without weights: every parameter is a matrix. Chosen by measurement at widths 16 and 48
over 1e6 bytes of Python (README.md): rotary against learned positions, GELU against SwiGLU and a squared ReLU,
an untied head against a tied one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.language.shape import FEED_FORWARD, Shape

EMBEDDING_SCALE = 0.3   # standard deviation of the embeddings: from 0.1 to 1 makes 0.015 nats of difference, 2 is worse
HEAD_SCALE = 0.1        # of the first scores: small, so that training starts from even odds
ROTARY_BASE = 10_000.0  # Su et al. 2021, section 3.2.2
EPSILON = 1e-5          # of the norms


@dataclass(frozen=True)
class Block:
    """Weights of one block; a matrix (outputs, inputs) each."""

    qkv: Tensor          # (3 attention_width, width)
    projection: Tensor   # (width, attention_width)
    inner: Tensor        # (FEED_FORWARD width, width)
    outer: Tensor        # (width, FEED_FORWARD width)

    def __iter__(self):
        return iter((self.qkv, self.projection, self.inner, self.outer))


class Transformer:
    """Weights, and the way from tokens to features; the head is applied by whoever wants scores or their loss."""

    def __init__(self, shape: Shape, generator: torch.Generator, device: torch.device | str = "cpu"):
        """Gaussian initialisation drawn from `generator`: deviation 1/sqrt(inputs), less by sqrt(2 depth) where a block
        adds to the stream (Radford et al. 2019, section 2.3)."""
        def drawn(outputs: int, inputs: int, deviation: float) -> Tensor:
            return torch.empty(outputs, inputs).normal_(0.0, deviation, generator=generator).to(device).requires_grad_()

        width, attention, hidden = shape.width, shape.attention_width, FEED_FORWARD * shape.width
        added = (2 * shape.depth) ** -0.5
        self.shape = shape
        self.embedding = drawn(shape.vocabulary, width, EMBEDDING_SCALE)
        self.head = drawn(shape.vocabulary, width, HEAD_SCALE * width**-0.5)
        self.blocks = [Block(qkv=drawn(3 * attention, width, width**-0.5),
                             projection=drawn(width, attention, added * attention**-0.5),
                             inner=drawn(hidden, width, width**-0.5),
                             outer=drawn(width, hidden, added * hidden**-0.5)) for _ in range(shape.depth)]
        self.cosines, self.sines = rotations(shape.context, shape.head_width, device)

    @property
    def parameters(self) -> list[Tensor]:
        return [self.embedding, self.head, *(weight for block in self.blocks for weight in block)]

    def features(self, tokens: Tensor) -> Tensor:
        """What the head sees, (sequences, context, width), of tokens (sequences, context)."""
        stream = F.embedding(tokens, self.embedding)
        for block in self.blocks:
            stream = stream + F.linear(self._attention(_norm(stream), block.qkv), block.projection)
            stream = stream + F.linear(F.gelu(F.linear(_norm(stream), block.inner)), block.outer)
        return _norm(stream)

    def scores(self, tokens: Tensor) -> Tensor:
        """Of every token of the vocabulary to come next, (sequences, context, vocabulary)."""
        return F.linear(self.features(tokens), self.head)

    def _attention(self, stream: Tensor, qkv: Tensor) -> Tensor:
        """(sequences, context, attention_width): all heads, side by side."""
        sequences, context, _ = stream.shape
        heads = self.shape.heads
        made = F.linear(stream, qkv).view(sequences, context, 3 * heads, self.shape.head_width)
        turned = rotated(made[:, :, :2 * heads], self.cosines[:context], self.sines[:context])
        query, key = turned.transpose(1, 2).chunk(2, dim=1)
        value = made[:, :, 2 * heads:].transpose(1, 2)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)


def rotations(context: int, head_width: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine of every position's angles, (context, 1, head_width) each: a pair of units shares an angle."""
    angles = torch.arange(context)[:, None] * ROTARY_BASE ** (-torch.arange(0, head_width, 2) / head_width)
    cosines, sines = angles.cos(), angles.sin()
    return (torch.stack([cosines, cosines], -1).flatten(1)[:, None].to(device),
            torch.stack([-sines, sines], -1).flatten(1)[:, None].to(device))


def rotated(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries or keys (sequences, context, heads, head_width), each pair of units 2i and 2i + 1 turned by its position's angle."""
    return heads * cosines + heads.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) * sines


def _norm(stream: Tensor) -> Tensor:
    return F.layer_norm(stream, stream.shape[-1:], eps=EPSILON)
