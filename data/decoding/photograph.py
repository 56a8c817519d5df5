"""One image file of any common kind, decoded by Pillow to 8 bits, grey or in colour, and to a size."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_descriptor, reason
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of, shown_path

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

# What image files are called, in small letters; others are no images. And the kinds that Pillow looks for in them.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_PLUGINS = ("Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP")

# Pillow's own limit, above which it suspects a bomb: a few bytes that become gigabytes.
MOST_PIXELS = 89_478_485
# Above so many, images are decoded one at a time, whatever the threads: the largest one takes over a GB meanwhile.
MANY_PIXELS = 8_000_000
_ALONE = threading.Lock()
# bytes of a file that is read in one step
SMALL = 1 << 20

_GREY = ("1", "L", "LA", "La")
_ORIENTATION, _UPRIGHT = 274, 1  # EXIF's number of it, and of most images its value


def load_pillow() -> None:
    """Imports all of Pillow that `decode` needs. Raises UserError if that cannot be done."""
    for name in ("PIL", *(f"PIL.{kind}ImagePlugin" for kind in _PLUGINS)):
        imported(name, "Pillow", "pip install pillow")


@contextmanager
def _without_warnings() -> Iterator[None]:
    logger = logging.getLogger("PIL")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class _Quiet:
    """Of the whole process: the first block that is entered silences, and the last that is left undoes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._undo = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Keeps Pillow's warnings, which name no file, off the console. Any number of threads may be in such blocks."""
        with self._lock:
            if not self._blocks:
                self._undo.enter_context(_without_warnings())
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._undo.close()


quiet = _Quiet()


class Photograph(NamedTuple):
    """pixels: uint8 (H, W, C). found: (H, W) of the file's image, upright, before it was resized."""

    pixels: NDArray[np.uint8]
    found: tuple[int, int]


def decode(path: str | Path, size: tuple[int, int] | None, channels: int | None) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (H, W, C): upright, by EXIF's orientation; of an animation the first frame.

    size: (H, W): the image is resized (bilinear, antialiased) to just cover it and cut out in the middle; None: as it
    is. channels: 1 for grey, 3 for red, green and blue, None for what the file has. What is transparent lies over
    black, which is silence in a latency code. 16 bits are scaled to 8; floats are to lie in 0 to 1.
    Raises UserError, which names the file. After `load_pillow`, within `quiet`.
    """
    return decode_file(path, size, channels).pixels


def decode_file(path: str | Path, size: tuple[int, int] | None, channels: int | None) -> Photograph:
    """As `decode`, with what size the file's image had."""
    try:
        descriptor, length = open_descriptor(path)
        content = _whole(descriptor, length) if length <= SMALL else None
    except OSError as error:
        raise UserError(f"{shown_path(path)} cannot be read: {reason(error)}") from None
    with io.BytesIO(content) if content is not None else open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        return decode_content(file, length, path, size, channels)


def _whole(descriptor: int, length: int) -> bytes:
    """The bytes of a small file, in one step, which Pillow's many small ones are slower than; it is closed."""
    try:
        return os.read(descriptor, length)
    finally:
        os.close(descriptor)


def decode_content(
    file: BinaryIO, length: int, name: str | Path, size: tuple[int, int] | None, channels: int | None
) -> Photograph:
    """As `decode_file`, of an open file of so many bytes. name: of it, in sentences."""
    if length == 0:
        raise UserError(f"{shown_path(name)} is empty: it has no bytes")
    try:
        return _photograph(file, size, channels)
    except _UnfitError as error:
        raise UserError(f"{shown_path(name)} {error}") from None
    except MemoryError:
        raise
    # a damaged image may raise nearly anything
    except Exception as error:
        raise UserError(f"{shown_path(name)} {_trouble(error)}") from error


class _UnfitError(Exception):
    """What is wrong with an image, as the rest of a sentence that its name begins."""


def _trouble(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"is no image, or a damaged one: Pillow finds none of {', '.join(FORMATS)} in it"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large()
    return f"is damaged, or no image that Pillow can read: {message_of(error)}"


def _too_large() -> str:
    return f"has more than {MOST_PIXELS:,} pixels, which is more than a photograph needs: make it smaller"


def _photograph(file: BinaryIO, size: tuple[int, int] | None, channels: int | None) -> Photograph:
    from PIL import Image

    with Image.open(file, formats=FORMATS) as opened:
        pixels = opened.width * opened.height
        if pixels > MOST_PIXELS:
            raise _UnfitError(_too_large())
        with _ALONE if pixels > MANY_PIXELS else nullcontext():
            image = _upright(opened)
            found = (image.height, image.width)
            if size is not None and size != found:
                image = _covering(image, size)
            if channels is not None and image.mode != (mode := "L" if channels == 1 else "RGB"):
                image = image.convert(mode)
            return Photograph(_channels_last(np.asarray(image)), found)


def _upright(opened: Image) -> Image:
    """The image in 8 bits: of mode L if the file has greys alone, else RGB. It may be the one that was opened, whose
    pixels are gone if not."""
    opened.load()
    # of a TIFF, loading turns it already, and what is left says so
    turn = _turn(opened)
    upright = _in_eight_bits(opened)
    if upright is not opened:
        opened.close()
    return upright if turn is None else upright.transpose(turn)


def _turn(image: Image) -> Any:
    """What brings the image upright; None if it is, or EXIF's data are damaged: the pixels are not to blame."""
    try:
        orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:
        return None
    if orientation == _UPRIGHT:
        return None
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(orientation)


def _in_eight_bits(image: Image) -> Image:
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image)
        grey = _from_floats(values) if image.mode == "F" else _from_sixteen_bits(values)
        if isinstance(transparent := image.info.get("transparency"), int):
            grey[values == transparent] = 0
        return Image.fromarray(grey)
    mode = "L" if image.mode in _GREY else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    # by way of RGBA, which every kind of transparency can be made into
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    black = Image.new(mode, image.size)
    black.paste(layer.convert(mode), mask=layer.getchannel("A"))
    return black


def _from_sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 65535:
        raise _UnfitError(
            f"holds whole numbers from {least} to {most}, where 16 bits reach from 0 to 65535: save it in 8 or 16 bits"
        )
    return _rounded(np.divide(values, 257, dtype=np.float32))


def _from_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    least, most = float(values.min()), float(values.max())
    # written so that NaN, which compares false to everything, is refused
    if not (least >= 0 and most <= 1):
        raise _UnfitError(f"holds floats from {least:g} to {most:g}, where they must lie in 0 to 1: scale them")
    return _rounded(values * np.float32(255))


def _rounded(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """In place, as there may be many."""
    rounded: NDArray[np.uint8] = np.rint(levels, out=levels).astype(np.uint8)
    return rounded


def _covering(image: Image, size: tuple[int, int]) -> Image:
    """As torchvision's Resize and CenterCrop make it, also where height and width differ."""
    from PIL.Image import Resampling

    height, width = size
    if image.width * height < image.height * width:
        covering = (width, image.height * width // image.width)
    else:
        covering = (image.width * height // image.height, height)
    if covering[0] * covering[1] > MOST_PIXELS:
        raise _UnfitError(f"is {image.height} x {image.width} pixels: too narrow to be resized to {height} x {width}")
    if covering != image.size:
        image = image.resize(covering, Resampling.BILINEAR)
    if covering == (width, height):
        return image
    left, top = round((covering[0] - width) / 2), round((covering[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _channels_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
