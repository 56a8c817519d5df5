"""A network's NIR file: read back by nir, its nodes compute the network's results in continuous time."""

import io
from typing import Any

import numpy as np
import pytest
from helpers.network_kinds import KINDS, SHAPE, images, network

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.network import Network
from ttfs_cupy.export import nir_graph
from ttfs_cupy.export.about import About

nir = pytest.importorskip("nir")

from helpers import nir_events  # noqa: E402 (it needs nir)

# NIR's reader takes kernels as square
MODEL = [8, "P", {"convolution": 12, "kernel": [3, 3], "stride": [2, 1], "padding": [1, 0]}, {"linear": 16}]
SAYABLE = [{"model": MODEL, **options} for options in KINDS if not options.get("standardize")]


def content(net: Network) -> bytes:
    return nir_graph.content(net, About("a run", ["boot", 7]))


def read(net: Network) -> Any:
    return nir.read(io.BytesIO(content(net)))


@pytest.mark.parametrize("options", SAYABLE, ids=str)
def test_the_nodes_compute_what_the_network_does(options: dict[str, Any]) -> None:
    net, pixels = network(**options), images(3)
    graph = read(net)
    expected = net.forward(net.encode(pixels))
    results = np.stack([nir_events.result(graph, image) for image in pixels])
    np.testing.assert_allclose(results, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))
    np.testing.assert_array_equal(results.argmax(1), expected.argmax(1))


def test_every_layer_s_spikes_are_the_network_s() -> None:
    net, pixels = network(MODEL, psp_slope=0.4, t_win=2.0, initial_potential=True), images(1)
    graph = read(net)
    outputs = nir_events.outputs(graph, pixels[0])
    net.forward(net.encode(pixels))
    opens = {"conv1": 2.0, "pool1": 2.0, "conv2": 4.0, "linear1": 6.0}
    for name, expected in net.spike_times().items():
        times = nir_events.times(outputs[name]) - opens[name]
        np.testing.assert_array_equal(np.isfinite(times), np.isfinite(expected[0]))
        np.testing.assert_allclose(times[np.isfinite(times)], expected[0][np.isfinite(times)], rtol=0, atol=1e-5)
        assert 0.02 < np.isfinite(times).mean() < 1


def test_a_wrong_weight_shows() -> None:
    net, pixels = network(MODEL, psp_slope=0.0), images(1)
    graph = read(net)
    right = nir_events.result(graph, pixels[0])
    graph.nodes["conv1.weights"].weight[0] += 0.05
    assert np.abs(nir_events.result(graph, pixels[0]) - right).max() > 1e-3


def test_what_the_file_says_of_itself() -> None:
    graph = read(network(MODEL, psp_slope=0.25, t_win=2.0))
    assert graph.metadata["class_names"] == '["boot", 7]' and graph.metadata["source"] == "a run"
    assert (graph.metadata["t_win"], graph.metadata["psp_slope"]) == ("2.0", "0.25")
    images_node = graph.nodes["images"]
    assert tuple(images_node.input_type["input"]) == SHAPE
    assert (images_node.metadata["values"], float(images_node.metadata["to"])) == ("spikes", 2.0)
    clocks = {name: node for name, node in graph.inputs.items() if name != "images"}
    assert clocks and all(node.metadata["values"] == "clock" for node in clocks.values())
    assert float(clocks["conv2.opens"].metadata["time"]) == 4.0
    (output,) = graph.outputs.values()
    assert (float(output.metadata["from"]), float(output.metadata["to"])) == (8.0, 10.0)


def test_only_slopes_below_1_need_gates() -> None:
    gated = [name for name in read(network(MODEL, psp_slope=0.9)).nodes if ".gate" in name]
    assert gated and not [name for name in read(network(MODEL, psp_slope=1.0)).nodes if ".gate" in name]


def test_the_same_network_gives_the_same_bytes() -> None:
    assert content(network(MODEL, psp_slope=0.5)) == content(network(MODEL, psp_slope=0.5))


def test_what_nir_cannot_say() -> None:
    with pytest.raises(UserError, match=r"takes a convolution's kernel as square, and that of conv2 is 3x2"):
        content(network(psp_slope=1.0))
    with pytest.raises(UserError, match=r"no word for network\.standardize: pixels so coded have no spike times"):
        content(network(MODEL, psp_slope=1.0, standardize=True, mean=[0.3, 0.6], std=[0.2, 0.2]))
