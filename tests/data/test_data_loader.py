import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, ImageSet, augmentation
from ttfs_cupy.data.loader import THREAD_NAME


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert loader_threads() == []


def keep(pixels):
    return pixels


def numbered(count, maximum=255):
    """Image i has every pixel i, and the label i."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1))
    return ImageSet(pixels.copy(), np.arange(count, dtype=np.int32), maximum)


def labels_of(batches, epoch=0):
    return np.concatenate([batch.labels for batch in batches.epoch(epoch)])


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_every_image_once_in_order_with_its_label(prefetch):
    batches = Batches(numbered(23), 5, encode=keep, prefetch=prefetch)
    found = list(batches.epoch(0))
    assert len(batches) == len(found) == 5
    assert [len(batch.labels) for batch in found] == [5, 5, 5, 5, 3]
    assert np.concatenate([batch.labels for batch in found]).tolist() == list(range(23))
    for inputs, labels in found:
        assert inputs.dtype == np.float32 and inputs.flags.c_contiguous and labels.dtype == np.int32
        assert inputs.shape == (len(labels), 4, 4, 1)
        assert np.array_equal(inputs[:, 0, 0, 0], labels.astype(np.float32) / np.float32(255))


def test_a_count_that_divides_leaves_no_empty_batch():
    batches = Batches(numbered(20), 5, encode=keep)
    assert len(batches) == len(list(batches.epoch(0))) == 4


def test_pixels_reach_encode_in_0_to_1_and_come_back_as_contiguous_float32():
    seen = []

    def encode(pixels):
        seen.append(pixels.copy())
        return pixels.transpose(0, 3, 1, 2).astype(np.float64)[:, :, ::-1] * 2

    batch = next(Batches(numbered(17, maximum=16), 17, encode=encode).epoch(0))
    assert seen[0].dtype == np.float32 and seen[0].max() == 1.0 and seen[0].min() == 0.0
    assert batch.inputs.dtype == np.float32 and batch.inputs.flags.c_contiguous
    assert batch.inputs.shape == (17, 1, 4, 4) and batch.inputs.max() == 2.0


def test_shuffles_anew_every_epoch_by_the_seed_alone():
    batches = Batches(numbered(100), 7, encode=keep, shuffle=True, seed=3)
    first, second = labels_of(batches, 0), labels_of(batches, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first.tolist() != list(range(100)) and not np.array_equal(first, second)
    assert np.array_equal(labels_of(batches, 0), first)
    assert not np.array_equal(labels_of(Batches(numbered(100), 7, encode=keep, shuffle=True, seed=4)), first)
    # another size of batches, or of the queue, cuts the same order differently
    other = Batches(numbered(100), 30, encode=keep, shuffle=True, seed=3, prefetch=0)
    assert np.array_equal(labels_of(other, 0), first)


@pytest.mark.parametrize("name", ["crop_flip", "cifar"])
def test_a_resumed_run_sees_the_same_bits(name):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    data = ImageSet(images, np.zeros(40, np.int32))

    def epochs(indices, prefetch):
        batches = Batches(data, 16, encode=keep, shuffle=True, seed=9, augment=augmentation(name), prefetch=prefetch)
        return [np.concatenate([batch.inputs for batch in batches.epoch(index)]) for index in indices]

    straight, resumed = epochs([0, 1, 2], prefetch=2), epochs([2], prefetch=0)
    assert np.array_equal(straight[2], resumed[0])
    assert not np.array_equal(np.sort(straight[0], axis=None), np.sort(straight[1], axis=None))


def test_each_batch_is_augmented_with_numbers_of_its_own():
    drawn = []

    def augment(images, rng):
        drawn.append(rng.random())
        return images

    batches = Batches(numbered(20), 5, encode=keep, augment=augment)
    for epoch in (0, 1, 0):
        list(batches.epoch(epoch))
    assert len(set(drawn)) == 8 and drawn[:4] == drawn[8:]


def test_augmentation_none_suits_any_pixels_others_only_bytes():
    data = numbered(10, maximum=16)
    assert len(labels_of(Batches(data, 5, encode=keep, augment=augmentation("none")))) == 10
    with pytest.raises(UserError, match=r"pixels of 0\.\.255, these images have 0\.\.16"):
        Batches(data, 5, encode=keep, augment=augmentation("crop_flip"))


def test_two_epochs_at_once_do_not_disturb_each_other():
    batches = Batches(numbered(50), 5, encode=keep, shuffle=True)
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    for epoch in (0, 1):
        assert np.array_equal(np.concatenate([pair[epoch].labels for pair in pairs]), labels_of(batches, epoch))


def test_prepares_ahead_in_a_thread_but_no_further_than_asked():
    names, third = [], threading.Event()

    def encode(pixels):
        names.append(threading.current_thread().name)
        if len(names) == 3:
            third.set()
        return pixels

    epoch = Batches(numbered(100), 5, encode=encode, prefetch=2).epoch(0)
    assert names == []
    next(epoch)
    assert third.wait(5)
    time.sleep(0.05)
    assert len(names) == 3 and all(name.startswith(THREAD_NAME) for name in names)
    next(epoch)
    epoch.close()


def test_without_prefetch_no_thread_is_used():
    names = set()

    def encode(pixels):
        names.add(threading.current_thread())
        return pixels

    assert len(list(Batches(numbered(20), 5, encode=encode, prefetch=0).epoch(0))) == 4
    assert names == {threading.current_thread()}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exception_of_the_thread_reaches_the_consumer(prefetch):
    def encode(pixels):
        if pixels.max() > 10 / 255:
            raise UserError("the third batch is bad")
        return pixels

    seen = []
    with pytest.raises(UserError, match="the third batch is bad"):
        for batch in Batches(numbered(50), 5, encode=encode, prefetch=prefetch).epoch(0):
            seen.append(batch.labels[0])
    assert seen == [0, 5]


def slow(pixels):
    time.sleep(0.02)
    return pixels


def test_breaking_off_ends_the_thread_at_once():
    started = time.monotonic()
    for _ in Batches(numbered(200), 1, encode=slow, prefetch=100).epoch(0):
        assert len(loader_threads()) == 1
        break
    assert loader_threads() == []
    assert time.monotonic() - started < 1


def test_an_error_of_the_consumer_ends_the_thread():
    def consume():
        for _ in Batches(numbered(200), 1, encode=slow, prefetch=100).epoch(0):
            raise KeyboardInterrupt

    # not pytest.raises: it keeps the traceback, and with it the iterator
    with contextlib.suppress(KeyboardInterrupt):
        consume()
    assert loader_threads() == []


def test_ctrl_c_while_waiting_for_a_batch_ends_the_thread():
    def encode(pixels):
        if pixels.max() == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return pixels

    # a shell starts what runs in its background with the signal ignored, and then no exception would come
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(Batches(numbered(200), 1, encode=encode).epoch(0))
    finally:
        signal.signal(signal.SIGINT, before)
    # not joined if the signal came while the thread was being started, but told to end
    deadline = time.monotonic() + 2
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loader_threads() == []


def test_an_epoch_never_begun_costs_nothing():
    Batches(numbered(20), 5, encode=keep).epoch(0)
    assert loader_threads() == []


def test_a_program_that_ends_within_an_epoch_ends():
    program = """
import numpy as np
from ttfs_cupy.data import Batches, ImageSet
data = ImageSet(np.zeros((100, 4, 4, 1), np.uint8), np.zeros(100, np.int32))
epoch = Batches(data, 1, encode=lambda pixels: pixels).epoch(0)
next(epoch)
raise SystemExit(3)
"""
    run = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (3, "")


@pytest.mark.parametrize(
    ("count", "size", "options", "message"),
    [
        (10, 11, {}, "a batch of 11 is larger than the data, 10 images"),
        (10, 0, {}, "batch_size must be a whole number from 1, not 0"),
        (0, 1, {}, "a batch of 1 is larger than the data, 0 images"),
        (10, 5, {"prefetch": -1}, "prefetch must be a whole number from 0, not -1"),
        (10, 5, {"seed": -2}, "seed must be a whole number from 0, not -2"),
    ],
)
def test_refuses_what_cannot_work(count, size, options, message):
    with pytest.raises(UserError, match=message):
        Batches(numbered(count), size, encode=keep, **options)


def test_refuses_an_epoch_before_the_first():
    with pytest.raises(UserError, match="an epoch's number must be a whole number from 0"):
        Batches(numbered(10), 5, encode=keep).epoch(-1)
