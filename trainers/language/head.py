"""The head and its loss on a CPU: what cross_entropy(x H^T, y) and its gradients are, in half to two thirds of the time.

    s = x H^T,  p = softmax(s),  L = -mean log p[y],  dL/ds = (p - 1_y)/n,  dL/dx = dL/ds H,  dL/dH = dL/ds^T x

256 scores a byte are the most that a narrow network computes. Here they stay in a core's cache, a chunk of rows
at a time, their gradient is made in place of them, and the products are taken in the order in which the
library's are fastest where one side is short.
"""

import torch
from torch import Tensor

ROWS = 512        # at once: 512 KB of scores
LEAST = 1e-38     # probability, so that a loss is a number; the gradient needs none of it


def head_loss(features: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss of features (n, width) under a head (vocabulary, width) with targets (n,), its gradient with respect to
    the features and with respect to the head."""
    count, width = features.shape
    by_unit = head.t().contiguous()              # (width, vocabulary)
    of_features = features.new_empty(width, count)
    of_head = torch.zeros_like(by_unit)
    minus_one, loss = features.new_full((1, 1), -1.0), features.new_zeros(())
    for first in range(0, count, ROWS):
        x, y = features[first:first + ROWS], targets[first:first + ROWS, None]
        p = torch.softmax(torch.mm(x, by_unit), 1)
        loss -= p.gather(1, y).clamp_min_(LEAST).log_().sum()
        p.scatter_add_(1, y, minus_one.expand_as(y))
        of_features[:, first:first + ROWS] = torch.mm(by_unit, p.t())
        of_head.addmm_(x.t(), p)
    return loss / count, of_features.t().contiguous().div_(count), of_head.t().contiguous().div_(count)
