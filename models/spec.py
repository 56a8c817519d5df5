"""What a model is made of, read from a name, a YAML file or a list, and checked."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ttfs_cupy.common.checks import check_count, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.common.files.reading import reason
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.neuron.encoding import ENCODINGS

Pair = tuple[int, int]

MAX_LAYERS = 1000
# of channels, neurons, and of a kernel, a stride and a padding: far beyond what any memory holds
MAX_SIZE = 1_000_000_000

# A part of a network written as T2FSNN does, '64C3 - P2 - 512F': a convolution of 64 channels with a kernel of 3, a
# pooling of 2, a fully connected layer of 512 neurons
_PART = re.compile(r"([0-9]{1,10})C([0-9]{1,10})|P([0-9]{1,10})|([0-9]{1,10})F")
PARTS = "64C3, P2 or 512F"


@dataclass(frozen=True)
class ConvolutionSpec:
    channels: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)


@dataclass(frozen=True)
class PoolSpec:
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)


@dataclass(frozen=True)
class LinearSpec:
    neurons: int


LayerSpec = ConvolutionSpec | PoolSpec | LinearSpec

_NAMES: dict[type, str] = {ConvolutionSpec: "conv", PoolSpec: "pool", LinearSpec: "linear"}


@dataclass(frozen=True)
class ModelSpec:
    """Layers below the readout, and the input encoding that the model was published with."""

    layers: tuple[LayerSpec, ...]
    encoding: str = "latency"

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Each kind counted from 1: conv1, conv2, pool1, linear1."""
        counts: Counter[type] = Counter()
        names = []
        for layer in self.layers:
            counts[type(layer)] += 1
            names.append(f"{_NAMES[type(layer)]}{counts[type(layer)]}")
        return tuple(names)


