"""Data sets as arrays: MNIST, which the project carries, and its kin through torchvision."""

import gzip
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

# SHA-256 of the uncompressed canonical files.
MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

# Names on the command line, and how torchvision calls them.
TORCHVISION = {
    "fashion-mnist": ("FashionMNIST", {}),
    "kmnist": ("KMNIST", {}),
    **{f"emnist-{split}": ("EMNIST", {"split": split})
       for split in ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")},
}
DATASETS = ("mnist", *TORCHVISION)


class DatasetError(ValueError):
    """A data set that is unknown, damaged, or can't be had; the message says what to do."""


@dataclass(frozen=True)
class Images:
    """A data set in memory, normalised by the training set's own mean and deviation.

    Arrays, not tensors: they pass through Ray's object store without a copy, one a node.
    """

    name: str
    train_images: np.ndarray  # (n, 1, 28, 28) float32
    train_labels: np.ndarray  # (n,) int64
    val_images: np.ndarray    # (m, 1, 28, 28) float32
    val_labels: np.ndarray    # (m,) int64
    classes: int
    digest: str               # SHA-256 of these arrays

    @property
    def knowing_nothing(self) -> float:
        """Loss of giving every class the same probability, nats."""
        return math.log(self.classes)


def load_images(name: str = "mnist", root: str | Path | None = None) -> Images:
    """The data set `name`, read from the package or by torchvision from `root`.

    Raises DatasetError for an unknown name, a file whose checksum is wrong, and a download
    that fails.
    """
    if name == "mnist" and root is None:
        raw = tuple(carried(file) for file in MNIST_FILES)
    elif name == "mnist":
        raw = _through_torchvision(name, "MNIST", {}, Path(root))
    elif name in TORCHVISION:
        raw = _through_torchvision(name, *TORCHVISION[name], Path(root or "~/.cache/scaling-law-lab").expanduser())
    else:
        raise DatasetError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return normalised(name, *raw)


def normalised(name: str, train_images: np.ndarray, train_labels: np.ndarray,
               val_images: np.ndarray, val_labels: np.ndarray) -> Images:
    """Images from raw pixels (n, 28, 28) uint8 and labels (n,)."""
    mean, deviation = train_images.mean(dtype=np.float64), train_images.std(dtype=np.float64)

    def pixels(raw):
        return ((raw[:, None].astype(np.float32) - np.float32(mean)) / np.float32(deviation))

    # EMNIST letters counts from 1: classes are numbered by their rank.
    classes, train_labels = np.unique(train_labels, return_inverse=True)
    arrays = {"train_images": pixels(train_images), "train_labels": train_labels.astype(np.int64),
              "val_images": pixels(val_images), "val_labels": np.searchsorted(classes, val_labels).astype(np.int64)}
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(array.data)
    return Images(name=name, **arrays, classes=len(classes), digest=digest.hexdigest())


def carried(file: str) -> np.ndarray:
    """The array in one of MNIST_FILES, which the package carries. Raises DatasetError where it is damaged."""
    data = gzip.decompress((resources.files("trainers.mnist") / "data" / f"{file}.gz").read_bytes())
    if hashlib.sha256(data).hexdigest() != MNIST_FILES[file]:
        raise DatasetError(f"trainers/mnist/data/{file}.gz is damaged (its checksum is wrong): install the project again")
    return _idx(data)


def _idx(data: bytes) -> np.ndarray:
    """The array in an IDX file of unsigned bytes: magic, sizes (big-endian), then the values."""
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", count=dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _through_torchvision(name: str, dataset: str, options: dict, root: Path) -> tuple[np.ndarray, ...]:
    maker = getattr(_torchvision_datasets(), dataset)
    arrays = []
    for train in (True, False):
        try:
            part = maker(root, train=train, download=not _present(maker, root, train, options), **options)
        except (OSError, RuntimeError) as error:  # torchvision wraps a failed download in RuntimeError
            raise DatasetError(
                f"can't get {name} (no network, or the server does not answer): put torchvision's files for "
                f"{dataset} under {root} and pass --data-root, or use --dataset mnist, which needs no download "
                f"[{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}]") from None
        arrays += [part.data.numpy(), part.targets.numpy()]
    return tuple(arrays)


def _present(maker: type, root: Path, train: bool, options: dict) -> bool:
    try:
        maker(root, train=train, download=False, **options)
    except RuntimeError:  # torchvision's "Dataset not found"
        return False
    return True


@cache
def _torchvision_datasets():
    """torchvision.datasets, also where torchvision's compiled operators don't load.

    A CPU build of torch beside torchvision's CUDA wheel stops `import torchvision` for want of two
    operators' schemas. Data sets use no operator, so the schemas alone will do.
    """
    import torch
    try:
        from torchvision import datasets
    except RuntimeError:
        # torch keeps a schema as long as its Library lives: as long as the module that it serves.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision import datasets
        datasets.schema_library = library
    return datasets
