"""A cell's own speed on one core: against the usual script, and against the core's matrix products."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from sweeps.bench.tables import Section, Target
from sweeps.bench.usual import UsualScript
from trainers.mnist.cell import Cell
from trainers.mnist.images import Images
from trainers.mnist.network import ConvNet, count_params, flops_per_image
from trainers.mnist.packed import Pack
from trainers.mnist.train import DeviceImages, Run, put_on
from trainers.precision import native_bfloat16

# Issue 8: against the usual script at the narrow and at the wide end, and of the matrix products' rate.
NARROW_TARGET, WIDE_TARGET, PEAK_TARGET = 4.0, 1.5, 0.60
WHOLE = 7_500         # images of a whole cell: an eighth of MNIST, the middle of the preset `standard`
MATRIX_SIDE = 1024    # of the products that stand for the core's limit: large enough to hide their overhead


@dataclass(frozen=True)
class CellSpeed:
    """Of one width; medians over the repeats."""

    width: float
    ours: float                 # images/s of training
    usual: float
    ratio: float                # median of the repeats' ratios
    rough_ratio: float | None   # the same in bfloat16; None where the processor has none of its own
    ours_validates: float       # s
    usual_validates: float

    @property
    def flops_per_s(self) -> float:
        return self.ours * flops_per_image(self.width)

    def whole_ratio(self, images: int) -> float:
        """Of an epoch over so many images and the validation after it."""
        return (images / self.usual + self.usual_validates) / (images / self.ours + self.ours_validates)


def matrix_flops_per_s(*, seconds: float) -> float:
    """float32 products on one thread."""
    side = torch.randn(MATRIX_SIDE, MATRIX_SIDE)

    def multiply(count: int) -> None:
        for _ in range(count):
            torch.mm(side, side)

    return 2.0 * MATRIX_SIDE**3 / seconds_each(multiply, seconds=seconds)


def seconds_each(act: Callable[[int], object], *, seconds: float, clock: Callable[[], float] = time.process_time) -> float:
    """Of one act, from as many as fill `seconds`.

    By default seconds of the process's own CPU time: on an idle core that is the wall time, on a
    busy one it leaves out the others'.
    """
    act(1)
    began = clock()
    act(2)
    count = max(2, round(2 * seconds / max(clock() - began, 1e-9)))
    began = clock()
    act(count)
    return (clock() - began) / count


def endless(run: Run | Pack, *, batch_size: int, images: DeviceImages) -> Callable[[int], None]:
    """Takes any number of steps, over the same images again and again: the order of a run ends with them."""
    most = len(images.train_images) // batch_size

    def advance(steps: int) -> None:
        for first in range(0, steps, most):
            run.step = 0
            run.advance([0.1] * min(most, steps - first))

    return advance


def measure(width: float, *, batch_size: int, seconds: float, repeats: int, images: Images, device_images: DeviceImages) -> CellSpeed:
    """Ours and the usual script by turns, so that a noisy neighbour disturbs both."""
    cell = Cell(width=width, fraction=1.0, seed=0, lr=1e-3, batch_size=batch_size)
    run = Run(cell, device_images)
    usual = UsualScript(ConvNet(width, 0.0, images.classes, torch.Generator().manual_seed(0)), images,
                        batch_size=batch_size, lr=cell.lr, device=torch.device("cpu"))
    usual.advance(2)
    rough = [Run(replace(cell, precision="bfloat16"), device_images)] if native_bfloat16() else []
    ways = usual.advance, *(endless(one, batch_size=batch_size, images=device_images) for one in (run, *rough))
    times = [[seconds_each(way, seconds=seconds) for way in ways] for _ in range(repeats)]
    other, own, *_ = (batch_size / median(column) for column in zip(*times))
    ratio, *rough_ratio = (median(each[0] / each[way] for each in times) for way in range(1, len(ways)))
    return CellSpeed(width=width, ours=own, usual=other, ratio=ratio, rough_ratio=rough_ratio[0] if rough_ratio else None,
                     ours_validates=_seconds_of(run.evaluate), usual_validates=_seconds_of(usual.evaluate))


def section(widths: Sequence[float], *, batch_size: int, seconds: float, repeats: int, images: Images) -> Section:
    torch.set_num_threads(1)
    device_images = put_on(images, "cpu", "")
    speeds, products = [], []
    for width in widths:
        products.append(matrix_flops_per_s(seconds=seconds))
        speeds.append(measure(width, batch_size=batch_size, seconds=seconds, repeats=repeats,
                              images=images, device_images=device_images))
    peak = max(products)
    return Section(
        title=f"1  A cell: one thread, batch {batch_size}",
        columns=("width", "N", "MFLOP/image", "images/s", "usual script", "ratio", "bfloat16", "GFLOP/s", "of products",
                 "validation s", "usual s", "whole cell"),
        rows=tuple((f"{s.width:.3g}", f"{count_params(s.width):,}", f"{flops_per_image(s.width) / 1e6:.3g}", f"{s.ours:,.0f}",
                    f"{s.usual:,.0f}", f"{s.ratio:.1f}x", f"{s.rough_ratio:.1f}x" if s.rough_ratio else "no", f"{s.flops_per_s / 1e9:.1f}",
                    f"{s.flops_per_s / peak:.0%}", f"{s.ours_validates:.2f}", f"{s.usual_validates:.2f}",
                    f"{s.whole_ratio(WHOLE):.1f}x") for s in speeds),
        targets=(Target("narrowest width against the usual script", speeds[0].ratio, NARROW_TARGET, "x", True),
                 Target("widest width against the usual script", speeds[-1].ratio, WIDE_TARGET, "x", True),
                 *(Target("widest width in bfloat16 against the usual script", s.rough_ratio, WIDE_TARGET, "x", True)
                   for s in speeds[-1:] if s.rough_ratio),
                 Target("widest width, share of the matrix products' FLOP/s", speeds[-1].flops_per_s / peak, PEAK_TARGET, "", True)),
        notes=(f"limit: {peak / 1e9:.0f} GFLOP/s of {MATRIX_SIDE} x {MATRIX_SIDE} products on this core, best of "
               f"{len(products)}; medians of {repeats} repeats of {seconds:g} s each, CPU time",
               "ratio, bfloat16 (--precision bfloat16): training against the usual script, which is float32; "
               f"whole cell: {WHOLE:,} images of training and the validation after them, float32",
               *(("bfloat16 was not measured: this processor, as far as it tells, only imitates it, some 12 times slower than float32",)
                 if speeds[-1].rough_ratio is None else ())))


def _seconds_of(act: Callable[[], object]) -> float:
    """Median of three."""
    times = []
    for _ in range(3):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return median(times)
