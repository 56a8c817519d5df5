"""Checks of colours.cu: what Pillow's operations make of an image."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.augmentation import HALF, ONE, carried_out, grey_levels
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.data.augmentation import Operation
from ttfs_cupy.data.augmentation.program import float_bits
from ttfs_cupy.data.production import LEVELS

# (height, width, channels)
SHAPES = ((12, 13, 3), (9, 16, 1), (2, 7, 3), (1, 1, 1), (40, 40, 3))
SLOTS, SLOT = 3, 1
FACTORS = (0.0, 0.1, 0.73, 1.0, 1.3, 1.9)


def _images(trial: KernelTrial, height: int, width: int, channels: int, count: int) -> np.ndarray:
    """Few levels, one level, a gradient, noise, of all levels if there is room: uint8 (count, H, W, C)."""
    shape = (height, width, channels)
    draw = trial.random.integers
    noise = draw(0, 256, shape)
    if height * width >= LEVELS:
        noise.reshape(-1, channels)[:LEVELS] = np.arange(LEVELS)[:, None]
    kinds = [
        draw(0, 3, shape) * 100 + 7,
        np.full(shape, draw(0, 256)),
        np.linspace(20, 200, height * width * channels).reshape(shape),
        noise,
    ]
    return np.stack([kinds[number % len(kinds)] for number in range(count)]).astype(np.uint8)


def _by_tables() -> list[tuple[int, ...]]:
    """Operations that go pixel by pixel, each with its parameter."""
    blends: list[tuple[int, ...]] = [
        (op, float_bits(factor)) for op in (Operation.BRIGHTNESS, Operation.CONTRAST) for factor in FACTORS
    ]
    bits = [(Operation.POSTERIZE, kept) for kept in range(9)]
    thresholds = [(Operation.SOLARIZE, level) for level in (0, 1, 128, 255, 256)]
    return [
        *blends,
        *bits,
        *thresholds,
        *((op, 0) for op in (Operation.AUTO_CONTRAST, Operation.EQUALIZE, Operation.INVERT)),
    ]


def _instructions(chosen: list[tuple[int, ...]]) -> np.ndarray:
    """One for each image in SLOT, among others: int32 (N, SLOTS, 8)."""
    rows = np.full((len(chosen), SLOTS, 8), 99, np.int32)
    rows[:, SLOT] = 0
    for row, entries in zip(rows, chosen, strict=True):
        row[SLOT, : len(entries)] = entries
    return rows


def _carried_out(images: np.ndarray, instructions: np.ndarray) -> np.ndarray:
    return np.stack([carried_out(one[SLOT], image) for one, image in zip(instructions, images, strict=True)])


def _levels(images: np.ndarray, instructions: np.ndarray, parts: int, blank: np.ndarray) -> np.ndarray:
    """What is measured of each image and channel, part by part, in an array like `blank`, (N, C, parts, LEVELS)."""
    levels, size = blank.copy(), images[0, ..., 0].size
    for number, (image, instruction) in enumerate(zip(images, instructions, strict=True)):
        planes, operation = image.reshape(size, -1), instruction[SLOT, 0]
        grey = grey_levels(image).reshape(size)
        for part in range(parts):
            piece = slice(size * part // parts, size * (part + 1) // parts)
            for channel, plane in enumerate(planes[piece].T):
                into = levels[number, channel, part]
                if operation == Operation.CONTRAST:
                    into[0] = grey[piece].sum()
                elif operation == Operation.AUTO_CONTRAST:
                    into[:2] = plane.min(initial=255), plane.max(initial=0)
                elif operation == Operation.EQUALIZE:
                    into[:] = np.bincount(plane, minlength=LEVELS)
    return levels


# more parts than pixels, too
PARTS = (1, 4)


@check(tolerance=0.0)
def measure_levels(trial: KernelTrial) -> None:
    for height, width, channels in SHAPES:
        chosen = [operation for operation in _by_tables() for _ in range(4)]
        images, instructions = _images(trial, height, width, channels, len(chosen)), _instructions(chosen)
        for parts in PARTS:
            blank = trial.blank(len(chosen), channels, parts, LEVELS, dtype=np.int32)
            work = len(chosen) * channels * parts
            cut = (height * width, channels, parts, work)
            (measured,) = trial.launch(work, images, instructions, SLOTS, SLOT, blank, *cut)
            trial.compare(measured, _levels(images, instructions, parts, blank))


@check(tolerance=0.0)
def tabulate(trial: KernelTrial) -> None:
    """As what a table makes of its own image."""
    for height, width, channels in SHAPES:
        chosen = [operation for operation in _by_tables() for _ in range(4)]
        images, instructions = _images(trial, height, width, channels, len(chosen)), _instructions(chosen)
        entries = len(chosen) * channels
        for parts in PARTS:
            of_parts = trial.blank(len(chosen), channels, parts, LEVELS, dtype=np.int32)
            levels = _levels(images, instructions, parts, of_parts)
            blank = trial.blank(len(chosen), channels, LEVELS, dtype=np.uint8)
            cut = (height * width, channels, parts, entries)
            (tables,) = trial.launch(entries, instructions, SLOTS, SLOT, levels, blank, *cut)
            places = np.arange(len(chosen))[:, None, None, None], np.arange(channels), images
            trial.compare(tables[places], _carried_out(images, instructions))


@check(tolerance=0.0)
def change_pixels(trial: KernelTrial) -> None:
    draw = trial.random.integers
    for height, width, channels in SHAPES:
        chosen: list[tuple[int, ...]] = [(Operation.KEEP,), (Operation.INVERT,)] * 4
        chosen += [(op, float_bits(factor)) for op in (Operation.COLOR, Operation.SHARPNESS) for factor in FACTORS] * 4
        for _ in range(40):
            turn = draw(-ONE, ONE + 1, 4).tolist()
            start = int(draw(-8 * ONE, (8 + width) * ONE)), int(draw(-8 * ONE, (8 + height) * ONE))
            fill = int(draw(-(2**31), 2**31))
            chosen.append((Operation.AFFINE, *turn[:2], start[0] + HALF, *turn[2:], start[1] + HALF, fill))
        images, instructions = _images(trial, height, width, channels, len(chosen)), _instructions(chosen)
        tables = draw(0, 256, (len(chosen), channels, 256), dtype=np.uint8)
        wanted = _carried_out(images, instructions)
        is_looked_up = instructions[:, SLOT, 0] == Operation.INVERT
        places = np.arange(len(chosen))[:, None, None, None], np.arange(channels), images
        wanted[is_looked_up] = tables[places][is_looked_up]
        arguments = (images, instructions, SLOTS, SLOT, tables, trial.blank(*images.shape, dtype=np.uint8))
        (changed,) = trial.launch(images.size, *arguments, *images.shape)
        trial.compare(changed, wanted)
