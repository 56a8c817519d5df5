"""The text of the files that a network becomes in C."""

from collections.abc import Callable, Sequence

import numpy as np

from ttfs_cupy.common.shown import harmless
from ttfs_cupy.common.version import __version__
from ttfs_cupy.export.c.memory import Memory, elements, in_turn
from ttfs_cupy.export.c.quantization import FINE, STEPS, IntegerStages
from ttfs_cupy.export.c.stages import Neurons, Pooling, Stage, Stages
from ttfs_cupy.export.c.template import array, filled, real, rows, structure

FILES = ("network.h", "network_float32.c", "network_int8.c", "main.c", "Makefile", "README.txt")
HEADER, FLOAT32, INT8, MAIN, MAKEFILE, README = FILES


def files_of(integers: IntegerStages, source: str, class_names: Sequence[str] | None) -> dict[str, bytes]:
    """By name, what the folder holds. source: what the network comes from, as comments name it."""
    stages = integers.stages
    kinds = kinds_of(stages)
    about = {"version": __version__, "source": harmless(source, is_ascii=True)}
    float32, int8 = _Float32(stages), _Int8(integers)
    height, width, channels = stages.input_shape
    header = filled(
        "network.h",
        kinds,
        height=height,
        width=width,
        channels=channels,
        maximum=stages.maximum,
        classes=stages.classes,
        one=integers.one,
        t_win=real(stages.t_win)[:-1],
        **about,
    )
    names = [harmless(name, is_ascii=True) for name in class_names or ()]
    readme = filled(
        "README.txt",
        kinds | ({"named"} if class_names else set()),
        shape=_shape(stages.input_shape),
        maximum=stages.maximum,
        float32_flash=f"{float32.flash:17,}",
        float32_ram=f"{float32.ram:17,}",
        int8_flash=f"{int8.flash:17,}",
        int8_ram=f"{int8.ram:17,}",
        pixels=f"{elements(stages.input_shape):,} bytes",
        potentials=f"{4 * stages.classes:,} bytes",
        multiplications=f"{multiplications(stages):,}",
        layers="\n".join(f"    {line}" for line in _summary(stages)),
        class_names="\n".join(f"    {number}  {name}" for number, name in enumerate(names)),
        **about,
    )
    texts = {
        HEADER: header,
        FLOAT32: float32.text(kinds, about),
        INT8: int8.text(kinds, about),
        MAIN: filled("main.c", kinds),
        MAKEFILE: filled("Makefile", kinds),
        README: readme,
    }
    return {name: text.encode() for name, text in texts.items()}


def memory_said(integers: IntegerStages) -> list[str]:
    """A line for each file."""
    float32, int8 = _Float32(integers.stages), _Int8(integers)
    return [
        f"{name}: {of.flash:,} bytes of constants (flash), {of.ram:,} of activations (RAM)"
        for name, of in ((FLOAT32, float32), (INT8, int8))
    ]


def multiplications(stages: Stages) -> int:
    """Of a weight by an earliness, for one image, as the files compute it: of silent inputs too, but of none that a
    kernel covers outside of the image, and for no neuron that no pooling reads."""
    return sum(_multiplications(layer) for layer in stages.weighted)


def _multiplications(layer: Neurons) -> int:
    if layer.kernel is None:
        return layer.weights.size
    axes = zip(*(layer.in_shape[:2], layer.out_shape[:2], layer.kernel, layer.stride, layer.padding), strict=True)
    pooling = zip(layer.window.size, layer.window.stride, strict=True)
    rows, columns = (_inside(*axis, *pooled) for axis, pooled in zip(axes, pooling, strict=True))
    return rows * columns * layer.in_shape[2] * len(layer.weights)


def _inside(size: int, outputs: int, kernel: int, stride: int, padding: int, pool: int, pool_stride: int) -> int:
    """Along one axis: how many inputs the kernels of all neurons cover together. outputs: behind the pooling."""
    neurons = (output * pool_stride + place for output in range(outputs) for place in range(pool))
    starts = (neuron * stride - padding for neuron in neurons)
    return sum(max(min(start + kernel, size) - max(start, 0), 0) for start in starts)


