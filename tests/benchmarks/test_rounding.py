"""How the study of precision rounds, against bits worked out by hand and against NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from ttfs_cupy.benchmarks.precision.rounding import (
    FORMATS,
    TINY,
    WEIGHT_UNIT,
    earliness_unit,
    nearest_bfloat16,
    nearest_half,
    nearest_tf32,
)


def rounded_by(nearest: Callable[[np.ndarray, np.ndarray], None], values: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    nearest(values, out)
    return out


def of_all_sizes(count: int = 100_000, low: int = -30, high: int = 12) -> np.ndarray:
    """Numbers of either sign between two powers of two."""
    generator = np.random.default_rng(5)
    return np.ldexp(generator.standard_normal(count), generator.integers(low, high, count)).astype(np.float32)


def bits(*patterns: int) -> np.ndarray:
    return np.array(patterns, np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("nearest", "before", "after"),
    [
        (nearest_tf32, 0x3F800FFF, 0x3F800000),
        (nearest_tf32, 0x3F801000, 0x3F802000),  # a tie: away from zero
        (nearest_tf32, 0xBF801000, 0xBF802000),
        (nearest_tf32, 0x3F803000, 0x3F804000),
        (nearest_tf32, 0x3FFFFFFF, 0x40000000),  # carries into the exponent
        (nearest_tf32, 0x00000FFF, 0x00000000),  # of subnormals the same bits
        (nearest_tf32, 0x80001000, 0x80002000),
        (nearest_tf32, 0x007FF000, 0x00800000),
        (nearest_bfloat16, 0x3F807FFF, 0x3F800000),
        (nearest_bfloat16, 0x3F808000, 0x3F800000),  # a tie: to even
        (nearest_bfloat16, 0x3F808001, 0x3F810000),
        (nearest_bfloat16, 0xBF818000, 0xBF820000),
        (nearest_bfloat16, 0x3FFFFFFF, 0x40000000),
        (nearest_bfloat16, 0x00008001, 0x00010000),
        (nearest_half, 0x3F801000, 0x3F800000),  # a tie: to even
        (nearest_half, 0x3F801001, 0x3F802000),
        (nearest_half, 0xBF803000, 0xBF804000),
        (nearest_half, 0x3FFFFFFF, 0x40000000),
        (nearest_half, 0x33000000, 0x00000000),  # 2^-25, half of the smallest one
        (nearest_half, 0x33000001, 0x33800000),
        (nearest_half, 0x33C00000, 0x34000000),  # 1.5 of the smallest one
        (nearest_half, 0x477FE000, 0x477FE000),  # 65504, the largest
        (nearest_half, 0xC9742400, 0xC77FE000),  # -1e6
    ],
)
def test_bits(nearest: Callable[[np.ndarray, np.ndarray], None], before: int, after: int) -> None:
    assert rounded_by(nearest, bits(before)).view(np.uint32).tolist() == [after]


def test_halves_are_numpys() -> None:
    values = np.concatenate([of_all_sizes(), np.arange(-9000, 9000, dtype=np.float32) * np.float32(2.0**-26)])
    np.testing.assert_array_equal(rounded_by(nearest_half, values), values.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("nearest", "significant"), [(nearest_tf32, 11), (nearest_bfloat16, 8)])
def test_short_numbers_are_the_nearest(nearest: Callable[[np.ndarray, np.ndarray], None], significant: int) -> None:
    values = of_all_sizes()
    fraction, exponent = np.frexp(values.astype(np.float64))
    scaled = np.abs(fraction) * 2**significant
    whole = np.floor(scaled + 0.5) if nearest is nearest_tf32 else np.rint(scaled)
    expected = np.copysign(np.ldexp(whole, exponent - significant), values)
    np.testing.assert_array_equal(rounded_by(nearest, values), expected)


def test_in_place_and_in_parts() -> None:
    values = of_all_sizes(40_000).reshape(4, 100, 100)
    for numbers in FORMATS.values():
        out = values.copy()
        numbers.round(out, out, 256.0)
        terms = numbers.terms(values, 256.0)
        np.testing.assert_array_equal(out, np.sum(terms, axis=0, dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "significant"), [("split", 23), ("tf32", 11), ("half", 11), ("bf16x2", 17), ("bf16x3", 24)]
)
def test_significant_bits(name: str, significant: int) -> None:
    """Of the sum: its terms have signs, which is one bit more for each after the first."""
    values = of_all_sizes(low=-6, high=4)
    values = values[np.abs(values) > 2.0**-8]
    out = np.empty_like(values)
    FORMATS[name].round(values, out, WEIGHT_UNIT)
    error = np.abs(out.astype(np.float64) - values) / 2.0 ** (np.frexp(values)[1] - significant)
    # half a unit in the last place, or none where that is float32's own
    assert error.max() == (0.5 if significant < 24 else 0) or 0.49 < error.max() < 0.5


def test_split_is_what_the_kernels_make_of_it() -> None:
    """tensorcore_forward.cu, with NumPy's halves."""
    values = of_all_sizes(low=-40)
    scaled = values * np.float32(WEIGHT_UNIT)
    inside = np.clip(scaled, -65504, 65504)
    first = inside.astype(np.float16)
    second = (inside - first.astype(np.float32)).astype(np.float16)
    large, small = FORMATS["split"].terms(values, WEIGHT_UNIT)
    np.testing.assert_array_equal(large, first.astype(np.float32) / np.float32(WEIGHT_UNIT))
    # the second half of what is beyond the range, which is not 0 here, is of no matter to usual weights
    usual = np.abs(scaled) <= 65504
    np.testing.assert_array_equal(small[usual], second[usual].astype(np.float32) / np.float32(WEIGHT_UNIT))


def test_half_and_tf32_differ_at_ties_only() -> None:
    values = of_all_sizes(low=-6, high=4)
    values = values[np.abs(values) > 2.0**-14]
    tie = values.view(np.uint32) & 0x1FFF == 0x1000
    unlike = rounded_by(nearest_half, values) != rounded_by(nearest_tf32, values)
    assert unlike.any()
    assert (tie | ~unlike).all()


@pytest.mark.parametrize("name", FORMATS)
def test_earliness_does_not_vanish(name: str) -> None:
    values = np.array([0.0, -0.0, 1e-9, -1e-9, 1e-20, -1e-30, 2.0**-149, 1.0], np.float32)
    out = np.empty_like(values)
    FORMATS[name].round_earliness(values, out, earliness_unit(1.0))
    np.testing.assert_array_equal(out != 0, values != 0)
    np.testing.assert_array_equal(np.signbit(out[2:]), np.signbit(values[2:]))
    assert np.abs(out - values).max() <= max(2.0**-33, float(TINY))


@pytest.mark.parametrize(("t_win", "unit"), [(1.0, 256.0), (2.0, 128.0), (1.5, 128.0), (80.0, 2.0), (0.5, 512.0)])
def test_unit_of_earliness(t_win: float, unit: float) -> None:
    assert earliness_unit(t_win) == unit
