"""The slope of a neuron's membrane potential: one number of the whole network, which may move during a run."""

import numpy as np

from ttfs_cupy.common.checks import check_number
from ttfs_cupy.device import Device


class PspSlope:
    """psp_slope: 1 is Wei's ReL-PSP neuron, 0 a neuron of constant slope at the threshold.

    The kernels read it from device memory; the host's copy decides whether the mask's products are needed at all.
    """

    def __init__(self, device: Device, value: float):
        self._device = device
        self._value = 0.0
        self.array = device.to_device(np.zeros(1, np.float32))
        self.value = value

    @property
    def value(self) -> float:
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        value = check_number("psp_slope", value, 0, 1)
        if value != self._value:
            self._value = value
            with self._device.current():
                self._device.launch("fill", 1, self.array, self._value, 1)
