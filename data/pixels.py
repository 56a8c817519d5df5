"""Where the pixels of a set lie while batches are made of them: on the device, or on their way to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.feed import Feed
from ttfs_cupy.device.launcher import MAX_ELEMENTS

from .sources.images import ImageSet

# Changes images (N, H, W, C) on the host, by numbers of the generator alone
HostFunction = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]

# Bytes of a set that are uploaded at a time
PIECE = 16 << 20

# A set lies on a GPU once, whoever makes batches of it
_RESIDENT: WeakKeyDictionary[ImageSet, WeakKeyDictionary[Any, Array]] = WeakKeyDictionary()


class Pixels(Protocol):
    """Where a batch's pixels come from. are_chosen: whether they are those of the batch alone, in its order."""

    are_chosen: bool

    def send(self, images: NDArray[np.int32], draw: np.random.Generator | None) -> None:
        """Puts those of a batch on their way; draw is what a function on the host draws from."""

    def take(self) -> Array:
        """uint8 (any, H, W, C) on the device, inside a step."""


class Resident:
    """The whole set lies on the device, so nothing is ever sent."""

    are_chosen = False

    def __init__(self, array: Array):
        self._array = array

    def send(self, images: NDArray[np.int32], draw: np.random.Generator | None) -> None:
        """Nothing to do."""

    def take(self) -> Array:
        return self._array


class Streamed:
    """The set stays on the host: each batch is chosen there, and on a GPU copied while the step before computes."""

    are_chosen = True

    def __init__(self, images: ImageSet, rows: int, device: Device, change: HostFunction | None):
        self._images, self._change = images, change
        shape = (rows, *images.images.shape[1:])
        self._feed: Feed | None = None
        if device.streams is not None:
            self._feed = Feed(device, device.streams, [(shape, np.uint8)])
        else:
            self._array = np.empty(shape, np.uint8)

    def send(self, images: NDArray[np.int32], draw: np.random.Generator | None) -> None:
        pixels = self._images.images[images]
        if self._change is not None:
            assert draw is not None
            pixels = self._changed(pixels, self._change(pixels, draw))
        if self._feed is not None:
            self._feed.send(pixels)
        else:
            self._array[: len(pixels)] = pixels

    def take(self) -> Array:
        return self._array if self._feed is None else self._feed.take()[0]

    def _changed(self, given: NDArray[np.uint8], changed: object) -> NDArray[np.uint8]:
        """Raises UserError unless a user's function has returned such images."""
        if not (isinstance(changed, np.ndarray) and changed.shape == given.shape and changed.dtype == np.uint8):
            found = f"{changed.dtype} {changed.shape}" if isinstance(changed, np.ndarray) else type(changed).__name__
            raise UserError(f"augment must return what it was given, uint8 {given.shape}, not {found}")
        maximum, brightest = self._images.maximum, int(changed.max(initial=0))
        if brightest > maximum:
            raise UserError(f"augment must return pixels of 0..{maximum}, not {brightest}")
        return changed


def pixels_of(images: ImageSet, rows: int, device: Device, share: float, change: HostFunction | None) -> Pixels:
    """The whole set on the device if that share of its free memory holds it, else batches of up to so many rows.

    change: a function on the host, which wants batches.
    """
    if change is not None or images.images.size > MAX_ELEMENTS:
        return Streamed(images, rows, device, change)
    if device.streams is None:
        return Resident(device.to_device(images.images))
    held = _RESIDENT.setdefault(images, WeakKeyDictionary())
    if device not in held:
        if images.images.nbytes > share * device.free_bytes():
            return Streamed(images, rows, device, None)
        held[device] = _uploaded(images.images, device)
    return Resident(held[device])


def _uploaded(images: NDArray[np.uint8], device: Device) -> Array:
    """A set on a GPU, piece by piece: what is page-locked on the way stays so, and should not be the whole of it."""
    with device.current():
        array = device.xp.empty(images.shape, np.uint8)
        rows = max(1, PIECE // max(1, images[0].nbytes))
        for first in range(0, len(images), rows):
            array[first : first + rows] = device.to_device(images[first : first + rows])
    return array
