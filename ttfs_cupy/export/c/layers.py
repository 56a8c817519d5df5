"""The float32 file layer by layer, each given the engine's own input: for networks in which rounding may make a neuron
jump, so that whole networks can't be compared closely."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import Outcomes, compared
from ttfs_cupy.export.c.compiler import Compiler, run
from ttfs_cupy.export.c.memory import elements
from ttfs_cupy.export.c.stages import Neurons, Pooling, Stage, Stages
from ttfs_cupy.export.c.template import filled
from ttfs_cupy.export.c.text import kinds_of

# What an encoder's values may be apart, relative to the largest
ENCODED = 1e-6

CODE = ""
_DRIVER = "layers.c"


def layer_by_layer(
    network: Network, stages: Stages, test: Batches, count: int, folder: Path, scratch: Path, by: Compiler
) -> Outcomes:
    """Of the first `count` test images. folder: where the files are. Raises BuildError and ProgramError."""
    (scratch / _DRIVER).write_text(_driver(stages))
    program = by.build([scratch / _DRIVER], scratch / "layers", includes=folder)
    pixels = test.images.images[:count]
    values = _values(network, test, count)
    outputs = iter(_split(run(program, given=_given(stages, pixels, values)), stages, count))
    code = values[CODE]
    apart = np.abs(next(outputs) - code * _unit(stages)) > ENCODED * max(1.0, float(np.abs(code).max()))
    total = Outcomes(0, 0, {"the input code": int(np.count_nonzero(apart))} if apart.any() else {})
    state, layers = network.state_dict(), {layer.name: layer for layer in network.layers}
    below = CODE
    for stage in stages.stages:
        layer, output = layers[stage.name], next(outputs)
        total += compared(layer, state, _public(values[below]), _own(layer, values[stage.name]), layer.public(output))
        below = stage.name
        if isinstance(stage, Neurons) and stage.pool_name is not None:
            pooled = next(outputs)
            wrong = int(np.count_nonzero(pooled != _earliest(stage, output)))
            total += Outcomes(pooled.size, 0, {stage.pool_name: wrong} if wrong else {})
            below = stage.pool_name
    return total


def _unit(stages: Stages) -> np.float32:
    """What the file's code is in terms of the engine's: of a coding layer T z, not z."""
    return np.float32(stages.t_win if stages.encoder.encoding == "direct" else 1)


def _driver(stages: Stages) -> str:
    lines, unpooled, chain = list[str](), list[str](), list[str]()
    here, there = "inputs", "outputs"
    for stage in stages.stages:
        function, name = _function(stage), stage.name
        lines.append(f"        receive(inputs, sizeof *inputs, {elements(stage.in_shape)});")
        if function == "convolve":
            unpooled.append(f"    const Convolution whole_{name} = unpooled({name});")
            lines.append(f"        convolve(&whole_{name}, inputs, outputs);")
            lines.append(f"        send({elements(_whole(stage))});")
        if function != "convolve" or (isinstance(stage, Neurons) and stage.pool_name is not None):
            lines.append(f"        {function}(&{name}, inputs, outputs);")
            lines.append(f"        send({elements(stage.out_shape)});")
        chain.append(f"    {function}(&{name}, {here}, {'one_by_one' if stage is stages.readout else there});")
        here, there = there, here
    return filled(
        _DRIVER,
        kinds_of(stages),
        largest=max(elements(shape) for _, shape in _outputs(stages)),
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


def _whole(stage: Stage) -> tuple[int, int, int]:
    """The shape of a stage's output before any pooling is joined."""
    if not isinstance(stage, Neurons) or stage.kernel is None:
        return stage.out_shape
    sizes = zip(stage.in_shape[:2], stage.kernel, stage.stride, stage.padding, strict=True)
    height, width = ((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding in sizes)
    return height, width, len(stage.weights)


def _outputs(stages: Stages) -> list[tuple[str, tuple[int, int, int]]]:
    """What the driver writes for an image: of which layer, and its shape."""
    found = [(CODE, stages.input_shape)]
    for stage in stages.stages:
        found.append((stage.name, _whole(stage)))
        if isinstance(stage, Neurons) and stage.pool_name is not None:
            found.append((stage.pool_name, stage.out_shape))
    return found


def _given(stages: Stages, pixels: NDArray[np.uint8], values: Mapping[str, np.ndarray]) -> bytes:
    """What the driver reads."""
    parts, below = [pixels.reshape(len(pixels), -1)], values[CODE] * _unit(stages)
    for stage in stages.stages:
        row = np.ascontiguousarray(below, np.float32).reshape(len(pixels), -1)
        parts.append(row.view(np.uint8))
        pool_name = stage.pool_name if isinstance(stage, Neurons) else None
        below = values[pool_name or stage.name]
    return np.concatenate(parts, axis=1).tobytes()


def _split(written: bytes, stages: Stages, count: int) -> list[np.ndarray]:
    """What the driver wrote, float32 (count, height, width, channels) each."""
    shapes = [shape for _, shape in _outputs(stages)]
    ends = np.cumsum([elements(shape) for shape in shapes])
    parts = np.split(np.frombuffer(written, np.float32).reshape(count, -1), ends[:-1], axis=1)
    return [part.reshape(count, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _values(network: Network, test: Batches, count: int) -> dict[str, np.ndarray]:
    """The engine's input code, and each layer's output, float32 (count, height, width, channels), by its name."""
    found: dict[str, list[np.ndarray]] = {}

    def keep(name: str, output: Array) -> None:
        found.setdefault(name, []).append(network.device.to_host(output).copy())

    with network.turns.take(), network.device.current():
        for batch in test.epoch(0, network.device, range(-(-count // test.batch_size))):
            keep(CODE, batch.inputs)
            network.run(batch.inputs, watch=lambda layer, output: keep(layer.name, output))
        network.validity.raise_if_marked()
    return {name: np.concatenate(parts)[:count] for name, parts in found.items()}


def _public(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _own(layer: Layer, values: np.ndarray) -> np.ndarray:
    return layer.public(values.reshape(-1, *layer.out_shape))


def _earliest(stage: Neurons, spikes: np.ndarray) -> np.ndarray:
    views = np.lib.stride_tricks.sliding_window_view(spikes, stage.window.size, axis=(1, 2))
    found: np.ndarray = views[:, :: stage.window.stride[0], :: stage.window.stride[1]].max(axis=(4, 5))
    return found
