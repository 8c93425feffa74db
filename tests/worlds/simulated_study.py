"""A study in our schema drawn from a known surface, for tests of everything around the fits."""

import numpy as np
import pyarrow as pa

from trainers.columns import schema_of
from trainers.mnist.cell import Result

SCHEMA = schema_of(Result, "mnist")
E, A, B, ALPHA, BETA = 0.02, 30.0, 20.0, 0.6, 0.5
SCHEMA = schema_of(Result, "mnist")
COST_EXPONENT = 0.8   # C = k N^p D, as a narrow CNN's


def simulated_study(*, widths: int = 10, fractions: int = 8, seeds: int = 3,
                    dropouts: tuple[float, ...] = (0.0, 0.2), noise: float = 0.03,
                    rng: int = 0) -> pa.Table:
    """widths x fractions x seeds x dropouts rows; dropout slows the learning from N, a little."""
    random = np.random.default_rng(rng)
    rows = [(w, f, s, d) for d in dropouts for w in range(widths) for f in range(fractions) for s in range(seeds)]
    width, fraction, seed, dropout = (np.array(column) for column in zip(*rows, strict=True))
    channels = np.round(4 * np.sqrt(2.0) ** width)
    params = np.round(70 * channels ** 1.6 + 50)
    samples = np.round(60_000 * 0.5 ** fraction)
    flops = 300.0 * params ** COST_EXPONENT * samples
    truth = E + A / params ** (ALPHA - 0.05 * dropout) + B / samples ** BETA
    loss = truth * np.exp(noise * random.standard_normal(len(rows)))
    error = np.clip(0.9 - 0.9 * np.exp(-0.32 * loss), 1e-4, 0.9)
    lr = 0.014 * (channels / channels[0]) ** -0.5
    n = len(rows)
    columns = {
        "width": np.sqrt(2.0) ** width, "fraction": 0.5 ** fraction, "dropout": dropout, "seed": seed,
        "lr": lr, "batch_size": np.full(n, 64), "lr_rule": ["uniform"] * n, "schedule": ["cosine"] * n,
        "warmup": np.full(n, 0.1), "weight_decay": np.zeros(n), "beta1": np.full(n, 0.9), "beta2": np.full(n, 0.99),
        "protocol": ["per-budget"] * n, "channels": channels.astype(np.int64), "params": params.astype(np.int64),
        "samples": samples.astype(np.int64), "steps": (samples // 64).astype(np.int64), "flops": flops,
        "spent_flops": flops, "train_loss": loss * 0.9, "val_loss": loss, "val_accuracy": 1 - error,
        "train_seconds": flops / 1e9, "device": ["cpu"] * n, "dataset": ["mnist"] * n, "fingerprint": ["0123"] * n}
    blank = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0}
    return pa.table({f.name: columns.get(f.name, [blank[f.type]] * n) for f in SCHEMA}).cast(SCHEMA)


def simulated_trials(*, widths: int = 10, trials: int = 15, rng: int = 0) -> pa.Table:
    """Tuning trials of the same study: a parabola in log lr whose vertex falls as channels^-1/2."""
    random = np.random.default_rng(rng)
    study = simulated_study(widths=widths, fractions=1, seeds=trials, dropouts=(0.0,), noise=0.0)
    best = study["lr"].to_numpy()
    lr = best * np.exp(random.uniform(-1.7, 1.7, len(best)))
    loss = study["val_loss"].to_numpy() * np.exp(0.3 * np.log(lr / best) ** 2 + 0.01 * random.standard_normal(len(lr)))
    return study.set_column(study.schema.get_field_index("lr"), SCHEMA.field("lr"), pa.array(lr)).set_column(
        study.schema.get_field_index("val_loss"), SCHEMA.field("val_loss"), pa.array(loss)).cast(SCHEMA)
