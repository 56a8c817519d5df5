"""What an image becomes depends on the seed, the epoch and its index alone, and is what the plain reference says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.batches import PIXELS, Epoch, augmented, lists_of_operations, made, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.data import AUGMENTATIONS, MIXES, Augmentation, Batches, ImageSet, augmentation, mixing, pixels
from ttfs_cupy.device import CpuDevice, Device
from ttfs_cupy.neuron.encoding import Encoder

needs_emulator = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
POLICIES = [[name] for name in ("AutoAugment", "RandAugment", "TrivialAugmentWide")]
EVERY = [*AUGMENTATIONS, *POLICIES]
# more images than the largest batch
COUNT = 300


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Has sets streamed on a CPU, as if they were larger than kernels count."""

    def switch(is_streamed: bool) -> None:
        monkeypatch.setattr(pixels, "MAX_ELEMENTS", 1 if is_streamed else 2**31)

    return switch


def of(images: ImageSet, size: int, device: Device, **options: Any) -> Epoch:
    """Epoch 3, by label: each image's is its index, so that they come in the order that was asked for."""
    batches = Batches(images, size, encode=PIXELS, shuffle=True, seed=7, **options)
    epoch = made(batches, 3, device)
    assert np.array_equal(epoch.labels, batches.order(3).images)
    return epoch.by_label()


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_batches_of_any_size_threads_and_places_of_a_set(name: str, mix: str, streams: Callable[[bool], None]) -> None:
    images = pictures(COUNT, (10, 12, 3))
    options = {"augment": name, "mix": mixing(mix, 0.7)}
    found = {}
    for is_streamed in (False, True):
        streams(is_streamed)
        for size, threads in ((7, 1), (7, 2), (256, 1), (256, 2), *([(1, 1)] if not is_streamed else [])):
            found[is_streamed, size, threads] = of(images, size, CpuDevice(threads), **options).bits()
    assert len({*found.values()}) == 1, {key: hash(bits) for key, bits in found.items()}


@needs_emulator
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_gpu_that_holds_the_set_and_one_that_is_sent_batches(name: str, mix: str) -> None:
    images = pictures(60, (10, 12, 3))
    options = {"augment": name, "mix": mixing(mix, 0.7)}
    expected = of(images, 16, CpuDevice(1), **options).bits()
    for resident in (0, 1):
        machine = Machine()
        first = len(machine.log)
        assert of(images, 7, device_of(machine), resident=resident, **options).bits() == expected
        assert ("copy in" in machine.kinds(first)) == (resident == 0) and machine.violations == []


@pytest.mark.parametrize("mix", MIXES)
def test_an_image_that_an_epoch_repeats_is_drawn_for_each_time(mix: str, streams: Callable[[bool], None]) -> None:
    """Of classes that are drawn as often as one another, at whatever size of batches."""
    given = pictures(60, (10, 12, 3))
    images = ImageSet(given.images, (np.arange(60) < 5).astype(np.int32))
    options: dict[str, Any] = {"encode": PIXELS, "shuffle": True, "augment": "cifar", "sampling": "balanced"}
    found = set()
    for is_streamed in (False, True):
        streams(is_streamed)
        for size in (1, 7, 60):
            batches = Batches(images, size, mix=mixing(mix, 0.7), **options)
            order, epoch = batches.order(3), made(batches, 3)
            found.add(epoch.bits())
    assert len(found) == 1 and order.occurrences.max() > 1
    # each time it is another one
    repeated = order.images == order.images[order.occurrences.argmax()]
    seen = {image.tobytes() for image in epoch.inputs[repeated]}
    assert len(seen) == repeated.sum() == order.occurrences.max() + 1


@needs_emulator
@pytest.mark.parametrize("eager", [(), ("copies",), ("steps",), ("null", "steps", "copies")])
def test_whichever_stream_of_a_gpu_is_first(eager: tuple[str, ...]) -> None:
    images, options = pictures(60, (10, 12, 3)), {"augment": "cifar", "mix": mixing("both")}
    expected = of(images, 7, CpuDevice(1), **options).bits()
    assert of(images, 7, device_of(Machine(eager)), resident=0, **options).bits() == expected


