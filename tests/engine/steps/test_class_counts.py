"""Accuracy by class: counted on the device, in every batch, as an evaluation's total is."""

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.small_network import CLASSES, SHAPE, on
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy import Evaluator, Network, Noise, mixing
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.device import Device
from ttfs_cupy.engine.steps.class_counts import UNEVEN, ClassTotals
from ttfs_cupy.engine.steps.prediction import predict

IMAGES, BATCH = 60, 16
# of the class 1 there is none
LABELS = np.repeat(np.array([0, 2, 3], np.int32), (44, 12, 4))


def images() -> ImageSet:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    return ImageSet(pixels, random.permutation(LABELS))


def expected(network: Network, data: ImageSet) -> ClassTotals:
    encoded = network.encode(data.images.transpose(0, 3, 1, 2) / np.float32(255))
    right = network.device.to_host(network.forward(encoded)).argmax(axis=1) == data.labels
    counts = (np.bincount(labels, minlength=CLASSES) for labels in (data.labels, data.labels[right]))
    return ClassTotals(*(tuple(each.tolist()) for each in counts))


def test_counts_are_those_of_the_predictions(device: str | Device) -> None:
    """Of batches that are recorded and of the last, smaller one; an evaluation begins anew; and in batches of one."""
    network, data = on(device), images()
    wanted = expected(network, data)
    assert wanted.images == (44, 0, 12, 4) and 0 < sum(wanted.correct) < IMAGES
    evaluator = Evaluator(network, BATCH)
    for _ in range(3):
        found = evaluator.over(Batches(data, BATCH, encode=network.encoder), "test")
        assert found.classes == wanted
        assert found.totals.accuracy == pytest.approx(sum(wanted.correct) / IMAGES)
    single = Batches(data, 1, encode=network.encoder)
    assert evaluator.over(single, "test").classes == wanted
    assert predict(network, single).evaluation.classes == wanted
    noisy = predict(network, Batches(data, BATCH, encode=network.encoder), Noise(jitter=0.3))
    assert noisy.evaluation.classes.images == wanted.images


def test_a_network_planned_anew_is_counted_where_its_arrays_are() -> None:
    network, data = on(device_of(Machine())), images()
    evaluator, batches = Evaluator(network, BATCH), Batches(data, BATCH, encode=network.encoder)
    first = [evaluator.over(batches, "test") for _ in range(2)]
    network.plan(3 * BATCH, training=True)
    assert evaluator.over(batches, "test").classes == first[0].classes == first[1].classes == expected(network, data)


def test_a_mixed_image_counts_for_the_class_with_the_larger_share(device: str | Device) -> None:
    network, data = on(device), images()
    batches = Batches(data, BATCH, encode=network.encoder, mix=mixing("mixup"))
    found = Evaluator(network, BATCH).over(batches, "mixed")
    mostly = [
        np.where(batch.labels.shares >= 0.5, batch.labels.labels, batch.labels.others) for batch in batches.epoch(0)
    ]
    assert found.classes.images == tuple(np.bincount(np.concatenate(mostly), minlength=CLASSES).tolist())
    assert sum(found.classes.correct) == pytest.approx(found.totals.accuracy * IMAGES)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=9))
def test_accuracies(drawn: list[tuple[int, int]]) -> None:
    totals = ClassTotals(tuple(max(pair) for pair in drawn), tuple(min(pair) for pair in drawn))
    known = [min(pair) / max(pair) for pair in drawn if max(pair)]
    assert [one for one in totals.accuracies if one is not None] == known
    assert [one is None for one in totals.accuracies] == [not max(pair) for pair in drawn]
    assert totals.balanced_accuracy == pytest.approx(np.mean(known) if known else 0)
    sizes = [max(pair) for pair in drawn if max(pair)]
    assert totals.are_uneven == bool(sizes and max(sizes) >= UNEVEN * min(sizes))
    if known:
        assert totals.accuracies[totals.least] == min(known)
