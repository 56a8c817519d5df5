"""What the kernels of augmentation compute, plainly: random numbers, instructions drawn, and instructions carried out.

Instructions give the bytes that Pillow gives, so its float32 and float64 are kept apart here as they are there.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data.augmentation import Draw, Operation, Program

# rounds of Philox, and its constants (Salmon et al. 2011)
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF
# each slot has that many blocks of four numbers for itself, and erasing takes one and ten more
BLOCKS, ATTEMPTS = 64, 10

# of fixed point: a pixel, and its centre
ONE, HALF = 1 << 16, 1 << 15

Words = list[int]
Image = NDArray[np.uint8]


def philox(counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Philox 4x32-10 of counters (..., 4) and one key (2,): uint32 (..., 4)."""
    first, second, third, fourth = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)
    keys = [int(part) for part in key]
    for _ in range(ROUNDS):
        one, other = first * np.uint64(MULTIPLIERS[0]), third * np.uint64(MULTIPLIERS[1])
        first, second, third, fourth = (
            (other >> np.uint64(32)) ^ second ^ np.uint64(keys[0]),
            other & np.uint64(LOW),
            (one >> np.uint64(32)) ^ fourth ^ np.uint64(keys[1]),
            one & np.uint64(LOW),
        )
        keys = [(part + step) & LOW for part, step in zip(keys, WEYL, strict=True)]
    return np.stack([first, second, third, fourth], axis=-1).astype(np.uint32)


def drawn_instructions(
    program: Program,
    shape: tuple[int, int, int],
    images: NDArray[np.integer],
    occurrences: NDArray[np.integer],
    epoch: int,
    seed: int,
) -> NDArray[np.int32]:
    """An instruction for each image and slot: int32 (N, S, 8).

    images, occurrences: (N,), each image's index in its data set, and how often the epoch had it before.
    """
    key = np.array([seed & LOW, seed >> 32], np.uint32)
    drawn = np.zeros((len(images), len(program.slots), 8), np.int32)
    for place, (image, occurrence) in enumerate(zip(images, occurrences, strict=True)):

        def words(slot: int, block: int = 0, start: tuple[int, ...] = (image, epoch, occurrence)) -> Words:
            counter = np.array([*start, BLOCKS * slot + block], np.uint32)
            return [int(word) for word in philox(counter, key)]

        for number, slot in enumerate(program.slots.tolist()):
            drawn[place, number] = _instruction(slot, number, program, shape, words)
    return drawn


def _instruction(
    slot: list[int], number: int, program: Program, shape: tuple[int, int, int], words: Callable[..., Words]
) -> list[int]:
    height, width, _ = shape
    how, *entries = slot
    first, second, third, _ = words(number)
    if how == Draw.SHIFT:
        top, left, fill = entries[:3]
        down, across = below(first, 2 * top + 1) - top, below(second, 2 * left + 1) - left
        return [Operation.AFFINE, ONE, 0, across * ONE + HALF, 0, ONE, down * ONE + HALF, fill]
    if how == Draw.MIRROR:
        if not chance(first, entries[0]):
            return _keep()
        if entries[1] == 0:
            return [Operation.AFFINE, -ONE, 0, (width - 1) * ONE + HALF, 0, ONE, HALF, 0]
        return [Operation.AFFINE, ONE, 0, HALF, 0, -ONE, (height - 1) * ONE + HALF, 0]
    if how == Draw.HOLE:
        rows, columns, fill = entries[:3]
        top, left = below(first, height) - rows // 2, below(second, width) - columns // 2
        bottom, right = min(top + rows, height), min(left + columns, width)
        return [Operation.FILL, max(top, 0), bottom, max(left, 0), right, 0, 0, fill]
    if how == Draw.ERASE:
        return _erased(entries, number, shape, words) if chance(first, entries[0]) else _keep()
    assert how == Draw.CHOICE
    start, count, chooser = entries[:3]
    row = program.choices[start + below(words(chooser)[0], count)].tolist()
    if not chance(second, row[0]):
        return _keep()
    return row[1:9] if third < 1 << 31 else row[9:17]


def _erased(entries: list[int], number: int, shape: tuple[int, int, int], words: Callable[..., Words]) -> list[int]:
    height, width, _ = shape
    # float32 by their bits, and from there on in float64
    low, high, log_low, log_high = np.array(entries[1:5], np.int32).view(np.float32).tolist()
    for attempt in range(ATTEMPTS):
        first, second, third, fourth = words(number, 1 + attempt)
        area = height * width * (low + (high - low) * unit(first))
        ratio = math.exp(log_low + (log_high - log_low) * unit(second))
        # Python rounds halves to even numbers, as rint does
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rows < height and columns < width:
            top, left = below(third, height - rows + 1), below(fourth, width - columns + 1)
            return [Operation.FILL, top, top + rows, left, left + columns, 0, 0, entries[5]]
    return _keep()


def _keep() -> list[int]:
    return [Operation.KEEP, 0, 0, 0, 0, 0, 0, 0]


def chance(word: int, threshold: int) -> bool:
    """True for `threshold` in 2^24 of all words."""
    return word >> 8 < threshold


def below(word: int, count: int) -> int:
    """A number of 0 to count - 1."""
    return (word * count) >> 32