@needs_emulator
def test_a_users_function_on_a_gpu_and_on_a_cpu() -> None:
    def roll(given: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        return np.roll(given, int(draw.integers(10)), axis=2)

    for mix in MIXES:
        options = {"augment": roll, "mix": mixing(mix)}
        images = pictures(60, (10, 12, 3))
        expected = of(images, 7, CpuDevice(1), **options).bits()
        assert of(images, 7, device_of(Machine()), **options).bits() == expected


SAMPLED = settings(max_examples=40, deadline=None)


@SAMPLED
@given(st.data())
def test_any_list_of_operations(data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from([1, 2, 3, 5]))
    shape = (data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14)), channels)
    augment = augmentation(data.draw(lists_of_operations(channels, 6)))
    mix = mixing(data.draw(st.sampled_from(MIXES)))
    images = pictures(24, shape)
    expected = augmented(images, augment, 3, 7)
    code = Encoder(t_win=2.5)
    options: dict[str, Any] = {"encode": code, "augment": augment, "seed": 7, "shuffle": True}
    found = made(Batches(images, 24, **options), 3).by_label()
    assert np.array_equal(found.inputs, code(expected.astype(np.float32) / np.float32(255)))
    several = {
        of(images, size, CpuDevice(threads), augment=augment, mix=mix).bits()
        for size, threads in ((1, 1), (7, 2), (24, 2))
    }
    assert len(several) == 1


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (13, 20, 3), (9, 5, 1), (1, 1, 3)], ids=str)
@pytest.mark.parametrize("given_as", EVERY, ids=str)
def test_inputs_are_what_the_reference_makes_of_the_images(given_as: Any, shape: tuple[int, int, int]) -> None:
    augment, images = augmentation(given_as), pictures(60, shape)
    expected = augmented(images, augment, epoch=2, seed=2**40 + 3)
    encoder = Encoder("latency", 1.7, True, np.full(shape[2], 0.3, np.float32), np.linspace(0.2, 0.7, shape[2]))
    batches = Batches(images, 25, encode=encoder, augment=augment, seed=2**40 + 3)
    assert batches.code.shape == (shape[2], 256)
    # each pixel by its own channel's code
    code = np.stack([batches.code[channel][expected[..., channel]] for channel in range(shape[2])], axis=-1)
    assert np.array_equal(made(batches, 2).inputs, code)
    assert np.array_equal(code, encoder(expected.astype(np.float32) / np.float32(255)))
    if given_as != "none" and min(shape[:2]) > 5:
        assert (expected != images.images).any(axis=(1, 2, 3)).mean() > 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_all_slots_at_once_and_runs_of_many_moves(channels: int) -> None:
    """Launches take so many moves at a time, and each change that is none by itself: in any mixture of both."""
    moves: list[Any] = [
        {"RandomCrop": {"padding": 3, "fill": 9}},
        "RandomHorizontalFlip",
        {"Cutout": 3},
        "RandomVerticalFlip",
    ]
    for operations in (
        moves * 8,
        [*moves, *moves, "TrivialAugment"],
        [{"RandAugment": {"num_ops": 5}}, *moves, *moves, *moves[:1], {"RandAugment": {"num_ops": 3}}],
        ["TrivialAugment", *moves * 2, "RandomErasing", "TrivialAugment", "Cutout", "TrivialAugment"],
        [{"RandAugment": {"num_ops": 32}}],
    ):
        augment, images = augmentation(operations), pictures(30, (11, 14, channels))
        expected = augmented(images, augment, epoch=1, seed=5) / np.float32(255)
        assert np.array_equal(made(Batches(images, 8, encode=PIXELS, augment=augment, seed=5), 1).inputs, expected)


# What was true of the host's augmentation, and still is


@SAMPLED
@given(st.sampled_from(["shift", "flip", "shift_flip", "shift_erase", "shift_flip_erase"]), st.integers(0, 2**32))
def test_moves_bring_no_pixels_but_the_images_own_and_black(name: str, seed: int) -> None:
    images = pictures(20, (12, 9, 2), 16)
    found = made(Batches(images, 8, encode=PIXELS, augment=name, seed=seed)).inputs * 16
    for image, result in zip(images.images, found, strict=True):
        colours = {tuple(pixel) for pixel in image.reshape(-1, 2).tolist()} | {(0, 0)}
        assert {tuple(pixel) for pixel in result.reshape(-1, 2).tolist()} <= colours


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("mix", MIXES)
def test_of_black_images_with_a_black_fill_come_black_ones(name: str, mix: str) -> None:
    """Silence stays silence, unless an operation says otherwise."""
    black = ImageSet(np.zeros((50, 9, 9, 1), np.uint8), np.zeros(50, np.int32))
    operations = [one for one in AUGMENTATIONS[name].operations if not one.needs_bytes]
    batches = Batches(black, 16, encode=PIXELS, augment=Augmentation(tuple(operations)), mix=mixing(mix))
    assert not made(batches).inputs.any()


def test_every_image_is_drawn_for_by_itself_and_anew_in_each_epoch() -> None:
    one = pictures(1, (16, 16, 3)).images
    images = ImageSet(np.repeat(one, 80, axis=0), np.arange(80, dtype=np.int32))
    batches = Batches(images, 16, encode=PIXELS, augment="cifar")
    seen = {image.tobytes() for epoch in range(2) for image in made(batches, epoch).inputs}
    assert len(seen) == 160
