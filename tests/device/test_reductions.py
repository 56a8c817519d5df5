"""Sums over many values by a GPU's blocks, in the emulator, against float64: the gradient's norm, the loss, spikes.

The emulator finds races, reads of what was never written, and steps beyond an array by itself: they are errors of any
test here. Each launch runs threads and blocks in an order of its own.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from emulator import Emulator, Report, why_not
from emulator.device import EmulatedGpu, emulator_of
from helpers.machine_code import skip_without_tools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.device import CpuDevice, initial_potential, reductions, standardization
from ttfs_cupy.device.compilation import cubins, nvrtc, source
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.launcher import MAX_ELEMENTS
from ttfs_cupy.engine.network import Network

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

H100_MULTIPROCESSORS = 132
NOT_FINITE = st.sampled_from([np.nan, np.inf, -np.inf, 3e38])  # of the last, the square overflows
SIZES = st.integers(1, 70) | st.integers(1, 9_000) | st.sampled_from([1023, 1024, 4095, 4096, 4097, 8192, 30_001])
SETTINGS = (1.0, 0.9, 0.999)


@dataclass
class Decision:
    update: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    arrived: np.ndarray

    @property
    def bits(self) -> bytes:
        return self.update.tobytes() + self.counts.tobytes() + self.sums.tobytes()


def decide(device: Any, grad: np.ndarray, times: int = 1) -> Decision:
    sums, arrived = np.full(reductions.PARTS, np.nan, np.float32), np.zeros(1, np.int32)
    update, counts = np.zeros(5, np.float32), np.zeros(reductions.COUNTS, np.int64)
    for _ in range(times):
        state = (np.full(1, 0.25, np.float32), update, counts)
        reductions.prepare_update(device, grad, sums, arrived, *state, SETTINGS)
    return Decision(update, counts, sums, arrived)


def gradient(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, np.float32)


# The gradient's norm, and what becomes of a step


@many
@given(SIZES, st.integers(0, 2**32))
def test_the_norm(size: int, seed: int) -> None:
    device, grad = EmulatedGpu(seed=seed), gradient(size, seed)
    found = decide(device, grad, times=2)  # the second finds the counter as the first left it
    norm = math.sqrt((grad.astype(np.float64) ** 2).sum())
    assert found.update[1] == pytest.approx(min(1.0, 1 / norm), rel=1e-6)
    clipped = 2 if norm > 1 else 0
    assert found.counts.tolist() == [2, 0, clipped, 0, 0] and not found.arrived.any()


@many
@given(SIZES, st.integers(0, 2**32), NOT_FINITE)
def test_a_gradient_that_is_not_finite_is_skipped(size: int, place: int, value: float) -> None:
    grad = gradient(size)
    grad[place % size] = value
    found = decide(EmulatedGpu(seed=place), grad)
    assert found.update[0] == 0 and found.counts.tolist() == [0, 1, 0, 1, 1]


@pytest.mark.parametrize("device", [EmulatedGpu(), CpuDevice(1)], ids=["GPU", "CPU"])
def test_skipped_steps_in_a_row_are_counted(device: Any) -> None:
    good, bad = np.ones(3, np.float32), np.full(3, np.nan, np.float32)
    sums, arrived = np.zeros(reductions.PARTS, np.float32), np.zeros(1, np.int32)
    update, counts = np.zeros(5, np.float32), np.zeros(reductions.COUNTS, np.int64)
    rows = []
    for grad in (bad, bad, bad, good, bad, bad, good, good):
        reductions.prepare_update(device, grad, sums, arrived, np.ones(1, np.float32), update, counts, SETTINGS)
        rows.append(counts[3:].tolist())
    assert rows == [[1, 1], [2, 2], [3, 3], [0, 3], [1, 3], [2, 3], [0, 3], [0, 3]]


def test_it_decides_as_a_cpu_does() -> None:
    for scale in (1.0, 1e-5, 0.0):
        grad = np.float32(scale) * gradient(5_003)
        on_gpu, on_cpu = (decide(device, grad, times=3) for device in (EmulatedGpu(), CpuDevice(2)))
        np.testing.assert_allclose(on_gpu.update, on_cpu.update, rtol=1e-6)
        assert (on_gpu.counts == on_cpu.counts).all()


# The loss


Mixed = tuple[np.ndarray | None, np.ndarray | None]


def loss(
    device: Any,
    potentials: np.ndarray,
    labels: np.ndarray,
    grad: np.ndarray | None = None,
    *,
    mixed: Mixed = (None, None),
    smoothing: float = 0.0,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """grad, row_loss, row_correct and totals. mixed: the other labels, and the shares of the first."""
    rows = len(potentials)
    grad = np.full(potentials.shape, np.nan, np.float32) if grad is None else grad
    row_loss = np.full(rows, np.nan, np.float32)
    row_correct, arrived = np.full(rows, -1, np.int32), np.zeros(1, np.int32)
    totals = np.zeros(reductions.TOTALS)
    outputs = (np.zeros(1, np.int32), grad, row_loss, row_correct, arrived, totals)
    reductions.cross_entropy(device, potentials, labels, *mixed, smoothing, weights, *outputs)
    assert not arrived.any()
    return grad, row_loss, row_correct, totals


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Potentials on a coarse grid, so that ties are common, and labels."""
    rows = draw(st.integers(1, 40) | st.sampled_from([255, 257, 600]))
    classes = draw(st.integers(1, 40) | st.sampled_from([64, 100, 1000] if rows <= 40 else [10]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    potentials = (random.integers(-8, 8, (rows, classes)) * draw(st.sampled_from([0.25, 5.0]))).astype(np.float32)
    return potentials, random.integers(0, classes, rows).astype(np.int32)


@many
@given(batches(), st.integers(0, 2**32))
def test_the_loss(batch: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    potentials, labels = batch
    grad, row_loss, row_correct, totals = loss(EmulatedGpu(seed=seed), potentials, labels)
    m, rows = potentials.astype(np.float64), len(potentials)
    exponents = np.exp(m - m.max(axis=1, keepdims=True))
    p = exponents / exponents.sum(axis=1, keepdims=True)
    target = np.eye(m.shape[1])[labels]
    np.testing.assert_allclose(grad, (p - target) / rows, rtol=0, atol=1e-6 / rows)
    expected = np.log(exponents.sum(axis=1)) + m.max(axis=1) - m[np.arange(rows), labels]
    np.testing.assert_allclose(row_loss, expected, rtol=1e-6, atol=1e-6)
    assert (row_correct == (m.argmax(axis=1) == labels)).all()
    assert totals[0] == pytest.approx(row_loss.sum(dtype=np.float64), rel=1e-12)
    assert totals[1:].tolist() == [row_correct.sum(), rows, 0, 0, 0]


@many
@given(batches(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5, 0.9999999]), st.booleans(), st.booleans())
def test_the_loss_of_soft_targets_with_class_weights(
    batch: tuple[np.ndarray, np.ndarray], seed: int, smoothing: float, is_mixed: bool, is_weighted: bool
) -> None:
    """On both targets, against float64; and the gradient is that of the loss, by central differences."""
    potentials, labels = batch
    (rows, classes), random = potentials.shape, np.random.default_rng(seed)
    others, shares = labels, np.ones(rows, np.float32)
    if is_mixed:
        others = random.integers(0, classes, rows).astype(np.int32)
        shares = random.choice([0, 0.25, 0.5, 1, random.random()], rows).astype(np.float32)
    first, share = np.eye(classes)[labels], shares[:, None].astype(np.float64)
    wanted = (1 - smoothing) * (share * first + (1 - share) * np.eye(classes)[others]) + smoothing / classes
    weights = np.exp(random.uniform(-5, 5, classes)).astype(np.float32) if is_weighted else None
    of_class = (np.ones(classes) if weights is None else weights).astype(np.float64)
    weight = share[:, 0] * of_class[labels] + (1 - share[:, 0]) * of_class[others]

    def losses(m: np.ndarray) -> np.ndarray:
        largest = m.max(axis=1, keepdims=True)
        logs = m - largest - np.log(np.exp(m - largest).sum(axis=1, keepdims=True))
        return np.asarray(-weight * (wanted * logs).sum(axis=1))

    m = potentials.astype(np.float64)
    moved, k = np.zeros_like(m), random.integers(classes)
    moved[:, k] = 1e-5
    difference = (losses(m + moved) - losses(m - moved)) / 2e-5
    mixed = (others, shares) if is_mixed else (None, None)
    for device in (EmulatedGpu(seed=seed), CpuDevice(2)):
        settings = {"mixed": mixed, "smoothing": smoothing, "weights": weights}
        grad, row_loss, row_correct, totals = loss(device, potentials, labels, **settings)
        np.testing.assert_allclose(row_loss / weight, losses(m) / weight, rtol=5e-6, atol=2e-6)
        np.testing.assert_allclose(rows * grad[:, k] / weight, difference / weight, rtol=0, atol=2e-6)
        assert totals[0] == pytest.approx(row_loss.sum(dtype=np.float64), rel=1e-12)
        mostly = np.where(shares >= 0.5, labels, others)
        assert (row_correct == (m.argmax(axis=1) == mostly)).all()
        assert totals[1:].tolist() == [row_correct.sum(), rows, 0, 0, 0]


@many
@given(batches(), st.integers(0, 2**32))
def test_a_target_that_is_one_class_after_all_has_the_bits_of_a_plain_label(
    batch: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    potentials, labels = batch
    random = np.random.default_rng(seed)
    strangers = random.integers(0, potentials.shape[1], len(labels)).astype(np.int32)
    which = random.integers(3, size=len(labels))
    shares = np.choose(which, [np.ones(len(labels)), np.zeros(len(labels)), random.random(len(labels))])
    first, second = np.where(which == 1, strangers, labels), np.where(which == 0, strangers, labels)
    mixed = (second, shares.astype(np.float32))
    for device in (EmulatedGpu(seed=seed), CpuDevice(1)):
        for weights in (None, random.uniform(0.1, 9, potentials.shape[1]).astype(np.float32)):
            plain = loss(device, potentials, labels, weights=weights)
            same = loss(device, potentials, first, mixed=mixed, weights=weights)
            assert [one.tobytes() for one in plain] == [one.tobytes() for one in same]


@many
@given(batches(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1]))
def test_a_weight_is_a_factor_of_a_rows_loss_and_gradient_and_1_is_none(
    batch: tuple[np.ndarray, np.ndarray], seed: int, smoothing: float
) -> None:
    """By powers of two it is one to the last bit."""
    potentials, labels = batch
    powers = np.random.default_rng(seed).integers(-3, 4, potentials.shape[1])
    for device in (EmulatedGpu(seed=seed), CpuDevice(1)):
        grad, row_loss, row_correct, totals = loss(device, potentials, labels, smoothing=smoothing)
        ones = loss(device, potentials, labels, smoothing=smoothing, weights=np.ones_like(powers, np.float32))
        assert [one.tobytes() for one in ones] == [one.tobytes() for one in (grad, row_loss, row_correct, totals)]
        weights = np.ldexp(np.float32(1), powers)
        found = loss(device, potentials, labels, smoothing=smoothing, weights=weights)
        np.testing.assert_array_equal(found[0], grad * weights[labels][:, None])
        np.testing.assert_array_equal(found[1], row_loss * weights[labels])
        np.testing.assert_array_equal(found[2], row_correct)


@many
@given(batches(), st.integers(0, 2**32), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_shows_in_the_loss(batch: tuple[np.ndarray, np.ndarray], place: int, value: float) -> None:
    """As it does on a CPU; but for a class of no probability, which is fine."""
    potentials, labels = batch
    potentials.reshape(-1)[place % potentials.size] = value
    for smoothing in (0.0, 0.1):
        devices = (EmulatedGpu(seed=place), CpuDevice(1))
        results = [loss(device, potentials, labels, smoothing=smoothing) for device in devices]
        for on_gpu, on_cpu in zip(*results, strict=True):
            # with smoothing a thousand distances are added, in the two targets' order
            np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-6 if smoothing == 0 else 5e-6, atol=1e-6)
        for _, row_loss, row_correct, totals in results:
            # a batch that is not finite is kept apart from those that are
            counted, nothing = [row_correct.sum(), len(labels)], [0, 0]
            is_finite = bool(np.isfinite(row_loss).all())
            assert totals[1:].tolist() == [*(counted + nothing if is_finite else nothing + counted), not is_finite]
            assert is_finite or totals[0] == 0


# Spikes


@many
@given(SIZES, st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_spikes_are_counted_exactly(size: int, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    earliness = np.where(random.random(size) < share, random.standard_normal(size), 0).astype(np.float32)
    earliness[-1] = np.nan  # fired, if anything
    counts = np.full((reductions.PARTS, 2), 2**40, np.int64)
    for _ in range(2):
        reductions.count_spikes(EmulatedGpu(seed=seed), earliness, 0.5, counts)
    found = (counts - 2**40).sum(axis=0)
    assert found.tolist() == [2 * np.count_nonzero(earliness), 2 * np.count_nonzero(earliness >= 0.5)]


@many
@given(st.integers(1, 200), st.integers(1, 70) | st.sampled_from([128, 130]), st.integers(0, 2**32))
def test_pixels_with_spikes(pixels: int, channels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    images = np.where(random.random((pixels, channels)) < 0.5 / channels, np.nan, 0).astype(np.float32)
    spiked = np.full(pixels, np.nan, np.float32)
    reductions.find_spikes(EmulatedGpu(seed=seed), images, spiked)
    assert (spiked == np.isnan(images).any(axis=1)).all()


# The same bits in any order and grid


def test_the_order_of_threads_and_blocks_does_not_matter() -> None:
    grad, (potentials, labels) = gradient(20_003), (gradient(1_003).reshape(59, 17), np.arange(59, dtype=np.int32) % 17)
    found = set()
    for seed in range(20):
        device = EmulatedGpu(seed=1000 * seed)
        bits = b"".join(each.tobytes() for each in loss(device, potentials, labels))
        found.add(decide(device, grad).bits + bits)
    assert len(found) == 1


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 64])
def test_the_size_of_the_grid_does_not_matter(blocks: int) -> None:
    """Fewer blocks than parts or rows, and more."""
    grad, (potentials, labels) = gradient(20_003), (gradient(1_003).reshape(59, 17), np.arange(59, dtype=np.int32) % 17)
    earliness = np.maximum(gradient(20_003, 1), 0)

    def results(device: EmulatedGpu) -> list[bytes]:
        counts, spiked = np.zeros((reductions.PARTS, 2), np.int64), np.full(59, np.nan, np.float32)
        reductions.count_spikes(device, earliness, 1.0, counts)
        reductions.find_spikes(device, np.maximum(potentials - 2, 0), spiked)
        found = [each.tobytes() for each in loss(device, potentials, labels)]
        return [decide(device, grad).bits, counts.tobytes(), spiked.tobytes(), *found]

    assert results(InBlocks(blocks)) == results(EmulatedGpu())


class InBlocks(EmulatedGpu):
    """Launches everything in so many blocks."""

    def __init__(self, blocks: int):
        super().__init__()
        self._blocks = blocks

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        super().launch_blocks(variant, self._blocks, shared_bytes, *arguments)


# What it takes of a GPU


@pytest.fixture(scope="module")
def vgg11() -> Network:
    return models.build("vgg11", (3, 32, 32), 10, CpuDevice(1))


def test_there_is_a_block_for_every_multiprocessor(vgg11: Network) -> None:
    """Of vgg11's weights, and of each layer's activations at batch 128."""
    sizes = [vgg11.parameters.size, *(128 * layer.neurons for layer in vgg11.layers if layer.is_spiking)]
    assert min(sizes) > 4_000_000
    for size in sizes:
        assert H100_MULTIPROCESSORS <= reductions.blocks_of_parts(size) <= reductions.PARTS


@given(st.integers(1, MAX_ELEMENTS) | st.sampled_from([MAX_ELEMENTS]))
def test_parts_cover_any_size_without_overflow(size: int) -> None:
    length, blocks = reductions.part_size(size), reductions.blocks_of_parts(size)
    assert 1 <= blocks <= reductions.PARTS and (blocks - 1) * length < size <= blocks * length
    assert length % reductions.ROUND == 0
    # the largest number that an index reaches: a thread's, beyond its part
    assert (blocks - 1) * length + length + reductions.ROUND < 2**31


@given(st.integers(1, MAX_ELEMENTS) | st.sampled_from([MAX_ELEMENTS]))
def test_a_grid_stride_over_rows_does_not_overflow(rows: int) -> None:
    blocks = reductions.blocks_of_warps(rows)
    stride = blocks * reductions.THREADS // 32
    assert blocks >= 1 and rows - 1 + stride < 2**31


def aligned(*shape: int) -> np.ndarray:
    """As a GPU's arrays are: NumPy's begin in the middle of a sector. Whole lines of 128 bytes."""
    room = np.zeros(math.prod(shape) + 32, np.float32)
    first = -room.ctypes.data % 128 // 4
    values = room[first : first + math.prod(shape)].reshape(shape)
    values[...] = gradient(values.size).reshape(shape)
    return values


def share_of_sectors(report: Report) -> float:
    """Sectors that are fetched and written for each that is needed."""
    uses = report.sectors.values()
    return sum(use.sectors for use in uses) / sum(use.fewest_sectors for use in uses)


def test_a_warp_reads_neighbouring_addresses() -> None:
    device, size = EmulatedGpu(), 50_000
    decide(device, aligned(size))
    reductions.count_spikes(device, aligned(size), 1.0, np.zeros((reductions.PARTS, 2), np.int64))
    reductions.find_spikes(device, aligned(100, 64), np.zeros(100, np.float32))
    loss(device, aligned(64, 1024), np.zeros(64, np.int32), aligned(64, 1024))
    assert len(device.reports) == 4
    for variant, report in device.reports:
        assert share_of_sectors(report) < 1.01, variant.kernel
    for _, report in device.reports[:2]:
        # nearly all of it by loads of 16 bytes: 16 sectors each
        assert sum(use.accesses for use in report.sectors.values()) < 1.2 * size / 4 / 32


FLAT = [
    ("sum_squares", lambda values: (np.zeros(reductions.PARTS, np.float32), reductions.PARTS, values.size)),
    ("count_spikes", lambda values: (np.zeros((256, 2), np.int64), 1.0, 256, values.size)),
    ("find_spikes", lambda values: (np.zeros(values.size // 64, np.float32), values.size // 64, 64)),
]


@pytest.mark.parametrize(("kernel", "rest"), FLAT)
def test_shares_of_a_thread_each_do_not(kernel: str, rest: Any) -> None:
    """As these ran on GPUs, and as CPUs like them: a warp's lanes read 32 sectors for the bytes of 4."""
    headers = "".join(map(source.header, ("cross_entropy", "decide_update")))
    flat = Emulator(headers + source.text("reductions"), file_name="reductions.cpp")
    values = aligned(64 * 4096)
    report = flat.launch(kernel, 4, 256, 0, values, *rest(values))
    assert share_of_sectors(report) > 6


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_registers_leave_room_for_other_blocks(architecture: int) -> None:
    """No spills; and of the kernels that wait for memory 6 blocks to a multiprocessor, or all that one has room for."""
    skip_without_tools()
    for variant in (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS):
        usages = cubins.cubin(variant.unit, architecture).usage
        usage = next(usage for usage in usages if usage.kernel == variant.kernel)
        assert not usage.spills and not usage.stack, variant
        if variant is not reductions.CROSS_ENTROPY:
            # compute capability 7.5 has room for 1,024 threads
            assert usage.registers <= (64 if architecture == 75 else 40), variant


def test_each_variant_is_a_kernel_of_its_own() -> None:
    for variant in (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS):
        file = source.kernels(source.COOPERATIVE)[variant.kernel].file
        assert variant.kernel in emulator_of(file, variant.constants).kernels
