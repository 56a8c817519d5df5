"""A network's ONNX file: standard operators, the network's results, and faults that its check finds."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.network_kinds import KINDS, STATISTICS, images, network

from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import TOLERANCE
from ttfs_cupy.export.about import About
from ttfs_cupy.export.onnx_check import GraphError, agreement, check_graph
from ttfs_cupy.export.onnx_graph import Graph, onnx_graph, readout_name

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

ABOUT = About("a run", ["boot", 7])


def made(net: Network) -> Graph:
    return onnx_graph(net, ABOUT)


def run(content: bytes, pixels: np.ndarray, *names: str) -> list[np.ndarray]:
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(list(names) or None, {"images": pixels})
    return results


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_results_are_the_network_s(options: dict[str, Any]) -> None:
    net = network(**options)
    graph = made(net)
    check_graph(graph)
    found = agreement(net, graph, images(200), threads=1)
    print(found)
    assert found.is_good
    assert (found.images, found.predictions, found.unexplained) == (200, 0, {})
    # networks as shallow as these have hardly a spike that rounding decides about
    assert found.largest < 2e-6 and found.explained == 0
    assert found.neurons > 0 and found.jumps == (options["psp_slope"] > 0)
    # and it is not that all of them are silent
    readout, probabilities, classes = run(graph.content, images(5))
    assert np.ptp(readout, axis=0).max() > 0.01
    np.testing.assert_array_equal(classes, readout.argmax(1))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_file_is_standard(options: dict[str, Any]) -> None:
    model = onnx.load_from_string(made(network(**options)).content)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    operators = {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    assert ("Where" in operators) == (options["psp_slope"] > 0)
    # each constant is used, and each node's result
    used = {name for node in model.graph.node for name in node.input} | {out.name for out in model.graph.output}
    assert {each.name for each in model.graph.initializer} <= used
    assert {name for node in model.graph.node for name in node.output} <= used
    assert {out.name for out in model.graph.output} == {readout_name(network(**options)), "probabilities", "class"}


@pytest.mark.parametrize("count", [1, 7])
def test_batches_of_any_size(count: int) -> None:
    net = network(psp_slope=1.0)
    pixels = images(count)
    (potentials,) = run(made(net).content, pixels, "potentials")
    np.testing.assert_allclose(potentials, net.forward(net.encode(pixels)), rtol=0, atol=1e-5)


def test_the_same_network_gives_the_same_bytes() -> None:
    for options in KINDS:
        assert made(network(**options)).content == made(network(**options)).content


def test_what_the_file_says_of_itself() -> None:
    net = network(psp_slope=0.25, t_win=2.0, initial_potential=True)
    model = onnx.load_from_string(made(net).content)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["t_win"], said["psp_slope"], said["encoding"]) == ("2.0", "0.25", "latency")
    assert json.loads(said["class_names"]) == ["boot", 7]
    assert said["source"] == "a run" and said["producer"].startswith("ttfs_cupy ")
    assert "membrane potentials" in said["outputs"] and "float32 (N, C, H, W)" in said["input"]
    (given,) = model.graph.input
    sizes = [dimension.dim_param or dimension.dim_value for dimension in given.type.tensor_type.shape.dim]
    assert sizes == ["N", *net.input_shape]
    plain = onnx.load_from_string(onnx_graph(net, About("a run")).content)
    assert "class_names" not in {entry.key for entry in plain.metadata_props}


def test_a_network_without_layers_before_its_readout() -> None:
    net = network([{"linear": 7}], psp_slope=0.0)
    assert agreement(net, made(net), images(10), 1).is_good


# Faults, each planted into a file that was right


def weight(model: Any, name: str = "conv2.weight") -> None:
    values = constant(model, name)
    values[2, 3, 1, 1] += 0.05
    replace(model, name, values)


def small_change_of_all(model: Any) -> None:
    """By 5e-5 of themselves."""
    replace(model, "conv2.weight", constant(model, "conv2.weight") * np.float32(1 + 5e-5))


def small_change_of_one(model: Any) -> None:
    values = constant(model, "conv2.weight")
    values[2, 3, 1, 1] += 5e-5
    replace(model, "conv2.weight", values)


def constant(model: Any, name: str) -> np.ndarray:
    (found,) = (each for each in model.graph.initializer if each.name == name)
    values: np.ndarray = onnx.numpy_helper.to_array(found).copy()
    return values


def replace(model: Any, name: str, values: np.ndarray) -> None:
    (found,) = (each for each in model.graph.initializer if each.name == name)
    found.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))


def node(model: Any, output: str) -> Any:
    (found,) = (each for each in model.graph.node if output in each.output)
    return found


def no_first_row(model: Any) -> None:
    """A >= T is not looked at: such a neuron is silent where it does not approach the threshold."""
    node(model, "conv1").input[1] = "conv1.fired"


def mask_of_positive(model: Any) -> None:
    """The mask is x > 0; standardised pixels are earliness below 0, too."""
    silent = node(model, "conv1.silent")
    silent.op_type = "LessOrEqual"


def no_charge(model: Any) -> None:
    replace(model, "conv2.initial_potential", 0 * constant(model, "conv2.initial_potential"))


def no_clip(model: Any) -> None:
    node(model, "conv1").op_type = "Identity"
    del node(model, "conv1").input[1:]


def averages(model: Any) -> None:
    node(model, "pool1").op_type = "AveragePool"


def other_slope(model: Any) -> None:
    replace(model, "psp_slope", constant(model, "psp_slope") * 0.99)


def smallest_class(model: Any) -> None:
    node(model, "class").op_type = "ArgMin"


def flat_probabilities(model: Any) -> None:
    node(model, "probabilities").op_type = "Sigmoid"
    del node(model, "probabilities").attribute[:]


def padding(model: Any) -> None:
    """Shifted by a pixel, of the same size."""
    for each in model.graph.node:
        if each.op_type == "Conv" and each.input[1] == "conv1.weight":
            (pads,) = (attribute for attribute in each.attribute if attribute.name == "pads")
            pads.ints[:] = [2, 1, 0, 1]


def other_mean(model: Any) -> None:
    replace(model, "mean", constant(model, "mean") + 1e-3)


SLOPED, FLAT = {"psp_slope": 1.0}, {"psp_slope": 0.0}


@pytest.mark.parametrize(
    ("plant", "options"),
    [
        (weight, FLAT),
        (weight, SLOPED),
        # large weights, with which a potential can be above T and falling
        (no_first_row, {**SLOPED, "weight_std": 1.0}),
        (mask_of_positive, {**SLOPED, "standardize": True, **STATISTICS}),
        (no_charge, {**SLOPED, "initial_potential": True}),
        (no_charge, {**FLAT, "initial_potential": True}),
        (no_clip, FLAT),
        (averages, FLAT),
        (averages, SLOPED),
        (other_slope, {"psp_slope": 0.6}),
        (smallest_class, FLAT),
        (flat_probabilities, SLOPED),
        (padding, FLAT),
        (padding, SLOPED),
        (other_mean, {**SLOPED, "encoding": "direct", **STATISTICS}),
    ],
)
def test_a_fault_is_found(plant: Callable[[Any], None], options: dict[str, Any]) -> None:
    net = network(**options)
    graph = made(net)
    assert agreement(net, graph, images(50), 1).is_good
    plant(graph.model)
    found = agreement(net, graph, images(50), 1)
    print(found)
    assert not found.is_good


@pytest.mark.parametrize("plant", [small_change_of_all, small_change_of_one])
@pytest.mark.parametrize("options", [FLAT, SLOPED], ids=["flat", "sloped"])
def test_a_small_fault_is_found(plant: Callable[[Any], None], options: dict[str, Any]) -> None:
    """Smaller than what potentials of a whole network may be apart."""
    net = network(**options)
    graph = made(net)
    plant(graph.model)
    found = agreement(net, graph, images(50), 1)
    assert not found.is_good and set(found.unexplained) == {"conv2"}
    if not found.jumps:
        assert found.largest < TOLERANCE


def other_input(model: Any) -> None:
    """Of the same shape but for its channels, so that onnx's own checks pass."""
    node(model, "pool1").input[0] = "images"


def no_input(model: Any) -> None:
    node(model, "pool1").input[0] = "nothing"


def past_pooling(model: Any) -> None:
    node(model, "conv2.drive").input[0] = "conv1"


def no_value(model: Any) -> None:
    """A layer's output is called otherwise than the graph's maker says."""
    node(model, "conv2.drive").input[0] = "other"
    node(model, "pool1").output[0] = "other"


@pytest.mark.parametrize("plant", [other_input, no_input, past_pooling, no_value])
def test_a_graph_that_is_wired_wrongly_is_a_finding(plant: Callable[[Any], None]) -> None:
    net = network(**FLAT)
    graph = made(net)
    plant(graph.model)
    with pytest.raises(GraphError) as caught:
        agreement(net, graph, images(5), 1)
    assert "\n" not in str(caught.value)
    if plant in (no_input, past_pooling):
        with pytest.raises(GraphError, match=r"^onnx refuses it: "):
            check_graph(graph)
