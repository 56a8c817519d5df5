"""torchvision's side of augmentation: transforms of Pillow images, in the worker processes of PyTorch's DataLoader."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms


class Cutout:
    """A black square in an image (C, H, W), half as wide as it, its centre anywhere; torchvision has none."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        (top, height), (left, width) = (self._side(size) for size in image.shape[1:])
        image[:, max(top, 0) : top + height, max(left, 0) : left + width] = 0
        return image

    @staticmethod
    def _side(size: int) -> tuple[int, int]:
        """(first, how many) of its rows or columns, of which the border may cut some off."""
        hole = size // 2
        return int(torch.randint(size, ())) - hole // 2, hole


class TorchvisionLoader:
    """Makes the batches of the augmentation `cifar`. images: uint8 (N, H, W, 3). labels: int32 (N,).

    Its workers stay alive from the first batch on, and do nothing between two calls.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, workers: int, fill: int):
        self._order = _Order(len(images))
        self._batch_size = batch_size
        self._loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
            _Images(images, labels, fill),
            batch_size,
            sampler=self._order,
            num_workers=workers,
            persistent_workers=True,
        )

    def make(self, batches: int) -> None:
        """Makes so many, each float32 (batch_size, 3, H, W) with its labels."""
        self._order.count = batches * self._batch_size
        for _ in self._loader:
            pass


class _Images(Dataset):
    def __init__(self, images: np.ndarray, labels: np.ndarray, fill: int):
        self._images, self._labels = images, labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(images.shape[1:3], padding=images.shape[1] // 8, fill=fill),
                transforms.RandomHorizontalFlip(),
                transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=[fill] * 3),
                transforms.ToTensor(),
                Cutout(),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), int(self._labels[index])


class _Order(Sampler):
    """`count` images, each any one."""

    def __init__(self, size: int):
        self._size = self.count = size

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randint(self._size, (self.count,)).tolist())

    def __len__(self) -> int:
        return self.count