def kinds_of(stages: Stages) -> set[str]:
    """What templates ask of a network."""
    weighted, encoder = stages.weighted, stages.encoder
    hidden = [layer for layer in weighted if layer is not stages.readout]
    standardized = not encoder.is_spike_code and encoder.mean is not None
    has = {
        "sloped": stages.is_sloped,
        "flat": not stages.is_sloped,
        "slopes": stages.is_sloped and any(layer.slope == 0 for layer in weighted),
        "convolution": any(layer.kernel is not None for layer in weighted),
        "pool": any(isinstance(stage, Pooling) for stage in stages.stages),
        "potential": weighted[0].potential is not None,
        "no_potential": weighted[0].potential is None,
        "fires": stages.readout.fires,
        "reads": not stages.readout.fires,
        "any_fires": any(layer.fires for layer in weighted),
        "linear_fires": any(layer.kernel is None and layer.fires for layer in weighted),
        "hidden_linear": any(layer.kernel is None for layer in hidden),
        "standardized": standardized,
        "plain": not standardized,
        "coded": not encoder.is_spike_code,
        "scaled": encoder.is_spike_code and stages.maximum != STEPS,
    }
    return {name for name, is_there in has.items() if is_there}


class _Float32:
    """The file in float32: its text, and the bytes of its constants and activations."""

    def __init__(self, stages: Stages):
        self.stages = stages
        self.memory = in_turn([elements(stages.input_shape), *_sizes(stages.stages[:-1])])
        numbers = sum(layer.weights.size for layer in stages.weighted)
        numbers += sum(0 if layer.potential is None else layer.potential.size for layer in stages.weighted)
        self.flash, self.ram = 4 * numbers, 4 * self.memory.size

    def text(self, kinds: set[str], about: dict[str, str]) -> str:
        stages, encoder = self.stages, self.stages.encoder
        has_slopes = "slopes" in kinds
        calls = _calls(stages, "image", "connect" if stages.readout.fires else "read_out", lambda layer: "convolve")
        statistics = (encoder.mean, encoder.std) if "standardized" in kinds else ((), ())
        mean, std = (", ".join(map(real, np.asarray(values, np.float32))) for values in statistics)
        convolution = filled(
            "convolution.c",
            kinds,
            suffix="",
            of_pixels="",
            type="float",
            spike="float",
            weight="float",
            initial="    sums.drive = layer->potential[neuron];" if "potential" in kinds else "",
            fired=f"fire(sums{', layer->slope' if has_slopes else ''})",
        )
        return filled(
            "float32.c",
            kinds,
            convolutions=convolution if "convolution" in kinds else "",
            pool=_pooling("float", kinds),
            memory=_memory_said(self.flash, self.ram),
            t_win=real(stages.t_win),
            slope=real(stages.slope),
            slope_parameter=", float slope" if has_slopes else "",
            slope_name="slope" if has_slopes else "PSP_SLOPE",
            linear_slope=", PSP_SLOPE" if has_slopes else "",
            layers="\n".join(self._layer(stage, has_slope=has_slopes) for stage in stages.stages),
            encoding=_encoding(stages),
            mean=mean,
            std=std,
            pixel=_pixel(stages),
            memory_size=self.memory.size,
            places=_places("float", self.memory, stages, starts_with_image=True),
            calls=calls,
            **about,
        )

    def _layer(self, stage: Stage, *, has_slope: bool) -> str:
        if isinstance(stage, Pooling):
            return _pool(stage)
        parts = [f"/* {_said(stage)} */\n", array("float", f"{stage.name}_weights", stage.weights)]
        pointers = {"weights": f"{stage.name}_weights"}
        if stage.potential is not None:
            pointers["potential"] = f"{stage.name}_potential"
            held = stage.potential * np.float32(self.stages.t_win)
            parts.append(array("float", f"{stage.name}_potential", held))
        own = {"slope": real(stage.slope)} if has_slope and stage.kernel is not None else {}
        return "".join([*parts, _structure(stage, {**own, **pointers})])


