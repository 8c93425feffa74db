"""The language model as a Task: what the sweeps know of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from trainers import precision
from trainers.cost import Cost, Speed
from trainers.fingerprint import code_digest, fingerprint
from trainers.language.cell import PER_BUDGET, Cell, Result
from trainers.language.corpus import Corpus, load_corpus, looks_binary
from trainers.language.presets import PRESETS, SEARCH, batch_size_of, rate_of
from trainers.language.shape import Shape, depth_of
from trainers.language.train import DeviceCorpus, put_on, sequences_a_step, shape_of, steps_of
from trainers.language.trunk import (
    PROTOCOLS, SCHEDULES, WARMUPS, on_trunk, planned_sizes, protocol_of, stops_of, train, trunk_of, unique_tokens,
)
from trainers.schedule import SHAPES
from trainers.task import Attempt, Task, grouped

# The files whose code decides a row's numbers; what corpus.py does is in the data's own digest.
CODE = ("adam.py", "language/by_hand.py", "language/head.py", "language/network.py", "language/shape.py", "language/train.py",
        "language/trunk.py", "precision.py", "schedule.py", "streams.py", "trunk.py")

# Fitted to `python -m sweeps.bench language` (widths 8 to 96, 512 bytes a step) on one core of a busy 2-core server.
CPU = Speed(step_s=1.2e-3, flops_per_s=5e10, eval_flops_per_s=5e10, eval_s=0.15)
GPU = Speed(step_s=5e-3, flops_per_s=5e13, eval_flops_per_s=1e14, eval_s=0.1)   # a guess until rows say more
TRUNK_TOKENS = 1_000_000   # whose batch size every budget of a trunk has


class Language(Task):
    """One pass over a nested subset of a text, or of images; several data budgets in a run along one trunk."""

    name, cell, row = "language", Cell, Result
    presets, search = PRESETS, SEARCH
    search_settings = {"protocol": f"{PER_BUDGET}:search"}   # its rows are no grid's
    saves = True

    def load(self, *, data: str | Sequence[str] = "python", levels: int = 4) -> Corpus:
        """A data set by its name, or files, one behind the other; pixels in so many grey levels."""
        corpus = load_corpus(data, levels=levels)
        if looks_binary(corpus):
            print(f"note: {corpus.name} holds zero bytes, as binary files do: it is taken as it is, byte by byte")
        return corpus

    def place(self, data: Corpus, device: str) -> DeviceCorpus:
        if device == "cuda":   # flash attention's backward pass adds in any order unless told not to: other bits
            torch.use_deterministic_algorithms(True, warn_only=True)
        return put_on(data, device)

    def train(self, cells: Sequence[Cell], data: DeviceCorpus, attempt: Attempt) -> Iterable[Result]:
        torch.backends.cuda.matmul.allow_tf32 = cells[0].precision == "tf32"
        return train(cells, data, attempt)

    def recipe(self, axes: Mapping[str, object]) -> dict[str, object]:
        """Depth and rate follow from the width, the batch from the data, unless a trunk serves all budgets with one."""
        protocol = str(axes.get("protocol", PER_BUDGET)).partition(":")[0]
        tokens = TRUNK_TOKENS if protocol in PROTOCOLS else axes.get("tokens")
        return {**({"depth": depth_of(axes["width"]), "lr": rate_of(axes["width"])} if axes.get("width", 0) > 0 else {}),
                **({"batch_size": batch_size_of(tokens)} if tokens and tokens > 0 else {}),
                **({"schedule": SCHEDULES[protocol]} if protocol in PROTOCOLS else {})}

    def check(self, cell: Cell, data: Corpus) -> None:
        for name in ("width", "depth", "tokens", "batch_size", "epochs"):
            if getattr(cell, name) < 1:
                raise ValueError(f"{name} {getattr(cell, name)}: give at least 1")
        for name in ("context", "seed", "warmup", "weight_decay"):
            if getattr(cell, name) < 0:
                raise ValueError(f"{name} {getattr(cell, name)}: give 0 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(cell, name) < 1:
                raise ValueError(f"{name} {getattr(cell, name):g}: decay rates lie from 0 to below 1")
        if cell.lr <= 0:
            raise ValueError(f"lr {cell.lr:g}: a learning rate lies above 0")
        if cell.precision not in precision.PRECISIONS:
            raise ValueError(f"unknown precision {cell.precision!r}: choose one of {', '.join(precision.PRECISIONS)}")
        if cell.warmup_of not in WARMUPS:
            raise ValueError(f"unknown warmup_of {cell.warmup_of!r}: choose one of {', '.join(WARMUPS)}")
        if cell.warmup_of == "run" and cell.warmup > 1:
            raise ValueError(f"warmup {cell.warmup:g}: a share of the run lies from 0 to 1; for a length set warmup_of=tokens")
        _check_schedule(cell)
        _check_data(cell, data)

    def remarks(self, cells: Sequence[Cell]) -> list[str]:
        found = (precision.remark(name) for name in sorted({cell.precision for cell in cells}))
        return [text for text in found if text]

    def cost(self, cells: Sequence[Cell], data: Corpus) -> Cost:
        """Of one run. Raises ValueError where a budget holds fewer tokens than a batch."""
        shape = shape_of(cells[0], data)
        stops = stops_of(cells, shape.context)
        steps = stops[-1].step + sum(stop.decay for stop in stops)
        batch = sequences_a_step(cells[0], shape.context) * shape.context
        held = int((data.held_out[:, 1] - data.held_out[:, 0]).sum())
        return Cost(flops=float(steps * batch * shape.flops), steps=steps, evaluations=len(cells),
                    eval_flops=float(len(cells) * held * shape.forward_flops))

    def sizes(self, cell: Cell, data: Corpus) -> dict[str, float]:
        shape = shape_of(cell, data)
        samples = steps_of(cell, shape.context) * sequences_a_step(cell, shape.context) * shape.context
        return {**planned_sizes(shape), "samples": samples, "unique_samples": unique_tokens(cell, shape, samples)}

    def speed(self, device: str) -> Speed:
        return CPU if device == "cpu" else GPU

    def hopeless(self, data: Corpus) -> float:
        return data.knowing_nothing

    def runs(self, cells: Sequence[Cell], *, most: int) -> list[tuple[Cell, ...]]:
        """A trunk serves all its points, however many; other cells are alone."""
        alone = [(cell,) for cell in cells if not on_trunk(cell)]
        return [*alone, *grouped([cell for cell in cells if on_trunk(cell)], _trunk_key, most=len(cells) + 1)]

    def apart(self, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
        """A trunk is one run, and no budget of it can be read without it."""
        return [tuple(cells)] if on_trunk(cells[0]) else super().apart(cells)

    def fingerprint(self, data: Corpus) -> str:
        home = Path(__file__).resolve().parents[1]
        return fingerprint(data.digest, code_digest(home / file for file in CODE))


def _trunk_key(cell: Cell) -> Cell:
    return replace(trunk_of([cell]), tokens=1, protocol="")


def _check_schedule(cell: Cell) -> None:
    protocol = protocol_of(cell)
    if protocol not in (*PROTOCOLS, PER_BUDGET):
        raise ValueError(f"unknown protocol {cell.protocol!r}: choose {PER_BUDGET}, {', '.join(PROTOCOLS)}, or one of these with a "
                         f"label of yours, as in {PER_BUDGET}:mine")
    if protocol in PROTOCOLS and cell.schedule != SCHEDULES[protocol]:
        raise ValueError(f"schedule {cell.schedule!r}: protocol {protocol} has the schedule {SCHEDULES[protocol]}: "
                         f"set schedule={SCHEDULES[protocol]}, or give the protocol on the grid, which sets it")
    if protocol == PER_BUDGET and cell.schedule not in SHAPES:
        raise ValueError(f"unknown schedule {cell.schedule!r}: choose one of {', '.join(SHAPES)}")
    if protocol in PROTOCOLS and cell.epochs > 1:
        raise ValueError(f"epochs {cell.epochs}: a trunk reads its data once: take protocol {PER_BUDGET}")


def _check_data(cell: Cell, data: Corpus) -> None:
    if data.image and cell.context not in (0, data.image):
        raise ValueError(f"context {cell.context}: an image of {data.name} is a sequence of {data.image} tokens: leave context out")
    shape: Shape = shape_of(cell, data)
    shortest = int((data.held_out[:, 1] - data.held_out[:, 0]).min())
    if shape.context > shortest:
        raise ValueError(f"context {shape.context}: the held-out part of {data.name} comes in pieces of {shortest} tokens: "
                         "give a shorter context, or more text")
    available = data.available(shape.context)
    if available < shape.context:
        raise ValueError(f"context {shape.context}: {data.name} is shorter: give a shorter context, or more text")
    if cell.tokens > cell.epochs * available:
        raise ValueError(f"tokens {cell.tokens:,}: {data.name} has {available:,} to train on, and a run sees each once: "
                         f"give fewer, or set epochs={-(-cell.tokens // available)}")
    steps_of(cell, shape.context)


TASK = Language()
