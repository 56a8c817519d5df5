"""The C files beside the engine, for networks of every kind: compiled with sanitizers where these work."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import c_kinds, network_kinds

from ttfs_cupy.data import ImageSet
from ttfs_cupy.energy.counting import fan_out
from ttfs_cupy.engine.layers import MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import TOLERANCE
from ttfs_cupy.export.c.comparison import Comparison, comparison
from ttfs_cupy.export.c.compiler import BuildError, Compiler, ProgramError, run
from ttfs_cupy.export.c.export import write_files
from ttfs_cupy.export.c.quantization import IntegerStages, integers_of
from ttfs_cupy.export.c.stages import stages_of
from ttfs_cupy.export.c.template import real
from ttfs_cupy.export.c.text import FLOAT32, HEADER, INT8, MAIN, MAKEFILE, README, files_of, multiplications

IMAGES = 12
SLOPED = {"psp_slope": 1.0, "t_win": 0.5, "initial_potential": True}


def integers(net: Network, maximum: int = 255) -> IntegerStages:
    return integers_of(stages_of(net, maximum))


def files(net: Network, maximum: int = 255) -> dict[str, bytes]:
    return files_of(integers(net, maximum), "runs/test/best.safetensors", None)


def compared(
    net: Network, by: Compiler, folder: Path, images: ImageSet, content: dict[str, bytes] | None = None
) -> Comparison:
    made = files(net, images.maximum) if content is None else content
    write_files(folder / "files", made)
    of = c_kinds.batches(net, images)
    return comparison(net, integers(net, images.maximum), of, len(images), folder / "files", folder, by)


@pytest.mark.parametrize("options", c_kinds.KINDS, ids=str)
def test_both_files_compute_the_network(options: dict[str, Any], compiler: Compiler, tmp_path: Path) -> None:
    # the kinds alternate between pixels that are spikes as they are, and those that are not
    maximum = (255, 16)[c_kinds.KINDS.index(options) % 2]
    net = network_kinds.network(**options)
    found = compared(net, compiler, tmp_path, c_kinds.images(IMAGES, maximum))
    assert found.is_good, found
    assert found.images == IMAGES
    assert found.float32.predictions == 0 and found.float32.largest < 1e-6
    assert found.float32.layers.neurons > 0 and not found.float32.layers.unexplained
    assert found.int8.wrong == 0


def test_the_int8_file_is_close_to_the_network(compiler: Compiler, tmp_path: Path) -> None:
    """At slope 0 nothing jumps, so that rounding is all that is between them."""
    net = network_kinds.network(psp_slope=0.0)
    of = c_kinds.images(IMAGES)
    write_files(tmp_path / "files", files(net))
    program = compiler.build([tmp_path / "files" / name for name in (MAIN, FLOAT32, INT8)], tmp_path / "predict")
    potentials = [
        np.array([line.split()[1:] for line in run(program, variant, given=of.images.tobytes()).splitlines()], float)
        for variant in ("float32", "int8")
    ]
    assert np.abs(potentials[0] - potentials[1] / integers(net).one).max() < 0.02 * np.abs(potentials[0]).max()


@pytest.mark.parametrize("options", [{"psp_slope": 0.0}, SLOPED], ids=["flat", "sloped"])
def test_the_same_network_gives_the_same_bytes(options: dict[str, Any]) -> None:
    assert files(network_kinds.network(**options)) == files(network_kinds.network(**options))
    assert files(network_kinds.network(seed=4, **options)) != files(network_kinds.network(**options))


def test_they_need_nothing() -> None:
    content = {name: data.decode() for name, data in files(network_kinds.network(**SLOPED)).items()}
    assert set(content) == {HEADER, FLOAT32, INT8, MAIN, MAKEFILE, README}
    assert re.findall("#include (.*)", content[HEADER] + content[FLOAT32] + content[INT8]) == [
        "<stdint.h>",
        '"network.h"',
        '"network.h"',
    ]
    code = re.sub(r"/\*.*?\*/", "", content[INT8], flags=re.DOTALL)
    assert not re.search(r"\b(float|double)\b|\d\.\d", code)
    assert [line for text in content.values() for line in text.splitlines() if len(line) > 120] == []
    # nothing of the templates is left
    assert not re.search(r"//|@\w", "".join(content.values()))


def test_what_it_is_of_cannot_end_a_comment() -> None:
    net = network_kinds.network(psp_slope=0.0)
    made = files_of(integers(net), 'runs/*/"x" */ int y; /*\n@t_win', ["a */ b", "é"])
    for text in made.values():
        assert b"*/ int" not in text and b'x"' not in text and b"*/ b" not in text
        assert text.isascii()


CPLUSPLUS = """
#include "network.h"
int main() {
    uint8_t pixels[TTFS_PIXELS] = {};
    int32_t potentials[TTFS_CLASSES];
    return ttfs_predict_int8(pixels, potentials) < 0;
}
"""


def test_it_is_called_from_c_plus_plus(compiler: Compiler, tmp_path: Path) -> None:
    of_cplusplus = shutil.which("g++") or shutil.which("clang++")
    if of_cplusplus is None or not shutil.which("cc"):
        pytest.skip("there is no C++ compiler here")
    write_files(tmp_path / "files", files(network_kinds.network(psp_slope=0.0)))
    (tmp_path / "files/main.cpp").write_text(CPLUSPLUS)
    for command in (
        ["cc", "-std=c99", "-c", "network_int8.c"],
        [of_cplusplus, "-Wall", "-Wextra", "-Werror", "-pedantic", "main.cpp", "network_int8.o", "-o", "predict"],
        ["./predict"],
    ):
        subprocess.run(command, cwd=tmp_path / "files", check=True)


def test_what_readme_shows_is_c_and_c_plus_plus() -> None:
    readme = files(network_kinds.network(psp_slope=0.0))[README].decode()
    assert "int prediction = ttfs_predict_int8(pixels, potentials);" in readme
    assert "(240 bytes)" in readme and "(20 bytes)" in readme


@pytest.mark.parametrize("options", c_kinds.KINDS, ids=str)
def test_multiplications_are_those_inside_of_the_image(options: dict[str, Any]) -> None:
    """Neuron by neuron, of all that are left by the pooling above: none of its kernel's places outside counts."""
    net = network_kinds.network(**options)
    expected = 0
    for layer, above in zip(net.layers, [*net.layers[1:], None], strict=True):
        if not isinstance(layer, Weighted):
            continue
        shape, places = layer.shape, np.ones(layer.shape.out_size, int)
        if isinstance(above, MaxPool) and not layer.flat:
            reached = places_of(above)
            # windows that overlap are a stage of their own, which reads every neuron
            places = reached if reached.max() <= 1 else places
        for y, x in np.argwhere(places):
            top, left = y * shape.stride[0] - shape.padding[0], x * shape.stride[1] - shape.padding[1]
            rows = [row for row in range(top, top + shape.kernel[0]) if 0 <= row < shape.in_size[0]]
            columns = [column for column in range(left, left + shape.kernel[1]) if 0 <= column < shape.in_size[1]]
            expected += len(rows) * len(columns) * shape.in_channels * shape.out_channels
    assert multiplications(stages_of(net, 255)) == expected


