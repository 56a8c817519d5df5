"""Batches made on a device: images are chosen, changed by chance, encoded and mixed by kernels, in fixed arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.device import Array, Device

from .augmentation.program import SLOT_ENTRIES, Draw, Program
from .mixing import MixedLabels, Mixing
from .order import Order
from .pixels import HostFunction, pixels_of
from .seeds import Stream, generator
from .share import Share
from .sources.images import ImageSet

# What a launch does of moves, as kernels/batches.cu
MOST_MOVES = 8

LEVELS = 256
# Pixels of an image that a GPU's thread measures, about, and of how many parts an image is there at most; and of the
# largest part, whose sum of levels an int holds
PART, MOST_PARTS, LARGEST_PART = 128, 32, 1 << 22


class Recipe(Protocol):
    """What batches are made of, and how (`Batches`). code: what a pixel of each channel becomes, float32 (C, 256).
    share: whose images of each batch are made."""

    images: ImageSet
    members: NDArray[np.int64]
    batch_size: int
    seed: int
    program: Program
    change: HostFunction | None
    mix: Mixing | None
    code: NDArray[np.float32]
    resident: float
    share: Share

    def size(self, number: int) -> int:
        """How many images batch `number`, from 0, has at all ranks."""

    def order(self, epoch: int) -> Order:
        """The images of an epoch in their order."""


class _Run(NamedTuple):
    """Slots that one launch carries out: so many moves, or one that is no move."""

    first: int
    last: int
    is_move: bool


class Production:
    """Makes the batches of one epoch after another.

    begin() an epoch; for each batch send(), then take() and make(), inside a step on a GPU. make() does nothing but
    launches, from the batch's place in the epoch's order, which lies in device memory, so it can be recorded once and
    replayed for every batch of that size. Its arrays are overwritten by the next batch. Sizes and places are of whole
    batches; what is made of them is the share's.
    """

    def __init__(self, recipe: Recipe, device: Device):
        self._recipe = recipe
        self._device, images = device, recipe.images
        xp = device.xp
        height, width, channels = images.images.shape[1:]
        self._shape = (height, width, channels)
        mixes, most = recipe.mix is not None, recipe.share.most(recipe.batch_size)
        self._rows = most * (2 if mixes else 1)
        program = recipe.program
        self._slots = len(program.slots)
        self._runs = _runs(program)
        self._seed = np.uint64(recipe.seed).astype(np.int64).item()
        # of a set that lies on the device, once for all
        self._is_sent = True
        with device.current():
            self._pixels = pixels_of(images, self._rows, device, recipe.resident, recipe.change)
            self._labels = device.to_device(images.labels)
            self._code = device.to_device(recipe.code)
            self._program = device.to_device(program.slots) if self._slots else None
            self._choices = device.to_device(program.choices) if len(program.choices) else None
            members, rows = len(recipe.members), self._rows
            self._order, self._occurrences = (xp.empty(members, np.int32) for _ in range(2))
            self._partners = xp.empty(members, np.int32) if mixes else None
            self._progress = xp.zeros(2, np.int32)
            self._images, self._times, self._taken = (xp.empty(rows, np.int32) for _ in range(3))
            self._inputs = xp.empty((rows, *self._shape), np.float32)
            self._instructions = xp.empty((rows, self._slots, SLOT_ENTRIES), np.int32) if self._slots else None
            changes = any(not run.is_move for run in self._runs)
            self._tables = xp.empty((rows, channels, LEVELS), np.uint8) if changes else None
            self._parts = parts_of(height * width, on_gpu=device.gpu is not None)
            self._levels = xp.empty((rows, channels, self._parts, LEVELS), np.int32) if changes else None
            # two in turn, if something lies between the set and the inputs
            self._changed = [xp.empty((rows, *self._shape), np.uint8) for _ in self._runs[1:3]]
            if mixes:
                self._shares, self._weights = (xp.empty(most, np.float32) for _ in range(2))
                self._boxes = xp.empty((most, 4), np.int32)

    @property
    def mixes(self) -> bool:
        """Whether labels are MixedLabels."""
        return self._partners is not None

    def count(self, size: int) -> int:
        """How many images make() makes of a batch of so many."""
        return self._recipe.share.count(size)

    def inputs(self, size: int) -> Array:
        """Those that make() returns of a batch of so many images."""
        return self._inputs[: self.count(size)]

    def begin(self, epoch: int) -> None:
        """Takes the order of an epoch to the device, which is all that it needs of the host. Inside a step on a GPU."""
        recipe, device = self._recipe, self._device
        self._epoch, self._host_order = epoch, recipe.order(epoch)
        for array, values in zip((self._order, self._occurrences), self._host_order, strict=True):
            array[...] = device.to_device(values)
        device.launch("begin_epoch", 1, self._progress, epoch, 1)
        if self._partners is None:
            return
        arguments = (self._order, self._occurrences, self._progress, self._seed, self._partners)
        device.launch("draw_partners", len(self._order), *arguments, len(self._order), each=50)
        if self._pixels.are_chosen:
            self._host_partners = device.to_host(self._partners)

    def skip(self, count: int) -> None:
        """Passes over so many images of the epoch. Inside a step on a GPU."""
        self._device.launch("end_batch", 1, self._progress, count, 1)

    def send(self, number: int) -> None:
        """Puts the pixels of batch `number`, from 0, on their way, if they are not there and any are wanted."""
        if not self._pixels.are_chosen:
            return
        recipe, order, size = self._recipe, self._host_order.images, self._recipe.size(number)
        first = number * recipe.batch_size + recipe.share.first(size)
        places = slice(first, first + self.count(size))
        self._is_sent = places.start < places.stop
        if not self._is_sent:
            return
        chosen = order[places]
        if self._partners is not None:
            chosen = np.concatenate([chosen, order[self._host_partners[places]]])
        draw = generator(recipe.seed, Stream.AUGMENTATION, self._epoch, number) if recipe.change else None
        self._pixels.send(chosen, draw)

    def take(self) -> None:
        """Has the pixels of the batch sent last where make() reads them."""
        if self._is_sent:
            self._given = self._pixels.take()

    def make(self, size: int) -> tuple[Array, Array | MixedLabels]:
        """The share of the next batch, of so many images: inputs, float32 (count(size), H, W, C), and labels, int32
        (count(size),), or MixedLabels; views that the next one overwrites."""
        count, first = self.count(size), self._recipe.share.first(size)
        rows = count if self._partners is None else 2 * count
        if first:
            self.skip(first)
        if count:
            self._make(count, rows)
        self.skip(size - first)
        labels: Array | MixedLabels = self._taken[:count]
        if self._partners is not None:
            labels = MixedLabels(labels, self._taken[count:rows], self._shares[:count])
        return self.inputs(size), labels

    def _make(self, count: int, rows: int) -> None:
        """So many images from the place in the order on; rows: with partners."""
        order = (self._order, self._occurrences, self._partners, self._labels, self._progress)
        taken = (self._images, self._times, self._taken)
        self._device.launch("take_images", rows, *order, count, *taken, rows)
        self._encode(rows)
        if self._partners is not None:
            self._mix(count)

    def _encode(self, rows: int) -> None:
        """Draws what happens to each image, carries it out, and encodes what comes of it."""
        if self._slots:
            self._draw(rows)
        pixels, images = self._given, None if self._pixels.are_chosen else self._images
        *runs, last = self._runs
        for run in runs:
            if not run.is_move:
                pixels = self._change(rows, pixels, run.first)
            elif images is not None or run.first < run.last:
                pixels = self._move(rows, pixels, images, run.first, run.last)
                images = None
        instructions = (self._instructions, self._slots, last.first, last.last)
        self._paint("encode_pixels", rows, pixels, images, *instructions, self._code, self._inputs)

    def _draw(self, rows: int) -> None:
        height, width, _ = self._shape
        entries = rows * self._slots
        drawn = (self._images, self._times, self._progress, self._seed, self._program, self._choices)
        into = (self._slots, height, width, self._instructions)
        self._device.launch("draw_instructions", entries, *drawn, *into, entries, each=50)

    def _move(self, rows: int, pixels: Array, images: Array | None, first: int, last: int) -> Array:
        """The pixels after a run of moves. images: which of them are meant; None: all."""
        moved = self._other(pixels)
        self._paint("move_pixels", rows, pixels, images, self._instructions, self._slots, first, last, moved)
        return moved

    def _change(self, rows: int, pixels: Array, slot: int) -> Array:
        """The pixels after a slot that is no move."""
        height, width, channels = self._shape
        entries, size, parts = rows * channels, height * width, self._parts
        instruction = (self._instructions, self._slots, slot)
        launch, cut = self._device.launch, (size, channels, parts)
        measured = (pixels, *instruction, self._levels)
        launch("measure_levels", entries * parts, *measured, *cut, entries * parts, each=size // parts)
        launch("tabulate", entries, *instruction, self._levels, self._tables, *cut, entries, each=LEVELS)
        changed = self._other(pixels)
        self._paint("change_pixels", rows, pixels, *instruction, self._tables, changed)
        return changed

    def _paint(self, kernel: str, rows: int, *arguments: Array | int | None) -> None:
        """Launches a kernel that writes so many images, pixel by pixel."""
        height, width, channels = self._shape
        self._device.launch(kernel, rows * height * width, *arguments, rows, *self._shape, each=channels)

    def _other(self, pixels: Array) -> Array:
        """An array for changed images that is not the one at hand."""
        return self._changed[0] if pixels is not self._changed[0] else self._changed[1]

    def _mix(self, count: int) -> None:
        mix, (height, width, channels) = self._recipe.mix, self._shape
        assert mix is not None
        drawn = (self._images, self._times, self._progress, self._seed, mix.alpha, mix.cut, height, width)
        into = (self._shares, self._weights, self._boxes)
        self._device.launch("draw_mixtures", count, *drawn, *into, count, each=500)
        sizes = (count, height, width, channels)
        work = count * height * width * channels
        self._device.launch("mix_inputs", work, self._inputs, self._weights, self._boxes, *sizes)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What a GPU has to be asked within, outside of a step of the engine's."""
        streams = self._device.streams
        with self._device.alone(), nullcontext() if streams is None else streams.step():
            yield


def parts_of(pixels: int, *, on_gpu: bool) -> int:
    """Into how many parts an image is cut to be measured: a GPU's threads share one."""
    wanted = min(MOST_PARTS, -(-pixels // PART)) if on_gpu else 1
    return max(wanted, -(-pixels // LARGEST_PART))


def _runs(program: Program) -> list[_Run]:
    """The program's slots as they are launched. Moves come first, as images are taken, and last, as they are encoded:
    of no slots where there are none."""
    runs = [_Run(0, 0, True)]
    for slot, how in enumerate(program.slots[:, 0]):
        is_move, before = how != Draw.CHOICE, runs[-1]
        if is_move and before.is_move and slot - before.first < MOST_MOVES:
            runs[-1] = _Run(before.first, slot + 1, True)
        else:
            runs.append(_Run(slot, slot + 1, bool(is_move)))
    return runs if runs[-1].is_move else [*runs, _Run(len(program.slots), len(program.slots), True)]
