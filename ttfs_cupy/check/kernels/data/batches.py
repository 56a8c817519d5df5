"""Checks of batches.cu: which images a batch has, moves, the input code, mixing."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.augmentation import HALF, ONE, carried_out
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.data.augmentation import Operation
from ttfs_cupy.data.production import MOST_MOVES

# (count, height, width, channels) of images: of the channels that have code of their own, and others
SHAPES = ((9, 8, 11, 1), (9, 7, 6, 3), (9, 5, 5, 2), (9, 6, 9, 5), (9, 1, 1, 3))
SLOTS = 11


@check(tolerance=0.0)
def begin_epoch(trial: KernelTrial) -> None:
    (progress,) = trial.launch(1, trial.blank(2, dtype=np.int32), 5, 1)
    trial.compare(progress, np.array([0, 5]))


@check(tolerance=0.0)
def end_batch(trial: KernelTrial) -> None:
    (progress,) = trial.launch(1, np.array([30, 5], np.int32), 7, 1)
    trial.compare(progress, np.array([37, 5]))


@check(tolerance=0.0)
def take_images(trial: KernelTrial) -> None:
    size, members, count, place = 3000, 2500, 900, 700
    labels = trial.random.integers(0, 10, size).astype(np.int32)
    order = trial.random.permutation(size)[:members].astype(np.int32)
    occurrences = trial.random.integers(0, 3, members).astype(np.int32)
    partners = trial.random.integers(0, members, members).astype(np.int32)
    for mixed in (False, True):
        places = np.arange(place, place + count)
        if mixed:
            places = np.concatenate([places, partners[places]])
        blanks = [trial.blank(len(places), dtype=np.int32) for _ in range(3)]
        arguments = (order, occurrences, partners if mixed else None, labels, np.array([place, 4], np.int32), count)
        found = trial.launch(len(places), *arguments, *blanks, len(places))
        for one, wanted in zip(found, (order, occurrences, labels[order]), strict=True):
            trial.compare(one, wanted[places])


def _moves(trial: KernelTrial, rows: int, height: int, width: int) -> np.ndarray:
    """Instructions of every kind of move, at times further than the image reaches: int32 (rows, SLOTS, 8)."""
    draw = trial.random.integers
    moves = np.zeros((rows, SLOTS, 8), np.int32)
    for move in moves.reshape(-1, 8):
        fill = int(draw(-(2**31), 2**31))
        kind = draw(4)
        if kind == 0:
            down, across = draw(-height - 1, height + 2), draw(-width - 1, width + 2)
            if draw(3):
                down, across = down // 4, across // 4
            move[:] = Operation.AFFINE, ONE, 0, across * ONE + HALF, 0, ONE, down * ONE + HALF, fill
        elif kind == 1:
            move[:] = Operation.AFFINE, -ONE, 0, (width - 1) * ONE + HALF, 0, ONE, HALF, fill
            if draw(2):
                move[:] = Operation.AFFINE, ONE, 0, HALF, 0, -ONE, (height - 1) * ONE + HALF, fill
        elif kind == 2:
            top, left = draw(0, height + 1), draw(0, width + 1)
            bottom, right = draw(0, height + 1), draw(0, width + 1)
            move[:] = Operation.FILL, top, bottom, left, right, 0, 0, fill
    return moves


def _moved(pixels: np.ndarray, moves: np.ndarray, first: int, last: int) -> np.ndarray:
    results = []
    for image, instructions in zip(pixels, moves, strict=True):
        result = image
        for instruction in instructions[first:last]:
            result = carried_out(instruction, result)
        results.append(result)
    return np.stack(results)


def _runs(trial: KernelTrial, number: int) -> tuple[int, int]:
    """The first slot of a run, and the one behind its last: none, one, and as many as a launch does."""
    return ((0, 0), (2, 3), (3, 3 + MOST_MOVES))[number % 3]


@check(tolerance=0.0)
def move_pixels(trial: KernelTrial) -> None:
    for number, (count, height, width, channels) in enumerate(SHAPES * 3):
        pixels = trial.random.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
        chosen = trial.random.integers(0, count, 40).astype(np.int32) if number % 2 else None
        rows = pixels if chosen is None else pixels[chosen]
        moves = _moves(trial, len(rows), height, width)
        first, last = _runs(trial, number)
        given = moves if last else None
        arguments = (pixels, chosen, given, SLOTS, first, last, trial.blank(*rows.shape, dtype=np.uint8))
        (moved,) = trial.launch(rows.size, *arguments, *rows.shape)
        trial.compare(moved, _moved(rows, moves, first, last))


@check(tolerance=0.0)
def encode_pixels(trial: KernelTrial) -> None:
    for number, (count, height, width, channels) in enumerate(SHAPES * 3):
        pixels = trial.random.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
        chosen = None if number % 2 else trial.random.integers(0, count, 40).astype(np.int32)
        rows = pixels if chosen is None else pixels[chosen]
        moves, code = _moves(trial, len(rows), height, width), trial.normal(channels, 256)
        first, last = _runs(trial, number)
        arguments = (pixels, chosen, moves, SLOTS, first, last, code, trial.blank(*rows.shape))
        (encoded,) = trial.launch(rows.size, *arguments, *rows.shape)
        trial.compare(encoded, code[np.arange(channels), _moved(rows, moves, first, last)])


# the sum, of two products that are rounded or not
@check(tolerance=3e-7)
def mix_inputs(trial: KernelTrial) -> None:
    for count, height, width, channels in SHAPES:
        inputs = trial.normal(2 * count, height, width, channels)
        inputs[trial.random.random(inputs.shape) < 0.3] = 0
        weights = trial.uniform(0, 1, count)
        weights[:2] = 0, 1
        edges = trial.random.integers(0, [[height + 1], [width + 1]], (count, 2, 2))
        boxes = np.sort(edges, axis=2).reshape(count, 4).astype(np.int32)
        own, other = inputs[:count].astype(np.float64), inputs[count:]
        wanted = weights[:, None, None, None] * own + (1 - weights[:, None, None, None].astype(np.float64)) * other
        for number, (top, bottom, left, right) in enumerate(boxes):
            wanted[number, top:bottom, left:right] = other[number, top:bottom, left:right]
        (mixed,) = trial.launch(own.size, inputs, weights, boxes, count, height, width, channels)
        trial.compare(mixed[:count], wanted, np.abs(own) + np.abs(other))
        trial.compare(mixed[count:], other)
        low, high = np.minimum(own, other), np.maximum(own, other)
        trial.require(((mixed[:count] >= low) & (mixed[:count] <= high)).all(), "it leaves the range of the two")
