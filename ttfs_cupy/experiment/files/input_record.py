"""What a run's weights say of the images that they are for, so that its network can be had without the data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import LARGEST, check_count, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.data import ImageSet, InputDescription
from ttfs_cupy.engine.network import Network

CLASS_NAMES = "class_names"
INPUT = "input"

# of an image's sizes, and of classes, as `build` takes them
_MOST = 1_000_000
_KEYS = ("shape", "classes", "maximum", "mean", "std")


def recorded(network: Network, images: ImageSet) -> dict[str, Any]:
    """What a file's metadata say of a network's input, and of the images that it is trained on, as JSON holds it.

    float32 becomes Python's floats, and the same float32 again when it is read.
    """
    encoder = network.encoder
    names = {} if images.class_names is None else {CLASS_NAMES: list(images.class_names)}
    return {
        **names,
        INPUT: {
            "shape": list(network.input_shape),
            "classes": network.classes,
            "maximum": images.maximum,
            "mean": _as_list(encoder.mean),
            "std": _as_list(encoder.std),
        },
    }


def read_input(path: Path, metadata: Mapping[str, Any]) -> InputDescription | None:
    """What the metadata of a run's file say of its network's input; None for a file of an earlier version, without.

    Raises UserError for what `recorded` did not write.
    """
    written = metadata.get(INPUT)
    if written is None:
        return None
    try:
        return _read(written)
    except UserError as error:
        raise UserError(f"'{path}' is not the file that ttfs-train wrote: its {INPUT} {error}") from None


def read_class_names(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes that a run's file was trained on, by label; None where it does not say."""
    names = metadata.get(CLASS_NAMES)
    is_known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_known else None  # type: ignore[arg-type]


def _read(written: Any) -> InputDescription:
    if not isinstance(written, dict) or set(written) != set(_KEYS):
        raise UserError(f"must hold {listed(_KEYS)}, not {shown(written)}")
    shape = written["shape"]
    if not isinstance(shape, list) or len(shape) != 3:
        raise UserError(f"shape must be [channels, height, width], not {shown(shape)}")
    channels, height, width = (check_count("shape", size, most=_MOST) for size in shape)
    return InputDescription(
        (channels, height, width),
        check_count("classes", written["classes"], least=2, most=_MOST),
        check_count("maximum", written["maximum"], most=255),
        _of_channels("mean", written["mean"], channels),
        _of_channels("std", written["std"], channels),
    )


def _of_channels(name: str, values: Any, channels: int) -> NDArray[np.float32] | None:
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != channels:
        raise UserError(f"{name} must hold a number for each of {channels} channels, not {shown(values)}")
    return np.array([check_number(name, value, -LARGEST, LARGEST) for value in values], np.float32)


def _as_list(statistic: Any) -> list[float] | None:
    return None if statistic is None else [float(value) for value in np.asarray(statistic, np.float32)]
