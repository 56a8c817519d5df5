"""Whole networks beside float64, layer by layer: T2FSNN's way at psp_slope 1, an ordinary network at psp_slope 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.workload import CLASSES, WORKLOADS, Workload
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.deep.stages.graphs import TINY
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.models import build

CASES = {"cuda": ((WORKLOADS["vgg7"], 64), (WORKLOADS["vgg11"], 64)), "cpu": ((TINY, 8),)}

# Deviations in the norm at psp_slope 0, where no spike makes a jump: of earliness (and of the loss), and of gradients,
# which tensor cores compute in TF32 layer after layer.
OUTPUTS, GRADIENTS = 1e-4, 2e-2
# At psp_slope 1 a neuron that rounding decides about moves all that it feeds: of the first layer few may flip.
FLIPS = 1e-3


@dataclass(frozen=True)
class LayerParity:
    """deviation: of earliness, in the norm, of neurons that fire in both. flips: the share that fires in one alone."""

    network: str
    batch_size: int
    psp_slope: float
    layer: str
    deviation: float
    flips: float


@dataclass(frozen=True)
class GradientParity:
    """Of a layer's weights, in the norm."""

    network: str
    batch_size: int
    psp_slope: float
    weights: str
    deviation: float


@dataclass(frozen=True)
class Outcome:
    """predictions: the share of images for which both say the same class."""

    network: str
    batch_size: int
    psp_slope: float
    loss: float
    loss_in_float64: float
    predictions: float


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    trouble = tools.torch_trouble(device)
    if trouble:
        return notes.found(f"{trouble}: whole networks are not compared")
    for workload, batch_size in CASES[device.target]:
        at_slope_0(notes, device, workload, batch_size)
        at_slope_1(notes, device, workload, batch_size)
    return None


def at_slope_0(notes: Notes, device: Device, workload: Workload, batch_size: int) -> None:
    from ttfs_cupy.check.deep.references.networks import ordinary

    ours = _computed(device, workload, batch_size, 0.0, "none")
    wanted = ordinary(workload, ours.images, ours.labels, device.name)
    about, wrong = (workload.name, batch_size, 0.0), []
    for (layer, times), theirs in zip(ours.times.items(), wanted.outputs, strict=True):
        # without a spike earliness is 0
        earliness = np.where(np.isinf(times), 0.0, ours.t_win - times.astype(np.float64))
        flips = float(((earliness != 0) != (theirs != 0)).mean())
        wrong += _compare(notes, LayerParity(*about, layer, _relative(earliness, theirs), flips), OUTPUTS)
    wrong += _compare_gradients(notes, about, ours.gradients, wanted.gradients)
    same = _same(ours.potentials, wanted.potentials)
    notes.record(Outcome(*about, ours.loss, wanted.loss, same))
    if not abs(ours.loss - wanted.loss) <= OUTPUTS * max(1.0, abs(wanted.loss)):
        wrong.append(f"loss {ours.loss:.6f} beside {wanted.loss:.6f}")
    text = f"{workload.name} {batch_size}, psp_slope 0 beside float64"
    if wrong:
        notes.attention(f"{text}: {', '.join(wrong)}")
    else:
        notes.found(
            f"{text}: all layers and gradients within {OUTPUTS:.0e} and {GRADIENTS:.0e}, predictions {same:.1%}"
        )


def at_slope_1(notes: Notes, device: Device, workload: Workload, batch_size: int) -> None:
    from ttfs_cupy.check.deep.references.networks import spiking

    ours = _computed(device, workload, batch_size, 1.0, "separate")
    wanted = spiking(workload, ours.images, ours.labels, device.name)
    about, flips = (workload.name, batch_size, 1.0), []
    for (layer, times), theirs in zip(ours.times.items(), wanted.times, strict=True):
        both = np.isfinite(times) & np.isfinite(theirs)
        flips.append(float((np.isfinite(times) != np.isfinite(theirs)).mean()))
        notes.record(LayerParity(*about, layer, _relative(times[both], theirs[both]), flips[-1]))
    wrong = _compare_gradients(notes, about, ours.gradients, wanted.gradients)
    if flips[0] > FLIPS:
        wrong = [f"the first layer is not the same: {flips[0]:.0e} of its neurons flip"]
    elif any(flips):
        # a flip moves whatever it feeds, and all gradients
        wrong = []
    same = _same(ours.potentials, wanted.potentials)
    notes.record(Outcome(*about, ours.loss, wanted.loss, same))
    text = f"{workload.name} {batch_size}, psp_slope 1 beside float64"
    if wrong:
        notes.attention(f"{text}: {', '.join(wrong)}")
    shares = " ".join(f"{share:.0e}" if share else "0" for share in flips)
    notes.found(f"{text}: predictions {same:.1%}, neurons that flip, by layer: {shares}")


@dataclass(frozen=True)
class _Computed:
    """By our network, of these images; times by layer."""

    images: np.ndarray
    labels: np.ndarray
    t_win: float
    loss: float
    gradients: Mapping[str, np.ndarray]
    times: Mapping[str, np.ndarray]
    potentials: np.ndarray


def _computed(device: Device, workload: Workload, batch_size: int, psp_slope: float, clip: str) -> _Computed:
    network, images, labels = _network(device, workload, batch_size, psp_slope, clip)
    encoded = network.encode(images)
    loss, gradients = network.loss_and_gradients(encoded, labels)
    times = network.spike_times()
    potentials = device.to_host(network.forward(encoded))
    return _Computed(images, labels, network.t_win, loss, gradients, times, potentials)


def _network(
    device: Device, workload: Workload, batch_size: int, psp_slope: float, clip: str
) -> tuple[Network, np.ndarray, np.ndarray]:
    network = build(list(workload.spec), workload.input_shape, CLASSES, device=device, psp_slope=psp_slope, clip=clip)
    network.load_state_dict(workload.weights())
    images, labels = workload.batch(batch_size)
    return network, images, labels.astype(np.int32)


def _compare(notes: Notes, found: LayerParity | GradientParity, allowed: float) -> list[str]:
    """Records it; what is wrong, if anything."""
    notes.record(found)
    what = found.layer if isinstance(found, LayerParity) else f"the gradient of {found.weights}"
    return [] if found.deviation <= allowed else [f"{what} deviates by {found.deviation:.0e}"]


def _compare_gradients(
    notes: Notes, about: tuple[str, int, float], ours: Mapping[str, np.ndarray], theirs: Sequence[np.ndarray]
) -> list[str]:
    wrong = []
    for (weights, mine), wanted in zip(ours.items(), theirs, strict=True):
        deviation = _relative(mine.reshape(wanted.shape), wanted)
        wrong += _compare(notes, GradientParity(*about, weights, deviation), GRADIENTS)
    return wrong


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    size = float(np.linalg.norm(theirs))
    return float(np.linalg.norm(ours.astype(np.float64) - theirs)) / (size or 1.0)


def _same(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean())
