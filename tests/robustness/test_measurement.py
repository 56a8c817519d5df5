"""What is measured of a network, beside passes one by one."""

import numpy as np
import pytest
from helpers.small_network import CLASSES, build, images

from ttfs_cupy import Batches, Corruption, ImageSet, Network, Noise, corrupted, predict
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.robustness.measurement import measure, passes

LEVELS = {"jitter": (0.05, 0.3), "drop-spikes": (0.0, 0.4), "weight-bits": (2,), "salt": (0.3,), "blur": (1.0,)}


def set_of(network: Network, count: int = 60, batch_size: int = 16) -> Batches:
    pixels = (images(count) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    labels = (np.arange(count) % CLASSES).astype(np.int32)
    return Batches(ImageSet(np.ascontiguousarray(pixels), labels, 255), batch_size, encode=network.encoder)


def test_each_point_is_a_pass_of_its_own() -> None:
    net, told = build(5), list[str]()
    test = set_of(net)
    found = measure(net, test, LEVELS, 2, told.append)
    plain = predict(net, test)
    assert found.images == 60
    assert (found.clean.accuracy, found.clean.changed) == (plain.evaluation.totals.accuracy, 0)
    assert [(point.kind, point.level) for point in found.points] == [
        (name, level) for name, levels in LEVELS.items() for level in levels
    ]
    noises = {"jitter": "jitter", "drop-spikes": "drop_spikes", "weight-bits": "weight_bits"}
    for point in found.points:
        # what is not drawn is measured once
        drawn = point.level > 0 and point.kind in ("jitter", "drop-spikes", "salt")
        assert [one.seed for one in point.passes] == ([0, 1] if drawn else [0])
        for one in point.passes:
            batches, noise = test, Noise()
            if point.kind in noises:
                noise = Noise(seed=one.seed, **{noises[point.kind]: point.level})
            else:
                worse = corrupted(test.images, [Corruption(point.kind, point.level)], one.seed)
                batches = Batches(worse, 7, encode=net.encoder)
            expected = predict(net, batches, noise)
            assert one.accuracy == expected.evaluation.totals.accuracy
            assert one.changed == np.mean(expected.classes != plain.classes)
    jitters = [one.changed for point in found.points if point.kind == "jitter" for one in point.passes]
    assert len(set(jitters)) > 1
    assert len(told) == passes(LEVELS, 2) == 1 + 4 + 3 + 1 + 2 + 1
    assert list(dict.fromkeys(told)) == ["clean", *LEVELS]
    # nothing is left of it
    assert Evaluator(net, 16).over(test, "test") == plain.evaluation


@pytest.mark.parametrize("readout", ["potential", "spike_times"])
def test_the_firing_rate_is_that_of_all_neurons_that_spike(readout: str) -> None:
    net = build(5, readout=readout)
    test, counted = set_of(net), [0, 0]

    def watch(layer: Layer, output: Array) -> None:
        if layer.is_spiking:
            counted[0] += np.count_nonzero(output)
            counted[1] += output.size

    predict(net, test, Noise(drop_spikes=0.4), watch=watch)
    (point,) = measure(net, test, {"drop-spikes": (0.4,)}, 1).points
    assert point.passes[0].firing_rate == pytest.approx(counted[0] / counted[1])
    assert 0 < counted[0] < counted[1]