def places_of(pool: MaxPool) -> np.ndarray:
    """How many windows read each place."""
    found = np.zeros(pool.in_shape[:2], int)
    for y in range(pool.out_shape[0]):
        for x in range(pool.out_shape[1]):
            top, left = y * pool.stride[0], x * pool.stride[1]
            found[top : top + pool.kernel[0], left : left + pool.kernel[1]] += 1
    return found


def test_multiplications_are_the_connections_that_energy_counts() -> None:
    net = network_kinds.network(psp_slope=0.0)
    layers = [layer for layer in net.layers if isinstance(layer, Weighted)]
    connections = sum(int(fan_out(layer.shape).sum()) * layer.shape.in_channels for layer in layers)
    assert multiplications(stages_of(net, 255)) == connections


def replaced(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def plant(content: dict[str, bytes]) -> dict[str, bytes]:
        text = content[name].decode()
        assert old in text
        return {**content, name: text.replace(old, new, 1).encode()}

    return plant


def changed_weight(name: str, by: Callable[[str], str]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """The first weight of conv2 is another."""

    def plant(content: dict[str, bytes]) -> dict[str, bytes]:
        text = re.sub(r"(conv2_weights\[\d+\] = \{\s+)([^,]+)", lambda m: m[1] + by(m[2]), content[name].decode())
        return {**content, name: text.encode()}

    return plant


def small_change(content: dict[str, bytes]) -> dict[str, bytes]:
    """All weights of conv2 are off by 5e-5 of themselves."""
    text = re.sub(
        r"(conv2_weights\[\d+\] = \{)([^}]+)",
        lambda m: m[1] + re.sub(r"[^\s,]+f", lambda w: real(float(w[0][:-1]) * (1 + 5e-5)), m[2]),
        content[FLOAT32].decode(),
    )
    return {**content, FLOAT32: text.encode()}


FAULTS = {
    "weight": changed_weight(FLOAT32, lambda w: "0.7f"),
    "integer weight": changed_weight(INT8, lambda w: str(int(w) // 2 + 3)),
    "padding": replaced(FLOAT32, "left < 0 ? -left : 0", "left < 0 ? 1 - left : 0"),
    "outside": replaced(FLOAT32, "top + row >= 0 &&", "top + row >= -1 &&"),
    "rule": replaced(FLOAT32, "if (sums.drive >= T) return T;", ""),
    "silence": replaced(FLOAT32, "inputs[i] != 0.0f ? weights[i] : 0.0f", "weights[i]"),
    "pooling": replaced(FLOAT32, "spike > earliest", "i + j == 0"),
    "charge": replaced(FLOAT32, "sums.drive = layer->potential[neuron];", ""),
    "place": replaced(FLOAT32, "memory + ", "memory + 1 + "),
    "order": replaced(FLOAT32, "convolve(&conv2, conv1_spikes, conv2_spikes);", ""),
    "float class": replaced(FLOAT32, "return largest(potentials);", "return 1;"),
    "window": replaced(FLOAT32, "#define T 0.5f", "#define T 0.6f"),
    "code": replaced(FLOAT32, "/ (float)TTFS_MAXIMUM", "/ (float)(TTFS_MAXIMUM + 1)"),
    "rounding": replaced(INT8, " + divisor / 2", ""),
    "steps": replaced(INT8, "STEPS 255", "STEPS 256"),
    "few bits": replaced(INT8, "typedef int32_t wide_t", "typedef int16_t wide_t"),
    "one step": replaced(INT8, "earliness > 0 ? earliness : 1", "earliness"),
    "class": replaced(INT8, "potentials[i] > potentials[best]", "potentials[i] < potentials[best]"),
    "warning": replaced(FLOAT32, "int best = 0;", "int best = 0, unused;"),
}


@pytest.mark.parametrize("options", [{"psp_slope": 0.0}, SLOPED], ids=["flat", "sloped"])
def test_a_small_fault_is_found(options: dict[str, Any], compiler: Compiler, tmp_path: Path) -> None:
    """Smaller than what potentials of a whole network may be apart."""
    net = network_kinds.network(**options)
    found = compared(net, compiler, tmp_path, c_kinds.images(IMAGES), small_change(files(net)))
    assert not found.is_good and set(found.float32.layers.unexplained) == {"conv2"}
    if not found.float32.jumps:
        assert found.float32.largest < TOLERANCE


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, compiler: Compiler, tmp_path: Path) -> None:
    net = network_kinds.network(**SLOPED)
    content = FAULTS[name](files(net))
    try:
        found = compared(net, compiler, tmp_path, c_kinds.images(IMAGES), content)
    except (BuildError, ProgramError) as error:
        assert str(error)
        return
    assert not found.is_good


def test_the_example_says_what_is_wrong_with_its_input(compiler: Compiler, tmp_path: Path) -> None:
    write_files(tmp_path / "files", files(network_kinds.network(psp_slope=0.0)))
    program = compiler.build([tmp_path / "files" / name for name in (MAIN, FLOAT32, INT8)], tmp_path / "predict")
    with pytest.raises(ProgramError, match="code 2"):
        run(program, "int16")
    with pytest.raises(ProgramError, match="code 1"):
        run(program, "int8", given=b"123")
    assert run(program, "int8") == b""
