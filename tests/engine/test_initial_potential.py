"""Initial potentials (docs/model.md): A is larger by T b in every rule, by every algorithm, and b is trained."""

from typing import Any

import numpy as np
import pytest
from helpers.numbers import SLOPE_AND_CLIP, by_every_algorithm, check, check_central_differences, give_potentials
from reference import comparison
from reference.comparison import DEVICE
from reference.specification import random_images, read

from ttfs_cupy import models


@pytest.mark.parametrize("t_win", [0.5, 3.0])
@pytest.mark.parametrize(("slope", "clip"), SLOPE_AND_CLIP)
@pytest.mark.parametrize("readout", ["potential", "spike_times"])
def test_every_algorithm_agrees_with_float64(t_win: float, slope: float, clip: str, readout: str) -> None:
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": clip, "readout": readout}
    check([9, "P", 20, 17, {"linear": 12}], (3, 9, 10), initial_potential=True, **rule)


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
def test_direct_encoding_scales_the_drive_but_not_the_potential(t_win: float) -> None:
    spec, shape = [9, "P", 10, {"linear": 8}], (3, 8, 10)
    mean, std = np.array([0.3, 0.4, 0.5], np.float32), np.array([0.2, 0.3, 0.4], np.float32)
    rule: dict[str, Any] = {"t_win": t_win, "encoding": "direct"}
    images = random_images(4, shape, seed=0)
    for net in by_every_algorithm(spec, shape, mean=mean, std=std, initial_potential=True, **rule):
        give_potentials(net, seed=3)
        comparison.check(net, read(spec, 5), images, np.arange(4), **rule)


@pytest.mark.parametrize(("count", "size"), [(3, (40, 37)), (700, (2, 2))])
def test_sums_over_many_parts(count: int, size: tuple[int, int]) -> None:
    check([37, "P"], (3, *size), count, initial_potential=True)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("readout", ["potential", "spike_times"])
@pytest.mark.parametrize("t_win", [1.0, 3.0])
def test_central_differences(slope: float, readout: str, t_win: float) -> None:
    """Of potentials so small that no neuron flips which would not without them."""
    spec, shape = [4, "P", {"linear": 6}], (2, 6, 6)
    rule: dict[str, Any] = {"psp_slope": slope, "clip": "none", "readout": readout, "t_win": t_win}
    net = models.build(spec, input_shape=shape, classes=3, device=DEVICE, initial_potential=True, **rule)
    give_potentials(net, seed=4, spread=0.001)
    check_central_differences(net, net.encode(random_images(4, shape, seed=38)), np.array([0, 1, 2, 0]))


def test_a_charged_neuron_fires_without_input() -> None:
    """On a black image x = T b where 0 < b < 1, and a pool takes the earliest of equals: the first."""
    for net in by_every_algorithm([20, 20, "P"], (2, 12, 12), initial_potential=True, t_win=2.0, psp_slope=0.5):
        state = {name: np.zeros_like(values) for name, values in net.state_dict().items()}
        state["conv1.potential"] = np.linspace(-0.5, 1.5, 20, dtype=np.float32)
        net.load_state_dict(state)
        net.forward(net.encode(np.zeros((3, 2, 12, 12), np.float32)))
        first, second, pooled, readout = comparison.outputs_of(net)
        expected = np.clip(2 * np.linspace(-0.5, 1.5, 20), 0, 2)
        np.testing.assert_allclose(first, np.broadcast_to(expected[:, None, None], first.shape), rtol=1e-6, atol=1e-7)
        assert not second.any() and not pooled.any() and not readout.any()