class _Int8:
    """The file in integers: its text, and the bytes of its constants and activations."""

    def __init__(self, integers: IntegerStages):
        self.integers = integers
        stages = integers.stages
        # pixels of 0..255 are spikes as they are
        self.encodes = integers.code is not None or stages.maximum != STEPS
        self.starts_with_image = integers.code is None and self.encodes
        first = [elements(stages.input_shape)] if self.starts_with_image else []
        self.memory = in_turn([*first, *_sizes(stages.stages[:-1])] or [1])
        layers = integers.layers.values()
        self.flash = sum(layer.weights.size + 4 * layer.threshold.size for layer in layers)
        self.flash += sum(0 if layer.layer.potential is None else 4 * layer.initial.size for layer in layers)
        self.ram = self.memory.size
        if integers.code is not None:
            self.flash += 2 * integers.code.size
            self.ram += 2 * elements(stages.input_shape)

    def text(self, kinds: set[str], about: dict[str, str]) -> str:
        integers, stages = self.integers, self.integers.stages
        kinds = kinds | ({"fine"} if integers.fine != 1 else set())
        spikes = {"suffix": "", "type": "uint8_t", "inputs": "inputs", "of_pixels": ""}
        codes = {"suffix": "_code", "type": "int16_t", "inputs": "pixels", "of_pixels": " over pixels"}
        of_int8 = {
            "spike": "uint8_t",
            "weight": "int8_t",
            "initial": "",
            "fired": "(uint8_t)fire(sums, &layer->rule, neuron, STEPS)",
        }
        kept = [spikes] if integers.code is None else [spikes, codes]
        adds = [filled("int8_add.c", kinds, **values) for values in kept]
        first = stages.stages[0]
        convolutions = list[str]()
        if any(layer.kernel is not None and (layer is not first or integers.code is None) for layer in stages.weighted):
            convolutions.append(filled("convolution.c", kinds, **spikes, **of_int8))
        if integers.code is not None:
            convolutions.append(filled("convolution.c", kinds, **codes, **of_int8))
        # pixels that are spikes as they are need no place of their own
        image = "image" if self.encodes else "pixels"
        encoding = [f"    encode(pixels, {image});"] if self.encodes else []
        is_coded = integers.code is not None
        calls = _calls(
            stages,
            image,
            "read_out",
            lambda layer: "convolve_code" if is_coded and layer is first else "convolve",
        )
        return filled(
            "int8.c",
            kinds,
            memory=_memory_said(self.flash, self.ram),
            fine=FINE,
            drive="(wide_t)sums.drive * FINE" if "fine" in kinds else "(wide_t)sums.drive",
            of_rule=", rule, neuron" if "potential" in kinds else "",
            of_layer=", &layer->rule, neuron" if "potential" in kinds else "",
            wide_type="int64_t" if integers.is_wide else "int32_t",
            wide_reason=(
                "Sums of these weights, times the steps of a spike time, need more than 32 bits."
                if integers.is_wide
                else "Sums of these weights, times the steps of a spike time, are below 2^31."
            ),
            layers="\n".join(self._layer(stage) for stage in stages.stages),
            adds="\n".join(adds),
            convolutions="\n".join(convolutions),
            pool=_pooling("uint8_t", kinds),
            code=_table(integers),
            pixel=_pixel(stages),
            memory_size=self.memory.size,
            places=self._places(),
            calls="\n".join([*encoding, calls]),
            **about,
        )

    def _places(self) -> str:
        stages = self.integers.stages
        places = _places("uint8_t", self.memory, stages, starts_with_image=self.starts_with_image)
        if self.integers.code is None:
            return places
        own = f"    static int16_t image[TTFS_PIXELS]; /* {_shape(stages.input_shape)} */"
        return "\n".join(filter(None, [own, places]))

    def _layer(self, stage: Stage) -> str:
        if isinstance(stage, Pooling):
            return _pool(stage)
        own, name = self.integers.layers[stage.name], stage.name
        parts = [
            f"/* {_said(stage)} */\n",
            array("int8_t", f"{name}_weights", own.weights),
            array("int32_t", f"{name}_threshold", own.threshold),
        ]
        rule = [f".threshold = {name}_threshold"]
        if stage.potential is not None:
            parts.append(array("int32_t", f"{name}_initial", own.initial))
            rule.append(f".initial = {name}_initial")
        if self.integers.stages.is_sloped:
            rule.append(f".slope = {own.slope}")
        pointers = {"weights": f"{name}_weights", "rule": f"{{{', '.join(rule)}}}"}
        return "".join([*parts, _structure(stage, pointers)])


def _pooling(spike: str, kinds: set[str]) -> str:
    """The function of poolings by themselves, where there are any."""
    return filled("pool.c", kinds, spike=spike) if "pool" in kinds else ""


def _sizes(stages: Sequence[Stage]) -> list[int]:
    return [elements(stage.out_shape) for stage in stages]


