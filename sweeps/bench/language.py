"""The language model's speed on one core and its loss at equal FLOPs: against nanoGPT's recipe, and the core's matrix products."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from sweeps.bench.cells import matrix_flops_per_s, seconds_each
from sweeps.bench.nanogpt import Gpt, UsualTextScript
from sweeps.bench.tables import Section, Target
from sweeps.jobs.grid import cell_of
from trainers.language.cell import Cell
from trainers.language.corpus import Corpus, starts_of
from trainers.language.shape import Shape
from trainers.language.task import TASK
from trainers.language.train import DeviceCorpus, Run, steps_of
from trainers.schedule import rate_factors

# Issue 15: against nanoGPT's recipe at the smallest sizes, and of the matrix products' rate at the largest.
SMALL_TARGET, PEAK_TARGET = 1.5, 0.60


@dataclass(frozen=True)
class TextSpeed:
    """Of one width; medians over the repeats."""

    cell: Cell
    shape: Shape
    ours: float        # bytes/s of training
    usual: float
    ratio: float       # median of the repeats' ratios
    our_loss: float | None    # nats a byte on the held-out part, after equal FLOPs; None where nothing was trained
    usual_loss: float | None

    @property
    def flops_per_s(self) -> float:
        return self.ours * self.shape.flops


def cell_at(width: int, *, batch_tokens: int, tokens: int = 1_000_000) -> Cell:
    """The grid's cell of this width, with a batch of its own."""
    return cell_of(TASK, {"width": width, "tokens": tokens}, seed=0, batch_size=batch_tokens)


def usual_script(cell: Cell, shape: Shape, data: DeviceCorpus, *, steps: int) -> UsualTextScript:
    """nanoGPT's at the same width, depth, heads, context and batch, on the same training text."""
    torch.manual_seed(cell.seed)
    model = Gpt(vocabulary=shape.vocabulary, width=shape.width, depth=shape.depth, context=shape.context,
                heads=next(h for h in range(shape.heads, 0, -1) if shape.width % h == 0))
    text = np.concatenate([data.corpus.tokens[start:stop] for start, stop in data.corpus.train])
    return UsualTextScript(model, text, sequences=cell.batch_size // shape.context, context=shape.context, steps=steps)


def endless(run: Run) -> Callable[[int], None]:
    """Takes any number of steps at a small rate, over the same sequences again and again."""
    most = len(run.order) // run.sequences

    def advance(steps: int) -> None:
        for first in range(0, steps, most):
            run.step = 0
            run.advance([0.1] * min(most, steps - first))

    return advance


def measure(width: int, *, batch_tokens: int, seconds: float, repeats: int, trained: int, data: DeviceCorpus) -> TextSpeed:
    """Ours and the usual script by turns, so that a noisy neighbour disturbs both; then both trained on `trained` bytes."""
    cell = cell_at(width, batch_tokens=batch_tokens)
    run = Run(cell, data)
    usual = usual_script(cell, run.shape, data, steps=10**9)
    times = [[seconds_each(way, seconds=seconds) for way in (usual.advance, endless(run))] for _ in range(repeats)]
    batch = run.sequences * run.shape.context
    other, own = (batch / median(column) for column in zip(*times))
    losses = equal_flops_losses(cell_at(width, batch_tokens=batch_tokens, tokens=trained), data) if trained else (None, None)
    return TextSpeed(cell, run.shape, own, other, median(one / two for one, two in times), *losses)


def equal_flops_losses(cell: Cell, data: DeviceCorpus) -> tuple[float, float]:
    """Held-out loss of ours and of the usual script, trained on as many bytes in as many steps: their products are the same."""
    run = Run(cell, data)
    steps = steps_of(cell, run.shape.context)
    run.advance(rate_factors(steps, shape=cell.schedule, warmup=cell.warmup))
    usual = usual_script(cell, run.shape, data, steps=steps)
    usual.advance(steps)
    starts = torch.from_numpy(starts_of(data.corpus.held_out, run.shape.context))
    windows = data.sequences(run.shape.context).index_select(0, starts - 1).long()
    return run.evaluate().loss, usual.evaluate(windows)


def section(widths: Sequence[int], *, batch_tokens: int, seconds: float, repeats: int, trained: int, corpus: Corpus) -> Section:
    torch.set_num_threads(1)
    data = TASK.place(corpus, "cpu")
    speeds, products = [], []
    for width in widths:
        products.append(matrix_flops_per_s(seconds=seconds))
        speeds.append(measure(width, batch_tokens=batch_tokens, seconds=seconds, repeats=repeats, trained=trained, data=data))
    peak = max(products)
    worse = max((s.our_loss - s.usual_loss for s in speeds if s.our_loss is not None), default=None)
    return Section(
        title=f"6  Language: one thread, {batch_tokens:,} bytes a step",
        columns=("width", "N of blocks", "context", "kFLOP/byte", "bytes/s", "nanoGPT's", "ratio", "GFLOP/s", "of products", "loss",
                 "nanoGPT's"),
        rows=tuple((str(s.cell.width), f"{s.shape.block_params:,}", str(s.shape.context), f"{s.shape.flops / 1e3:,.0f}", f"{s.ours:,.0f}",
                    f"{s.usual:,.0f}", f"{s.ratio:.2f}x", f"{s.flops_per_s / 1e9:.1f}", f"{s.flops_per_s / peak:.0%}",
                    *(("", "") if s.our_loss is None else (f"{s.our_loss:.3f}", f"{s.usual_loss:.3f}"))) for s in speeds),
        targets=(Target("smallest width against nanoGPT's recipe", speeds[0].ratio, SMALL_TARGET, "x", True),
                 Target("largest width, share of the matrix products' FLOP/s", speeds[-1].flops_per_s / peak, PEAK_TARGET, "", True),
                 *((Target("loss less nanoGPT's at equal FLOPs, the worst width", worse, 0.0, "nat", False),) if worse is not None else ())),
        notes=(f"limit: {peak / 1e9:.0f} GFLOP/s of square products on this core, best of {len(products)}; medians of {repeats} repeats "
               f"of {seconds:g} s each, CPU time; FLOPs as the rows count them, attention's causal half included",
               *((f"loss: held-out nats a byte of {corpus.name} after one training on {trained:,} bytes in equal batches, one seed",)
                 if trained else ())))
