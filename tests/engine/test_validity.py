"""Batches that are none: shapes and types are refused at once, values as soon as somebody could know."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.small_network import CLASSES, SHAPE, SPEC, bits, build, images, on
from hypothesis import given
from hypothesis import strategies as st
from reference.comparison import host

from ttfs_cupy import Batches, Encoder, ImageSet, models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Sgd
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep

NHWC = (*SHAPE[1:], SHAPE[0])
INPUTS = np.zeros((3, *NHWC), np.float32)
LABELS = np.arange(3, dtype=np.int32)


def with_value(value: float) -> np.ndarray:
    inputs = INPUTS.copy()
    inputs[1, 2, 3, 1] = value
    return inputs


def strided(array: np.ndarray) -> np.ndarray:
    """The same values, every other one of a larger array."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same values, a byte off."""
    bytes_ = np.zeros(array.nbytes + 1, np.uint8)
    view = bytes_[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


WRONG_INPUTS = [
    (np.zeros((3, *SHAPE), np.float32), ValueError, r"inputs must have shape \(N, 7, 9, 2\).*not \(3, 2, 7, 9\)"),
    (INPUTS[..., :1].copy(), ValueError, r"not \(3, 7, 9, 1\)"),
    (INPUTS[:, :6].copy(), ValueError, r"not \(3, 6, 9, 2\)"),
    (np.zeros((3, 8, 9, 2), np.float32), ValueError, r"not \(3, 8, 9, 2\)"),
    (INPUTS[0], ValueError, r"not \(7, 9, 2\)"),
    (INPUTS[:0], ValueError, "N at least 1"),
    (INPUTS.astype(np.float64), TypeError, "inputs must be float32, not float64"),
    (INPUTS.astype(">f4"), TypeError, "inputs must be float32, not >f4"),
    (INPUTS.tolist(), TypeError, "not builtins.list"),
    (None, TypeError, "not builtins.NoneType"),
]
WRONG_VIEWS = [
    (strided(INPUTS), ValueError, "inputs must be C-contiguous"),
    (misaligned(INPUTS), ValueError, "inputs must be aligned in memory, as device.to_device"),
]
WRONG_LABELS = [
    (LABELS[:1], ValueError, r"labels must have shape \(3,\), one for each image, not \(1,\)"),
    (np.zeros(4, np.int32), ValueError, r"not \(4,\)"),
    (LABELS.reshape(3, 1), ValueError, r"not \(3, 1\)"),
    (LABELS.astype(np.int64), TypeError, "labels must be int32, not int64"),
    (LABELS.astype(np.float32), TypeError, "labels must be int32, not float32"),
    (LABELS.tolist(), TypeError, "not builtins.list"),
]
WRONG_VALUES = [
    (with_value(255), r"inputs must lie in 0 to 1, as encode\(\) and Encoder make them"),
    (with_value(-0.001), "inputs must lie in 0 to 1"),
    (with_value(np.nan), "inputs must lie in 0 to 1"),
    (with_value(np.inf), "inputs must lie in 0 to 1"),
]
NO_CLASSES = [CLASSES, CLASSES + 1, -1, 2**31 - 1, -(2**31)]


@pytest.mark.parametrize(("inputs", "error", "message"), WRONG_INPUTS + WRONG_VIEWS)
@pytest.mark.parametrize("call", ["run", "train_step", "differentiate"])
def test_inputs_that_are_none(call: str, inputs: Any, error: type[Exception], message: str, net: Network) -> None:
    optimizer = Adam(net.device, net.parameters)
    before = bits(net)
    arguments = {"run": (inputs,), "train_step": (inputs, LABELS, optimizer), "differentiate": (inputs, LABELS)}
    with pytest.raises(error, match=message):
        getattr(net, call)(*arguments[call])
    assert bits(net) == before and optimizer.counts.applied == 0


@pytest.mark.parametrize(("labels", "error", "message"), WRONG_LABELS)
@pytest.mark.parametrize("call", ["train_step", "differentiate"])
def test_labels_that_are_none(call: str, labels: Any, error: type[Exception], message: str, net: Network) -> None:
    optimizer = Adam(net.device, net.parameters)
    before = bits(net)
    with pytest.raises(error, match=message):
        getattr(net, call)(INPUTS, labels, *([optimizer] if call == "train_step" else []))
    assert bits(net) == before and optimizer.counts.applied == 0


@pytest.mark.parametrize(("inputs", "error", "message"), WRONG_INPUTS)
def test_inputs_sent_to_a_step(inputs: Any, error: type[Exception], message: str, device: str | Device) -> None:
    net = on(device)
    step = TrainingStep(net, Adam(net.device, net.parameters), 3)
    with pytest.raises(error, match=message):
        step.send(inputs, LABELS)
    with pytest.raises(ValueError, match="no batch to work on"):
        step.run()


def test_the_copy_to_the_device_makes_arrays_contiguous(device: str | Device) -> None:
    net = on(device)
    evaluator = Evaluator(net, 3)
    inputs = np.random.default_rng(0).random(INPUTS.shape, np.float32)
    losses = []
    for same in (inputs, strided(inputs), misaligned(inputs), np.asfortranarray(inputs)):
        net.plan(3)
        net.loss.reset()
        evaluator.send(same, strided(LABELS))
        evaluator.run()
        losses.append(net.loss.read().loss)
    assert len(set(losses)) == 1


@pytest.mark.parametrize(("labels", "error", "message"), WRONG_LABELS)
def test_labels_sent_to_a_step(labels: Any, error: type[Exception], message: str, device: str | Device) -> None:
    net = on(device)
    for step in (TrainingStep(net, Adam(net.device, net.parameters), 3), Evaluator(net, 3)):
        with pytest.raises(error, match=message):
            step.send(INPUTS, labels)


@pytest.mark.parametrize("label", NO_CLASSES)
def test_a_label_that_is_no_class_changes_nothing_and_is_told(label: int, device: str | Device) -> None:
    """On a CPU at once; on a GPU by whoever waits for it next."""
    net = on(device)
    optimizer = Sgd(net.device, net.parameters, 0.1, momentum=0.9)
    net.plan(3, training=True)
    before = bits(net)
    labels = net.device.to_device(np.array([0, label, 1], np.int32))
    inputs = net.device.to_device(net.device.to_host(net.encode(images(3))))
    with pytest.raises(ValueError, match=f"labels must lie in 0 to {CLASSES - 1}"):
        net.train_step(inputs, labels, optimizer)
        assert net.device.gpu is not None
        net.loss.read()
    assert bits(net) == before and optimizer.counts.applied == 0
    # it has been told, and counts for nothing
    assert net.loss.read().images == 0
    net.train_step(inputs, net.device.to_device(LABELS), optimizer)
    assert net.loss.read().images == 3 and bits(net) != before


def test_each_mistake_that_is_not_told_yet_is_told() -> None:
    device = device_of(Machine())
    net = models.build(SPEC, SHAPE, CLASSES, device)
    optimizer = Adam(device, net.parameters)
    inputs, no_class = device.to_device(INPUTS), device.to_device(np.array([0, CLASSES, 1], np.int32))
    for order in (1, -1):
        for batch in [(device.to_device(with_value(2)), device.to_device(LABELS)), (inputs, no_class)][::order]:
            net.train_step(*batch, optimizer)
        with pytest.raises(ValueError, match=r"inputs must lie in 0 to 1.*; labels must lie in 0 to 3; a batch in"):
            net.state_dict()
        net.state_dict()


def test_a_refused_batch_leaves_no_mark_on_the_next_loss(net: Network) -> None:
    with pytest.raises(ValueError, match="inputs must lie in"):
        net.run(with_value(2))
    net.plan(3, training=True)
    potentials = np.zeros((3, CLASSES), np.float32)
    assert np.isfinite(net.loss.add(potentials, LABELS)).all() and net.loss.read().images == 3


@pytest.mark.parametrize(("inputs", "message"), WRONG_VALUES)
def test_inputs_outside_the_code_change_nothing_and_are_told(
    inputs: np.ndarray, message: str, device: str | Device
) -> None:
    net = on(device)
    optimizer = Adam(net.device, net.parameters)
    before = bits(net)
    with pytest.raises(ValueError, match=message):
        net.train_step(net.device.to_device(inputs), net.device.to_device(LABELS), optimizer)
        assert net.device.gpu is not None
        net.state_dict()
    assert bits(net) == before and optimizer.counts.applied == 0
    assert all(np.isfinite(values).all() for values in net.state_dict().values())


def test_a_step_as_a_graph_tells_it_too() -> None:
    net = on(device_of(Machine()))
    optimizer = Adam(net.device, net.parameters)
    step = TrainingStep(net, optimizer, 3)
    for _ in range(4):
        step.send(INPUTS, LABELS)
        step.run()
    before = bits(net)
    step.send(INPUTS, np.array([0, 99, 1], np.int32))
    step.run()
    assert step.graphs == 1
    with pytest.raises(ValueError, match="labels must lie in"):
        net.loss.read()
    assert bits(net) == before
    assert (optimizer.counts.applied, optimizer.counts.skipped, net.loss.read().images) == (4, 1, 12)


def test_what_nobody_has_read_is_told_by_the_next_who_waits() -> None:
    device = device_of(Machine())
    for call in (
        lambda net: net.forward(net.encode(images(2))),
        lambda net: net.loss_and_gradients(net.encode(images(2)), LABELS[:2]),
        lambda net: net.state_dict(),
    ):
        net = models.build(SPEC, SHAPE, CLASSES, device)
        bad = device.to_device(np.array([0, 4, 1], np.int32))
        net.train_step(device.to_device(INPUTS), bad, Adam(device, net.parameters))
        with pytest.raises(ValueError, match="labels must lie in"):
            call(net)
        call(net)


@pytest.mark.parametrize("bad", ["inputs", "labels", "a bare run"])
def test_only_the_batch_that_is_none_is_left_out(bad: str) -> None:
    """On a GPU: the next ones count, although nobody has been told yet."""
    device = device_of(Machine())
    net = models.build(SPEC, SHAPE, CLASSES, device)
    optimizer = Adam(device, net.parameters)
    net.plan(3, training=True)
    good = device.to_device(with_value(0.5)), device.to_device(LABELS)
    net.train_step(*good, optimizer)
    if bad == "inputs":
        net.train_step(device.to_device(with_value(2)), good[1], optimizer)
    elif bad == "labels":
        net.train_step(good[0], device.to_device(np.array([0, CLASSES, 1], np.int32)), optimizer)
    else:
        net.run(device.to_device(with_value(2)), training=True)
    net.train_step(*good, optimizer)
    with pytest.raises(ValueError, match="a batch in which they do not was left out"):
        net.loss.read()
    assert net.loss.read().images == 6
    assert (optimizer.counts.applied, optimizer.counts.skipped) == (2, bad != "a bare run")
    twin = models.build(SPEC, SHAPE, CLASSES, device)
    alone = Adam(device, twin.parameters)
    for _ in range(2):
        twin.train_step(*good, alone)
    assert bits(net) == bits(twin)


@pytest.mark.parametrize("rule", [{"encoding": "direct"}, {"standardize": True}])
@pytest.mark.parametrize("value", [255, -6, 12, np.nan, np.inf])
def test_standardised_inputs_outside_what_pixels_become(rule: dict[str, Any], value: float) -> None:
    """Pixels of 0 to 255 were trained on: only whether they were finite was looked at."""
    net = build(mean=np.array([0.4, 0.5], np.float32), std=np.array([0.2, 0.1], np.float32), **rule)
    optimizer = Adam(net.device, net.parameters)
    before = bits(net)
    for call in (lambda given: net.train_step(given, LABELS, optimizer), net.run, net.forward):
        with pytest.raises(ValueError, match=r"inputs must lie in -5 to 5, as encode\(\)|encoded must be finite"):
            call(with_value(value))
    assert bits(net) == before and optimizer.counts.applied == 0


def test_images_of_0_to_255_that_a_user_standardised() -> None:
    net = build(encoding="direct", mean=np.full(2, 0.4, np.float32), std=np.full(2, 0.2, np.float32))
    with pytest.raises(ValueError, match=r"encode\(\) and Encoder make them of pixels in \[0, 1\]"):
        net.run(net.encoder(255 * np.random.default_rng(0).random(INPUTS.shape, np.float32)))


STATISTICS = st.integers(1, 3).flatmap(
    lambda channels: st.tuples(
        *(st.lists(numbers, min_size=channels, max_size=channels) for numbers in (st.floats(-2, 2), st.floats(1e-3, 4)))
    )
)


@given(STATISTICS, st.sampled_from([("direct", False), ("latency", True), ("latency", False)]), st.floats(1e-3, 1e3))
def test_all_that_an_encoder_makes_of_pixels_lies_within_its_bounds(
    statistics: tuple[list[float], list[float]], code: tuple[str, bool], t_win: float
) -> None:
    mean, std = (np.array(values) for values in statistics)
    encoder = Encoder(code[0], t_win, code[1], mean, std)
    low, high = np.array(encoder.bounds, np.float32)
    pixels = np.linspace(0, 1, 256)[:, None].repeat(len(mean), 1)
    scale = t_win if code[0] == "latency" else 1.0
    exact = ((pixels - mean) / std if "latency" not in code or code[1] else pixels) * scale
    for encoded in (encoder(pixels.astype(np.float32)), exact.astype(np.float32)):
        assert (encoded >= low).all() and (encoded <= high).all()
        # and not by far: what lies beyond is told
        near = 1e-5 * scale * float((np.maximum(1, abs(mean)) / std).max())
        assert encoded.max() == pytest.approx(high, abs=near) and encoded.min() == pytest.approx(low, abs=near)


@pytest.mark.parametrize("augment", ["none", "crop_flip", ["Cutout"]])
def test_augmented_images_are_inputs(augment: Any) -> None:
    """What a crop uncovers and what a cutout takes away are pixels, too."""
    net = build(encoding="direct", mean=np.array([0.1, 0.9], np.float32), std=np.full(2, 0.01, np.float32))
    pixels = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (8, *NHWC))
    images_ = ImageSet(pixels, np.zeros(8, np.int32))
    for batch in Batches(images_, 4, encode=net.encoder, augment=augment).epoch(0):
        net.run(batch.inputs)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 1e-320), (1e300, 1.0), (0.5, 1e-40), (3e38, 1e-5)])
