"""The network's shape by one rule from its width, and what follows from it in closed form: N, counted three ways, and C.

torch is not imported here.
"""

import math
from dataclasses import dataclass

HEAD_WIDTH = 16       # of one attention head: at width 48 two or three heads beat one by 0.03 nats, 8 wide ones only cost time
WIDTH_PER_BLOCK = 16  # aspect ratio, within the flat optimum of Kaplan et al. 2020 (figure 5); so N of the blocks ~ width^3
FEWEST_BLOCKS = 2     # one block can't look up what followed an earlier occurrence (Olsson et al. 2022)
CONTEXT = 64          # tokens, at every size: a loss is given what came before, and one that grew with the width would bend L(N)
FEED_FORWARD = 4      # its hidden units a unit of width


@dataclass(frozen=True)
class Shape:
    """Of one network."""

    width: int
    depth: int
    context: int
    vocabulary: int

    @property
    def heads(self) -> int:
        return max(1, round(self.width / HEAD_WIDTH))

    @property
    def head_width(self) -> int:
        """Even, since rotary positions turn pairs: together the heads may be a little wider than the stream."""
        return 2 * math.ceil(self.width / self.heads / 2)

    @property
    def attention_width(self) -> int:
        """Of all heads together."""
        return self.heads * self.head_width

    @property
    def block_params(self) -> int:
        """Of all blocks: queries, keys, values and their projection, then the feed-forward layer's two matrices."""
        return self.depth * self.width * (4 * self.attention_width + 2 * FEED_FORWARD * self.width)

    @property
    def head_params(self) -> int:
        return self.vocabulary * self.width

    @property
    def embedding_params(self) -> int:
        return self.vocabulary * self.width

    @property
    def params(self) -> int:
        """N: matrices and head."""
        return self.block_params + self.head_params

    @property
    def total_params(self) -> int:
        return self.params + self.embedding_params

    @property
    def forward_flops(self) -> int:
        """Of a token, forward: 2 a weight that it is multiplied by, and the attention's products."""
        return 2 * self.params + self.attention_flops // 3

    @property
    def flops(self) -> int:
        """Of a token in training: the gradient takes two products where the forward pass takes one."""
        return 3 * self.forward_flops

    @property
    def head_flops(self) -> int:
        return 6 * self.head_params

    @property
    def attention_flops(self) -> int:
        """Queries with keys, weights with values: each token with the whole context, its causal half not taken off.

        As the plain products are counted: what flash attention computes a second time is not.
        """
        return 3 * self.depth * 4 * self.context * self.attention_width


def depth_of(width: int) -> int:
    """Blocks by rule."""
    return max(FEWEST_BLOCKS, round(width / WIDTH_PER_BLOCK))
