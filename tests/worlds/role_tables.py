"""Tables that say the role of each column in their Parquet metadata, as a sweep of a user's function writes them."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

# Of val_loss = E + A / N^alpha + B / D^beta and C = 6 N D: a = beta / (alpha + beta).
E, A, B, ALPHA, BETA = 1.2, 60.0, 90.0, 0.38, 0.30
BEST_EXPONENT = BETA / (ALPHA + BETA)
RATE_EXPONENT = -0.7   # of the best lr against depth

ROLES = {"depth": "axis", "tokens": "axis", "lr": "choice", "seed": "repeat", "params": "measured", "flops": "measured",
         "val_loss": "measured", "wall_seconds": "clock", "device": "measured", "fingerprint": "measured"}
LAWS = {"tokens": "D", "params": "N", "flops": "C", "val_loss": "L"}


def with_roles(table: pa.Table, roles: Mapping[str, str], laws: Mapping[str, str], task: str = "my_model:train") -> pa.Table:
    """The table with role, unit, meaning and law in its fields' metadata, and its task's name in the schema's."""
    fields = [f.with_metadata({"unit": "1", "meaning": f"the {f.name}"} | ({"role": roles[f.name]} if f.name in roles else {})
                              | ({"law": laws[f.name]} if f.name in laws else {})) for f in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata={"task": task}))


def best_rate(depth: np.ndarray) -> np.ndarray:
    return 0.02 * depth**RATE_EXPONENT


def columns(depth, tokens, seed, *, noise: float, rng: int) -> dict[str, np.ndarray]:
    """Of cells (n,) of a network whose layers have 64 units: what the function's table holds."""
    random = np.random.default_rng(rng)
    params, n = 12.0 * depth * 64**2, len(depth)
    loss = (E + A / params**ALPHA + B / tokens**BETA) * np.exp(noise * random.standard_normal(n))
    return {"depth": depth.astype(np.int64), "tokens": tokens.astype(np.int64), "lr": best_rate(depth),
            "seed": seed.astype(np.int64), "params": params, "flops": 6 * params * tokens, "val_loss": loss,
            "wall_seconds": random.uniform(1, 9, n), "device": np.full(n, "cpu"), "fingerprint": np.full(n, "0123456789ab")}


def function_table(*, depths: int = 6, budgets: int = 6, seeds: int = 2, noise: float = 0.002, rng: int = 0) -> pa.Table:
    """A grid of depth and tokens, each cell at the tuned rate of its depth."""
    cells = [(2.0**i, 1e5 * 2.0**j, s) for i in range(depths) for j in range(budgets) for s in range(seeds)]
    depth, tokens, seed = (np.array(c) for c in zip(*cells, strict=True))
    return with_roles(pa.table(columns(depth, tokens, seed, noise=noise, rng=rng)), ROLES, LAWS)


def function_trials(*, depths: int = 6, trials: int = 15, rng: int = 0) -> pa.Table:
    """Trials of the rate at each depth: a parabola in log lr."""
    random = np.random.default_rng(rng)
    depth = np.repeat(2.0 ** np.arange(depths), trials)
    made = columns(depth, np.full(len(depth), 1e5), np.full(len(depth), 1_000_000), noise=0.002, rng=rng)
    off = random.uniform(-1.5, 1.5, len(depth))
    made |= {"lr": made["lr"] * np.exp(off), "val_loss": made["val_loss"] * np.exp(0.1 * off**2)}
    return with_roles(pa.table(made), ROLES, LAWS)
