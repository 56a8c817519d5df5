"""Checks and converts the arguments of a launch, for both targets (CuPy itself checks nothing)."""

import numbers
from typing import Any

import numpy as np

from ttfs_cupy.device.compilation.source import Kernel, Parameter

# Kernels count in 32-bit integers; a grid stride beyond the last element must not overflow either.
MAX_ELEMENTS = 2**31 - 2**24


def count_trouble(what: str, elements: int) -> str | None:
    """Why kernels cannot count so many elements, or None if they can."""
    if elements <= MAX_ELEMENTS:
        return None
    return f"{what}: {elements} elements at once are above {MAX_ELEMENTS}; use a smaller batch"


def checked_arguments(kernel: Kernel, arguments: tuple[Any, ...], array_type: Any) -> list[Any]:
    """The arguments, each array as it is (None for an optional one) and each scalar as a Python int or float.

    array_type is the array class of the device: numpy.ndarray or cupy.ndarray.
    Raises TypeError or ValueError that names the kernel and the parameter.
    """
    if len(arguments) != len(kernel.parameters):
        names = ", ".join(p.name for p in kernel.parameters)
        raise TypeError(
            f"kernel {kernel.name} takes {len(kernel.parameters)} arguments ({names}), not {len(arguments)}"
        )
    checked = []
    for parameter, value in zip(kernel.parameters, arguments, strict=True):
        # The usual cases first, and no call for them: a training step passes tens of thousands of arguments.
        kind = type(value)
        if not parameter.is_pointer:
            low, high = parameter.limits
            plain = kind is parameter.python_type and low <= value <= high
            checked.append(value if plain else _checked_scalar(kernel, parameter, value))
        elif (
            kind is array_type
            and value.dtype is parameter.dtype
            and value.flags.c_contiguous
            and (parameter.is_const and value.size <= MAX_ELEMENTS)
        ):
            checked.append(value)
        else:
            checked.append(_checked_array(kernel, parameter, value, array_type))
    return checked


def _checked_array(kernel: Kernel, parameter: Parameter, value: Any, array_type: Any) -> Any:
    if value is None and parameter.is_optional:
        return None
    if not isinstance(value, array_type):
        raise TypeError(
            f"kernel {kernel.name}: {parameter.name} must be a {array_type.__module__}.ndarray on the device that "
            f"the kernel runs on, not {type(value).__module__}.{type(value).__name__}"
        )
    if value.dtype != parameter.dtype:
        raise TypeError(f"kernel {kernel.name}: {parameter.name} must be {parameter.dtype}, not {value.dtype}")
    if not value.flags.c_contiguous:
        raise ValueError(f"kernel {kernel.name}: {parameter.name} must be C-contiguous (strides are {value.strides})")
    if trouble := count_trouble(f"kernel {kernel.name}: {parameter.name}", value.size):
        raise ValueError(trouble)
    if not parameter.is_const and isinstance(value, np.ndarray) and not value.flags.writeable:
        raise ValueError(f"kernel {kernel.name}: {parameter.name} is written to, but is read-only")
    return value


def _checked_scalar(kernel: Kernel, parameter: Parameter, value: Any) -> int | float:
    if not parameter.is_integer:
        if _is_number(value, numbers.Real):
            return float(value)
    elif _is_number(value, numbers.Integral):
        low, high = parameter.limits
        if not low <= value <= high:
            raise ValueError(f"kernel {kernel.name}: {parameter.name} = {value} does not fit {parameter.c_type}")
        return int(value)
    raise TypeError(
        f"kernel {kernel.name}: {parameter.name} must be {'an integer' if parameter.is_integer else 'a number'}, "
        f"not {type(value).__name__} {value!r}"
    )


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
