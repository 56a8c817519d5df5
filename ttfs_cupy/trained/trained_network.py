"""A run's network, to be used in a script: load(run).predict(images)."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.cores import chosen_threads
from ttfs_cupy.common.shown import shown
from ttfs_cupy.data import InputDescription
from ttfs_cupy.device import Array
from ttfs_cupy.engine.network import Network
from ttfs_cupy.trained.decision import Decisions, decide
from ttfs_cupy.trained.image_stream import DecodedImage, ImageSource, batched, check_decodable, decoded_images
from ttfs_cupy.trained.opening import open_network

BATCH_SIZE = 256


# arrays do not compare to one truth value
@dataclass(frozen=True, eq=False)
class Classification:
    """What a network makes of N images; NumPy arrays.

    classes: int64 (N,), labels. names: N texts, the names of these classes.
    probabilities: float32 (N, classes), those of the loss, the softmax of the readout (docs/model.md, "Readout").
    margin: float32 (N,), by how much the best class' readout exceeds the second's: a difference of membrane potentials,
    or of earliness where the readout fires.
    decision_time: float32 (N,), since when the answer stands, in windows (t_win) from the start of the input's.
    """

    classes: NDArray[np.int64]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    margin: NDArray[np.float32]
    decision_time: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class TrainedNetwork:
    """A run's network with its trained weights; `load` gives it. images: what it was trained on. class_names: by label;
    the labels themselves where the data set brought no names. threads: how many decode image files; None: as many as
    the machine gives."""

    network: Network
    images: InputDescription
    class_names: tuple[str, ...]
    threads: int | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.images.shape

    def predict(self, images: Any, batch_size: int = BATCH_SIZE) -> Classification:
        """Classifies images, of which there may be none, batch by batch.

        images: an array (N, channels, height, width), of floats in [0, 1], or of uint8 as the data set has its pixels,
        from 0 to 255 (of digits to 16); or image files, by their paths, which are made grey or coloured, and resized,
        as the data set `folder` does it. An image's result does not depend on the others: on a CPU to the last bit, on
        a GPU but for how a library rounds batches of other sizes.
        Raises ValueError for other arrays, UserError, which names the file, for a path that leads to no image.
        """
        size = check_count("batch_size", batch_size)
        with closing(self._batches(images, size)) as batches:
            parts = [self.decide(batch) for batch in batches]
        return self._classification(parts)

    def decide(self, inputs: Array) -> Decisions:
        """The decisions on one batch as `encode` or `encode_levels` gives it."""
        return decide(self.network, inputs)

    def encode_levels(self, levels: NDArray[np.uint8]) -> Array:
        """The network's input for pixels as the data set has them, uint8 (N, height, width, channels), 0 to its
        maximum. The caller has checked them."""
        device = self.network.device
        with device.current():
            pixels = device.to_device(levels).astype(np.float32) / np.float32(self.images.maximum)
            return device.to_device(self.network.encoder(pixels, device.xp))

    def decoded(
        self, sources: Iterable[ImageSource | UserError], batch_size: int = BATCH_SIZE
    ) -> Generator[DecodedImage | UserError, None, None]:
        """Each image as the network takes it, ahead of whoever classifies them in batches; in place of one that cannot
        be decoded, and of an error among the sources, the error. Raises UserError where image files are not for it."""
        check_decodable(self.images)
        return decoded_images(sources, self.images, chosen_threads(self.threads)[0], batch_size)

    def _batches(self, images: Any, size: int) -> Generator[Array, None, None]:
        if hasattr(images, "ndim"):
            self._check_array(images)
            for start in range(0, len(images), size):
                yield self._encoded(images[start : start + size])
            return
        with closing(self.decoded(map(ImageSource, _paths(images)), size)) as decoded:
            for batch in batched(map(_levels, decoded), size):
                yield self.encode_levels(np.stack(batch))

    def _check_array(self, images: Array) -> None:
        if images.ndim != 4 or images.shape[1:] != self.input_shape:
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(f"images must have shape (N, {wanted}), not {tuple(images.shape)}")

    def _encoded(self, images: Array) -> Array:
        if images.dtype != np.uint8:
            return self.network.encode(images)
        if (most := int(images.max())) > self.images.maximum:
            raise ValueError(f"uint8 images of this network reach from 0 to {self.images.maximum}, and one has {most}")
        return self.encode_levels(images.transpose(0, 2, 3, 1))

    def _classification(self, parts: Sequence[Decisions]) -> Classification:
        classes = _joined([part.classes for part in parts], np.int64)
        return Classification(
            classes,
            tuple(self.class_names[label] for label in classes),
            _joined([part.probabilities for part in parts], np.float32, self.network.classes),
            _joined([part.margins for part in parts], np.float32),
            _joined([part.times for part in parts], np.float32),
        )


def load(run: str | Path, device: str | None = None, epoch: int | None = None) -> TrainedNetwork:
    """The network of the run in that directory, with its best weights, or those of a checkpoint that training.keep
    kept. Its data set is not needed, unless the run is of a version that did not record what its network's input is.

    device: auto, cuda, cuda:N or cpu; None for the config's.
    Raises UserError where there is no such run, or no such weights.
    """
    opened = open_network(Path(run), (), device, epoch)
    return trained(opened.network, opened.images, opened.class_names, opened.config.threads)


def trained(
    network: Network, images: InputDescription, class_names: tuple[str, ...] | None, threads: int | None = None
) -> TrainedNetwork:
    """class_names: None where nobody knows them. threads: as the config has them."""
    names = class_names if class_names is not None else ()
    rest = range(len(names), network.classes)
    return TrainedNetwork(network, images, (*names[: network.classes], *map(str, rest)), threads)


def _paths(images: Any) -> list[str]:
    if isinstance(images, (str, os.PathLike)):
        return [os.fspath(images)]
    if not isinstance(images, Iterable):
        raise ValueError(f"images must be an array, or paths of image files, not {shown(images)}")
    paths = list(images)
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(f"images must be an array, or paths of image files, and one is {shown(path)}")
    return [os.fspath(path) for path in paths]


def _levels(image: DecodedImage | UserError) -> NDArray[np.uint8]:
    if isinstance(image, UserError):
        raise image
    return image.levels


def _joined(parts: Sequence[NDArray[Any]], dtype: Any, *shape: int) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty((0, *shape), dtype)
