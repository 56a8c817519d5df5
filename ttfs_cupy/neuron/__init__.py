"""Neurons: from pixels to the first spikes, from a drive and a weight sum to a spike time, and the derivatives.

What a layer computes before that, A and S, is of ttfs_cupy.convolution.
"""

from ttfs_cupy.neuron.encoding import ENCODINGS, Encoder
from ttfs_cupy.neuron.interface import Neuron
from ttfs_cupy.neuron.psp_slope import PspSlope
from ttfs_cupy.neuron.readout import PotentialReadout
from ttfs_cupy.neuron.silent_classes import SILENT
from ttfs_cupy.neuron.spike_time import CLIP_MODES, GAIN_BOUNDS, WINDOWS, SpikingNeuron, coding_neuron

__all__ = [
    "CLIP_MODES",
    "ENCODINGS",
    "GAIN_BOUNDS",
    "SILENT",
    "WINDOWS",
    "Encoder",
    "Neuron",
    "PotentialReadout",
    "PspSlope",
    "SpikingNeuron",
    "coding_neuron",
]
