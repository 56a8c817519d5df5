"""What a network decides, by how much, and from when on its answer stands.

In the readout's window each class' potential is V(u) = A + psp_slope S u (docs/model.md, "Readout"): a line, from the
drive A as the window opens to M as it ends. The prediction is the largest M. From the drive and M alone follows since
when it has been the largest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.shape import Activations
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.neuron import PotentialReadout, PspSlope
from ttfs_cupy.neuron.silent_classes import logits

Readouts = NDArray[np.float32]


# arrays do not compare to one truth value
@dataclass(frozen=True, eq=False)
class Decisions:
    """Of N images, NumPy.

    classes: int64 (N,), the places of the largest readouts, the first one of equals.
    readouts: float32 (N, classes), membrane potentials, or earliness where the readout fires.
    probabilities: float32 (N, classes), those of the loss.
    margins: float32 (N,), by how much the largest readout exceeds the second, up to the largest float32; 0 for equals.
    times: float32 (N,), since when the answer stands, in windows (t_win) from the start of the first one.
    """

    classes: NDArray[np.int64]
    readouts: Readouts
    probabilities: NDArray[np.float32]
    margins: NDArray[np.float32]
    times: NDArray[np.float32]


def decide(network: Network, inputs: Array) -> Decisions:
    """What the network makes of encoded images, float32 (N, height, width, channels) on its device, N at least 1.

    Raises TypeError or ValueError for inputs that are none, as `Network.run` does, UserError where readouts are beyond
    float32.
    """
    with network.turns.take(), network.device.current():
        # a view, which the readout's second pass does not touch
        readouts = network.device.to_host(network.run(inputs)).copy()
        drives = drives_of(network, readouts)
        network.validity.raise_if_marked()
    if not np.isfinite(readouts).all():
        raise UserError("the network's readout is beyond float32: its weights are too large")
    return decisions(network, readouts, drives)


def decisions(network: Network, readouts: Readouts, drives: Readouts | None) -> Decisions:
    """Of images with these readouts, (N, classes), all finite. drives: as `drives_of` gives them."""
    moments = spike_moments(readouts, network.t_win) if drives is None else crossings(drives, readouts)
    second, first = np.partition(readouts.astype(np.float64), -2, axis=1)[:, -2:].T
    classes: NDArray[np.int64] = readouts.argmax(axis=1).astype(np.int64)
    margins = np.minimum(first - second, np.finfo(np.float32).max).astype(np.float32)
    times = (readout_window(network) + moments).astype(np.float32)
    shares = probabilities(readouts, network.silent).astype(np.float32)
    return Decisions(classes, readouts, shares, margins, times)


def drives_of(network: Network, readouts: Readouts) -> Readouts | None:
    """The readout's potentials as its window opened, (N, classes), in the run before, which gave these readouts: the
    same ones at slope 0. None where the readout fires.

    The caller has the network's turn and device. The network's own arrays stay as they are.
    """
    readout = network.layers[-1]
    assert isinstance(readout, Weighted)
    if readout.neuron.fires:
        return None
    if network.psp_slope == 0:
        return readouts
    device, given = network.device, network.readout_inputs
    without_slope = PotentialReadout(device, network.t_win, PspSlope(device, 0.0), readout.potential)
    forward = readout.algorithms.forward
    workspace = device.xp.empty(forward.workspace(len(given), "forward"), np.float32)
    drives = device.xp.empty((len(given), *readout.out_shape), np.float32)
    forward.forward(given, readout.weights, without_slope, Activations(drives), workspace)
    found: Readouts = device.to_host(drives).reshape(len(given), -1)
    return found


def readout_window(network: Network) -> int:
    """How many windows there are before the readout's: the input's, and one of each layer with weights. The coding
    layer of a direct code fires in the first window, since pixels themselves have no times. Pooling takes no time."""
    layers = sum(isinstance(layer, Weighted) for layer in network.layers)
    return layers - 1 if network.encoder.encoding == "direct" else layers


def crossings(drives: Readouts, readouts: Readouts) -> NDArray[np.float64]:
    """When each row's largest potential overtakes the last other one for good, as a share of the readout's window,
    (N,): 0 where it is the largest throughout, as it is at psp_slope 0.

    drives, readouts: (N, classes), the potentials as the window opens and as it ends. Between them, potentials are
    lines: one that begins a above the winner's, and ends m below, is met at a / (a + m).
    """
    start, end = drives.astype(np.float64), readouts.astype(np.float64)
    rows, winner = np.arange(len(end)), end.argmax(axis=1)
    above = np.maximum(start - start[rows, winner, np.newaxis], 0)
    below = end[rows, winner, np.newaxis] - end
    # of the winner itself, and of others that it is above from the start, there is nothing to overtake
    moments = np.divide(above, above + below, out=np.zeros_like(end), where=above > 0)
    latest: NDArray[np.float64] = moments.max(axis=1)
    return latest


def spike_moments(earliness: Readouts, t_win: float) -> NDArray[np.float64]:
    """When each row's earliest neuron fires, as a share of the readout's window, (N,): 1 where none does, as no answer
    stands before the window ends."""
    moments: NDArray[np.float64] = 1 - earliness.max(axis=1).astype(np.float64) / t_win
    return moments


def probabilities(readouts: Readouts, silent: str) -> NDArray[np.float64]:
    """Those of the loss for a network's readouts, (N, classes). silent: the network's."""
    return softmax(logits(readouts, silent))


def softmax(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row, (N, classes)."""
    exact = values.astype(np.float64)
    if exact.size:
        exact -= exact.max(axis=1, keepdims=True)
    shares = np.exp(exact)
    found: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return found
