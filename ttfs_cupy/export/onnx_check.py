"""A network's ONNX file beside the network, on the same images: checked by onnx, run by onnxruntime."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import listed
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import Outcomes, compared
from ttfs_cupy.export.onnx_graph import IMAGES, ONNX, Graph, readout_name

RUNTIME = ("onnxruntime, which the file is checked with,", "pip install 'ttfs-cupy[onnx]'")

# How far potentials may be apart, relative to the largest one, or to 1 if none is above: where nothing explained.
TOLERANCE = 1e-4
# Images that pass through both at once.
BATCH = 32


@dataclass(frozen=True)
class Agreement:
    """How the file's results compare with the network's.

    readout: its name, potentials or earliness. largest: the difference of any value of it, relative to the largest of
    all, or to 1 if none is above.
    predictions: how many of the images' predictions differ. neurons: of how many the spikes were compared layer by
    layer, each layer given the network's own input; 0 where that was not needed. explained: of how many of them outputs
    differ as rounding may have them. unexplained: by layer, how many differ by more than rounding explains.
    """

    images: int
    readout: str
    largest: float
    predictions: int
    neurons: int
    explained: int
    unexplained: Mapping[str, int]

    @property
    def is_good(self) -> bool:
        return not self.unexplained and (self.neurons > 0 or self.largest <= TOLERANCE)

    def __str__(self) -> str:
        said = (
            f"beside it in onnxruntime on {self.images} test images {_differ(self.predictions, 'prediction')}, and the "
            f"largest difference of {self.readout} is {self.largest:.1e}"
        )
        if self.neurons:
            said += (
                f"; layer by layer, at the same input, {self.explained} of {self.neurons} outputs differ by rounding"
            )
        if self.unexplained:
            said += (
                f", and more than rounding explains {listed(f'{n} of {name}' for name, n in self.unexplained.items())}"
            )
        return said


def check_graph(graph: Graph) -> None:
    """onnx's own checks: operators, types and shapes. Raises what onnx raises where it finds a fault."""
    onnx = imported("onnx", *ONNX)
    onnx.checker.check_model(graph.model, full_check=True)


def agreement(network: Network, graph: Graph, images: np.ndarray, threads: int) -> Agreement:
    """Runs both on float32 images (N, C, H, W) in [0, 1]. Raises UserError where onnxruntime is not installed.

    While psp_slope is 0 nothing jumps, and potentials say all. Otherwise rounding may decide whether a neuron
    spikes, and then moves what it feeds (docs/model.md, "Sensitivity"): so each layer is compared by itself, too.
    """
    runtime = imported("onnxruntime", *RUNTIME)
    whole = _session(runtime, graph.content, threads)
    layers = _Layers(runtime, network, graph, threads) if network.psp_slope else None
    ours, theirs, total = [], [], Outcomes()
    for start in range(0, len(images), BATCH):
        pixels = np.ascontiguousarray(images[start : start + BATCH], np.float32)
        readout, *derived = whole.run([readout_name(network), "probabilities", "class"], {IMAGES: pixels})
        theirs.append(readout)
        total += _derived(readout, *derived)
        values = _values(network, pixels)
        ours.append(values[network.layers[-1].name])
        if layers is not None:
            total += layers.compare(pixels, values)
    own, other = np.concatenate(ours).astype(np.float64), np.concatenate(theirs).astype(np.float64)
    scale = max(1.0, float(np.abs(own).max()))
    # a NaN is no agreement
    largest = np.nan_to_num(np.abs(own - other).max() / scale, nan=np.inf)
    changed = np.count_nonzero(own.argmax(1) != other.argmax(1))
    return Agreement(
        len(own), readout_name(network), float(largest), int(changed), total.neurons, total.explained, total.unexplained
    )


def _derived(readout: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Outcomes:
    """What the file makes of its own readout."""
    powers = np.exp(readout.astype(np.float64) - readout.max(axis=1, keepdims=True))
    apart = np.abs(probabilities - powers / powers.sum(axis=1, keepdims=True)) > 1e-5
    wrong = {"probabilities": np.count_nonzero(apart), "class": np.count_nonzero(classes != readout.argmax(axis=1))}
    return Outcomes(unexplained={name: int(number) for name, number in wrong.items() if number})


def _differ(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'} {'differs' if number == 1 else 'differ'}"


def _session(runtime: ModuleType, content: bytes, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


# The code of the images, in what _values returns.
CODE = ""


def _values(network: Network, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The network's input code, and each layer's output, (N, C, H, W) or (N, n), by layer's name."""
    device = network.device
    encoded = network.encode(pixels)
    values = {CODE: device.to_host(encoded).transpose(0, 3, 1, 2)}

    def keep(layer: Layer, output: Any) -> None:
        values[layer.name] = layer.public(device.to_host(output)).copy()

    with network.turns.take():
        network.run(encoded, watch=keep)
        network.validity.raise_if_marked()
    return values


class _Layers:
    """The graph cut into its layers, each of which is given what the network's own one got."""

    def __init__(self, runtime: ModuleType, network: Network, graph: Graph, threads: int):
        onnx = imported("onnx", *ONNX)
        self._network = network
        self._state = network.state_dict()
        # values have no shapes of their own in the file; the pieces need some
        cut = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(graph.model))
        names = [graph.encoded, *graph.outputs.values()]
        self._pieces = [
            _session(runtime, cut.extract_model([below], [name]).SerializeToString(), threads)
            for below, name in pairwise(names)
        ]
        self._encoder = None
        if graph.encoded != IMAGES:
            piece = cut.extract_model([IMAGES], [graph.encoded]).SerializeToString()
            self._encoder = _session(runtime, piece, threads)

    def compare(self, pixels: np.ndarray, values: dict[str, np.ndarray]) -> Outcomes:
        """values: of the network, as _values returns them."""
        below, total = values[CODE], Outcomes()
        code = pixels if self._encoder is None else _run(self._encoder, pixels)
        apart = np.abs(code - below) > 1e-6 * max(1.0, float(np.abs(below).max()))
        if apart.any():
            total += Outcomes(0, 0, {"the input code": int(np.count_nonzero(apart))})
        for layer, piece in zip(self._network.layers, self._pieces, strict=True):
            own = values[layer.name]
            total += compared(layer, self._state, below, own, _run(piece, below))
            below = own
        return total


def _run(session: Any, values: np.ndarray) -> np.ndarray:
    name = session.get_inputs()[0].name
    result: np.ndarray = session.run(None, {name: np.ascontiguousarray(values)})[0]
    return result
