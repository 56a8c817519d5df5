"""Finds the layer at which numbers stopped being finite, and layers that never fire."""

from collections.abc import Mapping

from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Activations
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.neuron import PotentialReadout, PspSlope


def first_non_finite_layer(network: Network, inputs: Array) -> str | None:
    """The name of the first layer whose membrane potentials overflow on these encoded inputs; None if none's do.

    Spiking hides it (an infinite potential fires at once, a NaN never), so the potentials are made anew.
    """
    device, xp = network.device, network.device.xp
    neuron = PotentialReadout(device, network.t_win, PspSlope(device, network.psp_slope))
    below = inputs
    overflowing: list[str] = []

    def watch(layer: Layer, output: Array) -> None:
        nonlocal below
        if isinstance(layer, Weighted) and not overflowing:
            potentials = xp.empty((len(below), *layer.out_shape), "float32")
            gemm = Gemm(device, layer.shape)
            workspace = xp.empty(gemm.workspace(len(below), "forward"), "float32")
            own = neuron.with_potential(layer.neuron.potential)
            gemm.forward(below, layer.weights, own, Activations(potentials), workspace)
            if not bool(xp.isfinite(potentials).all()):
                overflowing.append(layer.name)
        below = output

    network.run(inputs, watch=watch)
    return overflowing[0] if overflowing else None


def silent_layers(firing_rates: Mapping[str, float]) -> list[str]:
    """The names of the layers of which no neuron fired, in the rates' order."""
    return [name for name, rate in firing_rates.items() if rate == 0]
