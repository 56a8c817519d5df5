"""Whether what a network is given is a batch of images for it, and labels of its classes.

Shapes and types cost nothing to check. Values lie on the device: kernels look at them as a step goes by and mark the
step, which then changes nothing; it is told of when somebody reads what was computed, so that nobody has to wait. On a
CPU, where nobody waits, it is told at once.
"""

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, MixedLabels
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Shape
from ttfs_cupy.neuron.encoding import Encoder

# A mark's bits, as in kernels/common.h
INPUTS_OUTSIDE, LABELS_OUTSIDE, SHARES_OUTSIDE = 1, 2, 4

# int32 (N,), or of images that are two in one MixedLabels
Labels = Array | MixedLabels


class Validity:
    """The checks of one network's batches. marks: int32 (2,), of this batch and to be told; 0 where all is right."""

    def __init__(self, device: Device, in_shape: Shape, encoder: Encoder, classes: int):
        self._device = device
        self._in_shape = in_shape
        self._bounds = encoder.bounds
        self._classes = classes
        self.marks = device.xp.zeros(2, np.int32)

    def check_inputs(self, inputs: Array) -> None:
        """Raises TypeError or ValueError unless these are encoded images, float32 (N, height, width, channels), on the
        device; what their values are is only marked."""
        self._check_held("inputs", inputs)
        self._check_images(inputs.shape)
        if inputs.dtype != np.float32:
            raise TypeError(f"inputs must be float32, not {inputs.dtype}")
        if not inputs.flags.c_contiguous:
            raise ValueError(f"inputs must be C-contiguous, as device.to_device() makes them, not of {inputs.strides}")
        if self._device.gpu is not None:  # a CPU has told already, and begun anew
            self._device.launch("begin_batch", 1, self.marks, 1)
        self._device.launch("mark_outside", inputs.size, inputs, *self._bounds, self.marks, inputs.size)
        self.raise_if_known()

    def check_labels(self, labels: Labels, count: int) -> None:
        """Raises TypeError or ValueError unless these are `count` labels, int32, on the device, or such MixedLabels.

        The loss marks one that is no class, and a share outside [0, 1]."""
        for name, array, dtype in _named(labels):
            self._check_held(name, array)
            if array.dtype != dtype:
                raise TypeError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
            _check_count(name, array.shape, count)
            if not array.flags.c_contiguous:
                raise ValueError(f"{name} must be C-contiguous, as device.to_device() makes them")

    def to_inputs(self, encoded: Array) -> Array:
        """What a user calls encoded images as check_inputs wants them, an array of their own on the device. Raises
        ValueError unless they are finite numbers of that shape; waits for the device."""
        inputs = self._device.to_device(encoded)
        if inputs is encoded:
            inputs = inputs.copy()  # spike_times() comes back to it, and the caller may have changed it by then
        if inputs.ndim != 4 or inputs.shape[1:] != self._in_shape or not len(inputs):
            wanted = f"(N, {self._sizes}), as encode() returns it, with N at least 1"
            raise ValueError(f"encoded must have shape {wanted}, not {tuple(inputs.shape)}")
        if inputs.dtype.kind not in "fiub":
            raise ValueError(f"encoded must hold numbers, not {inputs.dtype}")
        inputs = inputs.astype(np.float32, copy=False)
        if not bool(self._device.xp.isfinite(inputs).all()):
            raise ValueError("encoded must be finite")
        return inputs

    def to_labels(self, labels: Labels, count: int) -> Labels:
        """What a user calls labels as check_labels wants them, on the device. Raises ValueError unless they are `count`
        classes, or such MixedLabels; waits for the device."""
        if not isinstance(labels, MixedLabels):
            return self._to_classes("labels", labels, count)
        shares = self._device.to_host(labels.shares)
        # written so that NaN is refused, too
        if shares.shape != (count,) or shares.dtype.kind != "f" or not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"shares must be {count} numbers in 0 to 1, one per image")
        return MixedLabels(
            self._to_classes("labels", labels.labels, count),
            self._to_classes("others", labels.others, count),
            self._device.to_device(shares.astype(np.float32)),
        )

    def _to_classes(self, name: str, labels: Array, count: int) -> Array:
        targets = self._device.to_host(labels)
        if targets.shape != (count,) or targets.dtype.kind not in "iu":
            raise ValueError(f"{name} must be {count} integers, one per image, not {targets.dtype} {targets.shape}")
        if not ((targets >= 0) & (targets < self._classes)).all():
            raise ValueError(f"{name} must lie in 0 to {self._classes - 1}")
        return self._device.to_device(targets.astype(np.int32))

    def check_class_weights(self, weights: Array | None) -> None:
        """Raises TypeError or ValueError unless they are None, or float32 (classes,) on the device."""
        if weights is None:
            return
        self._check_held("class_weights", weights)
        if weights.dtype != np.float32 or not weights.flags.c_contiguous:
            raise TypeError(f"class_weights must be float32 and C-contiguous, not {weights.dtype}")
        if weights.shape != (self._classes,):
            raise ValueError(f"class_weights must have shape ({self._classes},), not {tuple(weights.shape)}")

    def check_potentials(self, potentials: Array, most: tuple[int, int]) -> None:
        """Raises TypeError or ValueError unless these are potentials, float32 (N, classes), on the device.

        most: N of what is planned, and the classes.
        """
        self._check_held("potentials", potentials)
        shape = potentials.shape
        if len(shape) != 2 or shape[1] != most[1] or not 0 < shape[0] <= most[0]:
            raise ValueError(f"potentials must have shape (N, {most[1]}), N from 1 to {most[0]}, not {tuple(shape)}")
        if potentials.dtype != np.float32 or not potentials.flags.c_contiguous:
            raise TypeError(f"potentials must be float32 and C-contiguous, not {potentials.dtype}")

    def check_batches(self, batches: Batches, called: str = "batches") -> None:
        """Raises ValueError unless these are images for the network, and UserError unless all of their labels are
        classes of it: once for a whole set."""
        self._check_images((1, *batches.images.images.shape[1:]))
        highest = int(batches.labels.max(initial=0))
        if highest >= self._classes:
            raise UserError(f"{called}: labels must lie in 0 to {self._classes - 1}, and one is {highest}")

    def check_host_batch(self, inputs: np.ndarray, labels: np.ndarray | MixedLabels) -> None:
        """The same of arrays on the host that are to be copied to the device; values are left for then."""
        for name, array, dtype in (("inputs", inputs, np.float32), *_named(labels)):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{name} must be a numpy.ndarray, not {_kind(array)}")
            if array.dtype != dtype:
                raise TypeError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
        self._check_images(inputs.shape)
        for name, array, _ in _named(labels):
            _check_count(name, array.shape, len(inputs))

    def raise_if_marked(self) -> None:
        """Raises ValueError, once, if a batch since the last time was none; waits for the device."""
        untold = int(self._device.to_host(self.marks)[1])
        if not untold:
            return
        # the batch itself stays marked on a GPU, where somebody may still ask for its loss
        self.marks[1 if self._device.gpu is not None else 0 :] = 0
        low, high = self._bounds
        code = "as encode() and Encoder make them of pixels in [0, 1]"
        wrong = {
            INPUTS_OUTSIDE: f"inputs must lie in {low:g} to {high:g}, {code}",
            LABELS_OUTSIDE: f"labels must lie in 0 to {self._classes - 1}",
            SHARES_OUTSIDE: "shares must lie in 0 to 1",
        }
        told = "; ".join(sentence for bit, sentence in wrong.items() if untold & bit)
        raise ValueError(f"{told}; a batch in which they do not was left out")

    def raise_if_known(self) -> None:
        """The same where the device's memory is the host's."""
        if self._device.gpu is None and self.marks[1]:
            self.raise_if_marked()

    def _check_held(self, name: str, array: Array) -> None:
        device = self._device
        if device.holds(array):
            return
        if device.gpu is None and isinstance(array, np.ndarray):
            raise ValueError(f"{name} must be aligned in memory, as device.to_device() makes them")
        is_on_another = isinstance(array, device.xp.ndarray)
        found = f"one on cuda:{array.device.id}" if is_on_another else _kind(array)
        raise TypeError(f"{name} must be an array on {device.name}, as device.to_device() makes them, not {found}")

    @property
    def _sizes(self) -> str:
        """Of an image, as a sentence has them."""
        return ", ".join(str(size) for size in self._in_shape)

    def _check_images(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[1:] != self._in_shape or not shape[0]:
            wanted = f"(N, {self._sizes}), as encode() returns it, with N at least 1"
            raise ValueError(f"inputs must have shape {wanted}, not {tuple(shape)}")


def _named(labels: Labels) -> list[tuple[str, Array, type]]:
    """What labels consist of: how it is called, the array, and the type that it should have."""
    if not isinstance(labels, MixedLabels):
        return [("labels", labels, np.int32)]
    names = ("labels", "others", "shares")
    return list(zip(names, labels.arrays, (np.int32, np.int32, np.float32), strict=True))


def _check_count(name: str, shape: tuple[int, ...], count: int) -> None:
    if shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one for each image, not {tuple(shape)}")


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
