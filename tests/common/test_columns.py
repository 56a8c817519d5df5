"""Rows of a table as lines of text."""

import pytest

from ttfs_cupy.common.columns import aligned


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    rows = [["name", "kind", "count"], ["a", "longer", "7"], ["b", "", ""]]
    assert aligned(rows, left=2) == ["name  kind    count", "a     longer      7", "b"]
    assert aligned([["a", "bc", "d"], ["ab", "c", "d"]], left=3, gap=" ") == ["a  bc d", "ab c  d"]
    assert aligned([], left=1) == []


def test_rows_of_different_lengths_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        aligned([["a"], ["a", "b"]], left=1)
