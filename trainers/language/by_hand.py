"""The network's loss and gradients on a CPU, by hand: what autograd makes of Transformer.features and the head.

A narrow network's step is some 500 bytes: there autograd and the Python around some hundred small operations take
three times as long as their arithmetic. Backward, block by block, with g the gradient of the block's output:

    z' = z + a P^T,   z'' = z' + gelu(h) G^T,   h = norm(z') F^T
    dG = g^T gelu(h),   dh = (g G) gelu'(h),   dF = dh^T norm(z'),   g' = g + norm'(dh F)
    dP = g'^T a,   da = g' P,   dm = attention'(da),   dM = dm^T norm(z),   dz = g' + norm'(dm M)

with m = norm(z) M^T the queries, keys and values, the first two then turned by their positions: a product of complex
numbers, in place, whose gradient is turned back by the conjugate. All matrices are (outputs, inputs), all rows tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainers.language.head import head_loss
from trainers.language.network import EPSILON, Block, Transformer

aten = torch.ops.aten


class Normed(NamedTuple):
    """A stream and what its norm is."""

    stream: Tensor     # (n, width)
    output: Tensor     # (n, width)
    mean: Tensor
    inverse: Tensor    # of the deviation


class Passed(NamedTuple):
    """What a block's backward pass needs of its forward pass."""

    before: Normed
    made: Tensor       # (n, 3 attention_width): queries and keys, turned, and values
    attended: Tensor   # (sequences, heads, context, head_width)
    summed: Tensor     # log of each row's sum of exponentials
    between: Normed
    hidden: Tensor     # (n, hidden)
    active: Tensor


class ByHand:
    """A network's passes; it reads the network's weights where they are."""

    def __init__(self, network: Transformer):
        self.network, shape = network, network.shape
        self.heads, self.head_width, self.width = shape.heads, shape.head_width, shape.width
        turns = torch.complex(network.cosines[:, :, ::2], network.sines[:, :, 1::2])   # (context, 1, head_width / 2)
        self.turns = turns.expand(-1, 2 * shape.heads, -1).contiguous()
        self.back = self.turns.conj().resolve_conj()

    @torch.no_grad()
    def scores(self, tokens: Tensor) -> Tensor:
        """As the network's."""
        stream = self.network.embedding.index_select(0, tokens.flatten())
        for block in self.network.blocks:
            stream, _ = self._forward(block, stream, *tokens.shape)
        return torch.mm(_norm(stream).output, self.network.head.t()).view(*tokens.shape, -1)

    @torch.no_grad()
    def loss_and_gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean loss of inputs (sequences, context) with targets (n,), and its gradients in the order of network.parameters."""
        network, tokens, passed = self.network, inputs.flatten(), []
        stream = network.embedding.index_select(0, tokens)
        for block in network.blocks:
            stream, kept = self._forward(block, stream, *inputs.shape)
            passed.append(kept)
        last = _norm(stream)
        loss, above, of_head = head_loss(last.output, network.head, targets)
        above, of_blocks = _norm_backward(above, last), []
        for block, kept in zip(reversed(network.blocks), reversed(passed)):
            above, *of_block = self._backward(block, kept, above, *inputs.shape)
            of_blocks = [*of_block, *of_blocks]
        of_embedding = torch.zeros_like(network.embedding).index_add_(0, tokens, above)
        return loss, [of_embedding, of_head, *of_blocks]

    def _forward(self, block: Block, stream: Tensor, sequences: int, context: int) -> tuple[Tensor, Passed]:
        before = _norm(stream)
        made = torch.mm(before.output, block.qkv.t())
        self._turned(made, sequences, context).mul_(self.turns[:context])
        attended, summed = aten._scaled_dot_product_flash_attention_for_cpu(*self._parts(made, sequences, context), 0.0, True)
        middle = torch.addmm(stream, attended.transpose(1, 2).reshape(len(stream), -1), block.projection.t())
        between = _norm(middle)
        hidden = torch.mm(between.output, block.inner.t())
        active = aten.gelu(hidden)
        return (torch.addmm(middle, active, block.outer.t()),
                Passed(before, made, attended, summed, between, hidden, active))

    def _backward(self, block: Block, kept: Passed, above: Tensor, sequences: int, context: int) -> tuple[Tensor, ...]:
        """Gradients of the block's input, then of its four matrices."""
        of_outer = torch.mm(above.t(), kept.active)
        of_hidden = aten.gelu_backward(torch.mm(above, block.outer), kept.hidden)
        of_inner = torch.mm(of_hidden.t(), kept.between.output)
        above = _norm_backward(torch.mm(of_hidden, block.inner), kept.between).add_(above)
        of_projection = torch.mm(above.t(), kept.attended.transpose(1, 2).reshape(len(above), -1))
        of_attended = torch.mm(above, block.projection).view(sequences, context, self.heads, self.head_width).transpose(1, 2)
        parts = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            of_attended, *self._parts(kept.made, sequences, context), kept.attended, kept.summed, 0.0, True)
        of_made = torch.cat([part.transpose(1, 2) for part in parts], 2).view(len(above), -1)
        self._turned(of_made, sequences, context).mul_(self.back[:context])
        of_qkv = torch.mm(of_made.t(), kept.before.output)
        return (_norm_backward(torch.mm(of_made, block.qkv), kept.before).add_(above), of_qkv, of_projection, of_inner, of_outer)

    def _parts(self, made: Tensor, sequences: int, context: int) -> tuple[Tensor, ...]:
        """Views of queries, keys and values, (sequences, heads, context, head_width) each."""
        return made.view(sequences, context, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4).unbind(0)

    def _turned(self, made: Tensor, sequences: int, context: int) -> Tensor:
        """A view of queries and keys as complex numbers, (sequences, context, 2 heads, head_width / 2)."""
        pairs = made.view(sequences, context, 3 * self.heads, self.head_width // 2, 2)
        return torch.view_as_complex(pairs[:, :, :2 * self.heads])


def _norm(stream: Tensor) -> Normed:
    return Normed(stream, *torch.native_layer_norm(stream, stream.shape[-1:], None, None, EPSILON))


def _norm_backward(above: Tensor, normed: Normed) -> Tensor:
    return aten.native_layer_norm_backward(above, normed.stream, normed.stream.shape[-1:], normed.mean, normed.inverse,
                                           None, None, [True, False, False])[0]
