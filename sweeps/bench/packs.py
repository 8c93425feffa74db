"""Cells of one shape trained as one batched model, against the cells one by one, by width."""

import time
from collections.abc import Sequence
from statistics import median

import torch

from sweeps.bench.cells import endless, seconds_each
from sweeps.bench.tables import Section
from sweeps.bench.usual import UsualScript
from trainers.mnist.cell import Cell
from trainers.mnist.images import Images
from trainers.mnist.network import ConvNet, flops_per_image
from trainers.mnist.packed import Pack
from trainers.mnist.train import DeviceImages, Run, put_on


def section(widths: Sequence[float], sizes: Sequence[int], *, batch_size: int, seconds: float, repeats: int,
            images: Images, device: str) -> Section:
    torch.set_num_threads(1)
    device_images = put_on(images, "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu", "")
    where = device_images.train_images.device
    rows = []
    for width in widths:
        steps = [seconds_of_step(width, size, batch_size=batch_size, seconds=seconds, repeats=repeats, images=device_images)
                 for size in (0, *sizes)]
        usual = UsualScript(ConvNet(width, 0.0, images.classes, torch.Generator().manual_seed(0)), images,
                            batch_size=batch_size, lr=1e-3, device=where)
        usual_s = seconds_each(usual.advance, seconds=seconds, clock=_clock(where))
        alone = batch_size / steps[0]
        packed = [size * batch_size / step for size, step in zip(sizes, steps[1:])]
        best = max(alone, *packed)
        rows.append((f"{width:.3g}", f"{batch_size / usual_s:,.0f}", f"{alone:,.0f}",
                     *(f"{rate:,.0f} ({rate / alone:.2f}x)" for rate in packed), f"{best * flops_per_image(width) / 1e9:,.0f}"))
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "one CPU core"
    return Section(
        title=f"4  Packs on {name}: images/s, batch {batch_size} a cell",
        columns=("width", "usual script", "a cell alone", *(f"pack of {size}" for size in sizes), "best GFLOP/s"),
        rows=tuple(rows),
        notes=() if where.type == "cuda" else ("no GPU here: on a CPU --pack trains the cells one after another",))


def seconds_of_step(width: float, size: int, *, batch_size: int, seconds: float, repeats: int, images: DeviceImages) -> float:
    """Of a pack of `size`; of a cell alone where size is 0."""
    cells = [Cell(width=width, fraction=1.0, seed=seed, lr=1e-3, batch_size=batch_size) for seed in range(max(1, size))]
    run = Pack(cells, images) if size else Run(cells[0], images)
    clock = _clock(images.train_images.device)
    return median(seconds_each(endless(run, batch_size=batch_size, images=images), seconds=seconds, clock=clock) for _ in range(repeats))


def _clock(device: torch.device):
    """CPU time on a CPU, see cells.seconds_each; a GPU works on while the process waits."""
    return time.process_time if device.type == "cpu" else time.perf_counter
