"""What a model is made of, read from a name, a YAML file or a list, and checked."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.neuron.encoding import ENCODINGS

Pair = tuple[int, int]


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


@dataclass(frozen=True)
class ModelSpec:
    """Layers below the readout, and the input encoding that the model was published with."""

    layers: tuple[LayerSpec, ...]
    encoding: str = "latency"


def names() -> list[str]:
    """The bundled models: the YAML files of this folder."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files(__package__).iterdir()
        if entry.name.endswith(".yaml")
    )


def read(model: str | Path | Sequence[Any] | Mapping[str, Any] | ModelSpec) -> ModelSpec:
    """A model from a bundled name, the path of a YAML file, a list of layers, or a mapping like the YAML file.

    Raises UserError that names the model and the entry that is wrong.
    """
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, (str, Path)):
        return _parse(_load(model), f"model '{model}'")
    return _parse(model, "the model")


def _load(name: str | Path) -> Any:
    if str(name) in names():
        content = resources.files(__package__).joinpath(f"{name}.yaml").read_text()
    elif Path(name).suffix in (".yaml", ".yml"):
        try:
            content = Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UserError(f"model '{name}' cannot be read: {reason}") from None
    else:
        close = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"bundled are {', '.join(names())}, else give a YAML file"
        raise UserError(f"model '{name}' is not known: {hint}")
    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise UserError(f"model '{name}' is not YAML: {' '.join(str(error).split())}") from None


def _parse(content: Any, where: str) -> ModelSpec:
    entries, encoding = content, "latency"
    if isinstance(content, Mapping):
        _refuse_unknown(content, ("layers", "encoding"), where)
        entries, encoding = content.get("layers"), content.get("encoding", encoding)
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise UserError(f"{where} must be a list of at least one layer, such as [64, P, {{linear: 256}}]")
    if encoding not in ENCODINGS:
        raise UserError(f"{where}: encoding must be one of {', '.join(ENCODINGS)}, not {encoding!r}")
    layers = tuple(_layer(entry, f"{where}, layer {number}") for number, entry in enumerate(entries, 1))
    return ModelSpec(layers, encoding)


def _layer(entry: Any, where: str) -> LayerSpec:
    if isinstance(entry, (ConvolutionSpec, PoolSpec, LinearSpec)):
        return entry
    if entry == "P":
        return PoolSpec()
    if isinstance(entry, int):
        return ConvolutionSpec(_count(entry, where))
    if isinstance(entry, Mapping):
        for kind, parse in _KINDS.items():
            if kind in entry:
                return parse(entry, where)
    raise UserError(
        f"{where} is {entry!r}, but must be a number of channels, P, or a mapping with one of {', '.join(_KINDS)}"
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
            raise UserError(f"{where}: {key} is not a key here; {hint}")


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{where}: the number of neurons or channels must be a whole number from 1, not {value!r}")
    return value


def _pair(value: Any, where: str, least: int) -> Pair:
    pair = (value, value) if isinstance(value, int) else value
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise UserError(f"{where} must be one whole number or two (vertical, horizontal), not {value!r}")
    for number in pair:
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise UserError(f"{where} must be whole numbers from {least}, not {value!r}")
    return pair[0], pair[1]
