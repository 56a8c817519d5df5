"""Finds the layer at which numbers stopped being finite."""

import numpy as np

from ttfs_cupy.device import Array
from ttfs_cupy.layers import Weighted
from ttfs_cupy.network import Network
from ttfs_cupy.neuron import PotentialReadout, PspSlope


def first_non_finite_layer(network: Network, inputs: Array) -> str:
    """The name of the first layer whose membrane potentials overflow on these encoded inputs, else the readout's.

    Spiking hides it (an infinite potential fires at once, a NaN never), so the potentials are made anew.
    """
    device, xp = network.device, network.device.xp
    neuron = PotentialReadout(device, network.t_win, PspSlope(device, network.psp_slope))
    network.run(inputs, training=True)
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Weighted):
            below = network.layers[index - 1].output_of_batch if index else inputs
            potentials = xp.empty((len(inputs) * layer.shape.out_pixels, layer.shape.out_channels), np.float32)
            workspace = xp.empty(layer.workspace(len(inputs), training=False), np.float32)
            layer.algorithm.forward(below, layer.weights, neuron, potentials, None, workspace)
            if not bool(xp.isfinite(potentials).all()):
                return layer.name
    return network.layers[-1].name