def names() -> list[str]:
    """The bundled models: the YAML files of this folder."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files(__package__).iterdir()
        if entry.name.endswith(".yaml")
    )


def read(model: str | Path | Sequence[Any] | Mapping[str, Any] | ModelSpec) -> ModelSpec:
    """A model from a bundled name, the path of a YAML file, a text such as '64C3 - P2 - 512F', a list of layers, or a
    mapping like the YAML file.

    The text is T2FSNN's: convolutions have stride 1 and a padding of half their kernel, poolings their kernel as
    stride; spaces may be left out. Raises UserError that names the model and the entry that is wrong.
    """
    if isinstance(model, ModelSpec):
        return _parse({"layers": model.layers, "encoding": model.encoding}, "the model")
    if isinstance(model, (str, Path)):
        where = f"model '{one_line(str(model))}'"
        is_text = not _is_file(model) and any(map(_PART.fullmatch, _split(str(model))))
        return _parse(str(model) if is_text else _load(model, where), where)
    return _parse(model, "the model")


def _load(name: str | Path, where: str) -> Any:
    if str(name) in names():
        raw = resources.files(__package__).joinpath(f"{name}.yaml").read_bytes()
    elif _is_file(name):
        try:
            raw = yaml_text.read_file(Path(name).expanduser(), where)
        except OSError as error:
            raise UserError(f"{where} cannot be read: {reason(error)}") from None
        except RuntimeError:
            raise UserError(f"{where} cannot be read: its ~ names no user of this machine") from None
    else:
        raise UserError(f"{where} is not known: {_meant(str(name))}")
    return yaml_text.parse_file(raw, where)


def _meant(name: str) -> str:
    if all(map(_PART.fullmatch, _split(name.upper()))):
        return f"did you mean {shown(name.upper())}?"
    close = difflib.get_close_matches(name, names(), n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"bundled are {', '.join(names())}, else give a YAML file, or layers such as '64C3 - P2 - 512F'"


def _is_file(model: str | Path) -> bool:
    return Path(model).suffix in (".yaml", ".yml")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split("-")]


def _parse(content: Any, where: str) -> ModelSpec:
    entries, encoding = content, "latency"
    if isinstance(content, Mapping):
        _refuse_unknown(content, ("layers", "encoding"), where)
        entries, encoding = content.get("layers"), content.get("encoding", encoding)
    if isinstance(entries, str):
        entries = [_part(part, where) for part in _split(entries)]
    if not isinstance(entries, (list, tuple)) or not entries:
        raise UserError(f"{where} must be a list of at least one layer, such as [64, P, {{linear: 256}}]")
    if len(entries) > MAX_LAYERS:
        raise UserError(f"{where} has {len(entries):,} layers, but a model may have up to {MAX_LAYERS:,}")
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        raise UserError(f"{where}: encoding must be {' or '.join(ENCODINGS)}, not {shown(encoding)}")
    layers = tuple(_layer(entry, f"{where}, layer {number}") for number, entry in enumerate(entries, 1))
    return ModelSpec(layers, encoding)


def _part(text: str, where: str) -> dict[str, int]:
    """A part of a network that is written as a text, as the mapping that it stands for."""
    part = _PART.fullmatch(text)
    if part is None:
        raise UserError(f"{where}: its part {shown(text)} must be such as {PARTS}, with - between two parts")
    channels, kernel, pool, neurons = part.groups()
    if channels:
        return {"convolution": int(channels), "kernel": int(kernel)}
    return {"pool": int(pool)} if pool else {"linear": int(neurons)}


def _layer(entry: Any, where: str) -> LayerSpec:
    if isinstance(entry, ConvolutionSpec):
        # checked like what is read: whoever makes one by hand may be wrong, too
        about = {"kernel": entry.kernel, "stride": entry.stride, "padding": entry.padding}
        return _convolution({"convolution": entry.channels, **about}, where)
    if isinstance(entry, PoolSpec):
        return _pool({"pool": entry.kernel, "stride": entry.stride}, where)
    if isinstance(entry, LinearSpec):
        return _linear({"linear": entry.neurons}, where)
    if isinstance(entry, str) and entry == "P":
        return PoolSpec()
    if is_whole(entry):
        return ConvolutionSpec(_count(entry, where))
    if isinstance(entry, str) and _PART.fullmatch(entry):
        entry = _part(entry, where)
    if isinstance(entry, Mapping):
        for kind, parse in _KINDS.items():
            if kind in entry:
                return parse(entry, where)
    raise UserError(
        f"{where} is {shown(entry)}, but must be a number of channels, P, such as {PARTS}, or a mapping with one of "
        f"{', '.join(_KINDS)}"
    )


def _convolution(entry: Mapping[str, Any], where: str) -> LayerSpec:
    _refuse_unknown(entry, ("convolution", "kernel", "stride", "padding"), where)
    kernel = _pair(entry.get("kernel", 3), f"{where}, kernel", 1)
    padding = entry.get("padding", [size // 2 for size in kernel])
    return ConvolutionSpec(
        _count(entry["convolution"], where),
        kernel,
        _pair(entry.get("stride", 1), f"{where}, stride", 1),
        _pair(padding, f"{where}, padding", 0),
    )


def _pool(entry: Mapping[str, Any], where: str) -> LayerSpec:
    _refuse_unknown(entry, ("pool", "stride"), where)
    kernel = _pair(entry["pool"], f"{where}, pool", 1)
    if kernel[0] * kernel[1] > 255:
        raise UserError(f"{where}: a pooling window may have up to 255 positions, not {kernel[0]} x {kernel[1]}")
    return PoolSpec(kernel, _pair(entry.get("stride", list(kernel)), f"{where}, stride", 1))


def _linear(entry: Mapping[str, Any], where: str) -> LayerSpec:
    _refuse_unknown(entry, ("linear",), where)
    return LinearSpec(_count(entry["linear"], where))


_KINDS: dict[str, Callable[[Mapping[str, Any], str], LayerSpec]] = {
    "convolution": _convolution,
    "pool": _pool,
    "linear": _linear,
}


def _refuse_unknown(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise UserError(f"{where}: {one_line(str(key), 60)} is not a key here; {hint}")


def _count(value: Any, where: str) -> int:
    return check_count(f"{where}: the number of neurons or channels", value, most=MAX_SIZE)


def _pair(value: Any, where: str, least: int) -> Pair:
    pair = (value, value) if is_whole(value) else value
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise UserError(f"{where} must be one whole number or two (vertical, horizontal), not {shown(value)}")
    vertical, horizontal = (check_count(where, number, least=least, most=MAX_SIZE) for number in pair)
    return vertical, horizontal
