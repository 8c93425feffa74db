"""The usual script on a text, to compare with: nanoGPT's model, optimiser settings and loop, written out.

After A. Karpathy's nanoGPT (model.py, train.py, config/train_shakespeare_char.py and the README's settings for a
CPU): learned positions, norms with weights, GELU, a tied head, deviations of 0.02; AdamW at 1e-3 with betas 0.9
and 0.99, weight decay 0.1 on matrices, gradients clipped at 1, 100 steps of warm-up, then a cosine to a tenth;
batches cropped at random places and stacked sequence by sequence; no dropout, no compiler.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEARNING_RATE, LEAST_RATE, WARMUP_STEPS = 1e-3, 1e-4, 100
BETAS, WEIGHT_DECAY, CLIPPED_AT = (0.9, 0.99), 0.1, 1.0
DEVIATION = 0.02
LOG_EVERY = 10   # steps between losses printed, which waits for the device


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, None, 1e-5)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, context, width = x.shape
        query, key, value = (part.view(batch, context, self.heads, width // self.heads).transpose(1, 2)
                             for part in self.qkv(x).split(width, dim=2))
        made = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dropout(self.projection(made.transpose(1, 2).contiguous().view(batch, context, width)))


class Feedforward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.inner, self.projection = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.gelu, self.dropout = nn.GELU(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.projection(self.gelu(self.inner(x))))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_1, self.attention, self.norm_2, self.feedforward = Norm(width), Attention(width, heads), Norm(width), Feedforward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.feedforward(self.norm_2(x))


class Gpt(nn.Module):
    def __init__(self, *, vocabulary: int, width: int, depth: int, heads: int, context: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.dropout = nn.Dropout(0.0)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = Norm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.tokens.weight = self.head.weight
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, 0.0, DEVIATION / math.sqrt(2 * depth) if name.endswith("projection.weight") else DEVIATION)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss."""
        x = self.dropout(self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1])))
        for block in self.blocks:
            x = block(x)
        scores = self.head(self.norm(x))
        return F.cross_entropy(scores.view(-1, scores.shape[-1]), targets.reshape(-1), ignore_index=-1)


class UsualTextScript:
    """One in progress."""

    def __init__(self, model: Gpt, text: np.ndarray, *, sequences: int, context: int, steps: int):
        """`text`: (n,) bytes to train on. `steps`: of the whole run, over which the rate decays."""
        self.model, self.text, self.sequences, self.context, self.steps = model, text, sequences, context, steps
        decayed = [weight for weight in model.parameters() if weight.dim() >= 2]
        plain = [weight for weight in model.parameters() if weight.dim() < 2]
        self.optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
                                           lr=LEARNING_RATE, betas=BETAS)
        self.step = 0

    def advance(self, steps: int) -> float:
        """So many steps; the loss last printed."""
        self.model.train()
        printed = math.nan
        for _ in range(steps):
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate()
            loss = self.model(*self._batch())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIPPED_AT)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            if self.step % LOG_EVERY == 0:
                printed = loss.item()
            self.step += 1
        return printed

    @torch.no_grad()
    def evaluate(self, windows: Tensor) -> float:
        """Mean loss of sequences (n, context + 1)."""
        self.model.eval()
        losses = [self.model(some[:, :-1], some[:, 1:]).item() * len(some) for some in windows.split(64)]
        return sum(losses) / len(windows)

    def _batch(self) -> tuple[Tensor, Tensor]:
        places = torch.randint(len(self.text) - self.context, (self.sequences,))
        return tuple(torch.stack([torch.from_numpy(self.text[i + later:i + later + self.context].astype(np.int64)) for i in places])
                     for later in (0, 1))

    def _rate(self) -> float:
        if self.step < WARMUP_STEPS:
            return LEARNING_RATE * (self.step + 1) / (WARMUP_STEPS + 1)
        done = min(1.0, (self.step - WARMUP_STEPS) / max(1, self.steps - WARMUP_STEPS))
        return LEAST_RATE + 0.5 * (1.0 + math.cos(math.pi * done)) * (LEARNING_RATE - LEAST_RATE)
