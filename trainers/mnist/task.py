"""The CNN on MNIST as a Task: what the sweeps know of it, and the one to imitate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from trainers import precision
from trainers.cost import Cost, Speed
from trainers.fingerprint import code_digest, fingerprint
from trainers.mnist.cell import Cell, Result
from trainers.mnist.images import Images, load_images
from trainers.mnist.network import channels, count_params, flops_per_image
from trainers.mnist.packed import shape, train_packed
from trainers.mnist.presets import PRESETS, SEARCH, BatchRule, rate
from trainers.mnist.train import DeviceImages, put_on, steps_of, train
from trainers.mnist.trunk import stops_of, train_trunk, trunk_of
from trainers.schedule import SHAPES
from trainers.task import Attempt, Task, grouped
from trainers.trunk import PROTOCOLS

# The files whose code decides a row's numbers; what images.py does is in the data's own digest.
CODE = ("adam.py", "mnist/narrow.py", "mnist/network.py", "precision.py", "schedule.py", "streams.py", "mnist/train.py")
# Code that gives the bits of older code goes by the older one's digest, so that its tables can be continued.
SAME_BITS: Mapping[str, str] = {
    "006f563245ddd9e492e24df5ff32899a6dbe489fc9e98eaa92fa4a3404c762b8":   # arithmetic and streams in files of their own
        "fcec2e425cb05337c7d09f3c609f2d4b890db472bcbb4e512e21feed25f02243",
}

# Fitted to the published standard study, 2-core server, both busy with a trial of one thread; for a GPU a guess until rows say more.
CPU = Speed(step_s=1.2e-3, flops_per_s=4.5e10, eval_flops_per_s=5e10, eval_s=0.1)
GPU = Speed(step_s=0.6e-3, flops_per_s=4e12, eval_flops_per_s=4e12, eval_s=0.05)


class Mnist(Task):
    """One epoch over a fraction of the images; several cells in a run as a pack, or along one trunk."""

    name, cell, row = "mnist", Cell, Result
    presets, search = PRESETS, SEARCH
    search_settings = {"protocol": "carbs"}   # its rows are no grid's

    def load(self, *, dataset: str = "mnist", data_root: str | None = None) -> Images:
        """MNIST, which the project carries, or its kin through torchvision, which keeps them in data_root."""
        return load_images(dataset, data_root)

    def place(self, data: Images, device: str) -> DeviceImages:
        # cuDNN picks kernels by timing them unless told not to: another pick, other bits.
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        return put_on(data, device, self.fingerprint(data))

    def train(self, cells: Sequence[Cell], data: DeviceImages, attempt: Attempt) -> Iterable[Result]:
        # Left alone, cuDNN's convolutions take float32 for TF32, and the row would not know.
        tf32 = cells[0].precision == "tf32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        if cells[0].protocol in PROTOCOLS:
            return train_trunk(cells, data)
        if len(cells) > 1 and attempt.device != "cpu":
            return train_packed(cells, data)
        return (train(cell, data) for cell in cells)   # on a CPU a pack gains nothing but a trial's overhead

    def recipe(self, axes: Mapping[str, object]) -> dict[str, object]:
        found = {"batch_size": BatchRule()(axes["fraction"])} if "fraction" in axes else {}
        placed = min(axes.get("width", 0), axes.get("fraction", 0)) > 0   # what lies outside is for check() to refuse
        return {**found, **({"lr": rate(axes["width"], axes["fraction"])} if placed else {})}

    def carried(self, choice: str, value: float, at: Mapping[str, object], axes: Mapping[str, object]) -> float:
        """A rate tuned at one fraction goes to the others by the rule; by itself it would rob the large ones (README)."""
        named = {"width", "fraction"}
        if choice != "lr" or not named <= at.keys() & axes.keys() or all(at[name] == axes[name] for name in named):
            return value
        return float(f"{value * rate(axes['width'], axes['fraction']) / rate(at['width'], at['fraction']):.4g}")

    def check(self, cell: Cell, data: Images) -> None:
        for name, low, high in (("width", 0, float("inf")), ("fraction", 0, 1.0000001)):
            if not low < getattr(cell, name) < high:
                raise ValueError(f"{name} {getattr(cell, name):g}: " + ("widths are multipliers above 0" if name == "width" else
                                                                        "fractions lie above 0 and at most at 1"))
        if not 0 <= cell.dropout < 1:
            raise ValueError(f"dropout {cell.dropout:g}: dropouts lie from 0 to below 1")
        if cell.seed < 0:
            raise ValueError(f"seed {cell.seed}: seeds are 0 or more")
        if cell.precision not in precision.PRECISIONS:
            raise ValueError(f"unknown precision {cell.precision!r}: choose one of {', '.join(precision.PRECISIONS)}")
        if cell.protocol not in PROTOCOLS and cell.schedule not in SHAPES:
            raise ValueError(f"unknown schedule {cell.schedule!r}: choose one of {', '.join(SHAPES)}")
        steps_of(cell.fraction, cell.batch_size, len(data.train_images))

    def remarks(self, cells: Sequence[Cell]) -> list[str]:
        found = (precision.remark(name) for name in sorted({cell.precision for cell in cells}))
        return [text for text in found if text]

    def cost(self, cells: Sequence[Cell], data: Images) -> Cost:
        """Raises ValueError where a fraction holds fewer images than a batch."""
        train, val = len(data.train_images), len(data.val_images)
        width, batch_size = cells[0].width, cells[0].batch_size
        if cells[0].protocol in PROTOCOLS:
            stops = stops_of(cells, train)
            steps = stops[-1].step + sum(stop.decay for stop in stops)
        else:
            steps = sum(steps_of(cell.fraction, cell.batch_size, train) for cell in cells)
        image = flops_per_image(width, data.classes)
        return Cost(flops=float(steps * batch_size * image), steps=steps, evaluations=len(cells),
                    eval_flops=len(cells) * val * image / 3.0)  # a forward pass is about a third

    def sizes(self, cell: Cell, data: Images) -> dict[str, float]:
        return {"channels": channels(cell.width)[0], "params": count_params(cell.width, data.classes),
                "samples": steps_of(cell.fraction, cell.batch_size, len(data.train_images)) * cell.batch_size}

    def speed(self, device: str) -> Speed:
        return CPU if device == "cpu" else GPU

    def hopeless(self, data: Images) -> float:
        return data.knowing_nothing

    def runs(self, cells: Sequence[Cell], *, most: int) -> list[tuple[Cell, ...]]:
        """A trunk serves all its points, however many; cells of one shape make a pack of at most `most`."""
        alone = [cell for cell in cells if cell.protocol not in PROTOCOLS]
        on_trunks = [cell for cell in cells if cell.protocol in PROTOCOLS]
        return [*grouped(alone, shape, most=most), *grouped(on_trunks, _trunk_key, most=len(cells) + 1)]

    def apart(self, cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
        """A trunk is one run, and no budget of it can be read without it."""
        return [tuple(cells)] if cells[0].protocol in PROTOCOLS else super().apart(cells)

    def fingerprint(self, data: Images) -> str:
        home = Path(__file__).resolve().parents[1]
        code = code_digest(home / file for file in CODE)
        return fingerprint(data.digest, SAME_BITS.get(code, code))


def _trunk_key(cell: Cell) -> Cell:
    return replace(trunk_of([cell]), fraction=0.0, protocol="")


TASK = Mnist()