def test_statistics_that_float32_cannot_hold(mean: float, std: float) -> None:
    with pytest.raises(UserError, match="std is too small, or mean too large"):
        Encoder("direct", mean=np.array([mean]), std=np.array([std]))


def test_a_window_of_another_length() -> None:
    net = build(t_win=0.1)
    net.run(net.encode(np.ones((2, *SHAPE), np.float32)))
    with pytest.raises(ValueError, match=r"inputs must lie in 0 to 0\.1"):
        net.run(with_value(0.11))


def test_an_array_that_is_a_byte_off_is_copied_where_arrays_are_taken() -> None:
    net = build()
    encoded = net.encode(images(3))
    assert (net.forward(misaligned(encoded)) == net.forward(encoded)).all()
    assert (net.encode(misaligned(images(3))) == encoded).all()


def test_an_optimiser_of_another_network(net: Network) -> None:
    other = Adam(net.device, build().parameters)
    with pytest.raises(ValueError, match="must be of this network's parameters"):
        net.train_step(INPUTS, LABELS, other)
    with pytest.raises(ValueError, match="must be of this network's parameters"):
        TrainingStep(net, other, 3)


def test_labels_and_potentials_that_are_a_byte_off(net: Network) -> None:
    """That they are on the CPU is not what is wrong."""
    net.plan(3, training=True)
    potentials = np.zeros((3, CLASSES), np.float32)
    with pytest.raises(ValueError, match="labels must be aligned in memory"):
        net.differentiate(INPUTS, misaligned(LABELS))
    with pytest.raises(ValueError, match="potentials must be aligned in memory"):
        net.loss.add(misaligned(potentials), LABELS)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8", None, True])
