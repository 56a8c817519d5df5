"""What is seldom right, and what an error must be like."""

import pickle
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.environments import CODE, REPOSITORY

# Where errors may come from: the package's own code
OWN = [REPOSITORY / folder for folder in CODE]
MOST_CHARACTERS = 500

NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 7, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**31), -(2**63)),
    *(0.0, -0.0, 0.5, 1.5, -1.5, 1e-45, 1e-320, 1e38, 1e308, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, 1j, np.float32(0.5), np.int64(3), np.float64("nan"), np.bool_(True), np.uint8(200)),
]
TEXTS = ["", " ", "x", "cpu", "cuda:7", "latency", "gemm", "gain", "\0", "é", "a" * 5000, "../..", "0", "nan"]
DTYPES = ["f4", "f8", "f2", ">f4", "i4", "i8", ">i4", "u1", "u8", "?", "c8", "O", "U3", "M8[s]"]


def text(chance: random.Random) -> str:
    return chance.choice(TEXTS)


def nasty(chance: random.Random, depth: int = 0) -> Any:
    """A number, a text, a container of such, an array, an object."""
    kind = chance.randrange(8 if depth < 2 else 3)
    if kind < 3:
        return chance.choice(NUMBERS) if kind else text(chance)
    if kind == 3:
        return [nasty(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 4:
        return {text(chance): nasty(chance, depth + 1) for _ in range(chance.randrange(3))}
    if kind == 5:
        return tuple(nasty(chance, depth + 1) for _ in range(chance.randrange(4)))
    if kind == 6:
        return chance.choice([object(), b"\0", print, int, np.random.default_rng(0), Path("/none"), range(3), {1, 2}])
    shape = tuple(chance.randrange(4) for _ in range(chance.randrange(5)))
    return spoilt(chance, np.zeros(shape, np.float32))


def spoilt(chance: random.Random, array: np.ndarray) -> Any:
    """The array with another shape, type, layout or values, or something else that holds them."""
    changes: list[Callable[[], Any]] = [
        lambda: array[: chance.randrange(len(array) + 1)] if array.ndim else array,
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: array.transpose(chance.sample(range(array.ndim), array.ndim)),
        lambda: array[..., None],
        lambda: array.reshape(-1),
        lambda: array[0] if len(array.shape) and len(array) else array,
        lambda: array[..., ::-1] if array.ndim else array,
        lambda: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
        lambda: array.repeat(1 + chance.randrange(2), axis=0) if array.ndim else array,
        lambda: array.astype(chance.choice(DTYPES)),
        lambda: array.astype(chance.choice(DTYPES)),
        lambda: _misaligned(array),
        lambda: _read_only(array),
        lambda: np.asfortranarray(array),
        lambda: _with(array, chance),
        lambda: _with(array, chance),
        lambda: _with(array, chance),
        lambda: np.broadcast_to(array.reshape(-1)[:1].reshape(()), array.shape) if array.size else array,
        lambda: np.ma.masked_array(array),
        lambda: array.view(np.matrix) if array.ndim == 2 else array,
        lambda: array.tolist(),
        lambda: memoryview(np.ascontiguousarray(array)),
        lambda: chance.choice(NUMBERS),
        lambda: np.empty((0, *array.shape[1:]), array.dtype),
        lambda: (array * np.float64(255)).astype(array.dtype),  # NumPy refuses 255 itself beside int8
    ]
    with np.errstate(all="ignore"):
        return chance.choice(changes)()


def _misaligned(array: np.ndarray) -> np.ndarray:
    held = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    held[...] = array
    return held


def _read_only(array: np.ndarray) -> np.ndarray:
    copied = array.copy()
    copied.flags.writeable = False
    return copied


def _with(array: np.ndarray, chance: random.Random) -> np.ndarray:
    """One value that is none."""
    copied = array.copy()
    if copied.size:
        numbers = [float("nan"), float("inf"), -1.0, 255.0, 1e38] if array.dtype.kind == "f" else [-1, 10, 99, 2**7 - 1]
        copied.reshape(-1)[chance.randrange(copied.size)] = np.array(chance.choice(numbers)).astype(array.dtype)
    return copied


def outcome(call: Callable[[], Any]) -> bytes | str:
    """What it returns, as bytes, or its error's sentence; errors of other kinds are raised on."""
    try:
        return pickle.dumps(call())
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def refused(call: Callable[[], None], what: str) -> bool:
    """Whether it raised an error of the allowed kinds, in a sentence of this package's own; others are raised on."""
    try:
        call()
    except (ValueError, TypeError) as error:
        message = str(error)
        innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        assert any(innermost.is_relative_to(own) for own in OWN), (
            f"{what}: {type(error).__name__} of {innermost}: {message}"
        )
        assert message and "\n" not in message, f"{what}: {message!r}"
        assert len(message) <= MOST_CHARACTERS, f"{what}: {len(message)} characters: {message[:200]}"
        return True
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return False
