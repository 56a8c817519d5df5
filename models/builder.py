"""From a model's specification to a network of layers that fit one another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.checks import check_choice, check_count, check_flag, check_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.convolution.algorithm import PRECISIONS, Precision
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION, algorithms_named, connecting, name_for
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.device.launcher import MAX_ELEMENTS
from ttfs_cupy.engine.layers import Layer, MaxPool, Shape, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.parameters import OfLayers
from ttfs_cupy.engine.standardization import NORMALIZATIONS
from ttfs_cupy.models.spec import ConvolutionSpec, LayerSpec, LinearSpec, ModelSpec, PoolSpec, read
from ttfs_cupy.neuron import (
    CLIP_MODES,
    GAIN_BOUNDS,
    SILENT,
    WINDOWS,
    Neuron,
    PotentialReadout,
    PspSlope,
    SpikingNeuron,
    coding_neuron,
)
from ttfs_cupy.neuron.encoding import ENCODINGS, Encoder
from ttfs_cupy.neuron.silent_classes import LATEST

READOUTS = ("potential", "spike_times")

# the name of the last layer
READOUT = "readout"
# what is said of a weight_mean for standardised weights
IDLE_MEAN = f"has no effect with normalization weight but for the {READOUT}: leave it out, or name that layer alone"

# Of the weights' deviation, and to of their mean: far beyond what trains, and sums of such weights stay in float32.
WEIGHTS = (1e-6, 1e6)
MAX_CLASSES = MAX_PIXELS = 1_000_000
MAX_SEED = 2**64 - 1


def build(
    model: str | Path | Sequence[Any] | Mapping[str, Any] | ModelSpec,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    device: str | Device = "auto",
    seed: int = 0,
    t_win: float = 1.0,
    psp_slope: float = 1.0,
    clip: str = "gain",
    grad_clip: float = 1.0,
    readout: str = "potential",
    encoding: str | None = None,
    standardize: bool = False,
    mean: np.ndarray | None = None,
    std: np.ndarray | None = None,
    weight_mean: OfLayers = 0.0,
    weight_std: OfLayers | None = None,
    normalization: str = "none",
    initial_potential: bool = False,
    convolution: str | Mapping[str, str] = "auto",
    precision: str = DEFAULT_PRECISION,
    silent: str = LATEST,
) -> Network:
    """A network with freshly drawn weights.

    model: a bundled name, the path of a YAML file, layers such as '64C3 - P2 - 512F', or a list of them (see
    ttfs_cupy.models). The readout is not among them.
    input_shape: (channels, height, width) of an image.
    encoding: latency or direct; None takes the model's own. mean, std: (channels,), for standardised input.
    weight_mean, weight_std: of the drawn weights: a number for all layers, or a mapping from layers' names to such, as
    in {"conv1": 0.1, "readout": 0.05}; a layer that is not named has mean 0 and Kaiming's sqrt(2 / fan_in).
    normalization: none, or weight for standardised weights in all layers but the readout (docs/model.md), where the
    drawn ones are raw.
    initial_potential: whether the neurons of each channel begin with a trained potential, at first 0 (docs/model.md).
    convolution: auto, or an algorithm such as gemm or winograd, or three with slashes between them for forward, data
    gradient and weight gradient (see ttfs_cupy.convolution.choice); or a mapping from layers' names to such.
    precision: float32, split or tf32; without tensor cores all of it is float32.
    silent: latest or excluded, what a class that does not spike is where the readout is spike_times (docs/model.md).
    Raises UserError (a ValueError) that names the argument, or the layer that does not fit its input.
    """
    # as Python's own numbers: NumPy's may be too short for what is counted with them
    input_shape = _checked_shape(input_shape)
    classes = check_count("classes", classes, least=2, most=MAX_CLASSES)
    seed = check_count("seed", seed, least=0, most=MAX_SEED)
    t_win = check_number("t_win", t_win, *WINDOWS)
    psp_slope = check_number("psp_slope", psp_slope, 0, 1)
    grad_clip = check_number("grad_clip", grad_clip, *GAIN_BOUNDS)
    weight_mean = _checked_of_layers("weight_mean", weight_mean, (-WEIGHTS[1], WEIGHTS[1]))
    if weight_std is not None:
        weight_std = _checked_of_layers("weight_std", weight_std, WEIGHTS)
    check_choice("clip", clip, CLIP_MODES)
    check_choice("readout", readout, READOUTS)
    _check_silent(silent, readout)
    check_choice("normalization", normalization, NORMALIZATIONS)
    if normalization == "weight" and is_idle_mean(weight_mean):
        raise UserError(f"weight_mean {IDLE_MEAN}, not {shown(weight_mean)}")
    check_flag("initial_potential", initial_potential)
    check_choice("precision", precision, PRECISIONS)
    if clip == "separate" and psp_slope != 1:
        raise UserError(f"clip 'separate' is defined for psp_slope 1 only, not {psp_slope}")
    _check_convolution(convolution)
    spec = read(model)
    encoder = encoder_of(spec, input_shape[0], t_win, encoding, standardize, mean, std)
    # whatever launches kernels is a device; all else is a name, or refused as one
    target: Device = device if hasattr(device, "launch") else get_device(device)[0]  # type: ignore[assignment]
    with target.current():
        slope = PspSlope(target, psp_slope)
        spiking = SpikingNeuron(target, t_win, slope, clip, grad_clip)
        exactness = next(known for known in PRECISIONS if known == precision)
        builder = _Builder(target, input_shape, convolution, exactness)
        for number, (name, layer) in enumerate(zip(spec.layer_names, spec.layers, strict=True)):
            coding = number == 0 and encoder.encoding == "direct"
            builder.add(name, layer, coding_neuron(target, t_win) if coding else spiking)
        builder.check_convolution()
        builder.add_readout(classes, spiking if readout == "spike_times" else PotentialReadout(target, t_win, slope))
        weighted = [layer.name for layer in builder.layers if isinstance(layer, Weighted)]
        for name, numbers in (("weight_mean", weight_mean), ("weight_std", weight_std)):
            check_layers_named(name, numbers, weighted)
        is_standardized = normalization == "weight"
        _check_weights(builder.layers, target, 16 if is_standardized else 8, potentials=initial_potential)
        network = Network(
            target,
            builder.layers,
            encoder,
            slope,
            classes,
            exactness,
            standardized=is_standardized,
            initial_potential=initial_potential,
            silent=silent,
        )
        network.parameters.draw(seed, weight_mean, weight_std)
        return network


def encoder_of(
    model: str | Path | Sequence[Any] | Mapping[str, Any] | ModelSpec,
    channels: int,
    t_win: float = 1.0,
    encoding: str | None = None,
    standardize: bool = False,
    mean: np.ndarray | None = None,
    std: np.ndarray | None = None,
) -> Encoder:
    """The encoder that `build` would give the network, which is not built.

    channels: of an image; the rest as for `build`. Raises UserError where the code and the model do not fit.
    """
    spec = read(model)
    encoding = encoding or spec.encoding
    check_choice("encoding", encoding, ENCODINGS)
    _check_statistics(channels, mean, std)
    if (encoding == "direct" or standardize) and not isinstance(spec.layers[0], ConvolutionSpec):
        raise UserError(
            "layer 1 must be a convolution, since the input (direct or standardised) is not a spike code: put one "
            "there, or choose encoding latency without standardize"
        )
    return Encoder(encoding, t_win, standardize, mean, std)


def is_idle_mean(weight_mean: OfLayers) -> bool:
    """Whether standardised weights would lose that mean, or a part of it: the readout alone has plain weights."""
    if isinstance(weight_mean, Mapping):
        return any(name != READOUT for name in weight_mean)
    return weight_mean != 0


class _Builder:
    """Appends layers, keeping track of the shape that the next one gets."""

    def __init__(
        self,
        device: Device,
        input_shape: tuple[int, int, int],
        convolution: str | Mapping[str, str],
        precision: Precision,
    ):
        channels, height, width = input_shape
        self.device = device
        self.convolution = convolution
        self.precision = precision
        self.layers: list[Layer] = []
        self._input = f"{height} x {width}"
        self._shape: Shape = (height, width, channels)

    def add(self, name: str, spec: LayerSpec, neuron: Neuron) -> None:
        match spec:
            case ConvolutionSpec(channels, kernel, stride, padding):
                self._check_fit(name, kernel, padding)
                shape = ConvolutionShape(self._shape[:2], self._shape[2], channels, kernel, stride, padding)
                _check_countable(name, shape)
                wanted = name_for(self.convolution, name)
                algorithms = algorithms_named(wanted, self.device, shape, name, self.precision)
                self._append(Weighted(name, self.device, shape, neuron, algorithms, fires=True))
            case PoolSpec(kernel, stride):
                self._check_fit(name, kernel, (0, 0))
                self._append(MaxPool(name, self.device, self._shape, kernel, stride))
            case LinearSpec(neurons):
                self._append(self._full_connection(name, neurons, neuron))

    def check_convolution(self) -> None:
        """Refuses algorithms for layers that are no convolutions of this network."""
        if isinstance(self.convolution, str):
            return
        known = [layer.name for layer in self.layers if isinstance(layer, Weighted) and not layer.flat]
        for name in self.convolution:
            if name not in known:
                there = f"the convolutions are {listed(known)}" if known else "this network has no convolution"
                raise UserError(f"convolution names layer {shown(name)}, but {there}")

    def add_readout(self, classes: int, neuron: Neuron) -> None:
        self._append(self._full_connection(READOUT, classes, neuron))

    def _full_connection(self, name: str, neurons: int, neuron: Neuron) -> Weighted:
        # a kernel that covers its whole input: its weights keep the (height, width, channels) order of the layer below
        shape = ConvolutionShape(self._shape[:2], self._shape[2], neurons, kernel=self._shape[:2])
        _check_countable(name, shape)
        fires = isinstance(neuron, SpikingNeuron)
        algorithms = connecting(self.device, shape, self.precision)
        return Weighted(name, self.device, shape, neuron, algorithms, fires=fires, flat=True)

    def _append(self, layer: Layer) -> None:
        self.layers.append(layer)
        self._shape = layer.out_shape

    def _check_fit(self, name: str, kernel: tuple[int, int], padding: tuple[int, int]) -> None:
        height, width = (size + 2 * pad for size, pad in zip(self._shape[:2], padding, strict=True))
        if kernel[0] > height or kernel[1] > width:
            raise UserError(
                f"layer {name} does not fit: its window of {kernel[0]} x {kernel[1]} is larger than its input, "
                f"{self._shape[0]} x {self._shape[1]}{_padded(padding)} "
                f"(images are {self._input}); leave out this layer or some below it, or use larger images"
            )


def _padded(padding: tuple[int, int]) -> str:
    return f" with padding {padding[0]} x {padding[1]}" if any(padding) else ""


def _check_countable(name: str, shape: ConvolutionShape) -> None:
    """Refuses a layer that is too large for any kernel, before an algorithm gets to work out how it would do it."""
    for number, what in ((shape.weights, "weights"), (shape.reach(1), "values for one image")):
        if number > MAX_ELEMENTS:
            raise UserError(
                f"layer {name} is too large: it has {number:,} {what}, and kernels count up to {MAX_ELEMENTS:,}; "
                "make it or the layers below it smaller"
            )


def _check_weights(layers: Sequence[Layer], device: Device, bytes_each: int, *, potentials: bool) -> None:
    """Refuses more weights than kernels can count, or than there is memory for. bytes_each: with its gradient, float32,
    and the same of the raw weight where there is one. potentials: whether each neuron's counts as one more."""
    shapes = {layer.name: layer.shape for layer in layers if isinstance(layer, Weighted)}
    weights = {name: shape.weights + potentials * shape.out_channels for name, shape in shapes.items()}
    total, largest = sum(weights.values()), max(weights, key=weights.__getitem__)
    about = f"this network has {total:,} weights, {weights[largest]:,} of them in layer {largest}"
    if total > MAX_ELEMENTS:
        raise UserError(f"{about}, and kernels count up to {MAX_ELEMENTS:,}; use fewer channels or neurons")
    # they are drawn on the host, a layer at a time, in float64
    needed = bytes_each * total + (4 * total + 16 * weights[largest] if device.target == "cpu" else 0)
    free = device.free_bytes()
    if needed > free:
        raise UserError(
            f"{about}: they need {needed / 2**20:,.0f} MiB on {device.name}, where {free / 2**20:,.0f} MiB are free; "
            "use fewer channels or neurons"
        )


