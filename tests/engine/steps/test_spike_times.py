"""Histograms of spike times: counted on the device, beside NumPy's."""

from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.stepping import CLASSES, SHAPE, SPEC

from ttfs_cupy import models
from ttfs_cupy.data import Batches
from ttfs_cupy.data.sources.images import ImageSet
from ttfs_cupy.device import CpuDevice, Device, reductions
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.evaluation import Evaluation, Evaluator

BATCH, IMAGES = 8, 35


def network_on(device: Device, **rule: Any) -> Network:
    return models.build(SPEC, SHAPE, CLASSES, device, **rule)


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)


def images() -> ImageSet:
    return ImageSet(pixels(), np.arange(IMAGES, dtype=np.int32) % CLASSES, 255)


def evaluated(network: Network, **options: bool) -> Evaluation:
    batches = Batches(images(), BATCH, encode=network.encoder)
    return Evaluator(network, BATCH, **options).over(batches, "validation")


@pytest.mark.parametrize("window", [1.0, 0.25])
def test_each_layers_histogram(window: float) -> None:
    network = network_on(CpuDevice(2), t_win=window)
    found = evaluated(network, spike_times=True)
    assert found.spike_times is not None
    network.forward(network.encode(pixels().transpose(0, 3, 1, 2).astype(np.float32) / 255))
    times = network.spike_times()
    assert set(found.spike_times) == set(found.firing_rates) <= set(times)
    edges = np.linspace(0, window, reductions.SPIKE_TIME_BINS + 1)
    for name, counts in found.spike_times.items():
        fired = times[name][np.isfinite(times[name])]
        assert counts.sum() == len(fired) > 0
        # a time that lies between two bins, but for its rounding, may count on either side
        away = np.abs(fired[:, None] - edges[1:-1]).min(axis=1) > 1e-5 * window
        sure = np.histogram(fired[away], edges)[0]
        assert ((sure <= counts) & (counts <= sure + np.count_nonzero(~away))).all()
        assert np.count_nonzero(~away) < len(fired) // 20


def test_a_pass_begins_anew() -> None:
    network = network_on(CpuDevice(1))
    batches, evaluator = Batches(images(), BATCH, encode=network.encoder), Evaluator(network, BATCH, spike_times=True)
    first, again = (evaluator.over(batches, "validation").spike_times for _ in range(2))
    assert first is not None and again is not None
    assert all((first[name] == again[name]).all() for name in first)


def test_who_does_not_ask_gets_the_rest_alike() -> None:
    asked, plain = evaluated(network_on(CpuDevice(1)), spike_times=True), evaluated(network_on(CpuDevice(1)))
    assert plain.spike_times is None
    assert (asked.totals, asked.firing_rates) == (plain.totals, plain.firing_rates)


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_graphs_count_what_launches_count() -> None:
    machine = Machine()
    network = network_on(device_of(machine))
    batches = Batches(images(), BATCH, encode=network.encoder)
    evaluator = Evaluator(network, BATCH, spike_times=True)
    first, replayed = (evaluator.over(batches, "validation").spike_times for _ in range(2))
    assert evaluator.graphs == 2 and machine.violations == []
    on_cpu = evaluated(network_on(CpuDevice(1)), spike_times=True).spike_times
    assert first is not None and replayed is not None and on_cpu is not None
    for name, counts in first.items():
        assert (counts == replayed[name]).all()
        assert np.abs(counts - on_cpu[name]).sum() <= 0.001 * counts.sum() + 2
