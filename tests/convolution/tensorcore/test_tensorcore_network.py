"""Whole networks on tensor cores, in the emulator, against float64."""

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.numbers import give_potentials
from reference import comparison, earliness
from reference.specification import random_images, read

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CpuDevice, reductions
from ttfs_cupy.device.gpu_limits import of_capability
from ttfs_cupy.engine.optimizer import Adam

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

LAYERS = [16, 24, "P", {"convolution": 20, "kernel": 3, "stride": 2, "padding": 1}, {"linear": 30}]
INPUT = (2, 10, 12)
CLASSES = 5

# TF32 in the backward pass; of potentials, whose sums over pixels cancel in part
GRADIENTS = 1e-3
OF_POTENTIALS = 2e-3


@pytest.mark.parametrize(
    ("psp_slope", "readout", "initial_potential"),
    [
        *((slope, readout, False) for slope in (1.0, 0.5, 0.0) for readout in ("potential", "spike_times")),
        *((1.0, "potential", True), (0.0, "spike_times", True)),
    ],
)
def test_a_network_is_float64s(psp_slope: float, readout: str, initial_potential: bool) -> None:
    """Layer by layer on the same input, forward; gradients at the same spikes."""
    device = EmulatedGpu()
    rule = {"psp_slope": psp_slope, "readout": readout}
    net = models.build(LAYERS, INPUT, CLASSES, device, initial_potential=initial_potential, **rule)
    give_potentials(net, seed=0, spread=0.1)
    assert net.algorithms == {"conv1": "first_layer"} | dict.fromkeys(
        ["conv2", "conv3", "linear1", "readout"], "tensorcore"
    )
    assert net.precision == "split"
    images, labels = random_images(3, INPUT, 0), np.arange(3)
    encoded = net.encode(images)
    _, gradients = net.loss_and_gradients(encoded, labels)
    state = net.state_dict()
    reference = earliness.build(read(LAYERS, CLASSES), state, **rule)
    outputs = comparison.outputs_of(net)
    responses, _ = comparison.check_forward(reference, comparison.nchw(encoded), outputs)
    _, expected = reference.backward(comparison.nchw(encoded), responses, labels)
    for name, gradient in expected.items():
        allowed = OF_POTENTIALS if name.endswith(".potential") else GRADIENTS
        assert comparison.relative_error(gradients[name], gradient) <= allowed, name
    used = {variant.kernel for variant, _ in device.reports}
    assert used >= {"tensorcore_forward", "tensorcore_data_gradient", "tensorcore_weight_gradient"}


def test_potentials_gradients_by_blocks_are_float64s_where_all_else_is_float32() -> None:
    device, rule = EmulatedGpu(), {"psp_slope": 0.5, "readout": "spike_times"}
    net = models.build(
        LAYERS, INPUT, CLASSES, device, initial_potential=True, convolution="gemm", precision="float32", **rule
    )
    give_potentials(net, seed=0, spread=0.1)
    labels, encoded = np.arange(3), net.encode(random_images(3, INPUT, 0))
    _, gradients = net.loss_and_gradients(encoded, labels)
    reference = earliness.build(read(LAYERS, CLASSES), net.state_dict(), **rule)
    outputs = comparison.outputs_of(net)
    responses, _ = comparison.check_forward(reference, comparison.nchw(encoded), outputs)
    _, expected = reference.backward(comparison.nchw(encoded), responses, labels)
    potentials = [name for name in expected if name.endswith(".potential")]
    assert len(potentials) == 5
    for name in potentials:
        assert comparison.relative_error(gradients[name], expected[name]) <= 1e-5, name


def test_a_step_is_at_most_four_launches_a_layer() -> None:
    """Forward, data gradient and weight gradient together: packing weights, and one launch for each pass."""
    device = EmulatedGpu()
    net = models.build([16, 24, "P", 20], (8, 10, 12), CLASSES, device)
    encoded, labels = net.encode(random_images(3, (8, 10, 12), 0)), np.arange(3, dtype=np.int32)
    net.plan(3, training=True)
    device.reports.clear()
    net.train_step(encoded, labels, Adam(device, net.parameters))
    # the first layer's inputs take no gradient
    of_layers = [variant for variant, _ in device.reports if variant not in reductions.VARIANTS]
    assert len(of_layers) == 4 * len(net.algorithms) - 1
    # and the loss and the norm of the gradients, one each
    assert len(device.reports) - len(of_layers) == 2


def test_precision_says_what_may_be_used() -> None:
    def algorithms(precision: str, device: object) -> set[str]:
        net = models.build([16, 16], (8, 9, 9), 5, device, precision=precision)
        assert net.precision == (precision if isinstance(device, EmulatedGpu) else "float32")
        return set(net.algorithms.values())

    assert algorithms("float32", EmulatedGpu()) == {"winograd", "gemm"}
    assert algorithms("split", EmulatedGpu()) == {"tensorcore"}
    assert algorithms("tf32", EmulatedGpu()) == {"tensorcore_tf32"}
    assert algorithms("tf32", CpuDevice(1)) == {"winograd", "gemm"}


@pytest.mark.parametrize(
    ("options", "device", "said"),
    [
        ({"convolution": "tensorcore"}, CpuDevice(1), "layer conv1: tensorcore needs a GPU of compute capability 8.0"),
        (
            {"convolution": "tensorcore", "precision": "float32"},
            EmulatedGpu(),
            "layer conv1: tensorcore computes in split, and precision is float32; set precision to split",
        ),
        ({"convolution": "tensorcore"}, EmulatedGpu(of_capability((7, 5), 40)), "compute capability 8.0 or higher"),
        ({"precision": "half"}, CpuDevice(1), "precision must be one of float32, split, tf32, not 'half'"),
    ],
)
def test_what_does_not_fit_is_told(options: dict[str, str], device: CpuDevice, said: str) -> None:
    with pytest.raises(UserError, match=said):
        models.build([16], (8, 9, 9), 5, device, **options)
