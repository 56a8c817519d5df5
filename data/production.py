"""Batches made on a device: images are chosen, changed by chance, encoded and mixed by kernels, in fixed arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ttfs_cupy.device import Array, Device

from .augmentation.program import SLOT_ENTRIES, Draw, Program
from .mixing import MixedLabels
from .pixels import pixels_of
from .seeds import Stream, generator

if TYPE_CHECKING:
    from .batches import Batches

# What a launch does of moves, as kernels/batches.cu
MOST_MOVES = 8


class _Run(NamedTuple):
    """Slots that one launch carries out: so many moves, or one that is no move."""

    first: int
    last: int
    is_move: bool


class Production:
    """Makes the batches of one epoch after another.

    begin() an epoch; for each batch send(), then take() and make(), inside a step on a GPU. make() does nothing but
    launches, from the batch's place in the epoch's order, which lies in device memory, so it can be recorded once and
    replayed for every batch of that size. Its arrays are overwritten by the next batch.
    """

    def __init__(self, batches: Batches, device: Device):
        self._batches = batches
        self._device, images = device, batches.images
        xp = device.xp
        height, width, channels = images.images.shape[1:]
        self._shape = (height, width, channels)
        mixes = batches.mix is not None
        self._rows = batches.batch_size * (2 if mixes else 1)
        program = batches.program
        self._slots = len(program.slots)
        self._runs = _runs(program)
        self._seed = np.uint64(batches.seed).astype(np.int64).item()
        with device.current():
            self._pixels = pixels_of(images, self._rows, device, batches.resident, batches.change)
            self._labels = device.to_device(images.labels)
            self._code = device.to_device(batches.code)
            self._program = device.to_device(program.slots) if self._slots else None
            self._choices = device.to_device(program.choices) if len(program.choices) else None
            members, rows = len(batches.members), self._rows
            self._order, self._occurrences = (xp.empty(members, np.int32) for _ in range(2))
            self._partners = xp.empty(members, np.int32) if mixes else None
            self._progress = xp.zeros(2, np.int32)
            self._images, self._times, self._taken = (xp.empty(rows, np.int32) for _ in range(3))
            self._inputs = xp.empty((rows, *self._shape), np.float32)
            self._instructions = xp.empty((rows, self._slots, SLOT_ENTRIES), np.int32) if self._slots else None
            kept = [run for run in self._runs if not run.is_move]
            self._tables = xp.empty((rows, channels, 256), np.uint8) if kept else None
            between = len(self._runs) - self._runs[-1].is_move + (bool(kept) and not self._runs[0].is_move)
            self._changed = [xp.empty((rows, *self._shape), np.uint8) for _ in range(min(2, between))]
            if mixes:
                self._shares, self._weights = (xp.empty(batches.batch_size, np.float32) for _ in range(2))
                self._boxes = xp.empty((batches.batch_size, 4), np.int32)

    @property
    def mixes(self) -> bool:
        """Whether labels are MixedLabels."""
        return self._partners is not None

    def inputs(self, count: int) -> Array:
        """Those that make() returns for so many images."""
        return self._inputs[:count]

    def begin(self, epoch: int) -> None:
        """Takes the order of an epoch to the device: the one copy that it needs. Inside a step on a GPU."""
        batches, device = self._batches, self._device
        self._epoch, self._host_order = epoch, batches.order(epoch)
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
        """Puts the pixels of batch `number`, from 0, on their way, if they are not there."""
        if not self._pixels.are_chosen:
            return
        batches, order = self._batches, self._host_order.images
        places = slice(number * batches.batch_size, (number + 1) * batches.batch_size)
        chosen = order[places]
        if self._partners is not None:
            chosen = np.concatenate([chosen, order[self._host_partners[places]]])
        draw = generator(batches.seed, Stream.AUGMENTATION, self._epoch, number) if batches.change else None
        self._pixels.send(chosen, draw)

    def take(self) -> None:
        """Has the pixels of the batch sent last where make() reads them."""
        self._given = self._pixels.take()

    def make(self, count: int) -> tuple[Array, Array | MixedLabels]:
        """The next batch of so many images: inputs, float32 (count, H, W, C), and labels, int32 (count,), or
        MixedLabels; views that the next one overwrites."""
        launch, partners = self._device.launch, self._partners
        rows = count if partners is None else 2 * count
        order = (self._order, self._occurrences, partners, self._labels, self._progress)
        launch("take_images", rows, *order, count, self._images, self._times, self._taken, rows)
        self._encode(rows)
        labels: Array | MixedLabels = self._taken[:count]
        if partners is not None:
            self._mix(count)
            labels = MixedLabels(labels, self._taken[count:rows], self._shares[:count])
        launch("end_batch", 1, self._progress, count, 1)
        return self.inputs(count), labels

    def _encode(self, rows: int) -> None:
        """Draws what happens to each image, carries it out, and encodes what comes of it."""
        launch, slots = self._device.launch, self._slots
        height, width, channels = self._shape
        sizes, work = (rows, *self._shape), rows * height * width
        if slots:
            drawn = (self._images, self._times, self._progress, self._seed, self._program, self._choices)
            launch(
                "draw_instructions", rows * slots, *drawn, slots, *sizes[1:3], self._instructions, rows * slots, each=50
            )
        pixels, images = self._given, None if self._pixels.are_chosen else self._images
        *runs, last = self._runs
        if not last.is_move:
            runs, last = self._runs, _Run(last.last, last.last, True)
        for run in runs:
            if run.is_move or images is not None:
                until = run.last if run.is_move else run.first
                changed = self._other(pixels)
                of = (pixels, images, self._instructions, slots, run.first, until, changed)
                launch("move_pixels", work, *of, *sizes, each=channels)
                pixels, images = changed, None
            if not run.is_move:
                changed = self._other(pixels)
                of = (pixels, self._instructions, slots, run.first)
                entries = rows * channels
                launch("tabulate", entries, *of, self._tables, height * width, channels, entries, each=height * width)
                launch("change_pixels", work, *of, self._tables, changed, *sizes, each=channels)
                pixels = changed
        of = (pixels, images, self._instructions, slots, last.first, last.last, self._code, self._inputs)
        launch("encode_pixels", work, *of, *sizes, each=channels)

    def _other(self, pixels: Array) -> Array:
        """An array for changed images that is not the one at hand."""
        return self._changed[0] if pixels is not self._changed[0] else self._changed[1]

    def _mix(self, count: int) -> None:
        mix, (height, width, channels) = self._batches.mix, self._shape
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
        with self._device.alone():
            if self._device.streams is None:
                yield
                return
            with self._device.streams.step():
                yield


def _runs(program: Program) -> list[_Run]:
    """The program's slots as they are launched; without any, one of no moves."""
    runs = [_Run(0, 0, True)]
    for slot, how in enumerate(program.slots[:, 0]):
        is_move, before = how != Draw.CHOICE, runs[-1]
        if is_move and before.is_move and slot - before.first < MOST_MOVES:
            runs[-1] = _Run(before.first, slot + 1, True)
        else:
            runs.append(_Run(slot, slot + 1, bool(is_move)))
    return runs if runs[0].last or len(runs) == 1 else runs[1:]
