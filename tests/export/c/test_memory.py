"""Where activations lie."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.export.c.memory import in_turn


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_an_activation_never_lies_on_the_one_that_it_is_made_from(sizes: list[int]) -> None:
    memory = in_turn(sizes)
    parts = [(place, place + size) for place, size in zip(memory.places, sizes, strict=True)]
    assert all(start >= 0 and end <= memory.size for start, end in parts)
    assert all(one[1] <= other[0] or other[1] <= one[0] for one, other in pairwise(parts))
    assert memory.size == max([sizes[0], *(one + other for one, other in pairwise(sizes))])