def _places(c_type: str, memory: Memory, stages: Stages, *, starts_with_image: bool) -> str:
    """The lines that name all places in the memory."""
    named = [(f"{stage.name}_spikes", stage.out_shape) for stage in stages.stages[:-1]]
    if starts_with_image:
        named.insert(0, ("image", stages.input_shape))
    lines = [
        f"    {c_type} *const {name} = memory{f' + {place}' if place else ''}; /* {_shape(shape)} */"
        for (name, shape), place in zip(named, memory.places, strict=False)
    ]
    return "\n".join(lines)


def _calls(stages: Stages, image: str, last: str, convolve: Callable[[Stage], str]) -> str:
    """The lines that call each stage. last: the function of the readout; convolve: that of a convolution."""
    lines, inputs = list[str](), image
    for stage in stages.stages[:-1]:
        function = "connect" if isinstance(stage, Neurons) else "pool"
        if isinstance(stage, Neurons) and stage.kernel is not None:
            function = convolve(stage)
        lines.append(f"    {function}(&{stage.name}, {inputs}, {stage.name}_spikes);")
        inputs = f"{stage.name}_spikes"
    return "\n".join([*lines, f"    {last}(&{stages.readout.name}, {inputs}, potentials);"])


def _structure(layer: Neurons, pointers: dict[str, str]) -> str:
    if layer.kernel is None:
        return structure(
            "Linear", layer.name, {"inputs": layer.rows.shape[1], "neurons": len(layer.weights), **pointers}
        )
    sizes = {
        **dict(zip(("height", "width", "channels"), layer.in_shape, strict=True)),
        "neurons": len(layer.weights),
        **_pair("kernel_height", "kernel_width", layer.kernel),
        **_pair("stride_y", "stride_x", layer.stride),
        **_pair("padding_y", "padding_x", layer.padding),
        **_pair("pool_height", "pool_width", layer.window.size),
        **_pair("pool_stride_y", "pool_stride_x", layer.window.stride),
        **_pair("out_height", "out_width", layer.out_shape[:2]),
    }
    return structure("Convolution", layer.name, {**sizes, **pointers})


def _pool(stage: Pooling) -> str:
    sizes = {
        **dict(zip(("height", "width", "channels"), stage.in_shape, strict=True)),
        **_pair("pool_height", "pool_width", stage.window.size),
        **_pair("pool_stride_y", "pool_stride_x", stage.window.stride),
        **_pair("out_height", "out_width", stage.out_shape[:2]),
    }
    return f"/* {_said(stage)} */\n{structure('Pool', stage.name, sizes)}"


def _pair(vertical: str, horizontal: str, values: tuple[int, int]) -> dict[str, int]:
    return {vertical: values[0], horizontal: values[1]}


def _said(stage: Stage) -> str:
    """A stage in words: its kind, and what it makes of which shape."""
    shapes = f"{_shape(stage.in_shape)} to {_shape(stage.out_shape)}"
    if isinstance(stage, Pooling):
        return f"{stage.name}: the earliest spike of {_by(stage.window.size)}, {shapes}"
    if stage.kernel is None:
        return f"{stage.name}: full connection, {shapes}"
    joined = (
        "" if stage.pool_name is None else f" and {stage.pool_name}, the earliest spike of {_by(stage.window.size)}"
    )
    return f"{stage.name}: convolution {_by(stage.kernel)}{joined}, {shapes}"


def _summary(stages: Stages) -> list[str]:
    return [_said(stage) for stage in stages.stages]


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _memory_said(flash: int, ram: int) -> str:
    return f" * Its constants have {flash:,} bytes (flash), its activations {ram:,} bytes (RAM)."


def _encoding(stages: Stages) -> str:
    if stages.encoder.is_spike_code:
        return "The brighter a pixel, the earlier its spike; a black one is silent."
    if stages.encoder.encoding == "latency":
        return "Standardised pixels as earliness, which leaves the window."
    return "Pixels as real numbers, from which the first layer makes spikes."


def _pixel(stages: Stages) -> str:
    if stages.maximum == STEPS:
        return "pixels[i]"
    return "pixels[i] < TTFS_MAXIMUM ? pixels[i] : TTFS_MAXIMUM"


def _table(integers: IntegerStages) -> str:
    if integers.code is None:
        return ""
    indent = " " * 12
    return "\n".join(f"        {{\n{rows(map(str, row.tolist()), indent)}\n        }}," for row in integers.code)