def unit(word: int) -> float:
    """A number in [0, 1)."""
    return (word >> 8) * 2.0**-24


def carried_out(instruction: NDArray[np.int32], image: Image) -> Image:
    """The image, uint8 (H, W, C), after one instruction, int32 (8,)."""
    operation, *entries = instruction.tolist()
    return _CARRIED_OUT[operation](image, entries)


def _affine(image: Image, entries: list[int]) -> Image:
    height, width, channels = image.shape
    a, b, c, d, e, f, fill = entries
    y, x = np.mgrid[:height, :width].astype(np.int64)
    column, row = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    result = np.empty_like(image)
    result[:] = _levels(fill, channels)
    result[inside] = image[row[inside], column[inside]]
    return result


def _filled(image: Image, entries: list[int]) -> Image:
    top, bottom, left, right, *_, fill = entries
    result = image.copy()
    result[top:bottom, left:right] = _levels(fill, image.shape[2])
    return result


def _levels(fill: int, channels: int) -> Image:
    return np.array([fill >> 8 * (channel & 3) & 255 for channel in range(channels)], np.uint8)


def _factor(entries: list[int]) -> np.float32:
    return np.int32(entries[0]).view(np.float32)


def _blended(plain: NDArray[np.integer], image: Image, factor: np.float32) -> Image:
    """From `plain`, which lacks what is enhanced, towards the image and beyond: in float32, then cut to integers."""
    if factor == 1:
        return image
    start = np.broadcast_to(plain, image.shape).astype(np.float32)
    blend = start + factor * (image.astype(np.float32) - start)
    return np.clip(blend, 0, 255).astype(np.uint8)


def _brightness(image: Image, entries: list[int]) -> Image:
    return _blended(np.zeros_like(image), image, _factor(entries))


def _color(image: Image, entries: list[int]) -> Image:
    return image if image.shape[2] == 1 else _blended(grey_levels(image)[..., None], image, _factor(entries))


def _contrast(image: Image, entries: list[int]) -> Image:
    grey = grey_levels(image)
    mean = int(int(grey.sum()) / grey.size + 0.5)
    return _blended(np.array(mean), image, _factor(entries))


def _sharpness(image: Image, entries: list[int]) -> Image:
    return _blended(_smooth(image), image, _factor(entries))


def grey_levels(image: Image) -> NDArray[np.int64]:
    """(H, W): levels of grey, in parts of 65536, rounded."""
    if image.shape[2] == 1:
        return image[..., 0].astype(np.int64)
    red, green, blue = np.moveaxis(image.astype(np.int64), 2, 0)
    return (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16


def _smooth(image: Image) -> NDArray[np.int64]:
    """Each pixel's mean with its neighbours, itself counted five times, rounded; the border as it is.

    Pillow sums in float32. No such mean lies nearer than 1/26 to where it would be rounded differently.
    """
    height, width, _ = image.shape
    smooth = image.astype(np.int64)
    if height < 3 or width < 3:
        return smooth
    total = 4 * smooth[1:-1, 1:-1]
    for down in range(3):
        for across in range(3):
            total = total + image[down : height - 2 + down, across : width - 2 + across]
    smooth[1:-1, 1:-1] = (2 * total + 13) // 26
    return smooth


def _posterized(image: Image, entries: list[int]) -> Image:
    return image & np.uint8(256 - (1 << 8 - entries[0]))


def _solarized(image: Image, entries: list[int]) -> Image:
    return np.where(image < entries[0], image, 255 - image)


def _inverted(image: Image, _: list[int]) -> Image:
    return 255 - image


def _auto_contrast(image: Image, _: list[int]) -> Image:
    result = image.copy()
    for channel in range(image.shape[2]):
        levels = image[..., channel]
        low, high = int(levels.min()), int(levels.max())
        if low < high:
            scale = 255.0 / (high - low)
            offset = -low * scale
            table = [min(max(int(level * scale + offset), 0), 255) for level in range(256)]
            result[..., channel] = np.array(table, np.uint8)[levels]
    return result


def _equalized(image: Image, _: list[int]) -> Image:
    result = image.copy()
    for channel in range(image.shape[2]):
        levels = image[..., channel]
        counts = np.bincount(levels.ravel(), minlength=256)
        step = int(counts.sum() - counts[levels.max()]) // 255
        # of one level alone the step is 0, too
        if step:
            before = np.cumsum(counts) - counts
            result[..., channel] = np.minimum((step // 2 + before) // step, 255).astype(np.uint8)[levels]
    return result


_CARRIED_OUT: Mapping[int, Callable[[Image, list[int]], Image]] = {
    Operation.KEEP: lambda image, _: image,
    Operation.AFFINE: _affine,
    Operation.FILL: _filled,
    Operation.BRIGHTNESS: _brightness,
    Operation.COLOR: _color,
    Operation.CONTRAST: _contrast,
    Operation.SHARPNESS: _sharpness,
    Operation.POSTERIZE: _posterized,
    Operation.SOLARIZE: _solarized,
    Operation.AUTO_CONTRAST: _auto_contrast,
    Operation.EQUALIZE: _equalized,
    Operation.INVERT: _inverted,
}
