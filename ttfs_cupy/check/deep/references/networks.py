"""Whole networks in float64, in PyTorch. Imports torch; imported only where torch is installed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ttfs_cupy.benchmarks.peers.ann import Ann
from ttfs_cupy.benchmarks.peers.eager_t2fsnn import EagerNetwork
from ttfs_cupy.benchmarks.workload import Workload


@dataclass(frozen=True)
class Ordinary:
    """Of clipped ReLUs: outputs of the layers, but for the readout; the mean cross-entropy, and its gradients."""

    outputs: list[np.ndarray]
    potentials: np.ndarray
    loss: float
    gradients: list[np.ndarray]


def ordinary(workload: Workload, images: np.ndarray, labels: np.ndarray, device: str) -> Ordinary:
    net = Ann(workload.spec, workload.weights(), device).double()
    given = torch.from_numpy(images).double().to(device)
    potentials = net(given)
    loss = torch.nn.functional.cross_entropy(potentials, torch.from_numpy(labels).long().to(device))
    loss.backward()
    gradients = [parameter.grad.cpu().numpy() for parameter in net.parameters() if parameter.grad is not None]
    return Ordinary(list(_outputs(net, given)), potentials.detach().cpu().numpy(), loss.item(), gradients)


@torch.no_grad()
def _outputs(net: Ann, images: torch.Tensor) -> Iterator[np.ndarray]:
    """Of the clipped convolutions and the poolings, in their order."""
    for layer in net.hidden:
        images = layer(images)
        if not isinstance(layer, torch.nn.Conv2d):
            yield images.cpu().numpy()


@dataclass(frozen=True)
class Spiking:
    """T2FSNN's way: spike times of the layers, but for the readout, infinite for silence; the rest as of Ordinary."""

    times: list[np.ndarray]
    potentials: np.ndarray
    loss: float
    gradients: list[np.ndarray]


@torch.no_grad()
def spiking(workload: Workload, images: np.ndarray, labels: np.ndarray, device: str) -> Spiking:
    net = EagerNetwork(workload.spec, workload.weights(), dtype=torch.float64, device=device)
    encoded = net.encode(torch.from_numpy(images).double().to(device))
    loss = net.loss_and_gradients(encoded, torch.from_numpy(labels).long().to(device))
    gradients = [weights.grad.cpu().numpy() for weights in net.parameters.values() if weights.grad is not None]
    t, times = encoded, []
    for layer in net.hidden:
        t = layer.forward(t, training=False)
        times.append(t.cpu().numpy())
    return Spiking(times, net.readout.forward(t, training=False).cpu().numpy(), float(loss), gradients)