def test_batch_sizes_that_are_none(batch_size: Any, net: Network) -> None:
    optimizer = Adam(net.device, net.parameters)
    for call in (
        lambda: net.plan(batch_size),
        lambda: net.tune(batch_size),
        lambda: TrainingStep(net, optimizer, batch_size),
        lambda: Evaluator(net, batch_size),
    ):
        with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
            call()


@pytest.mark.parametrize("rows", [0, 4, 5000])
def test_a_loss_of_more_rows_than_are_planned(rows: int, device: str | Device) -> None:
    """They were written beyond the arrays of the loss."""
    net = on(device)
    net.plan(3, training=True)
    potentials = net.device.to_device(np.zeros((rows, CLASSES), np.float32))
    with pytest.raises(ValueError, match=r"potentials must have shape \(N, 4\), N from 1 to 3"):
        net.loss.add(potentials, net.device.to_device(np.zeros(rows, np.int32)))
    for wrong in (np.zeros((3, 5), np.float32), np.zeros((3, CLASSES)), np.zeros((3, 2 * CLASSES), np.float32)[:, ::2]):
        with pytest.raises((ValueError, TypeError), match=r"potentials must (be|have)"):
            net.loss.add(net.device.to_device(wrong) if wrong.shape[1] == 5 else wrong, LABELS)


