"""Data sets: the carried MNIST is the canonical one, others go through torchvision, none fails darkly."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from trainers.mnist import images as module
from trainers.mnist.images import MNIST_FILES, DatasetError, load_images

# MD5 of the uncompressed canonical files, as published with the data.
CANONICAL_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def test_the_carried_files_are_the_canonical_ones():
    folder = module.resources.files("trainers.mnist") / "data"
    for name, md5 in CANONICAL_MD5.items():
        assert hashlib.md5(gzip.decompress((folder / f"{name}.gz").read_bytes())).hexdigest() == md5


def test_mnist_is_whole_and_normalised_by_its_own_training_set():
    mnist = load_images()
    assert mnist.train_images.shape == (60_000, 1, 28, 28) and mnist.val_images.shape == (10_000, 1, 28, 28)
    assert mnist.classes == 10 and mnist.train_images.dtype == np.float32
    assert abs(mnist.train_images.mean(dtype=np.float64)) < 1e-5
    assert abs(mnist.train_images.std(dtype=np.float64) - 1) < 1e-5
    assert np.bincount(mnist.val_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_damaged_file_is_refused(monkeypatch):
    monkeypatch.setitem(MNIST_FILES, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(DatasetError, match="damaged"):
        load_images()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DatasetError, match="fashion-mnist"):
        load_images("imagenet")


def idx(array):
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def test_fashion_mnist_on_disk_is_read_through_torchvision(tmp_path):
    """Also with a CPU torch beside torchvision's CUDA wheel, whose import fails without our help."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 60), ("t10k", 20)):
        pixels = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))
    data = load_images("fashion-mnist", tmp_path)
    assert data.train_images.shape == (60, 1, 28, 28) and data.val_labels.tolist() == [k % 10 for k in range(20)]
    assert data.digest != load_images().digest


def test_no_network_gives_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    """The download is refused at the socket, as on a machine without a network."""
    import socket

    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DatasetError) as error:
        load_images("kmnist", tmp_path)
    assert "--data-root" in str(error.value) and "\n" not in str(error.value)