def _checked_shape(input_shape: Any) -> tuple[int, int, int]:
    is_shape = isinstance(input_shape, (tuple, list)) and len(input_shape) == 3
    if not is_shape or not all(is_whole(size) and 1 <= int(size) <= MAX_PIXELS for size in input_shape):
        raise UserError(
            f"input_shape must be (channels, height, width), each from 1 to {MAX_PIXELS}, not {shown(input_shape)}"
        )
    channels, height, width = map(int, input_shape)
    return channels, height, width


def _check_statistics(channels: int, mean: Any, std: Any) -> None:
    for name, statistic in (("mean", mean), ("std", std)):
        if statistic is None:
            continue
        values = np.asarray(statistic)
        if values.shape != (channels,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise UserError(f"{name} must hold one number for each of {channels} channels, not {shown(statistic)}")
        if name == "std" and not (values > 0).all():
            raise UserError(f"std must hold numbers above 0, not {shown(statistic)}")


def _check_silent(silent: str, readout: str) -> None:
    check_choice("silent", silent, SILENT)
    if silent != LATEST and readout == "potential":
        raise UserError(
            f"silent {shown(silent)} has no effect with readout 'potential': leave it out, or choose 'spike_times'"
        )


def _checked_of_layers(name: str, value: Any, bounds: tuple[float, float]) -> OfLayers:
    """The number, or the mapping from names to numbers, as Python's own. Raises UserError for what is neither."""
    if not isinstance(value, Mapping):
        return check_number(name, value, *bounds)
    return {layer: check_number(f"{name} of layer {shown(layer)}", one, *bounds) for layer, one in value.items()}


def check_layers_named(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuses numbers by layer for others than the known ones, which have weights."""
    for layer in value if isinstance(value, Mapping) else ():
        if layer not in known:
            raise UserError(f"{name} names layer {shown(layer)}, but the layers with weights are {listed(known, 20)}")


def _check_convolution(convolution: Any) -> None:
    names = convolution.values() if isinstance(convolution, Mapping) else [convolution]
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"convolution must be a name, or a mapping from layers to names, not {shown(name)}")
