"""The float32 file layer by layer, each given the engine's own input: a layer by itself is held to less than the whole,
in which roundings add up, or make a neuron jump."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data import Batches
from ttfs_cupy.engine.layers import Layer, Shape
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.layer_values import CODE, layer_values
from ttfs_cupy.exchange.rounding import Outcomes, code_compared, compared, outcomes
from ttfs_cupy.export.c.compiler import Compiler, run
from ttfs_cupy.export.c.memory import elements
from ttfs_cupy.export.c.stages import Neurons, Pooling, Stage, Stages
from ttfs_cupy.export.c.template import filled
from ttfs_cupy.export.c.text import kinds_of

_DRIVER = "layers.c"


def layer_by_layer(
    network: Network, stages: Stages, test: Batches, count: int, folder: Path, scratch: Path, by: Compiler
) -> Outcomes:
    """Of the first `count` test images. folder: where the files are. Raises BuildError and ProgramError."""
    (scratch / _DRIVER).write_text(_driver(stages, network))
    program = by.build([scratch / _DRIVER], scratch / "layers", includes=folder)
    pixels = test.images.images[:count]
    values = _values(network, test, count)
    outputs = iter(_split(run(program, given=_given(stages, pixels, values)), _shapes(network), count))
    total = code_compared(values[CODE], next(outputs), float(_unit(stages)))
    state, layers = network.state_dict(), {layer.name: layer for layer in network.layers}
    below = CODE
    for stage in stages.stages:
        layer, output = layers[stage.name], next(outputs)
        total += compared(layer, state, _public(values[below]), _own(layer, values[stage.name]), layer.public(output))
        below = stage.name
        if isinstance(stage, Neurons) and stage.pool_name is not None:
            pooled = next(outputs)
            wrong = int(np.count_nonzero(pooled != stage.window.earliest(output)))
            total += outcomes(stage.pool_name, wrong, pooled.size)
            below = stage.pool_name
    return total


def _unit(stages: Stages) -> np.float32:
    """What the file's code is in terms of the engine's: of a coding layer T z, not z."""
    return np.float32(stages.t_win if stages.encoder.encoding == "direct" else 1)


def _driver(stages: Stages, network: Network) -> str:
    lines, unpooled, chain = list[str](), list[str](), list[str]()
    here, there = "inputs", "outputs"
    whole = {layer.name: layer.out_shape for layer in network.layers}
    for stage in stages.stages:
        function, name = _function(stage), stage.name
        lines.append(f"        receive(inputs, sizeof *inputs, {elements(stage.in_shape)});")
        if function == "convolve":
            unpooled.append(f"    const Convolution whole_{name} = unpooled({name});")
            lines.append(f"        convolve(&whole_{name}, inputs, outputs);")
            lines.append(f"        send({elements(whole[name])});")
        if function != "convolve" or (isinstance(stage, Neurons) and stage.pool_name is not None):
            lines.append(f"        {function}(&{name}, inputs, outputs);")
            lines.append(f"        send({elements(stage.out_shape)});")
        chain.append(f"    {function}(&{name}, {here}, {'one_by_one' if stage is stages.readout else there});")
        here, there = there, here
    return filled(
        _DRIVER,
        kinds_of(stages),
        largest=max(map(elements, _shapes(network))),
        unpooled="\n".join(unpooled),
        chain="\n".join(chain),
        stages="\n".join(lines),
    )


def _function(stage: Stage) -> str:
    """The one of the file that computes it."""
    if isinstance(stage, Pooling):
        return "pool"
    if stage.kernel is not None:
        return "convolve"
    return "connect" if stage.fires else "read_out"


def _shapes(network: Network) -> list[Shape]:
    """Of what the driver writes for an image: the code, and the output of every layer."""
    return [network.layers[0].in_shape, *(layer.out_shape for layer in network.layers)]


def _given(stages: Stages, pixels: NDArray[np.uint8], values: Mapping[str, np.ndarray]) -> bytes:
    """What the driver reads."""
    parts, below = [pixels.reshape(len(pixels), -1)], values[CODE] * _unit(stages)
    for stage in stages.stages:
        row = np.ascontiguousarray(below, np.float32).reshape(len(pixels), -1)
        parts.append(row.view(np.uint8))
        pool_name = stage.pool_name if isinstance(stage, Neurons) else None
        below = values[pool_name or stage.name]
    return np.concatenate(parts, axis=1).tobytes()


def _split(written: bytes, shapes: Sequence[Shape], count: int) -> list[np.ndarray]:
    """What the driver wrote, float32 (count, height, width, channels) each."""
    ends = np.cumsum([elements(shape) for shape in shapes])
    parts = np.split(np.frombuffer(written, np.float32).reshape(count, -1), ends[:-1], axis=1)
    return [part.reshape(count, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _values(network: Network, test: Batches, count: int) -> dict[str, np.ndarray]:
    """layer_values of the first `count` images."""
    batches = test.epoch(0, network.device, range(-(-count // test.batch_size)))
    values = layer_values(network, (batch.inputs for batch in batches))
    return {name: each[:count] for name, each in values.items()}


def _public(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _own(layer: Layer, values: np.ndarray) -> np.ndarray:
    return layer.public(values.reshape(-1, *layer.out_shape))
