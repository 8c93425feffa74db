"""Runs of a transformer-like family under several procedures, drawn from a known law, for tests of the bridge."""

import numpy as np
import pandas as pd

ALPHA, BETA = 0.45, 0.55
VOCABULARY, ATTENTION = 256, 0.15
WIDTHS, TOKENS = (8, 12, 16, 24, 32, 48, 64), tuple(int(125e3 * 2**k) for k in range(7))
# What each procedure adds to the loss, as a factor at D tokens: a warm-up that small budgets do not leave, a decay not yet done.
PENALTY = {"single-run:fixed-warmup": lambda D: 1.02 + 0.3 * np.exp(-D / 4e5),
           "single-run": lambda D: 1.03 + 0.1 * np.exp(-D / 2e6),
           "per-budget:one-rate": lambda D: 1.01 + 0 * D, "per-budget": lambda D: 1.0 + 0 * D}


def procedure_rows(*, noise: float = 0.004, seeds: int = 2, rng: int = 0, shared: float = 0.8) -> pd.DataFrame:
    """A row a protocol, width, budget and seed: L = E + A/N^alpha + B/D^beta times the protocol's penalty, N with the head.

    shared: part of the noise's variance that protocols have in common. With C = k N D the tuned runs' true a is
    beta / (alpha + beta) when the head is counted.
    """
    random = np.random.default_rng(rng)
    width, tokens, seed = (v.ravel() for v in np.meshgrid(WIDTHS, TOKENS, np.arange(seeds), indexing="ij"))
    blocks = 12 * np.maximum(2, width // 16) * width**2
    N, D = blocks + VOCABULARY * width, tokens.astype(float)
    attention = ATTENTION * 6 * N * D
    law = 0.8 + 60 / N**ALPHA + 900 / D**BETA
    common, parts = random.standard_normal(len(N)), []
    for protocol, penalty in PENALTY.items():
        wobble = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.standard_normal(len(N))
        parts.append(pd.DataFrame({
            "width": width, "tokens": tokens, "seed": seed, "protocol": protocol, "dataset": "made up",
            "params": N, "params_blocks": blocks, "params_total": N + VOCABULARY * width, "samples": tokens,
            "flops": 6 * N * D + attention, "head_flops": 6 * VOCABULARY * width * D, "attention_flops": attention,
            "spent_flops": 6 * N * D, "val_loss": law * penalty(D) * np.exp(noise * wobble)}))
    return pd.concat(parts, ignore_index=True)
