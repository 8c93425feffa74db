"""The usual script, to compare with: a data loader with a transform an image, Adam as it comes.

After PyTorch's own MNIST example (pytorch/examples, mnist/main.py) and torchvision's transforms,
written out here as torchvision does them, so that they run where its compiled part doesn't load.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from trainers.mnist.images import Images

LOG_EVERY = 10        # steps between losses printed, which waits for the device
TEST_BATCH = 1000
MEAN, DEVIATION = (0.1307,), (0.3081,)


class UsualDataset(Dataset):
    """What torchvision.datasets.MNIST(transform=Compose([ToTensor(), Normalize(...)])) gives, image by image."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray):
        self.data, self.targets = torch.from_numpy(pixels), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return normalise(to_tensor(Image.fromarray(self.data[index].numpy()))), int(self.targets[index])


def to_tensor(picture: Image.Image) -> Tensor:
    """(1, 28, 28) from 0 to 1."""
    pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
    return pixels.view(picture.size[1], picture.size[0], 1).permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


def normalise(image: Tensor) -> Tensor:
    image = image.clone()
    mean = torch.as_tensor(MEAN, dtype=image.dtype, device=image.device)
    deviation = torch.as_tensor(DEVIATION, dtype=image.dtype, device=image.device)
    if (deviation == 0).any():
        raise ValueError("a deviation of 0")
    return image.sub_(mean.view(-1, 1, 1)).div_(deviation.view(-1, 1, 1))


def pixels_of(normalised: np.ndarray) -> np.ndarray:
    """(n, 28, 28) uint8 again, of images that use the whole range."""
    low, high = normalised.min(), normalised.max()
    return np.rint((normalised[:, 0] - low) * (255.0 / (high - low))).astype(np.uint8)


class UsualScript:
    """One in progress."""

    def __init__(self, network: nn.Module, images: Images, *, batch_size: int, lr: float, device: torch.device):
        self.network, self.device = network.to(device), device
        self.optimiser = torch.optim.Adam(network.parameters(), lr=lr)
        self._train = DataLoader(UsualDataset(pixels_of(images.train_images), images.train_labels),
                                 batch_size=batch_size, shuffle=True)
        self._test = DataLoader(UsualDataset(pixels_of(images.val_images), images.val_labels), batch_size=TEST_BATCH)
        self._batches: Iterator = iter(())

    def advance(self, steps: int) -> float:
        """So many steps, epoch after epoch; the loss last printed."""
        self.network.train()
        printed = float("nan")
        for step in range(steps):
            data, target = self._next_batch()
            data, target = data.to(self.device), target.to(self.device)
            self.optimiser.zero_grad()
            loss = F.nll_loss(F.log_softmax(self.network(data), dim=1), target)
            loss.backward()
            self.optimiser.step()
            if step % LOG_EVERY == 0:
                printed = loss.item()
        return printed

    def evaluate(self) -> float:
        """Mean loss on the validation set."""
        self.network.eval()
        loss, right = 0.0, 0
        with torch.no_grad():
            for data, target in self._test:
                data, target = data.to(self.device), target.to(self.device)
                output = F.log_softmax(self.network(data), dim=1)
                loss += F.nll_loss(output, target, reduction="sum").item()
                right += output.argmax(dim=1, keepdim=True).eq(target.view(-1, 1)).sum().item()
        return loss / len(self._test.dataset)

    def _next_batch(self) -> list[Tensor]:
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self._train)
            return next(self._batches)