def test_a_loss_that_nothing_was_added_to(device: str | Device) -> None:
    net = on(device)
    assert net.loss.read().images == 0
    assert copy.deepcopy(net).loss.read().images == 0


def test_a_batch_whose_loss_is_not_finite_is_kept_apart() -> None:
    net = build()
    net.plan(3, training=True)
    add, finite, broken = net.loss.add, np.zeros((3, CLASSES), np.float32), np.zeros((2, CLASSES), np.float32)
    finite[:, 1], broken[0, 0] = 1.0, np.inf
    labels = net.device.to_device(np.array([1, 1, 0], np.int32))
    add(net.device.to_device(finite), labels)
    before = net.loss.read()
    assert before == net.loss.read_finite() and before.accuracy == pytest.approx(2 / 3) and before.not_finite == 0
    assert np.isnan(host(add(net.device.to_device(broken), labels[:2]))).any()
    assert net.loss.read_finite() == replace(before, not_finite=1)
    whole = net.loss.read()
    assert not np.isfinite(whole.loss) and (whole.images, whole.not_finite) == (5, 1)
    add(net.device.to_device(finite), labels)
    assert net.loss.read_finite() == replace(before, images=6, not_finite=1)
    net.loss.reset()
    assert net.loss.read() == net.loss.read_finite() == Totals(0.0, 0.0, 0)
