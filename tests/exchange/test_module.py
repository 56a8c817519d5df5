"""The module that a network is written as computes the same, with PyTorch alone."""

import ast
from typing import Any

import numpy as np
import pytest
from helpers.network_kinds import CLASSES, KINDS, STATISTICS, images, network

from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.module_text import module_text
from ttfs_cupy.exchange.side_by_side import TOLERANCE, agreement

torch = pytest.importorskip("torch")


def written(net: Network) -> Any:
    """The class and the functions of the file."""
    names: dict[str, Any] = {}
    exec(module_text(net, "a run", "w.pt"), names)
    return names


def loaded(net: Network) -> Any:
    module = written(net)["Net"]()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in net.state_dict().items()})
    return module


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_potentials_are_the_network_s(options: dict[str, Any]) -> None:
    net = network(**options)
    found = agreement(net, module_text(net, "a run", "w.pt"), net.state_dict(), images(200))
    print(found)
    assert found.images == 200
    # what rounding can flip is counted; in networks as shallow as these hardly ever
    assert found.differing <= (2 if options["psp_slope"] else 0)
    # and it is not that all of them are silent
    assert np.ptp(net.device.to_host(net.forward(net.encode(images(5)))), axis=0).max() > 0.01


def test_a_difference_is_found() -> None:
    net = network(psp_slope=0.0)
    state = net.state_dict()
    state["conv1.weight"][0] += 0.01
    found = agreement(net, module_text(net, "a run", "w.pt"), state, images(50))
    assert found.largest > TOLERANCE and found.differing > 25


@pytest.mark.parametrize(
    "options",
    [
        {"psp_slope": 0.0, "initial_potential": True},
        {"psp_slope": 0.7, "t_win": 1.5, "initial_potential": True},
        {"psp_slope": 1.0, "encoding": "direct", **STATISTICS},
    ],
    ids=str,
)
def test_gradients_are_those_of_clip_none(options: dict[str, Any]) -> None:
    net, module = network(clip="none", **options), loaded(network(**options))
    pixels, labels = images(20), np.arange(20, dtype=np.int32) % CLASSES
    _, gradients = net.loss_and_gradients(net.encode(pixels), labels)
    output = module(torch.from_numpy(pixels))
    torch.nn.functional.cross_entropy(output, torch.from_numpy(labels).long()).backward()
    for name, parameter in module.named_parameters():
        expected = gradients[name]
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=0, atol=2e-5 * (1 + np.abs(expected).max()))


def test_names_and_shapes_are_the_network_s_in_its_order() -> None:
    net = network(psp_slope=1.0, initial_potential=True)
    own = {name: array.shape for name, array in net.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in loaded(net).state_dict().items()} == own


def test_float64(seed: int = 5) -> None:
    module = loaded(network(psp_slope=0.0, seed=seed))
    pixels = torch.from_numpy(images(3))
    single = module(pixels)
    double = module.double()(pixels)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_file_imports_torch_alone_and_holds_what_it_uses(options: dict[str, Any]) -> None:
    text = module_text(network(**options), "a run", "w.pt")
    tree = ast.parse(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert modules == {"torch", "torch.nn"}
    # each function and class of the file is called in it, and no condition of the text is left
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert defined - called == {"Net"}
    assert "#if" not in text and "#end" not in text
    assert ("PSP_SLOPE" in text) == (options["psp_slope"] > 0)
    assert max(map(len, text.splitlines())) <= 120


def test_no_name_of_a_file_leaves_the_docstring() -> None:
    net = network(psp_slope=0.0)
    text = module_text(net, 'runs/"""\nimport os\n"""\\', '"); import os; ("w.pt')
    assert [type(node) for node in ast.parse(text).body[:2]] == [ast.Expr, ast.Import]
    assert "\nimport os" not in text
