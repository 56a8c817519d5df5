"""A network as a graph of standard ONNX operators, for inference (docs/export.md)."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.layers import MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.export.about import About, facts
from ttfs_cupy.neuron.encoding import Encoder
from ttfs_cupy.neuron.silent_classes import LATEST, OF_EXCLUDED

ONNX = ("onnx, which writes the file,", "pip install 'ttfs-cupy[onnx]'")

# The operators' versions, and the file format's of that time: what has been read since the end of 2022 reads these.
OPSET, IR_VERSION = 17, 8

# Of the file: protobuf's messages end at 2 GiB.
MOST_BYTES = (1 << 31) - (1 << 20)

# The graph's input.
IMAGES = "images"
# The readout that spikes, and the one that does not.
EARLINESS, POTENTIALS = "earliness", "potentials"


@dataclass(frozen=True)
class Graph:
    """A file's content, and the values in it that stand for the input code and each layer's output, by layer's name.

    model: an onnx.ModelProto. encoded: the name of the first layer's input.
    """

    model: Any
    encoded: str
    outputs: dict[str, str]

    @property
    def content(self) -> bytes:
        content: bytes = self.model.SerializeToString(deterministic=True)
        return content


def onnx_graph(network: Network, about: About) -> Graph:
    """Standard operators alone, for batches of any size: of `images`, float32 (N, C, H, W) in [0, 1], the readout.

    The readout, float32 (N, classes), is called `potentials`, or `earliness` where it spikes; beside it are its
    softmax, `probabilities`, and its argmax, `class`, int64 (N,). Raises UserError where onnx is not installed, or the
    weights exceed what a file may hold.
    """
    onnx = imported("onnx", *ONNX)
    if 4 * sum(layer.shape.weights for layer in network.layers if isinstance(layer, Weighted)) > MOST_BYTES:
        raise UserError("the weights are more than 2 GiB, which is the most that an ONNX file may hold")
    drawn = _Drawing(onnx.helper, network)
    encoded = drawn.encoder(network.encoder)
    readout = readout_name(network)
    value, outputs = encoded, {}
    for layer in network.layers:
        name = readout if layer is network.layers[-1] else layer.name
        if isinstance(layer, MaxPool):
            value = drawn.pool(layer, value, name)
        else:
            assert isinstance(layer, Weighted)
            value = drawn.weighted(layer, value, name)
        outputs[layer.name] = value
    drawn.add("Softmax", [drawn.logits(value)], "probabilities", axis=1)
    drawn.add("ArgMax", [value], "class", axis=1, keepdims=0)
    return Graph(_model(onnx, drawn, network, about, readout), encoded, outputs)


def readout_name(network: Network) -> str:
    return EARLINESS if network.layers[-1].is_spiking else POTENTIALS


def _metadata(network: Network, about: About, readout: str) -> dict[str, str]:
    means = {
        POTENTIALS: "potentials: membrane potentials of the readout as its window ends; the largest is the prediction",
        EARLINESS: "earliness: t_win - t of the readout's spikes, 0 for none; the largest is the prediction",
    }
    beside = "" if network.silent == LATEST else ", 0 for a silent class unless all are silent"
    return {
        **facts(network, about),
        "input": "images: float32 (N, C, H, W), pixels in [0, 1]",
        "outputs": f"{means[readout]}; probabilities: their softmax{beside}; class: the prediction's number",
    }


def _model(onnx: ModuleType, drawn: "_Drawing", network: Network, about: About, readout: str) -> Any:
    helper, number = onnx.helper, onnx.TensorProto
    outputs = [
        helper.make_tensor_value_info(readout, number.FLOAT, ["N", network.classes]),
        helper.make_tensor_value_info("probabilities", number.FLOAT, ["N", network.classes]),
        helper.make_tensor_value_info("class", number.INT64, ["N"]),
    ]
    images = helper.make_tensor_value_info(IMAGES, number.FLOAT, ["N", *network.input_shape])
    said = (
        "A spiking network with time-to-first-spike coding. Each layer's values are the earliness of its spikes, t_win "
        "less the spike's time in the layer's window; 0 is silence."
    )
    graph = helper.make_graph(drawn.nodes, "ttfs", [images], outputs, drawn.initializers(onnx.numpy_helper))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ttfs_cupy",
        producer_version=__version__,
        doc_string=said,
    )
    helper.set_model_props(model, _metadata(network, about, readout))
    return model


@dataclass
class _Drawing:
    """Nodes and constants, one after the other; each method returns the name of the value that it made."""

    helper: ModuleType
    network: Network
    nodes: list[Any] = field(default_factory=list)
    _constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._weights = self.network.state_dict()
        self._t_win = np.float32(self.network.t_win)

    def initializers(self, numpy_helper: ModuleType) -> list[Any]:
        return [numpy_helper.from_array(values, name) for name, values in self._constants.items()]

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self._constants.setdefault(name, np.ascontiguousarray(values, np.float32).reshape(np.shape(values)))
        return name

    @property
    def t_win(self) -> str:
        return self.constant("t_win", self._t_win)

    @property
    def zero(self) -> str:
        return self.constant("zero", 0.0)

    @property
    def one(self) -> str:
        return self.constant("one", 1.0)

    def encoder(self, encoder: Encoder) -> str:
        """What the first layer gets (docs/model.md, "Input encoders"): earliness, or with a direct code pixels."""
        value = IMAGES
        if encoder.standardizes:
            mean, std = (np.asarray(statistic).reshape(1, -1, 1, 1) for statistic in (encoder.mean, encoder.std))
            less = self.add("Sub", [value, self.constant("mean", mean)], "centred")
            value = self.add("Div", [less, self.constant("std", std)], "standardised")
        if encoder.encoding == "latency" and encoder.t_win != 1:
            value = self.add("Mul", [value, self.t_win], "encoded")
        return value

    def pool(self, layer: MaxPool, value: str, name: str) -> str:
        """The earliest spike of each window."""
        return self.add("MaxPool", [value], name, kernel_shape=list(layer.kernel), strides=list(layer.stride))

    def logits(self, readout: str) -> str:
        """What the softmax is of (docs/model.md, "Silent classes")."""
        if self.network.silent == LATEST:
            return readout
        silent = self.add("Equal", [readout, self.zero], f"{readout}.silent")
        return self.add("Where", [silent, self.constant("of_excluded", OF_EXCLUDED), readout], "logits")

    def weighted(self, layer: Weighted, value: str, name: str) -> str:
        """Neurons behind a convolution, or behind a full connection."""
        value = self._flat(layer, value)
        drive = self._drive(layer, value)
        if not layer.neuron.needs_weight_sum:
            return self._constant_potential(layer, drive, name)
        spiked = self.add(
            "Not", [self.add("Equal", [value, self.zero], f"{layer.name}.silent")], f"{layer.name}.spiked"
        )
        mask = self.add("Cast", [spiked], f"{layer.name}.mask", to=1)
        weight_sum = self._product(layer, mask, f"{layer.name}.weight_sum")
        return self._sloped(layer, drive, weight_sum, name)

    def _flat(self, layer: Weighted, value: str) -> str:
        """A full connection's inputs, in the order (C, H, W) of its weights; what is flat stays as it is."""
        return self.add("Flatten", [value], f"{layer.name}.inputs", axis=1) if layer.flat else value

    def _product(self, layer: Weighted, value: str, name: str) -> str:
        weight = self.constant(f"{layer.name}.weight", self._weights[f"{layer.name}.weight"])
        if layer.flat:
            return self.add("Gemm", [value, weight], name, transB=1)
        (up, left), strides = layer.shape.padding, list(layer.shape.stride)
        shape = {"kernel_shape": list(layer.shape.kernel), "strides": strides, "pads": [up, left, up, left]}
        return self.add("Conv", [value, weight], name, **shape)

    def _drive(self, layer: Weighted, value: str) -> str:
        """A, the potential as the window opens."""
        drive, name = f"{layer.name}.drive", layer.name
        # of a coding layer, in the pixels' own measure
        scale = np.float32(layer.neuron.rule[1])
        scaled, charged = scale != 1, layer.potential is not None
        made = self._product(layer, value, f"{name}.weighted" if scaled or charged else drive)
        if scaled:
            made = self.add("Mul", [made, self.t_win], f"{name}.scaled" if charged else drive)
        if charged:
            potential = self._t_win * self._weights[f"{name}.potential"]
            shaped = potential if layer.flat else potential.reshape(1, -1, 1, 1)
            made = self.add("Add", [made, self.constant(f"{name}.initial_potential", shaped)], drive)
        return made

    def _constant_potential(self, layer: Weighted, drive: str, name: str) -> str:
        """Where potentials stay as the window opens: clip(A, 0, T), and A itself of a readout."""
        if not layer.is_spiking:
            return self.add("Identity", [drive], name)
        return self.add("Clip", [drive, self.zero, self.t_win], name)

    def _sloped(self, layer: Weighted, drive: str, weight_sum: str, name: str) -> str:
        """The table of docs/model.md, "A spiking layer", of A and S; of a readout the potential as its window ends."""
        own = layer.name
        slope = np.float32(self.network.psp_slope)
        rise = self.constant("psp_slope.t_win", slope * self._t_win)
        grown = self.add("Mul", [weight_sum, rise], f"{own}.grown")
        if not layer.is_spiking:
            return self.add("Add", [drive, grown], name)
        reached = self.add("Add", [drive, grown], f"{own}.reached")
        rising = self.add("Mul", [weight_sum, self.constant("psp_slope", slope)], f"{own}.rising")
        divisor = self.add("Add", [rising, self.one], f"{own}.divisor")
        approaches = self.add("Greater", [divisor, self.zero], f"{own}.approaches")
        meets = self.add("Greater", [reached, self.zero], f"{own}.meets")
        fires = self.add("And", [approaches, meets], f"{own}.fires")
        # what does not fire gets a divisor that is not 0
        harmless = self.add("Where", [fires, divisor, self.one], f"{own}.harmless")
        quotient = self.add("Div", [reached, harmless], f"{own}.quotient")
        inside = self.add("Min", [quotient, self.t_win], f"{own}.inside")
        fired = self.add("Where", [fires, inside, self.zero], f"{own}.fired")
        at_once = self.add("GreaterOrEqual", [drive, self.t_win], f"{own}.at_once")
        return self.add("Where", [at_once, self.t_win, fired], name)
