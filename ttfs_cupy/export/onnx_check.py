"""A network's ONNX file beside the network, on the same images: checked by onnx, run by onnxruntime."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import listed, message_of
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.layer_values import CODE, layer_values
from ttfs_cupy.exchange.rounding import TOLERANCE, Outcomes, code_compared, compared, largest_difference
from ttfs_cupy.export.onnx_graph import IMAGES, ONNX, Graph, readout_name
from ttfs_cupy.trained.decision import probabilities as probabilities_of

RUNTIME = ("onnxruntime, which the file is checked with,", "pip install 'ttfs-cupy[onnx]'")

# Images that pass through both at once.
BATCH = 32


class GraphError(Exception):
    """A graph that onnx refuses, or that onnxruntime cannot run, whole or layer by layer: what they say of it."""


@dataclass(frozen=True)
class Agreement:
    """How the file's results compare with the network's.

    readout: its name, potentials or earliness. largest: the difference of any value of it, relative to the largest of
    all, or to 1 if none is above.
    jumps: whether rounding may make a neuron spike, so that `largest` says little.
    predictions: how many of the images' predictions differ. neurons: of how many the outputs were compared layer by
    layer, each layer given the network's own input. explained: of how many of them outputs differ as rounding may have
    them. unexplained: by layer, how many differ by more than rounding explains.
    """

    images: int
    readout: str
    largest: float
    jumps: bool
    predictions: int
    neurons: int
    explained: int
    unexplained: Mapping[str, int]

    @property
    def is_good(self) -> bool:
        return not self.unexplained and (self.jumps or self.largest <= TOLERANCE)

    def __str__(self) -> str:
        said = (
            f"beside it in onnxruntime on {self.images} test images {_differ(self.predictions, 'prediction')}, and the "
            f"largest difference of {self.readout} is {self.largest:.1e}; layer by layer, at the same input, "
            f"{self.explained} of {self.neurons} outputs differ by rounding"
        )
        if self.unexplained:
            said += (
                f", and more than rounding explains {listed(f'{n} of {name}' for name, n in self.unexplained.items())}"
            )
        return said


def check_graph(graph: Graph) -> None:
    """onnx's own checks: operators, types and shapes. Raises GraphError."""
    onnx = imported("onnx", *ONNX)
    try:
        onnx.checker.check_model(graph.model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(f"onnx refuses it: {message_of(error)}") from error


def agreement(network: Network, graph: Graph, images: np.ndarray, threads: int) -> Agreement:
    """Runs both on float32 images (N, C, H, W) in [0, 1]; the whole, and each layer by itself.

    While psp_slope is 0 nothing jumps, and potentials of the whole are close. Otherwise rounding may decide whether a
    neuron spikes, and then moves what it feeds (docs/model.md, "Sensitivity"), so that layers alone say whether they
    are right. Raises GraphError, and UserError where onnxruntime is not installed.
    """
    runtime = imported("onnxruntime", *RUNTIME)
    with _as_graph_error(runtime, "onnxruntime does not run it"):
        return _agreement(runtime, network, graph, images, threads)


def _agreement(runtime: ModuleType, network: Network, graph: Graph, images: np.ndarray, threads: int) -> Agreement:
    whole = _session(runtime, graph.content, threads)
    with _as_graph_error(runtime, "its layers cannot be run one by one", KeyError, ValueError):
        layers = _Layers(runtime, network, graph, threads)
    ours, theirs, total = [], [], Outcomes()
    for start in range(0, len(images), BATCH):
        pixels = np.ascontiguousarray(images[start : start + BATCH], np.float32)
        readout, *derived = whole.run([readout_name(network), "probabilities", "class"], {IMAGES: pixels})
        theirs.append(readout)
        total += _derived(network, readout, *derived)
        values = layer_values(network, [network.encode(pixels)])
        last = network.layers[-1]
        ours.append(last.public(values[last.name]))
        total += layers.compare(pixels, values)
    own, other = np.concatenate(ours).astype(np.float64), np.concatenate(theirs).astype(np.float64)
    changed = np.count_nonzero(own.argmax(1) != other.argmax(1))
    return Agreement(
        images=len(own),
        readout=readout_name(network),
        largest=largest_difference(own, other),
        jumps=network.psp_slope != 0,
        predictions=int(changed),
        neurons=total.neurons,
        explained=total.explained,
        unexplained=total.unexplained,
    )


# Of onnxruntime, which has no base of its own for them.
_FAULTS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")


@contextmanager
def _as_graph_error(runtime: ModuleType, said: str, *others: type[Exception]) -> Iterator[None]:
    """For what onnxruntime raises in the block, and those others."""
    state = runtime.capi.onnxruntime_pybind11_state
    faults = (*others, *(getattr(state, name) for name in _FAULTS))
    try:
        yield
    except faults as error:
        raise GraphError(f"{said}: {message_of(error)}") from error


def _derived(network: Network, readout: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Outcomes:
    """What the file makes of its own readout."""
    apart = np.abs(probabilities - probabilities_of(readout, network.silent)) > 1e-5
    wrong = {"probabilities": np.count_nonzero(apart), "class": np.count_nonzero(classes != readout.argmax(axis=1))}
    return Outcomes(unexplained={name: int(number) for name, number in wrong.items() if number})


def _differ(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'} {'differs' if number == 1 else 'differ'}"


def _session(runtime: ModuleType, content: bytes, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


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
        """values: of the network, as layer_values returns them."""
        below = values[CODE].transpose(0, 3, 1, 2)
        code = pixels if self._encoder is None else _run(self._encoder, pixels)
        total = code_compared(below, code)
        for layer, piece in zip(self._network.layers, self._pieces, strict=True):
            own = layer.public(values[layer.name])
            total += compared(layer, self._state, below, own, _run(piece, below))
            below = own
        return total


def _run(session: Any, values: np.ndarray) -> np.ndarray:
    name = session.get_inputs()[0].name
    result: np.ndarray = session.run(None, {name: np.ascontiguousarray(values)})[0]
    return result
