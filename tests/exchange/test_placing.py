"""Which tensor of a file becomes which layer's weights: by name, by order, by shape; and what is refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.exchange.placing import MOST_LEFT_OUT, place
from ttfs_cupy.exchange.weight_file import Stored, WeightFile, of_arrays, unwrapped

Shapes = Mapping[str, tuple[int, ...]]

CONV1, CONV2, READOUT = (8, 1, 3, 3), (8, 8, 3, 3), (10, 32)
NETWORK = {"conv1.weight": CONV1, "conv2.weight": CONV2, "conv3.weight": CONV2, "readout.weight": READOUT}


def file(shapes: Shapes | Sequence[tuple[str, tuple[int, ...]]], *, in_order: bool) -> WeightFile:
    items = shapes.items() if isinstance(shapes, Mapping) else shapes
    tensors = (Stored(name, shape, "float32", lambda shape=shape: np.zeros(shape)) for name, shape in items)  # type: ignore[misc]
    return WeightFile(Path("w"), unwrapped(tensors), in_order)


def places(shapes: Shapes, *, in_order: bool, wanted: Shapes = NETWORK) -> dict[str, str]:
    return {name: one.name for name, one in place(wanted, file(shapes, in_order=in_order)).placed.items()}


def trouble(shapes: Shapes, *, in_order: bool, wanted: Shapes = NETWORK) -> str:
    with pytest.raises(UserError) as caught:
        place(wanted, file(shapes, in_order=in_order))
    assert str(caught.value).startswith("the weights in 'w' do not fit: ")
    return str(caught.value)


@pytest.mark.parametrize("in_order", [True, False])
def test_names_come_before_order(in_order: bool) -> None:
    shuffled = dict(reversed(NETWORK.items()))
    assert places(shuffled, in_order=in_order) == {name: name for name in NETWORK}


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "network.", "encoder.", "a.b.c."])
def test_common_prefixes_do_not_count(prefix: str, in_order: bool) -> None:
    assert places({prefix + name: shape for name, shape in NETWORK.items()}, in_order=in_order) == {
        name: name for name in NETWORK
    }


def test_a_prefix_of_some_names_stays() -> None:
    tensors = unwrapped(file({"module.a": (1,), "b": (1,)}, in_order=True).tensors)
    assert [one.name for one in tensors] == ["module.a", "b"]


def test_a_layer_s_own_name_is_no_prefix() -> None:
    of_one_layer = {"readout.weight": READOUT, "readout.potential": (10,)}
    assert places(of_one_layer, in_order=False, wanted=of_one_layer) == {name: name for name in of_one_layer}


OF_PYTORCH = {
    "features.0.weight": CONV1,
    "features.0.bias": (8,),
    "features.1.weight": (8,),
    "features.1.running_mean": (8,),
    "features.1.num_batches_tracked": (),
    "features.9.weight": CONV2,
    "features.10.weight": CONV2,
    "classifier.weight": READOUT,
}
WHERE = {
    "conv1.weight": "features.0.weight",
    "conv2.weight": "features.9.weight",
    "conv3.weight": "features.10.weight",
    "readout.weight": "classifier.weight",
}


def test_by_order() -> None:
    assert places(OF_PYTORCH, in_order=True) == WHERE


def test_without_order_by_shape_and_by_number() -> None:
    # as safetensors sort them: classifier first, features.10 before features.9
    assert places(dict(sorted(OF_PYTORCH.items())), in_order=False) == WHERE


def test_what_is_left_out_is_said_with_the_reason() -> None:
    left = {one.name: why for one, why in place(NETWORK, file(OF_PYTORCH, in_order=True)).left_out}
    assert "bias" in left["features.0.bias"]
    for name in ("weight", "running_mean", "num_batches_tracked"):
        assert "batch norm" in left[f"features.1.{name}"]
    assert len(left) == 4


def test_the_table_says_where_each_tensor_went() -> None:
    table = place(NETWORK, file(OF_PYTORCH, in_order=True)).table()
    assert table[0].split() == ["'features.0.weight'", "float32", "(8,", "1,", "3,", "3)", "->", "conv1.weight"]
    assert len(table) == len(OF_PYTORCH)
    many = {**NETWORK, **{f"{number}.bias": (4,) for number in range(MOST_LEFT_OUT + 5)}}
    assert place(NETWORK, file(many, in_order=True)).table()[-1] == "  and 5 more were left out"


POTENTIALS = {"conv1.weight": CONV1, "conv1.potential": (8,), "readout.weight": (10, 8), "readout.potential": (10,)}


def test_initial_potentials_go_by_name_and_may_be_absent() -> None:
    assert places(POTENTIALS, in_order=False, wanted=POTENTIALS) == {name: name for name in POTENTIALS}
    some = {name: shape for name, shape in POTENTIALS.items() if name != "readout.potential"}
    assert places(some, in_order=True, wanted=POTENTIALS) == {name: name for name in some}
    assert "(7,)" in trouble({**POTENTIALS, "conv1.potential": (7,)}, in_order=True, wanted=POTENTIALS)
    without = {name: shape for name, shape in POTENTIALS.items() if len(shape) > 1}
    (_, why), *_ = place(without, file(POTENTIALS, in_order=True)).left_out
    assert "network.initial_potential" in why


@pytest.mark.parametrize("in_order", [True, False])
def test_initial_potentials_that_go_nowhere_are_refused(in_order: bool) -> None:
    """Weights find their places without names; potentials of a network that has some do not begin at 0 in silence."""
    renamed = {
        name.replace("conv1", "stem.0").replace("readout", "head.0"): shape for name, shape in POTENTIALS.items()
    }
    sentence = trouble(renamed, in_order=in_order, wanted=POTENTIALS)
    assert "initial potentials 'stem.0.potential' (8,), 'head.0.potential' (10,)" in sentence
    assert "'conv1.potential', 'readout.potential': name its tensors as the network does" in sentence
    some = {**POTENTIALS, "conv2.potential": (8,)}
    assert "'conv2.potential' (8,)" in trouble(some, in_order=in_order, wanted=POTENTIALS)
    without = {name: shape for name, shape in POTENTIALS.items() if len(shape) > 1}
    assert len(place(without, file(renamed, in_order=in_order)).left_out) == 2


def changed(shapes: Shapes, **changes: tuple[int, ...] | None) -> Shapes:
    """With other shapes, or without a tensor; `__` stands for the dot."""
    new = {**shapes, **{name.replace("__", "."): shape for name, shape in changes.items()}}
    return {name: shape for name, shape in new.items() if shape is not None}


@pytest.mark.parametrize(
    ("shapes", "in_order", "words"),
    [
        # the first layer that finds none, what was wanted, and what the file had
        (changed(NETWORK, readout__weight=None), True, ["'readout.weight' are missing", "(10, 32)", "conv1"]),
        (changed(NETWORK, readout__weight=None), False, ["'readout.weight' are missing", "(10, 32)", "conv1"]),
        (changed(NETWORK, conv2__weight=None), False, ["'conv2.weight' are missing", str(CONV2)]),
        (
            changed(OF_PYTORCH, features__9__weight=None),
            True,
            ["'conv3.weight' are missing", "'classifier.weight' (10, 32)"],
        ),
        (changed(OF_PYTORCH, features__0__weight=(8, 3, 3, 3)), True, ["'conv1.weight'", str(CONV1), "(8, 3, 3, 3)"]),
        (changed(OF_PYTORCH, features__0__weight=(8, 3, 3, 3)), False, ["'conv1.weight'", str(CONV1), "(8, 3, 3, 3)"]),
        ({}, True, ["'conv1.weight' are missing", "the file's weights are none"]),
        # of another shape
        (
            changed(NETWORK, conv2__weight=CONV1),
            True,
            ["'conv2.weight' have shape (8, 1, 3, 3), the network's (8, 8, 3, 3)"],
        ),
        # too many
        (changed(NETWORK, conv4__weight=CONV2), False, ["'conv4.weight' (8, 8, 3, 3) are not in this network"]),
        (changed(OF_PYTORCH, last=(5, 10)), True, ["'last' (5, 10) are not in this network"]),
        (changed(OF_PYTORCH, last=(5, 10)), False, ["'last' (5, 10) are not in this network"]),
        (changed(OF_PYTORCH, features__3__weight=CONV2), False, ["could be any of", "safetensors keep no order"]),
        # which of two is which
        ({"a": CONV1, "b": CONV2, "c": CONV2, "d": READOUT}, False, ["'conv2.weight' could be any of", "'b'", "'c'"]),
        # name and place disagree
        (
            {"stem": CONV1, "conv3.weight": CONV2, "conv2.weight": CONV2, "readout": READOUT},
            True,
            ["'conv3.weight'", "by its place in the file"],
        ),
        (
            {"f.5": CONV1, "f.1": CONV2, "f.2": CONV2, "readout.weight": READOUT},
            False,
            ["by their shapes", "by their names after it"],
        ),
    ],
)
def test_what_is_refused(shapes: Shapes, in_order: bool, words: list[str]) -> None:
    sentence = trouble(shapes, in_order=in_order)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(3, np.int8), ["'a'", "int8", "must be float32"]),
        (np.zeros(3, np.complex64), ["'a'", "complex64"]),
        (np.array([np.nan]), ["'a' holds NaN"]),
        (np.array([np.inf], np.float32), ["'a' holds a number that float32 cannot hold"]),
        (np.array([1e300]), ["'a' holds a number that float32 cannot hold"]),
    ],
)
def test_numbers_that_are_no_weights(array: np.ndarray, words: list[str]) -> None:
    weights = of_arrays(Path("w"), {"a": array})
    with pytest.raises(UserError) as caught:
        weights.float32(weights.tensors[0])
    for word in words:
        assert word in str(caught.value)
