"""A tiny network on the device: the same bits twice, what the CPU says, and its steps replayed as a CUDA graph."""

import numpy as np

from ttfs_cupy.check.report import PLEASE_REPORT, Report
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build

# Every kind of layer, odd sizes, a rectangular kernel with stride and padding.
TINY_NETWORK = (16, "P", {"convolution": 21, "kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}, {"linear": 33})
TINY_INPUT = (3, 12, 13)
TINY_BATCH = 37
# Launched, recorded, and replayed twice.
TINY_STEPS = 4

# Between two devices: of the loss, and of each gradient in the norm.
DEVICE_TOLERANCE = 1e-4


def run_network(report: Report, device: Device) -> None:
    """A tiny network forward and backward: the same bits twice, and on a GPU what the CPU says."""
    for psp_slope in (1.0, 0.0):
        first, again = (_differentiate(device, psp_slope) for _ in range(2))
        same = first[0] == again[0] and all(first[1][name].tobytes() == again[1][name].tobytes() for name in first[1])
        if not same:
            report.problem(
                f"a network's gradients differ from run to run on {device.name}: "
                "test the memory of the device; if that is sound, please report it, with all of this output"
            )
        finite = np.isfinite(first[0]) and all(np.isfinite(gradient).all() for gradient in first[1].values())
        if not finite:
            report.problem(f"a network's gradients are not finite on {device.name}: {PLEASE_REPORT}")
        verdict = f"loss {first[0]:.6f}, the same bits twice" if same else "its bits differ"
        report.say("network", f"psp_slope {psp_slope:g}: forward and backward, {verdict}")
        if device.name != "cpu":
            _compare_with_cpu(report, device, psp_slope, first)


Gradients = tuple[float, dict[str, np.ndarray], Network]


def _differentiate(device: Device, psp_slope: float) -> Gradients:
    network, images, labels = _tiny_network(device, psp_slope)
    return *network.loss_and_gradients(network.encode(images), labels), network


def _tiny_network(
    device: Device, psp_slope: float, normalization: str = "none"
) -> tuple[Network, np.ndarray, np.ndarray]:
    """With a batch of images, some of whose pixels are black, and labels, int32. Standardised weights come with initial
    potentials."""
    network = build(
        list(TINY_NETWORK),
        input_shape=TINY_INPUT,
        device=device,
        seed=0,
        psp_slope=psp_slope,
        normalization=normalization,
        initial_potential=normalization == "weight",
    )
    draw = np.random.default_rng(0)
    images = draw.random((TINY_BATCH, *TINY_INPUT)).astype(np.float32)
    images[images < 0.3] = 0
    return network, images, draw.integers(0, network.classes, TINY_BATCH).astype(np.int32)


def replay_steps(report: Report, device: Device) -> None:
    """Training steps replayed as a CUDA graph: the same bits as launched kernel by kernel."""
    if device.streams is None:
        return
    for psp_slope, normalization in ((1.0, "weight"), (0.0, "none")):
        (launched, _), (replayed, graphs) = (
            _trained(device, psp_slope, normalization, capture=capture) for capture in (False, True)
        )
        if not graphs:
            report.untested.append(f"no training step was replayed as a CUDA graph: {device.name} captured none")
            return
        same = all(launched[name].tobytes() == replayed[name].tobytes() for name in launched)
        if not same:
            report.problem(
                f"a training step replayed as a CUDA graph computes something else on {device.name} than launched "
                f"kernel by kernel: CUDA_LAUNCH_BLOCKING=1 does without graphs; {PLEASE_REPORT}"
            )
        verdict = "the same bits" if same else "its bits differ"
        weights = "standardised weights, initial potentials" if normalization == "weight" else "plain weights"
        report.say("graph", f"psp_slope {psp_slope:g}, {weights}: training steps launched and replayed, {verdict}")


def _trained(
    device: Device, psp_slope: float, normalization: str, *, capture: bool
) -> tuple[dict[str, np.ndarray], int]:
    """Weights after a few steps, and how many graphs were recorded for them."""
    network, images, labels = _tiny_network(device, psp_slope, normalization)
    optimizer = Adam(device, network.parameters)
    step = TrainingStep(network, optimizer, TINY_BATCH, capture=capture)
    inputs = device.to_host(network.encode(images))
    for number in range(TINY_STEPS):
        step.send(inputs, labels)
        optimizer.lr = 0.01 / (1 + number)
        step.run()
    return network.state_dict(), step.graphs


def _compare_with_cpu(report: Report, device: Device, psp_slope: float, on_device: Gradients) -> None:
    try:
        on_cpu = _differentiate(get_device("cpu")[0], psp_slope)
    except UserError as error:
        report.untested.append(f"the network was not compared with the CPU's ({error})")
        return
    flips = _flips(on_device[2], on_cpu[2])
    if flips and flips <= TINY_BATCH:
        # rounding decided about a neuron, which moves all that it feeds: nothing is wrong, and nothing to compare
        report.say("", f"{flips} neurons fire on one of {device.name} and the CPU only: not compared")
        return
    distances = [abs(on_device[0] - on_cpu[0]) / max(1.0, abs(on_cpu[0]))]
    for name, expected in on_cpu[1].items():
        size = float(np.linalg.norm(expected))
        distances.append(float(np.linalg.norm(on_device[1][name] - expected)) / (size or 1.0))
    report.say("", f"{max(distances):.1e} apart from the CPU's, {DEVICE_TOLERANCE:.0e} allowed")
    if not max(distances) <= DEVICE_TOLERANCE:
        report.problem(f"a network computes something else on {device.name} than on the CPU: {PLEASE_REPORT}")


def _flips(one: Network, other: Network) -> int:
    """Neurons that fire in one of the two only (docs/model.md, "Sensitivity")."""
    times, expected = one.spike_times(), other.spike_times()
    return sum(int((np.isinf(times[name]) != np.isinf(expected[name])).sum()) for name in times)
